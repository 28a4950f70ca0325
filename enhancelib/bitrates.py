"""What enhancement is worth in bits: the untreated bit rate of equal quality, and the mean saving.

Both take the tidy table of :func:`enhancelib.evaluation.evaluate` and the bit rate of each of its
conditions, all of one codec.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from enhancelib.errors import InputError
from enhancelib.verdicts import CONFIDENCE, UNTREATED

if TYPE_CHECKING:
    import pandas

RESAMPLES = 400
FEWEST_RATES = 4
"""Points of a curve, as Bjøntegaard's measure wants at least."""


def equal_rates(
    results: pandas.DataFrame, kbps: Mapping[str, float], *, metric: str = "visqol"
) -> pandas.DataFrame:
    """Per condition and system: which bit rate untreated audio of the same mean quality has.

    The untreated curve is made monotonic and read linearly over the logarithm of the bit rate.

    Args:
        results: Columns piece, condition, system, metric and value at least.
        kbps: Conditions of one codec → kbit/s.
        metric: Of quality, higher is better.

    Returns:
        Columns condition, kbps, system, untreated, value (mean qualities) and ``equals_kbps``; NaN
        where the system is better than untreated audio at any of these rates.

    Raises:
        InputError: A condition or the metric is missing.
    """
    import pandas

    quality = _quality(results, kbps, metric).mean(axis=0).unstack("system")
    rates = np.array([kbps[name] for name in quality.index])
    curve = np.maximum.accumulate(quality[UNTREATED].to_numpy())
    rows = []
    for system in quality.columns.drop(UNTREATED):
        for name, rate in zip(quality.index, rates, strict=True):
            value = quality.loc[name, system]
            equal = np.exp(np.interp(value, curve, np.log(rates), left=np.nan, right=np.nan))
            rows.append(
                {
                    "condition": name,
                    "kbps": rate,
                    "system": system,
                    UNTREATED: quality.loc[name, UNTREATED],
                    "value": value,
                    "equals_kbps": float(equal),
                }
            )
    return pandas.DataFrame(rows)


def bitrate_saving(
    results: pandas.DataFrame,
    kbps: Mapping[str, float],
    *,
    metric: str = "visqol",
    seed: int = 0,
) -> pandas.DataFrame:
    """How many bits a system saves at equal quality, in percent, by Bjøntegaard's measure.

    The mean horizontal distance of two rate curves (Bjøntegaard, VCEG-M33, 2001), interpolated
    piecewise cubic; the interval is a percentile bootstrap over pieces.

    Args:
        results: As in :func:`equal_rates`.
        kbps: Conditions of one codec → kbit/s; at least four.
        metric: Of quality, higher is better.
        seed: Of the bootstrap.

    Returns:
        Columns system, metric, ``saving_percent`` (positive: fewer bits), ``low`` and ``high``; NaN
        where the curves have no quality in common.

    Raises:
        InputError: A condition or the metric is missing, or there are fewer than four rates.
    """
    import pandas

    if len(kbps) < FEWEST_RATES:
        raise InputError(f"{len(kbps)} bit rates make no curve; measure {FEWEST_RATES} or more")
    quality = _quality(results, kbps, metric)
    rates = np.array(sorted(kbps.values()))
    random = np.random.default_rng(seed)
    draws = random.integers(len(quality), size=(RESAMPLES, len(quality)))
    tail = 100 * (1 - CONFIDENCE) / 2
    rows = []
    for system in quality.columns.get_level_values("system").unique().drop(UNTREATED):
        untreated, enhanced = (
            quality.xs(name, axis=1, level="system").to_numpy() for name in (UNTREATED, system)
        )
        means = ((untreated[draw].mean(0), enhanced[draw].mean(0)) for draw in draws)
        spread = np.array([_saving(rates, *pair) for pair in means])
        known = spread[~np.isnan(spread)]
        low, high = np.percentile(known, [tail, 100 - tail]) if len(known) else (np.nan, np.nan)
        rows.append(
            {
                "system": system,
                "metric": metric,
                "saving_percent": _saving(rates, untreated.mean(0), enhanced.mean(0)),
                "low": float(low),
                "high": float(high),
            }
        )
    return pandas.DataFrame(rows)


def _quality(results: pandas.DataFrame, kbps: Mapping[str, float], metric: str) -> pandas.DataFrame:
    """Pieces x (condition, system), the conditions by rising bit rate; pieces without gaps only."""
    wanted = results[(results["metric"] == metric) & results["condition"].isin(kbps)]
    missing = set(kbps) - set(wanted["condition"])
    if missing:
        raise InputError(f"no {metric} of {', '.join(sorted(missing))} in the results; measure it")
    table = wanted.pivot_table(index="piece", columns=["condition", "system"], values="value")
    names = sorted(kbps, key=lambda name: kbps[name])
    return table.reindex(columns=names, level="condition").dropna()


def _saving(rates: np.ndarray, untreated: np.ndarray, enhanced: np.ndarray) -> float:
    import warnings

    import bjontegaard

    untreated, enhanced = (_rising(curve) for curve in (untreated, enhanced))
    if untreated[-1] <= enhanced[0] or enhanced[-1] <= untreated[0]:
        return float("nan")
    with warnings.catch_warnings():
        # A large gain leaves less in common; what is left is what is asked for.
        warnings.filterwarnings("ignore", ".*overlap.*")
        return -float(bjontegaard.bd_rate(rates, untreated, rates, enhanced, method="pchip"))


def _rising(curve: np.ndarray) -> np.ndarray:
    """The curve made strictly monotonic, as an inverse needs it."""
    return np.maximum.accumulate(curve) + 1e-9 * np.arange(len(curve))
