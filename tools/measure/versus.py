"""Measure our weights beside the published outputs of other systems: data/results/versus.csv.

    python -m tools.measure versus FOLDER [FOLDER ...] --by "who measures"

A folder holds sounds that the authors of a system published, as three or more folders with the same
file names (suffixes may differ):

    FOLDER/ref/          the originals
    FOLDER/in/           what the system was given
    FOLDER/by-SYSTEM/    what it made of that; one folder for each system, or none

A name begins with the kind of the piece and ``__``: ``song__one.wav``. The folder's name stands in
the column *condition*. All sounds are brought to the rate of our weights and to the fewest channels
that one of them has, and moved by whole samples to where they agree best with the original; what
not all of them cover is left out. Our weights get what is in ``in/``.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas
from scipy.signal import correlate

import enhancelib as el
from enhancelib import parallel
from enhancelib.audio import Wave
from enhancelib.errors import EnhanceError, InputError
from enhancelib.evaluate.kinds import KINDS
from enhancelib.model.network import preset_config
from enhancelib.provenance import RESULT_COLUMNS, UNTREATED, provenance, result_row
from tools.measure.tables import RESULTS, check_commit, write_table

METRICS = ("visqol", "zimtohrli", "lsd", "si_sdr", "treble_level_difference", "level_difference")
COLUMNS = (
    *RESULT_COLUMNS,
    *("kind", "reference_sha256", "input_sha256", "output_sha256", "delay_samples", "measured_by"),
)
"""``output_sha256`` is empty where the output is ours; a positive delay was late."""
MOST_DELAY_S = 0.2
LEAST_S = 1.0
"""What is left for comparison has to be as long."""
MAKER = "by-"


@dataclass(frozen=True)
class Case:
    """One original, what was made of it, and by whom."""

    piece: str
    kind: str
    folder: str
    reference: Path
    given: Path
    outputs: dict[str, Path] = field(default_factory=dict)
    """File by system."""


def cases(folder: Path) -> list[Case]:
    """What a folder holds, in the order of names.

    Raises:
        InputError: a folder or file is missing, has no partner, or its name tells no kind.
    """
    for part in ("ref", "in"):
        if not (folder / part).is_dir():
            raise InputError(f"{folder / part}: no such folder; originals lie in ref, inputs in in")
    references, given = by_name(folder / "ref"), by_name(folder / "in")
    made = {
        part.name.removeprefix(MAKER): by_name(part)
        for part in sorted(folder.glob(f"{MAKER}*"))
        if part.is_dir()
    }
    for name, files in {"in": given, **made}.items():
        if odd := sorted(set(files) - set(references)):
            raise InputError(f"{files[odd[0]]}: no file of that name in {folder / 'ref'} ({name})")
    found = []
    for piece, path in references.items():
        kind, mark, _ = piece.partition("__")
        if not mark or kind not in KINDS:
            raise InputError(f"{path}: begin its name with a kind and __, of {', '.join(KINDS)}")
        if piece not in given:
            raise InputError(f"{path}: no file of that name in {folder / 'in'}")
        outputs = {system: files[piece] for system, files in made.items() if piece in files}
        found.append(Case(piece, kind, folder.resolve().name, path, given[piece], outputs))
    return found


def by_name(folder: Path) -> dict[str, Path]:
    """Audio files of a folder by their name without suffix.

    Raises:
        InputError: there are none, or two of one name.
    """
    files = el.find_audio(folder)
    named = {path.stem: path for path in files}
    if len(named) < len(files):
        raise InputError(f"{folder}: two files of one name; keep one of them")
    return named


def delay(wave: Wave, reference: Wave, *, sample_rate: int) -> int:
    """By how many samples a wave is late, where it agrees best with the reference.

    Args:
        wave: (channels, samples).
        reference: (channels, samples), not necessarily as many of either.
        sample_rate: of both, in Hz; up to 0.2 s to either side are looked at.
    """
    heard, wanted = (each.mean(axis=0, dtype=np.float64) for each in (wave, reference))
    likeness = correlate(heard, wanted, method="fft")
    lags = np.arange(1 - len(wanted), len(heard))
    near = np.abs(lags) <= MOST_DELAY_S * sample_rate
    return int(lags[near][np.argmax(likeness[near])])


def together(
    waves: dict[str, Wave], delays: dict[str, int], reference: Wave
) -> tuple[dict[str, Wave], Wave]:
    """Waves and reference where all of them sound, without their delays, of as many channels.

    Raises:
        InputError: none is left.
    """
    channels = min(wave.shape[0] for wave in (*waves.values(), reference))
    start = max(0, *(-late for late in delays.values()))
    ends = [wave.shape[1] - delays[name] for name, wave in waves.items()]
    stop = min(reference.shape[1], *ends)
    if stop <= start:
        raise InputError("nothing that all of them cover")

    def cut(wave: Wave, late: int) -> Wave:
        part = wave[:, start + late : stop + late]
        return part.mean(axis=0, keepdims=True) if channels == 1 else part[:2]

    return {name: cut(wave, delays[name]) for name, wave in waves.items()}, cut(reference, 0)


def measure(task: tuple[Case, str, Path, int, str]) -> list[dict[str, object]]:
    """Rows of one case: every system's, the untreated input's and ours.

    Args:
        task: the case, our preset and weights, their sample rate in Hz, and who measures.

    Raises:
        InputError: the sounds do not belong together, or are too short.
    """
    case, preset, weights, rate, person = task
    reference, _ = el.load(case.reference, sample_rate=rate)
    files = {UNTREATED: case.given, **case.outputs}
    waves = {name: el.load(path, sample_rate=rate)[0] for name, path in files.items()}
    delays = {name: delay(wave, reference, sample_rate=rate) for name, wave in waves.items()}
    waves[preset] = el.enhance_wave(waves[UNTREATED], weights, sample_rate=rate)
    delays[preset] = delays[UNTREATED]
    try:
        waves, reference = together(waves, delays, reference)
        if reference.shape[1] < LEAST_S * rate:
            raise InputError(f"under {LEAST_S:g} s that all of them cover")
    except InputError as error:
        raise InputError(f"{case.reference}: {error}; are these versions of one piece?") from None
    command = f"python -m tools.measure versus {case.folder}"
    shared = {"piece": case.piece, "condition": case.folder, "command": command}
    shared["facts"] = provenance(command)
    more = {
        "kind": case.kind,
        "reference_sha256": sha256(case.reference),
        "input_sha256": sha256(case.given),
        "measured_by": person,
    }
    rows = []
    for system, wave in waves.items():
        ours = system == preset
        shared["preset"] = preset if ours else ""
        shared["checkpoint_sha256"] = el.checkpoint_sha256(weights) if ours else ""
        more["output_sha256"] = "" if ours else sha256(files[system])
        more["delay_samples"] = delays[system]
        rows += [
            result_row(system, metric, value, el.METRICS[metric].unit, **shared) | more
            for metric, value in scores(wave, reference, rate).items()
        ]
    return rows


def scores(wave: Wave, reference: Wave, rate: int) -> dict[str, float]:
    """Every metric; NaN where a model of hearing has nothing to judge."""
    values = {}
    for metric in METRICS:
        try:
            found = el.score(wave, reference, sample_rate=rate, names=[metric])
            values[metric] = float(f"{found[metric]:.6g}")
        except InputError:
            values[metric] = float("nan")
    return values


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def versus(
    folders: Sequence[Path], preset: str, weights: Path, person: str, jobs: int | None
) -> pandas.DataFrame:
    """Rows of all folders, with the columns of :data:`COLUMNS`.

    Raises:
        InputError: as :func:`cases` and :func:`measure`, or two folders have one name.
    """
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        raise InputError(f"{', '.join(names)}: two folders of one name; it stands in the table")
    rate = preset_config(preset).sample_rate
    tasks = [(case, preset, weights, rate, person) for folder in folders for case in cases(folder)]
    found = parallel.map(measure, tasks, n_jobs=jobs, description="versus", unit="piece")
    return pandas.DataFrame([row for rows in found for row in rows])[list(COLUMNS)]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--preset", default="fullband-44k")
    parser.add_argument("--weights", default="published", help="published, or a checkpoint")
    parser.add_argument("--by", default="the authors of this book", help="who measures")
    parser.add_argument("--output", type=Path, default=RESULTS / "versus.csv")
    parser.add_argument("--jobs", type=int)
    arguments = parser.parse_args()
    try:
        check_commit(arguments.output)
        weights = el.find_weights(arguments.weights, preset=arguments.preset)
        table = versus(arguments.folders, arguments.preset, weights, arguments.by, arguments.jobs)
        write_table(table, arguments.output)
    except EnhanceError as error:
        sys.exit(f"error: {error}")
    for kind, part in el.by_kind(table):
        keys = {"index": ["condition", "system"], "columns": "metric"}
        print(kind, part.pivot_table(values="value", sort=False, **keys).round(3), sep="\n")
    print(f"{arguments.output}: {table['piece'].nunique()} pieces, {len(table)} values")


if __name__ == "__main__":
    main()
