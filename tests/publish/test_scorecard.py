"""The scorecard: few rows, each named by its threshold, judged by kind, none out of reach."""

from pathlib import Path

import pandas
import pytest

import enhancelib as el
from enhancelib.errors import InputError
from enhancelib.model.network import PRESETS
from tools.publish import scorecard

RESULTS = Path("data/results")
ROW = {"under": "c", "conditions": "c", "metric": "visqol", "sign": ">=", "kinds": ""}
ROW |= {"untreated_from": "", "untreated_to": ""}


@pytest.fixture
def judge(monkeypatch):
    """One row's line, by values {kind: {piece: (untreated, enhanced)}} under one condition."""

    def line(row, values, *, original=None):
        rows = [
            {"piece": f"{kind}__{piece}", "condition": condition, "system": system}
            | {"metric": "visqol", "value": value}
            for kind, pieces in values.items()
            for piece, pair in pieces.items()
            for condition, both in (("c", pair), ("lossless", (original, original)))
            if both[0] is not None
            for system, value in zip(("untreated", "ours"), both, strict=True)
        ]
        monkeypatch.setattr(scorecard, "rows_of", lambda preset: [ROW | row])
        none = pandas.DataFrame(columns=["codec", "metric"])
        (judged,) = scorecard.judge("ours", pandas.DataFrame(rows), none, none).to_dict("records")
        return judged

    return line


FEW = {"recorded": {"a": (3.0, 4.0), "b": (3.0, 2.9)}}
"""One gains 1, the other loses 0.1."""


@pytest.mark.parametrize(
    ("row", "wanted", "met", "reached", "worst_piece"),
    [
        ({"statistic": "mean delta", "limit": "0.4"}, "mean change ≥ 0.4", True, 0.45, "b"),
        ({"statistic": "mean delta", "limit": "0.5"}, "mean change ≥ 0.5", False, 0.45, "b"),
        ({"statistic": "least delta", "limit": "0"}, "change of the worst piece", False, -0.1, "b"),
        ({"statistic": "mean", "limit": "3.4"}, "mean ≥ 3.4", True, 3.45, "b"),
        ({"statistic": "mean", "limit": "2.5", "sign": "<="}, "mean ≤ 2.5", False, 3.45, "a"),
        ({"statistic": "most", "limit": "4", "sign": "<="}, "worst piece ≤ 4", True, 4.0, "a"),
        ({"statistic": "mean ratio", "limit": "1.2", "sign": "<="}, "≤ 1.2", True, 1.15, "a"),
        ({"statistic": "mean against c", "limit": "0.5"}, "against c ≥ 0.5", False, 0.45, "b"),
    ],
)
def test_a_row_says_what_it_asks_and_judges_mean_or_worst_piece(
    judge, row, wanted, met, reached, worst_piece
):
    line = judge(row, FEW)
    assert line["wanted"].startswith("ViSQOL, ")
    assert wanted in line["wanted"]
    assert (line["met"], line["worst_piece"]) == (met, f"recorded__{worst_piece}")
    assert line["reached"] == pytest.approx(reached)
    assert (line["cases"], line["held"], line["out_of_reach"]) == (1, int(met), 0)


def test_every_kind_is_a_case_and_the_hardest_is_named(judge):
    row = {"statistic": "mean delta", "limit": "0"}
    line = judge(row, {"recorded": {"a": (3, 4)}, "speech": {"b": (3, 2)}, "song": {"c": (3, 3)}})
    assert line["by_kind"] == "song 1 of 1, recorded 1 of 1, speech 0 of 1"
    assert (line["met"], line["held"], line["cases"]) == (False, 2, 3)
    assert (line["kind"], line["condition"], line["reached"]) == ("speech", "c", -1)
    assert judge(row | {"kinds": "recorded song"}, FEW)["met"]
    for outside in ({"untreated_from": "3.5"}, {"untreated_to": "3"}):
        assert judge(row | outside, FEW)["cases"] == 0
    inside = {"untreated_from": "2.5", "untreated_to": "3.5", "conditions": "*"}
    assert judge(row | inside, FEW)["cases"] == 1


def test_nothing_is_asked_that_the_original_itself_does_not_score(judge):
    row = {"statistic": "mean delta", "limit": "1.1"}
    values = {"recorded": {"a": (3.7, 4.7)}, "rendered": {"b": (2.0, 2.5)}}
    line = judge(row, values, original=4.73)
    assert (line["cases"], line["out_of_reach"]) == (1, 1)
    assert line["by_kind"] == "rendered 0 of 1"
    nothing = judge(row, {"recorded": values["recorded"]}, original=4.73)
    assert (nothing["cases"], nothing["held"], nothing["out_of_reach"]) == (0, 0, 1)
    assert pandas.isna(nothing["met"])
    lower = row | {"statistic": "mean", "limit": "4.8"}
    assert judge(lower, values, original=4.73)["cases"] == 0
    assert judge(lower | {"sign": "<="}, values, original=4.73)["cases"] == 2


def test_rows_on_time_look_at_one_file_on_one_thread():
    columns = ["system", "condition", "metric", "value"]
    rows = [
        ("p.onnx", "clip, 1 thread", "rtf", 0.008),
        ("p.onnx", "clip, 2 threads", "rtf", 0.1),
        ("p.stream.onnx", "stream, 1 thread", "delay_ms", 23.2),
    ]
    costs = pandas.DataFrame(rows, columns=columns)
    for conditions, metric, reached in (("clip", "rtf", 0.008), ("stream", "delay_ms", 23.2)):
        row = {"conditions": conditions, "metric": metric, "statistic": "cost"}
        assert scorecard.cost_case(row, costs, "p")["reached"] == reached
        assert "≤ 9" in scorecard.threshold(row | {"sign": "<=", "limit": "9"})


@pytest.mark.parametrize("preset", PRESETS)
def test_a_scorecard_can_be_read(preset):
    rows = scorecard.rows_of(preset)
    assert 10 < len(rows) <= scorecard.MOST_ROWS
    names = [(row["under"], scorecard.threshold(row)) for row in rows]
    assert len(set(names)) == len(names)
    assert all(row["limit"] in wanted for row, (_, wanted) in zip(rows, names, strict=True))


@pytest.mark.parametrize("preset", PRESETS)
def test_the_published_scorecard_is_the_judgement_of_the_published_results(preset):
    published = pandas.read_csv(RESULTS / f"{preset}-scorecard.csv", keep_default_na=False)
    tables = [pandas.read_csv(RESULTS / f"{preset}{part}.csv") for part in ("", "-rates", "-cost")]
    again = scorecard.judge(preset, *tables)
    for column in ("under", "wanted", "cases", "held", "out_of_reach", "by_kind"):
        assert list(published[column]) == list(again[column]), column
    assert set(published["checkpoint_sha256"]) == {
        el.checkpoint_sha256(el.find_weights("published", preset=preset))
    }


def test_a_condition_that_was_not_measured_is_named(judge):
    for row in ({"conditions": "c d"}, {"statistic": "mean against d"}):
        with pytest.raises(InputError, match="visqol was not measured under d; make results"):
            judge({"statistic": "mean delta", "limit": "0"} | row, FEW)
