"""Errors a user can act on: one line that names the file and the remedy.

The command line prints them as ``error: <message>`` and exits non-zero; every other exception is a
bug and keeps its traceback.
"""


class EnhanceError(Exception):
    """Base of all errors that :mod:`enhancelib` raises on purpose."""


class InputError(EnhanceError, ValueError):
    """Audio, an array or an argument that cannot be used."""


class ModelError(EnhanceError, ValueError):
    """A model file that is missing, damaged or of another kind."""


class ConfigError(EnhanceError, ValueError):
    """An unknown setting or an impossible value."""


class AudioWarning(UserWarning):
    """Audio that was read, though something in it is damaged, missing or was converted."""
