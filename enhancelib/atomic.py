"""Write beside, then rename: a file appears when it is complete, or not at all.

What is not complete bears a hidden name. A process that is killed cannot tidy up after itself, so
whoever writes hidden files holds a lock beside them. The system releases the lock when the process
ends, however it ends, and the next run removes the files whose lock is free. A live process keeps
its lock and its files.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

#: Prefix of unfinished folders and arrays; whoever finds one later may delete it.
PARTIAL = ".partial-"
TOKEN = "[0-9a-f]" * 16
"""Stands, as a pattern, between the dot and the suffix of every hidden file."""
_LOCK = ".lock"
_TRIES = 100


_tidied: set[Path] = set()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a hidden path to write to, which becomes ``path`` if the block ends without an error.

    Its name ends with that of ``path``, suffix and all. No two processes share one. What a killed
    one left in the folder is removed the first time.

    Raises:
        OSError: nothing can be written in the folder, which must exist.
    """
    folder = path.parent
    if folder not in _tidied:
        _tidied.add(folder)
        remove_abandoned(folder)
    with hidden_files(folder) as base:
        partial = Path(f"{base}.{path.name}")
        yield partial
        partial.replace(path)


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a hidden, empty folder, which becomes ``folder`` if the block ends without an error.

    One that is there is replaced. What a killed process left is removed by the next one, so only
    one at a time may make the same folder.

    Raises:
        OSError: nothing can be written beside it.
    """
    partial = folder.with_name(f"{PARTIAL}{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: object) -> None:
    """Write JSON, indented by one."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[dict]) -> Path:
    """Write a table row by row, without the keys that are no columns.

    Names that are no valid UTF-8 keep the bytes of the file system.
    """
    with (
        replacing(path) as partial,
        open(partial, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def reserve_array(path: Path, dtype: type, shape: tuple[int, ...]) -> None:
    """Write an array of zeros (``.npy``) for which the disk has reserved its room.

    Without, a disk that fills up later ends the process that writes into the mapped array.

    Raises:
        OSError: there is no room.
    """
    import numpy as np

    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    array.flush()
    size = array.offset + array.nbytes
    del array
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)


@contextlib.contextmanager
def hidden_files(folder: Path) -> Iterator[Path]:
    """Yield a hidden path beside the files of ``folder``; suffixes make it names to write to.

    Whatever bears one of these names is removed at the end.

    Args:
        folder: an existing folder.

    Raises:
        OSError: nothing can be written in the folder.
    """
    with contextlib.ExitStack() as lock:
        base = _held_base(folder, lock)
        try:
            yield base
        finally:
            _remove(base)


def _held_base(folder: Path, lock: contextlib.ExitStack) -> Path:
    """Return a name that no process uses, and hold the lock beside it.

    A lock file is there a moment before it is locked. In between, a neighbour that tidies up may
    take it for abandoned and lock it first. Nobody else has a right to a fresh name, so another one
    is drawn.
    """
    for _ in range(_TRIES):
        base = folder / f".{secrets.token_hex(8)}"
        with contextlib.suppress(Timeout):
            lock.enter_context(held(Path(f"{base}{_LOCK}")))
            return base
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK), os.fspath(folder))


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock file, and remove it at the end.

    Raises:
        filelock.Timeout: another process holds it.
        OSError: it cannot be made there.
    """
    lock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # a file system without locks
            raise
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # before it is released: nobody may take what vanishes
            path.unlink()
        lock.release()


def remove_abandoned(folder: Path) -> None:
    """Remove the hidden files in this folder whose process is gone."""
    for lock in folder.glob(f".{TOKEN}{_LOCK}"):
        with contextlib.suppress(Timeout, OSError), held(lock):
            _remove(lock.with_suffix(""))


def _remove(base: Path) -> None:
    for path in base.parent.glob(f"{base.name}.*"):
        if path.suffix != _LOCK:
            path.unlink(missing_ok=True)
