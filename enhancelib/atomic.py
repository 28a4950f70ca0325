"""Write beside, then rename: a file appears when it is complete, or not at all."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

#: Prefix of everything unfinished; whoever finds it later may delete it.
PARTIAL = ".partial-"


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    partial = _beside(path)
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[dict]) -> Path:
    """Write a table row by row; names that are no valid UTF-8 keep the bytes of the file system."""
    partial = _beside(path)
    with open(partial, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)
    return path


def _beside(path: Path) -> Path:
    """A name of this process's own, so that two runs never write to one file."""
    return path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
