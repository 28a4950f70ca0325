"""What results tables say: paired differences, does it help, does it harm, are the claims met.

All take the tidy table of :func:`enhancelib.evaluate.matrix.evaluate` and compare each system with
the untreated audio piece by piece: scores spread more between pieces than between systems. A
verdict comes from Wilcoxon's exact signed-rank test, corrected by Holm's method for the number of
rows in its table; the size of the effect stands beside it, with Student's interval.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from enhancelib.errors import InputError
from enhancelib.evaluate.kinds import SETS, check_one_kind, title
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
ALPHA = 0.05
"""Largest share of tables that may hold a verdict where nothing differs."""


def piece_set(results: pandas.DataFrame, *, data_dir: str | Path = "data") -> str:
    """Which set some results were measured on, by the names of their pieces.

    Args:
        results: with a column piece.
        data_dir: where the tables of :data:`SETS` lie; a missing one holds no piece.

    Returns:
        A key of :data:`SETS`, or ``"pieces of this run"`` if not all are in one set.
    """
    import pandas

    measured = {title(piece) for piece in results["piece"].dropna()}
    for name, table in SETS.items():
        if (Path(data_dir) / table).exists():
            paths = pandas.read_csv(Path(data_dir) / table)["path"]
            if measured and measured <= {Path(path).stem for path in paths}:
                return name
    return "pieces of this run"


def paired_deltas(results: pandas.DataFrame) -> pandas.DataFrame:
    """Every system's value beside the untreated one of the same piece and condition.

    Args:
        results: columns piece, condition, system, metric and value at least; a row per value.

    Returns:
        Columns piece, condition, system, metric, untreated, value, ``delta`` (value minus
        untreated) and ``gain`` (how much better that is: positive where it is).

    Raises:
        InputError: a value twice, or no untreated audio to compare with.
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


def summarize(results: pandas.DataFrame) -> pandas.DataFrame:
    """Mean paired difference per condition, system and metric, with its uncertainty.

    Args:
        results: as in :func:`paired_deltas`, of one kind of piece. Each call is one table: the more
            it compares, the more a verdict takes.

    Returns:
        A row per condition, system and metric with ``pieces``, mean ``untreated`` and ``value``,
        mean ``delta`` with its 95 % interval ``low`` to ``high``
        (:func:`enhancelib.evaluate.statistics.t_interval`), ``p`` of the gains
        (:func:`enhancelib.evaluate.statistics.signed_rank`), ``p_holm`` (the same, corrected for
        all rows), ``worst_piece`` and ``worst_delta`` (least gain), and ``verdict``: "better" or
        "worse" where ``p_holm`` is at most 0.05 and the mean lies on the same side, else "open";
        "few" where so few pieces get no verdict in this table, whatever they gain.

    Raises:
        InputError: pieces of more than one kind, or as in :func:`paired_deltas`.
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
    if results.empty:  # a table may hold no row of what is asked
        return
    check_one_kind(results)
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
    """The verdicts of a summary's rows; n pieces reach a p of 2^(1-n) at least."""
    least = 2.0 ** (1 - table["pieces"].to_numpy())
    reachable = np.array([value * np.sum(least >= value) for value in least])
    undecided = np.where(reachable > ALPHA, "few", "open")
    side = np.select([sides > 0, sides < 0], ["better", "worse"], "open")
    return np.where(table["p_holm"] <= ALPHA, side, undecided)


# --- the three headline tables ---------------------------------------------------------------


def does_good(
    results: pandas.DataFrame, *, transparent: Collection[str] = TRANSPARENT
) -> pandas.DataFrame:
    """Where there is room: :func:`summarize` of the conditions that are not transparent.

    Args:
        results: as in :func:`summarize`.
        transparent: names of the conditions that leave nothing to repair.
    """
    room = results["metric"].isin(GOOD) & ~results["condition"].isin(transparent)
    return summarize(results[room])


def does_no_harm(
    results: pandas.DataFrame, *, transparent: Collection[str] = TRANSPARENT
) -> pandas.DataFrame:
    """Where there is nothing to gain: the worst piece of each transparent condition.

    A table without rows of a metric of :data:`HARM` is not asked for it.

    Args:
        results: as in :func:`paired_deltas`, of one kind of piece.
        transparent: as in :func:`does_good`.

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
