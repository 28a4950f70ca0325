"""The scorecard: what a network was to reach, a row each, and what it reached.

``data/scorecard.csv`` has the rows, written down before a training. Each is judged under each of
its conditions and for each kind of piece by itself: that is a case. A case in which the original
itself would score too little is left out, since nothing can pass it.
"""

import csv
import operator
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas

import enhancelib as el
from enhancelib.errors import InputError
from enhancelib.provenance import UNTREATED

ROWS = Path("data/scorecard.csv")
MOST_ROWS = 40
"""Of one preset: more than that nobody reads."""
SIGNS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
SPOKEN = {">=": "≥", ">": ">", "<=": "≤", "<": "<"}
ASKED = {
    "mean": "mean",
    "mean delta": "mean change",
    "mean ratio": "mean over untreated mean",
    "least": "worst piece",
    "most": "worst piece",
    "least delta": "change of the worst piece",
    "saving": "bits saved at equal",
    "cost": "",
}
"""Statistic → the words for it."""
AGAINST = "mean against "
"""Statistic: the enhanced mean minus the untreated one under the condition that follows."""
COSTS = {"rtf": ("Real-time factor", ""), "latency_ms": ("Time", "ms"), "delay_ms": ("Delay", "ms")}
"""Measure of speed → its name and unit."""


def rows_of(preset: str) -> list[dict[str, str]]:
    """The rows that a preset is held to."""
    with ROWS.open(newline="") as file:
        return [row for row in csv.DictReader(file) if preset in row["presets"].split()]


def threshold(row: dict[str, str]) -> str:
    """What is asked, in words: "ViSQOL, mean change ≥ 1.1"."""
    statistic, limit = row["statistic"], f"{SPOKEN[row['sign']]} {row['limit']}"
    if statistic == "cost":
        name, unit = COSTS[row["metric"]]
        return f"{name} {limit} {unit}".strip()
    metric = el.METRICS[row["metric"]]
    if statistic == "saving":
        return f"{ASKED[statistic]} {metric.title} {limit} %"
    words = ASKED.get(statistic, statistic)
    unit = "" if metric.unit in ("1", "MOS") or "ratio" in statistic else f" {metric.unit}"
    return f"{metric.title}, {words} {limit}{unit}"


def judge(
    preset: str, results: pandas.DataFrame, rates: pandas.DataFrame, costs: pandas.DataFrame
) -> pandas.DataFrame:
    """The scorecard of a preset.

    Args:
        preset: the system that is judged.
        results: of :func:`enhancelib.evaluate.matrix.evaluate`.
        rates: of :func:`tools.measure.results.rate_table`.
        costs: of :mod:`tools.measure.cost`.

    Returns:
        A row per row of :data:`ROWS`: ``under`` and ``wanted`` in words, ``cases`` that are judged,
        ``held``, ``met`` (whether all of them hold), ``out_of_reach`` (cases left out), ``by_kind``
        (cases that hold, of each kind) and of the hardest case ``kind``, ``condition``,
        ``untreated``, ``enhanced``, ``reached``, ``worst_piece`` and its ``worst``.
    """
    tables = {
        kind: part.pivot_table(
            index=["condition", "metric", "piece"], columns="system", values="value"
        )
        for kind, part in el.by_kind(results[results["system"].isin([UNTREATED, preset])])
    }
    lines = []
    for row in rows_of(preset):
        if row["statistic"] == "cost":
            cases = [cost_case(row, costs, preset)]
        elif row["statistic"] == "saving":
            cases = list(saving_cases(row, rates))
        else:
            cases = [
                case | {"kind": kind}
                for kind, table in tables.items()
                if not row["kinds"] or kind in row["kinds"].split()
                for case in heard_cases(row, table, preset)
            ]
        lines.append({"under": row["under"], "wanted": threshold(row)} | summed_up(row, cases))
    return pandas.DataFrame(lines)


