"""Kinds of pieces, which no mean mixes: a network may help one and harm another.

The kind of a piece stands in the tables of the project's sets (``data/devset.csv``,
``data/testset.csv``); of any other piece it is read from the name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from enhancelib.audio.writing import AUDIO_SUFFIXES
from enhancelib.errors import InputError

if TYPE_CHECKING:
    import pandas

KINDS = ("song", "recorded", "rendered", "singing", "speech")
"""Songs that people made and mixed, recorded instruments, MIDI music, singing, speech."""
OTHER = "other"
"""The kind of a piece whose name says nothing: a reader's own folder is taken for one kind."""
SETS = {"development set": "devset.csv", "test set": "testset.csv"}
"""What a table of pieces in ``data/`` is for: to choose by, or to be measured on once."""
_WORDS = {
    **{kind: kind for kind in KINDS},
    **{word: "recorded" for word in ("drums", "guitar", "sonicpi")},
    "render": "rendered",
    "voice": "speech",
}
"""First word of a name → kind."""


def kind_of(piece: str) -> str:
    """The kind that a name tells: what stands before ``__``, else its first word; or "other"."""
    before, mark, _ = piece.partition("__")
    word = before if mark else piece.split("_")[0]
    return _WORDS.get(word, OTHER)


def kinds_of(pieces: Iterable[str], *, data_dir: str | Path = "data") -> pandas.Series:
    """The kind of each piece: by the tables of :data:`SETS`, else by its name.

    Args:
        pieces: names, with or without suffix; each may come more than once.
        data_dir: where the tables lie; a missing one lists no piece.

    Returns:
        Kind by piece.
    """
    import pandas

    listed: dict[str, str] = {}
    for table in SETS.values():
        if (path := Path(data_dir) / table).exists():
            rows = pandas.read_csv(path, usecols=["path", "kind"])
            listed |= {Path(row.path).stem: row.kind for row in rows.itertuples()}
    names = dict.fromkeys(pieces)
    kinds = {name: listed.get(title(name)) or kind_of(title(name)) for name in names}
    return pandas.Series(kinds, name="kind", dtype=object)


def title(piece: object) -> str:
    """The name of a piece without the suffix of an audio file, which it may have."""
    path = PurePath(str(piece))
    return path.stem if path.suffix.lower() in AUDIO_SUFFIXES else str(piece)


def by_kind(
    results: pandas.DataFrame, *, data_dir: str | Path = "data"
) -> Iterator[tuple[str, pandas.DataFrame]]:
    """Each kind with its rows of a table that has a column piece, in the order of :data:`KINDS`."""
    kinds = results["piece"].map(kinds_of(results["piece"], data_dir=data_dir))
    for kind in (*KINDS, OTHER):
        if len(part := results[kinds == kind]):
            yield kind, part


def check_one_kind(results: pandas.DataFrame) -> None:
    """Refuse a table whose means would mix kinds.

    Raises:
        InputError: there are pieces of more than one kind.
    """
    kinds = sorted(set(kinds_of(results["piece"])) - {OTHER})
    if len(kinds) > 1:
        raise InputError(
            f"pieces of {len(kinds)} kinds ({', '.join(kinds)}) would share a mean; take one kind "
            "at a time, see el.by_kind"
        )
