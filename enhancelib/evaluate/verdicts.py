"""What results tables say: paired differences, does it help, does it harm, are the claims met.

All take the tidy table of :func:`enhancelib.evaluate.matrix.evaluate` and compare each system with
the
untreated audio piece by piece: scores spread more between pieces than between systems.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from enhancelib.errors import InputError
from enhancelib.evaluate.metrics import METRICS

if TYPE_CHECKING:
    import pandas

UNTREATED = "untreated"
"""The system that does nothing: every table holds it."""
TRANSPARENT = ("lossless", "sbc-53", "aac-256", "mp3-320", "aptx", "aptx-hd")
"""Conditions that leave nothing to repair: there, a system can only do harm."""
HARM = {
    "visqol": 0.02,
    "zimtohrli": 0.02,
    "lsd": 0.02,
    "in_band_si_sdr": 0.1,
    "stereo_image_change": 0.5,
}
"""Loss, in the metric's unit, from which the worst piece counts as harmed on transparent input."""
GOOD = ("visqol", "zimtohrli", "lsd", "si_sdr")
"""Metrics by which a system shows that it helps."""
FEWEST_PIECES = 6
"""For a verdict; with fewer, the signed-rank test cannot reach p < 0.05 whatever it sees."""
SETS = {"development set": "devset.csv", "test set": "testset.csv"}
"""What a table of pieces in ``data/`` is for: to choose by, or to be measured on once."""
RESAMPLES = 4000
CONFIDENCE = 0.95


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


def summarise(results: pandas.DataFrame, *, seed: int = 0) -> pandas.DataFrame:
    """Mean paired difference per condition, system and metric, with its uncertainty.

    Args:
        results: As in :func:`paired_deltas`.
        seed: Of the bootstrap.

    Returns:
        A row per condition, system and metric with ``pieces``, mean ``untreated`` and ``value``,
        mean ``delta`` with its 95 % bootstrap interval ``low`` to ``high`` (percentiles over
        pieces; NaN for one piece), ``p`` of a two-sided Wilcoxon signed-rank test, ``worst_piece``
        and ``worst_delta`` (least gain), and ``verdict`` (better or worse where the interval of the
        gain lies on one side of 0, else open; "few" where there are under six pieces).
    """
    import pandas

    rows = []
    for facts, worst, group in _comparisons(results):
        low, high = bootstrap_interval(group["delta"].to_numpy(), seed=seed)
        gained = bootstrap_interval(group["gain"].to_numpy(), seed=seed)
        rows.append(
            facts
            | {
                "value": group["value"].mean(),
                "low": low,
                "high": high,
                "p": _wilcoxon(group["delta"].to_numpy()),
                "verdict": _verdict(len(group), *gained),
            }
            | worst
        )
    return pandas.DataFrame(rows)


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


def bootstrap_interval(
    values: np.ndarray, *, seed: int = 0, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean (Efron 1979); NaN for fewer than two values."""
    if len(values) < 2:
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(values[draws].mean(axis=1), [tail, 100 - tail])
    return float(low), float(high)


def _wilcoxon(deltas: np.ndarray) -> float:
    """Two-sided p; 1 where nothing differs, as the test knows no such sample."""
    from scipy.stats import wilcoxon

    return float(wilcoxon(deltas).pvalue) if np.any(deltas) else 1.0


def _verdict(pieces: int, low: float, high: float) -> str:
    """Of the interval of a mean gain."""
    if pieces < FEWEST_PIECES:
        return "few"
    if not (low > 0 or high < 0):
        return "open"
    return "better" if low > 0 else "worse"


# --- the three headline tables ---------------------------------------------------------------


def does_good(
    results: pandas.DataFrame, *, seed: int = 0, transparent: Collection[str] = TRANSPARENT
) -> pandas.DataFrame:
    """Where there is room: :func:`summarise` of the conditions that are not transparent.

    Args:
        results: As in :func:`paired_deltas`.
        seed: Of the bootstrap.
        transparent: Names of the conditions that leave nothing to repair.
    """
    room = results["metric"].isin(GOOD) & ~results["condition"].isin(transparent)
    return summarise(results[room], seed=seed)


def does_no_harm(
    results: pandas.DataFrame, *, transparent: Collection[str] = TRANSPARENT
) -> pandas.DataFrame:
    """Where there is nothing to gain: the worst piece of each transparent condition.

    Args:
        results: As in :func:`paired_deltas`.
        transparent: As in :func:`does_good`.

    Returns:
        A row per condition, system and metric of :data:`HARM` with ``pieces``, mean ``untreated``
        and ``delta``, ``worst_piece`` and ``worst_delta``, the ``tolerance``, and ``harmed``
        (whether the worst piece lost more than it).
    """
    import pandas

    asked = results["metric"].isin(HARM) & results["condition"].isin(transparent)
    rows = []
    for facts, worst, group in _comparisons(results[asked]):
        tolerance = HARM[facts["metric"]]
        harmed = bool(group["gain"].min() < -tolerance)
        rows.append(facts | worst | {"tolerance": tolerance, "harmed": harmed})
    return pandas.DataFrame(rows)
