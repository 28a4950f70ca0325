"""Every command and snippet of the original README, in its form of jupyter_book/seed.md.

The snippets are kept as they were printed, apart from what the table maps.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import PATIENCE_S, interruptible

from enhancelib.data.pairs import read_manifest

EXCERPTS = ("loop_mika", "loop_garzul", "loop_safari", "guit_em9")

PREPARE = """enhancelib prepare \
    --input_dir audio \
    --output_dir processed_data \
    --sample_rate 22050 \
    --duration 3.0 \
    --max_files 100"""

TRAIN = """enhancelib train \
    --input_dir audio \
    --output_dir processed_data \
    --checkpoint_dir checkpoints \
    --config config.json"""

ENHANCE = """enhancelib enhance \
    --model_path checkpoints/checkpoint_epoch_0_best.pth \
    --input_path input_audio.wav \
    --output_path enhanced_audio.wav \
    --model_type pytorch"""

CONFIG = """{
  "base_channels": 32,
  "depth": 4,
  "dropout": 0.1,
  "batch_size": 16,
  "epochs": 100,
  "learning_rate": 1e-3,
  "use_wandb": false
}"""

ONNX = """
import onnxruntime as ort

# Load ONNX model
session = ort.InferenceSession('model.onnx')

# Run inference
input_data = np.random.randn(1, 1, 22050 * 3).astype(np.float32)
output = session.run(None, {'input': input_data})
"""

TFLITE = """
import tensorflow as tf

# Load TFLite model
interpreter = tf.lite.Interpreter(model_path='model.tflite')
interpreter.allocate_tensors()

# Run inference
input_details = interpreter.get_input_details()
output_details = interpreter.get_output_details()
interpreter.set_tensor(input_details[0]['index'], input_data)
interpreter.invoke()
output = interpreter.get_tensor(output_details[0]['index'])
"""

CUSTOM_MODEL = """
from enhancelib import AudioUNet

# Create custom model
model = AudioUNet(
    base_channels=64,
    depth=5,
    dropout=0.2
)
"""

REAL_TIME = """
from enhancelib import RealTimeAudioEnhancer

# Create real-time enhancer
enhancer = RealTimeAudioEnhancer(
    model_path='model.pth',
    model_type='pytorch'
)

# Start processing
enhancer.start_processing()

# Process audio chunks
enhanced_chunk = enhancer.process_audio_chunk(audio_chunk)
"""

DEFAULT_TRAINING = """
from enhancelib.train import main

# Train with default configuration
main()
"""


def shell(command, folder):
    """Run a command line as typed, with the environment's commands on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        shlex.split(command),
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def workshop(root, tmp_path_factory):
    """A folder in which the quick start has been followed, with a small network for one epoch."""
    folder = tmp_path_factory.mktemp("workshop")
    (folder / "audio").mkdir()
    for name in EXCERPTS:
        wave, rate = soundfile.read(root / f"data/excerpts/sonicpi_samples_{name}.flac")
        soundfile.write(folder / "audio" / f"{name}.flac", wave[: 2 * rate], rate)
    soundfile.write(folder / "input_audio.wav", wave[:rate], rate, subtype="PCM_16")
    small = json.loads(CONFIG) | {"base_channels": 4, "depth": 2, "batch_size": 4, "epochs": 1}
    small |= {"blocks": 1, "dilations": [1]}  # soon converted
    (folder / "config.json").write_text(json.dumps(small))
    shell(PREPARE, folder)
    shell(TRAIN, folder)
    return folder


@pytest.fixture(scope="module")
def exports(workshop):
    """`model.onnx`, `model.tflite` and `model.pth` beside each other."""
    checkpoint = "checkpoints/checkpoint_epoch_0_best.pth"
    formats = "--model_type onnx --model_type tflite"
    shell(f"enhancelib export --model_path {checkpoint} --output_dir . {formats}", workshop)
    for kind in ("onnx", "tflite"):
        shutil.copy(workshop / f"seed-22k.{kind}", workshop / f"model.{kind}")
    shutil.copy(workshop / checkpoint, workshop / "model.pth")
    return workshop


def test_data_preparation(workshop):
    table = read_manifest(workshop / "processed_data")
    assert set(table["piece"]) == {f"{name}.flac" for name in EXCERPTS}
    assert set(table["sample_rate"]) == {22050}
    for row in table.itertuples():
        lossless, rate = soundfile.read(row.lossless)
        lossy, _ = soundfile.read(row.lossy)
        assert rate == 22050
        assert lossy.shape == lossless.shape
        assert len(lossless) == 3 * 22050
        assert (row.condition == "lossless") == np.array_equal(lossy, lossless)


def test_training(workshop):
    import torch

    content = torch.load(
        workshop / "checkpoints/checkpoint_epoch_0_best.pth", weights_only=True, map_location="cpu"
    )
    assert json.loads(content["metadata"]["training_config"])["base_channels"] == 4
    assert content["metadata"]["preset"] == "seed-22k"
    assert content["state_dict"]["core.head.weight"].abs().max() > 0, "nothing was learnt"


def test_inference(workshop):
    shell(ENHANCE, workshop)
    given, rate = soundfile.read(workshop / "input_audio.wav")
    enhanced, enhanced_rate = soundfile.read(workshop / "enhanced_audio.wav")
    assert enhanced_rate == rate
    assert enhanced.shape == given.shape
    assert np.isfinite(enhanced).all()
    assert not np.array_equal(enhanced, given)
    assert np.corrcoef(enhanced.ravel(), given.ravel())[0, 1] > 0.9


def test_configuration():
    from enhancelib import TrainingConfig

    seed = json.loads(CONFIG)
    assert TrainingConfig(**seed) == TrainingConfig(), "the seed's values are the defaults"
    assert TrainingConfig(**seed).model_dump(include=set(seed)) == seed


