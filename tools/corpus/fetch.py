"""Fetch the free recordings from their public repositories into a folder for ``--recordings``.

    python -m tools.corpus.fetch FOLDER
    make corpus RECORDINGS=FOLDER

Needs git and a network. Of each source of ``recordings.csv`` some minutes are taken, in the order
of a hash: mixed to mono, at 44.1 kHz, silent ends cut, at −3 dB, short items joined with 50 ms of
silence into files of a minute. Run it again and it fetches only what is missing.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from enhancelib import audio
from enhancelib.atomic import write_csv
from enhancelib.errors import EnhanceError, InputError
from tools.corpus.recipe import RATE
from tools.corpus.sources import sequencer
from tools.corpus.sources.recordings import Source, sources

COLUMNS = ("path", "kind", "source", "licence", "seconds", "sha256")
FILE_S = 60.0
MOST_FILES = {"speech": 9, "singing": 8, "instruments": 4, "impulse-responses": 40}
GAP_S = 0.05
MIXED = {"vctk_demos"}
"""Sources whose repositories mix originals with processed copies: somebody must choose."""

_FORMATS = {".wav", ".flac", ".aif", ".aiff", ".opus"}
_TAIL_DB = 60.0


def fetch(folder: Path, wanted: Iterable[Source]) -> Path:
    """Clone what is missing, cut it, and write the index of all that is there.

    Returns:
        Path of ``index.csv``, with the columns :data:`COLUMNS`.

    Raises:
        InputError: git failed, or a repository holds nothing that can be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / "index.csv"
    rows = _read(index)
    for source in wanted:
        if not any(row["source"] == source.name for row in rows):
            with tempfile.TemporaryDirectory() as clones:
                rows += store(folder, source, items(_cloned(source, Path(clones))))
            _write(index, rows)
    return index


def items(files: Iterable[Path]) -> Iterator[audio.Wave]:
    """Each file as a mono wave, its silent ends cut, at −3 dB; what is silent is left out."""
    for file in files:
        try:
            wave = audio.load(file, sample_rate=RATE)[0].mean(axis=0, keepdims=True)
        except InputError:
            continue
        floor = float(np.abs(wave).max()) * 10 ** (-_TAIL_DB / 20)
        loud = np.flatnonzero(np.abs(wave[0]) > floor)
        if floor > 1e-6 and len(loud):
            cut = wave[:, loud[0] : loud[-1] + 1]
            yield sequencer.normalized(sequencer.faded(cut, fade_s=0.002), peak_db=-3.0)


def joined(waves: Iterable[audio.Wave], *, seconds: float = FILE_S) -> Iterator[audio.Wave]:
    """Fill waves of at most so many seconds with items and the silences between them."""
    gap = np.zeros((1, round(GAP_S * RATE)), dtype=np.float32)
    most, parts, length = round(seconds * RATE), [], 0
    for wave in waves:
        wave = wave[:, :most]
        if parts and length + wave.shape[1] > most:
            yield np.concatenate(parts[:-1], axis=1)
            parts, length = [], 0
        parts += [wave, gap]
        length += wave.shape[1] + gap.shape[1]
    if parts:
        yield np.concatenate(parts[:-1], axis=1)


def store(folder: Path, source: Source, waves: Iterator[audio.Wave]) -> list[dict[str, object]]:
    """Write the files of one source; rows of the index.

    Raises:
        InputError: there is no sound.
    """
    alone = source.kind == "impulse-responses"  # each is a room of its own
    files = waves if alone else joined(waves)
    rows = []
    for number, wave in zip(range(MOST_FILES[source.kind]), files, strict=False):
        path = folder / f"{source.kind}_{source.name}_{number:02d}.flac"
        audio.save(path, wave, sample_rate=RATE, subtype="PCM_16", overwrite=True)
        rows.append(
            {
                "path": path.name,
                "kind": source.kind,
                "source": source.name,
                "licence": source.licence,
                "seconds": round(wave.shape[1] / RATE, 1),
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
        )
    if not rows:
        raise InputError(f"{source.name}: no sound in {' '.join(source.addresses)}")
    return rows


def _cloned(source: Source, folder: Path) -> list[Path]:
    """The audio files of a source's repositories, in the order of a hash of their names."""
    for number, address in enumerate(source.addresses):
        command = ["git", "clone", "--quiet", "--depth", "1", address, folder / str(number)]
        try:
            run = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        except FileNotFoundError:
            raise InputError("git is not installed: apt-get install git") from None
        if run.returncode:
            raise InputError(f"{address} could not be cloned: {run.stderr.strip()[-200:]}")
    found = [path for path in folder.rglob("*") if path.suffix.lower() in _FORMATS]

    def key(path: Path) -> str:
        return hashlib.sha256(path.relative_to(folder).as_posix().encode()).hexdigest()

    return sorted(found, key=key)


def _read(index: Path) -> list[dict[str, object]]:
    if not index.exists():
        return []
    with open(index, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write(index: Path, rows: list[dict[str, object]]) -> None:
    write_csv(index, COLUMNS, rows)


def main() -> None:
    """Parse the command line and fetch."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.corpus.fetch", description=__doc__.splitlines()[0]
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=sorted(sources()), help="these sources")
    args = parser.parse_args()
    names = [name for name in sources() if name in (args.only or sources())]
    for name in MIXED & set(names):
        print(f"Left out: {name} (its repositories hold processed copies beside the originals)")
    wanted = [sources()[name] for name in names if name not in MIXED]
    try:
        print(f"The recordings are listed in {fetch(args.folder, wanted)}")
    except EnhanceError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
