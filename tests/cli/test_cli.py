"""The command line as a user meets it: spellings, help, results, and every kind of bad input."""

import contextlib
import errno
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pandas
import pytest
import soundfile
import typer
from conftest import PATIENCE_S, interruptible
from typer.testing import CliRunner

import enhancelib as el
from enhancelib import cli
from enhancelib.cli import making, program
from enhancelib.cli.console import beside
from enhancelib.enhance import modelfiles
from enhancelib.errors import InputError
from enhancelib.model.weights import PRETRAINED
from enhancelib.optimize import export
from enhancelib.train import task as restoration

COMMANDS = typer.main.get_command(cli.app).commands
OPTIONS = [
    (name, option)
    for name, command in COMMANDS.items()
    for parameter in command.params
    for option in parameter.opts
    if "_" in option
]
SEED_FLAGS = {
    "prepare": {"--input_dir", "--output_dir", "--sample_rate", "--duration", "--max_files"},
    "train": {"--input_dir", "--output_dir", "--checkpoint_dir", "--config"},
    "enhance": {"--model_path", "--input_path", "--output_path", "--model_type"},
}
SEED_CONFIG_KEYS = {
    *("base_channels", "depth", "dropout"),
    *("batch_size", "epochs", "learning_rate", "use_wandb"),
}


def run(*arguments):
    """Run a command; exceptions that are bugs come through."""
    return CliRunner().invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)


def refused(*arguments):
    """Run a command that must end with status 1 and one line on stderr; return that line."""
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.stderr.rstrip().endswith(line), "the error is not the last line"
    assert "Traceback" not in result.output
    return line


def music(seconds, *, channels=2, sample_rate=22050, seed=0):
    """Chirps with noise under them, (samples, channels)."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    tones = [np.sin(2 * np.pi * (220 + 40 * c) * t * (1 + 0.1 * t)) for c in range(channels)]
    return 0.3 * np.stack(tones, 1) + 0.05 * rng.standard_normal((len(t), channels))


@pytest.fixture
def song(tmp_path):
    path = tmp_path / "song.wav"
    soundfile.write(path, music(1.5), 22050, subtype="PCM_24")
    return path


@pytest.fixture(scope="module")
def model(small_model, tmp_path_factory):
    """A checkpoint of the small network of conftest, which changes what it is given."""
    return small_model.save(tmp_path_factory.mktemp("model") / "small.safetensors")


def snapshot(folder):
    """Every file under a folder, hidden ones too, with its content."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# ---------------------------------------------------------------- spelling and help


def test_the_seeds_flags_are_there():
    for command, flags in SEED_FLAGS.items():
        assert flags <= {option for name, option in OPTIONS if name == command} | {
            option for parameter in COMMANDS[command].params for option in parameter.opts
        }
    assert set(COMMANDS) == {"prepare", "train", "enhance", "live", "export", "benchmark"}


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_every_flag_has_a_hyphenated_spelling(name, option):
    parent = typer.main.get_command(cli.app)
    (parameter,) = [p for p in COMMANDS[name].params if option in p.opts]
    value = "onnx" if option == "--model_type" else "7"

    def parse(spelling):
        with parent.make_context("enhancelib", [name], resilient_parsing=True) as above:
            context = COMMANDS[name].make_context(
                name, [spelling, value], parent=above, resilient_parsing=True
            )
        return context.params

    assert parse(option.replace("_", "-").replace("---", "--")) == parse(option)
    assert parse(option)[parameter.name] is not None


def test_values_keep_their_hyphens(tmp_path):
    """Only names of flags are respelt: a condition or a path is taken as it is written."""
    line = refused(
        *("prepare", "--input-dir", tmp_path / "my-music", "--output-dir", tmp_path / "pairs")
    )
    assert "my-music" in line


def test_help_shows_commands_flags_and_examples():
    overview = run("--help").output
    for name, command in COMMANDS.items():
        text = run(name, "--help").output
        (entry,) = [line for line in overview.splitlines() if line.startswith(f"  {name} ")]
        assert not entry.endswith("..."), "cut off"
        assert re.search(rf"^ +enhancelib {name} --", text, re.MULTILINE), "no example"
        for parameter in command.params:
            assert parameter.opts[0] in text
            assert parameter.name == "help" or parameter.help


