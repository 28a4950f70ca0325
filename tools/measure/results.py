"""Measure weights on a set of pieces, beside the untreated audio.

    python -m tools.measure results --preset fullband-44k       the published ones on the test set
    python -m tools.measure results --weights MINE --pieces data/devset.csv   others, while choosing
    python -m tools.measure results --only fullband-44k.int8.onnx       this system's rows

The middle of every piece under every condition below, untreated and through the weights, and some
of it through every file exported from them that lies beside them: PRESET.csv has every value, and
PRESET-rates.csv what it means in bits, in data/results or, of the development set, in
data/runs/devset. What was measured before is kept in data/runs/results, so a stopped run goes on.
The report judges the values.

Only published weights are measured on the test set, once each: whoever looks at it and then chooses
has no test set any more. LOG.md counts the looks.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Container
from pathlib import Path

import numpy as np
import pandas

import enhancelib as el
from enhancelib import parallel
from enhancelib.degrade import lc3
from enhancelib.enhance.modelfiles import SUFFIXES, open_model
from enhancelib.errors import ConfigError, EnhanceError, ModelError
from enhancelib.model.network import preset_config
from enhancelib.provenance import provenance
from tools.measure.tables import RESULTS, check_commit, read_table, write_table

TESTSET, DEVSET = Path("data/testset.csv"), Path("data/devset.csv")
DEVELOPMENT = Path("data/runs/devset")
"""Where results of any set but the test set go, which are not published."""
CACHE = Path("data/runs/results")
CHEAP = [name for name, metric in el.METRICS.items() if not metric.expensive]
HEARING = [name for name, metric in el.METRICS.items() if metric.expensive]
EXPORTS = ["lsd", "si_sdr", "in_band_si_sdr", "snr", "level_difference", "stereo_image_change"]
"""Metrics by which exported files are held against the weights; 8 bits have the others too."""
EVERY_8_BITS, EVERY = 2, 6
"""Of the pieces, every so many-th is measured through the 8-bit file and through the others, under
:func:`enhancelib.standard_conditions`: these files are to give what the weights give."""
EXCERPT_S = 5.0
"""Length of a piece's middle that is measured; the codecs hear a second more on either side."""
ORACLE = ["snr", "mse", "si_sdr"]
RATES = {
    "SBC": [f"sbc-{bitpool}" for bitpool in (10, 20, 28, 35, 44, 53)],
    "MP3": [f"mp3-{kbps}" for kbps in (48, 64, 96, 128, 192, 256)],
    "AAC": [f"aac-{kbps}" for kbps in (48, 64, 96, 128, 192)],
    "Opus": [f"opus-{kbps}" for kbps in (32, 48, 64, 96, 128)],
}
CONDITIONS = (
    *("lossless", "aac-256", "mp3-320", "aptx", "aptx-hd"),
    *("sbc-18", *RATES["SBC"], "sbc-53-loss-5pct", "sbc-53-adaptive-10pct"),
    *("mp3-24@22050hz", "mp3-32", "mp3-40", "mp3-80", *RATES["MP3"]),
    *(*RATES["AAC"], *RATES["Opus"], "lc3-96", "msbc"),
    *("aac-64+sbc-20", "aac-128+sbc-35"),
    *("down-8000hz", "down-16000hz", "down-22050hz"),
    *("noise-white-10db", "noise-white-20db", "noise-white-30db", "noise-pink-20db"),
    *("old-recording", "clip-6db"),
)
"""Codecs at all operating points, chains, lower rates, noise, old recordings, transparent ones."""
LIBRARY = "lc3-96"
"""The one that needs a library from outside: liblc3."""
SMOKE = ("lossless", "sbc-20")


def read_set(table: Path) -> pandas.DataFrame:
    """The rows of a set, each file checked against its hash; ``piece`` is the file's name.

    Raises:
        ConfigError: no such table, or a file is missing or another one.
    """
    try:
        rows = pandas.read_csv(table)
        for row in rows.itertuples():
            path = table.parent / row.path
            if hashlib.sha256(path.read_bytes()).hexdigest() != row.sha256:
                raise ConfigError(f"{path}: not the file of {table}; check it out again")
    except FileNotFoundError as error:
        raise ConfigError(f"{error.filename}: not there; name a table like {DEVSET}") from None
    return rows.assign(piece=rows["path"].map(lambda path: Path(path).stem))


