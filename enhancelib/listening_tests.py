"""What a blind listening test shows: exact p-values and the difference it could have detected."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from enhancelib.errors import InputError

ALPHA = 0.05
POWER = 0.8


@dataclass(frozen=True)
class ABXResult:
    """Outcome of an ABX test.

    Attributes:
        hits: Right answers.
        trials: Answers.
        p_value: Chance that a guesser has at least as many hits (exact binomial, one-sided).
        interval: Clopper-Pearson 95 % interval of the share of right answers.
        d_prime: Sensitivity that predicts the share observed; 0 at or under one half, infinite
            where every answer is right.
        detectable_d_prime: The least d' that a test of this length reveals (p <= 0.05) in 80 % of
            runs; infinite where it is too short to reveal anything.
    """

    hits: int
    trials: int
    p_value: float
    interval: tuple[float, float]
    d_prime: float
    detectable_d_prime: float


def abx_share(d_prime: float) -> float:
    """Expected share of right ABX answers of an unbiased listener, 0.5 to 1.

    Independent observations: ``Φ(d'/√2) Φ(d'/2) + Φ(-d'/√2) Φ(-d'/2)`` (Macmillan and Creelman,
    "Detection Theory", 2nd edition 2005, chapter 9).
    """
    from scipy.special import ndtr

    order, match = ndtr(d_prime / math.sqrt(2)), ndtr(d_prime / 2)
    return float(order * match + (1 - order) * (1 - match))


def abx_result(answers: str | Path | Iterable[bool]) -> ABXResult:
    """Evaluate an ABX test.

    Args:
        answers: The CSV file that the ABX page saves, or for each trial whether it was right.

    Raises:
        InputError: No answer, or a file that is not such a CSV.
    """
    from scipy.stats import binom, binomtest

    right = read_abx(answers) if isinstance(answers, str | Path) else [bool(a) for a in answers]
    if not right:
        raise InputError("an ABX result needs at least one answer")
    hits, trials = sum(right), len(right)
    test = binomtest(hits, trials, 0.5, alternative="greater")
    bounds = binomtest(hits, trials).proportion_ci(0.95, method="exact")
    needed = next((k for k in range(trials + 1) if binom.sf(k - 1, trials, 0.5) <= ALPHA), None)
    return ABXResult(
        hits=hits,
        trials=trials,
        p_value=float(test.pvalue),
        interval=(float(bounds.low), float(bounds.high)),
        d_prime=_d_prime(hits / trials),
        detectable_d_prime=math.inf if needed is None else _detectable(needed, trials),
    )


def read_abx(path: str | Path) -> list[bool]:
    """Read the CSV that the ABX page saves: for each trial whether the answer was right.

    Raises:
        InputError: The file cannot be read, or lacks the columns ``x`` and ``answer``.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as an ABX CSV ({error})") from error
    for number, row in enumerate(rows, start=2):
        if row.get("x") not in ("A", "B") or row.get("answer") not in ("A", "B"):
            raise InputError(f"{path}: line {number} lacks A or B under 'x' or 'answer'")
    return [row["x"] == row["answer"] for row in rows]


def _d_prime(share: float) -> float:
    from scipy.optimize import brentq

    if share <= 0.5:
        return 0.0
    if share >= 1.0:
        return math.inf
    return float(brentq(lambda d_prime: abx_share(d_prime) - share, 0.0, 40.0))


def _detectable(needed: int, trials: int) -> float:
    """The d' whose share of right answers reaches the needed hits with the power wanted."""
    from scipy.special import betaincinv

    share = float(betaincinv(needed, trials - needed + 1, POWER))  # P(hits >= needed) = POWER
    return _d_prime(share)
