"""Degradations that are no codec: noise of several colors, clipping, an old recording."""

from __future__ import annotations

import numpy as np

from enhancelib.errors import InputError

# Power spectral density ~ frequency ** exponent.
NOISE_EXPONENTS = {"white": 0.0, "pink": -1.0, "brown": -2.0, "blue": 1.0, "violet": 2.0}
NOISE_COLORS: tuple[str, ...] = (*NOISE_EXPONENTS, "hum")
_NOISE_CORNER_HZ = 20.0  # below it the density stays as it is there
_MAINS_HZ = 50.0

# A shellac disc at 78 revolutions per minute, electrically recorded.
OLD_BAND_HZ = (100.0, 5000.0)
OLD_HISS_SNR_DB = 30.0
OLD_CLICKS_PER_S = 25.0
OLD_WOW_HZ = 78 / 60
OLD_WOW_DEPTH = 0.0015
_SINC_REACH = 8  # samples on either side in the interpolation
_FILTER_PAD = 8192  # samples of silence against wrap-around of the filter


# ---------------------------------------------------------------- noise


def add_noise(
    wave: np.ndarray, color: str, snr_db: float, *, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Add noise at an exact signal-to-noise ratio over the whole wave.

    Args:
        wave: ``(channels, samples)``.
        color: one of :data:`NOISE_COLORS`; the noise differs between channels, the hum does not.
        snr_db: 10 log10 of the wave's energy over the noise's. Silence stays silence.
        sample_rate: rate in Hz.
        rng: source of randomness.

    Returns:
        float32 ``(channels, samples)``; not limited to full scale, so that the ratio holds.

    Raises:
        InputError: an unknown color.
    """
    if color not in NOISE_COLORS:
        raise InputError(f"noise: unknown color {color}; use {', '.join(NOISE_COLORS)}")
    if color == "hum":
        noise = np.broadcast_to(hum(wave.shape[1], sample_rate=sample_rate, rng=rng), wave.shape)
    else:
        exponent = NOISE_EXPONENTS[color]
        noise = colored_noise(wave.shape, exponent, sample_rate=sample_rate, rng=rng)
    return (wave + _at_snr(noise, wave, snr_db)).astype(np.float32)


def _at_snr(noise: np.ndarray, wave: np.ndarray, snr_db: float) -> np.ndarray:
    """Scale ``noise`` so that the wave's energy is ``snr_db`` over its own."""
    energy = np.sum(np.square(wave, dtype=np.float64))
    return noise * np.sqrt(energy / np.sum(np.square(noise)) / 10 ** (snr_db / 10))


def colored_noise(
    shape: tuple[int, int], exponent: float, *, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Return Gaussian noise whose power density goes as frequency to the ``exponent``.

    White noise is shaped in the frequency domain (Timmer and König, 1995, "On generating power law
    noise"); below 20 Hz the density stays at its value there, so that brown noise does not drift.

    Returns:
        float64 ``shape`` = (channels, samples), each channel independent.
    """
    white = rng.standard_normal(shape)
    if exponent == 0:
        return white
    frequency = np.fft.rfftfreq(shape[1], 1 / sample_rate)
    gain = np.maximum(frequency, _NOISE_CORNER_HZ) ** (exponent / 2)
    return np.fft.irfft(np.fft.rfft(white) * gain, n=shape[1])


def hum(samples: int, *, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return mains hum ``(samples,)``: 50 Hz and nine harmonics, each 6 dB lower than the last."""
    harmonics = np.arange(1, 11)
    harmonics = harmonics[harmonics * _MAINS_HZ < sample_rate / 2]
    phases = rng.uniform(0, 2 * np.pi, len(harmonics))
    time = np.arange(samples) / sample_rate
    partials = (
        2.0 ** (1 - k) * np.sin(2 * np.pi * k * _MAINS_HZ * time + phase)
        for k, phase in zip(harmonics, phases, strict=True)
    )
    return sum(partials)


# ---------------------------------------------------------------- clipping


def clip(wave: np.ndarray, drive_db: float) -> np.ndarray:
    """Clip hard at ``drive_db`` under the wave's own peak; what lies below stays as it was."""
    limit = np.abs(wave).max() * 10 ** (-drive_db / 20)
    return np.clip(wave, -limit, limit).astype(np.float32)


# ---------------------------------------------------------------- an old recording


def old_recording(wave: np.ndarray, *, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``wave`` as a shellac disc would play it: wow, band limit, crackle, hiss.

    Wow and clicks belong to the groove and are common to the channels; hiss is each one's own.
    Stereo is kept, so that the pair can teach the rest. The wow shifts samples by at most
    ``OLD_WOW_DEPTH / (2π · OLD_WOW_HZ)`` seconds, 0.18 ms, and by nothing on average.

    Args:
        wave: ``(channels, samples)``.
        sample_rate: rate in Hz.
        rng: source of randomness.

    Returns:
        float32 of the same shape.
    """
    played = band_limit(wow(wave, sample_rate=sample_rate, rng=rng), sample_rate=sample_rate)
    level = np.sqrt(np.mean(np.square(played)))
    clicks = level * crackle(wave.shape[1], sample_rate=sample_rate, rng=rng)
    hiss = colored_noise(wave.shape, 0.0, sample_rate=sample_rate, rng=rng)
    hiss = _at_snr(band_limit(hiss, sample_rate=sample_rate), played, OLD_HISS_SNR_DB)
    return (played + clicks + hiss).astype(np.float32)


def band_limit(wave: np.ndarray, *, sample_rate: int) -> np.ndarray:
    """Limit to :data:`OLD_BAND_HZ`: Butterworth magnitudes of order 4, zero phase (no delay)."""
    samples = wave.shape[1]
    size = 1 << (samples + _FILTER_PAD).bit_length()  # a fast length
    frequency = np.fft.rfftfreq(size, 1 / sample_rate)
    low, high = OLD_BAND_HZ
    with np.errstate(divide="ignore"):
        gain = 1 / np.sqrt((1 + (low / frequency) ** 8) * (1 + (frequency / high) ** 8))
    return np.fft.irfft(np.fft.rfft(wave, n=size) * gain, n=size)[:, :samples]


def wow(wave: np.ndarray, *, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Vary the speed once per revolution of an eccentric disc; random phase.

    Sample n is taken at n + d(n), with d(n) = depth · fs / (2π f) · sin(2π f n / fs + φ), by
    interpolation with a Hann-windowed sinc.
    """
    at = np.arange(wave.shape[1])
    swing = OLD_WOW_DEPTH * sample_rate / (2 * np.pi * OLD_WOW_HZ)
    phase = 2 * np.pi * OLD_WOW_HZ * at / sample_rate + rng.uniform(0, 2 * np.pi)
    position = at + swing * np.sin(phase)
    base = np.floor(position).astype(int)
    part = np.maximum(position - base, 1e-9)
    margin = _SINC_REACH + int(np.ceil(swing)) + 1
    padded = np.pad(wave.astype(np.float64), [(0, 0), (margin, margin)])
    warped = np.zeros(wave.shape)
    for tap in range(1 - _SINC_REACH, _SINC_REACH + 1):
        window = np.cos(np.pi * (part - tap) / (2 * _SINC_REACH)) ** 2
        weight = (-1) ** tap * window / (np.pi * (part - tap))
        warped += weight * padded[:, base + tap + margin]
    return np.sin(np.pi * part) * warped  # sin(π (x − k)) = (−1)^k sin(π x), of the sinc


def crackle(samples: int, *, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return clicks ``(samples,)`` at random times (Poisson), for a signal of RMS 1.

    A click is a decaying burst of a millisecond (Godsill and Rayner, 1998, chapter 5); heights are
    log-normal around the RMS, most of them small and a few large.
    """
    clicks = np.zeros(samples)
    length = max(1, round(1e-3 * sample_rate))
    decay = np.exp(-5 * np.arange(length) / length)
    for start in rng.integers(0, samples, rng.poisson(OLD_CLICKS_PER_S * samples / sample_rate)):
        burst = rng.lognormal(0.0, 1.0) * decay * rng.choice([-1, 1])
        end = min(samples, start + length)
        clicks[start:end] += burst[: end - start]
    return clicks
