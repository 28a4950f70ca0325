"""Read audio files: header, a stretch, or block by block in constant memory.

libsndfile reads what is stored sample by sample or in FLAC; FFmpeg, through PyAV and only when
needed, reads the rest (MP3, Ogg, M4A …) and whatever libsndfile stops at. The content decides, not
the suffix. What a player plays is read, and what is missing is said: in a list that the caller
passes as ``notes``, or as an :class:`AudioWarning`.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import soundfile

from enhancelib.audio.containers.headers import has_lost_pages, is_cut_off, is_one_page
from enhancelib.audio.containers.parts import parts
from enhancelib.audio.containers.speakers import order_in
from enhancelib.audio.decoding import (
    Note,
    can_open,
    decoded,
    lost_pages,
    missing_end,
    probe,
)
from enhancelib.audio.waves import Wave, check_rate, check_wave, resample, resample_blocks
from enhancelib.checks import check_number
from enhancelib.errors import AudioWarning, InputError, printable

PathLike = str | os.PathLike

_BLOCK = 1 << 16  # frames per read; one hour streams in the memory of one block
_PIPED = 0x7FFFF000  # sizes from here on stand for "unknown" in a WAV header written to a pipe
_LOUDEST = 1e6  # times full scale
_UNKNOWN = 1 << 60  # libsndfile's length of a FLAC that states none (RFC 9639, 8.2) is beyond


# How files begin that libsndfile reads exactly: WAV, RF64, AIFF, FLAC, CAF, W64, AU; NIST, VOC …
_MAGIC = (
    *(b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"caff", b"riff", b".snd", b"dns."),
    *(b"NIST", b"Crea", b"2BIT", b"PVF1", b"MATL", b" paf", b"fap "),
)
# What libsndfile's log calls the size of the samples, or of the file where it checks only that.
_SIZES = defaultdict(lambda: "data :", AIFF="SSND :", W64="riff :", RF64="Riff size :")
# FFmpeg's names -> libsndfile's.
_FORMATS = {"mp3": "MP3", "ogg": "OGG", "wav": "WAV", "flac": "FLAC", "aiff": "AIFF"} | {
    "w64": "W64",
    "caf": "CAF",
    "au": "AU",
}
_CODINGS = {"mp3float": "MPEG_LAYER_III", "vorbis": "VORBIS", "opus": "OPUS"} | {
    f"pcm_{name}{order}": coding
    for name, coding in {"s16": "PCM_16", "s24": "PCM_24", "s32": "PCM_32"}.items()
    | {"f32": "FLOAT", "f64": "DOUBLE"}.items()
    for order in ("le", "be")
}


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header states: ``frames`` are samples per channel.

    ``channel_mask`` says which loudspeaker each channel is for (WAVEFORMATEXTENSIBLE); 0: unknown.
    """

    sample_rate: int
    channels: int
    frames: int
    seconds: float
    format: str
    subtype: str
    channel_mask: int = 0


def display_name(path: PathLike) -> str:
    """Return a path that is safe to print on one line, whatever bytes the file system holds."""
    shown = os.fsencode(path).decode("utf-8", errors="replace")
    return printable(shown.replace("\n", "\\n").replace("\t", "\\t"))


def info(path: PathLike) -> AudioInfo:
    """Return rate, channels and length as the file states them; at most one frame is decoded.

    The length of an MP3 without a length tag, of a chained Ogg and of raw AAC is a guess.

    Raises:
        InputError: the file is missing, unreadable, or no audio.
    """
    _check_file(path)
    file = _plain_file(path)
    if file is None:
        return _probed(path)
    with file as f:
        mask = 0
        if f.channels > 2:  # libsndfile keeps the layout to itself
            with contextlib.suppress(InputError):
                mask = probe(path, name=display_name(path)).channel_mask
        seconds = f.frames / f.samplerate
        return AudioInfo(
            f.samplerate, f.channels, f.frames, seconds, f.format, f.subtype, channel_mask=mask
        )


def _probed(path: PathLike) -> AudioInfo:
    """Read a header by FFmpeg; formats and codings have libsndfile's names where there are any."""
    found = probe(path, name=display_name(path))
    coding = _CODINGS.get(found.codec, found.codec)
    if found.format == "flac":
        coding = "PCM_16" if found.bits == 16 else "PCM_24"
    elif found.codec == "wavpack" and found.floating:  # it stores either kind of samples as it is
        coding = "FLOAT"
    return AudioInfo(
        found.sample_rate,
        found.channels,
        round(found.seconds * found.sample_rate),
        found.seconds,
        _FORMATS.get(found.format, found.format),
        coding,
        channel_mask=found.channel_mask,
    )


