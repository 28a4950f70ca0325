"""What the results say of each kind of piece, in words and tables; kinds are never pooled."""

from collections.abc import Iterator

import numpy as np
import pandas

import enhancelib as el
from enhancelib.errors import InputError
from enhancelib.evaluate.verdicts import HARM, UNTREATED

HEARING = ("visqol", "zimtohrli")
COLUMNS = {
    "visqol": ("ViSQOL", 0.02),
    "zimtohrli": ("Zimtohrli", 0.02),
    "lsd": ("LSD (bel)", 0.02),
    "si_sdr": ("SI-SDR (dB)", 0.1),
    "treble_level_difference": ("treble (dB)", 0.5),
}
"""Metric → its heading, and the loss from which a mean is marked; gains need as much to be told."""
LOST = " ▼"
LEAST = 3
"""Pieces of a kind without which no effect is sure, however large it is."""
INAUDIBLE_DB = 60.0
"""Errors further under the music count as none in SI-SDR."""
SHOWN = ("lossless", "sbc-53", "aac-256", "mp3-320", "sbc-35", "aac-128", "mp3-128", "sbc-20")
SHOWN += ("aac-64", "mp3-64", "aac-64+sbc-20", "down-16000hz", "noise-white-20db")
"""Conditions of the model card's table and of the report card."""
FEW = ("lossless", "sbc-53", "mp3-320", "sbc-35", "sbc-20", "mp3-128", "mp3-64", "aac-64")
FEW += ("down-16000hz", "noise-white-20db")
"""Conditions of README's table."""


# --- in words ------------------------------------------------------------------------------------


def glance(results: pandas.DataFrame, preset: str) -> list[str]:
    """Four list items: what the network helps, what it leaves, what it harms, and what was good.

    It helps under a condition if the intervals of the mean change in ViSQOL and in Zimtohrli both
    lie above 0 and both means rise by what :data:`HARM` counts; it harms if one of the two falls
    so.

    Args:
        results: of :func:`enhancelib.evaluate.matrix.evaluate`.
        preset: the system that is spoken of.
    """
    chosen = results[results["system"].isin([UNTREATED, preset])]
    helped, left, harmed, unasked = [], [], [], []
    asked: set[int] = set()
    for kind, part in el.by_kind(chosen):
        good = el.does_good(part[part["metric"].isin(HEARING)])
        if good.empty:
            raise InputError(f"results: of {kind} pieces nothing can be judged; make results")
        change = changes(good)
        asked.add(len(change))
        visqol = good[good["metric"] == "visqol"].set_index("condition")
        helped.append(f"{kind} {np.sum(change > 0)}{_extreme(visqol[change > 0], 'idxmax')}")
        pieces = good["pieces"].max()
        few = f" ({pieces} pieces are too few to be sure of anything)" if pieces < LEAST else ""
        left.append(f"{kind} {np.sum(change == 0)}{few}")
        harmed.append(f"{kind} {np.sum(change < 0)}{_extreme(visqol[change < 0], 'idxmin')}")
        unasked.append(f"{kind} {_no_room(el.does_no_harm(part))}")
    several = " to ".join(map(str, sorted({min(asked), max(asked)})))
    conditions = f"counted over {several} conditions (a codec at a bit rate, noise, …)"
    return [
        f"- **It helps**, {conditions}: {', '.join(helped)}. ViSQOL predicts listeners' opinion, "
        "from 1 to 4.73.",
        f"- **No sure effect**: {', '.join(left)}.",
        f"- **It harms**: {', '.join(harmed)}.",
        "- **Where no loss can be heard**, the network should change nothing. In so many checks "
        f"the worst piece of a kind still gets worse: {', '.join(unasked)}.",
    ]


def changes(good: pandas.DataFrame) -> pandas.Series:
    """1 where the network helps by both models of hearing, -1 where it harms by one, else 0.

    Fewer than :data:`LEAST` pieces give 0: two that happen to agree have an interval of no width.

    Args:
        good: of :func:`enhancelib.evaluate.verdicts.does_good`, for those two.

    Returns:
        By condition.
    """
    least, enough = good["metric"].map(HARM), good["pieces"] >= LEAST
    good = good.assign(
        rises=enough & (good["low"] > 0) & (good["delta"] >= least),
        falls=enough & (good["high"] < 0) & (good["delta"] <= -least),
    )
    seen = good.groupby("condition", sort=False)
    return seen["rises"].all().astype(int) - seen["falls"].any().astype(int)


