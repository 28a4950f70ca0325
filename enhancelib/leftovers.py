"""Hidden files while a file is being written: whose they are, and which a killed run left behind.

A process that is killed cannot tidy up after itself. So whoever writes hidden files holds a lock
beside them. The system releases it when the process ends, however it ends, and the next run removes
the files whose lock is free. A live process keeps its lock and its files.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

TOKEN = "[0-9a-f]" * 16
"""Stands, as a pattern, between the dot and the suffix of every hidden file."""

_LOCK = ".lock"


@contextlib.contextmanager
def hidden_files(folder: Path) -> Iterator[Path]:
    """Yield a hidden path beside the files of ``folder``; suffixes make it names to write to.

    Whatever bears one of these names is removed at the end.

    Args:
        folder: an existing folder.

    Raises:
        OSError: nothing can be written in the folder.
    """
    base = folder / f".{secrets.token_hex(8)}"
    with held(Path(f"{base}{_LOCK}")):
        try:
            yield base
        finally:
            _remove(base)


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
