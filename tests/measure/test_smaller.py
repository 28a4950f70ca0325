"""The tools around smaller files: what is published, what names mean, what is skipped."""

import shutil
import subprocess
import sys
from importlib.metadata import files

import numpy as np
import pandas
import pytest
import torch
from small_network import error_db, network, run

from enhancelib.enhance.modelfiles import open_model, stream_path
from enhancelib.enhance.streaming import enhance_wave
from enhancelib.errors import ConfigError
from enhancelib.model.network import AudioUNet
from enhancelib.model.weights import PRETRAINED
from enhancelib.optimize import compression
from enhancelib.train.task import TrainingConfig
from tools.measure import smaller
from tools.measure.peers import arm
from tools.publish.weights import publish_quantized


def test_the_files_to_carry_are_published(small_exports, tmp_path, music):
    folder = tmp_path / "pretrained"
    shutil.copytree(small_exports[0], folder)
    before = {path.name for path in folder.iterdir()}
    paths = publish_quantized("small", folder, every=14)
    names = ["small.int8.onnx", "small.int8.stream.onnx", "small.int8.stream.tflite"]
    assert sorted(path.name for path in paths) == names
    assert {path.name for path in folder.iterdir()} == {*before, *names}
    checkpoint = open_model(folder / "small.safetensors")
    model = AudioUNet.load(folder / "small.safetensors")
    for path in paths:
        assert open_model(path).metadata == checkpoint.metadata
        outputs = [enhance_wave(wave, path, sample_rate=model.config.sample_rate) for wave in music]
        wanted = [run(model, wave) for wave in music]
        assert -60 < error_db(np.concatenate(outputs, 1), np.concatenate(wanted, 1)) < -25