def test_help_imports_nothing_heavy():
    program = (
        "import sys, enhancelib.cli\n"
        "try: enhancelib.cli.app(['enhance', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'torch', 'tensorflow', 'librosa', 'pandas', 'onnxruntime'}\n"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "set()"


def test_version_and_module_call():
    done = subprocess.run(
        [sys.executable, "-m", "enhancelib", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"enhancelib {el.__version__}\n"


def test_choices_and_config_keys_are_those_of_the_library():
    assert {str(kind) for kind in program.ModelType} == set(modelfiles.SUFFIXES)
    assert tuple(making.ExportType) == tuple(export.FORMATS)
    assert set(restoration.TrainingConfig.model_fields) >= SEED_CONFIG_KEYS
    text = run("train", "--help").output
    assert all(key in text for key in SEED_CONFIG_KEYS)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["enhance", "--model_type", "keras"], ["pytorch", "onnx", "tflite", "torchscript"]),
        (["prepare", "--max_files", "many"], ["--max_files", "integer"]),
        (["enhance", "--wet_mix", "1"], ["--wet_mix"]),
        (["polish"], ["polish"]),
    ],
)
def test_usage_errors_exit_with_2_and_name_what_is_wrong_or_legal(arguments, names):
    result = run(*arguments)
    assert result.exit_code == 2
    assert all(name in result.stderr for name in names)
    assert result.stdout == ""


# ---------------------------------------------------------------- enhance


def test_enhance_file_keeps_rate_channels_and_length(song, model, tmp_path):
    out = tmp_path / "new folder" / "out.flac"
    result = run("enhance", "--input-path", song, "--output-path", out, "--model-path", model)
    assert result.exit_code == 0, result.output
    assert str(out) in result.stdout
    before, after = soundfile.info(song), soundfile.info(out)
    assert (after.samplerate, after.channels, after.frames) == (22050, 2, before.frames)
    given, enhanced = soundfile.read(song)[0].T, soundfile.read(out)[0].T
    wanted = el.enhance_wave(given.astype(np.float32), model, sample_rate=22050)
    assert np.abs(enhanced - wanted).max() < 1e-5
    assert np.abs(enhanced - given).max() > 1e-3, "the model changed nothing"


def test_enhance_keeps_the_rate_says_what_it_costs_and_takes_another(model, tmp_path):
    """Also of a folder, where another rate is another run."""
    source, goal = tmp_path / "in" / "a.wav", tmp_path / "out"
    source.parent.mkdir()
    soundfile.write(source, music(0.5, sample_rate=16000), 16000)
    arguments = ("enhance", "--output_path", goal, "--model_path", model)
    kept = run(*arguments, "--input_path", source.parent)
    assert kept.exit_code == 0
    assert "16000 Hz leaves no room for treble above 8 kHz; pass --sample_rate 22050" in kept.stderr
    assert soundfile.info(goal / "a.wav").samplerate == 16000
    wider = (*arguments, "--input_path", source.parent, "--sample_rate", 44100)
    assert "made with other settings" in refused(*wider)
    assert run(*wider, "--overwrite").exit_code == 0
    found = soundfile.info(goal / "a.wav")
    assert (found.samplerate, found.frames) == (44100, 22050)
    assert "sample_rate: 0" in refused(*wider[:-1], 0, "--overwrite")


def test_amount_zero_keeps_every_sample_and_half_goes_half_way(song, model, tmp_path):
    results = {}
    for amount in (0, 0.5, 1):
        out = tmp_path / f"{amount}.wav"
        arguments = ["--input_path", song, "--output_path", out, "--model_path", model]
        run("enhance", *arguments, "--amount", amount)
        results[amount], _ = soundfile.read(out)
    before, _ = soundfile.read(song)
    np.testing.assert_array_equal(results[0], before)
    assert np.abs(results[1] - before).max() > 0.001
    step = 2.0**-23  # each is rounded to 24 bits
    np.testing.assert_allclose(results[0.5], (before + results[1]) / 2, atol=1.1 * step)
    out = ["--output_path", tmp_path / "no.wav", "--model_path", model]
    assert "amount: 2.0" in refused("enhance", "--input_path", song, *out, "--amount", 2)
    assert "amount: -1.0" in refused(
        *("enhance", "--input_path", song.parent, "--output_path", tmp_path / "no"),
        *("--model_path", model, "--amount", -1),
    )
    assert not list(tmp_path.glob("no*"))