def offline(folder, wave):
    """What the PyTorch model makes of a waveform (1, 1, samples)."""
    import torch

    from enhancelib import AudioUNet

    with torch.inference_mode():
        return AudioUNet.load(folder / "model.pth")(torch.from_numpy(wave)).numpy()


@pytest.mark.filterwarnings(  # the snippet calls it by its old name
    r"ignore:\s+Warning. tf.lite.Interpreter is deprecated:UserWarning"
)
def test_onnx_runtime_and_tensorflow_lite(exports, monkeypatch):
    monkeypatch.chdir(exports)
    names = {"np": np}
    exec(ONNX, names)
    (from_onnx,) = names["output"]
    assert from_onnx.shape == (1, 1, 66150)
    wanted = offline(exports, names["input_data"])
    scale = np.abs(wanted).max()
    assert np.abs(from_onnx - wanted).max() < 1e-4 * scale
    assert np.abs(from_onnx - names["input_data"]).max() > 1e-3 * scale, "the model does nothing"
    exec(TFLITE, names)
    assert names["output"].shape == (1, 1, 66150)
    assert np.abs(names["output"] - wanted).max() < 1e-4 * scale


def test_custom_model():
    import torch

    from enhancelib import AudioUNet

    names = {}
    exec(CUSTOM_MODEL, names)
    model = names["model"]
    assert (model.config.base_channels, model.config.depth, model.config.dropout) == (64, 5, 0.2)
    assert model.num_parameters > AudioUNet().num_parameters
    assert model.eval()(torch.zeros(1, 1, 5000)).shape == (1, 1, 5000)


def test_real_time_enhancement(exports, monkeypatch):
    monkeypatch.chdir(exports)
    music = soundfile.read(exports / "audio/loop_mika.flac", dtype="float32")[0][:, 0]
    chunks = np.split(music[: 40 * 1024], 40)
    names = {"audio_chunk": chunks[0]}
    exec(REAL_TIME, names)
    enhancer = names["enhancer"]
    played = [names["enhanced_chunk"]]
    played += [enhancer.process_audio_chunk(chunk) for chunk in chunks[1:]]
    enhancer.stop_processing()
    assert all(out.shape == (1024,) and out.dtype == np.float32 for out in played)
    delay = enhancer.latency_samples
    output, given = np.concatenate(played)[delay:], np.concatenate(chunks)
    assert enhancer.counters.chunks == 40
    # A late chunk is passed through, equally delayed, so this holds on a busy machine too.
    assert np.corrcoef(output, given[: len(output)])[0, 1] > 0.9


def test_real_time_enhancement_without_a_deadline_equals_offline(exports):
    from enhancelib import RealTimeAudioEnhancer

    music = soundfile.read(exports / "audio/loop_mika.flac", dtype="float32")[0][:20480, 0]
    enhancer = RealTimeAudioEnhancer(model_path=exports / "model.pth", model_type="pytorch")
    played = [enhancer.process_audio_chunk(chunk) for chunk in np.split(music, 20)]
    output = np.concatenate([*played, enhancer.flush()])[enhancer.latency_samples :]
    wanted = offline(exports, music[None, None])[0, 0]
    assert output.shape == wanted.shape
    assert np.abs(output - wanted).max() < 1e-4


def test_default_training(root, tmp_path):
    """`main()` prepares data/excerpts and trains; stopped after its first epoch of a hundred."""
    from enhancelib import AudioUNet, TrainingConfig

    excerpts = tmp_path / "data/excerpts"
    excerpts.mkdir(parents=True)
    for name in EXCERPTS[:3]:
        wave, rate = soundfile.read(root / f"data/excerpts/sonicpi_samples_{name}.flac")
        soundfile.write(excerpts / f"{name}.flac", wave[: rate // 2], rate)
    process = subprocess.Popen(
        [sys.executable, "-c", DEFAULT_TRAINING],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
    )
    checkpoint = tmp_path / "checkpoints/checkpoint_epoch_0_best.pth"
    deadline = time.monotonic() + PATIENCE_S
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert "KeyboardInterrupt" in errors, errors
    (checkpoint,) = (tmp_path / "checkpoints").glob("checkpoint_epoch_*_best.pth")
    assert AudioUNet.load(checkpoint).config == AudioUNet().config
    settings = json.loads((tmp_path / "checkpoints/config.json").read_text())
    assert TrainingConfig(**json.loads(settings["training_config"])) == TrainingConfig()
    assert set(read_manifest(tmp_path / "processed_data")["sample_rate"]) == {44100}


# ---------------------------------------------------------------- the table itself


@pytest.fixture(scope="module")
def now(root):
    """The right-hand column of every table in seed.md."""
    lines = (root / "jupyter_book/seed.md").read_text().splitlines()
    rows = [line.strip("|").split("|") for line in lines if line.startswith("| ")]
    return [row[1].strip() for row in rows]


def test_files_and_imports_of_the_table_exist(now, root):
    text = "\n".join(now)
    files = set(re.findall(r"`([\w./]+\.(?:py|txt|lock|md))`", text))
    assert len(files) > 10
    assert not [name for name in files if not (root / name).is_file()]
    imports = re.findall(r"`(from enhancelib\S* import \w+)`", text)
    assert len(imports) == 3
    for statement in imports:
        exec(statement, {})


def test_commands_of_the_table_are_those_run_here(now):
    text = " ".join(now)
    for command in (PREPARE, TRAIN, ENHANCE):
        words = command.split()
        pattern = " ".join(
            rf"(?:{re.escape(word)}|…)" if previous.startswith("--") else re.escape(word)
            for previous, word in zip(["", *words], words, strict=False)
        )
        assert re.search(pattern, text), command
