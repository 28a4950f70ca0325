"""Intervals and tests that hold what they promise, on data whose truth is known."""

import itertools

import numpy as np
import pytest
import scipy.stats

from enhancelib.evaluate.statistics import holm, signed_rank, t_interval

TABLES = 20_000
DRAWN = {
    "normal": (lambda rng, size: rng.normal(1, 1, size), 1),
    "skewness 1": (lambda rng, size: rng.gamma(4, size=size), 4),
    "skewness 2": (lambda rng, size: rng.exponential(size=size), 1),
    "counts": (lambda rng, size: rng.poisson(2, size).astype(float), 2),
    "five steps": (lambda rng, size: rng.integers(-2, 3, size).astype(float), 0),
    "dice": (lambda rng, size: rng.integers(1, 7, size).astype(float), 3.5),
}


@pytest.mark.parametrize("count", [5, 8, 16])
@pytest.mark.parametrize("name", DRAWN)
def test_intervals_hold_the_mean_as_often_as_they_say(name, count):
    """Where data are very skewed, Student falls short by what is known; that is held too."""
    draw, mean = DRAWN[name]
    low, high = t_interval(draw(np.random.default_rng(count), (TABLES, count)))
    covered = np.mean((low <= mean) & (mean <= high))
    chance = 2.6 * np.sqrt(0.05 * 0.95 / TABLES)  # 0.4 %
    promised = (0.88, 0.915) if name == "skewness 2" else (0.93, 0.97)
    assert promised[0] - chance < covered < promised[1] + chance


def test_an_interval_is_that_of_scipy():
    values = np.random.default_rng(1).gamma(2, size=(3, 7))
    theirs = scipy.stats.ttest_1samp(values, 0, axis=1).confidence_interval(0.9)
    np.testing.assert_allclose(t_interval(values, confidence=0.9), (theirs.low, theirs.high))
    assert np.isnan(t_interval(values[0, :1])).all()
    assert t_interval(np.full(4, 2.0)) == (2, 2)


@pytest.mark.parametrize("count", [6, 9, 16, 30])
def test_signed_ranks_agree_with_scipy_where_nothing_is_tied(count):
    values = np.random.default_rng(count).normal(0.4, 1, count)
    p, balance = signed_rank(values)
    theirs = scipy.stats.wilcoxon(values, method="exact")
    assert p == pytest.approx(theirs.pvalue)
    total = count * (count + 1) / 2
    assert 1 - abs(balance) == pytest.approx(2 * theirs.statistic / total)
    assert signed_rank(-values) == pytest.approx((p, -balance))


def test_signed_ranks_are_exact_with_ties_and_zeros():
    """By its definition: all signs of the values that are not zero, one by one."""
    values = np.array([0.0, 1, 1, 1, -2, 2, 3, -1, 4, 0])
    kept = values[values != 0]
    ranks = scipy.stats.rankdata(abs(kept))
    sums = np.array([np.dot(ranks, signs) for signs in itertools.product((-1, 1), repeat=8)])
    seen = abs(np.dot(ranks, np.sign(kept)))
    assert signed_rank(values) == pytest.approx(
        (np.mean(abs(sums) >= seen), np.dot(ranks, np.sign(kept)) / ranks.sum())
    )
    assert signed_rank(np.zeros(9)) == (1, 0)
    assert signed_rank(np.ones(9)) == (2 / 2**9, 1)


def test_holm_corrects_for_the_number_of_comparisons():
    corrected = holm(np.array([0.01, 0.04, 0.03, 0.005, 0.9]))
    assert corrected == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.9])  # worked by hand
    assert holm(np.array([0.6, 0.5])).tolist() == [1, 1]


def test_where_nothing_differs_one_table_in_twenty_holds_a_verdict():
    """Ten rows of twelve pieces with ties; without correction, four tables in ten are wrong."""
    draws = np.random.default_rng(3).standard_t(3, (400, 10, 12)).round(1)
    p = np.array([[signed_rank(row)[0] for row in table] for table in draws])
    wrong = np.mean([holm(row).min() <= 0.05 for row in p])
    assert wrong < 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / len(p))
    assert np.mean(p.min(axis=1) <= 0.05) > 0.3
