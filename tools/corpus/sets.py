"""Make the test set and the new excerpts, once: FLAC files, and the table that describes them.

    python -m tools.corpus.sets testset      data/testset/*.flac and data/testset.csv
    python -m tools.corpus.sets excerpts     more files and rows in data/excerpts

Everything comes from Debian packages. `pieces.py` lists what is taken and names the rule by which
each stretch is chosen; no result of any enhancement plays a part. The files are committed, so a
measurement needs no package; this shows where they come from. Existing files are never replaced.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
from pathlib import Path

from enhancelib import audio
from enhancelib.atomic import replacing_folder, write_csv
from enhancelib.audio.bandwidth import bandwidth_hz, spectral_cliff
from enhancelib.errors import ConfigError, EnhanceError, InputError
from tools.corpus.pieces import EXCERPTS, RATE, TESTSET, Piece, Shelf

MAX_CLIFF_DB = 30.0
"""A deeper cliff under 20 kHz is the mark of an earlier codec or of a lower sample rate."""
COLUMNS = (
    *("path", "kind", "texture", "source", "author", "licence", "cut_from", "start_s", "seconds"),
    *("channels", "bandwidth_hz", "sha256"),
)
EXCERPT_COLUMNS = ("path", "source", "licence", "rate", "seconds", "bytes", "group", "author")


def write(piece: Piece, shelf: Shelf, path: Path) -> dict[str, object]:
    """Make one file and return its row of data/testset.csv, with the bare name as its path.

    Raises:
        InputError: A package is missing, or the audio was coded before.
    """
    wave, start_s = piece.make(shelf)
    cliff = spectral_cliff(wave, sample_rate=RATE)
    if cliff.depth_db > MAX_CLIFF_DB:
        raise InputError(
            f"{piece.name}: falls by {cliff.depth_db:.0f} dB at {cliff.frequency_hz:.0f} Hz, so it "
            "was coded before; leave it out"
        )
    audio.save(path, wave, sample_rate=RATE, subtype="PCM_16")
    stored, _ = audio.load(path)
    return {
        "path": path.name,
        "kind": piece.heard_as,
        "texture": "sparse" if piece.kind == "sparse" else "full",
        "source": piece.source,
        "author": piece.author,
        "licence": piece.licence,
        "cut_from": piece.cut_from,
        "start_s": round(start_s, 2),
        "seconds": round(stored.shape[1] / RATE, 3),
        "channels": 1 if (stored[0] == stored[-1]).all() else 2,
        "bandwidth_hz": round(bandwidth_hz(stored, sample_rate=RATE)),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def make_testset(shelf: Shelf, data: Path) -> None:
    """Write data/testset and data/testset.csv.

    Raises:
        ConfigError: they are there.
    """
    folder, table = data / "testset", data / "testset.csv"
    for path in (folder, table):
        if path.exists():
            raise ConfigError(f"{path} is there, and a test set is not to change")
    rows = []
    with replacing_folder(folder) as partial:
        for piece in TESTSET:
            row = write(piece, shelf, partial / f"{piece.kind}_{piece.name}.flac")
            rows.append({**row, "path": f"{folder.name}/{row['path']}"})
            print(_line(rows[-1]))
    write_csv(table, COLUMNS, rows)
    print(f"{len(rows)} pieces in {folder}, listed in {table}")


def make_excerpts(shelf: Shelf, data: Path) -> None:
    """Add the new files to data/excerpts and their rows to its index.

    Raises:
        ConfigError: one of them is there.
    """
    folder = data / "excerpts"
    index = folder / "index.csv"
    with index.open(newline="") as file:
        rows: list[dict[str, object]] = list(csv.DictReader(file))
    targets = [(piece, folder / f"{piece.kind}_{piece.name}.flac") for piece in EXCERPTS]
    for _, path in targets:
        if path.exists():
            raise ConfigError(f"{path} is there; delete it and its row to make it again")
    for piece, path in targets:
        row = write(piece, shelf, path)
        print(_line(row))
        facts = {"rate": RATE, "bytes": path.stat().st_size}
        rows.append({**row, **facts, "group": piece.group or path.stem})
    write_csv(index, EXCERPT_COLUMNS, rows)
    print(f"{len(targets)} pieces added to {folder}")


def _line(row: dict[str, object]) -> str:
    facts = (
        "kind",
        "texture",
        "seconds",
        "channels",
        "bandwidth_hz",
        "start_s",
        "licence",
        "author",
    )
    return f"{row['path']}: " + ", ".join(f"{row[name]}" for name in facts)


def main() -> None:
    """Make what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("testset", "excerpts"))
    parser.add_argument("--root", type=Path, default=Path("/"), help="where packages are unpacked")
    parser.add_argument("--songs", type=Path, default=Path("data/runs/songs"), help="LMMS's files")
    arguments = parser.parse_args()
    shelf = Shelf(arguments.root, arguments.songs)
    try:
        make = make_testset if arguments.what == "testset" else make_excerpts
        make(shelf, Path("data"))
    except (EnhanceError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
