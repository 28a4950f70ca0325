"""How far up a recording reaches, and whether it ends at a cliff: the mark of an earlier codec.

Encoders cut everything above a frequency that depends on the bit rate (MP3 at 128 kbit/s near
16 kHz), so the long-term spectrum falls by tens of decibels within a few hundred hertz and stays
down. Instruments fade instead. A file with such a cliff is no lossless original, whatever its
format says.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from enhancelib.audio.waves import (
    Wave,
    check_rate,
    check_wave,
    fit_length,
    hann_window,
    short_time_spectra,
)

_FRAME = 4096
_BLOCK_FRAMES = 256
_RANGE_DB = 70.0
_SMOOTHING_HZ = 300.0
_SEARCH_HZ = (5000.0, 20000.0)


@dataclasses.dataclass(frozen=True)
class Cliff:
    """The steepest lasting fall of a spectrum: how deep in dB, and at which frequency in Hz."""

    depth_db: float
    frequency_hz: float


def long_term_spectrum(wave: Wave, *, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Power over frequency, averaged over time (Welch, 1967; Hann, half overlap) and channels.

    Args:
        wave: ``(channels, samples)``; shorter than a frame, it is filled with zeros.
        sample_rate: in Hz.

    Returns:
        Frequencies in Hz and levels in dB per bin, smoothed over 300 Hz, both of shape (2049,).
    """
    wave, sample_rate = check_wave(wave), check_rate(sample_rate)
    wave = fit_length(wave, max(_FRAME, wave.shape[1]))
    window, hop = hann_window(_FRAME).astype(np.float32), _FRAME // 2
    count = 1 + (wave.shape[1] - _FRAME) // hop
    power = np.zeros(_FRAME // 2 + 1)
    for first in range(0, count, _BLOCK_FRAMES):  # an hour has spectra of gigabytes
        block = wave[:, first * hop :][:, : (_BLOCK_FRAMES - 1) * hop + _FRAME]
        spectra = short_time_spectra(block, window, hop)
        power += np.sum(np.mean(np.abs(spectra) ** 2, axis=0), axis=0, dtype=np.float64)
    power /= count * np.sum(window) ** 2 / 4
    width = max(1, round(_SMOOTHING_HZ * _FRAME / sample_rate))
    edges = np.pad(power, width // 2, mode="edge")
    smooth = np.convolve(edges, np.ones(width) / width, mode="valid")[: len(power)]
    return np.fft.rfftfreq(_FRAME, 1 / sample_rate), 10 * np.log10(smooth + 1e-20)


def bandwidth_hz(wave: Wave, *, sample_rate: int) -> float:
    """Highest frequency whose long-term level is within 70 dB of the strongest; 0 for silence."""
    frequencies, level = long_term_spectrum(wave, sample_rate=sample_rate)
    if level.max() < -180:
        return 0.0
    return float(frequencies[np.flatnonzero(level > level.max() - _RANGE_DB)[-1]])


def spectral_cliff(wave: Wave, *, sample_rate: int) -> Cliff:
    """The deepest lasting fall between 5 and 20 kHz.

    At each frequency, the level over the 700 Hz below it is compared with the highest level
    anywhere above it (from 300 Hz on): only a fall that nothing above makes up for counts, so gaps
    between partials do not. Levels more than 90 dB under the strongest are not looked at.

    Returns:
        The cliff; depth 0 where there is none. More than 30 dB means that it was once coded, or
        once at a lower sample rate.
    """
    frequencies, level = long_term_spectrum(wave, sample_rate=sample_rate)
    step = frequencies[1]
    floor = level.max() - 90.0
    highest_above = np.maximum.accumulate(level[::-1])[::-1]
    deepest = Cliff(0.0, 0.0)
    last = min(_SEARCH_HZ[1], frequencies[-1] - 600)
    for at in range(round(_SEARCH_HZ[0] / step), round(last / step)):
        below = float(np.median(level[at - round(800 / step) : at - round(100 / step)]))
        depth = below - max(float(highest_above[at + round(300 / step)]), floor)
        if below > floor and depth > deepest.depth_db:
            deepest = Cliff(depth, float(frequencies[at]))
    return deepest
