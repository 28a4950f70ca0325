"""Every measure of an estimate against its reference, by name, and :func:`score` to take many.

Each is one function ``f(estimate, reference, ...)`` of two waves ``(channels, samples)``;
:mod:`~enhancelib.evaluate.metrics.waveform`, :mod:`~enhancelib.evaluate.metrics.spectral` and
:mod:`~enhancelib.evaluate.metrics.perceptual` hold them by what they look at. :data:`METRICS` adds
what a table or an axis needs to know.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from enhancelib.audio.waves import check_rate
from enhancelib.errors import InputError
from enhancelib.evaluate.metrics import perceptual, spectral, waveform
from enhancelib.evaluate.metrics.transforms import Spectra


@dataclass(frozen=True)
class Metric:
    """One measure: how it is computed, read and labelled."""

    function: Callable[..., float]
    unit: str
    better: Literal["lower", "higher", "zero"]
    """Which values are the better ones; ``zero``: those nearest to it, of either sign."""
    title: str
    expensive: bool = False
    """Costs more than all the others together: computed only when asked for by name."""

    @property
    def needs(self) -> frozenset[str]:
        """Names of the keyword arguments beyond the pair: sample_rate, untreated."""
        parameters = inspect.signature(self.function).parameters
        return frozenset(parameters) - {"estimate", "reference"}


METRICS: dict[str, Metric] = {
    "magnitude_distance": Metric(spectral.magnitude_distance, "1", "lower", "Magnitude distance"),
    "phase_distance": Metric(spectral.phase_distance, "rad", "lower", "Phase distance"),
    "lsd": Metric(spectral.log_spectral_distance, "bel", "lower", "Log-spectral distance"),
    "lsd_rel": Metric(
        spectral.log_spectral_distance_relative, "bel", "lower", "LSD, floor relative to the peak"
    ),
    "lsd_hf": Metric(spectral.log_spectral_distance_hf, "bel", "lower", "LSD above 8 kHz"),
    "lsd_lf": Metric(spectral.log_spectral_distance_lf, "bel", "lower", "LSD under 8 kHz"),
    "spectral_convergence": Metric(
        spectral.spectral_convergence, "1", "lower", "Spectral convergence"
    ),
    "mrstft": Metric(
        spectral.multi_resolution_stft_distance, "1", "lower", "Multi-resolution STFT distance"
    ),
    "mfcc_distance": Metric(spectral.mfcc_distance, "1", "lower", "MFCC distance"),
    "chroma_distance": Metric(spectral.chroma_distance, "1", "lower", "Chroma distance"),
    "tonnetz_distance": Metric(spectral.tonnetz_distance, "1", "lower", "Tonnetz distance"),
    "centroid_distance": Metric(
        spectral.spectral_centroid_distance, "Hz", "lower", "Spectral centroid distance"
    ),
    "rolloff_distance": Metric(
        spectral.spectral_rolloff_distance, "Hz", "lower", "Spectral rolloff distance"
    ),
    "mse": Metric(waveform.mse, "1", "lower", "Mean squared error"),
    "mae": Metric(waveform.mae, "1", "lower", "Mean absolute error"),
    "snr": Metric(waveform.snr, "dB", "higher", "SNR"),
    "gain_matched_snr": Metric(waveform.gain_matched_snr, "dB", "higher", "SNR, gain matched"),
    "segmental_snr": Metric(waveform.segmental_snr, "dB", "higher", "Segmental SNR"),
    "si_sdr": Metric(waveform.si_sdr, "dB", "higher", "SI-SDR"),
    "level_difference": Metric(waveform.level_difference, "dB", "zero", "Difference in level"),
    "treble_level_difference": Metric(
        spectral.treble_level_difference, "dB", "zero", "Difference in treble level"
    ),
    "in_band_si_sdr": Metric(spectral.in_band_si_sdr, "dB", "higher", "In-band SI-SDR"),
    "stereo_image_change": Metric(
        spectral.stereo_image_change, "dB", "lower", "Change of the stereo image"
    ),
    "band_energy_error": Metric(
        spectral.band_energy_error, "dB", "lower", "Energy error of emptied bands"
    ),
    "band_energy_bias": Metric(
        spectral.band_energy_bias, "dB", "zero", "Energy bias of emptied bands"
    ),
    "visqol": Metric(perceptual.visqol, "MOS", "higher", "ViSQOL", expensive=True),
    "zimtohrli": Metric(perceptual.zimtohrli, "MOS", "higher", "Zimtohrli", expensive=True),
}
"""The measures by the name they have in results tables."""


def score(
    estimate: np.ndarray,
    reference: np.ndarray,
    *,
    sample_rate: int,
    names: Sequence[str] | None = None,
    untreated: np.ndarray | None = None,
) -> dict[str, float]:
    """Measure an estimate against its reference.

    Args:
        estimate: wave (channels, samples) in [-1, 1].
        reference: the lossless original, same shape.
        sample_rate: of both, in Hz.
        names: keys of :data:`METRICS`. Default: all but the expensive ones, and but those that need
            ``untreated`` if it is not given.
        untreated: the lossy signal the estimate was made from; the measures of what survived and
            of what was emptied need it.

    Returns:
        Value by name, in the order asked for. The transforms are computed once for all.

    Raises:
        InputError: an unknown name, a name that needs ``untreated`` without it, or waves that
            cannot be compared.
    """
    given: dict[str, object] = {"sample_rate": check_rate(sample_rate)}
    if untreated is not None:
        given["untreated"] = untreated
    if names is None:
        names = [n for n, m in METRICS.items() if not m.expensive and m.needs <= given.keys()]
    if unknown := [name for name in names if name not in METRICS]:
        raise InputError(f"no metric named {unknown[0]!r}: choose from {', '.join(METRICS)}")
    if lacking := [name for name in names if not METRICS[name].needs <= given.keys()]:
        raise InputError(f"{lacking[0]} compares with the lossy signal: pass untreated=")
    spectra = dict(zip(("estimate", "reference"), Spectra.pair(estimate, reference), strict=True))
    if untreated is not None:
        spectra["untreated"], _ = Spectra.pair(untreated, spectra["reference"])
    values = {}
    for name in names:
        metric = METRICS[name]
        shared = spectra if metric.function.__module__ == spectral.__name__ else {}
        waves = {"estimate": estimate, "reference": reference} | given | shared
        wanted = {"estimate", "reference", *metric.needs}
        values[name] = metric.function(**{key: waves[key] for key in wanted})
    return values
