"""The small install: the wheel in an empty environment enhances a song, without PyTorch."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import enhancelib as el
from enhancelib.model.weights import PRETRAINED

LARGEST_MB = 330
PACKAGED = ("enhancelib", "pyproject.toml", "README.md", "LICENSE")
SCRIPT = """
import enhancelib as el
el.enhance_file("song.mp3", "by_python.flac")
import sys; print(sorted({"torch", "scipy", "pandas", "librosa", "matplotlib"} & set(sys.modules)))
"""


def run(*command, cwd, check=True):
    """A program that knows nothing of this checkout."""
    clean = {key: os.environ[key] for key in ("HOME", "LANG", "TMPDIR") if key in os.environ}
    clean["PATH"] = "/usr/bin:/bin"
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=clean, capture_output=True, text=True,
        check=check,
    )  # fmt: skip


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__")
    for name in PACKAGED:
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy
        copy(root / name, source / name, **({"ignore": ignored} if (root / name).is_dir() else {}))
    command = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps")
    subprocess.run(
        [*command, "--no-build-isolation", "--wheel-dir", folder, source], check=True, cwd=folder
    )
    return next(folder.glob("enhancelib-*.whl"))


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """An empty environment, then the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin/python")
    done = subprocess.run(
        [*pip, "install", "--quiet", "--only-binary=:all:", wheel],
        capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    if "No matching distribution found" in done.stderr or "Failed to establish" in done.stderr:
        pytest.skip("no package index can be reached from here")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def folder(root, tmp_path_factory):
    """Outside the checkout, with an MP3 in it."""
    folder = tmp_path_factory.mktemp("music")
    name = root / "data/excerpts/sonicpi_samples_loop_mika.flac"
    wave, rate = el.load(name, sample_rate=44100, duration_s=2.0)
    el.save(folder / "song.mp3", wave, sample_rate=rate)
    return folder


def test_it_is_small(environment):
    files = [path for path in environment.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in files) < LARGEST_MB * 1e6
    names = {path.name for path in environment.rglob("site-packages/*")}
    assert not names & {"torch", "scipy", "pandas", "librosa", "matplotlib", "tensorflow"}
    assert "enhancelib" in names
    carried = {path.name for path in environment.rglob("enhancelib/pretrained/*")}
    there = {path.name for path in PRETRAINED.iterdir()}
    left_out = ("k.stream.tflite", "-energies.csv")
    assert there - carried == {name for name in there if name.endswith(left_out)}


def test_command_and_three_lines_of_python_enhance_a_song(environment, folder):
    command = (environment / "bin/enhancelib", "enhance", "--input_path", "song.mp3")
    done = run(*command, "--output_path", "by_command.flac", cwd=folder)
    assert "2.0 s enhanced" in done.stdout
    (folder / "script.py").write_text(SCRIPT)
    done = run(environment / "bin/python", "script.py", cwd=folder)
    assert done.stdout.splitlines()[-1] == "[]"
    one, two = (soundfile.read(folder / f"by_{name}.flac")[0] for name in ("command", "python"))
    assert np.array_equal(one, two)
    lossy, _ = soundfile.read(folder / "song.mp3")
    assert one.shape == lossy.shape
    assert np.abs(one - lossy).max() > 1e-3


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (("train", "--input_dir", "x"), "train"),
        (("export", "--output_dir", "y"), "optimize"),
        (("benchmark",), "evaluate"),
        (("live", "--list"), "live"),
        (("enhance", "--input_path", "song.mp3", "--output_path", "n.flac"), "train"),
    ],
)
def test_a_missing_extra_is_named_in_one_line(environment, folder, root, command, extra):
    if command[0] == "enhance":
        checkpoint = root / "enhancelib/pretrained/fullband-44k.safetensors"
        command = (*command, "--model_path", checkpoint)
    done = run(environment / "bin/enhancelib", *command, cwd=folder, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith(f"pip install 'enhancelib[{extra}]'")
    assert not list(folder.glob("y*")) + list(folder.glob("n.flac"))


def test_pairs_are_prepared_too(environment, folder):
    """Lossy copies need the encoders that PyAV brings, and nothing else."""
    arguments = ("--input_dir", folder, "--output_dir", folder / "pairs", "--duration", "1.0")
    done = run(environment / "bin/enhancelib", "prepare", *arguments, cwd=folder)
    assert "pairs in" in done.stdout
    assert len((folder / "pairs/manifest.csv").read_text().splitlines()) > 10


def test_a_missing_package_of_a_public_name_is_named_too(environment, folder):
    for name, extra in [("AudioUNet", "train"), ("plotting", "listen"), ("score", "evaluate")]:
        code = f"import enhancelib as el; el.{name}"
        done = run(environment / "bin/python", "-c", code, cwd=folder, check=False)
        assert done.stderr.splitlines()[-1].endswith(f"pip install 'enhancelib[{extra}]'")


@pytest.mark.parametrize("extra", ["train", "all"])
def test_its_extras_resolve(wheel, extra):
    """With what is installed here, which is the pinned set."""
    command = (sys.executable, "-m", "pip", "install", "--dry-run", "--quiet")
    done = subprocess.run(
        [*command, f"enhancelib[{extra}] @ file://{wheel}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