@pytest.fixture(scope="module")
def maker(tmp_path_factory):
    root = tmp_path_factory.mktemp("smaller")
    model = network(base_channels=32)  # wide: most of its work is in channels
    weights = model.save(root / "small.safetensors", metadata={"preset": "small"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smaller, "ROOT", root / "made")
        return smaller.Maker("small", weights, steps=1)


def test_names_make_what_they_say(maker):
    model = maker.model
    half = AudioUNet.load(maker.make("small.channels-magnitude-half.safetensors"))
    work = compression.macs_per_second(half) / compression.macs_per_second(model)
    assert 0.3 < work <= 0.5
    zeros = AudioUNet.load(maker.make("small.weights-random-0.7.safetensors"))
    same = compression.prune(model, 0.7, method="random")
    for name, value in same.state_dict().items():
        assert np.array_equal(value, zeros.state_dict()[name])
    first = maker.make("small.channels-random-0.3.safetensors")
    before = first.stat().st_mtime_ns
    assert maker.make(first.name).stat().st_mtime_ns == before  # made once
    with pytest.raises(ConfigError, match=r"small\.int4\.onnx: no such variant; one of small"):
        maker.make("small.int4.onnx")
    # Five formats, seven ways to 8 bits, all shares of both kinds, half of the work in three ways.
    assert len(set(smaller.names("small", every_share=True))) == 5 + 7 + 72 + 3


def test_files_of_other_lengths_of_tuning_do_not_mix(maker, tmp_path, monkeypatch):
    monkeypatch.setattr(smaller, "ROOT", tmp_path)
    usual, longer = (
        smaller.Maker("small", maker.weights, steps=steps).folder.name
        for steps in (smaller.STEPS, 2 * smaller.STEPS)
    )
    assert longer == f"{usual}-{2 * smaller.STEPS}-steps"


def test_half_of_the_work_of_a_published_network_can_be_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(smaller, "ROOT", tmp_path)
    maker = smaller.Maker("seed-22k", PRETRAINED / "seed-22k.safetensors", steps=1)
    half = AudioUNet.load(maker.make("seed-22k.channels-magnitude-half.safetensors"))
    work = compression.macs_per_second(half) / compression.macs_per_second(maker.model)
    assert 0.45 < work <= 0.5


def test_half_of_the_work_is_trained_as_the_weights_say_they_were(few_items, tmp_path, monkeypatch):
    recipe = TrainingConfig(
        batch_size=2, epochs=1, epoch_steps=2, crop_seconds=0.5, learning_rate=1e-2, keep="last"
    )
    weights = tmp_path / "small.safetensors"
    facts = {"preset": "small", "training_config": recipe.model_dump_json()}
    network(base_channels=32, sample_rate=44100).save(weights, metadata=facts)
    monkeypatch.setattr(smaller, "ROOT", tmp_path)
    for split in ("train", "validation"):
        shutil.copytree(few_items, tmp_path / "items" / split)
    monkeypatch.setattr(smaller, "PAIRS", (tmp_path / "nowhere", tmp_path / "items"))
    maker = smaller.Maker("small", weights, steps=1)
    half, trained = (
        AudioUNet.load(maker.make(f"small.channels-magnitude-half{way}.safetensors"))
        for way in ("", "-trained")
    )
    assert trained.config == half.config
    changed = [
        name
        for name, value in half.named_parameters()
        if not torch.equal(value, trained.get_parameter(name))
    ]
    assert any("head" in name for name in changed)
    assert pandas.read_csv(maker.folder / "channels-magnitude-half" / "log.csv")["step"].max() == 2


def test_every_kind_of_the_development_set_is_measured(root):
    rows = pandas.read_csv(root / "data/devset.csv").groupby("kind").head(smaller.PER_KIND)
    assert set(rows["kind"].value_counts()) == {smaller.PER_KIND}
    assert set(rows["kind"]) == {"recorded", "rendered", "speech"}


def test_summary_compares_with_the_checkpoint():
    shared = {"condition": "mp3-64", "piece": "a"}
    table = {
        "untreated": {"visqol": 2.0, "in_band_si_sdr": 20.0},
        "x.safetensors": {"visqol": 3.0, "in_band_si_sdr": 20.0, "size": 4.0, "cpu_rtf": 0.02},
        "x.int8.onnx": {"visqol": 2.99, "in_band_si_sdr": 19.99, "size": 1.0, "cpu_rtf": 0.01},
        "x.onnx": {"visqol": 3.0, "in_band_si_sdr": 20.0, "size": 4.0, "cpu_rtf": 0.01},
    }
    rows = [
        {**shared, "system": system, "metric": metric, "value": value}
        for system, values in table.items()
        for metric, value in values.items()
    ]
    rows += [
        {**shared, "system": system, "metric": metric, "value": 1.0}
        for system in table
        for metric in ("macs", "latency_ms", "peak_mb", "error")
    ]
    result = smaller.summary(pandas.DataFrame(rows), "x.safetensors")
    assert result["careful"].all()
    assert result["front"].to_dict() == {
        "x.safetensors": False,
        "x.int8.onnx": True,
        "x.onnx": True,
    }
    assert compression.sweet_spot(result) == "x.int8.onnx"


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRETRAINED.glob("*.safetensors")))
def test_the_file_in_the_package_is_the_one_that_was_measured(root, preset):
    """The fastest without further training; chapter 10 says what it lacks by the rule."""
    measured = pandas.read_csv(root / "data" / "results" / f"{preset}-smaller.csv")
    result = smaller.summary(measured, f"{preset}.safetensors")
    carried = PRETRAINED / f"{preset}.int8.onnx"
    row = result.loc[carried.name]
    assert carried.stat().st_size == round(1e6 * row["size"])
    assert stream_path(carried).is_file()
    untrained = result[~result.index.str.contains("qat|weights-|channels-")]
    assert row["cpu_rtf"] == untrained["cpu_rtf"].min()
    assert row["visqol_loss"] < 0.1
    assert result["careful"][compression.sweet_spot(result)]


def test_arm_gets_every_package_that_a_stream_imports(root):
    """As on ARM: nothing but the wheels of the list can be imported there."""
    code = """
import sys
from enhancelib.enhance.frames import FrameEngine
from enhancelib.enhance.modelfiles import open_model
open_model(sys.argv[1])
files = ((name, getattr(module, "__file__", None)) for name, module in sys.modules.items())
print(*{name.split(".")[0] for name, file in files if file and "site-packages" in file})
"""
    there = {
        module
        for wheel in arm.WHEELS
        for file in files(wheel)
        if (module := str(file).split("/")[0].split(".")[0])
    }
    for suffix in (".stream.onnx", ".stream.tflite"):
        model = PRETRAINED / f"fullband-44k{suffix}"
        done = subprocess.run(
            [sys.executable, "-c", code, model],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
        needed = {name for name in done.stdout.split() if not name.startswith("__editable__")}
        assert "numpy" in needed
        assert needed - there <= {"_distutils_hack"}, model


def test_without_an_emulator_arm_is_skipped_with_a_reason(root, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tools.measure", "peers.arm", "--output", tmp_path],
        cwd=root,
        env={"PATH": str(tmp_path), "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("skipped: qemu-user")
    assert "apt-get install qemu-user" in done.stdout
    assert not list(tmp_path.iterdir())
