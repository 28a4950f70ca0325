"""What smaller files lose, and the rule that picks one: on tables whose answer is known."""

import pandas
import pytest

from enhancelib.errors import InputError
from enhancelib.optimize.pareto import careful, losses, on_front, sweet_spot

VISQOL = {  # (condition, piece) → untreated, full, small, bad
    ("mp3-64", "a"): (2.0, 3.0, 2.99, 2.5),
    ("mp3-64", "b"): (3.0, 4.0, 3.99, 3.5),
    ("lossless", "a"): (4.7, 4.7, 4.69, 4.7),
    ("lossless", "b"): (4.7, 4.7, 4.70, 4.6),
}
SYSTEMS = ("untreated", "full", "small", "bad")


def rows(metric: str, table: dict, factor: float = 1.0) -> list[dict]:
    return [
        {"condition": c, "piece": p, "system": s, "metric": metric, "value": factor * value}
        for (c, p), values in table.items()
        for s, value in zip(SYSTEMS, values, strict=True)
    ]


def test_losses_are_those_of_the_worst_condition():
    table = losses(pandas.DataFrame(rows("visqol", VISQOL)), reference="full")
    assert list(table.index) == ["full", "small", "bad"]
    assert table["visqol_loss"].tolist() == pytest.approx([0, 0.01, 0.5])
    assert table["visqol_worst"].tolist() == pytest.approx([0, 0.01, 0.5])
    assert table["kept"].tolist() == pytest.approx([1, 0.99, 0.5])  # only mp3-64 has room
    assert careful(table).tolist() == [True, True, False]


def test_what_one_kind_gains_does_not_pay_for_what_another_loses():
    changes = {"song__a": 0.3, "speech__a": -0.3}
    table = [
        {
            "piece": piece,
            "condition": "mp3-64",
            "system": system,
            "metric": "visqol",
            "value": value,
        }
        for piece, change in changes.items()
        for system, value in (("untreated", 2.0), ("full", 3.0), ("small", 3.0 + change))
    ]
    row = losses(pandas.DataFrame(table), reference="full").loc["small"]
    assert row["visqol_loss"] == pytest.approx(0.3)
    assert row["kept"] == pytest.approx(0.7)


def test_a_metric_where_less_is_better_loses_when_it_grows():
    results = pandas.DataFrame(rows("lsd", VISQOL, -1.0))
    assert losses(results, reference="full")["lsd_loss"].tolist() == pytest.approx([0, 0.01, 0.5])


def test_each_limit_counts():
    kept = {"in_band_si_sdr_loss": 0.05, "visqol_loss": 0.01, "kept": 0.96}
    table = pandas.DataFrame(
        [
            kept,
            kept | {"in_band_si_sdr_loss": 0.1},
            kept | {"visqol_loss": 0.02},
            kept | {"kept": 0.94},
        ]
    )
    assert careful(table).tolist() == [True, False, False, False]


def test_the_rule_takes_the_least_product_among_the_careful():
    columns = ["size", "cpu_rtf", "visqol_loss", "kept"]
    files = {
        "full": (4.0, 0.010, 0.0, 1.0),
        "small": (1.0, 0.008, 0.0, 1.0),
        "fast": (2.0, 0.003, 0.0, 1.0),
        "tiny": (0.1, 0.001, 0.5, 0.3),
        "zeros": (float("nan"), float("nan"), 0.0, 1.0),
    }
    table = pandas.DataFrame.from_dict(files, orient="index", columns=columns)
    assert sweet_spot(table) == "fast"
    nearly = pandas.DataFrame([files["fast"]], index=["nearly"], columns=columns)
    assert sweet_spot(pandas.concat([nearly * [1, 1.05, 1, 1], table])) == "nearly"  # listed first
    assert sweet_spot(pandas.concat([nearly * [1, 1.2, 1, 1], table])) == "fast"
    assert sweet_spot(table.loc[["tiny"]]) == "tiny"  # none is careful
    with pytest.raises(InputError, match="no row has a size"):
        sweet_spot(table.loc[["zeros"]])
    front = on_front(
        table.loc[["full", "small", "fast", "tiny"], ["size", "cpu_rtf", "kept"]] * [1, 1, -1]
    )
    assert front.tolist() == [False, True, True, True]


def test_what_is_missing_is_named():
    results = pandas.DataFrame(rows("visqol", VISQOL))
    with pytest.raises(InputError, match="no system 'float32'"):
        losses(results, reference="float32")
    with pytest.raises(InputError, match="no system 'untreated'"):
        losses(results[results["system"] != "untreated"], reference="full")
