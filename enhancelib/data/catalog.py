"""Which audio files a folder holds, where each comes from, and which split it belongs to.

A *piece* is one audio file. Pieces that share material (takes of one instrument, tracks of one
album) form a *group*; a group lies in one split as a whole, so nothing heard in training returns in
validation or test. The rules, first match wins:

1. a catalogue beside the audio (``index.csv`` or ``manifest.csv`` with a ``path`` column) names the
   ``split`` of the file;
2. a top-level folder called ``train``, ``validation``/``valid`` or ``test`` is the split. This is
   the layout of MUSDB18-HQ, of whose track folders only ``mixture.wav`` is taken; when no folder is
   called validation, part of ``train`` becomes it;
3. otherwise the groups, in the order of a hash of their names, fill the splits by
   :data:`HELD_OUT`. The group is the catalogue's ``group``, else the file's folder when the audio
   lies in three folders or more, else the file; so it is where the folder is that of a split.

Where a catalogue names sources, rule 3 runs per source, so that every source of three groups or
more is heard in every split. Two groups give a training and a validation split, one only training.
A file's split depends neither on the machine, nor on the order of listing, nor on how many files
are taken; it can change when files are added.
"""

from __future__ import annotations

import csv
import dataclasses
import fnmatch
import hashlib
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

from enhancelib import audio
from enhancelib.checks import check_number
from enhancelib.errors import InputError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
#: Share of the groups in validation and in test; at least one group each, rounded up.
HELD_OUT = 0.15
CATALOGUES = ("index.csv", "manifest.csv")
_FOLDER_SPLITS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "test": "test",
}


@dataclasses.dataclass(frozen=True)
class Piece:
    """One audio file: its name (path relative to the folder), origin, licence, group and split.

    The title is short, and no other file of the folder has it: the file's own name, before that of
    its folder in brackets where several share it, as all songs of MUSDB18-HQ are called *mixture*.
    """

    path: Path
    name: str
    source: str
    licence: str
    group: str
    split: str
    title: str

    @property
    def folder(self) -> str:
        """A folder name for this piece: readable, safe on any file system, and unique."""
        readable = re.sub(r"[^A-Za-z0-9._-]+", "_", os.path.splitext(self.name)[0])[-60:]
        return f"{readable.strip('._') or 'piece'}-{_digest(self.name)[:8]}"


def list_pieces(input_path: str | Path, *, leave_out: str | Path | None = None) -> list[Piece]:
    """Every audio file of a folder (or the one file), with its group and split, sorted by name.

    Args:
        input_path: a folder, searched with all its subfolders, or one file.
        leave_out: a folder to ignore, such as one for results that lies inside the input.

    Raises:
        InputError: nothing there, or a catalogue with an unknown split or of another format.
    """
    input_path = Path(input_path)
    root = input_path if os.path.isdir(input_path) else input_path.parent
    paths = _without_stems(audio.find_audio(input_path))
    if leave_out is not None:
        barred = Path(leave_out).resolve()
        paths = [path for path in paths if barred not in path.resolve().parents]
    catalog = _read_catalog(root)
    in_folders = len({path.parent for path in paths}) >= 3
    titles = _titles([path.relative_to(root) for path in paths])
    pieces = []
    for path in paths:
        name = path.relative_to(root).as_posix()
        entry = catalog.get(name, {})
        folder = path.relative_to(root).parent.as_posix()
        shared = in_folders and folder.lower() not in _FOLDER_SPLITS
        pieces.append(
            Piece(
                path=path,
                name=name,
                source=entry.get("source") or folder.split("/")[0],
                licence=entry.get("licence") or "unknown",
                group=entry.get("group") or (folder if shared else name),
                split=entry.get("split") or _FOLDER_SPLITS.get(folder.split("/")[0].lower(), ""),
                title=titles[name],
            )
        )
    strata = {piece.group: piece.source if piece.name in catalog else "" for piece in pieces}
    fixed = {piece.group: piece.split for piece in pieces if piece.split}
    for piece in pieces:
        if piece.split != fixed.get(piece.group, ""):
            raise InputError(
                f"{root}: {piece.name} is in split {piece.split or '(none)'}, but others of its "
                f"group {piece.group!r} are in {fixed[piece.group]}: a group belongs to one split"
            )
    splits = assign_splits(strata, fixed)
    return [dataclasses.replace(piece, split=splits[piece.group]) for piece in pieces]


def _titles(paths: Sequence[Path]) -> dict[str, str]:
    """Name → title, as short as no other's is the same."""
    titles = {path.as_posix(): path.stem for path in paths}
    longer = (lambda path: f"{path.stem} ({path.parent.name})", lambda path: path.as_posix())
    for name in longer:
        shared = Counter(titles.values())
        for path in paths:
            if shared[titles[path.as_posix()]] > 1:
                titles[path.as_posix()] = name(path)
    return titles


def assign_splits(strata: dict[str, str], fixed: dict[str, str] | None = None) -> dict[str, str]:
    """The split of every group.

    Args:
        strata: group → stratum (its source). Each stratum of three groups or more is heard in
            every split; smaller ones are pooled.
        fixed: group → split, where it is given. Given splits stay, with one exception: when no
            group at all is in validation, some given to training become it (data sets that come
            in two halves).

    Returns:
        Group → ``"train"``, ``"validation"`` or ``"test"``.
    """
    splits = dict(fixed or {})
    members = defaultdict(list)
    for group, stratum in strata.items():
        if group not in splits:
            members[stratum].append(group)
    pooled = [group for groups in members.values() if len(groups) < 3 for group in groups]
    for groups in [*(groups for groups in members.values() if len(groups) >= 3), pooled]:
        splits |= _fill(groups, SPLITS)
    if "validation" not in splits.values():
        training = [group for group, split in splits.items() if split == "train"]
        splits |= _fill(training, ("train", "validation"))
    return splits


