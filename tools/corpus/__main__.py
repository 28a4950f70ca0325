"""Build the free training corpus: install the Debian packages it is made of, then render.

    python -m tools.corpus data/corpus

Packages are installed where apt-get is there and may be used (as root, or with a sudo that asks for
no password); elsewhere one line says what is missing. Run it again and it makes only what is
missing.
"""

import argparse
import logging
import sys
from pathlib import Path

from enhancelib.errors import EnhanceError
from tools.corpus import build, recipes
from tools.corpus.sources.recordings import read_folder
from tools.dev import debian


def main() -> None:
    """Parse the command line, install, build, sum up."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.corpus", description=__doc__.splitlines()[0]
    )
    parser.add_argument("output", type=Path)
    parser.add_argument("--small", action="store_true", help="leave out the games' music (5.1 GB)")
    parser.add_argument("--recordings", type=Path, help="folder of free recordings")
    parser.add_argument("--jobs", type=int, help="processes (one per core)")
    parser.add_argument("--scheduler", help="address of a Dask scheduler that does the work")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        if args.recordings is not None:  # before anything is installed
            read_folder(args.recordings)
    except EnhanceError as error:
        sys.exit(f"error: {error}")
    if missing := recipes.missing_packages(small=args.small):
        size = "1 GB" if args.small else "4.3 GB"
        print(f"Installing {', '.join(missing)} (all packages together: {size} to download)")
        debian.install(*missing)
    for line in left_out(small=args.small, recordings=args.recordings):
        print(line)
    try:
        manifest = build.build(
            args.output,
            small=args.small,
            recordings_dir=args.recordings,
            n_jobs=args.jobs,
            scheduler=args.scheduler,
        )
    except EnhanceError as error:
        sys.exit(f"error: {error}")
    for split, kinds in build.hours(manifest).items():
        listing = ", ".join(f"{kind} {hours:.2f}" for kind, hours in kinds.items())
        print(f"{split}: {sum(kinds.values()):.2f} h ({listing})")
    print(f"The corpus is listed in {manifest}")


def left_out(*, small: bool, recordings: Path | None) -> list[str]:
    """A line for each part that this corpus goes without."""
    lines = []
    if small:
        lines.append("Left out: the games' music, about 12 hours (you asked for a small corpus)")
    elif absent := [package for package, music in recipes.GAMES.items() if not music.exists()]:
        lines.append(f"Left out: the music of {' '.join(absent)} (apt-get install them to have it)")
    if recordings is None:
        lines.append(
            "Left out: recorded speech, singing and instruments "
            "(name their folder: make corpus RECORDINGS=FOLDER)"
        )
    return lines


if __name__ == "__main__":
    main()
