"""Read audio files: header, a stretch, or block by block in constant memory.

libsndfile reads what it knows (WAV, FLAC, MP3, Ogg, AIFF …); FFmpeg, through PyAV and only when
needed, reads the rest (M4A, AAC …). The content decides, not the suffix.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import soundfile

from enhancelib.errors import InputError, printable
from enhancelib.waves import Wave, check_rate, check_wave, resample, resample_blocks

PathLike = str | os.PathLike

_BLOCK = 1 << 16  # frames per read; one hour streams in the memory of one block
_PIPED = 0x7FFFF000  # sizes from here on stand for "unknown" in a WAV header written to a pipe


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header states: ``frames`` are samples per channel."""

    sample_rate: int
    channels: int
    frames: int
    seconds: float
    format: str
    subtype: str


def display_name(path: PathLike) -> str:
    """Return a path that is safe to print on one line, whatever bytes the file system holds."""
    shown = os.fsencode(path).decode("utf-8", errors="replace")
    return printable(shown.replace("\n", "\\n").replace("\t", "\\t"))


def info(path: PathLike) -> AudioInfo:
    """Return rate, channels and length as the file states them, without decoding it.

    A file that FFmpeg reads, or an MP3 without a length tag, states its length only roughly.

    Raises:
        InputError: The file is missing, unreadable, or no audio.
    """
    _check_file(path)
    try:
        with soundfile.SoundFile(os.fsencode(path)) as f:
            return AudioInfo(
                f.samplerate, f.channels, f.frames, f.frames / f.samplerate, f.format, f.subtype
            )
    except soundfile.LibsndfileError:
        return _info_ffmpeg(path)


def load(
    path: PathLike,
    *,
    sample_rate: int | None = None,
    offset_s: float = 0.0,
    duration_s: float | None = None,
) -> tuple[Wave, int]:
    """Read a file, or a stretch of it, as a wave.

    Args:
        path: Any audio file of :data:`AUDIO_SUFFIXES`; the content counts, not the suffix.
        sample_rate: Resample to this rate in Hz; ``None`` keeps the file's own.
        offset_s: Start of the stretch in seconds.
        duration_s: Its length in seconds; ``None``, or more than there is: up to the end.

    Returns:
        The wave ``(channels, samples)`` and its sample rate in Hz.

    Raises:
        InputError: Missing, unreadable, truncated or empty file, NaN inside, or an offset past the
            end.
    """
    name = display_name(path)
    if not (offset_s >= 0 and (duration_s is None or duration_s > 0)):
        raise InputError(f"{name}: offset_s must be >= 0 and duration_s > 0")
    rate = info(path).sample_rate
    start = round(offset_s * rate)
    stop = None if duration_s is None else start + max(1, round(duration_s * rate))
    parts = list(_read(path, start=start, stop=stop, frames=_BLOCK))
    if not parts:
        raise InputError(f"{name}: no audio after {offset_s} s; leave it out or start earlier")
    wave = check_wave(np.concatenate(parts, axis=1), name=name)
    if sample_rate is None or sample_rate == rate:
        return wave, rate
    return resample(wave, from_rate=rate, to_rate=sample_rate), sample_rate


def blocks(
    path: PathLike, *, frames: int = _BLOCK, sample_rate: int | None = None
) -> Iterator[Wave]:
    """Read a file of any length in constant memory.

    Args:
        path: As in :func:`load`.
        frames: Most samples per channel in one block (of the file's own rate).
        sample_rate: Resample the stream to this rate in Hz; ``None`` keeps the file's own. Blocks
            then vary in size.

    Yields:
        Waves ``(channels, <= frames)`` that follow each other; at least one.

    Raises:
        InputError: As in :func:`load`; a truncated file is found when its end is reached.
    """
    if frames < 1:
        raise InputError(f"frames: {frames} is not positive; give for example 65536")
    rate = info(path).sample_rate
    stream = _checked(path, _read(path, start=0, stop=None, frames=frames))
    to_rate = rate if sample_rate is None else check_rate(sample_rate)
    yield from resample_blocks(stream, from_rate=rate, to_rate=to_rate)


def _checked(path: PathLike, stream: Iterable[Wave]) -> Iterator[Wave]:
    empty = True
    for block in stream:
        empty = False
        yield check_wave(block, name=display_name(path))
    if empty:
        raise InputError(f"{display_name(path)}: no audio in it; leave it out")


def _damaged(path: PathLike) -> InputError:
    return InputError(f"{display_name(path)}: damaged or truncated; fetch the file again")


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
    tag = _mp3_tag(path)
    if tag and tag.stream_bytes > tag.present_bytes:
        raise _damaged(path)


