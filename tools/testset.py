"""Cut the test set out of the corpus's test split, once: data/testset/*.flac and data/testset.csv.

    python tools/testset.py

The excerpts are committed, so that a measurement needs no corpus; this shows where they come from.
They were chosen by kind and level before any training: full and sparse rendered music, recorded
instruments, speech. Existing files are never replaced.
"""

import csv
import hashlib
import sys
from pathlib import Path

from enhancelib import audio
from enhancelib.errors import EnhanceError

SECONDS = 6.0
COLUMNS = (
    "path",
    "kind",
    "texture",
    "source",
    "licence",
    "cut_from",
    "start_s",
    "seconds",
    "sha256",
)

#: Piece of the corpus, start in seconds, kind, texture.
CUTS = (
    ("freedoom2/freedoom2_D_DEAD2", 33, "rendered", "full"),
    ("freedoom2/freedoom2_D_RUNNIN", 39, "rendered", "full"),
    ("freedoom2/freedoom2_D_DM2TTL", 36, "rendered", "full"),
    ("freedoom2/freedoom2_D_DOOM", 33, "rendered", "full"),
    ("freedoom2/freedoom2_D_EVIL", 54, "rendered", "full"),
    ("freedoom2/freedoom2_D_STALKS", 60, "rendered", "full"),
    ("freedoom2/freedoom2_D_ROMERO", 0, "rendered", "sparse"),
    ("freedoom2/freedoom2_D_DEAD", 0, "rendered", "sparse"),
    ("freedoom2/freedoom2_D_THEDA3", 189, "rendered", "sparse"),
    ("recorded/The_Black_Pearl_1.0_00", 3, "recorded", "full"),
    ("recorded/The_Black_Pearl_1.0_01", 18, "recorded", "full"),
    ("recorded/The_Black_Pearl_1.0_03", 15, "recorded", "sparse"),
    ("recorded/The_Black_Pearl_1.0_04", 27, "recorded", "full"),
    ("recorded/The_Black_Pearl_1.0_05", 21, "recorded", "full"),
    ("recorded/The_Black_Pearl_1.0_07", 9, "recorded", "full"),
    ("recorded/The_Black_Pearl_1.0_08", 27, "recorded", "full"),
    ("speech/en_00", 6, "speech", "sparse"),
    ("speech/en_01", 12, "speech", "sparse"),
)


def cut(corpus: Path, folder: Path) -> list[dict[str, object]]:
    """Write every excerpt and return the rows that describe them."""
    with (corpus / "manifest.csv").open(newline="") as file:
        pieces = {row["path"]: row for row in csv.DictReader(file)}
    folder.mkdir(parents=True)
    rows = []
    for piece, start_s, kind, texture in CUTS:
        source = pieces[f"test/{piece}.flac"]
        wave, rate = audio.load(corpus / source["path"])
        first = start_s * rate
        path = folder / f"{kind}_{piece.split('_')[-1]}.flac"
        audio.save(
            path, wave[:, first : first + round(SECONDS * rate)], sample_rate=rate, subtype="PCM_16"
        )
        rows.append(
            {
                "path": f"{folder.name}/{path.name}",
                "kind": kind,
                "texture": texture,
                "source": source["source"],
                "licence": source["licence"],
                "cut_from": source["path"],
                "start_s": start_s,
                "seconds": SECONDS,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
        )
    return rows


def main() -> None:
    """Cut the test set, unless it is there."""
    table = Path("data/testset.csv")
    if table.exists():
        sys.exit(f"error: {table} is there, and is not to change")
    try:
        rows = cut(Path("data/corpus"), Path("data/testset"))
    except (EnhanceError, OSError) as error:
        sys.exit(f"error: {error}; make corpus first")
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} excerpts in data/testset, listed in {table}")


if __name__ == "__main__":
    main()
