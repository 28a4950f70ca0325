"""The columns every results table shares."""

import datetime
import json
import os
import subprocess

import pandas
import pytest

from enhancelib import provenance as prov
from enhancelib.errors import InputError


def table(**columns):
    row = dict.fromkeys(prov.RESULT_COLUMNS, "") | {"value": 0.1 + 0.2} | columns
    return pandas.DataFrame([row], columns=prov.RESULT_COLUMNS)


def test_commit_is_that_of_the_checkout():
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        assert prov.commit().startswith("v")
    else:
        assert head.stdout.startswith(prov.commit().removesuffix("-dirty"))


@pytest.fixture
def asked_anew():
    """The commit is not remembered from before this test, nor after it."""
    prov.commit.cache_clear()
    yield
    prov.commit.cache_clear()


@pytest.mark.usefixtures("asked_anew")
def test_without_git_the_version_stands_for_the_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert prov.commit() == "v0.1.0"


@pytest.mark.usefixtures("asked_anew")
@pytest.mark.parametrize("inside", [".", ".venv/lib/site-packages"])
def test_a_package_installed_inside_another_repository_has_a_version(monkeypatch, tmp_path, inside):
    """At its top it is a checkout; further down it was put there by an installer."""
    someone = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*someone, "init", "-q"], check=True)
    subprocess.run([*someone, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    module = tmp_path / inside / "enhancelib" / "provenance.py"
    module.parent.mkdir(parents=True)
    monkeypatch.setattr(prov, "__file__", str(module))
    head = subprocess.run([*someone, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    assert prov.commit() == (head[:12] if inside == "." else "v0.1.0")


@pytest.mark.usefixtures("asked_anew")
@pytest.mark.parametrize(
    ("changed", "dirty"),
    [
        ("figures/a.svg", False),
        ("notebooks/01.py", False),
        ("enhancelib/pretrained/p.md", False),
        ("enhancelib/provenance.py", True),
        ("enhancelib/new.py", True),
        ("tools/measure.py", True),
        ("requirements.lock", True),
    ],
)
def test_only_changed_code_makes_a_row_dirty(monkeypatch, tmp_path, changed, dirty):
    someone = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@example.org"]
    files = ("figures/a.svg", "notebooks/01.py", "enhancelib/pretrained/p.md", "tools/measure.py")
    for name in (*files, "enhancelib/provenance.py", "requirements.lock"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("before")
    subprocess.run([*someone, "init", "-q"], check=True)
    subprocess.run([*someone, "add", "."], check=True)
    subprocess.run([*someone, "commit", "-q", "-m", "all"], check=True)
    monkeypatch.setattr(prov, "__file__", str(tmp_path / "enhancelib" / "provenance.py"))
    (tmp_path / changed).write_text("after")
    assert prov.commit().endswith("-dirty") == dirty


def test_rows_name_device_load_and_time(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (1.234, 5.0, 9.0))
    facts = prov.provenance("make results")
    assert set(facts) < set(prov.RESULT_COLUMNS)
    assert facts["command"] == "make results"
    assert facts["device"].endswith("cores")
    assert facts["load"] == 1.23  # of the last minute
    then = datetime.datetime.fromisoformat(facts["utc"])
    assert abs((datetime.datetime.now(datetime.UTC) - then).total_seconds()) < 60


def test_a_row_has_all_columns_in_their_order():
    row = prov.result_row("a.onnx", "rtf", 0.5, "1", condition="stream", command="make results")
    assert tuple(row) == prov.RESULT_COLUMNS
    assert (row["system"], row["metric"], row["value"], row["unit"]) == ("a.onnx", "rtf", 0.5, "1")
    assert (row["piece"], row["preset"], row["seed"], row["checkpoint_sha256"]) == ("", "", 0, "")
    assert row["command"] == "make results"


def test_results_are_written_whole_and_read_back(tmp_path):
    path = prov.write_results(table(piece="a"), tmp_path / "results" / "x.csv")
    prov.write_results(table(piece="b"), path)
    back = pandas.read_csv(path)
    assert list(back.columns) == list(prov.RESULT_COLUMNS)
    assert back["piece"].tolist() == ["b"]
    assert back["value"].tolist() == [0.1 + 0.2]
    assert [file.name for file in path.parent.iterdir()] == ["x.csv"]


def test_a_table_with_other_columns_is_refused(tmp_path):
    for wrong in (table().drop(columns="commit"), table(extra=1).assign(extra=1)):
        with pytest.raises(InputError, match=r"x\.csv: not the columns"):
            prov.write_results(wrong, tmp_path / "x.csv")
    with pytest.raises(InputError, match="another order"):
        prov.write_results(table()[list(prov.RESULT_COLUMNS[::-1])], tmp_path / "x.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [
        {"device": "<script>alert(1)</script>"},
        {"system": "a&lt;b"},
        {"command": "x" * 201},
        {"device": None},
        {"device": ["list"]},
        {"seed": "<b>"},
        {"value": "<b>1</b>"},
    ],
)
def test_markup_in_a_contributed_table_is_refused(tmp_path, wrong):
    row = dict.fromkeys(prov.RESULT_COLUMNS, "plain") | {"value": 1.5, "load": 0.5, "seed": 0}
    file = tmp_path / "phone.json"
    file.write_text(json.dumps([row]))
    assert prov.device_results(tmp_path)["device"].tolist() == ["plain"]
    file.write_text(json.dumps([row, row | wrong]))
    with pytest.raises(InputError, match=r"phone\.json: no table of the device page") as caught:
        prov.device_results(tmp_path)
    assert "\n" not in str(caught.value)
    file.write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"phone\.json"):
        prov.device_results(tmp_path)


def test_a_table_of_other_weights_says_so():
    table = pandas.DataFrame({"checkpoint_sha256": ["c0ffee00" * 8, None, ""]})
    assert "are published now" in prov.weights_note(table, "c0ffee00" * 8)
    note = prov.weights_note(table, "decade00" * 8)
    assert "earlier weights (SHA-256 `c0ffee00…`)" in note
    both = pandas.concat([table, table.assign(checkpoint_sha256="decade00" * 8)])
    note = prov.weights_note(both, "decade00" * 8)
    assert note.startswith("Measured in part on the weights that are published now")
    assert "(SHA-256 `c0ffee00…`)" in note


def test_a_checkout_in_a_folder_of_any_name_has_a_commit(tmp_path, monkeypatch):
    folder = tmp_path / os.fsdecode(b"na\xefve")
    folder.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    monkeypatch.setattr(prov, "__file__", str(folder / "provenance.py"))
    assert os.fsencode(prov._git("rev-parse", "--show-toplevel")).endswith(b"na\xefve")
