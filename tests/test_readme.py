"""README.md does what it says: every command and snippet in it is run, every path is there.

`make` targets are only checked with `make -n` here. Their real runs: test_notebooks.py executes the
chapters as `make chapters` does, test_book.py builds the book and opens it in a browser.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
import soundfile

import enhancelib as el

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
SHELL = [
    line.partition(" #")[0].strip()
    for language, text in BLOCKS
    if language == "bash"
    for line in text.splitlines()
]
MADE_LATER = {".venv", "config.json", "dist/"}


@pytest.fixture(scope="module")
def folder(root, tmp_path_factory):
    """Where the reader stands after `make book`, with music of their own beside it."""
    import torch

    folder = tmp_path_factory.mktemp("reader")
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "notebooks").symlink_to(root / "notebooks")
    for name in ("my_music", "album", "data/runs/default/checkpoint"):
        (folder / name).mkdir(parents=True)
    for name in ("loop_mika", "loop_garzul", "loop_safari"):
        wave, rate = el.load(
            root / f"data/excerpts/sonicpi_samples_{name}.flac", sample_rate=44100, duration_s=1.5
        )
        el.save(folder / "my_music" / f"{name}.flac", wave, sample_rate=rate)
    el.save(folder / "song.mp3", wave, sample_rate=rate)
    el.save(folder / "album/one.mp3", wave[:, :20000], sample_rate=rate)
    el.save(folder / "album/two.flac", wave[:1], sample_rate=rate)
    small = {"base_channels": 4, "depth": 2, "epochs": 1, "batch_size": 4}
    small |= {"blocks": 1, "dilations": [1]}  # soon converted
    (folder / "config.json").write_text(json.dumps(small))
    model = el.AudioUNet(base_channels=4, depth=2)
    torch.manual_seed(0)
    torch.nn.init.normal_(model.core.head.weight, 0, 0.02)
    model.save(folder / "data/runs/default/checkpoint/fullband-44k.safetensors")
    return folder


def run(command, folder, root):
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(root), "JUPYTER_PREFER_ENV_PATH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_song(folder):
    given, enhanced = (
        soundfile.info(folder / "song.mp3"),
        soundfile.info(folder / "song_enhanced.flac"),
    )
    assert (enhanced.samplerate, enhanced.channels) == (given.samplerate, given.channels)
    assert enhanced.frames == len(soundfile.read(folder / "song.mp3")[0])


def check_album(folder):
    made = {path.name for path in (folder / "album_enhanced").iterdir()} - {"enhanced.json"}
    assert made == {"one.flac", "two.flac"}
    assert soundfile.info(folder / "album_enhanced/two.flac").channels == 1


def check_pairs(folder):
    table = el.read_manifest(folder / "processed_data")
    assert set(table["split"]) == {"train", "validation", "test"}
    assert set(table["sample_rate"]) == {44100}


def check_checkpoint(folder):
    (best,) = (folder / "checkpoints").glob("checkpoint_epoch_*_best.pth")
    assert el.AudioUNet.load(best).config.base_channels == 4


def check_exports(folder):
    made = {path.name for path in (folder / "exports").iterdir()}
    assert made == {"fullband-44k.onnx", "fullband-44k.stream.onnx"}
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (1, 22050)).astype(np.float32)
    path = folder / "exports/fullband-44k.stream.onnx"
    assert el.enhance_wave(noise, path, sample_rate=44100).shape == noise.shape


def check_benchmark(folder):
    table = pandas.read_csv(folder / "benchmark.csv")
    assert set(table["system"]) == {"fullband-44k.onnx", "fullband-44k.stream.onnx"}
    assert (table.loc[table["metric"] == "latency_ms", "value"] > 0).all()


def check_chapter(folder):
    import nbformat

    cells = nbformat.read(folder / "my_01.ipynb", as_version=4).cells
    assert any(cell.get("outputs") for cell in cells)
    table = el.read_manifest(folder / "data/runs/mine/pairs")
    assert set(table["piece"]) == {"loop_mika.flac", "loop_garzul.flac", "loop_safari.flac"}
    assert list((folder / "data/runs/mine/figures").glob("01_*"))


# Beginning of a command -> what must be true after it.
CHECKS = {
    "source .venv/bin/activate": lambda folder: None,  # the commands after it run in its shell
    "enhancelib enhance song.mp3": check_song,
    "enhancelib enhance --input_path song.mp3": check_song,
    "enhancelib enhance --input_path album": check_album,
    "enhancelib prepare": check_pairs,
    "enhancelib train": check_checkpoint,
    "enhancelib export": check_exports,
    "enhancelib benchmark": check_benchmark,
    "papermill notebooks/01_data_synthesis.ipynb": check_chapter,
}


def test_the_first_30_lines_tell_input_and_output_and_two_commands():
    beginning = README.splitlines()[:30]
    assert "make book" in " ".join(beginning)
    assert "pip install ." in " ".join(beginning)
    assert "enhancelib enhance song.mp3" in " ".join(beginning)
    assert "make test" in " ".join(beginning)
    assert "`data/excerpts`" in " ".join(beginning)
    assert "jupyter_book/_build/html" in " ".join(beginning)


def test_the_first_screen_tells_shows_runs_and_measures_in_this_order():
    order = [r"<img src", r"pip install", r"enhance song\.mp3", r"make book ", r"make test "]
    places = [re.search(form, README).start() for form in [*order, "<!-- glance -->"]]
    assert places == sorted(places)
    opening = README[: places[0]].split("\n\n", 1)[1]
    assert len(re.findall(r"\.(?:\s|$)", opening)) == 2


def test_every_path_is_there(root):
    named = set(re.findall(r"`([\w./-]+)`|\]\(([^:)]+)\)|src=\"([^\"]+)\"", README))
    named = {name for names in named for name in names if name}
    paths = {name for name in named if "/" in name or re.search(r"\.\w+$", name)}
    paths -= MADE_LATER | {name for name in paths if name.startswith("enhancer.")}
    paths -= {name for name in paths if name.startswith("enhancelib.")}
    assert len(paths) > 15
    assert any(path.startswith("figures/0") for path in paths), "no picture"
    assert not {path for path in paths if not (root / path).exists()}


def test_every_public_name_is_there():
    for name in re.findall(r"\benhancelib\.([A-Z]\w+)", README):
        assert hasattr(el, name)
    for name in re.findall(r"\benhancer\.(\w+)", README):
        assert hasattr(el.RealTimeAudioEnhancer, name)


def test_all_chapters_are_listed(root):
    listed = re.findall(r"^\| `(notebooks/\d.*?)`", README, re.MULTILINE)
    assert listed == sorted(str(p.relative_to(root)) for p in root.glob("notebooks/[0-9]*.py"))


@pytest.mark.parametrize(
    "command",
    sorted({*re.findall(r"`(make [^`]+)`", README), *(c for c in SHELL if c.startswith("make "))}),
)
def test_make_target_exists(command, root):
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    done = subprocess.run(
        [*command.split(), "-n"],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_shell_command_runs(folder, root):
    commands = [line for line in SHELL if not line.startswith("make ")]
    assert len(commands) >= len(CHECKS)
    for command in commands:
        (check,) = [check for start, check in CHECKS.items() if command.startswith(start)]
        (folder / "song_enhanced.flac").unlink(missing_ok=True)
        run(["bash", "-ec", f"source .venv/bin/activate\n{command}"], folder, root)
        check(folder)


def test_every_python_snippet_runs(folder, root):
    whole, live = PYTHON
    out = run([sys.executable, "-c", whole + "print(wave.shape == enhanced.shape)"], folder, root)
    assert out == "True\n"
    info = soundfile.info(folder / "song_enhanced.wav")
    assert (info.samplerate, info.frames) == (44100, round(1.5 * 44100))
    out = run(
        [
            *(sys.executable, "-c"),
            live
            + "delay = enhancer.latency_samples\n"
            + "import numpy as np\n"
            + "joined = np.concatenate(played, axis=1)\n"
            + "wanted = el.enhance_wave(wave[:, :joined.shape[1]], sample_rate=sample_rate)\n"
            + "print(np.abs(joined[:, delay:] - wanted[:, :-delay]).max() < 1e-4)\n",
        ],
        folder,
        root,
    )
    assert out == "True\n"


def test_config_keys_are_the_defaults():
    (text,) = [text for language, text in BLOCKS if language == "json"]
    config = json.loads(text)
    assert el.TrainingConfig().model_dump(include=set(config)) == config


def test_what_it_says_of_the_published_model(root):
    published = any((root / "enhancelib/pretrained").glob("*.safetensors"))
    assert ("None is published yet" in README) == (not published)
