"""Files that appear whole or not at all, and leave nothing beside."""

import pytest
from conftest import full_disk

from enhancelib.atomic import write_csv, write_text

ROWS = [{"a": "x" * 10_000, "b": "caf\udce9"}]


@pytest.mark.parametrize("before", [None, "old"])
def test_a_full_disk_keeps_what_was_there_and_leaves_nothing_beside(tmp_path, before):
    path = tmp_path / "a.csv"
    if before:
        path.write_text(before)
    for write in (lambda: write_text(path, "x" * 10_000), lambda: write_csv(path, "ab", ROWS)):
        with full_disk(500), pytest.raises(OSError, match="too large"):
            write()
        assert [file.read_text() for file in tmp_path.iterdir()] == ([before] if before else [])


def test_names_of_any_bytes_are_written_as_they_are(tmp_path):
    path = write_csv(tmp_path / "a.csv", ("a", "b"), ROWS)
    assert path.read_bytes() == b"a,b\n" + b"x" * 10_000 + b",caf\xe9\n"
    write_text(path, "new")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["new"]
