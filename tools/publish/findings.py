"""What the results say of each kind of piece, in a sentence each; kinds are never pooled."""

import numpy as np
import pandas

import enhancelib as el
from enhancelib.evaluate.verdicts import HARM, UNTREATED

HEARING = ("visqol", "zimtohrli")


def findings(results: pandas.DataFrame, preset: str, kinds: pandas.Series) -> list[str]:
    """List items, one per kind: where the network helps, where it harms, what it leaves alone.

    It helps under a condition if the intervals of the mean change in ViSQOL and in Zimtohrli both
    lie above 0 and both means rise by what :data:`HARM` counts; it harms if one of the two falls
    so.

    Args:
        results: of :func:`enhancelib.evaluate.matrix.evaluate`.
        preset: the system that is spoken of.
        kinds: kind by piece.
    """
    chosen = results[results["system"].isin([UNTREATED, preset])]
    lines = []
    for kind, part in chosen.groupby(chosen["piece"].map(kinds)):
        good = el.does_good(part[part["metric"].isin(HEARING)])
        harm = el.does_no_harm(part)
        pieces = part["piece"].nunique()
        lines.append(
            f"- **{kind}** ({pieces} pieces): {_room(good)}. Where nothing is to be repaired, "
            f"{_no_room(harm)}."
        )
    return lines


def changes(good: pandas.DataFrame) -> pandas.Series:
    """1 where the network helps by both models of hearing, -1 where it harms by one, else 0.

    Args:
        good: of :func:`enhancelib.evaluate.verdicts.does_good`, for those two.

    Returns:
        By condition.
    """
    least = good["metric"].map(HARM)
    good = good.assign(
        rises=(good["low"] > 0) & (good["delta"] >= least),
        falls=(good["high"] < 0) & (good["delta"] <= -least),
    )
    seen = good.groupby("condition", sort=False)
    return seen["rises"].all().astype(int) - seen["falls"].any().astype(int)


def _room(good: pandas.DataFrame) -> str:
    """Of the conditions that leave something to repair."""
    change = changes(good)
    visqol = good[good["metric"] == "visqol"].set_index("condition")
    return (
        f"helps under {np.sum(change > 0)} of {len(change)} conditions"
        f"{_extreme(visqol[change > 0], 'idxmax')}, harms under {np.sum(change < 0)}"
        f"{_extreme(visqol[change < 0], 'idxmin')}; the lowest mean change in ViSQOL is "
        f"{visqol['delta'].min():+.2f} (`{visqol['delta'].idxmin()}`)"
    )


def _extreme(visqol: pandas.DataFrame, which: str) -> str:
    """The condition with the largest change, as a remark in brackets."""
    if visqol.empty:
        return ""
    name = getattr(visqol["delta"], which)()
    row = visqol.loc[name]
    return f" (most under `{name}`, ViSQOL {row[UNTREATED]:.2f} → {row['value']:.2f})"


def _no_room(harm: pandas.DataFrame) -> str:
    """Of the transparent conditions: how many checks find harm, and the worst of them."""
    found = harm[harm["harmed"]]
    said = f"{len(found)} of {len(harm)} checks find harm"
    if found.empty:
        return said
    worst = found.loc[(found["worst_delta"].abs() / found["tolerance"]).idxmax()]
    metric = el.METRICS[worst["metric"]]
    return (
        f"{said} (most under `{worst['condition']}`: {metric.title} {worst['worst_delta']:+.2f} "
        f"{metric.unit} on `{worst['worst_piece']}`)"
    )
