"""Bit rates of equal quality, on curves whose answer is known."""

import numpy as np
import pandas
import pytest

from enhancelib.errors import InputError
from enhancelib.evaluate import bitrates
from enhancelib.evaluate.bitrates import bitrate_saving, equal_rates

KBPS = {"sbc-10": 64.0, "sbc-20": 128.0, "sbc-35": 256.0, "sbc-53": 512.0, "sbc-60": 1024.0}


def results(gain, pieces=6, metric="visqol"):
    """Untreated quality is log2 of the rate plus a piece's own offset; a system adds ``gain``."""
    offsets = np.linspace(-0.3, 0.3, pieces)
    return pandas.DataFrame(
        [
            {
                "piece": f"{index}",
                "condition": name,
                "system": system,
                "metric": metric,
                "value": np.log2(rate) + offset + (gain(index) if system == "ours" else 0.0),
            }
            for index, offset in enumerate(offsets)
            for name, rate in KBPS.items()
            for system in ("untreated", "ours")
        ]
    )


@pytest.mark.parametrize(("gain", "saving"), [(1.0, 50.0), (0.0, 0.0), (-1.0, -100.0)])
def test_one_octave_of_quality_is_half_the_bits(gain, saving):
    (row,) = bitrate_saving(results(lambda _: gain), KBPS).itertuples()
    assert row.saving_percent == pytest.approx(saving, abs=0.1)
    assert row.low == pytest.approx(saving, abs=0.1)  # every piece gains alike
    assert row.high == pytest.approx(saving, abs=0.1)


def test_pieces_that_differ_widen_the_interval():
    (row,) = bitrate_saving(results(lambda index: 0.5 + 0.2 * (index % 2)), KBPS).itertuples()
    assert row.low < row.saving_percent < row.high
    assert row.saving_percent == pytest.approx(100 * (1 - 2**-0.6), abs=0.2)
    assert row.low > 100 * (1 - 2**-0.5) - 0.2
    assert row.high < 100 * (1 - 2**-0.7) + 0.2


def test_equal_rates_reads_the_untreated_curve():
    table = equal_rates(results(lambda _: 1.0), KBPS).set_index("condition")
    assert table.loc["sbc-10", "equals_kbps"] == pytest.approx(128)
    assert table.loc["sbc-35", "equals_kbps"] == pytest.approx(512)
    assert np.isnan(table.loc["sbc-60", "equals_kbps"])  # better than any untreated one
    assert list(table["kbps"]) == sorted(KBPS.values())


def test_equal_rates_have_intervals_over_pieces():
    even = equal_rates(results(lambda _: 1.0), KBPS).set_index("condition").loc["sbc-20"]
    assert even["equals_kbps_low"] == pytest.approx(256)
    assert even["equals_kbps_high"] == pytest.approx(256)
    assert even["untreated_low"] < even["untreated"] < even["untreated_high"]
    uneven = equal_rates(results(lambda index: 0.5 + (index % 2)), KBPS).set_index("condition")
    row = uneven.loc["sbc-20"]
    assert row["equals_kbps_low"] < row["equals_kbps"] < row["equals_kbps_high"]
    assert row["equals_kbps"] == pytest.approx(256)
    assert row["equals_kbps_low"] > 128 * 2**0.5 - 1
    # Where some of the draws beat every untreated rate, the interval is open above.
    assert np.isnan(uneven.loc["sbc-53", "equals_kbps_high"])
    assert uneven.loc["sbc-53", "equals_kbps_low"] > 512


def test_swapping_systems_turns_the_sign():
    swapped = results(lambda _: 1.0)
    names = {"untreated": "ours", "ours": "untreated"}
    swapped["system"] = swapped["system"].map(names)
    assert bitrate_saving(swapped, KBPS)["saving_percent"].iloc[0] == pytest.approx(-100, abs=0.1)


def test_curves_without_common_quality_have_no_saving():
    (row,) = bitrate_saving(results(lambda _: 9.0), KBPS).itertuples()
    assert np.isnan([row.saving_percent, row.low, row.high]).all()
    assert row.without_overlap == 1


@pytest.mark.parametrize(("sign", "closed", "open_end"), [(1, "low", "high"), (-1, "high", "low")])
def test_resamples_without_overlap_are_counted_and_open_the_interval(sign, closed, open_end):
    """Half the pieces gain 2.9 octaves, half 5.5, of the four that the curve spans.

    A mean of four or more takes three of six pieces of the second kind, or more: by the binomial
    distribution 65.6 % of resamples.
    """
    row = bitrate_saving(results(lambda index: sign * (2.9 + 2.6 * (index % 2))), KBPS).iloc[0]
    assert row["without_overlap"] == pytest.approx(0.656, abs=0.05)
    assert np.isnan(row[open_end])
    assert np.isfinite(row[closed])


@pytest.mark.parametrize("pieces", [5, 8, 16])
@pytest.mark.parametrize("draw", ["normal", "integers"])
def test_bootstrap_intervals_are_wide_enough_for_few_pieces(pieces, draw):
    """Of a mean, where the truth is known; plain percentiles hold it in 83 % of fives."""
    rng = np.random.default_rng(pieces)
    tables = {
        "normal": rng.normal(size=(1500, pieces)),
        "integers": rng.integers(-2, 3, (1500, pieces)),
    }
    values = tables[draw]
    draws = rng.integers(pieces, size=(bitrates.RESAMPLES, 1500, pieces))
    means = np.take_along_axis(values[None], draws, axis=2).mean(axis=2)
    low, high = bitrates._interval(means, pieces)
    assert 0.92 < np.mean((low <= 0) & (high >= 0)) < 0.98


def test_what_is_missing_is_named():
    with pytest.raises(InputError, match="no visqol of sbc-2 for 'untreated' in the results"):
        bitrate_saving(results(lambda _: 1.0), KBPS | {"sbc-2": 32.0})
    with pytest.raises(InputError, match="3 bit rates make no curve"):
        bitrate_saving(results(lambda _: 1.0), dict(list(KBPS.items())[:3]))


@pytest.mark.parametrize("measure", [bitrate_saving, equal_rates])
def test_tables_that_lack_something_are_refused_in_words(measure):
    whole = results(lambda _: 1.0)
    ours, first = whole["system"] == "ours", whole["condition"] == "sbc-10"
    for table, message in (
        (whole[~(ours & first)], "no visqol of sbc-10 for 'ours'"),
        (whole[ours], "for 'untreated' in the results"),
        (whole[~ours], "hold only 'untreated' rows"),
        (pandas.concat([whole, whole[ours & first]]), "hold a value twice"),
        (whole.assign(value=whole["value"].where(~(ours & first))), "ours: no piece has visqol"),
    ):
        with pytest.raises(InputError, match=message):
            measure(table, KBPS)


def test_a_system_measured_on_fewer_pieces_leaves_others_as_they_are():
    both = results(lambda index: 0.5 + 0.2 * (index % 2))
    fewer = both[(both["system"] == "ours") & (both["piece"] == "0")].assign(system="late")
    alone, beside = (bitrate_saving(t, KBPS) for t in (both, pandas.concat([both, fewer])))
    pandas.testing.assert_frame_equal(beside[beside["system"] == "ours"], alone)
    late = beside.set_index("system").loc["late"]
    assert late["saving_percent"] == pytest.approx(100 * (1 - 2**-0.5), abs=0.1)
