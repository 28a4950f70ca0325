"""Where a measured number comes from: the columns every results table shares, and how to fill them.

A results table is tidy: one row per value, the columns of :data:`RESULT_COLUMNS`. So any figure in
the book leads to a row, and a row to the code, the weights and the machine that made it.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from enhancelib.atomic import replacing
from enhancelib.errors import InputError, printable

if TYPE_CHECKING:
    import pandas

RESULT_COLUMNS = (
    "piece",
    "condition",
    "system",
    "preset",
    "metric",
    "value",
    "unit",
    "seed",
    "commit",
    "checkpoint_sha256",
    "device",
    "load",
    "command",
    "utc",
)
"""The columns of every table in ``data/results`` and ``run_dir/results``, in this order."""

UNTREATED = "untreated"
"""The system that does nothing: every table that compares systems holds it."""
CODE = (":/enhancelib", ":/tools", ":/requirements.lock", ":(top,exclude)enhancelib/pretrained")
"""What git is asked about: all that decides a value, but weights, which rows name by their hash."""

_MARKUP = re.compile(r"[<>&\"`\x00-\x1f\x7f]")
_LONGEST_TEXT = 200


def weights_note(table: pandas.DataFrame, checkpoint_sha256: str) -> str:
    """One sentence for the reader of a table: whether it was measured on these weights.

    Args:
        table: results with a column ``checkpoint_sha256``; rows of the untreated audio have none.
        checkpoint_sha256: of the weights that are published now.
    """
    measured = sorted(set(table["checkpoint_sha256"].dropna()) - {"", checkpoint_sha256})
    if not measured:
        return "Measured on the weights that are published now."
    hashes = ", ".join(f"`{each[:8]}…`" for each in measured)
    if checkpoint_sha256 in set(table["checkpoint_sha256"]):
        return (
            "Measured in part on the weights that are published now, in part on earlier ones "
            f"(SHA-256 {hashes})."
        )
    return f"Measured on earlier weights (SHA-256 {hashes}), not yet on those published now."


def result_row(
    system: str,
    metric: str,
    value: float,
    unit: str,
    *,
    condition: str,
    command: str,
    piece: str = "",
    preset: str = "",
    seed: int = 0,
    checkpoint_sha256: str = "",
    facts: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Return a value as a row of results, in the order of :data:`RESULT_COLUMNS`.

    Args:
        system: whose output was measured, ``untreated`` or a file's name.
        metric: what was measured.
        value: in ``unit``.
        unit: of the value.
        condition: under which it was measured.
        command: what a reader runs to measure it again.
        piece: of music or speech; empty where it does not depend on one.
        preset: of the weights; empty where there are none.
        seed: of all that was drawn by chance.
        checkpoint_sha256: of the weights; empty where there are none.
        facts: of :func:`provenance`, where a run asks once for all its rows or a row was measured
            at another time; ``None``: those of this moment.
    """
    columns = {
        "piece": piece,
        "condition": condition,
        "system": system,
        "preset": preset,
        "metric": metric,
        "value": value,
        "unit": unit,
        "seed": seed,
        "checkpoint_sha256": checkpoint_sha256,
        **(provenance(command) if facts is None else facts),
        "command": command,
    }
    return {name: columns[name] for name in RESULT_COLUMNS}


def provenance(command: str) -> dict[str, str | float]:
    """The columns of a row that do not depend on what was measured.

    Args:
        command: what a reader runs to measure it again, such as ``make results``.

    Returns:
        ``commit`` (see :func:`commit`), ``device`` (processor and number of cores), ``load`` (of
        the last minute, in running processes; NaN where the system does not say), ``command``, and
        ``utc`` (ISO 8601, to the second).
    """
    return {
        "commit": commit(),
        "device": device(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else float("nan"),
        "command": command,
        "utc": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


@lru_cache(maxsize=1)
def commit() -> str:
    """The commit of this checkout; of an installed package, which has none, its version.

    ``-dirty`` stands behind it where :data:`CODE` differs from that commit. Figures, notebooks and
    tables may differ: no value depends on them.
    """
    try:
        # An installed package may lie inside somebody else's repository.
        if Path(_git("rev-parse", "--show-toplevel")).samefile(Path(__file__).parents[1]):
            changed = _git("status", "--porcelain", "--", *CODE)
            return _git("rev-parse", "--short=12", "HEAD") + "-dirty" * bool(changed)
    except (OSError, subprocess.SubprocessError):
        pass
    from enhancelib import __version__

    return f"v{__version__}"


def _git(*arguments: str) -> str:
    """What git says of the folder of this file."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        errors="surrogateescape",  # a folder's name may be in any encoding
        check=True,
        timeout=10,
    )
    return done.stdout.strip()


@lru_cache(maxsize=1)
def device() -> str:
    """Processor and number of usable cores, such as ``Cortex-A76, 4 cores``."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{' '.join(name.split())}, {cores} cores"


@lru_cache
def code_digest(*modules: str) -> str:
    """SHA-256 of what decides a result: the source of modules and of all that they import.

    Only this package's modules count, however deep they lie. What a module loads by name at run
    time is not seen, so name that too.

    Args:
        modules: dotted names, such as ``enhancelib.evaluate.matrix``.
    """
    digest = hashlib.sha256()
    for name, path in sorted(_closure(modules).items()):
        digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _closure(modules: Iterable[str]) -> dict[str, Path]:
    """Name → file of modules of this package and of all that they import."""
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = _source(name)
        if name in found or path is None:
            continue
        found[name] = path
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def _source(name: str) -> Path | None:
    """The file of a module of this package; None for anything else, such as a function.

    The root's ``__init__`` only says where public names are, and is the same for all.
    """
    package, *parts = name.split(".")
    if package != __package__ or not parts:
        return None
    base = Path(__file__).parent.joinpath(*parts)
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def write_results(table: pandas.DataFrame, path: str | os.PathLike) -> Path:
    """Write a results table as CSV, all at once or not at all; a table already there is replaced.

    Raises:
        InputError: the table has not the columns of :data:`RESULT_COLUMNS`.
    """
    path = Path(path)
    if list(table.columns) != list(RESULT_COLUMNS):
        odd = sorted(set(table.columns) ^ set(RESULT_COLUMNS)) or "another order"
        raise InputError(f"{path}: not the columns of a results table ({odd})")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")
    return path


def device_results(folder: str | os.PathLike = "data/results/devices") -> pandas.DataFrame:
    """What readers' devices, and the stand-ins for them, measured on the book's device page.

    Args:
        folder: of JSON files as that page offers them for download, one per device.

    Returns:
        All their rows, in the columns of :data:`RESULT_COLUMNS`.

    Raises:
        InputError: a file is no such table, markup is in it, or there is none.
    """
    import pandas

    tables = []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
            table = pandas.DataFrame(rows)[list(RESULT_COLUMNS)]
            tables.append(_plain(table.astype({"value": float, "load": float})))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{path}: no table of the device page ({error}); remove it") from None
    if not tables:
        raise InputError(f"{folder}: no measured devices; make devices measures this one")
    return pandas.concat(tables, ignore_index=True)


def _plain(table: pandas.DataFrame) -> pandas.DataFrame:
    """Return a table from a stranger, for a page that is published; its text may hold no markup.

    Raises:
        ValueError: some text does, or is none.
    """
    for column in set(table.columns) - {"value", "load", "seed"}:
        for text in table[column]:
            if not isinstance(text, str) or len(text) > _LONGEST_TEXT or _MARKUP.search(text):
                raise ValueError(f"{column} {printable(repr(text)[:40])} is no plain text")
    return table.astype({"seed": int})
