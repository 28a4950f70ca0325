"""Write beside, then rename: a file appears when it is complete, or not at all."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

#: Prefix of everything unfinished; whoever finds it later may delete it.
PARTIAL = ".partial-"


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    with _beside(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[dict]) -> Path:
    """Write a table row by row; names that are no valid UTF-8 keep the bytes of the file system."""
    with (
        _beside(path) as partial,
        open(partial, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Yield a name of this process's own to write to; renamed at the end, or gone after an error.

    So two runs never write to one file.
    """
    partial = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
