"""Audio files in and out: load, save, find, and stream in blocks of constant memory.

A *wave* is a ``float32`` array ``(channels, samples)`` in [-1, 1]; its rate travels beside it as
the keyword ``sample_rate``. The functions of :mod:`enhancelib.audio.waves` and
:mod:`enhancelib.audio.reading` are here too.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import soundfile

from enhancelib.atomic import TOKEN, hidden_files, remove_abandoned
from enhancelib.audio.containers.chunks import finish_wav
from enhancelib.audio.containers.speakers import checked_mask, mark_flac, order_in
from enhancelib.audio.reading import PathLike, display_name
from enhancelib.audio.sinks import Sink
from enhancelib.audio.waves import (
    MAX_CHANNELS,
    Wave,
    check_rate,
    check_wave,
)
from enhancelib.checks import check_number
from enhancelib.errors import InputError

_PART = ".part"

# Suffix -> (libsndfile container, default subtype) for files that `save` and `writer` make.
_WRITABLE = {
    ".wav": ("WAV", "PCM_24"),
    ".flac": ("FLAC", "PCM_24"),
    ".aiff": ("AIFF", "PCM_24"),
    ".aif": ("AIFF", "PCM_24"),
    ".w64": ("W64", "PCM_24"),
    ".caf": ("CAF", "PCM_24"),
    ".au": ("AU", "PCM_24"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
WRITABLE_SUFFIXES: tuple[str, ...] = tuple(_WRITABLE)
AUDIO_SUFFIXES: tuple[str, ...] = (
    *WRITABLE_SUFFIXES,
    *(".m4a", ".aac", ".mp4", ".wma", ".oga", ".mka", ".webm", ".mp2", ".ac3", ".ape", ".wv"),
    *(".wave", ".bwf", ".rf64", ".aifc", ".m4b", ".3gp", ".spx", ".tta", ".tak", ".mpc", ".dsf"),
    *(".eac3", ".dts", ".amr"),
)
_BLOCK = 1 << 16  # frames written at a time
_SAMPLE_BYTES = {"PCM_U8": 1, "PCM_S8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4} | {
    "FLOAT": 4,
    "DOUBLE": 8,
}


class BlockWriter:
    """An audio file being written; made by :func:`writer`."""

    def __init__(self, file: soundfile.SoundFile, sink: Sink, name: str, *, suffix: str):
        self._file = file
        self._sink = sink
        self._name = name
        self._order = order_in(suffix, file.channels)
        self._suffix = suffix

    def write(self, wave: Wave) -> None:
        """Append ``wave`` (channels, samples); values beyond full scale are clipped in PCM.

        Raises:
            InputError: another number of channels, NaN, the format's end, or the disk is full.
        """
        wave = check_wave(wave, name=self._name)
        if wave.shape[0] != self._file.channels:
            raise InputError(f"{self._name}: {wave.shape[0]} channels, not {self._file.channels}")
        check_size(
            self._name,
            suffix=self._suffix,
            frames=self._file.frames + wave.shape[1],
            channels=wave.shape[0],
            subtype=self._file.subtype,
        )
        with _write_errors(self._name, self._sink):
            self._file.write((wave if self._order is None else wave[self._order]).T)


def check_size(name: str, *, suffix: str, frames: int, channels: int, subtype: str) -> None:
    """Refuse what AIFF and AU cannot hold: their sizes end at 4 GiB.

    Raises:
        InputError: names the formats that can.
    """
    if suffix not in (".aiff", ".aif", ".au"):
        return
    if frames * channels * _SAMPLE_BYTES.get(subtype, 1) > (1 << 32) - (1 << 20):
        raise InputError(f"{name}: {suffix} ends at 4 GiB; write .flac, .wav, .w64 or .caf")


@contextlib.contextmanager
def writer(
    path: PathLike,
    *,
    sample_rate: int,
    channels: int,
    subtype: str | None = None,
    channel_mask: int = 0,
    overwrite: bool = False,
    part: Path | None = None,
) -> Iterator[BlockWriter]:
    """Write a file block by block; it appears under its name complete, or not at all.

    The data go to a hidden ``.part`` file in the same folder, which is renamed when the ``with``
    block ends well and removed when it does not. A WAV beyond 4 GiB becomes RF64 (EBU Tech 3306).

    Args:
        path: target; the suffix picks the format, one of :data:`WRITABLE_SUFFIXES`.
        sample_rate: rate in Hz.
        channels: number of channels, 1 to 64.
        subtype: libsndfile's name such as ``PCM_16`` or ``FLOAT``; ``None``: 24-bit, or the
            format's only coding.
        channel_mask: which loudspeaker each channel is for, as in :class:`AudioInfo`; WAV and FLAC
            keep it. The waves are in the mask's order, also for Ogg, which stores another.
        overwrite: whether an existing file may be replaced.
        part: hidden file to write to before it is renamed; ``None``: one in the same folder.

    Yields:
        A :class:`BlockWriter`.

    Raises:
        InputError: the target exists, has another suffix, cannot hold this rate, channel count or
            subtype, or the disk is full or read-only.
    """
    target, name = Path(path), display_name(path)
    container, default = _container(target)
    suffix, subtype = target.suffix.lower(), subtype or default
    growing = container == "WAV" and subtype in _SAMPLE_BYTES
    rate = check_rate(sample_rate)
    channels = check_number(channels, f"{name}: channels", low=1, high=MAX_CHANNELS, whole=True)
    _refuse_existing(target, overwrite=overwrite)
    with _write_errors(name):
        target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as open_files:
        with _write_errors(name):
            part = part or Path(f"{open_files.enter_context(hidden_files(target.parent))}{_PART}")
        open_files.callback(part.unlink, missing_ok=True)
        with _write_errors(name):
            sink = open_files.enter_context(Sink(part))
            file = soundfile.SoundFile(
                sink,
                "w",
                rate,
                channels,
                subtype,
                format="RF64" if growing else container,
            )
        try:
            yield BlockWriter(file, sink, name, suffix=suffix)
            written = file.frames
        finally:
            with _write_errors(name, sink):
                file.close()
                sink.close()
        with _write_errors(name):
            if growing:
                finish_wav(part, channel_mask=checked_mask(channel_mask, channels))
            elif suffix == ".flac":
                mark_flac(part, channels=channels, channel_mask=channel_mask)
        _check_written(part, written, name)
        _refuse_existing(target, overwrite=overwrite)
        with _write_errors(name):
            os.replace(part, target)  # not by replacing(): the errors name what the user asked for


def remove_left_overs(folder: PathLike) -> None:
    """Remove what :func:`writer` and others had begun when their processes were killed.

    What a process that lives is writing stays.

    Args:
        folder: the folder, searched recursively.
    """
    for inner in [Path(folder), *(path for path in Path(folder).rglob("*") if path.is_dir())]:
        remove_abandoned(inner)
    for part in Path(folder).rglob(f".{TOKEN}{_PART}"):
        if not part.with_suffix(".lock").exists():  # of an earlier version, which held no locks
            part.unlink(missing_ok=True)


def save(
    path: PathLike,
    wave: Wave,
    *,
    sample_rate: int,
    subtype: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a wave to a file; complete under its name, or not there at all.

    Args:
        path: as in :func:`writer`.
        wave: ``(channels, samples)``; values beyond full scale are clipped in PCM formats.
        sample_rate: rate in Hz.
        subtype: as in :func:`writer`.
        overwrite: whether an existing file may be replaced.

    Returns:
        The path written.

    Raises:
        InputError: as in :func:`writer` and :func:`check_wave`.
    """
    wave = check_wave(wave)
    with writer(
        path,
        sample_rate=sample_rate,
        channels=wave.shape[0],
        subtype=subtype,
        overwrite=overwrite,
    ) as file:
        for at in range(0, wave.shape[1], _BLOCK):
            file.write(wave[:, at : at + _BLOCK])
    return Path(path)


