"""The guides do what they say: every command and snippet is run, and its result compared."""

import json
import re
import shlex
import subprocess
import sys

import numpy as np
import pandas
import pytest
import soundfile
from conftest import ROOT

import enhancelib as el
from enhancelib.provenance import RESULT_COLUMNS

GUIDES = ROOT / "jupyter_book" / "guide"
RATE = 44100


def blocks(page: str, language: str) -> list[str]:
    text = (GUIDES / f"{page}.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A reader's folder: some music, an environment, a short training configuration."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / ".venv").symlink_to(sys.prefix)
    for name in ("album", "my_music"):
        (folder / name).mkdir()
    for name in ("loop_mika", "loop_garzul", "loop_safari"):
        path = ROOT / f"data/excerpts/sonicpi_samples_{name}.flac"
        wave, _ = el.load(path, sample_rate=RATE, duration_s=1.5)
        el.save(folder / f"my_music/{name}.flac", wave, sample_rate=RATE)
    el.save(folder / "lossless.flac", wave, sample_rate=RATE)
    el.save(folder / "song.mp3", wave, sample_rate=RATE)
    el.save(folder / "album/one.mp3", wave, sample_rate=RATE)
    small = {"base_channels": 4, "depth": 2, "epochs": 1, "batch_size": 4}
    small |= {"blocks": 1, "dilations": [1]}  # soon converted
    (folder / "config.json").write_text(json.dumps(small))
    return folder


def run_python(code: str, folder) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_commands_for_your_music(folder):
    lines = [line for block in blocks("your_music", "bash") for line in block.splitlines()]
    assert lines[0] == "source .venv/bin/activate"
    for line in lines[1:]:
        done = subprocess.run(
            ["bash", "-ec", f"{lines[0]}\n{line}"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        arguments = shlex.split(line)
        if "--output_path" in arguments:
            assert (folder / arguments[arguments.index("--output_path") + 1]).exists()
    given = soundfile.info(folder / "song.mp3")
    for name in ("song_enhanced.flac", "song_mine.flac"):
        made = soundfile.info(folder / name)
        assert (made.samplerate, made.channels) == (given.samplerate, given.channels)


def test_python_for_your_music(folder):
    snippets = blocks("your_music", "python")
    assert len(snippets) == 4
    printed = run_python("".join(snippets) + "print(type(player).__name__, test)", folder)
    untreated, enhanced, last = printed.splitlines()
    assert untreated.startswith("untreated {'lsd': ")
    assert enhanced.startswith("enhanced {'lsd': ")
    assert last.startswith("Player ABX(original, enhanced; 1.5 s)")
    assert soundfile.info(folder / "song_python.flac").samplerate == RATE


@pytest.fixture
def by_hand(monkeypatch):
    """What the page's own code makes of a piece, in both runtimes; none of it is this package's."""
    pytest.importorskip("ai_edge_litert")
    loop, onnx, lite = blocks("phone", "python")
    assert "enhancelib" not in loop + onnx + lite
    path = ROOT / "data/devset/rendered_RUNNIN.flac"
    wave = el.load(path, sample_rate=RATE, duration_s=1.5)[0][0]
    scope = {"wave": el.degrade(wave[None], "mp3-64", sample_rate=RATE)[0]}
    monkeypatch.chdir(ROOT / "enhancelib" / "pretrained")
    for code in (loop, onnx, lite):
        exec(code, scope)
    return scope


@pytest.mark.parametrize("result", ["enhanced_onnx", "enhanced_lite"])
def test_loop_for_phones_gives_what_the_package_gives(by_hand, result):
    wave, hop = by_hand["wave"], 512
    ours = by_hand[result]
    wanted = el.enhance_wave(wave[None], sample_rate=RATE)[0]
    assert np.abs(wanted - wave).max() > 0.01  # the network does something here
    assert len(ours) == len(wave) // hop * hop
    np.testing.assert_allclose(ours[hop:], wanted[: len(ours) - hop], atol=2e-5)


def test_loop_for_phones_takes_the_file_in_8_bits(by_hand):
    """Its states are integers, and zero is another number in each: a start from 0 is wrong."""
    name = "fullband-44k.int8.stream.tflite"
    _, _, lite = blocks("phone", "python")
    exec(lite.replace("fullband-44k.stream.tflite", name), by_hand)
    ours, wave, hop = by_hand["enhanced_lite"], by_hand["wave"], 512
    wanted = el.enhance_wave(wave[None], name, sample_rate=RATE)[0]
    np.testing.assert_allclose(ours[hop:], wanted[: len(ours) - hop], atol=2e-5)


def test_the_files_to_take_are_there_and_the_fastest():
    """The table of guide/phone, by the costs that `make results` measured."""
    section = (GUIDES / "phone.md").read_text().split("## Which file do I take?")[1]
    named = re.findall(r"`(fullband-44k[\w.]*)`", section.split("\n## ")[0])
    assert named
    assert all((ROOT / "enhancelib" / "pretrained" / name).exists() for name in named)
    costs = pandas.read_csv(ROOT / "data/results/fullband-44k-cost.csv")
    cpu = costs[costs["metric"] == "cpu_rtf"].set_index("system")["value"]
    streams = cpu[cpu.index.str.contains(".stream.", regex=False)]
    assert streams.idxmin() == "fullband-44k.int8.stream.tflite"
    assert cpu["fullband-44k.int8.onnx"] < cpu["fullband-44k.onnx"]


def test_tips_were_measured_on_the_published_weights():
    """The table that guide/performance reads: of these weights, and a sample of it repeats."""
    table = pandas.read_csv(ROOT / "data/results/fullband-44k-tips.csv")
    assert tuple(table.columns) == RESULT_COLUMNS
    weights = el.find_weights("published")
    assert set(table["checkpoint_sha256"]) == {el.checkpoint_sha256(weights)}
    original, _ = el.load(ROOT / "data/devset/rendered_RUNNIN.flac", sample_rate=RATE)
    untreated = el.degrade(original, "mp3-64", sample_rate=RATE)
    enhanced = el.enhance_wave(untreated, sample_rate=RATE)
    stored = table[table["metric"] == "lsd"].set_index("system")["value"]
    for system, wave in {"untreated": untreated, "enhanced at its rate": enhanced}.items():
        again = el.score(wave, original, sample_rate=RATE, names=["lsd"])["lsd"]
        assert again == pytest.approx(stored[system], abs=0.002)
