"""Which smaller file to carry: what each loses against the full network, and a rule that decides.

A variant is *careful* if its losses stay under the limits below under every condition, as means
over the pieces of each kind. Among those the rule takes the file with the least product of size and
CPU time: halving either counts the same. Times stray by some percent, so products that are nearly
the least count as equal, and of equals the file that is listed first, as the simplest to make, is
taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from enhancelib.errors import InputError
from enhancelib.evaluate.kinds import kinds_of
from enhancelib.provenance import UNTREATED

if TYPE_CHECKING:
    import pandas

LIMITS = {"in_band_si_sdr": 0.1, "visqol": 0.02}
"""What a mean may lose at most under any condition: dB, and points of ViSQOL."""
LEAST_KEPT = 0.95
"""Share of the full network's gain that has to stay, where there was something to gain."""
ROOM = {"visqol": 0.1, "lsd": 0.1}
"""Under a condition where the full network gains so much there is room."""
ALIKE = 1.1
"""Products of size and CPU time up to so many times the least count as equal."""
_SIGNS = {"visqol": 1, "in_band_si_sdr": 1, "si_sdr": 1, "lsd": -1}


def losses(results: pandas.DataFrame, *, reference: str) -> pandas.DataFrame:
    """What each system loses against a reference system, under the condition where it loses most.

    Args:
        results: of :func:`enhancelib.evaluate`, with the untreated audio; of ``visqol``,
            ``in_band_si_sdr``, ``si_sdr`` and ``lsd`` those that are there are looked at.
        reference: the full network's name among the systems.

    Returns:
        A row per system, the untreated audio left out, with for each metric ``<metric>_loss``, the
        largest loss of a mean over the pieces of one kind, and ``<metric>_worst``, on any one piece
        (positive is worse); and ``kept``, the least share of the reference's gain that is left
        under a condition with room, in ViSQOL or LSD (NaN where there is none).

    Raises:
        InputError: the reference, or the untreated audio, is not among the systems.
    """
    import pandas

    for name in (reference, UNTREATED):
        if name not in set(results["system"]):
            raise InputError(f"results: no system {name!r} in them; measure it too")
    names = [name for name in dict.fromkeys(results["system"]) if name != UNTREATED]
    columns: dict[str, pandas.Series] = {}
    shares = []
    for metric, sign in _SIGNS.items():
        part = results[results["metric"] == metric]
        if part.empty:
            continue
        part = part.assign(kind=part["piece"].map(kinds_of(part["piece"])))
        keys = ["kind", "condition"]
        values = sign * part.pivot(index=[*keys, "piece"], columns="system", values="value")
        lost = (-values[names]).add(values[reference], axis="index")
        columns[f"{metric}_loss"] = lost.groupby(keys).mean().max()
        columns[f"{metric}_worst"] = lost.max()
        if metric in ROOM:
            gains = values.sub(values[UNTREATED], axis="index").groupby(keys).mean()
            roomy = gains[gains[reference] >= ROOM[metric]]
            shares.append(roomy[names].div(roomy[reference], axis="index"))
    columns["kept"] = pandas.concat(shares).min() if shares else np.nan
    return pandas.DataFrame(columns, index=names)


def careful(table: pandas.DataFrame) -> pandas.Series:
    """Whether each row of :func:`losses` stays within all limits; no value is no loss."""
    good = table["kept"].isna() | (table["kept"] >= LEAST_KEPT)
    for metric, limit in LIMITS.items():
        if f"{metric}_loss" in table:
            good &= ~(table[f"{metric}_loss"] >= limit)
    return good


def on_front(table: pandas.DataFrame) -> pandas.Series:
    """Whether no other row is at least as good in every column and better in one; less is good."""
    values = table.to_numpy(float)
    no_worse = (values[:, None] <= values[None]).all(axis=2)
    better = (values[:, None] < values[None]).any(axis=2)
    return ~(no_worse & better).any(axis=0) & table.index.to_series().notna()


def sweet_spot(table: pandas.DataFrame) -> str:
    """The file to carry: careful, with the least product of size and CPU time.

    Args:
        table: as of :func:`losses`, with the columns ``size`` and ``cpu_rtf`` besides; rows without
            them are no files to carry. Of products that are :data:`ALIKE` the first row counts.

    Returns:
        Its name; where none is careful, that of the one that keeps most of the gain.

    Raises:
        InputError: no row has a size and a CPU time.
    """
    files = table.dropna(subset=["size", "cpu_rtf"])
    if files.empty:
        raise InputError("table: no row has a size and a CPU time; measure the files first")
    good = files[careful(files)]
    if good.empty:
        return str(files["kept"].fillna(0).idxmax())
    products = good["size"] * good["cpu_rtf"]
    return str((products <= ALIKE * products.min()).idxmax())
