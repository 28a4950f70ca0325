"""What the commands have in common: errors as one line, signals, and text that is safe to print."""

import errno
import sys

import typer
from typer.core import TyperGroup

from enhancelib.errors import EnhanceError, StoppedError, printable
from enhancelib.signals import stopped_by_signals

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A write fails so, and the error does not say which file's."""


class OneLineErrors(TyperGroup):
    """Prints an :class:`EnhanceError` as ``error: <message>`` and exits with 1, no traceback.

    SIGTERM and SIGHUP end the command tidily, with 128 and their number.
    """

    def invoke(self, ctx: typer.Context) -> object:
        """Run the command."""
        try:
            with stopped_by_signals():
                return super().invoke(ctx)
        except StoppedError as stop:
            say(f"error: stopped by {stop.name}; run the same command again", err=True)
            raise
        except EnhanceError as error:
            message = str(error)
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
