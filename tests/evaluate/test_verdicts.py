"""Conclusions drawn from tables whose answer is known."""

import numpy as np
import pandas
import pytest
import scipy.stats

from enhancelib.errors import InputError
from enhancelib.evaluate import verdicts

PIECES = [f"piece {index}" for index in range(8)]


def table(values, *, condition="mp3-64", metric="lsd"):
    """A results table from {system: one value per piece}."""
    return pandas.DataFrame(
        [
            {
                "piece": piece,
                "condition": condition,
                "system": system,
                "metric": metric,
                "value": float(value),
            }
            for system, column in values.items()
            for piece, value in zip(PIECES, np.broadcast_to(column, len(PIECES)), strict=True)
        ]
    )


def only(rows):
    assert len(rows) == 1
    return rows.iloc[0]


SPREAD = np.arange(1, 9) / 10


# --- pairs ---------------------------------------------------------------------------------------


def test_pairs_are_made_by_piece_whatever_the_order_of_rows():
    rows = table({"untreated": SPREAD, "ours": SPREAD - 0.05}).sample(frac=1, random_state=1)
    deltas = verdicts.paired_deltas(rows)
    assert len(deltas) == 8
    assert deltas["delta"].to_numpy() == pytest.approx(-0.05)
    assert deltas["gain"].to_numpy() == pytest.approx(0.05)  # a lower distance is better


def test_gain_follows_which_way_is_better():
    rows = table({"untreated": 20, "ours": 22}, metric="snr")
    assert verdicts.paired_deltas(rows)["gain"].tolist() == [2] * 8


@pytest.mark.parametrize(("after", "verdict"), [(3.0, "better"), (-3.0, "better"), (9.0, "worse")])
def test_of_a_bias_the_smaller_one_is_better(after, verdict):
    """From 6 dB too weak to 3 too weak or 3 too strong; 9 too strong is worse."""
    rows = table({"untreated": -6 - SPREAD, "ours": after}, metric="band_energy_bias")
    deltas = verdicts.paired_deltas(rows)
    assert deltas["gain"].to_numpy() == pytest.approx(6 + SPREAD - abs(after))
    assert deltas["delta"].to_numpy() == pytest.approx(6 + SPREAD + after)
    assert only(verdicts.summarize(rows))["verdict"] == verdict


def test_unpaired_or_double_rows_are_refused():
    rows = table({"untreated": 1, "ours": 2})
    with pytest.raises(InputError, match="twice"):
        verdicts.paired_deltas(pandas.concat([rows, rows]))
    with pytest.raises(InputError, match="no 'untreated' rows"):
        verdicts.paired_deltas(rows[rows["system"] == "ours"])


# --- uncertainty ---------------------------------------------------------------------------------


def test_summary_of_a_steady_gain_and_its_worst_piece():
    enhanced = SPREAD - 0.2
    enhanced[3] = SPREAD[3] + 0.1
    row = only(verdicts.summarize(table({"untreated": SPREAD, "ours": enhanced})))
    deltas = enhanced - SPREAD
    assert row["pieces"] == 8
    assert row["untreated"] == pytest.approx(SPREAD.mean())
    assert row["value"] == pytest.approx(enhanced.mean())
    assert row["delta"] == pytest.approx(deltas.mean())
    assert row["low"] < row["delta"] < row["high"] < 0
    assert row["p"] == pytest.approx(scipy.stats.wilcoxon(deltas, method="exact").pvalue)
    assert row["p_holm"] == row["p"]  # a table of one row
    assert (row["worst_piece"], row["worst_delta"]) == ("piece 3", pytest.approx(0.1))
    assert row["verdict"] == "better"


@pytest.mark.parametrize(
    ("metric", "shift", "verdict"),
    [("lsd", 0.3, "worse"), ("snr", 0.3, "better"), ("snr", -0.3, "worse"), ("snr", 0, "open")],
)
def test_verdict_knows_the_better_side(metric, shift, verdict):
    jitter = np.resize([0.1, -0.1], 8)
    rows = table({"untreated": SPREAD, "ours": SPREAD + shift + jitter}, metric=metric)
    assert only(verdicts.summarize(rows))["verdict"] == verdict


