"""Audio in and out: load, save, stream in blocks, resample, cut into segments.

A *wave* is a ``float32`` array of shape ``(channels, samples)`` with full scale at [-1, 1]; its
sample rate travels beside it as the keyword ``sample_rate``. libsndfile reads what it knows (WAV,
FLAC, MP3, Ogg, AIFF …); FFmpeg, through PyAV and only when needed, reads the rest (M4A, AAC …).
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
import soxr

from enhancelib.errors import InputError

Wave = np.ndarray
PathLike = str | os.PathLike

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
)
_MAX_CHANNELS = 64
_BLOCK = 1 << 16  # frames per read; one hour streams in the memory of one block


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header states: ``frames`` are samples per channel."""

    sample_rate: int
    channels: int
    frames: int
    seconds: float
    format: str
    subtype: str


# ---------------------------------------------------------------- checks


def check_wave(wave: np.ndarray, *, name: str = "wave") -> Wave:
    """Return ``wave`` as float32 ``(channels, samples)``, or say what is wrong with it.

    Args:
        wave: Floating-point array ``(channels, samples)``, at least one channel and one sample.
        name: What to call it in the message (an argument or a file name).

    Raises:
        InputError: Wrong shape, integers (their full scale is unknown), NaN or infinity.
    """
    array = np.asarray(wave)
    if array.ndim != 2:
        raise InputError(
            f"{name}: expected shape (channels, samples), got {array.shape}; add wave[None]"
        )
    if 0 in array.shape:
        raise InputError(f"{name}: no samples (shape {array.shape}); give at least one")
    if array.shape[0] > _MAX_CHANNELS:
        raise InputError(f"{name}: {array.shape[0]} channels; transpose to (channels, samples)")
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{name}: dtype {array.dtype}; convert to float32 in [-1, 1]")
    array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise InputError(f"{name}: contains NaN or infinity; repair the source")
    return array


def check_rate(sample_rate: int, *, name: str = "sample_rate") -> int:
    """Return a sample rate in Hz as int; :class:`InputError` unless it is whole and positive."""
    if isinstance(sample_rate, bool) or int(sample_rate) != sample_rate or sample_rate < 1:
        raise InputError(f"{name}: {sample_rate!r} is no sample rate; give whole Hz such as 44100")
    return int(sample_rate)


def display_name(path: PathLike) -> str:
    """Return a path that is safe to print, whatever bytes the file system holds."""
    return os.fsencode(path).decode("utf-8", errors="replace")


# ---------------------------------------------------------------- resampling


def resampled_length(samples: int, *, from_rate: int, to_rate: int) -> int:
    """Return round(samples · to_rate / from_rate), halves up, in exact integer arithmetic."""
    return (2 * samples * to_rate + from_rate) // (2 * from_rate)


def fit_length(wave: Wave, samples: int) -> Wave:
    """Return ``wave`` cut, or padded with zeros at the end, to ``samples`` per channel."""
    if wave.shape[-1] >= samples:
        return wave[..., :samples]
    return np.pad(wave, [(0, 0)] * (wave.ndim - 1) + [(0, samples - wave.shape[-1])])


def resample(wave: Wave, *, from_rate: int, to_rate: int) -> Wave:
    """Resample with a linear-phase band-limited filter (libsoxr, "VHQ"): no delay.

    Args:
        wave: ``(channels, samples)``.
        from_rate: Rate of ``wave`` in Hz.
        to_rate: Wanted rate in Hz.

    Returns:
        ``(channels, round(samples · to_rate / from_rate))``, float32; at least one sample.
    """
    wave = check_wave(wave)
    from_rate, to_rate = (
        check_rate(from_rate, name="from_rate"),
        check_rate(to_rate, name="to_rate"),
    )
    if from_rate == to_rate:
        return wave
    samples = max(1, resampled_length(wave.shape[1], from_rate=from_rate, to_rate=to_rate))
    converted = soxr.resample(np.ascontiguousarray(wave.T), from_rate, to_rate, quality="VHQ")
    return np.ascontiguousarray(fit_length(converted.T, samples))


