"""Build the free training corpus: render every recipe, measure it, list it in a manifest."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from enhancelib import audio, parallel
from enhancelib.atomic import write_csv, write_text
from enhancelib.errors import EnhanceError, InputError
from tools.corpus.recipe import RATE, Recipe
from tools.corpus.recipes import all_recipes
from tools.corpus.sources import games, recordings

COLUMNS = (
    "path",
    "kind",
    "source",
    "author",
    "licence",
    "group",
    "split",
    "sha256",
    "sample_rate",
    "channels",
    "duration_s",
    "bandwidth_hz",
    "trusted_hz",
    "once_lossy",
)
"""Of the manifest. ``trusted_hz`` is the frequency up to which a piece may be believed; above it, a
piece that is ``once_lossy`` (1, else 0) was changed by a codec."""

VERSION = 2
"""Raised when rendering changes, so that pieces made before are made anew."""

_FACTS = ".facts"
_LOG = logging.getLogger(__name__)


def build(
    output_dir: str | Path,
    *,
    excerpts: str | Path = "data/excerpts",
    recipes: Iterable[Recipe] | None = None,
    small: bool = False,
    recordings_dir: str | Path | None = None,
    n_jobs: int | None = None,
    scheduler: str | None = None,
) -> Path:
    """Make what is missing of the corpus and write ``manifest.csv``.

    A piece is complete when its file (FLAC at 44.1 kHz, stereo, 16 bits with triangular dither; a
    game's as it was) and the facts about it are there, made by the same recipe; a killed run leaves
    complete pieces and nothing else that counts. Pieces that no recipe makes any more are removed;
    what was made of games or recordings stays where they are left out today.

    Args:
        output_dir: the corpus folder.
        excerpts: folder of the committed excerpts; what they were cut from is left out.
        recipes: what to make; None means :func:`~tools.corpus.recipes.all_recipes`.
        small: without the games' music.
        recordings_dir: folder of the free recordings; None leaves them out.
        n_jobs: processes; None means one per core.
        scheduler: address of a Dask scheduler that does the work instead.

    Returns:
        Path of ``manifest.csv``, with the columns :data:`COLUMNS`.

    Raises:
        ConfigError: A Debian package is missing.
        InputError: no recipe could be made.
    """
    output_dir = Path(output_dir)
    absent: set[str] = set()
    if recipes is None:
        folder = None if recordings_dir is None else Path(recordings_dir)
        recipes = all_recipes(materials(excerpts), small=small, recordings_dir=folder)
        absent = set(games.PACKAGES if small else ()) | set(
            recordings.sources() if folder is None else ()
        )
    jobs = [_Job(recipe, output_dir) for recipe in recipes]
    missing = [job for job in jobs if job.facts() is None]
    output_dir.mkdir(parents=True, exist_ok=True)
    audio.remove_left_overs(output_dir)
    reasons = parallel.map(
        _make, missing, n_jobs=n_jobs, scheduler=scheduler, description="corpus", unit="piece"
    )
    for job, reason in zip(missing, reasons, strict=True):
        if reason:
            _LOG.warning("skipped %s: %s", job.recipe.path, reason)
    rows = [facts for job in jobs if (facts := job.facts()) is not None]
    if not rows:
        raise InputError(f"{output_dir}: none of the {len(jobs)} pieces could be made")
    rows += _remove_others(output_dir, {job.recipe.path for job in jobs}, absent)
    return _write_manifest(output_dir / "manifest.csv", rows)


def materials(excerpts: str | Path) -> set[str]:
    """Beginnings of the names of what the committed excerpts, and their groups, were cut from.

    Raises:
        InputError: no ``index.csv`` there: without it the corpus might hold the test pieces.
    """
    index = Path(excerpts) / "index.csv"
    if not index.is_file():
        raise InputError(f"{index} is missing: the excerpts must be known to be left out")
    with open(index, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    prefixes = {"sonicpi_samples_": "sonicpi_", "guitar_belofilms_GuitarStrums_": "strums_"}
    names = {row["group"] for row in rows}
    for row in rows:
        stem = Path(row["path"]).stem.removeprefix("render_")
        for long, short in prefixes.items():
            stem = re.sub(f"^{long}", short, stem)
        names.add(stem)
    return names


def hours(manifest: str | Path) -> dict[str, dict[str, float]]:
    """Hours of audio in the corpus: split → kind → hours."""
    table: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    with open(manifest, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            table[row["split"]][row["kind"]] += float(row["duration_s"]) / 3600
    return {split: dict(kinds) for split, kinds in table.items()}


@dataclasses.dataclass(frozen=True)
class _Job:
    """A recipe and the folder it is made in."""

    recipe: Recipe
    output_dir: Path

    @property
    def path(self) -> Path:
        return self.output_dir / self.recipe.path

    @property
    def facts_path(self) -> Path:
        return self.output_dir / _FACTS / f"{self.recipe.path}.json"

    @property
    def fingerprint(self) -> str:
        """Changes with the recipe and with the way it is rendered."""
        return hashlib.sha256(f"{VERSION} {self.recipe!r}".encode()).hexdigest()

    def facts(self) -> dict | None:
        """The manifest row of the piece if it is complete and of this recipe, else None."""
        facts = _read_facts(self.facts_path, self.path)
        return facts if facts is not None and facts.pop("recipe") == self.fingerprint else None


def _make(job: _Job) -> str:
    """Make and describe one piece; the reason when it cannot be done, else nothing."""
    recipe = job.recipe
    try:
        job.path.parent.mkdir(parents=True, exist_ok=True)
        sound = recipe.store(job.path)
        with open(job.path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        facts = {
            "path": recipe.path,
            "kind": recipe.kind,
            "source": recipe.source,
            "author": recipe.author,
            "licence": recipe.licence,
            "group": recipe.group,
            "split": recipe.split,
            "sha256": digest,
            "sample_rate": RATE,
            **sound,
            "bytes": job.path.stat().st_size,
            "recipe": job.fingerprint,
        }
        job.facts_path.parent.mkdir(parents=True, exist_ok=True)
        write_text(job.facts_path, json.dumps(facts))
    except (EnhanceError, OSError) as error:
        return str(error)
    return ""


def _remove_others(output_dir: Path, wanted: set[str], absent: set[str]) -> list[dict]:
    """Remove pieces of earlier recipes; only what has facts, which nobody else writes.

    Returns:
        Manifest rows of the complete pieces whose sources are absent today: those stay.
    """
    kept = []
    for facts_path in sorted((output_dir / _FACTS).rglob("*.json")):
        path = facts_path.relative_to(output_dir / _FACTS).as_posix().removesuffix(".json")
        if path in wanted:
            continue
        facts = _read_facts(facts_path, output_dir / path)
        if facts is not None and facts["source"] in absent:
            del facts["recipe"]
            kept.append(facts)
        else:
            (output_dir / path).unlink(missing_ok=True)
            facts_path.unlink()
    return kept


def _read_facts(facts_path: Path, path: Path) -> dict | None:
    """What was noted of a piece, with its recipe's fingerprint; None unless the piece is whole."""
    try:
        facts = json.loads(facts_path.read_text(encoding="utf-8"))
        whole = path.stat().st_size == facts.pop("bytes") and {*COLUMNS, "recipe"} == set(facts)
    except (OSError, ValueError, KeyError):
        return None
    return facts if whole else None


def _write_manifest(path: Path, rows: list[dict]) -> Path:
    return write_csv(path, COLUMNS, sorted(rows, key=lambda row: row["path"]))
