"""What blind listening tests show: exact p-values, detectable differences, mean ratings."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from enhancelib.errors import InputError

ALPHA = 0.05
POWER = 0.8


@dataclass(frozen=True)
class ABXResult:
    """Outcome of an ABX test.

    Attributes:
        hits: right answers.
        trials: answers.
        p_value: chance that a guesser has at least as many hits (exact binomial, one-sided).
        interval: Clopper-Pearson 95 % interval of the share of right answers.
        d_prime: sensitivity that predicts the share observed; 0 at or under one half, infinite
            where every answer is right.
        detectable_d_prime: the least d' that a test of this length reveals (p <= 0.05) in 80 % of
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
        answers: the CSV file that the ABX page saves, or for each trial whether it was right.

    Raises:
        InputError: no answer, or a file that is not such a CSV.
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
        InputError: the file cannot be read, or lacks the columns ``x`` and ``answer``.
    """
    rows = _read_csv(path)
    for number, row in enumerate(rows, start=2):
        if row.get("x") not in ("A", "B") or row.get("answer") not in ("A", "B"):
            raise InputError(f"{path}: line {number} lacks A or B under 'x' or 'answer'")
    return [row["x"] == row["answer"] for row in rows]


def _read_csv(path: str | Path) -> list[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a listening test's CSV ({error})") from error


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


@dataclass(frozen=True)
class MUSHRAResult:
    """Outcome of a MUSHRA test over listeners and pieces.

    Attributes:
        scores: system to mean score with its 95 % interval (mean, low, high), best first; from
            Student's t over the means of the listeners, 0 to 100 where there is only one listener.
        listeners: listeners counted.
        ratings: ratings counted for each system.
        excluded: sessions left out: the hidden reference rated under 90 in more than 15 % of the
            pieces (ITU-R BS.1534-3, section 4.1.2).
    """

    scores: dict[str, tuple[float, float, float]]
    listeners: int
    ratings: int
    excluded: tuple[str, ...]


def mushra_result(answers: Iterable[str | Path | Mapping[str, object]]) -> MUSHRAResult:
    """Evaluate MUSHRA ratings of any number of listeners and pieces.

    The unit is the listener: one who rates everything high does so in every piece, so ratings of
    one listener are not independent. Each listener's mean over the pieces counts once; the
    intervals are for other listeners, on these pieces.

    Args:
        answers: CSV files that the MUSHRA page saves, or rows as in them, or both. A session is
            taken for a listener: the page begins one whenever it is loaded.

    Raises:
        InputError: no rating, a rating outside 0 to 100, a file that is not such a CSV, systems
            that not every piece has, or no listener left.
    """
    rows = [row for answer in answers for row in _mushra_rows(answer)]
    if not rows:
        raise InputError("a MUSHRA result needs at least one rating")
    sessions: dict[str, dict[str, dict[str, float]]] = {}
    for session, piece, system, score in rows:
        sessions.setdefault(session, {}).setdefault(piece, {})[system] = score
    excluded = [name for name, pieces in sessions.items() if _misses_reference(pieces.values())]
    listeners = [list(pieces.values()) for name, pieces in sessions.items() if name not in excluded]
    kept = [piece for pieces in listeners for piece in pieces]
    if not kept:
        raise InputError("no listener found the hidden reference: nothing is left to evaluate")
    if any(set(piece) != set(kept[0]) for piece in kept):
        raise InputError("every piece must have been rated with the same systems")
    scores = {
        system: _mean_interval([fmean(piece[system] for piece in pieces) for pieces in listeners])
        for system in kept[0]
    }
    best_first = dict(sorted(scores.items(), key=lambda item: -item[1][0]))
    return MUSHRAResult(best_first, len(listeners), len(kept), tuple(excluded))


def _mushra_rows(answer: str | Path | Mapping[str, object]) -> list[tuple[str, str, str, float]]:
    rows: Sequence[Mapping[str, object]]
    if isinstance(answer, str | Path):
        name, rows = str(answer), _read_csv(answer)
    else:
        name, rows = "a row", [answer]
    try:
        found = [
            (str(row["session"]), str(row["title"]), str(row["system"]), float(str(row["score"])))
            for row in rows
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{name}: lacks session, title, system or score ({error})") from error
    if not all(0 <= score <= 100 for *_, score in found):
        raise InputError(f"{name}: scores must lie between 0 and 100")
    return found


def _misses_reference(pieces: Collection[Mapping[str, float]]) -> bool:
    return sum(piece.get("reference", 0) < 90 for piece in pieces) > 0.15 * len(pieces)


def _mean_interval(scores: list[float]) -> tuple[float, float, float]:
    from scipy.stats import t

    mean = fmean(scores)
    if len(scores) == 1:
        return mean, 0.0, 100.0
    half = float(t.ppf(0.975, len(scores) - 1)) * stdev(scores) / math.sqrt(len(scores))
    return mean, mean - half, mean + half