def resample_blocks(blocks: Iterable[Wave], *, from_rate: int, to_rate: int) -> Iterator[Wave]:
    """Resample a stream block by block; the blocks joined equal :func:`resample` in length.

    Args:
        blocks: Waves ``(channels, any number of samples)`` that follow each other.
        from_rate: Their rate in Hz.
        to_rate: Wanted rate in Hz.

    Yields:
        Waves ``(channels, samples)``, as the filter releases them; none is empty.
    """
    if from_rate == to_rate:
        yield from blocks
        return
    stream, taken, given = None, 0, 0
    for block in blocks:
        if stream is None:
            channels = block.shape[0]
            stream = soxr.ResampleStream(from_rate, to_rate, channels, "float32", "VHQ")
        taken += block.shape[1]
        out = stream.resample_chunk(np.ascontiguousarray(block.T)).T
        given += out.shape[1]
        if out.shape[1]:
            yield np.ascontiguousarray(out)
    if stream is None:
        return
    total = max(1, resampled_length(taken, from_rate=from_rate, to_rate=to_rate))
    tail = stream.resample_chunk(np.zeros((0, channels), np.float32), last=True).T
    if total > given:
        yield np.ascontiguousarray(fit_length(tail, total - given))


# ---------------------------------------------------------------- reading


