"""A file that libsndfile writes to and that forgets no failed write.

libsndfile reports what goes wrong in a call of ours, but not what goes wrong while it closes a
file: the last block of a FLAC or an MP3 may be missing on a full disk, and nothing says so.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any


class Sink(io.FileIO):
    """An unbuffered file; the first error of a write is kept for :meth:`check`."""

    def __init__(self, path: Path):
        super().__init__(path, "wb+")
        self._error: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write all bytes of ``data``; return how many bytes of it, fewer after an error."""
        whole = left = memoryview(data)
        try:
            while left and self._error is None:
                left = left[super().write(left) :]
        except OSError as error:  # libsndfile's callbacks may raise nothing
            self._error = error
        return len(whole) - len(left)

    def check(self) -> None:
        """Raise the first error there was.

        Raises:
            OSError: something is missing in the file.
        """
        if self._error:
            raise self._error
