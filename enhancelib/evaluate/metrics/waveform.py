"""Distances between two waves, sample by sample.

Every function takes ``(estimate, reference)``, two waves of one shape ``(channels, samples)`` in
[-1, 1], and returns one number. All channels count as one long signal, so a system that shifts the
stereo image pays for it. Ratios of levels stay within ±100 dB, so that a perfect or an empty
estimate still has a mean.

All raise :class:`~enhancelib.errors.InputError` for a wave that is empty, holds NaN or infinity, or
differs in shape from the other.
"""

from collections.abc import Iterator

import numpy as np

from enhancelib.audio.waves import check_wave
from enhancelib.errors import InputError

CLAMP_DB = 100.0
"""A ratio of levels is reported within plus or minus this many dB."""
SEGMENT_S = 0.03
"""Length of a segment of :func:`segmental_snr`."""
SEGMENT_RANGE_DB = (-10.0, 35.0)
"""A segment's SNR is clamped to this range before the mean."""
SEGMENT_SILENCE_DB = -60.0
"""Segments whose reference is this far under its loudest segment are left out."""

_PIECE = 1 << 19  # samples


def check_pair(estimate: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Check two waves, each by itself and one against the other.

    Args:
        estimate: (channels, samples).
        reference: the same shape.

    Returns:
        Both, in float32.

    Raises:
        InputError: one of them is no wave, or they differ in shape.
    """
    estimate = check_wave(estimate, name="estimate")
    reference = check_wave(reference, name="reference")
    if estimate.shape != reference.shape:
        raise InputError(
            f"estimate {estimate.shape} and reference {reference.shape} differ in shape "
            "(channels, samples): align them and crop both to one length"
        )
    return estimate, reference


def ratio(numerator: float, denominator: float) -> float:
    """A ratio of norms, finite: 0 for 0/0, at most 100 dB where only the denominator is 0."""
    if numerator == 0:
        return 0.0
    return float(numerator / max(denominator, numerator * 10 ** (-CLAMP_DB / 20)))


def level_ratio_db(signal: float, error: float, *, clamp_db: float = CLAMP_DB) -> float:
    """``20 log10(signal / error)`` of two norms, in [-100, ``clamp_db``]; no error is the best."""
    if error == 0:
        return clamp_db
    if signal == 0:
        return -CLAMP_DB
    return float(np.clip(20 * np.log10(signal / error), -CLAMP_DB, clamp_db))


def _pieces(estimate: np.ndarray, reference: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield a checked pair in float64, some seconds at a time: a song need not be held twice."""
    estimate, reference = check_pair(estimate, reference)
    for start in range(0, reference.shape[1], _PIECE):
        piece = np.s_[:, start : start + _PIECE]
        yield estimate[piece].astype(np.float64), reference[piece].astype(np.float64)


def _products(estimate: np.ndarray, reference: np.ndarray) -> tuple[float, float, float]:
    """``<ŝ, s>``, ``‖ŝ‖²`` and ``‖s‖²``."""
    sums = np.zeros(3)
    for got, true in _pieces(estimate, reference):
        sums += np.vdot(got, true), np.vdot(got, got), np.vdot(true, true)
    product, got_power, true_power = map(float, sums)
    return product, got_power, true_power


def _error(
    estimate: np.ndarray, reference: np.ndarray, *, gain: float = 1.0, target_gain: float = 1.0
) -> float:
    """``‖gain ŝ - target_gain s‖``."""
    pieces = _pieces(estimate, reference)
    return sum(float(np.sum((gain * g - target_gain * t) ** 2)) for g, t in pieces) ** 0.5


def mse(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Mean squared error; lower is better. Symmetric."""
    estimate, reference = check_pair(estimate, reference)
    return float(np.mean((estimate - reference) ** 2, dtype=np.float64))


def mae(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Mean absolute error; lower is better. Symmetric."""
    estimate, reference = check_pair(estimate, reference)
    return float(np.mean(np.abs(estimate - reference), dtype=np.float64))


def snr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Signal-to-noise ratio ``20 log10(‖s‖ / ‖ŝ - s‖)`` in dB; higher is better.

    A codec that only lowers the level loses SNR (LAME: 0.3 to 0.4 dB quieter): compare
    :func:`gain_matched_snr` before calling an SNR gain a repair.
    """
    _, _, signal = _products(estimate, reference)
    return level_ratio_db(signal**0.5, _error(estimate, reference))


def gain_matched_snr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """SNR in dB after the one gain that brings the estimate closest; higher is better.

    ``g = <ŝ, s> / ‖ŝ‖²``. Never under 0 dB, as an estimate worse than silence is turned down to
    it; a silent reference, which any estimate matches at gain 0, gives the plain SNR.
    """
    overlap, energy, signal = _products(estimate, reference)
    if not signal:
        return level_ratio_db(0.0, energy**0.5)
    gain = overlap / energy if energy else 0.0
    return level_ratio_db(signal**0.5, _error(estimate, reference, gain=gain))


def level_difference(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Level of the estimate over the reference's in dB, ``20 log10(‖ŝ‖ / ‖s‖)``; 0 is best.

    A plain gain changes this and nothing that is scale-invariant. 100 dB is the most, of either
    sign; 0 where both are silent.
    """
    _, energy, signal = _products(estimate, reference)
    if not signal:
        return CLAMP_DB if energy else 0.0
    return level_ratio_db(energy**0.5, signal**0.5)


def si_sdr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019); higher is better.

    ``20 log10(‖αs‖ / ‖αs - ŝ‖)`` with the gain ``α = <s, ŝ> / ‖s‖²``. The mean is not removed. An
    estimate that holds nothing of the reference, as silence does, gets -100. The same value with
    the arguments swapped.
    """
    if np.array_equal(*check_pair(estimate, reference)):
        return CLAMP_DB
    overlap, _, signal = _products(estimate, reference)
    if overlap == 0:
        return -CLAMP_DB
    gain = overlap / signal
    error = _error(estimate, reference, target_gain=gain)
    return level_ratio_db(abs(gain) * signal**0.5, error)


def segmental_snr(estimate: np.ndarray, reference: np.ndarray, *, sample_rate: int) -> float:
    """Mean SNR in dB of 30 ms segments, each clamped to [-10, 35] dB; higher is better.

    Hansen and Pellom 1998. Segments whose reference lies more than 60 dB under its loudest segment
    are left out; a silent reference gives 35 for silence and -10 for anything else.
    """
    estimate, reference = check_pair(estimate, reference)
    length = min(max(round(SEGMENT_S * sample_rate), 1), reference.shape[1])
    count = reference.shape[1] // length
    error, signal = np.zeros((2, count))
    for got, true in zip(estimate, reference, strict=True):  # channel by channel
        got, true = (wave[: count * length].reshape(count, length) for wave in (got, true))
        error += np.square(got - true, dtype=np.float64).sum(axis=1)
        signal += np.square(true, dtype=np.float64).sum(axis=1)
    kept = signal >= signal.max() * 10 ** (SEGMENT_SILENCE_DB / 10)
    pairs = zip(np.sqrt(signal[kept]), np.sqrt(error[kept]), strict=True)
    return float(np.mean(np.clip([level_ratio_db(s, e) for s, e in pairs], *SEGMENT_RANGE_DB)))