@dataclass(frozen=True)
class _Mp3Tag:
    """The length tag in the first frame of an MP3 (Xing's, also LAME's "Info")."""

    stream_bytes: int
    present_bytes: int


def _mp3_tag(path: PathLike) -> _Mp3Tag | None:
    """Return the length tag; ``None`` for an MP3 without one and for anything else."""
    with open(path, "rb") as f:
        head = f.read(10)
        start = 0
        if head[:3] == b"ID3" and len(head) == 10:  # ID3v2: size in four 7-bit bytes
            start = 10 + sum(
                byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
            )
        f.seek(start)
        frame = f.read(192)
        present = os.fstat(f.fileno()).st_size - start
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if frame[:1] != b"\xff" or len(frame) < 192 or not 0 < at < 64:
        return None
    flags = int.from_bytes(frame[at + 4 : at + 8])
    size_at = at + (12 if flags & 1 else 8)
    claimed = int.from_bytes(frame[size_at : size_at + 4]) if flags & 2 else 0
    return _Mp3Tag(claimed, present)


def _read(path: PathLike, *, start: int, stop: int | None, frames: int) -> Iterator[Wave]:
    """Yield samples [start, stop) in blocks: by libsndfile, or by FFmpeg where that cannot."""
    _check_file(path)
    try:
        file = soundfile.SoundFile(os.fsencode(path))
    except soundfile.LibsndfileError:
        yield from _read_ffmpeg(path, start=start, stop=stop, frames=frames)
        return
    with file:
        _check_complete(path, file)
        end = file.frames if stop is None else min(stop, file.frames)
        length_known = file.format != "MP3" or _mp3_tag(path) is not None
        try:
            if start < end:
                file.seek(start)
            for position in range(start, end, frames):
                wanted = min(frames, end - position)
                block = file.read(wanted, dtype="float32", always_2d=True)
                if len(block) < wanted and length_known:
                    raise _damaged(path)
                if len(block):
                    yield np.ascontiguousarray(block.T)
                if len(block) < wanted:
                    return
        except soundfile.LibsndfileError:
            raise _damaged(path) from None


def _check_complete(path: PathLike, file: soundfile.SoundFile) -> None:
    """Refuse a WAV or AIFF whose header promises more data than follow (libsndfile logs it)."""
    for line in file.extra_info.splitlines():
        if line.strip().startswith(("data :", "SSND :")) and "should be" in line:
            words = line.replace("(", " ").replace(")", " ").split()
            claimed, present = [int(word) for word in words if word.isdigit()][:2]
            if present < claimed < _PIPED:
                raise _damaged(path)


def _open_ffmpeg(path: PathLike):
    """Open with FFmpeg; the caller closes. Imported here: most files never need it."""
    import av

    try:
        container = av.open(os.fspath(path))
    except (av.FFmpegError, UnicodeError, ValueError):
        raise InputError(
            f"{display_name(path)}: not readable as audio; convert it to WAV or FLAC"
        ) from None
    if not container.streams.audio:
        container.close()
        raise InputError(f"{display_name(path)}: no audio stream; name an audio file")
    return container


def _info_ffmpeg(path: PathLike) -> AudioInfo:
    with _open_ffmpeg(path) as container:
        stream = container.streams.audio[0]
        context = stream.codec_context
        if not context.sample_rate or not context.layout.nb_channels:  # a guess by the suffix only
            raise _damaged(path)
        seconds = float((stream.duration or 0) * (stream.time_base or Fraction(0)))
        seconds = seconds or (container.duration or 0) / 1e6
        return AudioInfo(
            context.sample_rate,
            context.layout.nb_channels,
            round(seconds * context.sample_rate),
            seconds,
            container.format.name,
            context.name,
        )


def _read_ffmpeg(path: PathLike, *, start: int, stop: int | None, frames: int) -> Iterator[Wave]:
    """Decode from the beginning (exact to the sample, unlike a seek) and yield [start, stop)."""
    position = 0
    for wave in _decoded_frames(path):
        first, last = start - position, wave.shape[1] if stop is None else stop - position
        position += wave.shape[1]
        if last <= 0:
            return
        kept = wave[:, max(0, first) : last]
        for at in range(0, kept.shape[1], frames):
            yield kept[:, at : at + frames]


def _decoded_frames(path: PathLike) -> Iterator[Wave]:
    """Yield float32 (channels, samples) for every decoded frame of the first audio stream."""
    import av

    with _open_ffmpeg(path) as container:
        stream = container.streams.audio[0]
        converter = None
        try:
            for frame in container.decode(stream):
                converter = converter or av.AudioResampler(format="fltp", layout=frame.layout)
                yield from (part.to_ndarray() for part in converter.resample(frame))
        except av.FFmpegError:
            raise _damaged(path) from None
