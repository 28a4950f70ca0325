"""What results tables say: paired differences, does it help, does it harm, are the claims met.

All take the tidy table of :func:`enhancelib.evaluate.matrix.evaluate` and compare each system with
the untreated audio piece by piece: scores spread more between pieces than between systems. A
verdict comes from Wilcoxon's exact signed-rank test, corrected by Holm's method for the number of
rows in its table; the size of the effect stands beside it, with Student's interval.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from enhancelib.errors import InputError
from enhancelib.evaluate.metrics import METRICS
from enhancelib.evaluate.statistics import holm, signed_rank, t_interval
from enhancelib.provenance import UNTREATED

if TYPE_CHECKING:
    import pandas

TRANSPARENT = ("lossless", "sbc-53", "aac-256", "mp3-320", "aptx", "aptx-hd")
"""Conditions that leave nothing to repair: there, a system can only do harm."""
HARM = {
    "visqol": 0.02,
    "zimtohrli": 0.02,
    "lsd": 0.02,
    "in_band_si_sdr": 0.1,
    "stereo_image_change": 0.5,
    "snr": 1.0,
    "level_difference": 0.2,
}
"""Loss, in the metric's unit, from which the worst piece counts as harmed on transparent input.

The last two see what the others cannot: inverted polarity and a plain gain. Noise that grows by 1
dB is about the least that is heard; 0.2 dB is how closely levels are matched for blind tests.
"""
INAUDIBLE_DB = {"snr": 60.0}
"""Ratios above this count as equal in :func:`does_no_harm`: errors so far down harm nobody."""
GOOD = ("visqol", "zimtohrli", "lsd", "si_sdr")
"""Metrics by which a system shows that it helps."""
SETS = {"development set": "devset.csv", "test set": "testset.csv"}
"""What a table of pieces in ``data/`` is for: to choose by, or to be measured on once."""
ALPHA = 0.05
"""Largest share of tables that may hold a verdict where nothing differs."""


def piece_set(results: pandas.DataFrame, *, data_dir: str | Path = "data") -> str:
    """Which set some results were measured on, by the names of their pieces.

    Args:
        results: With a column piece.
        data_dir: Where the tables of :data:`SETS` lie; a missing one holds no piece.

    Returns:
        A key of :data:`SETS`, or ``"pieces of this run"`` if not all are in one set.
    """
    import pandas

    measured = set(results["piece"].dropna())
    for name, table in SETS.items():
        if (Path(data_dir) / table).exists():
            paths = pandas.read_csv(Path(data_dir) / table)["path"]
            if measured and measured <= {Path(path).stem for path in paths}:
                return name
    return "pieces of this run"


def paired_deltas(results: pandas.DataFrame) -> pandas.DataFrame:
    """Every system's value beside the untreated one of the same piece and condition.

    Args:
        results: Columns piece, condition, system, metric and value at least; a row per value.

    Returns:
        Columns piece, condition, system, metric, untreated, value, ``delta`` (value minus
        untreated) and ``gain`` (how much better that is: positive where it is).

    Raises:
        InputError: A value twice, or no untreated audio to compare with.
    """
    keys = ["piece", "condition", "metric"]
    if results.duplicated([*keys, "system"]).any():
        raise InputError("results hold a value twice; keep one row per piece, condition and system")
    is_base = results["system"] == UNTREATED
    if not is_base.any():
        raise InputError(f"results hold no {UNTREATED!r} rows; measure the untreated audio too")
    base = results.loc[is_base, [*keys, "value"]].rename(columns={"value": UNTREATED})
    pairs = results.loc[~is_base, [*keys, "system", "value"]].merge(base, on=keys)
    pairs["delta"] = pairs["value"] - pairs[UNTREATED]
    better = pairs["metric"].map(lambda name: METRICS[name].better)
    pairs["gain"] = pairs["delta"].where(better == "higher", -pairs["delta"])
    nearer = pairs[UNTREATED].abs() - pairs["value"].abs()
    pairs["gain"] = pairs["gain"].where(better != "zero", nearer)
    columns = ["piece", "condition", "system", "metric", UNTREATED, "value", "delta", "gain"]
    return pairs[columns].dropna(subset=["delta"]).reset_index(drop=True)


def summarise(results: pandas.DataFrame) -> pandas.DataFrame:
    """Mean paired difference per condition, system and metric, with its uncertainty.

    Args:
        results: As in :func:`paired_deltas`. Each call is one table: the more it compares, the more
            a verdict takes.

    Returns:
        A row per condition, system and metric with ``pieces``, mean ``untreated`` and ``value``,
        mean ``delta`` with its 95 % interval ``low`` to ``high``
        (:func:`enhancelib.evaluate.statistics.t_interval`), ``p`` of the gains
        (:func:`enhancelib.evaluate.statistics.signed_rank`), ``p_holm`` (the same, corrected for
        all rows), ``worst_piece`` and ``worst_delta`` (least gain), and ``verdict``: "better" or
        "worse" where ``p_holm`` is at most 0.05 and the mean lies on the same side, else "open";
        "few" where so few pieces get no verdict in this table, whatever they gain.
    """
    import pandas

    rows, sides = [], []
    for facts, worst, group in _comparisons(results):
        low, high = t_interval(group["delta"].to_numpy())
        p, balance = signed_rank(group["gain"].to_numpy())
        sides.append(np.sign(balance) if balance * group["gain"].mean() > 0 else 0)
        ends = {"low": float(low), "high": float(high)}
        rows.append(facts | {"value": group["value"].mean(), **ends, "p": p} | worst)
    if not rows:
        return pandas.DataFrame()
    table = pandas.DataFrame(rows)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", holm(table["p"].to_numpy()))
    table["verdict"] = _verdicts(table, np.array(sides))
    return table


def _comparisons(results: pandas.DataFrame) -> Iterator[tuple[dict, dict, pandas.DataFrame]]:
    """Per condition, system and metric: what is compared, its worst piece, all its pieces."""
    deltas = paired_deltas(results)
    for (condition, system, metric), group in deltas.groupby(
        ["condition", "system", "metric"], sort=False
    ):
        worst = group.loc[group["gain"].idxmin()]
        facts = {
            "condition": condition,
            "system": system,
            "metric": metric,
            "unit": METRICS[metric].unit,
            "pieces": len(group),
            UNTREATED: group[UNTREATED].mean(),
            "delta": group["delta"].mean(),
        }
        yield facts, {"worst_piece": worst["piece"], "worst_delta": worst["delta"]}, group


def _verdicts(table: pandas.DataFrame, sides: np.ndarray) -> np.ndarray:
    """Of the rows of a summary; n pieces reach a p of 2^(1-n) at least."""
    least = 2.0 ** (1 - table["pieces"].to_numpy())
    reachable = np.array([value * np.sum(least >= value) for value in least])
    undecided = np.where(reachable > ALPHA, "few", "open")
    side = np.select([sides > 0, sides < 0], ["better", "worse"], "open")
    return np.where(table["p_holm"] <= ALPHA, side, undecided)


# --- the three headline tables ---------------------------------------------------------------


def does_good(
    results: pandas.DataFrame, *, transparent: Collection[str] = TRANSPARENT
) -> pandas.DataFrame:
    """Where there is room: :func:`summarise` of the conditions that are not transparent.

    Args:
        results: As in :func:`summarise`, and of one kind of music or voice.
        transparent: Names of the conditions that leave nothing to repair.
    """
    room = results["metric"].isin(GOOD) & ~results["condition"].isin(transparent)
    return summarise(results[room])


def does_no_harm(
    results: pandas.DataFrame, *, transparent: Collection[str] = TRANSPARENT
) -> pandas.DataFrame:
    """Where there is nothing to gain: the worst piece of each transparent condition.

    A table without rows of a metric of :data:`HARM` is not asked for it.

    Args:
        results: As in :func:`paired_deltas`.
        transparent: As in :func:`does_good`.

    Returns:
        A row per condition, system and metric of :data:`HARM` with ``pieces``, mean ``untreated``
        and ``delta``, ``worst_piece`` and ``worst_delta``, the ``tolerance``, and ``harmed``
        (whether the worst piece lost more than it).
    """
    import pandas

    asked = results[results["metric"].isin(HARM) & results["condition"].isin(transparent)]
    most = asked["metric"].map(INAUDIBLE_DB).fillna(np.inf)
    rows = []
    for facts, worst, group in _comparisons(asked.assign(value=asked["value"].clip(upper=most))):
        tolerance = HARM[facts["metric"]]
        harmed = bool(group["gain"].min() < -tolerance)
        rows.append(facts | worst | {"tolerance": tolerance, "harmed": harmed})
    return pandas.DataFrame(rows)


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
        results: As in :func:`paired_deltas`.
        oracle: The system that stands for a physical limit, where the table has it: claims on SNR
            and MSE are judged against what it gains.

    Returns:
        A row per claim, condition and system with ``untreated`` and ``figure`` (of the lossy and
        the enhanced audio; a change is 0 for the lossy), ``met``, ``limit`` (the oracle's figure,
        or NaN) and ``why``.
    """
    import pandas

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
    """In a few words: what a met claim is worth, and why another is not met."""
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
        "chapter 04 has not been run",
    ),
    CostClaim("10 ms for 3 s on a CPU, one thread", "{}.onnx", "clip, 1 thread", "latency_ms", 10),
    CostClaim(
        "2 ms for 3 s on a GPU", "{}.safetensors", "cuda", "latency_ms", 2, "there was no GPU"
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
        costs: Rows as :func:`enhancelib.evaluate.benchmark.benchmark_results` gives them; those of
            chapters 04 and 05 may be among them.
        preset: Whose files.

    Returns:
        A row per claim with ``claim``, ``system`` (the file), ``promised`` and ``figure`` in
        ``unit``, ``load`` of the machine, ``met`` (missing where nothing was measured or no figure
        promised) and ``why`` there is no verdict.
    """
    import pandas

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
