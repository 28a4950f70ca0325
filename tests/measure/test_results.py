"""The tools behind `make results`: what they measure, how they judge it, what they write."""

import csv
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np
import pandas
import pytest

import enhancelib as el
from enhancelib.errors import ConfigError, ModelError
from enhancelib.model.network import PRESETS
from enhancelib.model.weights import PRETRAINED
from enhancelib.provenance import RESULT_COLUMNS
from tools.measure import cost, results
from tools.measure.peers import denoisers

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "data" / "results"
PRESET = "fullband-44k"


@pytest.fixture(scope="module")
def tools():
    """The modules by name."""
    return {"results": results, "cost": cost, "denoisers": denoisers}


# --- measured ------------------------------------------------------------------------------------


def test_the_smoke_effort_measures_everything_that_lies_beside_the_weights(make, tmp_path_factory):
    """Two pieces, two conditions."""
    folder = tmp_path_factory.mktemp("results")
    assert make("results", "PROFILE=smoke", f"RUN={folder}").returncode == 0
    again = pandas.read_csv(folder / "results" / f"{PRESET}.csv")
    assert tuple(again.columns) == RESULT_COLUMNS
    assert {f"{PRESET}.onnx", "untreated", "oracle mask", PRESET} <= set(again["system"])
    assert set(again["metric"]) == set(el.METRICS)
    assert again["value"].notna().all()


def test_a_sample_of_published_rows_comes_out_again(tools):
    """Four cells, other ones after each publication, by every metric, untreated and enhanced.

    They are measured on the set they are of, with the weights they name: nothing new is seen of it.
    """
    published = pandas.read_csv(RESULTS / f"{PRESET}.csv", keep_default_na=False, na_values=[""])
    published = published[published["system"].isin(["untreated", PRESET])]
    weights = el.find_weights("published", preset=PRESET)
    assert set(published["checkpoint_sha256"].dropna()) == {el.checkpoint_sha256(weights)}
    sets = pandas.concat(
        [tools["results"].read_set(ROOT / "data" / f"{name}set.csv") for name in ("test", "dev")]
    ).set_index("piece")["path"]
    cells = published[["piece", "condition"]].drop_duplicates()
    seed = zlib.crc32(published["utc"].max().encode())
    again = [
        el.evaluate(
            {piece: ROOT / "data" / sets[piece]},
            [condition],
            {PRESET: weights},
            metrics=list(published["metric"].unique()),
            excerpt_s=tools["results"].EXCERPT_S,
            n_jobs=1,
        )
        for piece, condition in cells.sample(4, random_state=seed).itertuples(index=False)
    ]
    keys = ["piece", "condition", "system", "metric"]
    both = pandas.concat(again).merge(published, on=keys, suffixes=("", "_published"))
    assert len(both) == 4 * 2 * published["metric"].nunique()
    # Far under the signal, an error is rounding: 60 dB is all that any bar asks.
    pairs = both[["value", "value_published"]].where(
        both["unit"] != "dB", both[["value", "value_published"]].clip(upper=60)
    )
    np.testing.assert_allclose(pairs["value"], pairs["value_published"], rtol=0.01, atol=0.01)


def test_files_of_other_weights_are_refused(tools, tmp_path):
    for name in (f"{PRESET}.safetensors", f"{PRESET}.onnx"):
        shutil.copy(PRETRAINED / name, tmp_path / name)
    weights = tmp_path / f"{PRESET}.safetensors"
    assert [path.name for path in tools["results"].exported_files(weights)] == [f"{PRESET}.onnx"]
    el.AudioUNet(base_channels=4, depth=2).save(weights, overwrite=True)
    with pytest.raises(ModelError, match=r"k\.onnx: exported from other weights"):
        tools["results"].exported_files(weights)


def test_the_matrix_has_every_condition_that_the_scorecard_names(tools):
    with (ROOT / "data" / "scorecard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    heard = [row for row in rows if row["statistic"] not in ("cost", "saving")]
    named = {name for row in heard for name in row["conditions"].split()} - {"*"}
    assert named <= set(tools["results"].CONDITIONS)
    assert set(el.standard_conditions()) <= set(tools["results"].CONDITIONS) | {"opus-64"}
    assert {row["metric"] for row in heard} <= set(el.METRICS)
    assert {preset for row in rows for preset in row["presets"].split()} == set(PRESETS)
    assert len(tools["results"].CONDITIONS) == len(set(tools["results"].CONDITIONS))


def test_the_core_on_its_own_takes_less_time_than_the_whole(tools, small_model):
    core_s = tools["cost"].core_seconds(small_model, 5)
    assert 0 < core_s < 3


def test_a_peer_runs_in_its_own_environment_and_its_delay_is_taken_out(
    tools, tmp_path, monkeypatch
):
    monkeypatch.setattr(tools["denoisers"], "ENVIRONMENTS", tmp_path)
    (tmp_path / "late" / "bin").mkdir(parents=True)
    (tmp_path / "late" / "bin" / "python").symlink_to(sys.executable)
    late = "sys.stdout.buffer.write((0.5 * np.pad(samples, (960, 0))).tobytes())"
    peer = tools["denoisers"].Peer("late", "late==1", late.replace("0.5", "np.float32(0.5)"))
    speech, _ = el.load(ROOT / "data" / "devset" / "speech_00.flac", sample_rate=48000)
    aligned = peer.aligned(speech[0])
    assert aligned.delay == 960
    np.testing.assert_array_equal(aligned.denoise(speech[0]), 0.5 * speech[0])
    wave = el.resample(speech, from_rate=48000, to_rate=44100)
    assert el.score(aligned(wave, sample_rate=44100), wave, sample_rate=44100)["si_sdr"] > 40


def test_rows_of_one_system_replace_its_older_ones(tools, tmp_path):
    def rows(system, value, sha256="a"):
        facts = dict.fromkeys(RESULT_COLUMNS, "x") | {"system": system, "value": value}
        return pandas.DataFrame([facts | {"checkpoint_sha256": sha256}])

    file = tmp_path / "p.csv"
    joined = tools["results"].joined
    with pytest.raises(ConfigError, match=r"p\.csv: not there; measure everything once"):
        joined(rows("b", 2.0), file)
    el.write_results(pandas.concat([rows("untreated", 0.1), rows("b", 1.0)]), file)
    table = joined(rows("b", 2.0), file)
    assert dict(zip(table["system"], table["value"], strict=True)) == {"untreated": 0.1, "b": 2.0}
    table = joined(rows("oracle mask", 3.0, sha256=""), file)  # it is made of no weights
    assert set(table["system"]) == {"untreated", "b", "oracle mask"}
    with pytest.raises(ConfigError, match="of other weights"):
        joined(rows("b", 2.0, sha256="other"), file)
