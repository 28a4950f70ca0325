"""Tables that are published: in data/results, each of one commit whose code was not changed."""

import os
from pathlib import Path

import pandas

import enhancelib as el
from enhancelib import provenance
from enhancelib.atomic import replacing
from enhancelib.errors import InputError, ModelError
from enhancelib.provenance import RESULT_COLUMNS

ROOT = Path(__file__).parents[2]
RESULTS = Path("data/results")


def check_commit(path: str | os.PathLike, *, joined: bool = False) -> None:
    """Refuse, before hours are spent, to measure for a table that could not be written.

    Args:
        path: of the table that is to be written. Only those in :data:`RESULTS` are published.
        joined: whether rows of a table already there are to stay.

    Raises:
        InputError: the code differs from its commit, or the rows there are of another one.
    """
    commits = {provenance.commit()}
    if joined and Path(path).exists():
        commits |= set(read_table(path)["commit"])
    check_rows(pandas.DataFrame({"commit": sorted(commits)}), path)


def check_rows(table: pandas.DataFrame, path: str | os.PathLike) -> None:
    """Refuse rows that nobody could measure again.

    Args:
        table: with a column ``commit``.
        path: where it is to be written, or was read; elsewhere than in :data:`RESULTS` all may.

    Raises:
        InputError: rows of changed code, or of more than one commit.
    """
    if (ROOT / RESULTS).resolve() not in Path(path).resolve().parents:
        return
    commits = sorted(set(table["commit"].astype(str)))
    if changed := [commit for commit in commits if commit.endswith("-dirty")]:
        raise InputError(
            f"{path}: rows of changed code ({changed[0]}); commit the code and measure again"
        )
    if len(commits) > 1:
        raise InputError(
            f"{path}: rows of {len(commits)} commits ({', '.join(commits)}); measure all at one"
        )


def read_table(path: str | os.PathLike) -> pandas.DataFrame:
    """Rows to write again: a commit that looks like a number, or a piece called NA, stays text."""
    kept = dict.fromkeys(("commit", "checkpoint_sha256"), str)
    return pandas.read_csv(path, dtype=kept, keep_default_na=False, na_values=[""])


def all_measured(table: pandas.DataFrame) -> pandas.DataFrame:
    """Rows of a benchmark, of which no file may be missing.

    Args:
        table: of :func:`enhancelib.evaluate.benchmark.benchmark_files`.

    Raises:
        ModelError: a file could not be measured.
    """
    if (failed := table["status"] != "").any():
        raise ModelError(table.loc[failed, "status"].iloc[0])
    return el.benchmark_results(table)


def write_table(table: pandas.DataFrame, path: str | os.PathLike) -> Path:
    """Write a table as CSV, all at once or not at all.

    Args:
        table: with a column ``commit``. One with the columns of all results is held to their order.
        path: as in :func:`check_rows`.

    Raises:
        InputError: as :func:`check_rows`, or the columns are in another order.
    """
    path = Path(path)
    check_rows(table, path)
    if set(table.columns) == set(RESULT_COLUMNS):
        return el.write_results(table, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")
    return path
