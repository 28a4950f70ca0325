"""Make training items from the corpus: mixed, degraded, in one array on disk.

    python -m tools.research.items data/corpus data/items --count 12000

Run it again and it makes only what is missing. An item of 10 seconds takes 1.8 MB.
"""

import argparse
import sys
from pathlib import Path

from pydantic import ValidationError

from enhancelib.checks import first_problem
from enhancelib.data.catalogue import SPLITS
from enhancelib.data.items import ItemSettings, prepare_items
from enhancelib.errors import EnhanceError
from enhancelib.signals import stopped_by_signals


def main() -> None:
    """Parse the command line, make the items, say where they are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path, help="folder with a manifest.csv")
    parser.add_argument("output", type=Path, help="new folder, or one to go on with")
    parser.add_argument("--count", type=int, required=True, help="number of items")
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of an item")
    parser.add_argument("--jobs", type=int, help="processes (one per core)")
    parser.add_argument("--scheduler", help="address of a Dask scheduler that does the work")
    args = parser.parse_args()
    try:
        settings = ItemSettings(
            count=args.count, split=args.split, seed=args.seed, seconds=args.seconds
        )
    except ValidationError as error:
        sys.exit(f"error: --{first_problem(error)}")
    try:
        with stopped_by_signals():
            table = prepare_items(
                args.corpus, args.output, settings, n_jobs=args.jobs, scheduler=args.scheduler
            )
    except EnhanceError as error:
        sys.exit(f"error: {error}")
    print(f"{settings.count} items are listed in {table}")


if __name__ == "__main__":
    main()
