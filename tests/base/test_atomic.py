"""A file appears when it is complete, or not at all, whoever else writes and however it ends."""

import os
import signal
import subprocess
import sys

import pytest
from conftest import full_disk

from enhancelib import atomic

ROWS = [{"a": "x" * 10_000, "b": "caf\udce9"}]


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """As in a new process, which has tidied no folder yet."""
    monkeypatch.setattr(atomic, "_tidied", set())


def test_two_writers_of_one_file_share_no_hidden_one(tmp_path):
    path = tmp_path / "small.stream.onnx"
    (tmp_path / ".0123456789abcdef.lock").touch()  # of a process that was killed
    (tmp_path / ".0123456789abcdef.small.stream.onnx").touch()
    with atomic.replacing(path) as one:
        one.write_bytes(b"one")
        with atomic.replacing(path) as other:
            assert one != other
            other.write_bytes(b"other")
            assert other.name.endswith(".small.stream.onnx")
        assert path.read_bytes() == b"other"
    assert path.read_bytes() == b"one"
    assert [file.name for file in tmp_path.iterdir()] == ["small.stream.onnx"]


def test_a_fresh_lock_that_a_neighbour_took_costs_a_name_and_nothing_else(tmp_path, monkeypatch):
    """As where it tidies up between the making of the lock file and its locking."""
    taken, free = "0" * 16, "f" * 16
    tokens = iter([taken, taken, free])
    monkeypatch.setattr(atomic.secrets, "token_hex", lambda _: next(tokens))
    with atomic.held(tmp_path / f".{taken}.lock"):
        with atomic.hidden_files(tmp_path) as base:
            assert base == tmp_path / f".{free}"
            assert sorted(path.name[1:-5] for path in tmp_path.iterdir()) == [taken, free]
        assert [path.name for path in tmp_path.iterdir()] == [f".{taken}.lock"]
        monkeypatch.setattr(atomic.secrets, "token_hex", lambda _: taken)
        with pytest.raises(OSError, match="No locks available"), atomic.hidden_files(tmp_path):
            pass  # a file system that gives no lock at all ends it


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "facts.json"
    atomic.write_json(path, {"a": 1})
    with pytest.raises(TypeError, match="not JSON serializable"):
        atomic.write_json(path, object())
    with pytest.raises(FileNotFoundError), atomic.replacing(path):
        pass  # nothing was written
    assert path.read_text() == '{\n "a": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from enhancelib import atomic\n"
        "with atomic.replacing(Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = tmp_path / "table.csv"
    done = subprocess.run([sys.executable, "-c", code, path], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2  # the half file and its lock
    atomic.write_csv(path, ("a", "b"), [{"a": 1, "b": 2, "c": 3}])
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize("before", [None, "old"])
def test_a_full_disk_keeps_what_was_there_and_leaves_nothing_beside(tmp_path, before):
    path = tmp_path / "a.csv"
    if before:
        path.write_text(before)
    for write in (
        lambda: atomic.write_text(path, "x" * 10_000),
        lambda: atomic.write_csv(path, "ab", ROWS),
    ):
        with full_disk(500), pytest.raises(OSError, match="too large"):
            write()
        assert [file.read_text() for file in tmp_path.iterdir()] == ([before] if before else [])


def test_names_of_any_bytes_are_written_as_they_are(tmp_path):
    path = atomic.write_csv(tmp_path / "a.csv", ("a", "b"), ROWS)
    assert path.read_bytes() == b"a,b\n" + b"x" * 10_000 + b",caf\xe9\n"
    atomic.write_text(path, "new")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["new"]


def test_a_folder_appears_when_it_is_whole_and_replaces_another(tmp_path):
    folder = tmp_path / "made" / "tables"
    for content in ("old", "new"):
        with atomic.replacing_folder(folder) as partial:
            assert list(partial.iterdir()) == []
            (partial / content).touch()
            assert not (folder / content).exists()
        assert [path.name for path in folder.iterdir()] == [content]

    def half_way():
        with atomic.replacing_folder(folder) as partial:
            (partial / "half").touch()
            raise KeyError

    with pytest.raises(KeyError):
        half_way()
    assert [path.name for path in folder.iterdir()] == ["new"]
    left = folder.with_name(".partial-tables")  # by a process that was killed
    left.mkdir()
    (left / "half").touch()
    with atomic.replacing_folder(folder) as partial:
        (partial / "whole").touch()
    assert [path.name for path in folder.iterdir()] == ["whole"]
    assert [path.name for path in folder.parent.iterdir()] == ["tables"]
