"""Errors a user can act on: one line that names the file and the remedy.

The command line prints them as ``error: <message>`` and exits non-zero; every other exception is a
bug and keeps its traceback.
"""

import re
import signal

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class EnhanceError(Exception):
    """Base of all errors that :mod:`enhancelib` raises on purpose."""


class InputError(EnhanceError, ValueError):
    """Audio, an array or an argument that cannot be used."""


class ModelError(EnhanceError, ValueError):
    """A model file that is missing, damaged or of another kind."""


class ConfigError(EnhanceError, ValueError):
    """An unknown setting or an impossible value."""


class StoppedError(SystemExit):
    """The system asked this process to end, by SIGTERM or SIGHUP; the exit status says by which.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__(128 + number)
        self.name = signal.Signals(number).name


class AudioWarning(UserWarning):
    """Audio that was read, though something in it is damaged, missing or was converted."""


def installs(extra: str) -> str:
    """The command that brings what the core of this package does without."""
    return f"pip install 'enhancelib[{extra}]'"


def printable(text: str) -> str:
    """Return text with an escape for every character that would steer a terminal.

    These are control characters and those that turn the direction of writing around. Tabs and line
    breaks stay: whoever prints a name escapes its own.
    """
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