def heard_cases(row: dict[str, str], table: pandas.DataFrame, preset: str) -> Iterator[dict]:
    """A case for each condition of a row, on pieces of one kind.

    Args:
        row: of :data:`ROWS`.
        table: condition, metric and piece × system.
        preset: the system that is judged.
    """
    values = table.xs(row["metric"], level="metric")
    names = row["conditions"].split()
    present = dict.fromkeys(values.index.get_level_values("condition"))
    base_of = row["statistic"].removeprefix(AGAINST)
    wanted = [] if names == ["*"] else names
    wanted = [*wanted, *[base_of] * (base_of != row["statistic"])]
    if missing := [name for name in wanted if name not in present]:
        raise InputError(
            f"scorecard: {row['metric']} was not measured under {', '.join(missing)}; make results"
        )
    for condition in present if names == ["*"] else names:
        both = values.loc[condition].dropna()
        untreated, enhanced = both[UNTREATED], both[preset]
        low, high = row["untreated_from"] or "-inf", row["untreated_to"] or "inf"
        if not float(low) <= untreated.mean() < float(high):
            continue
        base = values.loc[base_of][UNTREATED] if base_of in present else untreated
        each, reached = reach(row["statistic"], enhanced, base.reindex(enhanced.index))
        worst = each.idxmin() if row["sign"].startswith(">") else each.idxmax()
        yield {
            "condition": condition,
            "untreated": float(untreated.mean()),
            "enhanced": float(enhanced.mean()),
            "reached": reached,
            "worst_piece": worst,
            "worst": float(each[worst]),
            "reachable": reachable(row, base, original(values)),
        }


def original(values: pandas.DataFrame) -> pandas.Series | None:
    """What the originals themselves score, by piece; None where that was not measured."""
    if "lossless" not in values.index.get_level_values("condition"):
        return None
    return values.loc["lossless"][UNTREATED].replace(np.inf, np.nan)


def reach(
    statistic: str, enhanced: pandas.Series, untreated: pandas.Series
) -> tuple[pandas.Series, float]:
    """What a statistic looks at in each piece, and what it makes of all of them."""
    if statistic == "mean ratio":
        return enhanced / untreated, float(enhanced.mean() / untreated.mean())
    change = "delta" in statistic or statistic.startswith(AGAINST)
    each = enhanced - untreated if change else enhanced
    take = {"least": each.min, "most": each.max, "mean": each.mean}[statistic.split()[0]]
    return each, float(take())


def reachable(row: dict[str, str], base: pandas.Series, best: pandas.Series | None) -> bool:
    """Whether the originals themselves would pass: nothing else can be asked of a network."""
    if best is None or best.isna().any() or el.METRICS[row["metric"]].better == "zero":
        return True
    _, reached = reach(row["statistic"], best.reindex(base.index), base)
    return bool(SIGNS[row["sign"]](reached, float(row["limit"])))


def saving_cases(row: dict[str, str], rates: pandas.DataFrame) -> Iterator[dict]:
    """A case for each kind of piece: the bits that a codec saves."""
    chosen = rates[(rates["codec"] == row["conditions"]) & (rates["metric"] == row["metric"])]
    for line in chosen.drop_duplicates("kind").itertuples():
        facts = {"kind": line.kind, "condition": row["conditions"], "reachable": True}
        yield facts | {"reached": float(line.saving_percent)}


def cost_case(row: dict[str, str], costs: pandas.DataFrame, preset: str) -> dict:
    """The case of a row on time: of the ONNX files, on one thread."""
    file = f"{preset}.stream.onnx" if row["conditions"] == "stream" else f"{preset}.onnx"
    chosen = costs[
        (costs["system"] == file)
        & (costs["metric"] == row["metric"])
        & (costs["condition"] == f"{row['conditions']}, 1 thread")
    ]
    (value,) = chosen["value"]
    return {"condition": row["conditions"], "reached": float(value), "reachable": True}


def summed_up(row: dict[str, str], cases: list[dict]) -> dict:
    """Count the cases of a row: how many hold, by kind, and the hardest of them."""
    judged = pandas.DataFrame([case for case in cases if case["reachable"]])
    facts = {"cases": len(judged), "out_of_reach": len(cases) - len(judged)}
    if judged.empty:
        return facts | {"held": 0, "met": pandas.NA, "by_kind": ""}
    limit, sign = float(row["limit"]), row["sign"]
    judged["holds"] = SIGNS[sign](judged["reached"], limit)
    margin = (judged["reached"] - limit) * (1 if sign.startswith(">") else -1)
    hardest = judged.loc[margin.fillna(-np.inf).idxmin()].drop(["holds", "reachable"]).to_dict()
    hardest = {
        name: round(value, 5) if isinstance(value, float) else value
        for name, value in hardest.items()
    }
    by_kind = ""
    if "kind" in judged:
        held = judged.groupby("kind", sort=False)["holds"]
        counts = zip(held.groups, held.sum().astype(int), held.size(), strict=True)
        by_kind = ", ".join(f"{kind} {holding} of {cases}" for kind, holding, cases in counts)
    facts |= {"held": int(judged["holds"].sum()), "met": bool(judged["holds"].all())}
    return facts | {"by_kind": by_kind} | hardest
