"""Waves as arrays: what a wave is, resampling, segments, windows, short-time spectra.

A *wave* is a ``float32`` array of shape ``(channels, samples)`` with full scale at [-1, 1]; its
sample rate travels beside it as the keyword ``sample_rate``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from enhancelib.checks import check_number
from enhancelib.errors import InputError

Wave = np.ndarray
MAX_CHANNELS = 64
"""The most channels of a wave; what has more is taken for (samples, channels)."""


def check_wave(wave: np.ndarray, *, name: str = "wave") -> Wave:
    """Return ``wave`` as float32 ``(channels, samples)``, or say what is wrong with it.

    Args:
        wave: floating-point array ``(channels, samples)``, at least one channel and one sample.
        name: what to call it in the message (an argument or a file name).

    Raises:
        InputError: wrong shape, integers (their full scale is unknown), NaN or infinity.
    """
    array = np.asarray(wave)
    if array.ndim != 2:
        raise InputError(
            f"{name}: expected shape (channels, samples), got {array.shape}; add wave[None]"
        )
    if 0 in array.shape:
        raise InputError(f"{name}: no samples (shape {array.shape}); give at least one")
    if array.shape[0] > MAX_CHANNELS:
        raise InputError(f"{name}: {array.shape[0]} channels; transpose to (channels, samples)")
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{name}: dtype {array.dtype}; convert to float32 in [-1, 1]")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise InputError(f"{name}: contains NaN or infinity; repair the source")
    return array


def check_rate(sample_rate: int, *, name: str = "sample_rate") -> int:
    """Return a sample rate in Hz as int; :class:`InputError` unless it is whole and positive."""
    try:
        whole = not isinstance(sample_rate, bool) and int(sample_rate) == sample_rate
    except (TypeError, ValueError, OverflowError):  # None, text, NaN, infinity
        whole = False
    if not whole or not 1 <= sample_rate < 1 << 31:
        raise InputError(f"{name}: {sample_rate!r} is no sample rate; give whole Hz such as 44100")
    return int(sample_rate)


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
        from_rate: rate of ``wave`` in Hz.
        to_rate: wanted rate in Hz.

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
        blocks: waves ``(channels, any number of samples)`` that follow each other.
        from_rate: their rate in Hz.
        to_rate: wanted rate in Hz.

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


def segments(wave: Wave, *, sample_rate: int, duration_s: float) -> np.ndarray:
    """Cut a wave into parts of equal length.

    Args:
        wave: ``(channels, samples)``.
        sample_rate: rate in Hz.
        duration_s: length of a part in seconds.

    Returns:
        ``(parts, channels, round(duration_s · sample_rate))``. A last part of at least a third of
        that is kept and filled with zeros; a wave shorter than one part gives one, filled up.
    """
    wave = check_wave(wave)
    size = round(check_number(duration_s, "duration_s", high=1e6) * check_rate(sample_rate))
    if size < 1:
        raise InputError(f"duration_s: {duration_s} is less than one sample; give for example 3.0")
    whole, rest = divmod(wave.shape[1], size)
    count = max(1, whole + (3 * rest >= size))
    parts = fit_length(wave, count * size).reshape(wave.shape[0], count, size)
    return np.ascontiguousarray(parts.transpose(1, 0, 2))


def hann_window(frame_length: int) -> np.ndarray:
    """Return the periodic Hann window, float64 ``(frame_length,)``: its mean is one half."""
    phase = 2 * np.pi * np.arange(frame_length) / frame_length
    return 0.5 - 0.5 * np.cos(phase)


def short_time_spectra(wave: np.ndarray, window: np.ndarray, hop_length: int) -> np.ndarray:
    """Return the spectra of all frames that lie within a wave, without scaling.

    For plots and measures. What is fast enough for hours of music lies elsewhere: SciPy's transform
    takes several frames at once, but a phone has none (:mod:`enhancelib.evaluate.metrics`).

    Args:
        wave: ``(channels, samples)``, at least as long as the window.
        window: ``(frame_length,)``; float32 leaves a float32 wave in single precision.
        hop_length: samples from one frame to the next.

    Returns:
        Complex ``(channels, 1 + (samples - frame_length) // hop_length, frame_length // 2 + 1)``.
    """
    frames = np.lib.stride_tricks.sliding_window_view(wave, len(window), axis=1)
    return np.fft.rfft(frames[:, ::hop_length] * window, axis=2)


def analysis_window(frame_length: int) -> np.ndarray:
    """Return the square root of the periodic Hann window, float32 ``(frame_length,)``.

    Used for analysis and synthesis with a hop of half a frame, its square adds up to one: perfect
    reconstruction (Griffin and Lim, 1984). Model and real-time path share this one definition.
    """
    if frame_length < 2 or frame_length % 2:
        raise InputError(
            f"frame_length: {frame_length} is not even and >= 2; give for example 1024"
        )
    return np.sqrt(hann_window(frame_length)).astype(np.float32)
