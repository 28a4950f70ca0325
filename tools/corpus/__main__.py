"""Build the free training corpus: install the Debian packages it is made of, then render.

    python tools/corpus.py data/corpus

Packages are installed where apt-get is there and may be used (as root, or with a sudo that asks for
no password); elsewhere one line says what is missing. Run it again and it makes only what is
missing.
"""

import argparse
import logging
import sys
from pathlib import Path

import debian

from enhancelib import corpus, recipes
from enhancelib.errors import EnhanceError


def main() -> None:
    """Parse the command line, install, build, sum up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--jobs", type=int, help="processes (one per core)")
    parser.add_argument("--scheduler", help="address of a Dask scheduler that does the work")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if missing := recipes.missing_packages():
        print(f"Installing {', '.join(missing)} (about 700 MB in all)")
        debian.install(*missing)
    try:
        manifest = corpus.build(args.output, n_jobs=args.jobs, scheduler=args.scheduler)
    except EnhanceError as error:
        sys.exit(f"error: {error}")
    for split, sources in corpus.hours(manifest).items():
        listing = ", ".join(f"{source} {hours:.2f}" for source, hours in sources.items())
        print(f"{split}: {sum(sources.values()):.2f} h ({listing})")
    print(f"The corpus is listed in {manifest}")


if __name__ == "__main__":
    main()
