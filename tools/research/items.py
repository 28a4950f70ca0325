"""Make training items from the corpus: mixed, degraded, in one array on disk.

    python -m tools.research.items                       those of pretraining, both splits
    python -m tools.research.items data/corpus data/items --count 12000

Run it again and it makes only what is missing. An item of 10 seconds takes 1.8 MB.
"""

import argparse
import sys
from pathlib import Path

from pydantic import ValidationError

from enhancelib.checks import first_problem
from enhancelib.data.catalog import SPLITS
from enhancelib.data.items import ItemSettings, prepare_items
from enhancelib.errors import EnhanceError
from enhancelib.signals import stopped_by_signals

ITEMS = Path("data/pretraining/items")
COUNTS = {"train": 4000, "validation": 200}
"""Items of 10 s for pretraining: 11 and 0.6 hours, 7 GB."""
SEED = 1
"""Of what is drawn for them. The published weights learnt the items of 0, so these are new cuts."""


def make_items(corpus: Path, *, n_jobs: int | None = None, scheduler: str | None = None) -> None:
    """Make the items of pretraining, both splits, in :data:`ITEMS`."""
    for split, count in COUNTS.items():
        settings = ItemSettings(count=count, split=split, seed=SEED)
        prepare_items(corpus, ITEMS / split, settings, n_jobs=n_jobs, scheduler=scheduler)


def main() -> None:
    """Parse the command line, make the items, say where they are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "corpus", type=Path, nargs="?", default=Path("data/corpus"), help="folder with manifest.csv"
    )
    parser.add_argument(
        "output", type=Path, nargs="?", help="new folder, or one to go on with; needs --count"
    )
    parser.add_argument("--count", type=int, help="number of items")
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of an item")
    parser.add_argument("--jobs", type=int, help="processes (one per core)")
    parser.add_argument("--scheduler", help="address of a Dask scheduler that does the work")
    args = parser.parse_args()
    if (args.output is None) != (args.count is None):
        parser.error("OUTPUT and --count go together; without them, pretraining's items are made")
    workers = {"n_jobs": args.jobs, "scheduler": args.scheduler}
    try:
        with stopped_by_signals():
            if args.output is None:
                make_items(args.corpus, **workers)
                print(f"{COUNTS} items are in {ITEMS}")
            else:
                settings = ItemSettings(
                    count=args.count, split=args.split, seed=args.seed, seconds=args.seconds
                )
                table = prepare_items(args.corpus, args.output, settings, **workers)
                print(f"{settings.count} items are listed in {table}")
    except ValidationError as error:
        sys.exit(f"error: --{first_problem(error)}")
    except EnhanceError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