def load(
    path: PathLike,
    *,
    sample_rate: int | None = None,
    offset_s: float = 0.0,
    duration_s: float | None = None,
    notes: list[str] | None = None,
) -> tuple[Wave, int]:
    """Read a file, or a stretch of it, as a wave.

    Args:
        path: any audio file of :data:`AUDIO_SUFFIXES`; the content counts, not the suffix.
        sample_rate: resample to this rate in Hz; ``None`` keeps the file's own.
        offset_s: start of the stretch in seconds.
        duration_s: its length in seconds; ``None``, or more than there is: up to the end.
        notes: gets a line for what is damaged, missing or was converted; ``None``: a warning.

    Returns:
        The wave ``(channels, samples)`` and its sample rate in Hz.

    Raises:
        InputError: missing, unreadable or empty file, NaN inside, or an offset past the end.
    """
    name = display_name(path)
    check_number(offset_s, "offset_s")
    if duration_s not in (None, math.inf) and not check_number(duration_s, "duration_s"):
        raise InputError("duration_s: 0 is no length; give a number of seconds")
    to_rate = None if sample_rate is None else check_rate(sample_rate)
    rate = info(path).sample_rate
    start = round(offset_s * rate)
    stop = None
    if duration_s is not None and duration_s != math.inf:
        stop = start + max(1, round(duration_s * rate))
    parts = list(_read(path, start=start, stop=stop, frames=_BLOCK, note=_noter(notes)))
    if not parts:
        raise InputError(f"{name}: no audio after {offset_s} s; leave it out or start earlier")
    wave = _sound(np.concatenate(parts, axis=1), name)
    if to_rate is None or to_rate == rate:
        return wave, rate
    return resample(wave, from_rate=rate, to_rate=to_rate), to_rate


def blocks(
    path: PathLike,
    *,
    frames: int = _BLOCK,
    sample_rate: int | None = None,
    notes: list[str] | None = None,
) -> Iterator[Wave]:
    """Read a file of any length in constant memory.

    Args:
        path: as in :func:`load`.
        frames: most samples per channel in one block (of the file's own rate).
        sample_rate: resample the stream to this rate in Hz; ``None`` keeps the file's own. Blocks
            then vary in size.
        notes: as in :func:`load`; complete when the last block is taken.

    Yields:
        Waves ``(channels, <= frames)`` that follow each other; at least one.

    Raises:
        InputError: as in :func:`load`.
    """
    frames = check_number(frames, "frames", low=1, whole=True)
    to_rate = None if sample_rate is None else check_rate(sample_rate)
    rate = info(path).sample_rate
    stream = _checked(path, _read(path, start=0, stop=None, frames=frames, note=_noter(notes)))
    yield from resample_blocks(stream, from_rate=rate, to_rate=to_rate or rate)


def _noter(notes: list[str] | None) -> Note:
    """Return what takes a note: it goes into the list, or out as a warning where there is none."""
    if notes is not None:
        return notes.append
    return lambda note: warnings.warn(note, AudioWarning, stacklevel=2)


def _checked(path: PathLike, stream: Iterable[Wave]) -> Iterator[Wave]:
    empty = True
    for block in stream:
        empty = False
        yield _sound(block, display_name(path))
    if empty:
        raise InputError(f"{display_name(path)}: no audio in it; leave it out")


def _sound(wave: Wave, name: str) -> Wave:
    """Refuse what is no sound: NaN, or what a damaged exponent makes of floating-point samples."""
    wave = check_wave(wave, name=name)
    if np.abs(wave).max() > _LOUDEST:
        raise InputError(f"{name}: contains samples a million times full scale; repair the source")
    return wave


def _check_file(path: PathLike) -> None:
    """Refuse, by name, what is no readable file with something in it."""
    name = display_name(path)
    try:
        kind = os.stat(path).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):  # opening a pipe may wait for ever
            raise InputError(f"{name}: is a pipe or a device; save the sound to a file first")
        with open(path, "rb") as f:
            empty = not f.read(1)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{name}: no such file; check the path") from None
    except IsADirectoryError:
        raise InputError(f"{name}: is a folder; name a file in it") from None
    except PermissionError:
        raise InputError(f"{name}: no permission to read; change its mode or owner") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: cannot be read ({error}); check the path") from None
    if empty:
        raise InputError(f"{name}: empty file; leave it out")


