"""What enhancement is worth in bits: the untreated bit rate of equal quality, and the mean saving.

Both take the tidy table of :func:`enhancelib.evaluate.matrix.evaluate` and the bit rate of each of
its conditions, all of one codec.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from enhancelib.errors import InputError
from enhancelib.evaluate.kinds import check_one_kind
from enhancelib.evaluate.statistics import CONFIDENCE, t_interval
from enhancelib.provenance import UNTREATED

if TYPE_CHECKING:
    import pandas

RESAMPLES = 1000
FEWEST_RATES = 4
"""Points of a curve, as Bjøntegaard's measure wants at least."""


def equal_rates(
    results: pandas.DataFrame, kbps: Mapping[str, float], *, metric: str = "visqol", seed: int = 0
) -> pandas.DataFrame:
    """Per condition and system: which bit rate untreated audio of the same mean quality has.

    The untreated curve is made monotonic and read linearly over the logarithm of the bit rate.
    Intervals are over pieces, at 95 %: Student's of the means, a bootstrap's of the equal rate.

    Args:
        results: columns piece, condition, system, metric and value at least, of one kind of piece.
        kbps: conditions of one codec → kbit/s.
        metric: of quality, higher is better.
        seed: of the bootstrap.

    Returns:
        Columns condition, kbps, system, ``untreated`` and ``value`` (mean qualities) and
        ``equals_kbps``, each with its interval in ``…_low`` and ``…_high``. NaN where the system is
        better than untreated audio at any of these rates, or worse than at all of them.

    Raises:
        InputError: a condition or the metric is missing, be it of one system or of the untreated
            audio, a value is there twice, no piece has all, or pieces are of more than one kind.
    """
    import pandas

    rates = np.array(sorted(kbps.values()))
    names = sorted(kbps, key=lambda name: kbps[name])
    rows = []
    for system, untreated, enhanced in _qualities(results, kbps, metric):
        draws = _draws(len(untreated), seed)
        spread = [_equal(rates, untreated[draw].mean(0), enhanced[draw].mean(0)) for draw in draws]
        columns: dict[str, tuple[np.ndarray, Iterable[np.ndarray]]] = {
            UNTREATED: (untreated.mean(0), t_interval(untreated.T)),
            "value": (enhanced.mean(0), t_interval(enhanced.T)),
            "equals_kbps": (
                _equal(rates, untreated.mean(0), enhanced.mean(0)),
                _interval(np.array(spread), len(untreated)),
            ),
        }
        table = pandas.DataFrame({"condition": names, "kbps": rates})
        table["system"] = system
        for name, (value, (low, high)) in columns.items():
            table[name], table[f"{name}_low"], table[f"{name}_high"] = value, low, high
        equal = table.columns.str.startswith("equals_kbps")
        table.loc[:, equal] = table.loc[:, equal].replace([0.0, np.inf], np.nan)
        rows.append(table)
    return pandas.concat(rows, ignore_index=True)


def _equal(rates: np.ndarray, untreated: np.ndarray, enhanced: np.ndarray) -> np.ndarray:
    """Untreated bit rate of each enhanced quality; 0 or inf beyond the curve."""
    curve = np.maximum.accumulate(untreated)
    return np.exp(np.interp(enhanced, curve, np.log(rates), left=-np.inf, right=np.inf))


def bitrate_saving(
    results: pandas.DataFrame,
    kbps: Mapping[str, float],
    *,
    metric: str = "visqol",
    seed: int = 0,
) -> pandas.DataFrame:
    """How many bits a system saves at equal quality, in percent, by Bjøntegaard's measure.

    The mean horizontal distance of two rate curves (Bjøntegaard, VCEG-M33, 2001), interpolated
    piecewise cubic; the interval is a bootstrap over pieces. A resample whose curves have no
    quality in common counts as an endless saving, or an endless loss, so it can open an end of the
    interval.

    Args:
        results: as in :func:`equal_rates`.
        kbps: conditions of one codec → kbit/s; at least four.
        metric: of quality, higher is better.
        seed: of the bootstrap.

    Returns:
        Columns system, metric, ``saving_percent`` (positive where fewer bits do; NaN where the
        curves have no quality in common), ``low`` and ``high`` (NaN where that end is open), and
        ``without_overlap``, the share of resamples whose curves have no quality in common.

    Raises:
        InputError: as in :func:`equal_rates`, or there are fewer than four rates.
    """
    import pandas

    if len(kbps) < FEWEST_RATES:
        raise InputError(f"{len(kbps)} bit rates make no curve; measure {FEWEST_RATES} or more")
    rates = np.array(sorted(kbps.values()))
    rows = []
    for system, untreated, enhanced in _qualities(results, kbps, metric):
        draws = _draws(len(untreated), seed)
        means = ((untreated[draw].mean(0), enhanced[draw].mean(0)) for draw in draws)
        spread = np.array([_saving(rates, *pair) for pair in means])
        low, high = _interval(spread, len(untreated))
        rows.append(
            {
                "system": system,
                "metric": metric,
                "saving_percent": _saving(rates, untreated.mean(0), enhanced.mean(0)),
                "low": float(low),
                "high": float(high),
                "without_overlap": float(np.isinf(spread).mean()),
            }
        )
    return pandas.DataFrame(rows).replace([-np.inf, np.inf], np.nan)