def test_enhance_runs_every_exported_format_alike(song, small_exports, tmp_path):
    folder, _ = small_exports
    waves = {}
    for kind, suffix in [("pytorch", ".safetensors"), ("onnx", ".onnx"), ("tflite", ".tflite")]:
        out = tmp_path / f"{kind}.wav"
        arguments = ("--model_type", kind, "--model_path", folder / f"small{suffix}")
        result = run("enhance", "--input_path", song, "--output_path", out, *arguments)
        assert result.exit_code == 0, result.output
        waves[kind] = soundfile.read(out)[0]
    assert np.abs(waves["onnx"] - waves["pytorch"]).max() < 1e-4
    assert np.abs(waves["tflite"] - waves["pytorch"]).max() < 1e-4


def test_enhance_takes_the_published_model_where_none_is_named(song, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("enhance", "--input_path", song, "--output_path", "a.wav").exit_code == 0
    published = ("--model_path", PRETRAINED / "fullband-44k.stream.onnx")
    assert run("enhance", "--input_path", song, "--output_path", "b.wav", *published).exit_code == 0
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_a_song_alone_is_enhanced_beside_it(song, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = Path("my song.wav")
    named.write_bytes(Path(song).read_bytes())
    Path("album").mkdir()
    (Path("album") / "one.wav").write_bytes(named.read_bytes())
    for arguments in (["my song.wav"], ["album"], ["my song.wav", "--format", "WAV"]):
        assert run("enhance", *arguments, "--model_path", model).exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "song.wav",
        *("my song.wav", "my song_enhanced.flac", "my song_enhanced.wav"),
        *("album", "album_enhanced"),
    }
    assert (tmp_path / "album_enhanced/one.wav").is_file()
    assert "my song_enhanced.flac" in refused("enhance", "my song.wav", "--model_path", model)
    for both_or_none in (["my song.wav", "--input_path", "my song.wav"], []):
        assert "name one audio file or folder" in refused("enhance", *both_or_none)


def test_enhance_folder_keeps_names_skips_counts_and_resumes(model, tmp_path):
    album = tmp_path / "album"
    (album / "disc 1").mkdir(parents=True)
    soundfile.write(album / "disc 1" / "one.wav", music(0.5, channels=1), 22050)
    soundfile.write(album / "two.flac", music(0.4, sample_rate=48000), 48000)
    (album / "broken.wav").write_bytes(b"RIFF no audio at all")
    arguments = ("enhance", "--input_path", album, "--output_path", tmp_path / "out")
    result = run(*arguments, "--model_path", model)
    assert result.exit_code == 0, result.output
    assert "2 enhanced, 0 done earlier, 1 skipped" in result.stdout
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("skipped: ")]
    assert "broken.wav" in line
    for name, channels, rate, frames in [
        ("disc 1/one.wav", 1, 22050, 11025),
        ("two.flac", 2, 48000, 19200),
    ]:
        found = soundfile.info(tmp_path / "out" / name)
        assert (found.channels, found.samplerate, found.frames) == (channels, rate, frames)
    made = snapshot(tmp_path / "out")
    again = run(*arguments, "--model_path", model)
    assert again.exit_code == 0
    assert "0 enhanced, 2 done earlier, 1 skipped" in again.stdout
    assert snapshot(tmp_path / "out") == made
    assert "overwrite" in refused(*arguments, "--model_path", model, "--limit")
    assert "overwrite" in refused(*arguments, "--model_path", model, "--amount", 0.5)
    assert snapshot(tmp_path / "out") == made


def test_enhance_writes_the_format_asked_for_in_a_folder(song, model, tmp_path):
    arguments = ("enhance", "--input_path", song, "--output_path", tmp_path, "--model_path", model)
    assert run(*arguments, "--format", "flac").exit_code == 0
    assert soundfile.info(tmp_path / "song.flac").subtype == "PCM_24"
    assert "ogg7" in refused(*arguments, "--format", "ogg7")


