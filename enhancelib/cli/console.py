"""What the commands have in common: errors as one line, signals, and text that is safe to print."""

import errno
import os
import sys
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from enhancelib.errors import EnhanceError, InputError, StoppedError, installs, printable
from enhancelib.signals import stopped_by_signals

_EXTRA = {
    "benchmark": "evaluate",
    "export": "optimize",
    "live": "live",
    "train": "train",
}
"""Command → the extra of the package that it needs beyond the core."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A write fails so, and the error does not say which file's."""

_NO_PLACE = (Path("/dev"), Path("/proc"))
"""What lies here is no file of the user's, such as ``/dev/stdin``; nothing is put beside it."""
_IN_MEMORY = Path("/dev/shm")
"""Files of the user may lie here, though: it is a disk in memory."""


class OneLineErrors(TyperGroup):
    """Prints an :class:`EnhanceError` as ``error: <message>`` and exits with 1, no traceback.

    SIGTERM and SIGHUP end the command tidily, with 128 and their number.
    """

    def invoke(self, ctx: Any) -> object:
        """Run the command."""
        try:
            with stopped_by_signals():
                return super().invoke(ctx)
        except StoppedError as stop:
            say(f"error: stopped by {stop.name}; run the same command again", err=True)
            raise
        except EnhanceError as error:
            message = str(error)
        except ModuleNotFoundError as error:
            command = ctx.invoked_subcommand or ""
            if command not in _EXTRA or (error.name or "").startswith("enhancelib"):
                raise
            message = f"{command}: {error.name} is missing; {installs(_EXTRA[command])}"
        except OSError as error:
            if error.filename is not None:
                message = f"{error.filename}: {error.strerror}; check the path and its permissions"
            elif error.errno in _FULL:
                message = f"{error.strerror}; free the disk and run the same command again"
            else:
                raise
        say(f"error: {message}", err=True)
        raise typer.Exit(1)


def say(text: object, *, err: bool = False) -> None:
    """Print lines; whatever a name or a tag holds, the terminal shows it and obeys none of it."""
    stream = sys.stderr if err else sys.stdout
    coding = getattr(stream, "encoding", None) or "utf-8"
    safe = printable(str(text)).encode(coding, "backslashreplace").decode(coding)
    typer.echo(safe, err=err)


def beside(source: Path, format: str) -> Path:
    """Where a result goes if nobody says: ``song_enhanced.flac``, for a folder ``album_enhanced``.

    Raises:
        InputError: the source lies among the system's devices, or is the root of all folders.
    """
    named = source.resolve() if source.name in ("", "..") else source  # "." has no name
    place = named.parent.resolve()
    within = {place, *place.parents}
    if not named.name or (within & {*_NO_PLACE} and _IN_MEMORY not in within):
        raise InputError(f"{source}: is not in a folder of yours; name the result: --output_path")
    if os.path.isdir(source):  # "Vol. 1" and "Vol. 2" are two albums, not one with suffixes
        return named.with_name(f"{named.name}_enhanced")
    return named.with_name(f"{named.stem}_enhanced.{format.lower().lstrip('.')}")
