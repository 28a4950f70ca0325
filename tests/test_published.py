"""The published weights, and that what is said of them was measured on them."""

import hashlib
import importlib.util
import sys
from pathlib import Path

import numpy as np
import onnx
import pandas
import pytest

import enhancelib as el
from enhancelib import weights
from enhancelib.errors import ModelError
from enhancelib.model import read_checkpoint

ROOT = Path(__file__).parent.parent
PUBLISHED = sorted(weights.PRETRAINED.glob("*.safetensors"))
TESTS = pandas.read_csv(ROOT / "data" / "testset.csv")


@pytest.fixture(scope="module", params=PUBLISHED, ids=lambda path: path.stem)
def published(request) -> Path:
    return request.param


@pytest.fixture(scope="module")
def results_tool():
    sys.path.insert(0, str(ROOT / "tools"))
    spec = importlib.util.spec_from_file_location("results", ROOT / "tools" / "results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(ROOT / "tools"))


def test_the_test_set_is_what_was_fixed():
    for row in TESTS.itertuples():
        path = ROOT / "data" / row.path
        assert hashlib.sha256(path.read_bytes()).hexdigest() == row.sha256
        wave, rate = el.load(path)
        assert wave.shape[1] / rate >= 6
        assert row.cut_from.startswith("test/")
    assert len(TESTS) >= 12
    assert (TESTS["kind"] == "recorded").sum() >= 6
    assert (TESTS["kind"] == "speech").sum() >= 2
    assert (TESTS["texture"] == "sparse").sum() >= 3


def test_weights_are_found_or_the_remedy_named(tmp_path):
    assert weights.find_weights("published") in PUBLISHED
    mine = tmp_path / "checkpoint" / "fullband-44k.safetensors"
    with pytest.raises(ModelError, match="run chapter 02_training"):
        weights.find_weights("run", run_dir=tmp_path)
    mine.parent.mkdir()
    mine.touch()
    assert weights.find_weights("run", run_dir=tmp_path) == mine
    assert weights.find_weights(mine) == mine
    with pytest.raises(ModelError, match="none are published for this preset"):
        weights.find_weights("published", preset="none")
    with pytest.raises(ModelError, match=r"other.pth: no such weights; name a checkpoint"):
        weights.find_weights("other.pth")


def test_it_helps_damaged_music_and_leaves_the_rest(published):
    model = el.AudioUNet.from_pretrained(published.stem)
    rate = model.config.sample_rate
    piece = TESTS[TESTS["kind"] == "recorded"].iloc[0]["path"]
    original, _ = el.load(ROOT / "data" / piece, sample_rate=rate, duration_s=4.0)
    lossy = el.degrade(original, "mp3-64", sample_rate=rate)
    distance = {
        name: el.score(wave, original, sample_rate=rate, names=["lsd"])["lsd"]
        for name, wave in {
            "untreated": lossy,
            "enhanced": el.enhance_wave(lossy, model, sample_rate=rate),
        }.items()
    }
    assert distance["enhanced"] < 0.7 * distance["untreated"]
    same = el.enhance_wave(original, model, sample_rate=rate)
    assert 10 * np.log10(np.mean((same - original) ** 2) / np.mean(original**2)) < -40


def test_what_is_said_was_measured_on_these_weights(published):
    sha256 = el.checkpoint_sha256(published)
    assert sha256 in published.with_suffix(".md").read_text()
    facts, _ = read_checkpoint(published)
    assert {"training_config", "manifest_sha256", "commit", "preset"} <= set(facts)
    results = pandas.read_csv(ROOT / "data" / "results" / f"{published.stem}.csv")
    enhanced = results[results["system"] == published.stem]
    assert set(enhanced["checkpoint_sha256"]) == {sha256}
    assert set(results["piece"]) == {Path(path).stem for path in TESTS["path"]}
    for kind in ("", ".stream", ".int8", ".int8.stream"):
        exported = onnx.load(published.with_name(f"{published.stem}{kind}.onnx"))
        metadata = {entry.key: entry.value for entry in exported.metadata_props}
        assert sha256 in metadata.values()


def test_the_table_of_the_readme_is_the_results():
    results = pandas.read_csv(ROOT / "data" / "results" / "fullband-44k.csv")
    kinds = TESTS.assign(piece=TESTS["path"].map(lambda path: Path(path).stem))
    results = results.merge(kinds[["piece", "kind"]], on="piece")
    results["kind"] = results["kind"].where(results["kind"] == "speech", "music")
    means = results.groupby(["condition", "metric", "kind", "system"])["value"].mean()
    columns = [("visqol", "music"), ("lsd", "music"), ("in_band_si_sdr", "music")]
    columns += [("visqol", "speech")]
    lines = [line for line in (ROOT / "README.md").read_text().splitlines() if " → " in line]
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]
    rows = [row for row in rows if row[0] in set(results["condition"])]
    assert len(rows) > 10
    for condition, *cells in rows:
        for (metric, kind), cell in zip(columns, cells, strict=True):
            pair = (means[condition, metric, kind, name] for name in ("untreated", "fullband-44k"))
            assert cell == " → ".join(f"{value:.2f}" for value in pair), (condition, metric, kind)


def test_bars_judge_mean_and_worst_piece(results_tool):
    rows = [
        {"piece": piece, "condition": "c", "system": system, "metric": "visqol", "value": value}
        for piece, system, value in (
            ("a", "untreated", 3.0),
            ("a", "ours", 4.0),
            ("b", "untreated", 3.0),
            ("b", "ours", 2.9),
        )
    ]
    bar = {"conditions": "c", "metric": "visqol", "sign": ">="}
    bars = [
        bar | {"statistic": "mean delta", "limit": "0.4"},
        bar | {"statistic": "mean delta", "limit": "0.5"},
        bar | {"statistic": "least delta", "limit": "0"},
        bar | {"statistic": "mean", "limit": "3.4"},
        bar | {"statistic": "mean", "limit": "2.5", "sign": "<="},
    ]
    kinds = pandas.Series({"a": "recorded", "b": "recorded"})
    table = results_tool.check(pandas.DataFrame(rows), bars, kinds)
    assert list(table["met"]) == [True, False, False, True, False]
    assert table["reached"].tolist() == pytest.approx([0.45, 0.45, -0.1, 3.45, 3.45])
    assert list(table["worst_piece"]) == ["b", "b", "b", "b", "a"]
    apart = results_tool.check(
        pandas.DataFrame(rows), bars[:1], pandas.Series({"a": "recorded", "b": "speech"})
    )
    assert dict(zip(apart["kind"], apart["met"], strict=True)) == {
        "recorded": True,
        "speech": False,
    }