def test_enhance_shows_progress_on_a_terminal(song, model, tmp_path):
    here, there = pty.openpty()
    termios.tcsetwinsize(there, (24, 80))
    command = ["enhance", "--input_path", song, "--output_path", tmp_path / "a.wav"]
    subprocess.run(
        [sys.executable, "-m", "enhancelib", *command, "--model_path", model],
        stderr=there,
        check=True,
    )
    os.close(there)
    shown = b""
    with contextlib.suppress(OSError):  # at its end
        while part := os.read(here, 4096):
            shown += part
    os.close(here)
    assert b"song.wav" in shown


def test_a_scheduler_needs_a_folder_and_an_answer(song, model, tmp_path_factory):
    output = tmp_path_factory.mktemp("elsewhere") / "out"
    arguments = ("enhance", "--output_path", output, "--model_path", model)
    arguments += ("--scheduler", "tcp://127.0.0.1:9")
    assert "works on folders" in refused(*arguments, "--input_path", song)
    assert "no Dask scheduler answers" in refused(*arguments, "--input_path", song.parent)
    assert not list(output.parent.rglob("*.wav"))


# ---------------------------------------------------------------- bad input to enhance


def bad_audio(kind, path):
    """Write one bad file."""
    if kind == "unreadable":
        path.write_bytes(b"this is a text that calls itself audio\n" * 40)
    elif kind == "empty file":
        path.write_bytes(b"")
    elif kind == "NaN":
        wave = music(1.0)
        wave[5000] = np.nan
        soundfile.write(path, wave, 22050, subtype="FLOAT")
    else:
        assert kind == "missing"


@pytest.mark.parametrize("kind", ["unreadable", "empty file", "NaN", "missing"])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3"])
def test_bad_audio_is_refused_by_name_and_nothing_is_written(kind, suffix, model, tmp_path):
    if suffix != ".wav" and kind == "NaN":
        suffix = ".w64"  # a format that can hold the defect
    path, out = tmp_path / f"bad{suffix}", tmp_path / "out"
    out.mkdir()
    bad_audio(kind, path)
    line = refused(
        *("enhance", "--input_path", path, "--output_path", out / "a.wav", "--model_path", model)
    )
    assert path.name in line
    assert snapshot(out) == {}


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".aiff"])
def test_truncated_audio_is_enhanced_as_far_as_it_goes_and_named(suffix, model, tmp_path):
    path, out = tmp_path / f"cut{suffix}", tmp_path / "a.wav"
    soundfile.write(path, music(4.0), 22050)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    arguments = ("enhance", "--input_path", path, "--output_path", out, "--model_path", model)
    result = run(*arguments)
    assert result.exit_code == 0
    lines = [line for line in result.stderr.splitlines() if line.startswith(str(path))]
    assert any("states 4.0" in line and "fetch the file again" in line for line in lines)
    assert 1 < soundfile.info(out).duration < 3


@pytest.mark.skipif(not os.path.exists("/dev/stdin"), reason="a name of Unix")
@pytest.mark.parametrize("form", ["pipe", "file"])
def test_standard_input_by_its_name(form, song, model, tmp_path):
    """A pipe cannot be read twice, and the line says what to do; a file that is led there can."""
    out = tmp_path / "out.flac"
    names = ["--input_path", "/dev/stdin", "--output_path", out, "--model_path", model]
    command = [sys.executable, "-m", "enhancelib", "enhance", *map(str, names)]
    with open(song, "rb") as file:
        given = {"input": file.read()} if form == "pipe" else {"stdin": file}
        done = subprocess.run(command, **given, capture_output=True, timeout=PATIENCE_S)
    if form == "file":
        assert done.returncode == 0, done.stderr
        assert soundfile.info(out).frames == soundfile.info(song).frames
        return
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        "error: /dev/stdin: is a pipe or a device; save the sound to a file first"
    ]
    assert not out.exists()


@pytest.mark.skipif(not os.path.exists("/dev/stdin"), reason="a name of Unix")
def test_nothing_is_written_beside_standard_input(song, model):
    with open(song, "rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "enhancelib", "enhance", "/dev/stdin", "--model_path", model],
            stdin=file, capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: /dev/stdin: is not in a folder of yours; name the result: --output_path"
    ]
    assert not Path("/dev/stdin_enhanced.flac").exists()