def info(path: PathLike) -> AudioInfo:
    """Return rate, channels and length as the file states them, without decoding it.

    For files that only FFmpeg reads, the length is the container's own claim.

    Raises:
        InputError: The file is missing, unreadable, or no audio.
    """
    _check_readable(path)
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
    if offset_s < 0 or (duration_s is not None and duration_s <= 0):
        raise InputError(f"{display_name(path)}: offset_s must be >= 0 and duration_s > 0")
    rate = info(path).sample_rate
    start = round(offset_s * rate)
    stop = None if duration_s is None else start + max(1, round(duration_s * rate))
    parts = list(_read(path, start=start, stop=stop, frames=_BLOCK))
    if not parts:
        raise InputError(f"{display_name(path)}: no audio after {offset_s} s; the file is shorter")
    wave = check_wave(np.concatenate(parts, axis=1), name=display_name(path))
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
        sample_rate: Resample the stream to this rate in Hz; ``None`` keeps the file's own.

    Yields:
        Waves ``(channels, <= frames)`` that follow each other; at least one.

    Raises:
        InputError: As in :func:`load`; a truncated file is found when its end is reached.
    """
    if frames < 1:
        raise InputError(f"frames: {frames} is not positive; give for example 65536")
    rate = info(path).sample_rate
    stream = _checked(path, _read(path, start=0, stop=None, frames=frames))
    yield from resample_blocks(stream, from_rate=rate, to_rate=sample_rate or rate)


def _checked(path: PathLike, stream: Iterable[Wave]) -> Iterator[Wave]:
    empty = True
    for block in stream:
        empty = False
        yield check_wave(block, name=display_name(path))
    if empty:
        raise InputError(f"{display_name(path)}: no audio in it; leave the file out")


def _check_readable(path: PathLike) -> None:
    """Refuse, by name, what is not a readable non-empty file."""
    name = display_name(path)
    try:
        with open(path, "rb") as f:
            first = f.read(1)
    except FileNotFoundError:
        raise InputError(f"{name}: no such file; check the path") from None
    except IsADirectoryError:
        raise InputError(f"{name}: is a folder; name a file in it") from None
    except PermissionError:
        raise InputError(f"{name}: no permission to read; change its mode or owner") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror}); check the path") from None
    if not first:
        raise InputError(f"{name}: empty file; leave it out")


def _read(path: PathLike, *, start: int, stop: int | None, frames: int) -> Iterator[Wave]:
    """Yield samples [start, stop) in blocks: by libsndfile, or by FFmpeg where that cannot."""
    _check_readable(path)
    try:
        file = soundfile.SoundFile(os.fsencode(path))
    except soundfile.LibsndfileError:
        yield from _read_ffmpeg(path, start=start, stop=stop, frames=frames)
        return
    with file:
        _check_complete(path, file)
        end = file.frames if stop is None else min(stop, file.frames)
        try:
            if start < end:
                file.seek(start)
            for position in range(start, end, frames):
                wanted = min(frames, end - position)
                block = file.read(wanted, dtype="float32", always_2d=True)
                if len(block) != wanted:
                    raise _damaged(path)
                yield np.ascontiguousarray(block.T)
        except (soundfile.LibsndfileError, OverflowError):
            raise _damaged(path) from None


def _damaged(path: PathLike) -> InputError:
    return InputError(f"{display_name(path)}: damaged or truncated; fetch the file again")


def _check_complete(path: PathLike, file: soundfile.SoundFile) -> None:
    """Refuse a file whose header promises more data than follow (libsndfile logs it)."""
    for line in file.extra_info.splitlines():
        if line.strip().startswith(("data :", "SSND :")) and "should be" in line:
            claimed, present = (int(word.strip("()")) for word in _numbers(line)[:2])
            if claimed > present and claimed < 0x7FFFF000:  # larger: a pipe's unknown length
                raise _damaged(path)


def _numbers(line: str) -> list[str]:
    return [word for word in line.replace("(", " ").replace(")", " ").split() if word.isdigit()]


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
        seconds = float((stream.duration or 0) * (stream.time_base or Fraction(0)))
        if not seconds and container.duration:
            seconds = container.duration / 1e6
        context = stream.codec_context
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


# ---------------------------------------------------------------- writing


class BlockWriter:
    """An audio file being written; made by :func:`writer`."""

    def __init__(self, file: soundfile.SoundFile, name: str):
        self._file = file
        self._name = name

    def write(self, wave: Wave) -> None:
        """Append ``wave`` (channels, samples); values beyond full scale are clipped in PCM."""
        wave = check_wave(wave, name=self._name)
        if wave.shape[0] != self._file.channels:
            raise InputError(f"{self._name}: {wave.shape[0]} channels, not {self._file.channels}")
        self._file.write(wave.T)


@contextlib.contextmanager
def writer(
    path: PathLike,
    *,
    sample_rate: int,
    channels: int,
    subtype: str | None = None,
    overwrite: bool = False,
) -> Iterator[BlockWriter]:
    """Write a file block by block; it appears under its name complete, or not at all.

    The data go to a hidden ``.part`` file in the same folder, which is renamed when the ``with``
    block ends well and removed when it does not.

    Args:
        path: Target; the suffix picks the format, one of :data:`WRITABLE_SUFFIXES`.
        sample_rate: Rate in Hz.
        channels: Number of channels.
        subtype: libsndfile's name such as ``PCM_16`` or ``FLOAT``; ``None``: 24-bit, or the
            format's only coding.
        overwrite: Whether an existing file may be replaced.

    Yields:
        A :class:`BlockWriter`.

    Raises:
        InputError: The target exists, has another suffix, cannot hold this rate, channel count or
            subtype, or the disk is full or read-only.
    """
    target, name = Path(path), display_name(path)
    container, default = _container(target)
    _refuse_existing(target, overwrite=overwrite)
    part = target.parent / f".{secrets.token_hex(8)}.part"
    try:
        with _write_errors(name):
            target.parent.mkdir(parents=True, exist_ok=True)
            with soundfile.SoundFile(
                os.fsencode(part),
                "w",
                samplerate=check_rate(sample_rate),
                channels=channels,
                subtype=subtype or default,
                format=container,
            ) as file:
                yield BlockWriter(file, name)
                written = file.frames
            _check_written(part, written, name)
            _refuse_existing(target, overwrite=overwrite)
            os.replace(part, target)
    finally:
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
        path: As in :func:`writer`.
        wave: ``(channels, samples)``; values beyond full scale are clipped in PCM formats.
        sample_rate: Rate in Hz.
        subtype: As in :func:`writer`.
        overwrite: Whether an existing file may be replaced.

    Returns:
        The path written.

    Raises:
        InputError: As in :func:`writer` and :func:`check_wave`.
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
    if target.exists() and not overwrite:
        raise InputError(f"{display_name(target)}: exists; pass overwrite or choose another name")


@contextlib.contextmanager
def _write_errors(name: str) -> Iterator[None]:
    """Turn libsndfile's and the system's write errors into one line that names the file."""
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{name}: cannot be written ({error.strerror or error})") from None
    except (soundfile.SoundFileError, AssertionError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else "short write; is the disk full?"
        raise InputError(f"{name}: cannot be written ({reason})") from None


def _check_written(part: Path, frames: int, name: str) -> None:
    """Read the header back: a full disk can swallow the last block without an error."""
    if frames == 0:
        raise InputError(f"{name}: nothing to write; give at least one sample")
    if info(part).frames < frames:
        raise InputError(f"{name}: cannot be written in full; is the disk full?")


# ---------------------------------------------------------------- folders and segments


def find_audio(path: PathLike) -> list[Path]:
    """Return the audio files of a folder and its subfolders, sorted; a file returns itself.

    Links are followed and loops ignored. Hidden files and our own ``.part`` files are left out. A
    folder that may not be opened is listed itself, so that reading it reports the reason.

    Raises:
        InputError: There is no such path, or no audio file under it.
    """
    root = Path(path)
    if root.is_file():
        return [root]
    if not root.exists():
        raise InputError(f"{display_name(path)}: no such file or folder; check the path")
    found, seen = [], set()
    barred: list[Path] = []
    walk = os.walk(root, followlinks=True, onerror=lambda e: barred.append(Path(e.filename)))
    for folder, subfolders, names in walk:
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders.sort()
        found += [
            Path(folder, name)
            for name in names
            if Path(name).suffix.lower() in AUDIO_SUFFIXES and not name.startswith(".")
        ]
    if not found and not barred:
        raise InputError(f"{display_name(path)}: no audio files ({', '.join(AUDIO_SUFFIXES)})")
    return sorted(found + barred)


def segments(wave: Wave, *, sample_rate: int, duration_s: float) -> np.ndarray:
    """Cut a wave into parts of equal length.

    Args:
        wave: ``(channels, samples)``.
        sample_rate: Rate in Hz.
        duration_s: Length of a part in seconds.

    Returns:
        ``(parts, channels, round(duration_s · sample_rate))``. A last part of at least a third of
        that is kept and filled with zeros; a wave shorter than one part gives one, filled up.
    """
    wave = check_wave(wave)
    size = round(duration_s * check_rate(sample_rate))
    if size < 1:
        raise InputError(f"duration_s: {duration_s} is less than one sample; give for example 3.0")
    whole, rest = divmod(wave.shape[1], size)
    count = max(1, whole + (3 * rest >= size))
    parts = fit_length(wave, count * size).reshape(wave.shape[0], count, size)
    return np.ascontiguousarray(parts.transpose(1, 0, 2))


def analysis_window(frame_length: int) -> np.ndarray:
    """Return the square root of the periodic Hann window, float32 ``(frame_length,)``.

    Used for analysis and synthesis with a hop of half a frame, its square adds up to one: perfect
    reconstruction (Griffin and Lim, 1984). Model and real-time path share this one definition.
    """
    if frame_length < 2 or frame_length % 2:
        raise InputError(
            f"frame_length: {frame_length} is not even and >= 2; give for example 1024"
        )
    phase = 2 * np.pi * np.arange(frame_length) / frame_length
    return np.sqrt(0.5 - 0.5 * np.cos(phase)).astype(np.float32)