def command(preset: str, table: Path) -> str:
    """What a reader runs to measure this again: the set is part of it."""
    return f"make results PRESET={preset}" + (f" PIECES={table}" if table != TESTSET else "")


def exported_files(weights: Path) -> list[Path]:
    """The files that were exported from these weights and lie beside them.

    Raises:
        ModelError: one of them was exported from other weights.
    """
    suffixes = {suffix for kind in ("onnx", "tflite", "torchscript") for suffix in SUFFIXES[kind]}
    files = sorted(weights.parent.glob(f"{weights.stem}.*"))
    files = [path for path in files if path.suffix in suffixes]
    for path in files:
        if open_model(path).metadata.checkpoint_sha256 != el.checkpoint_sha256(weights):
            raise ModelError(f"{path}: exported from other weights; export it again")
    return files


def is_8_bit_clip(system: str) -> bool:
    """Whether this is the 8-bit file of whole clips, of which most is measured."""
    return ".int8." in system and ".stream." not in system


def metrics_of(system: str, preset: str, effort: str) -> list[str]:
    """What is measured of a system."""
    if system in ("untreated", preset):
        return CHEAP + HEARING
    if system == "oracle mask":
        return ORACLE
    if is_8_bit_clip(system):
        return CHEAP + HEARING
    return EXPORTS + HEARING * (effort == "full")


def matrix(
    preset: str,
    weights: Path,
    effort: str,
    jobs: int | None,
    cache: Path,
    table: Path,
    only: Container[str] | None = None,
) -> pandas.DataFrame:
    """All values. Exported files are to give what the weights give, so fewer pieces will do.

    ``only`` names systems in place of all of them and of the untreated audio.
    """
    tests = read_set(table).iloc[:: 9 if effort == "smoke" else 1]
    pieces = {row.piece: table.parent / row.path for row in tests.itertuples()}
    conditions = SMOKE if effort == "smoke" else CONDITIONS
    if not lc3.available():
        conditions = [name for name in conditions if name != LIBRARY]
        print(f"without {LIBRARY}: liblc3 is not installed (apt-get install liblc3-tools)")
    of_exports = el.standard_conditions() if effort == "default" else conditions
    groups: dict[int, dict[str, object]] = {1: {preset: weights, "oracle mask": el.oracle_mask}}
    for path in exported_files(weights):
        every = 1 if effort == "full" else EVERY_8_BITS if is_8_bit_clip(path.name) else EVERY
        groups.setdefault(every, {})[path.name] = path
    tables = []
    for every, systems in sorted(groups.items()):
        if only is not None:
            systems = {name: system for name, system in systems.items() if name in only}
        metrics = {name: metrics_of(name, preset, effort) for name in ("untreated", *systems)}
        if only is not None:
            metrics["untreated"] = []
        if not systems:
            continue
        values = el.evaluate(
            dict(list(pieces.items())[::every]),
            conditions if every == 1 else of_exports,
            systems,
            metrics=metrics,
            sample_rate=preset_config(preset).sample_rate,
            excerpt_s=None if effort == "full" else EXCERPT_S,
            cache_dir=cache,
            n_jobs=jobs,
            command=command(preset, table),
        )
        tables.append(values if every == 1 else values[values["system"] != "untreated"])
    if not tables:
        raise ConfigError(f"--only: no such system beside {weights}")
    results = pandas.concat(tables, ignore_index=True)
    results["value"] = [float(f"{value:.6g}") for value in results["value"]]
    return results


def joined(results: pandas.DataFrame, file: Path) -> pandas.DataFrame:
    """New rows in place of the older ones of their systems; all others of a table stay."""
    if not file.exists():
        raise ConfigError(f"{file}: not there; measure everything once, without --only")
    before = read_table(file)
    new, old = (set(table["checkpoint_sha256"].dropna()) - {""} for table in (results, before))
    if not new <= old:
        raise ConfigError(f"{file}: of other weights; measure everything, without --only")
    return pandas.concat([before[~before["system"].isin(results["system"])], results])


def packet_kbps(task: tuple[Path, str]) -> float:
    """Bit rate of a piece's packets under a condition."""
    path, condition = task
    wave, rate = el.load(path, sample_rate=44100)
    return el.encode(wave, condition, sample_rate=rate).kbps