def test_nothing_changed_is_no_difference():
    row = only(verdicts.summarize(table({"untreated": SPREAD, "ours": SPREAD})))
    assert (row["p"], row["delta"], row["low"], row["high"]) == (1, 0, 0, 0)
    assert row["verdict"] == "open"


def test_few_pieces_get_no_verdict():
    rows = table({"untreated": SPREAD, "ours": SPREAD - 1})
    few = rows[rows["piece"].isin(PIECES[:5])]
    assert only(verdicts.summarize(few))["verdict"] == "few"
    one = only(verdicts.summarize(rows[rows["piece"] == "piece 0"]))
    assert np.isnan(one["low"])


def test_the_more_is_compared_the_more_a_verdict_takes():
    """Eight pieces that all gain have p = 2/256: enough among six rows, not among seven."""
    tables = [
        table({"untreated": SPREAD, "ours": SPREAD - 0.1}, condition=f"mp3-{kbps}")
        for kbps in range(32, 39)
    ]
    six, seven = (verdicts.summarize(pandas.concat(tables[:count])) for count in (6, 7))
    assert six["p_holm"].tolist() == pytest.approx([6 / 128] * 6)
    assert set(six["verdict"]) == {"better"}
    assert set(seven["verdict"]) == {"few"}


def test_a_test_and_a_mean_that_disagree_give_no_verdict():
    change = np.array([-1.0, -1.1, -1.2, -1.3, -1.4, -1.5, -1.6, 20.0])  # seven gain, one loses all
    apart = only(verdicts.summarize(table({"untreated": 0, "ours": change})))
    assert apart["verdict"] == "open"
    assert apart["delta"] == pytest.approx(10.9 / 8)


def test_gain_alone_and_inverted_polarity_are_harm():
    """In decibels of a wave 1 dB louder and of one turned over, under sbc-53."""
    for metric, untreated, ours in (
        ("snr", 35.0, 18.3),
        ("snr", 35.0, -6.0),
        ("level_difference", 0.0, 1.0),
        ("level_difference", -0.3, 0.7),
    ):
        rows = table({"untreated": untreated, "ours": ours}, condition="sbc-53", metric=metric)
        assert only(verdicts.does_no_harm(rows))["harmed"]
    rows = table({"untreated": 100, "ours": 75}, condition="lossless", metric="snr")
    assert not only(verdicts.does_no_harm(rows))["harmed"]  # 75 dB down, nobody hears an error


# --- the headline tables -------------------------------------------------------------------------


def test_good_is_asked_where_there_is_room_and_harm_where_there_is_none():
    both = pandas.concat(
        [
            table({"untreated": 2, "ours": 1}),
            table({"untreated": 0, "ours": 0.3}, condition="lossless"),
        ]
    )
    assert set(verdicts.does_good(both)["condition"]) == {"mp3-64"}
    assert set(verdicts.does_no_harm(both)["condition"]) == {"lossless"}
    assert set(verdicts.does_good(both, transparent=["mp3-64"])["condition"]) == {"lossless"}
    assert set(verdicts.does_no_harm(both, transparent=["mp3-64"])["condition"]) == {"mp3-64"}


def test_of_a_codec_that_takes_nothing_harm_is_asked():
    rows = table({"untreated": 4.73, "ours": 4.73}, condition="aptx-hd", metric="visqol")
    assert not only(verdicts.does_no_harm(rows))["harmed"]


@pytest.mark.parametrize(
    ("metric", "base", "change", "harmed"),
    [
        ("lsd", 0.1, 0.03, True),
        ("lsd", 0.1, 0.01, False),
        ("lsd", 0.1, -0.5, False),
        ("visqol", 4.7, -0.03, True),
        ("visqol", 4.7, 0.03, False),
        ("in_band_si_sdr", 40, -0.2, True),
        ("in_band_si_sdr", 40, -0.05, False),
    ],
)
def test_one_harmed_piece_is_enough(metric, base, change, harmed):
    enhanced = np.full(8, float(base))
    enhanced[5] += change
    rows = table({"untreated": base, "ours": enhanced}, condition="sbc-53", metric=metric)
    row = only(verdicts.does_no_harm(rows))
    assert row["harmed"] == harmed
    if harmed:
        assert row["worst_piece"] == "piece 5"