def test_a_result_without_a_name_lies_beside_what_it_is_of(tmp_path, monkeypatch):
    for folder in ("album", "Vol. 1", "Vol. 2"):
        (tmp_path / folder).mkdir()
    (tmp_path / "song.mp3").touch()
    (tmp_path / "album" / "linked.mp3").symlink_to(tmp_path / "song.mp3")
    monkeypatch.chdir(tmp_path)
    for source, wanted in {
        "song.mp3": "song_enhanced.wav",
        "album": "album_enhanced",
        "Vol. 1": "Vol. 1_enhanced",
        "Vol. 2": "Vol. 2_enhanced",
        "album/linked.mp3": "album/linked_enhanced.wav",
        "album/../song.mp3": "album/../song_enhanced.wav",
        "/dev/shm/song.mp3": "/dev/shm/song_enhanced.wav",
        "/dev/../tmp/song.mp3": "/dev/../tmp/song_enhanced.wav",
    }.items():
        assert beside(Path(source), ".WAV") == Path(wanted)
    monkeypatch.chdir("album")
    for source in (".", "./", "../album", "../album/.."):
        wanted = tmp_path if source.endswith("..") else tmp_path / "album"
        result = beside(Path(source), "wav")
        assert result.absolute().resolve() == wanted.with_name(f"{wanted.name}_enhanced")


@pytest.mark.skipif(not os.path.exists("/dev/stdin"), reason="names of Unix")
@pytest.mark.parametrize("source", ["/dev/stdin", "/tmp/../dev/stdin", "/dev/fd/0", "/proc/x", "/"])
def test_beside_a_device_is_no_place(source):
    with pytest.raises(InputError, match=r"is not in a folder of yours; name the result"):
        beside(Path(source), "flac")


def test_a_folder_with_nothing_usable_fails(model, tmp_path):
    empty, broken = tmp_path / "empty", tmp_path / "broken"
    empty.mkdir()
    broken.mkdir()
    (empty / "notes.txt").write_text("no audio")
    bad_audio("unreadable", broken / "a.wav")
    bad_audio("NaN", broken / "b.wav")
    for folder in (empty, broken):
        arguments = ("--input_path", folder, "--output_path", tmp_path / "out")
        assert folder.name in refused("enhance", *arguments, "--model_path", model)
    assert not list(tmp_path.glob("out/**/*.wav"))


def test_an_existing_output_needs_overwrite(song, model, tmp_path):
    out = tmp_path / "mine.wav"
    out.write_bytes(b"precious")
    arguments = ("--input_path", song, "--output_path", out, "--model_path", model)
    line = refused("enhance", *arguments)
    assert "mine.wav" in line
    assert "overwrite" in line
    assert out.read_bytes() == b"precious"
    assert run("enhance", *arguments, "--overwrite").exit_code == 0
    assert soundfile.info(out).frames == soundfile.info(song).frames


def test_the_input_is_never_its_own_output(song, model):
    before = song.read_bytes()
    refused(
        *("enhance", "--input_path", song, "--output_path", song),
        *("--model_path", model, "--overwrite"),
    )
    assert song.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("gone.onnx", None),
        ("gone.pth", None),
        ("text.onnx", b"no protobuf"),
        ("text.pth", b"no archive"),
        ("text.safetensors", b"no header"),
        ("text.tflite", b"no flatbuffer"),
        ("text.pt", b"no archive"),
        ("model.h5", b"another kind"),
    ],
)
def test_missing_damaged_and_unknown_models_are_refused(name, content, song, tmp_path):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    out = tmp_path / "a.wav"
    line = refused("enhance", "--input_path", song, "--output_path", out, "--model_path", path)
    assert name in line
    assert not out.exists()


def test_a_foreign_model_is_refused(song, tmp_path):
    """Valid files of their kind, but not of this network."""
    import onnx
    import torch

    torch.save({"state_dict": {"weight": torch.ones(3)}}, tmp_path / "foreign.pth")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([node], "foreign", [value], [result])
    opset = onnx.helper.make_opsetid("", 18)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset]), tmp_path / "foreign.onnx")
    for name in ("foreign.pth", "foreign.onnx"):
        out = tmp_path / "a.wav"
        arguments = ("--input_path", song, "--output_path", out)
        assert name in refused("enhance", *arguments, "--model_path", tmp_path / name)
        assert not out.exists()


