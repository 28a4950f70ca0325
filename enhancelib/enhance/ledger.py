"""What an output folder remembers: the settings of its run, and what each output was made of.

The ledger is a JSON file in the folder. It names every output before it is made, so that a name
never changes, and notes size and time of the input afterwards, so that a changed input is done
again. One run at a time may hold it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from filelock import Timeout

from enhancelib.atomic import held, write_json
from enhancelib.audio.reading import display_name
from enhancelib.audio.writing import remove_left_overs
from enhancelib.errors import ConfigError, InputError

NAME = "enhanced.json"
"""The ledger's name in an output folder."""

_LOCK = ".enhanced.lock"
_WRITE_EVERY_S = 2.0


@dataclass
class Entry:
    """One input: the name of its output, and the input's size and time when that was made.

    An input whose output is still to be made has no ``state``.
    """

    output: str
    state: tuple[int, int] | None = None


class Ledger:
    """The ledger of an output folder, held by this run; made by :func:`open_ledger`.

    Attributes:
        entries: by path in the input folder, with ``/`` between its parts.
    """

    def __init__(self, folder: Path, settings: dict, entries: dict[str, Entry]):
        self.entries = entries
        self._path, self._settings = folder / NAME, settings
        self._written = time.monotonic()

    def note(self, key: str, state: tuple[int, int] | None) -> None:
        """Note that the output of an input in this state is there; written within seconds."""
        self.entries[key].state = state
        if time.monotonic() > self._written + _WRITE_EVERY_S:
            self.write()

    def write(self) -> None:
        """Write the ledger; the file is complete at every moment."""
        files = {key: asdict(entry) for key, entry in self.entries.items()}
        with _writing(self._path):
            write_json(self._path, self._settings | {"files": files})
        self._written = time.monotonic()


@contextlib.contextmanager
def open_ledger(
    folder: Path, settings: dict, source: Path, wanted: dict[str, str], *, overwrite: bool
) -> Iterator[Ledger]:
    """Hold the ledger of an output folder, with a name for the output of every input.

    Args:
        folder: the output folder; made where it is missing.
        settings: ``model_sha256``, ``format`` and ``limit`` of this run.
        source: the input folder.
        wanted: path of an input in ``source`` → the name that its output would like to have.
        overwrite: whether to make everything anew and replace what is there.

    Yields:
        The ledger, already written.

    Raises:
        ConfigError: another run holds the folder, it was made with other settings, or the ledger
            cannot be read.
        InputError: an output would replace a file that no run made, or the folder cannot be
            written in.
    """
    with contextlib.ExitStack() as stack:
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(held(folder / _LOCK))
            except Timeout:
                raise ConfigError(
                    f"{display_name(folder)}: another run is at work in it; wait for its end"
                ) from None
        known = _known(folder / NAME, settings, overwrite=overwrite)
        given = {key: entry.output for key, entry in (known or {}).items()}
        names = choose_names(wanted, given, fold=(folder / _LOCK.upper()).exists())
        entries = (known or {}) | {key: Entry(name) for key, name in names.items()}
        new = {key: folder / PurePosixPath(key).with_name(name) for key, name in names.items()}
        present = [key for key, place in new.items() if place.exists()]
        if overwrite:
            entries = {key: Entry(entry.output) for key, entry in entries.items()}
        elif known is None:  # of an earlier version, which named no inputs
            for key in present:
                entries[key].state = state_of(source / key)
        elif present:
            raise InputError(
                f"{display_name(new[present[0]])}: exists, and no run made it; move it away, pass "
                "overwrite or choose another folder"
            )
        remove_left_overs(folder)
        ledger = Ledger(folder, settings, entries)
        ledger.write()
        stack.callback(remove_left_overs, folder)
        stack.callback(ledger.write)
        yield ledger


def state_of(path: Path) -> tuple[int, int] | None:
    """Size in bytes and time of change in ns of a file; ``None`` where it cannot be reached."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def choose_names(wanted: dict[str, str], given: dict[str, str], *, fold: bool) -> dict[str, str]:
    """Name the outputs of new inputs, so that no two meet in one file.

    An output bears the name it would like to have, unless two inputs of one folder wish for the
    same; each of these is named after its whole input then (``a.mp3.flac``), with a number where
    that is taken too.

    Args:
        wanted: path of an input → the name its output would like to have.
        given: path of an input → the name that its output has from an earlier run.
        fold: whether the file system takes names that differ in case only for one.

    Returns:
        Path of every input that is not in ``given`` → name.
    """

    def place(key: str, name: str) -> str:
        path = str(PurePosixPath(key).with_name(name))
        return unicodedata.normalize("NFC", path).casefold() if fold else path

    taken = {place(key, name) for key, name in given.items()}
    new = {key: name for key, name in wanted.items() if key not in given}
    wishes = Counter(place(key, name) for key, name in new.items())
    free = {place for place, count in wishes.items() if count == 1} - taken
    names = {key: name for key, name in new.items() if place(key, name) in free}
    taken |= free
    for key in [key for key in new if key not in names]:
        whole, suffix = PurePosixPath(key).name, PurePosixPath(new[key]).suffix
        choices = (f"{whole}{f'.{n}' * (n > 1)}{suffix}" for n in itertools.count(1))
        names[key] = next(name for name in choices if place(key, name) not in taken)
        taken.add(place(key, names[key]))
    return names


def _known(path: Path, settings: dict, *, overwrite: bool) -> dict[str, Entry] | None:
    """The entries of a ledger, whose names are kept; ``None`` for one that names no inputs.

    Raises:
        ConfigError: it cannot be read or is of other settings, and may not be overwritten.
    """
    if not path.is_file():
        return {}
    shown = display_name(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        files = found.pop("files", None)
        entries = None if files is None else {key: _entry(facts) for key, facts in files.items()}
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        if overwrite:
            return {}
        raise ConfigError(
            f"{shown}: cannot be read ({error}); pass overwrite or choose another folder"
        ) from None
    if found != settings and not overwrite:
        raise ConfigError(
            f"{display_name(path.parent)}: was made with other settings; pass overwrite or choose "
            "another folder"
        )
    same_names = found.get("format") == settings["format"]
    return entries if same_names else {}


def _entry(facts: dict) -> Entry:
    """Read an entry back; the output of an input lies in its own folder."""
    name, state = facts["output"], facts["state"]
    if not name or name in (".", "..") or name != PurePosixPath(name).name or "\\" in name:
        raise ValueError(f"{name!r} is no name")
    return Entry(name, state and (int(state[0]), int(state[1])))


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{display_name(path)}: cannot be written ({error.strerror or error}); free the disk, "
            "or choose another folder"
        ) from None
