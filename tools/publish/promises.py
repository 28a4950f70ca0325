"""What the README that this project began with promised, held beside what was measured.

The appendix of the book (``jupyter_book/history.md``) shows it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas

from enhancelib.evaluate.metrics import METRICS
from enhancelib.evaluate.verdicts import UNTREATED, paired_deltas


@dataclass(frozen=True)
class Claim:
    """A figure the seed of this project promised, as a bound on a number measured per condition."""

    text: str
    metric: str
    kind: str
    """``value`` of the enhanced audio, ``delta`` against the untreated, or ``reduction`` in 1."""
    bound: float

    def figure(self, pairs: pandas.DataFrame, column: str) -> float:
        """The measured counterpart of the claim, mean over pieces, of one of the two columns."""
        untreated, value = pairs[UNTREATED], pairs[column]
        if self.kind == "value":
            return float(value.mean())
        if self.kind == "delta":
            return float((value - untreated).mean())
        return float((1 - value / untreated)[untreated > 0].mean()) if untreated.any() else 0.0

    def is_met(self, figure: float) -> bool:
        """Whether a figure keeps the claim."""
        at_most = self.kind == "value" and METRICS[self.metric].better == "lower"
        return figure < self.bound if at_most else figure >= self.bound


SEED_CLAIMS = (
    Claim("Log-spectral distance < 0.5", "lsd", "value", 0.5),
    Claim("Spectral centroid distance < 100 Hz", "centroid_distance", "value", 100),
    Claim("Spectral rolloff distance < 200 Hz", "rolloff_distance", "value", 200),
    Claim("MFCC distance < 0.1", "mfcc_distance", "value", 0.1),
    Claim("Chroma distance < 0.05", "chroma_distance", "value", 0.05),
    Claim("Tonnetz distance < 0.1", "tonnetz_distance", "value", 0.1),
    Claim("SNR improvement 5-15 dB", "snr", "delta", 5),
    Claim("MSE reduction 50-80 %", "mse", "reduction", 0.5),
    Claim("Comparable to the original (ViSQOL >= 4.6)", "visqol", "value", 4.6),
)
"""The seed's "Evaluation Results". 4.6 is about what SBC at 328 kbit/s scores, of at most 4.73."""


def seed_claims(results: pandas.DataFrame, *, oracle: str = "oracle mask") -> pandas.DataFrame:
    """Every claim of the seed against what was measured, per condition and system.

    Args:
        results: as in :func:`paired_deltas`.
        oracle: the system that stands for a physical limit, where the table has it: claims on SNR
            and MSE are judged against what it gains.

    Returns:
        A row per claim, condition and system with ``untreated`` and ``figure`` (of the lossy and
        the enhanced audio; a change is 0 for the lossy), ``met``, ``limit`` (the oracle's figure,
        or NaN) and ``why``.
    """
    groups = dict(
        list(paired_deltas(results).groupby(["system", "condition", "metric"], sort=False))
    )
    rows = []
    for claim in SEED_CLAIMS:
        for (system, condition, metric), group in groups.items():
            if metric != claim.metric or system == oracle:
                continue
            base, figure = claim.figure(group, UNTREATED), claim.figure(group, "value")
            limited = groups.get((oracle, condition, metric))
            limit = float("nan") if limited is None else claim.figure(limited, "value")
            row = {"claim": claim.text, "condition": condition, "system": system}
            row |= {UNTREATED: base, "figure": figure, "met": claim.is_met(figure)}
            row |= {"limit": limit, "why": _why(claim, condition, base, figure, limit)}
            rows.append(row)
    return pandas.DataFrame(rows)


def _why(claim: Claim, condition: str, base: float, figure: float, limit: float) -> str:
    """Say in a few words what a met claim is worth, and why another is not met."""
    met, before = claim.is_met(figure), claim.is_met(base)
    if before:
        return "met before enhancement" if met else "met before enhancement, lost by it"
    if met:
        return "met by the enhancement"
    if condition == "lossless":
        return "nothing is lost, so nothing can be gained"
    if claim.kind != "value" and not np.isnan(limit) and not claim.is_met(limit):
        return "out of reach: gains taken from the original itself stay below, the phase is lost"
    return "not reached"


@dataclass(frozen=True)
class CostClaim:
    """A figure the seed promised of size, speed, memory or power; at most ``bound`` keeps it."""

    text: str
    system: str
    """File that is measured; ``{}`` stands for the preset."""
    condition: str
    """Beginning of the condition it was measured under."""
    metric: str
    bound: float
    unmeasured: str = "no such file was measured"
    """Why there may be no figure."""


SEED_COSTS = (
    CostClaim("Model under 10 MB, float32 (about 8)", "{}.safetensors", "", "file_mb", 10),
    CostClaim("ONNX about 6 MB", "{}.onnx", "", "file_mb", 6),
    CostClaim("Quantised to 8 bits about 2 MB", "{}.int8.onnx", "", "file_mb", 2),
    CostClaim(
        "Half pruned about 4 MB",
        "{}.channels-magnitude-0.5.safetensors",
        "",
        "size",
        4,
        "chapter 10 has not been run",
    ),
    CostClaim("10 ms for 3 s on a CPU, one thread", "{}.onnx", "clip, 1 thread", "latency_ms", 10),
    CostClaim(
        "2 ms for 3 s on a GPU", "{}.safetensors", "clip, cuda", "latency_ms", 2, "there was no GPU"
    ),
    CostClaim(
        "20 ms for 3 s on a phone", "{}.onnx", "phone", "latency_ms", 20, "there was no phone"
    ),
    CostClaim(
        "Real-time factor 0.1 to 0.3, live", "{}.stream.onnx", "stream, 1 thread", "rtf", 0.3
    ),
    CostClaim("Under 100 MB of memory, live", "{}.stream.onnx", "stream, 1 thread", "peak_mb", 100),
    CostClaim(
        "Low power (no figure was promised)",
        "{}.stream.onnx",
        "stream, 1 thread",
        "energy_j_per_s",
        float("nan"),
        "no energy counter could be read",
    ),
)
"""The seed's "Model Sizes", "Inference Speed" and "Real-time Performance"."""


def cost_claims(costs: pandas.DataFrame, *, preset: str) -> pandas.DataFrame:
    """The seed's claims of size, speed, memory and power against what was measured.

    Args:
        costs: rows as :func:`enhancelib.evaluate.benchmark.benchmark_results` gives them; those of
            chapters 10 and 11 may be among them.
        preset: whose files.

    Returns:
        A row per claim with ``claim``, ``system`` (the file), ``promised`` and ``figure`` in
        ``unit``, ``load`` of the machine, ``met`` (missing where nothing was measured or no figure
        promised) and ``why`` there is no verdict.
    """
    rows = []
    for claim in SEED_COSTS:
        file = claim.system.format(preset)
        found = costs[
            (costs["system"] == file)
            & (costs["metric"] == claim.metric)
            & costs["condition"].fillna("").str.startswith(claim.condition)
        ]
        row = {"claim": claim.text, "system": file, "promised": claim.bound}
        if found.empty:
            row |= {"figure": float("nan"), "unit": "", "load": float("nan"), "met": pandas.NA}
            row["why"] = claim.unmeasured
        else:
            figure, unit, load = found.iloc[-1][["value", "unit", "load"]]
            known = not np.isnan(claim.bound)
            row |= {"figure": figure, "unit": unit, "load": load}
            row["why"] = "" if known else "no figure was promised"
            row["met"] = bool(figure <= claim.bound) if known else pandas.NA
        rows.append(row)
    return pandas.DataFrame(rows)