def test_model_type_and_suffix_must_agree(song, model, tmp_path):
    out = tmp_path / "a.wav"
    line = refused(
        *("enhance", "--input_path", song, "--output_path", out),
        *("--model_path", model, "--model_type", "onnx"),
    )
    assert "pytorch" in line
    assert "onnx" in line


def test_ctrl_c_exits_with_130_and_leaves_nothing_half_written(model, tmp_path):
    source, out = tmp_path / "long.wav", tmp_path / "out"
    out.mkdir()
    soundfile.write(source, music(120.0), 22050)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "enhancelib", "enhance", "--input_path", source),
            *("--output_path", out / "a.wav", "--model_path", model),
        ],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
    )
    deadline = time.monotonic() + PATIENCE_S
    while not os.listdir(out) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None, "finished before it could be interrupted"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert os.listdir(out) == []


# ---------------------------------------------------------------- bad input to the others


def test_prepare_refuses_what_cannot_be(song, tmp_path):
    out = tmp_path / "pairs"
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, named in [
        (["--input_dir", tmp_path / "gone"], "gone"),
        (["--input_dir", empty], "empty"),
        (["--input_dir", song.parent, "--sample_rate", "5"], "sample_rate"),
        (["--input_dir", song.parent, "--duration", "-1"], "duration"),
        (["--input_dir", song.parent, "--duration", "nan"], "duration"),
        (["--input_dir", song.parent, "--max_files", "0"], "max_files"),
        (["--input_dir", song.parent, "--condition", "mp9-64"], "mp9-64"),
    ]:
        assert named in refused("prepare", "--output_dir", out, *arguments)
        assert not out.exists()


def test_prepare_skips_reports_and_resumes(tmp_path, caplog):
    folder, out = tmp_path / "music", tmp_path / "pairs"
    folder.mkdir()
    soundfile.write(folder / "good.wav", music(1.0), 22050)
    bad_audio("unreadable", folder / "bad.wav")
    arguments = ("prepare", "--input_dir", folder, "--output_dir", out, "--duration", "1")
    quick = ("--condition", "noise-white-20db")
    result = run(*arguments, *quick)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"1 pairs in {out / 'manifest.csv'}\n"
    assert "1 of 2 files skipped" in caplog.text
    before = snapshot(out)
    assert run(*arguments, *quick).exit_code == 0
    assert snapshot(out) == before
    line = refused(*arguments, *quick, "--seed", "1")
    assert "seed" in line
    assert "overwrite" in line
    assert snapshot(out) == before


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('{"epoch": 3}', ["epoch", "epochs", "learning_rate"]),
        ('{"epochs": 0}', ["epochs", "1"]),
        ('{"dropout": 1.5}', ["dropout", "1"]),
        ('{"learning_rate": "fast"}', ["learning_rate", "number"]),
        ('{"epochs": 3', ["JSON"]),
        ("[1, 2]", ["dictionary"]),
        ("", ["JSON"]),
    ],
)
def test_a_bad_config_is_refused_before_any_work(content, named, tmp_path, song):
    config = tmp_path / "config.json"
    config.write_text(content)
    line = refused(
        *("train", "--input_dir", song.parent, "--output_dir", tmp_path / "pairs"),
        *("--checkpoint_dir", tmp_path / "checkpoints", "--config", config),
    )
    assert all(word in line for word in ["config.json", *named]), line
    assert not (tmp_path / "pairs").exists()
    assert not (tmp_path / "checkpoints").exists()


def test_a_missing_config_is_refused(tmp_path):
    assert "gone.json" in refused("train", "--config", tmp_path / "gone.json")


