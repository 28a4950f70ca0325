"""The published weights, and that what is said of them was measured on them."""

from pathlib import Path

import numpy as np
import onnx
import pandas
import pytest

import enhancelib as el
from enhancelib.errors import ModelError
from enhancelib.evaluate import verdicts
from enhancelib.model import weights
from enhancelib.model.checkpoints import read_checkpoint

ROOT = Path(__file__).parents[2]
PUBLISHED = sorted(weights.PRETRAINED.glob("*.safetensors"))
DEVSET = pandas.read_csv(ROOT / "data" / "devset.csv")


@pytest.fixture(scope="module", params=PUBLISHED, ids=lambda path: path.stem)
def published(request) -> Path:
    return request.param


def test_weights_are_found_or_the_remedy_named(tmp_path):
    assert weights.find_weights("published") in PUBLISHED
    mine = tmp_path / "checkpoint" / "fullband-44k.safetensors"
    with pytest.raises(ModelError, match="run chapter 04_training"):
        weights.find_weights("run", run_dir=tmp_path)
    mine.parent.mkdir()
    mine.touch()
    assert weights.find_weights("run", run_dir=tmp_path) == mine
    with pytest.raises(ModelError, match="run_dir: name the folder"):
        weights.find_weights("run")
    assert weights.find_weights(mine) == mine
    with pytest.raises(ModelError, match="none are published for this preset"):
        weights.find_weights("published", preset="none")
    with pytest.raises(ModelError, match=r"other.pth: no such weights; name a checkpoint"):
        weights.find_weights("other.pth")


def test_it_helps_damaged_music_and_leaves_the_rest(published):
    model = el.AudioUNet.from_pretrained(published.stem)
    rate = model.config.sample_rate
    piece = DEVSET[DEVSET["kind"] == "recorded"].iloc[0]["path"]
    heard, coded_at = el.load(ROOT / "data" / piece, sample_rate=44100, duration_s=4.0)
    coded = el.degrade(heard, "down-16000hz", sample_rate=coded_at)  # room at either rate
    original, lossy = (
        el.resample(wave, from_rate=coded_at, to_rate=rate) for wave in (heard, coded)
    )
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
    measured_on = el.piece_set(results, data_dir=ROOT / "data")
    assert f"the {measured_on}" in published.with_suffix(".md").read_text()
    pieces = pandas.read_csv(ROOT / "data" / verdicts.SETS[measured_on])["path"]
    assert set(results["piece"]) == {Path(path).stem for path in pieces}
    for kind in ("", ".stream", ".int8", ".int8.stream"):
        exported = onnx.load(published.with_name(f"{published.stem}{kind}.onnx"))
        metadata = {entry.key: entry.value for entry in exported.metadata_props}
        assert sha256 in metadata.values()