def _extreme(visqol: pandas.DataFrame, which: str) -> str:
    """The condition with the largest change, as a remark in brackets."""
    if visqol.empty:
        return ""
    name = getattr(visqol["delta"], which)()
    row = visqol.loc[name]
    return f" (most `{name}`, ViSQOL {row[UNTREATED]:.2f} → {row['value']:.2f})"


def _no_room(harm: pandas.DataFrame) -> str:
    """How many checks of transparent conditions find harm, and the worst of them."""
    if harm.empty:
        return "not measured"
    found = harm[harm["harmed"]]
    said = f"{len(found)} of {len(harm)}"
    if found.empty:
        return said
    worst = found.loc[(found["worst_delta"].abs() / found["tolerance"]).idxmax()]
    metric = el.METRICS[worst["metric"]]
    unit = "" if metric.unit == "MOS" else f" {metric.unit}"
    return (
        f"{said} (most `{worst['condition']}`, {metric.title} {worst['worst_delta']:+.2f}{unit} on "
        f"`{worst['worst_piece']}`)"
    )


def heads(results: pandas.DataFrame) -> str:
    """How many pieces of each kind: "7 recorded, 9 rendered, 2 speech"."""
    counts = [f"{part['piece'].nunique()} {kind}" for kind, part in el.by_kind(results)]
    return ", ".join(counts)


# --- in tables -----------------------------------------------------------------------------------


def table(results: pandas.DataFrame, preset: str, conditions: tuple[str, ...] = SHOWN) -> list[str]:
    """A Markdown table of means, untreated → enhanced, the largest changes in ViSQOL first.

    What got worse bears a mark. Conditions under which no mean moved are one row, with the largest
    change of them.

    Args:
        results: of :func:`enhancelib.evaluate.matrix.evaluate`; a metric that is missing has no
            column.
        preset: the system beside the untreated audio.
        conditions: those that are shown.
    """
    measured = set(results["metric"])
    columns = {name: facts for name, facts in COLUMNS.items() if name in measured}
    lines = ["| kind | condition | " + " | ".join(head for head, _ in columns.values()) + " |"]
    lines.append("|---" * (2 + len(columns)) + "|")
    chosen = results[
        results["system"].isin([UNTREATED, preset])
        & results["metric"].isin(columns)
        & results["condition"].isin(conditions)
    ]
    most = chosen["metric"].map({"si_sdr": INAUDIBLE_DB}).fillna(np.inf)
    chosen = chosen.assign(value=chosen["value"].clip(upper=most))
    for kind, part in el.by_kind(chosen):
        means = part.groupby(["condition", "metric", "system"])["value"].mean().unstack()
        for names, cells in _rows(means, columns, preset):
            lines.append(f"| {kind} | {names} | " + " | ".join(cells) + " |")
    return lines


def _rows(
    means: pandas.DataFrame, columns: dict[str, tuple[str, float]], preset: str
) -> Iterator[tuple[str, list[str]]]:
    """Conditions and cells of one kind.

    Args:
        means: condition and metric × system.
        columns: of the table.
        preset: one of the systems.
    """
    change = (means[preset] - means[UNTREATED]).unstack()[list(columns)]
    least = pandas.Series({name: least for name, (_, least) in columns.items()})
    still = (change.abs() < least).all(axis=1)
    order = change.loc[~still, "visqol"].abs().sort_values(ascending=False, kind="stable")
    for condition in order.index:
        row = means.loc[condition]
        yield (
            f"`{condition}`",
            [_cell(name, *row.loc[name, [UNTREATED, preset]], least[name]) for name in columns],
        )
    if still.any():
        names = ", ".join(f"`{condition}`" for condition in change.index[still])
        yield names, [f"± {change.loc[still, name].abs().max():.2f}" for name in columns]


def _cell(metric: str, before: float, after: float, least: float) -> str:
    """Two means and, where the second is worse, a mark."""
    better = el.METRICS[metric].better
    gain = {
        "higher": after - before,
        "lower": before - after,
        "zero": abs(before) - abs(after),
    }[better]
    sign = "+" if better == "zero" else ""
    return f"{before:{sign}.2f} → {after:{sign}.2f}" + (LOST if gain <= -least else "")