def _plain_file(path: PathLike) -> soundfile.SoundFile | None:
    """Open what libsndfile reads exactly and to its end; ``None``: FFmpeg is to read it.

    libsndfile guesses the length of an MP3, reads one part of a chained Ogg, takes a length of zero
    for none, and takes what it does not know for MP3, of which it complains on standard error.
    """
    with open(path, "rb") as f:
        begin = f.read(4)
    if begin == b"OggS":
        # Vorbis whose first samples are cut has times under zero, which FFmpeg refuses; of a single
        # page of sound it takes too many or too few.
        if can_open(path) and not is_one_page(path):
            return None
    elif not begin.startswith(_MAGIC):
        return None
    try:
        file = soundfile.SoundFile(os.fsencode(path))
    except soundfile.LibsndfileError:
        return None
    odd = file.format == "MP3" or (file.format == "AU" and not _au_is_whole(path))
    if 0 < file.frames < _UNKNOWN and not odd:
        return file
    file.close()
    return None


def _au_is_whole(path: PathLike) -> bool:
    """Whether an AU ends where it states (or states nothing): players read on to the file's end."""
    with open(path, "rb") as f:
        head = f.read(12)
    order: Literal["little", "big"] = "big" if head[:1] == b"." else "little"
    begin, size = (int.from_bytes(head[at : at + 4], order) for at in (4, 8))
    return size == 0xFFFFFFFF or begin + size == os.path.getsize(path)


def _read(
    path: PathLike, *, start: int, stop: int | None, frames: int, note: Note
) -> Iterator[Wave]:
    """Yield samples [start, stop) in blocks; ``note`` is told what is missing."""
    _check_file(path)
    name, file, position = display_name(path), _plain_file(path), start
    if file and (len(parts(path)) > 1 or _is_reordered(file, path)):
        file.close()  # libsndfile reads the first part, and channels as they are stored
    elif file:
        with file:
            stated = _stated_frames(file)
            end = file.frames if stop is None else min(stop, file.frames)
            for block in _plain_blocks(file, start=start, end=end, frames=frames):
                position += block.shape[1]
                yield block
            if file.format == "OGG":  # which only libsndfile reads: it ends where it ends
                if stop is None and has_lost_pages(path):
                    note(lost_pages(name))
                if stop is None and is_cut_off(path):
                    note(missing_end(name, position / file.samplerate))
                return
            if position >= end or start >= end:
                if stop is None and stated > file.frames:
                    note(_short(name, stated / file.samplerate, file.frames / file.samplerate))
                return
    try:
        yield from _cut(decoded(path, name=name, frames=frames, note=note), position, stop)
    except InputError:
        if position == start:
            raise
        note(f"{name}: damaged from sample {position} on; fetch the file again")


def _is_reordered(file: soundfile.SoundFile, path: PathLike) -> bool:
    """Whether a CAF or AIFF holds its channels in another order than that of WAV."""
    with contextlib.suppress(InputError):
        return (
            file.channels > 1
            and file.format in ("CAF", "AIFF")
            and (probe(path, name=display_name(path)).reordered)
        )
    return False


def _plain_blocks(
    file: soundfile.SoundFile, *, start: int, end: int, frames: int
) -> Iterator[Wave]:
    """Yield [start, end) as far as libsndfile gets: it stops at the first damage.

    It leaves the channels of Vorbis and Opus in their own order, which is undone here.
    """
    order = order_in(".ogg", file.channels) if file.subtype in ("VORBIS", "OPUS") else None
    with contextlib.suppress(soundfile.LibsndfileError):
        if start < end:
            file.seek(start)
        for position in range(start, end, frames):
            wanted = min(frames, end - position)
            block = file.read(wanted, dtype="float32", always_2d=True)
            if len(block):
                yield np.ascontiguousarray(block.T if order is None else block.T[np.argsort(order)])
            if len(block) < wanted:
                return


def _cut(waves: Iterator[Wave], start: int, stop: int | None) -> Iterator[Wave]:
    """Yield [start, stop) of what is decoded from the beginning (exact, unlike a seek)."""
    position = 0
    for wave in waves:
        first, last = start - position, wave.shape[1] if stop is None else stop - position
        position += wave.shape[1]
        kept = wave[:, max(0, first) : max(0, last)]
        if kept.shape[1]:
            yield kept
        if stop is not None and position >= stop:
            return


def _stated_frames(file: soundfile.SoundFile) -> int:
    """Frames that a WAV, RF64, AIFF or W64 promises where it holds fewer, else what it holds."""
    unknown = _UNKNOWN if file.format in ("RF64", "W64") else _PIPED
    for line in file.extra_info.splitlines():  # libsndfile says so in its log alone
        if line.strip().startswith(_SIZES[file.format]) and "should be" in line:
            words = line.replace("(", " ").replace(")", " ").split()
            claimed, present = [int(word) for word in words if word.isdigit()][:2]
            if 0 < present < claimed < unknown:
                return round(file.frames * claimed / present)
    return file.frames


def _short(name: str, stated: float, present: float) -> str:
    return f"{name}: states {stated:.2f} s, but {present:.2f} s are in it; fetch the file again"
