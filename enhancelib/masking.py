"""Which part of an error can be heard: the noise-to-mask ratio over frequency."""

from __future__ import annotations

import numpy as np

from enhancelib.audio import Wave, check_wave
from enhancelib.errors import InputError

_FRAME, _HOP = 2048, 1024
_BAND_BARK = 0.5
_LOWEST_HZ = 80.0
_FULL_SCALE_DB_SPL = 92.0
_LOWER_SLOPE_DB = 27.0
_ADDITION_POWER = 0.4
_FLOOR_DB = -60.0


def noise_to_mask(
    estimate: Wave, reference: Wave, *, sample_rate: int
) -> tuple[np.ndarray, np.ndarray]:
    """Noise-to-mask ratio per half critical band, lower is better; above 0 dB it can be heard.

    After the FFT ear model of PEAQ (ITU-R BS.1387-1, Annex 2, sections 2.1 and 3.3): the weighting
    of outer and middle ear, critical bands, internal noise, level-dependent spreading, and a mask 3
    dB or more below the excitation; the noise is the difference of the weighted magnitudes. Left
    out are the spreading over time and the finer bands of a quarter Bark. A full-scale sine counts
    as 92 dB SPL.

    Args:
        estimate: ``(channels, samples)`` in [-1, 1].
        reference: The same shape.
        sample_rate: In Hz.

    Returns:
        Centres of the bands in Hz, and the ratio in dB, averaged in power over time and channels;
        not less than −60.

    Raises:
        InputError: The waves differ in shape or are shorter than one frame of 2048 samples.
    """
    estimate, reference = check_wave(estimate), check_wave(reference, name="reference")
    if estimate.shape != reference.shape:
        raise InputError(f"waves of two shapes, {estimate.shape} and {reference.shape}")
    if estimate.shape[1] < _FRAME:
        raise InputError(f"{estimate.shape[1]} samples are less than one frame of {_FRAME}")
    ear = _Ear(sample_rate)
    ratios = []
    for channel, original in zip(estimate, reference, strict=True):
        heard, expected = ear.magnitudes(channel), ear.magnitudes(original)
        noise = ear.to_bands((heard - expected) ** 2)
        mask = ear.mask(ear.to_bands(expected**2) + ear.internal_noise)
        ratios.append(np.mean(noise / mask, axis=0))
    ratio = np.mean(ratios, axis=0)
    return ear.centres_hz, 10 * np.log10(np.maximum(ratio, 10 ** (_FLOOR_DB / 10)))


class _Ear:
    """The part of the ear model that depends on the sample rate only."""

    def __init__(self, sample_rate: int):
        frequencies = np.fft.rfftfreq(_FRAME, 1 / sample_rate)
        khz = np.maximum(frequencies, 10.0) / 1000
        weight_db = -0.6 * 3.64 * khz**-0.8 + 6.5 * np.exp(-0.6 * (khz - 3.3) ** 2)
        weight_db -= 1e-3 * khz**3.6
        self._window = np.hanning(_FRAME + 1)[:-1]
        scale = 10 ** (_FULL_SCALE_DB_SPL / 20) / (self._window.sum() / 2)
        self._weight = scale * 10 ** (weight_db / 20)
        top = _bark(min(18000.0, sample_rate / 2))
        edges = np.arange(_bark(_LOWEST_HZ), top, _BAND_BARK)
        self._band = np.searchsorted(edges, _bark(frequencies), side="right") - 1
        self._band[_bark(frequencies) > top] = -1
        self._bark = edges + _BAND_BARK / 2
        self.centres_hz = 650 * np.sinh(self._bark / 7)
        self.internal_noise = 10 ** (0.1456 * (self.centres_hz / 1000) ** -0.8)
        above = self._bark - self._bark[0]
        self._offset_db = np.where(above <= 12, 3.0, 0.25 * above)

    def magnitudes(self, channel: np.ndarray) -> np.ndarray:
        """(samples,) → (frames, bins), weighted as the ear does, in units of 0 dB SPL."""
        frames = np.lib.stride_tricks.sliding_window_view(channel, _FRAME)[::_HOP]
        return np.abs(np.fft.rfft(frames * self._window, axis=1)) * self._weight

    def to_bands(self, power: np.ndarray) -> np.ndarray:
        """(frames, bins) → (frames, bands), not less than 1e-12."""
        bands = np.zeros((len(power), len(self._bark)))
        for band in range(len(self._bark)):
            bands[:, band] = power[:, self._band == band].sum(axis=1)
        return np.maximum(bands, 1e-12)

    def mask(self, bands: np.ndarray) -> np.ndarray:
        """Spread each band over the others, add with the power 0.4, lower by the offset."""
        level_db = 10 * np.log10(bands)[:, :, None]
        distance = self._bark[None, None, :] - self._bark[None, :, None]
        upper_db = np.minimum(-24 - 230 / self.centres_hz[None, :, None] + 0.2 * level_db, -1.0)
        slope_db = np.where(distance < 0, _LOWER_SLOPE_DB * distance, upper_db * distance)
        shape = 10 ** (slope_db / 10)
        shape /= shape.sum(axis=2, keepdims=True)
        spread = np.sum((bands[:, :, None] * shape) ** _ADDITION_POWER, axis=1)
        flat = 10 ** (np.where(distance < 0, _LOWER_SLOPE_DB, -24.0) * distance / 10)
        flat /= flat.sum(axis=2, keepdims=True)
        gain = np.sum(flat**_ADDITION_POWER, axis=1)  # of a flat spectrum, taken back
        excitation = (spread / gain) ** (1 / _ADDITION_POWER)
        return excitation / 10 ** (self._offset_db / 10)


def _bark(frequency_hz: np.ndarray | float) -> np.ndarray:
    """Critical-band rate in Bark (Schroeder 1979, as in BS.1387)."""
    return 7 * np.arcsinh(np.asarray(frequency_hz) / 650)
