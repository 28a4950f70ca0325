"""Which part of an error can be heard: the noise-to-mask ratio over frequency."""

from __future__ import annotations

import numpy as np

from enhancelib.audio.waves import (
    Wave,
    check_rate,
    check_wave,
    hann_window,
    short_time_spectra,
)
from enhancelib.errors import InputError

_FRAME, _HOP = 2048, 1024
_BAND_BARK = 0.5
_LOWEST_HZ = 80.0
_FULL_SCALE_DB_SPL = 92.0
_LOWER_SLOPE_DB = 27.0
_ADDITION_POWER = 0.4
_FLOOR_DB = -60.0

SURVIVAL = 0.9
"""A bin of a lossy spectrum Y survived if ``|X - Y|² < 0.9 |X|²``, with X the original's.

A bin that was emptied has an error of all its power, so it lies well outside and not on the edge.
The in-band SI-SDR and the loss that stands for it in training both look at these bins.
"""


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
        reference: the same shape.
        sample_rate: in Hz.

    Returns:
        Centres of the bands in Hz, and the ratio in dB, averaged in power over time and channels;
        not less than −60.

    Raises:
        InputError: the waves differ in shape or are shorter than one frame of 2048 samples.
    """
    estimate, reference = check_wave(estimate), check_wave(reference, name="reference")
    if estimate.shape != reference.shape:
        raise InputError(f"waves of two shapes, {estimate.shape} and {reference.shape}")
    if estimate.shape[1] < _FRAME:
        raise InputError(f"{estimate.shape[1]} samples are less than one frame of {_FRAME}")
    ear = Ear(check_rate(sample_rate))
    ratios = []
    for heard, expected in zip(ear.magnitudes(estimate), ear.magnitudes(reference), strict=True):
        noise = ear.to_bands((heard - expected) ** 2)
        mask = ear.mask(ear.to_bands(expected**2) + ear.internal_noise)
        ratios.append(np.mean(noise / mask, axis=0))
    ratio = np.mean(ratios, axis=0)
    return ear.centers_hz, 10 * np.log10(np.maximum(ratio, 10 ** (_FLOOR_DB / 10)))


class Ear:
    """The part of the ear model that depends on the sample rate only.

    Attributes:
        scale: (bins, 1), from the magnitudes of an STFT with a Hann window to units of 0 dB SPL,
            weighted as outer and middle ear do.
        to_bands_matrix: (bands, bins), one where a bin belongs to a band.
        centers_hz: (bands,), centre of each band in Hz.
        internal_noise: (bands,), added to the energy in each band.
        offset: (bands,), how far the mask lies under the excitation, as a ratio of powers.
    """

    FRAME = _FRAME
    ADDITION_POWER = _ADDITION_POWER

    def __init__(self, sample_rate: int):
        frequencies = np.fft.rfftfreq(_FRAME, 1 / sample_rate)
        khz = np.maximum(frequencies, 10.0) / 1000
        weight_db = -0.6 * 3.64 * khz**-0.8 + 6.5 * np.exp(-0.6 * (khz - 3.3) ** 2)
        weight_db -= 1e-3 * khz**3.6
        self._window = hann_window(_FRAME)
        scale = 10 ** (_FULL_SCALE_DB_SPL / 20) / (self._window.sum() / 2)
        self.scale = (scale * 10 ** (weight_db / 20))[:, None]
        top = _bark(min(18000.0, sample_rate / 2))
        edges = np.arange(float(_bark(_LOWEST_HZ)), float(top), _BAND_BARK)
        band = np.searchsorted(edges, _bark(frequencies), side="right") - 1
        inside = _bark(frequencies) <= top
        self.to_bands_matrix = (band == np.arange(len(edges))[:, None]) * inside.astype(float)
        self._bark = edges + _BAND_BARK / 2
        self.centers_hz = 650 * np.sinh(self._bark / 7)
        self.internal_noise = 10 ** (0.1456 * (self.centers_hz / 1000) ** -0.8)
        above = self._bark - self._bark[0]
        self.offset = 10 ** (np.where(above <= 12, 3.0, 0.25 * above) / 10)
        flat = self._shape(np.array(-24.0))
        self._gain = np.sum(flat**_ADDITION_POWER, axis=0)  # of a flat spectrum

    def magnitudes(self, wave: np.ndarray) -> np.ndarray:
        """(channels, samples) → (channels, frames, bins), weighted, in units of 0 dB SPL."""
        return np.abs(short_time_spectra(wave, self._window, _HOP)) * self.scale[:, 0]

    def to_bands(self, power: np.ndarray) -> np.ndarray:
        """(frames, bins) → (frames, bands), not less than 1e-12."""
        return np.maximum(power @ self.to_bands_matrix.T, 1e-12)

    def mask(self, bands: np.ndarray) -> np.ndarray:
        """Spread each band over the others, add with the power 0.4, lower by the offset."""
        shape = self._shape(self._upper_slope_db(10 * np.log10(bands)))
        spread = np.sum((bands[:, :, None] * shape) ** _ADDITION_POWER, axis=1)
        return (spread / self._gain) ** (1 / _ADDITION_POWER) / self.offset

    def spreading(self, level_db: float) -> np.ndarray:
        """(bands, bands): takes energies to the power 0.4 to excitations to the same power.

        With the slopes of one level in dB SPL, whatever that of the sound; else as in :meth:`mask`.
        """
        shape = self._shape(self._upper_slope_db(np.full(len(self._bark), level_db)))
        return (shape**_ADDITION_POWER / self._gain).T

    def _upper_slope_db(self, level_db: np.ndarray) -> np.ndarray:
        """The slope of the spreading above sources of these levels, (…, bands), in dB per Bark."""
        return np.minimum(-24 - 230 / self.centers_hz + 0.2 * level_db, -1.0)

    def _shape(self, upper_slope_db: np.ndarray) -> np.ndarray:
        """How each band's energy is spread: (…, from, to), each row of sum one."""
        distance = self._bark[None, :] - self._bark[:, None]
        upper_db = upper_slope_db[..., None] * distance
        shape = 10 ** (np.where(distance < 0, _LOWER_SLOPE_DB * distance, upper_db) / 10)
        return shape / shape.sum(axis=-1, keepdims=True)


def _bark(frequency_hz: np.ndarray | float) -> np.ndarray:
    """Critical-band rate in Bark (Schroeder 1979, as in BS.1387)."""
    return 7 * np.arcsinh(np.asarray(frequency_hz) / 650)