def _fill(groups: Sequence[str], splits: Sequence[str]) -> dict[str, str]:
    """Distribute groups in hash order: the first split takes what the held-out ones leave."""
    order = sorted(groups, key=lambda group: (_digest(group), group))
    filled: dict[str, str] = {}
    for already_held, split in enumerate(splits[1:], start=1):
        count = math.ceil(HELD_OUT * len(groups)) if len(groups) > already_held else 0
        filled |= dict.fromkeys(order[:count], split)
        order = order[count:]
    return filled | dict.fromkeys(order, splits[0])


def take(pieces: Sequence[Piece], max_files: int | None) -> list[Piece]:
    """At most ``max_files`` pieces that still cover every split and source as far as they can.

    Within each split the sources take turns, in hash order; the splits are filled evenly up to
    their shares, none left out while it has a piece and there is room. Sorted by name.

    Raises:
        InputError: ``max_files`` is no whole number of at least one.
    """
    if max_files is None:
        return list(pieces)
    max_files = check_number(max_files, "max_files", low=1, whole=True)
    shares = {split: HELD_OUT for split in SPLITS} | {"train": 1 - 2 * HELD_OUT}
    order = sorted(pieces, key=_turn_of_take)
    queues = {split: _by_turns(p for p in order if p.split == split) for split in SPLITS}
    taken: list[Piece] = []
    counts = dict.fromkeys(SPLITS, 0)
    while len(taken) < max_files and any(queues.values()):
        open_splits = [split for split in SPLITS if queues[split]]
        # The split that is emptiest for its share; an unvisited one comes first.
        split = min(open_splits, key=lambda name: (counts[name] > 0, counts[name] / shares[name]))
        taken.append(queues[split].pop(0))
        counts[split] += 1
    return sorted(taken, key=lambda piece: piece.name)


def choose_pieces(
    pieces: Iterable[Piece], count: int | None = None, *, like: str = "*"
) -> list[Piece]:
    """Choose pieces that differ: one of each group, the sources in turn, the largest files first.

    A large file is long, or dense music, or both.

    Args:
        pieces: as :func:`list_pieces` gives them, or some of those.
        count: at most so many; None or 0 means one of every group.
        like: pattern of file names, such as ``"song_*"``. Pieces of such names come first; all
            others follow, since another folder may have none.

    Raises:
        InputError: there is no piece to choose from, or ``count`` is no number of pieces.
    """

    def is_other(piece: Piece) -> bool:
        return not fnmatch.fnmatchcase(piece.path.name, like)

    def rank(piece: Piece) -> tuple[bool, int, str]:
        return is_other(piece), -piece.path.stat().st_size, piece.name

    firsts: dict[str, Piece] = {}
    for piece in sorted(pieces, key=rank):
        firsts.setdefault(piece.group, piece)
    if not firsts:
        raise InputError("no piece to choose from: name a folder with more music")
    most = check_number(count, "count", whole=True) if count else None
    return sorted(_by_turns(firsts.values()), key=is_other)[:most]


def _digest(text: str) -> str:
    """SHA-256 of a name; names that are no valid UTF-8 keep the bytes of the file system."""
    return hashlib.sha256(os.fsencode(text)).hexdigest()


def _turn_of_take(piece: Piece) -> tuple[str, str]:
    """What to sort by: another source begins in each split; its pieces come in hash order."""
    return _digest(piece.split + piece.source), _digest(piece.name)


def _by_turns(pieces: Iterable[Piece]) -> list[Piece]:
    """The sources take turns; else the pieces keep their order."""
    taken: Counter[str] = Counter()
    turns = []
    for piece in pieces:
        turns.append((taken[piece.source], piece))
        taken[piece.source] += 1
    return [piece for _, piece in sorted(turns, key=lambda entry: entry[0])]


def _without_stems(paths: list[Path]) -> list[Path]:
    """Drop what lies beside a ``mixture.wav`` (MUSDB18-HQ): stems are parts of the mixture."""
    tracks = {path.parent for path in paths if path.name == "mixture.wav"}
    return [path for path in paths if path.parent not in tracks or path.name == "mixture.wav"]


def _read_catalog(root: Path) -> dict[str, dict[str, str]]:
    """Relative path → row of the catalogue in this folder; empty when there is none."""
    for name in CATALOGUES:
        if not (root / name).is_file():
            continue
        try:
            with open(root / name, newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                header = reader.fieldnames or []
                rows = {row["path"]: row for row in reader if "path" in header}
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{root / name}: is no CSV in UTF-8 ({error}); save it so") from None
        if "path" in re.split(r"[;\t|]", ",".join(header)):  # as some spreadsheets write it
            raise InputError(f"{root / name}: is not separated by commas; save it so")
        if "path" not in header:
            continue
        for path, row in rows.items():
            if row.get("split") and row["split"] not in SPLITS:
                raise InputError(
                    f"{root / name}: {path} has the split {row['split']!r}; "
                    f"use {', '.join(SPLITS)} or leave it empty"
                )
        return rows
    return {}
