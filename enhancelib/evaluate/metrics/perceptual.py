"""Two models of hearing that predict a listener's verdict: ViSQOL and Zimtohrli.

Both compare ``(estimate, reference)``, waves of one shape ``(channels, samples)``, at 48 kHz and in
mono: channels are averaged first, so damage to the stereo image alone stays unseen. Both give a
mean opinion score; higher is better. Their packages are imported on the first call, and the first
ViSQOL score in a new environment compiles for some seconds.

Content that ends at 11 kHz scores about 2.7 at most in ViSQOL against a full-band reference:
band-limit both to compare systems of one sample rate.
"""

from functools import lru_cache

import numpy as np
import soxr

from enhancelib.errors import InputError
from enhancelib.evaluate.metrics.waveform import check_pair

MODEL_RATE_HZ = 48000
"""Sample rate both models listen at."""
LOWEST_MOS = 1.0
"""The worst a mean opinion score can be."""
SHORTEST_S = {"ViSQOL": 0.96, "Zimtohrli": 0.1}
"""ViSQOL compares patches of 45 frames of 80 ms, 20 ms apart; of less, Zimtohrli ends the process
that asks it (below 82 ms)."""


def visqol(estimate: np.ndarray, reference: np.ndarray, *, sample_rate: int) -> float:
    """ViSQOL v3, audio mode: predicted mean opinion score, 1 to 4.73; higher is better.

    Chinen et al. 2020, in the Python port that ships its model. It aligns the two signals itself:
    neither a delay nor a gain is punished here
    (:func:`enhancelib.evaluate.metrics.spectral.in_band_si_sdr` sees a delay). A silent estimate,
    for which the model has no value, scores 1.

    Raises:
        InputError: no wave, different shapes, a silent reference, or less than 0.96 s.
    """
    estimate, reference = _hearing_pair(estimate, reference, sample_rate, "ViSQOL")
    if not estimate.any():
        return LOWEST_MOS
    return float(_visqol_api().measure_from_arrays(reference, estimate, MODEL_RATE_HZ).moslqo)


def zimtohrli(estimate: np.ndarray, reference: np.ndarray, *, sample_rate: int) -> float:
    """Zimtohrli: predicted mean opinion score, 1 to 5; higher is better.

    Alakuijala et al. 2025. Full scale is taken to sound at its default of 80 dB SPL.

    Raises:
        InputError: no wave, different shapes, a silent reference, or less than 0.1 s.
    """
    estimate, reference = _hearing_pair(estimate, reference, sample_rate, "Zimtohrli")
    import zimtohrli as package

    return float(package.mos_from_signals(reference, estimate))


def _hearing_pair(
    estimate: np.ndarray, reference: np.ndarray, sample_rate: int, model: str
) -> tuple[np.ndarray, np.ndarray]:
    """The pair as the models hear it: (samples,), mono, 48 kHz, as long as this one needs."""
    estimate, reference = (wave.mean(axis=0) for wave in check_pair(estimate, reference))
    if not reference.any():
        raise InputError(
            "the reference is silent in mono: a model of hearing cannot score it; leave it out"
        )
    if sample_rate != MODEL_RATE_HZ:
        estimate, reference = (
            soxr.resample(wave, sample_rate, MODEL_RATE_HZ, quality="VHQ")
            for wave in (estimate, reference)
        )
    if reference.size < SHORTEST_S[model] * MODEL_RATE_HZ:
        raise InputError(
            f"{model} needs at least {SHORTEST_S[model]} s, got "
            f"{reference.size / MODEL_RATE_HZ:.2f} s: score a longer one or leave this metric out"
        )
    return estimate, reference


@lru_cache(maxsize=1)
def _visqol_api():
    """The loaded model (numba picks its threading layer when this is imported)."""
    from visqol import VisqolApi

    api = VisqolApi()
    api.create(mode="audio")
    return api
