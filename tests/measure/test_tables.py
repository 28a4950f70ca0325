"""What may be published: tables of one commit, whose code was not changed."""

import pandas
import pytest

import enhancelib as el
from enhancelib import provenance
from enhancelib.errors import InputError, ModelError
from enhancelib.model.checkpoints import checkpoint_sha256
from enhancelib.model.weights import PRETRAINED
from enhancelib.provenance import RESULT_COLUMNS
from tools.measure import devices, tables

PUBLISHED = sorted((tables.ROOT / tables.RESULTS).glob("*.csv"))
DEVICES = sorted((tables.ROOT / tables.RESULTS / "devices").glob("*.json"))
WEIGHTS = {checkpoint_sha256(file) for file in PRETRAINED.glob("*.safetensors")}


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A place that is published, and a clean commit."""
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(provenance, "commit", lambda: "c0ffee")
    return tmp_path / "results" / "p.csv"


def rows(*commits):
    return pandas.DataFrame({"bar": range(len(commits)), "commit": commits})


@pytest.mark.parametrize(
    ("commits", "message"),
    [
        (["c0ffee-dirty"], r"rows of changed code \(c0ffee-dirty\); commit the code"),
        (["c0ffee", "c0ffee-dirty"], "rows of changed code"),
        (["c0ffee", "decade"], r"rows of 2 commits \(c0ffee, decade\); measure all at one"),
    ],
)
def test_rows_that_nobody_can_measure_again_are_not_published(published, commits, message):
    with pytest.raises(InputError, match=message) as caught:
        tables.write_table(rows(*commits), published)
    assert "\n" not in str(caught.value)
    assert str(published) in str(caught.value)
    assert not published.exists()
    elsewhere = published.parents[1] / "runs" / "p.csv"
    tables.write_table(rows(*commits), elsewhere)
    assert pandas.read_csv(elsewhere)["commit"].tolist() == commits


def test_a_table_of_one_clean_commit_is_published(published):
    tables.write_table(rows("c0ffee", "c0ffee"), published)
    assert pandas.read_csv(published).equals(rows("c0ffee", "c0ffee"))
    facts = dict.fromkeys(RESULT_COLUMNS, "x") | {"commit": "c0ffee"}
    tables.write_table(
        pandas.DataFrame([facts])[list(RESULT_COLUMNS)], published.with_name("q.csv")
    )
    with pytest.raises(InputError, match="another order"):
        tables.write_table(pandas.DataFrame([facts])[list(RESULT_COLUMNS[::-1])], published)
    assert sorted(path.name for path in published.parent.iterdir()) == ["p.csv", "q.csv"]


def test_it_is_refused_before_hours_are_spent(published, monkeypatch):
    tables.check_commit(published, joined=True)  # nothing is there yet
    tables.write_table(rows("c0ffee"), published)
    tables.check_commit(published, joined=True)
    monkeypatch.setattr(provenance, "commit", lambda: "decade")
    tables.check_commit(published)  # all rows will be new
    with pytest.raises(InputError, match="rows of 2 commits"):
        tables.check_commit(published, joined=True)
    monkeypatch.setattr(provenance, "commit", lambda: "decade-dirty")
    with pytest.raises(InputError, match="rows of changed code"):
        tables.check_commit(published)


@pytest.mark.parametrize("commit", ["405198828857", "639e26762732", "012345678901"])
def test_a_commit_that_looks_like_a_number_stays_what_it_is(published, monkeypatch, commit):
    monkeypatch.setattr(provenance, "commit", lambda: commit)
    tables.write_table(rows(commit, commit), published)
    assert set(tables.read_table(published)["commit"]) == {commit}
    tables.check_commit(published, joined=True)
    tables.check_rows(tables.read_table(published), published)


def test_a_file_that_could_not_be_timed_is_not_left_out(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    benchmark = el.benchmark_files([tmp_path / "bad.onnx"], progress=False)
    with pytest.raises(ModelError, match=r"bad\.onnx"):
        tables.all_measured(benchmark)


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.name)
def test_every_published_table_could_be_written_now(path):
    tables.check_rows(tables.read_table(path), path)


@pytest.mark.parametrize(
    "path",
    [path for path in PUBLISHED if "checkpoint_sha256" in pandas.read_csv(path, nrows=0)],
    ids=lambda path: path.name,
)
def test_every_published_table_is_of_the_published_weights(path):
    measured = pandas.read_csv(path)["checkpoint_sha256"].dropna()
    assert set(measured) <= WEIGHTS


@pytest.mark.parametrize("path", DEVICES, ids=lambda path: path.name)
def test_what_our_own_browser_measured_is_of_one_commit_and_the_published_weights(path):
    """Readers' files are of the weights that they had."""
    rows = pandas.read_json(path)
    if set(rows["command"]) == {devices.COMMAND}:
        tables.check_rows(rows, path)
        assert set(rows["checkpoint_sha256"]) <= WEIGHTS