def test_train_needs_music(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "data/excerpts" in refused("train")
    assert list(tmp_path.iterdir()) == []


def test_train_needs_three_pieces_and_leaves_no_trace(song, tmp_path):
    pairs, checkpoints = tmp_path / "pairs", tmp_path / "checkpoints"
    arguments = ("--input_dir", song.parent, "--output_dir", pairs, "--condition", "lossless")
    assert run("prepare", *arguments).exit_code == 0
    line = refused("train", "--output_dir", pairs, "--checkpoint_dir", checkpoints)
    assert "three files" in line
    assert not checkpoints.exists()


def test_a_training_that_diverges_says_so(tmp_path):
    folder, config = tmp_path / "music", tmp_path / "config.json"
    folder.mkdir()
    for seed in range(3):
        soundfile.write(folder / f"{seed}.wav", music(0.6, seed=seed), 22050)
    quick = ("--duration", "0.6", "--condition", "noise-white-20db", "--sample_rate", "22050")
    pairs = ("--output_dir", tmp_path / "pairs")
    assert run("prepare", "--input_dir", folder, *pairs, *quick).exit_code == 0
    config.write_text(
        '{"learning_rate": 1e30, "epochs": 2, "base_channels": 4, "depth": 2, "crop_seconds": 0.5}'
    )
    line = refused("train", *pairs, "--checkpoint_dir", tmp_path / "run", "--config", config)
    assert "learning_rate" in line


# ---------------------------------------------------------------- export and benchmark


def test_export_writes_what_is_asked_for(model, small_exports, tmp_path):
    arguments = (
        "export",
        "--model_path",
        model,
        "--output_dir",
        tmp_path,
        "--model_type",
        "torchscript",
    )
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert {p.name for p in tmp_path.iterdir()} == {"small.pt", "small.stream.pt"}
    assert len(result.stdout.splitlines()) == 2
    facts = modelfiles.open_model(tmp_path / "small.pt").metadata
    wanted = modelfiles.open_model(small_exports[0] / "small.pt").metadata
    assert facts == wanted
    before = snapshot(tmp_path)
    assert "overwrite" in refused(*arguments)
    assert snapshot(tmp_path) == before
    assert "gone.pth" in refused(
        "export", "--model_path", tmp_path / "gone.pth", "--output_dir", tmp_path / "new"
    )
    assert not (tmp_path / "new").exists()


def test_benchmark_measures_skips_and_writes_results(small_exports, tmp_path):
    good, bad = small_exports[0] / "small.stream.onnx", tmp_path / "bad.onnx"
    bad.write_bytes(b"no protobuf")
    csv = tmp_path / "results.csv"
    arguments = ("--seconds", "0.2", "--output_path", csv)
    line = refused("benchmark", "--model_path", bad, *arguments)
    assert "none of 1" in line
    assert not csv.exists()
    result = run("benchmark", "--model_path", good, "--model_path", bad, *arguments)
    assert result.exit_code == 0, result.output
    assert "skipped: " in result.stderr
    assert "bad.onnx" in result.stderr
    (row,) = [line for line in result.stdout.splitlines() if "small.stream.onnx" in line]
    table = pandas.read_csv(csv).set_index("metric")["value"]
    shown = dict(zip(result.stdout.split("\n")[0].split(), row.split(), strict=True))
    assert float(shown["latency_ms"]) == pytest.approx(table["latency_ms"], rel=0.01)
    assert float(shown["file_mb"]) == pytest.approx(good.stat().st_size / 1e6, rel=0.01)
    assert "overwrite" in refused("benchmark", "--model_path", good, *arguments)
    assert "no model files" in refused("benchmark", "--model_path", tmp_path / "gone")


def test_a_full_disk_is_one_line_and_a_bug_is_not(tmp_path, monkeypatch):
    """The error of a write that falls short names no file."""

    def fails(*rest, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(el, "prepare", fails)
    arguments = ("prepare", "--input_dir", tmp_path, "--output_dir", tmp_path / "out")
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        line = refused(*arguments)
        assert line == f"error: {os.strerror(number)}; free the disk and run the same command again"
    number = errno.EBADF
    with pytest.raises(OSError, match="Bad file"):
        run(*arguments)


def test_benchmark_on_a_gpu_says_when_it_was_not_measured(small_exports, tmp_path):
    import torch

    checkpoint, csv = small_exports[0] / "small.safetensors", tmp_path / "gpu.csv"
    arguments = ("benchmark", "--device", "cuda", "--model_path", checkpoint, "--output_path", csv)
    if torch.cuda.is_available():
        assert run(*arguments).exit_code == 0
        table = pandas.read_csv(csv)
        assert set(table["condition"]) == {"clip, cuda"}
        assert set(table["device"]) == {torch.cuda.get_device_name()}
    else:
        result = run(*arguments)
        assert result.exit_code == 1
        assert "small.safetensors, clip: not measured: no CUDA device here" in result.stderr
        assert not csv.exists()
