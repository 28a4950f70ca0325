"""Mix, cut, dull and level waves, so that training items are as varied as what people listen to.

Every function takes waves, float32 or float64 ``(channels, samples)``, and returns float32 of the
same shape unless it says otherwise. What is random comes from the generator it is given.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from enhancelib.errors import InputError

CHANNELS = ("mean", "left", "right", "side")
MOST_PARTS = 8
_LOOK_AHEAD_S = 1e-3
_RELEASE_DB_PER_S = 75.0
_FILTER_PAD = 8192  # samples of silence against wrap-around of the filters


def add(parts: Sequence[np.ndarray], gains_db: Sequence[float]) -> np.ndarray:
    """Return the sum of 1 to 8 parts, each brought to RMS 0.1 and then to its gain.

    Args:
        parts: waves of one shape. A silent one adds nothing.
        gains_db: of each part, in dB.

    Raises:
        InputError: no part, more than :data:`MOST_PARTS`, or parts that differ in shape.
    """
    if not 1 <= len(parts) <= MOST_PARTS:
        raise InputError(f"mix: {len(parts)} parts; add 1 to {MOST_PARTS}")
    if len({part.shape for part in parts}) > 1:
        shapes = ", ".join(str(part.shape) for part in parts)
        raise InputError(f"mix: parts of shapes {shapes}; cut them to one")
    total = np.zeros(parts[0].shape)
    for part, gain_db in zip(parts, gains_db, strict=True):
        rms = np.sqrt(np.mean(np.square(part, dtype=np.float64)))
        if rms > 1e-7:
            total += part * (0.1 / rms * 10 ** (gain_db / 20))
    return total.astype(np.float32)


def pick_channel(wave: np.ndarray, channel: str) -> np.ndarray:
    """Return one channel ``(1, samples)`` of a stereo wave.

    Args:
        wave: ``(2, samples)``.
        channel: ``"mean"`` (mid), ``"left"``, ``"right"``, or ``"side"``, half of left less right.

    Raises:
        InputError: another channel.
    """
    left, right = wave[:1], wave[1:2]
    match channel:
        case "mean":
            return (left + right) / 2
        case "left":
            return left
        case "right":
            return right
        case "side":
            return (left - right) / 2
    raise InputError(f"no channel {channel!r}; use {', '.join(CHANNELS)}")


def to_level(wave: np.ndarray, peak_db: float) -> np.ndarray:
    """Scale so that the highest peak is at ``peak_db`` dBFS; silence stays silence."""
    peak = float(np.abs(wave).max())
    gain = 10 ** (peak_db / 20) / peak if peak > 1e-7 else 1.0
    return (wave * gain).astype(np.float32)


def limit(wave: np.ndarray, drive_db: float, *, sample_rate: int) -> np.ndarray:
    """Drive into a look-ahead peak limiter, as mastering does; the peak stays what it was.

    The gain begins to fall 2 ms before a peak, so that it has arrived when the peak does, and
    recovers by 75 dB per second. All channels share it. Nothing is delayed.

    Args:
        wave: ``(channels, samples)``.
        drive_db: by how much the signal is raised against the ceiling, at least 0.
        sample_rate: rate in Hz.
    """
    ceiling = float(np.abs(wave).max())
    if ceiling < 1e-7:
        return wave.astype(np.float32)
    driven = wave.astype(np.float64) * 10 ** (drive_db / 20)
    excess_db = 20 * np.log10(np.maximum(np.abs(driven).max(axis=0) / ceiling, 1.0))
    slope = _RELEASE_DB_PER_S / sample_rate * np.arange(len(excess_db))
    released = np.maximum.accumulate(excess_db + slope) - slope
    # Wherever the mean over a window is taken, all of the window knows of the peak in its middle.
    width = 2 * max(1, round(_LOOK_AHEAD_S * sample_rate)) + 1
    held = maximum_filter1d(released, width, mode="nearest")
    reduction_db = uniform_filter1d(held, width, mode="nearest")
    return (driven * 10 ** (-reduction_db / 20)).astype(np.float32)


def dip(wave: np.ndarray, start: int, stop: int, *, fade: int) -> np.ndarray:
    """Fade to exact silence between two samples and back, by raised cosines of ``fade`` samples.

    The fades lie outside [start, stop), where all is zero; at an end of the wave they are cut off.
    """
    at = np.arange(wave.shape[1])
    outside = np.maximum(np.maximum(start - at, at - stop + 1), 0)
    gain = 0.5 - 0.5 * np.cos(np.pi * np.clip(outside / fade, 0, 1))
    return (wave * gain).astype(np.float32)


def join(first: np.ndarray, second: np.ndarray, at: int, *, fade: int) -> np.ndarray:
    """Return ``first`` up to sample ``at`` and ``second`` from there on, crossfaded.

    Two waves of one shape; the crossfade of equal power is centred and ``fade`` samples long (0: a
    hard cut, as between two files).
    """
    place = np.arange(first.shape[1]) + 0.5
    share = np.clip((place - at) / fade + 0.5, 0, 1) if fade else (place > at).astype(float)
    angle = np.pi / 2 * share
    return (np.cos(angle) * first + np.sin(angle) * second).astype(np.float32)


def roll_off(
    wave: np.ndarray, corner_hz: float, slope_db: float, *, sample_rate: int
) -> np.ndarray:
    """Dull as nature does: from a corner on, the level falls by ``slope_db`` in every octave.

    Zero phase, so that nothing moves; rounded as in a Butterworth filter: −3 dB at the corner.

    Args:
        wave: ``(channels, samples)``.
        corner_hz: where it begins.
        slope_db: fall in dB per octave, 12 to 40 in nature.
        sample_rate: rate in Hz.
    """

    def gain(frequency: np.ndarray) -> np.ndarray:
        order = slope_db / (20 * np.log10(2))
        return 1 / np.sqrt(1 + (frequency / corner_hz) ** (2 * order))

    return _filtered(wave, gain, sample_rate)


def add_hiss(wave: np.ndarray, below_db: float, *, rng: np.random.Generator) -> np.ndarray:
    """Add the white noise of a recording, the same in each channel: mono music stays mono.

    Args:
        wave: ``(channels, samples)``.
        below_db: how far its power lies under the wave's.
        rng: source of randomness.
    """
    noise = rng.standard_normal(wave.shape[1])
    rms = np.sqrt(np.mean(np.square(wave, dtype=np.float64)))
    return (wave + noise * (rms * 10 ** (-below_db / 20))).astype(np.float32)


def brick_wall(
    wave: np.ndarray, cut_hz: float, *, sample_rate: int, width_hz: float = 200.0
) -> np.ndarray:
    """Cut everything above a frequency, as a coder or a lower sample rate does; zero phase.

    The gain falls as a raised cosine from 1 at ``cut_hz − width_hz`` to exactly 0 at ``cut_hz``.
    """

    def gain(frequency: np.ndarray) -> np.ndarray:
        above = np.clip((frequency - cut_hz) / width_hz + 1, 0, 1)
        return 0.5 + 0.5 * np.cos(np.pi * above)

    return _filtered(wave, gain, sample_rate)


def _filtered(wave: np.ndarray, gain, sample_rate: int) -> np.ndarray:
    """Multiply the spectrum by ``gain(frequencies in Hz)``, with silence against wrap-around."""
    from scipy import fft

    samples = wave.shape[1]
    size = fft.next_fast_len(samples + _FILTER_PAD, real=True)
    spectrum = fft.rfft(wave, n=size) * gain(fft.rfftfreq(size, 1 / sample_rate))
    return fft.irfft(spectrum, n=size)[:, :samples].astype(np.float32)
