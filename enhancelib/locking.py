"""One process at a time in a folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from enhancelib.errors import ConfigError

LOCK_FILE = ".lock"
"""Stays in the folder, empty: to remove it would let two processes lock two files of one name."""


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made if it is missing, against every other process.

    The lock goes with the process that holds it, however it ends.

    Raises:
        ConfigError: another process holds the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK_FILE, timeout=0):
            yield
    except Timeout:
        raise ConfigError(
            f"{folder}: another run is writing here; wait until it ends, or name another folder"
        ) from None