def _container(target: Path) -> tuple[str, str]:
    try:
        return _WRITABLE[target.suffix.lower()]
    except KeyError:
        raise InputError(
            f"{display_name(target)}: cannot write this format; use {', '.join(_WRITABLE)}"
        ) from None


def _refuse_existing(target: Path, *, overwrite: bool) -> None:
    if os.path.exists(target) and not overwrite:
        raise InputError(f"{display_name(target)}: exists; pass overwrite or choose another name")


@contextlib.contextmanager
def _write_errors(name: str, sink: Sink | None = None) -> Iterator[None]:
    """Turn libsndfile's and the system's write errors into one line that names the file."""
    try:
        try:
            yield
        finally:
            if sink:  # what the system said is more than what libsndfile makes of it
                sink.check()
    except OSError as error:
        raise InputError(f"{name}: cannot be written ({error.strerror or error})") from None
    except soundfile.LibsndfileError as error:
        raise InputError(
            f"{name}: cannot be written ({error.error_string.strip()}); free the disk, or choose "
            "a rate, channel count and subtype that the format has"
        ) from None
    except (AssertionError, ValueError, TypeError) as error:  # a short write; an unknown subtype
        raise InputError(f"{name}: cannot be written ({error or 'is the disk full?'})") from None


def _check_written(part: Path, frames: int, name: str) -> None:
    """Read the header back: a full disk can swallow the last block without an error."""
    if frames == 0:
        raise InputError(f"{name}: nothing to write; give at least one sample")
    with _write_errors(name), soundfile.SoundFile(os.fsencode(part)) as file:
        if file.frames < frames:
            raise InputError(f"{name}: cannot be written in full; is the disk full?")


def find_audio(path: PathLike) -> list[Path]:
    """Return the audio files of a folder and its subfolders, sorted; a file returns itself.

    Links are followed and loops ignored. Hidden files, such as our own unfinished ones, are left
    out. A folder in it that may not be opened is listed itself, so that reading it reports the
    reason.

    Raises:
        InputError: there is no such path, it cannot be read, or no audio file is under it.
    """
    root = Path(path)
    found: list[Path] = []

    def refused(error: OSError) -> None:
        if Path(error.filename) == root:
            raise InputError(
                f"{display_name(path)}: cannot be read ({error.strerror}); change its mode or "
                "owner, or name another folder"
            )
        found.append(Path(error.filename))

    try:
        if root.is_file():
            return [root]
        if not root.exists():
            raise InputError(f"{display_name(path)}: no such file or folder; check the path")
    except OSError as error:  # what lies on the way may not be searched
        refused(error)
    seen: set[str] = set()
    walk = os.walk(root, followlinks=True, onerror=refused)
    for folder, subfolders, names in walk:
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders.sort()
        visible = (Path(folder, name) for name in names if not name.startswith("."))
        found += [file for file in visible if file.suffix.lower() in AUDIO_SUFFIXES]
    if not found:
        raise InputError(
            f"{display_name(path)}: no audio files in it; known are {', '.join(AUDIO_SUFFIXES)}"
        )
    return sorted(found)
