"""The promises of the first README against tables whose answer is known."""

import numpy as np
import pandas
import pytest

from enhancelib.evaluate import benchmark, stopwatch
from enhancelib.evaluate.metrics import METRICS
from enhancelib.optimize import footprint
from tools.publish import promises

SPREAD = np.arange(1, 9) / 10


def claims(values, *, metric, condition="mp3-64"):
    """The one row of a table from {system: one value for each of eight pieces}."""
    rows = [
        {"piece": piece, "condition": condition, "system": system, "metric": metric, "value": value}
        for system, column in values.items()
        for piece, value in enumerate(np.broadcast_to(np.float64(column), 8))
    ]
    judged = promises.seed_claims(pandas.DataFrame(rows))
    assert len(judged) == 1
    return judged.iloc[0]


def test_claims_are_judged_per_condition_and_say_what_they_are_worth():
    row = claims({"untreated": 0.9, "ours": 0.4}, metric="lsd")
    assert (row["met"], row["why"]) == (True, "met by the enhancement")
    row = claims({"untreated": 0.9, "ours": 0.6}, metric="lsd")
    assert (row["met"], row["why"]) == (False, "not reached")
    row = claims({"untreated": 0.01, "ours": 0.02}, metric="chroma_distance")
    assert (row["met"], row["why"]) == (True, "met before enhancement")
    row = claims({"untreated": 0.01, "ours": 0.06}, metric="chroma_distance")
    assert (row["met"], row["why"]) == (False, "met before enhancement, lost by it")
    row = claims({"untreated": 4.7, "ours": 4.5}, metric="visqol")
    assert not row["met"]


def test_claims_on_snr_and_mse_are_gains():
    row = claims({"untreated": 20, "ours": 26}, metric="snr")
    assert (row["figure"], row["met"]) == (6, True)
    row = claims({"untreated": 20, "ours": 23}, metric="snr")
    assert (row["figure"], row["met"], row["why"]) == (3, False, "not reached")
    row = claims({"untreated": SPREAD, "ours": 0.4 * SPREAD}, metric="mse")
    assert (row["figure"], row["met"]) == (pytest.approx(0.6), True)
    row = claims({"untreated": 0, "ours": 0}, metric="mse", condition="lossless")
    assert (row["figure"], row["met"]) == (0, False)
    assert row["why"] == "nothing is lost, so nothing can be gained"


def test_what_not_even_the_original_can_gain_is_out_of_reach():
    values = {"untreated": 20, "ours": 21, "oracle mask": 23}
    row = claims(values, metric="snr")
    assert row["limit"] == 3
    assert row["why"].startswith("out of reach")
    values["oracle mask"] = 26
    assert claims(values, metric="snr")["why"] == "not reached"


def test_every_claim_names_a_metric_of_ours():
    assert {claim.metric for claim in promises.SEED_CLAIMS} <= set(METRICS)


def costs(*rows):
    columns = ["system", "condition", "metric", "value", "unit"]
    table = pandas.DataFrame(rows, columns=columns).assign(load=0.5)
    return promises.cost_claims(table, preset="p").set_index("claim")


def test_claims_of_cost_are_met_missed_or_have_no_figure():
    table = costs(
        ("p.onnx", "clip, 1 thread", "latency_ms", 8.0, "ms"),
        ("p.onnx", "clip, 2 threads", "latency_ms", 800.0, "ms"),
        ("other.onnx", "clip, 1 thread", "latency_ms", 900.0, "ms"),
        ("p.onnx", "clip, 1 thread", "file_mb", 7.0, "MB"),
        ("p.stream.onnx", "stream, 1 thread", "energy_j_per_s", 0.5, "J/s"),
        ("p.channels-magnitude-0.5.safetensors", float("nan"), "size", 3.9, "MB"),
    )
    assert len(table) == len(promises.SEED_COSTS)
    fast = table.loc["10 ms for 3 s on a CPU, one thread"]
    assert (fast["figure"], fast["load"], fast["met"]) == (8.0, 0.5, True)
    assert not table.loc["ONNX about 6 MB", "met"]
    assert table.loc["Half pruned about 4 MB", "met"]
    power = table.loc["Low power (no figure was promised)"]
    assert (power["figure"], power["why"]) == (0.5, "no figure was promised")
    assert pandas.isna(power["met"])
    gpu = table.loc["2 ms for 3 s on a GPU"]
    assert pandas.isna(gpu["met"])
    assert gpu["why"] == "there was no GPU"


def test_what_a_gpu_took_is_found_among_the_rows_of_a_benchmark():
    """By the name that `enhancelib benchmark` gives it."""
    run = {"kind": "clip", "processor": "cuda", "threads": 1}
    table = costs(
        ("p.safetensors", "clip, 1 thread", "latency_ms", 100.0, "ms"),
        ("p.safetensors", benchmark._condition(run), "latency_ms", 3.0, "ms"),
    )
    gpu = table.loc["2 ms for 3 s on a GPU"]
    assert (gpu["figure"], gpu["met"], gpu["why"]) == (3.0, False, "")


def test_every_claim_of_cost_names_a_measure_of_ours():
    assert {claim.metric for claim in promises.SEED_COSTS} <= {*stopwatch.UNITS, *footprint.UNITS}
