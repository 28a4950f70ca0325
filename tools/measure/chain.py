"""Where in the chain should music be enhanced? Measured at the ear, into data/results.

    python -m tools.measure chain --preset fullband-44k

A stream is decoded on the phone, coded again for Bluetooth, and decoded in the headphones. The
network may stand before the second codec (``phone``), behind it (``headphones``), at both or
nowhere. The middle of pieces of music goes through all four, and what comes out is compared with
the lossless original. The link ``lossless`` shows what the phone alone achieves, before Bluetooth.
A network of a lower rate hears music of that rate: the stream is band-limited for it, with or
without enhancement.
"""

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
import pandas

import enhancelib as el
from enhancelib import parallel
from enhancelib.errors import EnhanceError
from enhancelib.evaluate.matrix import excerpt
from enhancelib.model.network import preset_config
from enhancelib.provenance import RESULT_COLUMNS, provenance, result_row
from tools.measure.results import DEVELOPMENT, EXCERPT_S, TESTSET, command, read_set
from tools.measure.tables import RESULTS, check_commit, write_table

STREAMS = ("lossless", "aac-128", "mp3-128", "mp3-64")
LINKS = ("lossless", "sbc-53", "sbc-35", "sbc-20", "sbc-35-loss-5pct")
PLACES = {
    "untreated": (False, False),
    "phone": (True, False),
    "headphones": (False, True),
    "both": (True, True),
}
METRICS = ("visqol", "zimtohrli", "lsd", "si_sdr", "in_band_si_sdr")
RATE = 44100
"""At which everything is coded."""


def resampled(wave: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """The wave at another rate."""
    return el.resample(wave, from_rate=from_rate, to_rate=to_rate)


def measure(cell: tuple[Path, str, str, Path, int]) -> list[dict]:
    """One piece through one stream and one link: every metric at every place of the network."""
    path, stream, link, weights, rate = cell

    def enhance(wave: np.ndarray) -> np.ndarray:
        wave = el.enhance_wave(resampled(wave, RATE, rate), weights, sample_rate=rate)
        return resampled(wave, rate, RATE)

    original, start, stop = excerpt(el.load(path, sample_rate=RATE)[0], EXCERPT_S, RATE)
    streamed = el.degrade(original, stream, sample_rate=RATE)
    streamed = resampled(resampled(streamed, RATE, rate), rate, RATE)
    heard = {}
    for place, (before, behind) in PLACES.items():
        wave = el.degrade(enhance(streamed) if before else streamed, link, sample_rate=RATE)
        wave = enhance(wave) if behind else wave
        heard[place] = resampled(wave[:, start:stop], RATE, rate)
    reference, rows = resampled(original[:, start:stop], RATE, rate), []
    for place, wave in heard.items():
        options = {"sample_rate": rate, "untreated": heard["untreated"], "names": METRICS}
        for metric, value in el.score(wave, reference, **options).items():
            facts = {"piece": path.stem, "condition": f"{stream}+{link}", "system": place}
            unit = el.METRICS[metric].unit
            rows.append(facts | {"metric": metric, "value": float(f"{value:.6g}"), "unit": unit})
    return rows


def main() -> None:
    """Measure all cells and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="fullband-44k")
    parser.add_argument(
        "--every", type=int, default=2, help="every n-th piece of each kind of music"
    )
    parser.add_argument("--pieces", type=Path, default=TESTSET, help="a table of pieces")
    parser.add_argument("--output", type=Path, help=f"{RESULTS}, or {DEVELOPMENT} of other sets")
    parser.add_argument("--jobs", type=int)
    arguments = parser.parse_args()
    table = arguments.pieces
    output = arguments.output or (RESULTS if table == TESTSET else DEVELOPMENT)
    file = output / f"{arguments.preset}-chain.csv"
    try:
        check_commit(file)
        weights = el.find_weights("published", preset=arguments.preset)
        pieces = read_set(table).query("kind != 'speech'")
        turns = pieces.groupby("kind").cumcount()
        paths = [table.parent / path for path in pieces["path"][turns % arguments.every == 0]]
        rate = preset_config(arguments.preset).sample_rate
        cells = [(*cell, weights, rate) for cell in itertools.product(paths, STREAMS, LINKS)]
        measured = parallel.map(
            measure, cells, n_jobs=arguments.jobs, description="chain", unit="cell"
        )
        rows = [row for rows in measured for row in rows]
    except EnhanceError as error:
        sys.exit(f"error: {error}")
    again = command(arguments.preset, table)
    shared = {
        "preset": arguments.preset,
        "checkpoint_sha256": el.checkpoint_sha256(weights),
        "command": again,
        "facts": provenance(again),
    }
    results = pandas.DataFrame(
        [result_row(**row, **shared) for row in rows], columns=RESULT_COLUMNS
    )
    write_table(results, file)
    for kind, part in el.by_kind(results):
        means = part.pivot_table(index=["metric", "condition"], columns="system", values="value")
        print(kind, means.loc[list(METRICS), list(PLACES)].round(3).to_string(), sep="\n")
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
