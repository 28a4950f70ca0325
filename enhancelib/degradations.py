"""Degradations that are no codec: noise of several colours, clipping."""

from __future__ import annotations

import numpy as np

from enhancelib.errors import InputError

# Power spectral density ~ f ** exponent.
NOISE_EXPONENTS = {"white": 0.0, "pink": -1.0, "brown": -2.0, "blue": 1.0, "violet": 2.0}
NOISE_COLOURS: tuple[str, ...] = (*NOISE_EXPONENTS, "hum")


def add_noise(
    wave: np.ndarray, colour: str, snr_db: float, *, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Add noise at an exact signal-to-noise ratio over the whole wave.

    Args:
        wave: ``(channels, samples)``.
        colour: One of :data:`NOISE_COLOURS`; the noise differs between channels, the hum does not.
        snr_db: 10 log10 of the wave's energy over the noise's. Silence stays silence.
        sample_rate: Rate in Hz.
        rng: Source of randomness.
    """
    if colour not in NOISE_COLOURS:
        raise InputError(f"noise: unknown colour {colour}; use one of {', '.join(NOISE_COLOURS)}")
    if colour == "hum":
        noise = np.broadcast_to(hum(wave.shape[1], sample_rate=sample_rate, rng=rng), wave.shape)
    else:
        noise = coloured_noise(
            wave.shape, NOISE_EXPONENTS[colour], sample_rate=sample_rate, rng=rng
        )
    energy = np.sum(np.square(wave, dtype=np.float64))
    scale = np.sqrt(energy / np.sum(np.square(noise)) / 10 ** (snr_db / 10))
    return (wave + scale * noise).astype(np.float32)


def coloured_noise(
    shape: tuple[int, int], exponent: float, *, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Return Gaussian noise whose power density goes as frequency to the ``exponent``.

    White noise is shaped in the frequency domain (Timmer and König, 1995); below 20 Hz the density
    stays at its 20 Hz value, so that brown noise does not wander off.

    Returns:
        float64 ``shape`` = (channels, samples), each channel independent.
    """
    white = rng.standard_normal(shape)
    if exponent == 0:
        return white
    frequency = np.fft.rfftfreq(shape[1], 1 / sample_rate)
    gain = np.maximum(frequency, 20.0) ** (exponent / 2)
    return np.fft.irfft(np.fft.rfft(white) * gain, n=shape[1])


def hum(samples: int, *, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return mains hum: 50 Hz and nine harmonics falling by 6 dB each, random phases."""
    time = np.arange(samples) / sample_rate
    harmonics = np.arange(1, 11)[:, None]
    phases = rng.uniform(0, 2 * np.pi, harmonics.shape)
    return np.sum(2.0 ** (1 - harmonics) * np.sin(100 * np.pi * harmonics * time + phases), axis=0)


def clip(wave: np.ndarray, drive_db: float) -> np.ndarray:
    """Clip hard at ``drive_db`` under the wave's own peak, leaving the rest as it was."""
    limit = np.abs(wave).max() * 10 ** (-drive_db / 20)
    return np.clip(wave, -limit, limit).astype(np.float32)
