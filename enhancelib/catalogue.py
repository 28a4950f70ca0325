"""Which audio files a folder holds, where each comes from, and which split it belongs to.

A *piece* is one audio file. Pieces that share material (takes of one instrument, tracks of one
album) form a *group*; a group lies in one split as a whole, so nothing heard in training returns in
validation or test. The rules, first match wins:

1. a catalogue beside the audio (``index.csv`` or ``manifest.csv`` with a ``path`` column) names the
   ``split`` of the file;
2. a top-level folder called ``train``, ``validation``/``valid`` or ``test`` is the split. This is
   the layout of MUSDB18-HQ, of whose track folders only ``mixture.wav`` is taken; when no folder is
   called validation, part of ``train`` becomes it;
3. a hash of the group's name decides, at the rates of :data:`SHARES`. The group is the catalogue's
   ``group``, else the file's folder when the audio lies in three folders or more, else the file.

Where hashing leaves a split empty, the group nearest to it in hash order moves there, per source of
a catalogue and then over all, as far as there are groups enough: train first, then validation, then
test. A file's split depends neither on the machine nor on the order of listing, nor on how many
files are taken.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from enhancelib import audio
from enhancelib.errors import InputError

SPLITS = ("train", "validation", "test")
SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}
CATALOGUES = ("index.csv", "manifest.csv")
_FOLDER_SPLITS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "test": "test",
}


@dataclasses.dataclass(frozen=True)
class Piece:
    """One audio file: its name (path relative to the folder), origin, licence, group and split."""

    path: Path
    name: str
    source: str
    licence: str
    group: str
    split: str

    @property
    def folder(self) -> str:
        """A folder name for this piece: readable, safe on any file system, and unique."""
        readable = re.sub(r"[^A-Za-z0-9._-]+", "_", os.path.splitext(self.name)[0])[-60:]
        return f"{readable.strip('._') or 'piece'}-{_digest(self.name)[:8]}"


def list_pieces(input_path: str | Path) -> list[Piece]:
    """Every audio file of a folder (or the one file), with its group and split, sorted by name.

    Raises:
        InputError: Nothing there, or a catalogue with an unknown split.
    """
    input_path = Path(input_path)
    root = input_path if input_path.is_dir() else input_path.parent
    paths = _without_stems(audio.find_audio(input_path))
    catalogue = _read_catalogue(root)
    in_folders = len({path.parent for path in paths}) >= 3
    pieces = []
    for path in paths:
        name = path.relative_to(root).as_posix()
        entry = catalogue.get(name, {})
        folder = path.relative_to(root).parent.as_posix()
        pieces.append(
            Piece(
                path=path,
                name=name,
                source=entry.get("source") or folder.split("/")[0],
                licence=entry.get("licence") or "unknown",
                group=entry.get("group") or (folder if in_folders else name),
                split=entry.get("split") or _FOLDER_SPLITS.get(folder.split("/")[0].lower(), ""),
            )
        )
    strata = {piece.group: piece.source if piece.name in catalogue else "" for piece in pieces}
    fixed = {piece.group: piece.split for piece in pieces if piece.split}
    for piece in pieces:
        if piece.split != fixed.get(piece.group, ""):
            raise InputError(
                f"{root}: {piece.name} is in split {piece.split or '(none)'}, but others of its "
                f"group {piece.group!r} are in {fixed[piece.group]}: a group belongs to one split"
            )
    splits = assign_splits(strata, fixed)
    return [dataclasses.replace(piece, split=splits[piece.group]) for piece in pieces]


def assign_splits(strata: dict[str, str], fixed: dict[str, str] | None = None) -> dict[str, str]:
    """The split of every group, from a hash of its name, with no split left empty needlessly.

    Args:
        strata: Group → stratum (its source). Each stratum of three groups or more gets a group in
            every split.
        fixed: Group → split, for groups whose split is given. Only given training groups may be
            moved, and only to validation when that is empty: the common case of a data set that
            comes in the halves train and test.

    Returns:
        Group → ``"train"``, ``"validation"`` or ``"test"``.
    """
    fixed = fixed or {}
    splits = {group: fixed.get(group) or _hashed_split(group) for group in strata}
    free = [group for group in strata if group not in fixed]
    by_stratum = defaultdict(list)
    for group in free:
        by_stratum[strata[group]].append(group)
    for members in by_stratum.values():
        if len(members) >= len(SPLITS):
            _fill_empty(splits, members, members)
    if "test" in fixed.values() and "validation" not in splits.values():
        for group in fixed:
            if splits[group] == "train" and _hashed_split(group) == "validation":
                splits[group] = "validation"
    _fill_empty(splits, free or [group for group in fixed if fixed[group] != "test"], list(strata))
    return splits


def take(pieces: Sequence[Piece], max_files: int | None) -> list[Piece]:
    """At most ``max_files`` pieces that still cover every split and source as far as they can.

    Within each split the sources take turns, in hash order; the splits are filled at the rates of
    :data:`SHARES`, none left out while it has a piece and there is room. Sorted by name.

    Raises:
        InputError: ``max_files`` is less than one.
    """
    if max_files is None:
        return list(pieces)
    if max_files < 1:
        raise InputError(f"max_files is {max_files}: it must be at least 1")
    queues = {
        split: _by_turns(piece for piece in pieces if piece.split == split) for split in SPLITS
    }
    taken: list[Piece] = []
    counts = dict.fromkeys(SPLITS, 0)
    while len(taken) < max_files and any(queues.values()):
        open_splits = [split for split in SPLITS if queues[split]]
        # The split that is emptiest for its share; an unvisited one comes first.
        split = min(open_splits, key=lambda name: (counts[name] > 0, counts[name] / SHARES[name]))
        taken.append(queues[split].pop(0))
        counts[split] += 1
    return sorted(taken, key=lambda piece: piece.name)


def _digest(text: str) -> str:
    """SHA-256 of a name; names that are no valid UTF-8 keep the bytes of the file system."""
    return hashlib.sha256(os.fsencode(text)).hexdigest()


def _position(group: str) -> float:
    """Where the hash puts a group on [0, 1): train first, then validation, then test."""
    return int(_digest(group)[:13], 16) / 16**13


def _hashed_split(group: str) -> str:
    position = _position(group)
    if position < SHARES["train"]:
        return "train"
    return "validation" if position < SHARES["train"] + SHARES["validation"] else "test"


def _fill_empty(splits: dict[str, str], movable: Sequence[str], members: Sequence[str]) -> None:
    """Move a group into each split that no member is in, while another split has one to spare."""
    for wanted in SPLITS:
        counts = {split: sum(splits[group] == split for group in members) for split in SPLITS}
        if counts[wanted]:
            continue
        # An earlier split is more needed than a later one, so it may take a last group from it.
        later = SPLITS[SPLITS.index(wanted) + 1 :]
        spare = [group for group in movable if counts[splits[group]] > 1 or splits[group] in later]
        if spare:
            edge = max if wanted != "train" else min
            splits[edge(spare, key=lambda group: (_position(group), group))] = wanted


def _by_turns(pieces: Iterable[Piece]) -> list[Piece]:
    """Pieces in hash order, the sources taking turns."""
    by_source: dict[str, list[Piece]] = defaultdict(list)
    for piece in sorted(pieces, key=lambda piece: _digest(piece.name)):
        by_source[piece.source].append(piece)
    turns = [
        (turn, source, piece)
        for source, members in by_source.items()
        for turn, piece in enumerate(members)
    ]
    return [piece for _, _, piece in sorted(turns, key=lambda entry: entry[:2])]


def _without_stems(paths: list[Path]) -> list[Path]:
    """Drop what lies beside a ``mixture.wav`` (MUSDB18-HQ): stems are parts of the mixture."""
    tracks = {path.parent for path in paths if path.name == "mixture.wav"}
    return [path for path in paths if path.parent not in tracks or path.name == "mixture.wav"]


def _read_catalogue(root: Path) -> dict[str, dict[str, str]]:
    """Relative path → row of the catalogue in this folder; empty when there is none."""
    for name in CATALOGUES:
        if not (root / name).is_file():
            continue
        with open(root / name, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if "path" not in (reader.fieldnames or ()):
                continue
            rows = {row["path"]: row for row in reader}
        for path, row in rows.items():
            if row.get("split") and row["split"] not in SPLITS:
                raise InputError(
                    f"{root / name}: {path} has the split {row['split']!r}; "
                    f"use {', '.join(SPLITS)} or leave it empty"
                )
        return rows
    return {}
