"""What the page *Beside published systems* shows of data/results/versus.csv."""

import pandas

from enhancelib.evaluate.kinds import KINDS
from enhancelib.provenance import UNTREATED

HEADS = {
    "visqol": "ViSQOL",
    "zimtohrli": "Zimtohrli",
    "lsd": "LSD (bel)",
    "si_sdr": "SI-SDR (dB)",
    "treble_level_difference": "treble (dB)",
    "level_difference": "level (dB)",
}


def means(table: pandas.DataFrame) -> pandas.DataFrame:
    """Means over the pieces of a kind: what was given, what others and we made of it.

    Args:
        table: of :mod:`tools.measure.versus`.

    Returns:
        Rows by ``sounds`` (the folder), ``kind`` and ``system``, the untreated sounds first and
        ours last; columns ``pieces``, the metrics, and ``ViSQOL under ours``: on how many of the
        system's pieces its ViSQOL is below ours.
    """
    (ours,) = set(table["preset"].dropna()) - {""}
    lines = []
    for (sounds, kind), part in table.groupby(["condition", "kind"]):
        values = part.pivot(index=["metric", "piece"], columns="system", values="value")
        heard = values.loc["visqol"]
        others = sorted(set(values) - {UNTREATED, ours})
        for system in (UNTREATED, *others, ours):
            pieces = int(heard[system].notna().sum())
            under = int((heard[system] < heard[ours]).sum())
            line = {"sounds": sounds, "kind": kind, "system": system, "pieces": pieces}
            line |= {head: values.loc[name][system].mean() for name, head in HEADS.items()}
            line["ViSQOL under ours"] = "–" if system == ours else f"{under} of {pieces}"
            lines.append(line)
    shown = pandas.DataFrame(lines).round(2)
    shown["rank"] = shown["kind"].map(KINDS.index)
    shown = shown.sort_values(["sounds", "rank"], kind="stable").drop(columns="rank")
    return shown.set_index(["sounds", "kind", "system"])


def origin(table: pandas.DataFrame) -> str:
    """Who measured the rows, when, with which weights, in a sentence."""
    people = ", ".join(sorted(set(table["measured_by"])))
    first, last = table["utc"].min()[:10], table["utc"].max()[:10]
    when = first if first == last else f"{first} to {last}"
    ours = table[table["checkpoint_sha256"].fillna("") != ""]
    (weights,) = {(row.preset, row.checkpoint_sha256) for row in ours.itertuples()}
    pieces = len(table.drop_duplicates(["condition", "piece"]))
    return (
        f"Measured by {people}, {when}, at commit `{table['commit'].iloc[0]}`: {pieces} pieces. "
        f"Ours is `{weights[0]}`, weights `{weights[1][:12]}`."
    )
