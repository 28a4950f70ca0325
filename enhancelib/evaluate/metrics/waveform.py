"""Distances between two waves, sample by sample.

Every function takes ``(estimate, reference)``, two waves of one shape ``(channels, samples)`` in
[-1, 1], and returns one number. All channels count as one long signal, so a system that shifts the
stereo image pays for it. Ratios of levels stay within ±100 dB, so that a perfect or an empty
estimate still has a mean.

All raise :class:`~enhancelib.errors.InputError` for a wave that is empty, holds NaN or infinity, or
differs in shape from the other.
"""

import numpy as np

from enhancelib.audio.writing import check_wave
from enhancelib.errors import InputError

CLAMP_DB = 100.0
"""A ratio of levels is reported within plus or minus this many dB."""
SEGMENT_S = 0.03
"""Length of a segment of :func:`segmental_snr`."""
SEGMENT_RANGE_DB = (-10.0, 35.0)
"""A segment's SNR is clamped to this range before the mean."""
SEGMENT_SILENCE_DB = -60.0
"""Segments whose reference is this far under its loudest segment are left out."""


def check_pair(estimate: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both waves, checked one by one and against each other.

    Raises:
        InputError: One of them is no wave, or they differ in shape.
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


def scale_invariant_ratio_db(
    estimate: np.ndarray, reference: np.ndarray, *, clamp_db: float = CLAMP_DB
) -> float:
    """SI-SDR of two arrays of samples or of complex bins, in [-100, ``clamp_db``] dB.

    ``20 log10(‖αs‖ / ‖αs - ŝ‖)`` with the real gain ``α = Re<s, ŝ> / ‖s‖²`` (Le Roux et al. 2019).
    An estimate that holds nothing of the reference, as silence does, gets -100.
    """
    precise = np.result_type(estimate, np.float64)
    estimate, reference = estimate.ravel().astype(precise), reference.ravel().astype(precise)
    if np.array_equal(estimate, reference):
        return clamp_db
    overlap = np.vdot(reference, estimate).real
    if overlap == 0:
        return -CLAMP_DB
    target = overlap / np.vdot(reference, reference).real * reference
    error = np.linalg.norm(estimate - target)
    return level_ratio_db(np.linalg.norm(target), error, clamp_db=clamp_db)


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
    estimate, reference = (wave.astype(np.float64) for wave in check_pair(estimate, reference))
    return level_ratio_db(np.linalg.norm(reference), np.linalg.norm(estimate - reference))


def gain_matched_snr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """SNR in dB after the one gain that brings the estimate closest; higher is better.

    ``g = <ŝ, s> / ‖ŝ‖²``. Never under 0 dB, as an estimate worse than silence is turned down to
    it; a silent reference, which any estimate matches at gain 0, gives the plain SNR.
    """
    estimate, reference = (wave.astype(np.float64) for wave in check_pair(estimate, reference))
    if not reference.any():
        return level_ratio_db(0.0, np.linalg.norm(estimate))
    energy = np.vdot(estimate, estimate)
    gain = np.vdot(estimate, reference) / energy if energy else 0.0
    return level_ratio_db(np.linalg.norm(reference), np.linalg.norm(gain * estimate - reference))


def level_difference(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Level of the estimate over the reference's in dB, ``20 log10(‖ŝ‖ / ‖s‖)``; 0 is best.

    A plain gain changes this and nothing that is scale-invariant. 100 dB is the most, of either
    sign; 0 where both are silent.
    """
    estimate, reference = (wave.astype(np.float64) for wave in check_pair(estimate, reference))
    if not reference.any():
        return CLAMP_DB if estimate.any() else 0.0
    return level_ratio_db(np.linalg.norm(estimate), np.linalg.norm(reference))


def si_sdr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019); higher is better.

    The mean is not removed. The same value with the arguments swapped.
    """
    return scale_invariant_ratio_db(*check_pair(estimate, reference))


def segmental_snr(estimate: np.ndarray, reference: np.ndarray, *, sample_rate: int) -> float:
    """Mean SNR in dB of 30 ms segments, each clamped to [-10, 35] dB; higher is better.

    Hansen and Pellom 1998. Segments whose reference lies more than 60 dB under its loudest segment
    are left out; a silent reference gives 35 for silence and -10 for anything else.
    """
    estimate, reference = (wave.astype(np.float64) for wave in check_pair(estimate, reference))
    length = min(max(round(SEGMENT_S * sample_rate), 1), reference.shape[1])
    count = reference.shape[1] // length
    error, signal = (
        np.sum(wave[:, : count * length].reshape(-1, count, length) ** 2, axis=(0, 2))
        for wave in (estimate - reference, reference)
    )
    kept = signal >= signal.max() * 10 ** (SEGMENT_SILENCE_DB / 10)
    pairs = zip(np.sqrt(signal[kept]), np.sqrt(error[kept]), strict=True)
    return float(np.mean(np.clip([level_ratio_db(s, e) for s, e in pairs], *SEGMENT_RANGE_DB)))
