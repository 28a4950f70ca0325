"""Runs over folders: names, what counts as done, two runs at once, and runs that are ended."""

import copy
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import PurePosixPath

import numpy as np
import psutil
import pytest
import soundfile
from conftest import PATIENCE_S, full_disk, interruptible
from hypothesis import given, settings
from hypothesis import strategies as st
from mutagen.flac import FLAC

from enhancelib.atomic import held, hidden_files, remove_abandoned
from enhancelib.audio.reading import load
from enhancelib.audio.writing import save
from enhancelib.enhance.folders import enhance_folder
from enhancelib.enhance.ledger import NAME, choose_names
from enhancelib.errors import ConfigError, InputError, printable
from enhancelib.model.network import AudioUNet
from enhancelib.model.weights import PRETRAINED

RATE = 22050
POSIX = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and names")


@pytest.fixture(scope="module")
def model(small_model, tmp_path_factory):
    return small_model.save(tmp_path_factory.mktemp("model") / "small.safetensors")


@pytest.fixture
def light_model():
    """A file for processes of their own: their runtime starts in a fraction of PyTorch's time."""
    return PRETRAINED / "seed-22k.stream.onnx"


def noise(seconds: float = 0.1, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((1, round(seconds * RATE)))).astype(np.float32)


def outputs(folder) -> list[str]:
    """All files in it, hidden ones too, without the ledger."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(set(found) - {NAME})


# ---------------------------------------------------------------- names


def test_every_input_has_an_output_of_its_own_which_keeps_its_name(model, tmp_path):
    source, goal = tmp_path / "in", tmp_path / "out"
    run = {"model": model, "n_jobs": 1}
    save(source / "a.mp3", noise(), sample_rate=RATE)
    assert len(enhance_folder(source, goal, **run).done) == 1
    assert outputs(goal) == ["a.flac"]
    for name in ("a.flac", "a.ogg", "a.mp3.flac"):
        save(source / name, noise(), sample_rate=RATE)
    report = enhance_folder(source, goal, **run)
    assert (len(report.done), len(report.resumed), report.skipped) == (3, 1, ())
    assert outputs(goal) == ["a.flac", "a.flac.flac", "a.mp3.flac", "a.ogg.flac"]
    assert len(enhance_folder(source, goal, overwrite=True, **run).done) == 4
    assert len(outputs(goal)) == 4


def test_inputs_that_wish_for_one_name_from_the_start(model, tmp_path):
    source, goal = tmp_path / "in", tmp_path / "out"
    for name in ("a.flac", "a.mp3", "a.mp3.flac"):
        save(source / name, noise(), sample_rate=RATE)
    assert len(enhance_folder(source, goal, model=model, n_jobs=1).done) == 3
    assert outputs(goal) == ["a.flac.flac", "a.mp3.2.flac", "a.mp3.flac"]


NAMES = st.dictionaries(
    st.from_regex(r"(d/)?[aA]b?(\.mp3|\.FLAC)?\.(mp3|flac)", fullmatch=True),
    st.sampled_from(["a.flac", "A.flac", "a.mp3.flac", "ab.wav"]),
)


@settings(deadline=None)
@given(wanted=NAMES, data=st.data(), fold=st.booleans())
def test_no_two_outputs_meet(wanted, data, fold):
    known = data.draw(st.lists(st.sampled_from(sorted(wanted)), unique=True)) if wanted else []
    given_names = choose_names({key: wanted[key] for key in known}, {}, fold=fold)
    names = given_names | choose_names(wanted, given_names, fold=fold)
    places = [str(PurePosixPath(key).with_name(name)) for key, name in names.items()]
    places = [place.casefold() for place in places] if fold else places
    assert names.keys() == wanted.keys()
    assert len(set(places)) == len(wanted)
    for key, name in names.items():
        assert PurePosixPath(name).suffix == PurePosixPath(wanted[key]).suffix


def test_names_that_differ_in_case_or_accents_only_are_kept_where_the_folder_holds_both():
    wanted = {"A.mp3": "A.flac", "a.ogg": "a.flac", "\xe9.ogg": "\xe9.flac"}
    wanted["e\u0301.mp3"] = "e\u0301.flac"
    assert choose_names(wanted, {}, fold=False) == wanted
    assert sorted(choose_names(wanted, {}, fold=True).values()) == [
        "A.mp3.flac",
        "a.ogg.flac",
        "e\u0301.mp3.flac",
        "\xe9.ogg.flac",
    ]


@POSIX
def test_a_name_that_is_no_unicode_is_remembered(model, tmp_path):
    source, goal = tmp_path / "in", tmp_path / "out"
    save(source / os.fsdecode(b"caf\xe9.wav"), noise(), sample_rate=RATE)
    assert len(enhance_folder(source, goal, model=model, n_jobs=1).done) == 1
    assert len(enhance_folder(source, goal, model=model, n_jobs=1).resumed) == 1


def test_an_input_folder_that_may_not_be_opened_is_named_and_nothing_made(
    model, tmp_path, monkeypatch
):
    source, goal = tmp_path / "in", tmp_path / "out"
    save(source / "a.wav", noise(), sample_rate=RATE)
    scan = os.scandir

    def barred(path="."):
        if os.fspath(path) == os.fspath(source):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", barred)  # the tests may run as root, who may open all
    with pytest.raises(InputError) as caught:
        enhance_folder(source, goal, model=model, n_jobs=1)
    assert str(caught.value) == (
        f"{source}: cannot be read (Permission denied); change its mode or owner, or name another "
        "folder"
    )
    assert not goal.exists()


# ---------------------------------------------------------------- what counts as done


def test_a_changed_input_is_done_again(model, tmp_path):
    source, goal = tmp_path / "in", tmp_path / "out"
    run = {"model": model, "n_jobs": 1}
    for name in ("a.wav", "b.wav"):
        save(source / name, noise(), sample_rate=RATE)
    enhance_folder(source, goal, **run)
    save(source / "a.wav", noise(seed=1), sample_rate=RATE, overwrite=True)
    report = enhance_folder(source, goal, **run)
    assert [file.path.name for file in report.done] == ["a.wav"]
    assert [path.name for path in report.resumed] == ["b.wav"]
    assert np.abs(load(goal / "a.wav")[0] - load(goal / "b.wav")[0]).max() > 0.01
    (source / "a.wav").write_bytes(b"RIFF nothing")
    report = enhance_folder(source, goal, **run)
    assert [path.name for path, _ in report.skipped] == ["a.wav"]
    assert (goal / "a.wav").exists(), "what was made before stays"


def test_what_an_interrupted_overwriting_left_is_not_done(model, tmp_path, monkeypatch):
    source, goal = tmp_path / "in", tmp_path / "out"
    for name in ("a.wav", "b.wav", "c.wav"):
        save(source / name, noise(), sample_rate=RATE)
    enhance_folder(source, goal, model=model, n_jobs=1)
    changed = {"model": model, "n_jobs": 1, "limit": True}
    from enhancelib.enhance import folders

    work = folders.enhance_file

    def interrupted(path, *rest, **options):
        if path.name == "b.wav":
            raise KeyboardInterrupt
        return work(path, *rest, **options)

    monkeypatch.setattr(folders, "enhance_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        enhance_folder(source, goal, overwrite=True, **changed)
    monkeypatch.undo()
    report = enhance_folder(source, goal, **changed)
    assert [file.path.name for file in report.done] == ["b.wav", "c.wav"]


def test_a_file_of_the_users_is_never_replaced_unasked(model, tmp_path):
    source, goal = tmp_path / "in", tmp_path / "out"
    run = {"model": model, "n_jobs": 1}
    save(source / "a.wav", noise(), sample_rate=RATE)
    enhance_folder(source, goal, **run)
    save(source / "b.wav", noise(), sample_rate=RATE)
    own = save(goal / "b.wav", noise(0.01), sample_rate=RATE)
    with pytest.raises(InputError, match=r"b\.wav: exists, and no run made it"):
        enhance_folder(source, goal, **run)
    assert soundfile.info(own).duration == pytest.approx(0.01, abs=1e-3)


def test_the_ledger_of_an_earlier_version_is_taken_over(model, tmp_path):
    source, goal = tmp_path / "in", tmp_path / "out"
    run = {"model": model, "n_jobs": 1}
    for name in ("a.wav", "b.wav"):
        save(source / name, noise(), sample_rate=RATE)
    enhance_folder(source, goal, **run)
    stored = json.loads((goal / NAME).read_text())
    del stored["files"]
    (goal / NAME).write_text(json.dumps(stored))
    (goal / "b.wav").unlink()
    report = enhance_folder(source, goal, **run)
    assert [file.path.name for file in report.done] == ["b.wav"]
    assert [path.name for path in report.resumed] == ["a.wav"]


@pytest.mark.parametrize("name", ["../a.wav", "/tmp/a.wav", "..", "", 3, None, "b\\a.wav"])
def test_a_ledger_that_names_other_folders_is_refused(model, tmp_path, name):
    source, goal = tmp_path / "in", tmp_path / "out"
    save(source / "a.wav", noise(), sample_rate=RATE)
    enhance_folder(source, goal, model=model, n_jobs=1)
    stored = json.loads((goal / NAME).read_text())
    stored["files"]["a.wav"]["output"] = name
    (goal / NAME).write_text(json.dumps(stored))
    with pytest.raises(ConfigError, match=r"enhanced\.json: cannot be read"):
        enhance_folder(source, goal, model=model, n_jobs=1)


@POSIX
def test_a_pipe_and_a_device_are_skipped_with_a_reason(model, tmp_path):
    source, goal = tmp_path / "in", tmp_path / "out"
    save(source / "a.wav", noise(), sample_rate=RATE)
    os.mkfifo(source / "pipe.wav")
    (source / "zero.wav").symlink_to("/dev/zero")
    report = enhance_folder(source, goal, model=model, n_jobs=1)
    assert len(report.done) == 1
    assert [path.name for path, _ in report.skipped] == ["pipe.wav", "zero.wav"]
    assert all("is a pipe or a device" in reason for _, reason in report.skipped)
    with pytest.raises(InputError, match="is a pipe or a device"):
        load(source / "pipe.wav")


# ---------------------------------------------------------------- two at once, and ends


def test_a_second_run_at_the_same_time_is_refused(model, tmp_path):
    source, goal = tmp_path / "in", tmp_path / "out"
    save(source / "a.wav", noise(), sample_rate=RATE)
    enhance_folder(source, goal, model=model, n_jobs=1)
    with held(goal / ".enhanced.lock"), pytest.raises(ConfigError, match="another run"):
        enhance_folder(source, goal, model=model, n_jobs=1)
    assert len(enhance_folder(source, goal, model=model, n_jobs=1).resumed) == 1
    assert outputs(goal) == ["a.wav"]


def test_only_what_nobody_writes_is_removed(tmp_path):
    (tmp_path / ".0123456789abcdef.lock").touch()
    (tmp_path / ".0123456789abcdef.part").touch()
    (tmp_path / ".0123456789abcdef.flac").touch()
    (tmp_path / ".hidden").touch()
    with hidden_files(tmp_path) as base:
        mine = base.with_name(f"{base.name}.part")
        mine.touch()
        remove_abandoned(tmp_path)
        assert mine.exists()
        assert len(list(tmp_path.iterdir())) == 3
    assert [path.name for path in tmp_path.iterdir()] == [".hidden"]


def test_a_folder_run_leaves_alone_what_another_process_writes_in_its_folder(model, tmp_path):
    source, goal = tmp_path / "in", tmp_path / "out"
    save(source / "a.wav", noise(), sample_rate=RATE)
    code = "import sys; from enhancelib import audio; import numpy as np\n"
    code += "with audio.writer(sys.argv[1], sample_rate=22050, channels=1) as file:\n"
    code += "    file.write(np.ones((1, 9), np.float32)); print(flush=True); input()\n"
    other = subprocess.Popen(
        [sys.executable, "-c", code, goal / "deeper" / "b.wav"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "\n"  # it has begun
    (goal / "deeper" / ".0123456789abcdef.part").touch()  # of an earlier version that was killed
    assert len(enhance_folder(source, goal, model=model, n_jobs=1).done) == 1
    other.communicate("\n")
    assert other.returncode == 0
    assert outputs(goal) == ["a.wav", "deeper/b.wav"]


def start(model, source, goal) -> subprocess.Popen:
    """Begin `enhancelib enhance`, and wait until it writes."""
    folder = goal if goal.suffix == "" else goal.parent
    before = set(folder.glob(".*.part"))
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "enhancelib", "enhance", "--input_path", source),
            *("--output_path", goal, "--model_path", model),
        ],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
        start_new_session=True,
    )
    deadline = time.monotonic() + PATIENCE_S
    while not set(folder.glob(".*.part")) - before and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    return process


def of_session(session: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def left_of(session: int) -> list[psutil.Process]:
    """Processes of a session that do not end."""
    deadline = time.monotonic() + PATIENCE_S
    while (left := of_session(session)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in left:
        process.kill()
    return left


@pytest.fixture(scope="module")
def long_music(tmp_path_factory):
    """Two files of ten minutes, which take a while."""
    folder = tmp_path_factory.mktemp("long")
    for name in ("a.wav", "b.wav"):
        soundfile.write(folder / name, np.tile(noise(10)[0], 60), RATE)
    return folder


@POSIX
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("send", [os.kill, os.killpg])
def test_a_run_that_is_asked_to_end_leaves_no_process_and_no_file(
    light_model, long_music, tmp_path, number, send
):
    """A terminal sends the signal to the workers and to what joblib starts, too."""
    process = start(light_model, long_music, tmp_path / "out")
    send(process.pid, number)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + number
    if number != signal.SIGINT:
        assert f"error: stopped by {signal.Signals(number).name}" in errors
    assert not [word for word in ("Traceback", "resource_tracker") if word in errors], errors
    assert left_of(process.pid) == []
    assert outputs(tmp_path / "out") == []  # none went on to the end of its file


@POSIX
def test_the_workers_of_a_killed_run_end_and_the_next_run_tidies_up(
    light_model, long_music, tmp_path
):
    goal = tmp_path / "out"
    process = start(light_model, long_music, goal)
    process.kill()
    process.wait()
    assert left_of(process.pid) == []
    assert [name for name in outputs(goal) if not name.startswith(".")] == []
    process.stderr.close()
    process = start(light_model, long_music, goal)
    process.terminate()
    process.communicate(timeout=PATIENCE_S)
    assert [name for name in outputs(goal) if name.startswith(".")] == []


@POSIX
def test_one_file_that_was_killed_is_tidied_up_by_the_next(light_model, long_music, tmp_path):
    process = start(light_model, long_music / "a.wav", tmp_path / "a.flac")
    process.kill()
    process.communicate()
    assert outputs(tmp_path) != []
    process = start(light_model, long_music / "a.wav", tmp_path / "a.flac")
    process.terminate()
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + signal.SIGTERM
    assert outputs(tmp_path) == []


# ---------------------------------------------------------------- a full disk

FULL = """
import os, pathlib, resource, signal, sys
from enhancelib.errors import InputError
from enhancelib.enhance.files import enhance_file
from enhancelib.enhance.modelfiles import open_stream