def packet_rates(pieces: pandas.DataFrame, jobs: int | None) -> pandas.DataFrame:
    """Bit rate of each piece (rows) under each condition that makes a curve (columns), in kbit/s.

    Args:
        pieces: a column ``file``, and the names as index.
        jobs: processes.
    """
    names = [name for codec in RATES.values() for name in codec]
    tasks = [(path, name) for name in names for path in pieces["file"]]
    found = list(parallel.map(packet_kbps, tasks, n_jobs=jobs, description="rates", unit="stream"))
    table = np.reshape(found, (len(names), -1)).T
    return pandas.DataFrame(table, index=pieces.index, columns=names)


def rate_table(
    results: pandas.DataFrame, preset: str, kbps: pandas.DataFrame, table: Path
) -> pandas.DataFrame:
    """Per kind of piece, codec and condition: mean packet rate, qualities, equal untreated rate.

    Args:
        results: of :func:`matrix`.
        preset: the system beside the untreated audio.
        kbps: of :func:`packet_rates`.
        table: of the pieces, for the command.
    """
    chosen = results[results["system"].isin(["untreated", preset])]
    tables = []
    for kind, part in el.by_kind(chosen):
        pieces = part["piece"].unique()
        means = kbps.loc[pieces].mean()
        for codec, names in RATES.items():
            rates = {name: float(means[name]) for name in names}
            for metric in HEARING:
                (saving,) = el.bitrate_saving(part, rates, metric=metric).to_dict("records")
                points = el.equal_rates(part, rates, metric=metric)
                columns = ("saving_percent", "low", "high", "without_overlap")
                facts = {key: saving[key] for key in columns}
                facts |= {"kind": kind, "codec": codec, "metric": metric, "pieces": len(pieces)}
                tables.append(points.assign(**facts))
    return pandas.concat(tables).round(3).assign(**provenance(command(preset, table)))


def chosen_set(pieces: Path | None, weights: str, effort: str) -> Path:
    """The table that is measured.

    The smallest effort only shows that measuring works, so it leaves the test set alone.

    Raises:
        ConfigError: the test set for weights that are not published.
    """
    table = pieces or (DEVSET if effort == "smoke" else TESTSET)
    if table.resolve() == TESTSET.resolve() and weights != "published":
        raise ConfigError(f"{TESTSET} is for published weights only; use --pieces {DEVSET}")
    return table


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="fullband-44k")
    parser.add_argument("--weights", default="published", help="published, or a checkpoint")
    parser.add_argument(
        "--effort",
        choices=("smoke", "default", "full"),
        default="default",
        help="smoke: two pieces, two conditions; full: whole pieces, everything of every file",
    )
    parser.add_argument("--only", nargs="+", help="these systems; all other rows stay as they are")
    parser.add_argument("--pieces", type=Path, help=f"{TESTSET}, or {DEVSET} while choosing")
    parser.add_argument("--output", type=Path, help=f"{RESULTS}, or {DEVELOPMENT} of other sets")
    parser.add_argument("--jobs", type=int)
    arguments = parser.parse_args()
    began = time.monotonic()
    try:
        table = chosen_set(arguments.pieces, arguments.weights, arguments.effort)
        output = arguments.output or (RESULTS if table == TESTSET else DEVELOPMENT)
        weights = el.find_weights(
            arguments.weights, preset=arguments.preset, run_dir="data/runs/default"
        )
        # The smallest effort shows that it works, so it must.
        cache = output / "cache" if arguments.effort == "smoke" else CACHE
        file = output / f"{arguments.preset}.csv"
        check_commit(file, joined=bool(arguments.only))
        results = matrix(
            arguments.preset,
            weights,
            arguments.effort,
            arguments.jobs,
            cache,
            table,
            arguments.only,
        )
        if arguments.only:
            results = joined(results, file)
        write_table(results, file)
        print(f"{file}: {len(results)} values in {(time.monotonic() - began) / 60:.1f} min")
        if arguments.effort != "smoke" and not arguments.only:
            tests = read_set(table).set_index("piece")
            tests["file"] = [table.parent / path for path in tests["path"]]
            kbps = packet_rates(tests, arguments.jobs)
            rates = rate_table(results, arguments.preset, kbps, table)
            file = output / f"{arguments.preset}-rates.csv"
            write_table(rates, file)
            print(f"{file}: {len(rates)} points")
    except EnhanceError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
