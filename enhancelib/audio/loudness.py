"""Loudness and true peak (ITU-R BS.1770), and the gains that make waves fair to compare."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import soxr

from enhancelib.audio.waves import Wave

MAX_GAIN_DB = 15.0  # a nearly silent wave is not raised further
PEAK_LIMIT_DB = -0.1  # true peak, dB relative to full scale, of the loudest matched wave


def loudness_lufs(wave: np.ndarray, *, sample_rate: int) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770-4); minus infinity for silence.

    A clip shorter than one 400 ms gating block is repeated until it fills one.

    Args:
        wave: float (channels, samples) in [-1, 1].
        sample_rate: in Hz.
    """
    import pyloudnorm

    repeats = math.ceil(0.4 * sample_rate / wave.shape[1]) + 1 if wave.shape[1] else 1
    repeated = np.tile(wave, repeats) if wave.shape[1] < 0.4 * sample_rate else wave
    if not repeated.any():
        return -math.inf
    with np.errstate(divide="ignore"):
        return float(pyloudnorm.Meter(sample_rate).integrated_loudness(repeated.T.astype(float)))


class TruePeakMeter:
    """Largest true peak of a stream: ITU-R BS.1770-4, annex 2, four-fold oversampling.

    The filter lets through what lies up to 0.91 of half the sample rate.

    Args:
        sample_rate: in Hz; above 96 kHz less oversampling reaches the same resolution.
        channels: number of channels.
    """

    def __init__(self, *, sample_rate: int, channels: int):
        factor = 4 if sample_rate < 96000 else 2
        self._channels = channels
        self._stream = soxr.ResampleStream(
            sample_rate, factor * sample_rate, channels, "float32", "HQ"
        )
        self._peak = 0.0

    def add(self, wave: Wave) -> None:
        """Take the next (channels, samples)."""
        self._measure(self._stream.resample_chunk(np.ascontiguousarray(wave.T)), wave)

    def finish(self) -> float:
        """End the stream and return the peak in dBTP, minus infinity for silence."""
        nothing = np.zeros((0, self._channels), np.float32)
        self._measure(self._stream.resample_chunk(nothing, last=True))
        return 20 * math.log10(self._peak) if self._peak else -math.inf

    def _measure(self, *waves: Wave) -> None:
        self._peak = max([self._peak, *(float(np.abs(wave).max()) for wave in waves if wave.size)])


def true_peak_db(wave: np.ndarray) -> float:
    """True peak in dB relative to full scale, by :class:`TruePeakMeter`; -inf for silence.

    Args:
        wave: float (channels, samples) at any rate, oversampled by four.
    """
    meter = TruePeakMeter(sample_rate=48000, channels=len(wave))  # only the factor counts
    meter.add(np.asarray(wave, np.float32))
    return meter.finish()


def matched_gains_db(waves: Sequence[np.ndarray], *, sample_rate: int) -> list[float]:
    """Gains in dB that bring all waves to the loudness of the first without clipping any.

    Silent waves keep gain 0; none is raised by more than 15 dB relative to the first. Where a
    matched wave would pass -0.1 dB true peak, all are lowered alike.

    Args:
        waves: each float (channels, samples).
        sample_rate: in Hz.
    """
    levels = [loudness_lufs(wave, sample_rate=sample_rate) for wave in waves]
    target = next((level for level in levels if math.isfinite(level)), 0.0)
    gains = [min(target - level, MAX_GAIN_DB) if math.isfinite(level) else 0.0 for level in levels]
    loudest = max(true_peak_db(wave) + gain for wave, gain in zip(waves, gains, strict=True))
    lowered = min(0.0, PEAK_LIMIT_DB - loudest)
    return [gain + lowered for gain in gains]


def safe_gains_db(waves: Sequence[np.ndarray]) -> list[float]:
    """One gain in dB for all waves: 0, or as much lower as keeps the loudest from clipping.

    Args:
        waves: each float (channels, samples).
    """
    lowered = min(0.0, PEAK_LIMIT_DB - max(true_peak_db(wave) for wave in waves))
    return [lowered] * len(waves)