model, source, folder = open_stream(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for suffix in (".ogg", ".mp3", ".flac", ".wav", ".aiff"):
    whole = enhance_file(source, folder / f"whole{suffix}", model=model).path.stat().st_size
    for missing in (1, 200, 5000, 30_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (whole - missing, -1))
        try:
            enhance_file(source, folder / f"part{suffix}", model=model)
            print("written", suffix, missing)
        except InputError as error:
            if not str(error).startswith(f"{folder}/part{suffix}: cannot be written"):
                print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
print(sorted(os.listdir(folder)))
"""


@POSIX
@pytest.mark.parametrize("tagged", [False, True])
def test_a_disk_that_fills_up_at_any_point_is_an_error_and_leaves_nothing(
    light_model, tmp_path, tagged
):
    """A file size limit stands in for the full disk: the writes fall short in the same way."""
    source = save(tmp_path / "a.flac", noise(4), sample_rate=RATE)
    if tagged:
        tags = FLAC(source)
        tags["title"], tags["lyrics"] = "Fills up", "la " * 20_000
        tags.save()
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-c", FULL, light_model, source, tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    names = [f"whole{suffix}" for suffix in (".aiff", ".flac", ".mp3", ".ogg", ".wav")]
    assert done.stdout == f"{names}\n"


def test_a_disk_without_room_for_the_ledger_is_named_and_leaves_nothing(model, tmp_path):
    source, goal = tmp_path / "in", tmp_path / "out"
    save(source / "a.wav", noise(), sample_rate=RATE)
    with full_disk(10), pytest.raises(InputError, match=r"enhanced\.json: cannot be written"):
        enhance_folder(source, goal, model=model, n_jobs=1)
    assert list(goal.iterdir()) == []
    assert len(enhance_folder(source, goal, model=model, n_jobs=1).done) == 1


# ---------------------------------------------------------------- the summary


def test_the_summary_says_how_much_was_filled_and_what_was_left_as_it_was(
    small_model, model, tmp_path
):
    source = tmp_path / "in"
    for seed, name in enumerate(("a.wav", "b.wav", "c.flac")):
        save(source / name, noise(0.5, seed), sample_rate=RATE)
    (source / "d.wav").write_bytes(b"RIFF nothing")
    report = enhance_folder(source, tmp_path / "out", model=model, n_jobs=1)
    for file in report.done:
        before = load(source / file.path.name)[0]
        added = load(file.path)[0] - before
        level = 10 * np.log10(np.sum(added**2) / np.sum(before**2))
        assert file.filled_db == pytest.approx(level, abs=0.05)
    levels = sorted(file.filled_db for file in report.done)
    assert report.summary() == (
        f"3 enhanced, 0 done earlier, 1 skipped; what was filled in is {levels[1]:.0f} dB of the "
        f"sound, from {levels[0]:.0f} to {levels[2]:.0f}"
    )
    # Untrained and without a fill, a network adds nothing.
    still = AudioUNet(**small_model.config.model_dump() | {"fill": None})
    report = enhance_folder(
        source, tmp_path / "still", model=still.save(tmp_path / "still.safetensors"), n_jobs=1
    )
    assert [path.name for path in report.unchanged] == ["a.wav", "b.wav", "c.flac"]
    assert report.summary().endswith("1 skipped; 3 left as they were: nothing was lost in them")
    none = enhance_folder(source, tmp_path / "none", model=model, n_jobs=1, amount=0)
    assert none.summary() == "3 enhanced, 0 done earlier, 1 skipped"  # nothing was asked for


def test_a_model_with_a_foreign_suffix_is_opened_by_its_type(light_model, tmp_path):
    save(tmp_path / "in" / "a.wav", noise(0.5), sample_rate=RATE)
    path = tmp_path / "net.bin"
    path.write_bytes(light_model.read_bytes())
    report = enhance_folder(
        tmp_path / "in", tmp_path / "out", model=path, model_type="onnx", n_jobs=1
    )
    assert [done.path.name for done in report.done] == ["a.wav"]


def test_a_model_replaced_at_its_path_is_opened_anew(small_model, tmp_path):
    source = tmp_path / "in"
    save(source / "a.wav", noise(0.5), sample_rate=RATE)
    path = small_model.save(tmp_path / "model.safetensors")
    first = enhance_folder(source, tmp_path / "1", model=path, n_jobs=1)
    other = copy.deepcopy(small_model)
    for values in other.core.head.parameters():
        values.data.mul_(3)
    other.save(path, overwrite=True)
    second = enhance_folder(source, tmp_path / "2", model=path, n_jobs=1)
    assert first.done[0].filled_db != pytest.approx(second.done[0].filled_db, abs=0.1)


# ---------------------------------------------------------------- what is printed


@POSIX
@pytest.mark.parametrize(
    "name", ["\x1b]0;title\x07a", "two\nlines\ttab", "\u202egnp.flac", "\x9b2J"]
)
def test_no_name_steers_the_terminal(light_model, tmp_path, name):
    source = tmp_path / "in"
    save(source / f"{name}.wav", noise(), sample_rate=RATE)
    (source / f"{name}bad.wav").write_bytes(b"RIFF nothing")
    for arguments in [(source, "out"), (source / f"{name}.wav", "o.ogg"), (source / "\x1bno", "x")]:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "enhancelib", "enhance", "--model_path", light_model),
                *("--input_path", arguments[0], "--output_path", tmp_path / arguments[1]),
            ],
            capture_output=True,
            encoding="utf-8",
        )
        assert "Traceback" not in done.stderr
        for line in (done.stdout + done.stderr.replace("\r", "\n")).splitlines():
            assert printable(line) == line
            assert not line.startswith("lines")


@pytest.mark.parametrize("coding", ["utf-8", "ascii", "latin-1"])
@POSIX
def test_a_name_that_the_terminal_cannot_show_does_not_end_the_run(light_model, tmp_path, coding):
    source = tmp_path / "in"
    save(source / os.fsdecode(b"caf\xe9 \xe2\x82\xac.wav"), noise(), sample_rate=RATE)
    (tmp_path / "out").mkdir()
    for goal in ("out", "folder"):
        given = next(source.iterdir()) if goal == "out" else source
        done = subprocess.run(
            [
                *(sys.executable, "-m", "enhancelib", "enhance", "--model_path", light_model),
                *("--input_path", given, "--output_path", tmp_path / goal),
            ],
            capture_output=True,
            env=os.environ | {"PYTHONIOENCODING": coding},
        )
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
        assert b"1 enhanced" in done.stdout or b"s enhanced" in done.stdout
