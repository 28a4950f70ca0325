"""Enhance audio files: any format, rate, channel count and length, at constant memory.

A file is read, enhanced and written block by block. Where its rate is not the model's, only the
*correction* (enhanced minus input) is resampled back and added to the input, so that what the model
does not touch, all above its own band included, stays as it was.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from enhancelib.atomic import hidden_files, remove_abandoned
from enhancelib.audio.containers.speakers import is_usual
from enhancelib.audio.loudness import TruePeakMeter
from enhancelib.audio.reading import PathLike, blocks, display_name, info
from enhancelib.audio.tags import copy_tags
from enhancelib.audio.waves import Wave, check_rate, resample_blocks
from enhancelib.audio.writing import WRITABLE_SUFFIXES, check_size, writer
from enhancelib.checks import check_number
from enhancelib.enhance.backends import Backend
from enhancelib.enhance.frames import FrameEngine, blend
from enhancelib.enhance.modelfiles import open_stream
from enhancelib.enhance.worker import ChangeMeter, Timeline
from enhancelib.errors import InputError

_SUFFIX = {"WAV": ".wav", "WAVEX": ".wav", "FLAC": ".flac", "AIFF": ".aiff"} | {
    "RF64": ".wav",  # the same beyond 4 GiB, and written as that where it needs be
    "W64": ".w64",
    "CAF": ".caf",
    "AU": ".au",
}
_SAME = {".wave": ".wav", ".aif": ".aiff"}
_LOSSLESS = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
_BEYOND_FLAC = ("PCM_32", "FLOAT", "DOUBLE")
_LOSSLESS_CODECS = ("alac", "ape", "flac", "tta", "wavpack", "pcm_")
_LOSSY_SUFFIXES = (".ogg", ".opus", ".mp3")
_FLAC_CHANNELS = 8


@dataclass(frozen=True)
class Enhanced:
    """What became of one file.

    Attributes:
        path: the file written.
        seconds: its length.
        true_peak_dbtp: largest true peak before quantisation (ITU-R BS.1770-4, annex 2).
        gain_db: gain applied to keep that peak at full scale; 0 unless asked to limit.
        filled_db: power of what was added, in dB against that of the input; −∞ where nothing was
            lost and the sound came out as it was.
        notes: what the user should know, one line each.
    """

    path: Path
    seconds: float
    true_peak_dbtp: float
    gain_db: float = 0.0
    filled_db: float = math.nan
    notes: tuple[str, ...] = ()


def enhance_file(
    input_path: PathLike,
    output_path: PathLike,
    *,
    model: Backend | PathLike | None = None,
    model_type: str | None = None,
    format: str | None = None,
    sample_rate: int | None = None,
    limit: bool = False,
    amount: float = 1.0,
    overwrite: bool = False,
    threads: int | None = None,
    progress: bool = False,
) -> Enhanced:
    """Enhance one file; channels, length and tags stay, and the rate unless one is asked for.

    A file keeps its form by itself, so that it fits where it came from. Where its rate leaves no
    room for treble that the model could restore, a note says which ``sample_rate`` would.

    Args:
        input_path: any audio file.
        output_path: file to write, its suffix picks the format; or an existing folder, then name
            and format stay, but a lossy input becomes FLAC, since coding it again would undo the
            work. So does a format that is only read, or WAV where FLAC has no such samples.
        model: a model file that can stream, or an opened backend; ``None`` takes the default.
        model_type: as in :func:`enhancelib.enhance.modelfiles.open_model`.
        format: suffix such as ``"flac"`` or ``"wav"`` to write in a folder, whatever the input;
            a file named with another one is refused.
        sample_rate: of the file written, in Hz; ``None`` keeps the input's. A higher one makes
            room for the treble that the model restores.
        limit: whether to apply one gain, in a second pass, if the true peak exceeds 0 dBTP.
        amount: of the enhancement, 0 to 1: input + amount * (enhanced - input); 0 writes the
            samples of the decoded input.
        overwrite: whether an existing file may be replaced.
        threads: of the model's runtime.
        progress: whether to show a progress bar, where standard error is a terminal.

    Raises:
        InputError: the input cannot be read, the output exists or cannot be written, or the amount
            is impossible.
        ModelError: the model cannot be opened.
    """
    amount = check_number(amount, "amount", high=1)
    source = Path(input_path)
    notes: list[str] = []
    target, subtype = target_of(source, Path(output_path), format=format, notes=notes)
    if target != Path(output_path) and not format:
        notes += coding_notes(source, target)
    if os.path.exists(target) and not overwrite:
        raise InputError(f"{display_name(target)}: exists; pass overwrite or choose another name")
    if os.path.exists(target) and target.samefile(source):
        raise InputError(f"{display_name(target)}: is the input itself; choose another name")
    backend = (
        model if isinstance(model, Backend) else open_stream(model, model_type, threads=threads)
    )
    rate = info(source).sample_rate if sample_rate is None else check_rate(sample_rate)
    with _hidden_beside(target) as hidden:
        write = partial(
            _write,
            source,
            hidden,
            backend,
            rate=rate,
            subtype=subtype,
            amount=amount,
            progress=progress,
        )
        try:
            result = write(gain_db=0.0, ceiling_dbtp=0.0 if limit else math.inf)
        except _TooLoudError as error:
            result = write(gain_db=-error.true_peak_dbtp, ceiling_dbtp=math.inf)
        notes += _carried(source, hidden, display_name(target), gain_db=result.gain_db)
        if os.path.exists(target) and not overwrite:  # another run was faster
            raise InputError(f"{display_name(target)}: exists; nothing was replaced")
        os.replace(hidden, target)  # one that must not be replaced was looked for last
    if rate < backend.metadata.sample_rate and sample_rate is None:
        notes.append(
            f"{display_name(target)}: {rate} Hz leaves no room for treble above {rate / 2000:g} "
            f"kHz; pass --sample_rate {backend.metadata.sample_rate} to have it restored"
        )
    if result.true_peak_dbtp > 0.05:
        notes.append(
            f"{display_name(target)}: true peak {result.true_peak_dbtp:+.1f} dBTP may clip when "
            "played; pass limit to lower it"
        )
    return replace(result, path=target, notes=(*result.notes, *notes))


def _carried(source: Path, hidden: Path, name: str, *, gain_db: float) -> list[str]:
    """Copy what lies beside the sound, and return the line that names what could not be kept."""
    before, after = info(source), info(hidden)
    rate_ratio = after.sample_rate / before.sample_rate
    lost = copy_tags(source, hidden, rate_ratio=rate_ratio, gain_db=gain_db)
    if after.channel_mask != before.channel_mask and not is_usual(
        before.channel_mask, before.channels
    ):
        lost.append("which loudspeaker each channel is for")
    return [f"{name}: tags not kept: {', '.join(lost)}"] if lost else []


@contextlib.contextmanager
def _hidden_beside(target: Path) -> Iterator[Path]:
    """Yield a name to write to before ``target`` is replaced, whatever earlier runs left.

    Raises:
        InputError: nothing can be written there; the file that the user asked for is named.
    """
    hidden = target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(target.parent)
        with hidden_files(target.parent) as base:
            hidden = Path(f"{base}{target.suffix}")
            yield hidden
    except OSError as error:
        raise InputError(
            f"{display_name(target)}: cannot be written ({error.strerror or error})"
        ) from None
    except InputError as error:
        raise InputError(str(error).replace(display_name(hidden), display_name(target))) from None


def target_of(
    source: Path, output: Path, *, format: str | None, notes: list[str]
) -> tuple[Path, str | None]:
    """Decide the name and the libsndfile subtype of what is written for ``source``.

    Args:
        source: the input file.
        output: a folder that exists, or the file wanted.
        format: suffix to write in a folder; ``None`` keeps the input's if it is lossless and can
            be written.
        notes: a line is added where the coding asked for undoes part of the enhancement.

    Raises:
        InputError: the input cannot be read or the format cannot be written.
    """
    facts = info(source)
    own = source.suffix.lower()
    if facts.subtype not in _LOSSLESS or facts.format not in _SUFFIX:
        fits = facts.channels <= _FLAC_CHANNELS and facts.subtype not in _BEYOND_FLAC
        own = ".flac" if fits else ".wav"
    elif _SAME.get(own, own) != _SUFFIX[facts.format] or own not in WRITABLE_SUFFIXES:
        own = _SUFFIX[facts.format]
    suffix = f".{format.lower().lstrip('.')}" if format else own
    target = output / f"{source.stem}{suffix}" if os.path.isdir(output) else output
    name, suffix = display_name(target), target.suffix.lower()
    if format and suffix != f".{format.lower().lstrip('.')}":
        raise InputError(f"{name}: is no .{format.lower().lstrip('.')} file; name one, or a folder")
    if suffix not in WRITABLE_SUFFIXES:
        raise InputError(f"{name}: cannot write this format; use {', '.join(WRITABLE_SUFFIXES)}")
    if suffix in _LOSSY_SUFFIXES:
        notes.append(f"{name}: coding to {suffix} undoes part of the enhancement; prefer .flac")
        return target, None
    container = next(key for key, value in _SUFFIX.items() if value == _SAME.get(suffix, suffix))
    keep = facts.subtype in _LOSSLESS and soundfile.check_format(container, facts.subtype)
    return target, facts.subtype if keep else None


def coding_notes(source: Path, target: Path) -> tuple[str, ...]:
    """What to say where nobody asked for the coding of ``target`` and it is not the input's.

    Raises:
        InputError: the input cannot be read.
    """
    coding, suffix = info(source).subtype, target.suffix.lower()
    if coding in _LOSSLESS or coding.lower().startswith(_LOSSLESS_CODECS):
        return ()
    why = f"since coding to {coding} would undo it"
    return (f"{display_name(target)}: written as {suffix}, {why}",)


def enhance_blocks(
    stream: Iterable[Wave], backend: Backend, *, sample_rate: int, amount: float = 1.0
) -> Iterator[Wave]:
    """Enhance waves that follow each other, at constant memory and at any rate.

    Args:
        stream: waves (channels, samples) of one recording.
        backend: a model that can stream.
        sample_rate: of the waves in Hz.
        amount: of the enhancement, 0 to 1.

    Yields:
        Waves that, joined, have the length of the input and are aligned with it.
    """
    rate, source = backend.metadata.sample_rate, _Remembered(stream)
    if rate == sample_rate:
        for enhanced in _run(source, backend):
            yield blend(source.next(enhanced.shape[1]), enhanced, amount)
        return
    down = _Remembered(resample_blocks(source, from_rate=sample_rate, to_rate=rate))
    corrections = (enhanced - down.next(enhanced.shape[1]) for enhanced in _run(down, backend))
    for correction in resample_blocks(corrections, from_rate=rate, to_rate=sample_rate):
        block = source.next(correction.shape[1])
        yield blend(block, block + correction[:, : block.shape[1]], amount)
    if source.left:
        yield source.next(source.left)


def _run(stream: Iterable[Wave], backend: Backend) -> Iterator[Wave]:
    engine = None
    for block in stream:
        engine = engine or FrameEngine(backend, block.shape[0])
        final = engine.push(block)
        if final.shape[1]:
            yield final
    if engine:
        yield engine.finish()


class _Remembered:
    """An iterator over blocks whose samples can be asked for again, in order."""

    def __init__(self, stream: Iterable[Wave]):
        self._stream = stream
        self._blocks: Timeline | None = None
        self._given = self._seen = 0

    @property
    def left(self) -> int:
        """Samples seen and not asked for yet."""
        return self._seen - self._given

    def __iter__(self) -> Iterator[Wave]:
        for block in self._stream:
            self._blocks = self._blocks or Timeline(block.shape[0])
            self._blocks.append(self._seen, block)
            self._seen += block.shape[1]
            yield block

    def next(self, samples: int) -> Wave:
        """Return the next samples, fewer where there are no more."""
        samples = min(samples, self.left)
        assert self._blocks is not None  # the stream has begun
        self._given += samples
        return self._blocks.take(self._given - samples, samples)


class _TooLoudError(Exception):
    """The true peak exceeds the ceiling; nothing was written."""

    def __init__(self, true_peak_dbtp: float):
        super().__init__(true_peak_dbtp)
        self.true_peak_dbtp = true_peak_dbtp


def _write(
    source: Path,
    hidden: Path,
    backend: Backend,
    *,
    rate: int,
    subtype: str | None,
    amount: float,
    progress: bool,
    gain_db: float,
    ceiling_dbtp: float,
) -> Enhanced:
    """Enhance ``source`` into ``hidden``, unless its true peak turns out above the ceiling."""
    facts = info(source)
    notes: list[str] = []
    check_size(
        display_name(hidden),
        suffix=hidden.suffix.lower(),
        frames=round(facts.seconds * rate),
        channels=facts.channels,
        subtype=subtype or "",
    )
    change = ChangeMeter()
    meter = TruePeakMeter(sample_rate=rate, channels=facts.channels)
    gain, samples = np.float32(10 ** (gain_db / 20)), 0
    file = writer(
        hidden,
        sample_rate=rate,
        channels=facts.channels,
        subtype=subtype,
        channel_mask=facts.channel_mask,
        part=hidden.with_suffix(".part"),
    )
    bar = _bar(round(facts.seconds), display_name(source.name)) if progress else None
    with bar or contextlib.nullcontext(), file as out:
        wide = max(rate, facts.sample_rate)  # the model hears all there is and has all the room
        stream = blocks(source, sample_rate=wide, notes=notes)
        stream = enhance_blocks(change.before(stream), backend, sample_rate=wide, amount=amount)
        stream = change.after(stream)
        for block in resample_blocks(stream, from_rate=wide, to_rate=rate):
            block = block * gain
            out.write(block)
            meter.add(block)
            samples += block.shape[1]
            if bar:
                bar.update(samples // rate - bar.n)
        peak = meter.finish()
        if peak > ceiling_dbtp:
            raise _TooLoudError(peak)
    return Enhanced(hidden, samples / rate, peak, gain_db, change.filled_db, tuple(notes))


def _bar(seconds: int, name: str) -> tqdm:
    """A bar on a terminal. Making one takes a semaphore, which a worker that is killed leaks."""
    return tqdm(total=seconds, unit="s", desc=name, disable=None)