def _qualities(
    results: pandas.DataFrame, kbps: Mapping[str, float], metric: str
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Each system with the qualities of the untreated audio and its own, (pieces, rates).

    The rates rise. Only pieces without a gap in these two count.
    """
    wanted = results[(results["metric"] == metric) & results["condition"].isin(kbps)]
    systems = wanted["system"].unique()
    for system in dict.fromkeys([UNTREATED, *systems]):
        of_it = set(wanted.loc[wanted["system"] == system, "condition"])
        if missing := sorted(set(kbps) - of_it):
            raise InputError(
                f"no {metric} of {', '.join(missing)} for {system!r} in the results; "
                "measure it, or leave that system out"
            )
    if len(systems) < 2:
        raise InputError(f"results hold only {UNTREATED!r} rows; measure a system beside it")
    if wanted.duplicated(["piece", "condition", "system"]).any():
        raise InputError("results hold a value twice; keep one row per piece, condition and system")
    check_one_kind(wanted)
    names = sorted(kbps, key=lambda name: kbps[name])
    tables = {
        system: rows.pivot(index="piece", columns="condition", values="value")[names]
        for system, rows in wanted.groupby("system", sort=False)
    }
    for system in [name for name in tables if name != UNTREATED]:
        pairs = [tables[name].dropna() for name in (UNTREATED, system)]
        pieces = pairs[0].index.intersection(pairs[1].index)
        if pieces.empty:
            raise InputError(f"{system}: no piece has {metric} at every rate; measure some")
        yield system, *(table.loc[pieces].to_numpy() for table in pairs)


def _draws(pieces: int, seed: int) -> np.ndarray:
    """Indices of pieces drawn with replacement, (resamples, pieces)."""
    return np.random.default_rng(seed).integers(pieces, size=(RESAMPLES, pieces))


def _interval(resampled: np.ndarray, pieces: int) -> np.ndarray:
    """Low and high end over the first axis; infinite values count as what they are.

    The percentiles are as far out as makes the interval of a mean as wide as Student's: those of a
    plain bootstrap are too narrow for few pieces (Hesterberg, "What Teachers Should Know About the
    Bootstrap", The American Statistician 69, 2015, section 5.3).
    """
    from scipy.special import ndtr, stdtrit

    if pieces < 2:
        return np.full((2, *resampled.shape[1:]), np.nan)
    wide = stdtrit(pieces - 1, (1 - CONFIDENCE) / 2) * np.sqrt(pieces / (pieces - 1))
    return np.quantile(resampled, [ndtr(wide), ndtr(-wide)], axis=0, method="closest_observation")


def _saving(rates: np.ndarray, untreated: np.ndarray, enhanced: np.ndarray) -> float:
    """The saving in percent; infinite, with the sign of who is better, if nothing is in common."""
    import warnings

    import bjontegaard

    untreated, enhanced = (_rising(curve) for curve in (untreated, enhanced))
    if untreated[-1] <= enhanced[0] or enhanced[-1] <= untreated[0]:
        return float(np.copysign(np.inf, enhanced[0] - untreated[0]))
    with warnings.catch_warnings():
        # A large gain leaves less in common; what is left is what is asked for.
        warnings.filterwarnings("ignore", ".*overlap.*")
        return -float(bjontegaard.bd_rate(rates, untreated, rates, enhanced, method="pchip"))


def _rising(curve: np.ndarray) -> np.ndarray:
    """The curve made strictly monotonic, as an inverse needs it."""
    return np.maximum.accumulate(curve) + 1e-9 * np.arange(len(curve))
