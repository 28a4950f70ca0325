"""Write who made what the corpus is made of into ``credits.csv`` beside this file.

    python -m tools.corpus.credits

The rows come from the recipes, so the Debian packages have to be there, the games too. Recordings
are those of ``sources/recordings.csv``. The book's page of credits and the model card read the
table.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from enhancelib.errors import ConfigError, EnhanceError
from tools.corpus import build, recipes
from tools.corpus.recipe import Recipe
from tools.corpus.sources import midi, presets, recordings

TABLE = Path(__file__).with_name("credits.csv")
EDITIONS = {"1": TABLE.with_name("credits_first_edition.csv"), "2": TABLE}
"""Edition of the corpus → who made what is in it. The recipes make the last one; the first was
written by the recipes of its time."""

COLUMNS = ("kind", "package", "source", "author", "licence", "split", "pieces")
"""``package`` is a Debian package or a public address. ``pieces`` is empty for recordings: their
folder decides. ``split`` is ``both`` for what all pieces share: soundfonts, patches, rooms."""

SPELT_OUT = {
    "OpenMSX's composers": "Jim Redfarn, Tistou Blomberg, imuh3, mimm, Kyle Timmerman (Mr.Ksoft), "
    "-lucas-",
    "Andrey Korotaev Igor Ulyanov aka Displacer Hedgewars Project": "Andrey Korotaev, Igor Ulyanov "
    "(Displacer), Hedgewars Project",
    "Parallel Realities Guus Sliepen, Astrid S. de Wijn, and others Julie Marchant": "Parallel "
    "Realities, Guus Sliepen, Astrid S. de Wijn, Julie Marchant and others",
    "Rasmus Neckelmann Nicolas Adenis-Lamarre Emmanuel Gorse Jens Erler X-Moto Development Team": (
        "Rasmus Neckelmann, Nicolas Adenis-Lamarre, Emmanuel Gorse, Jens Erler, X-Moto's team"
    ),
    "the da speaker of KTuberling": "the Danish speaker of KTuberling",
    "the ro speaker of KTuberling": "the Romanian speaker of KTuberling",
    "the ru speaker of KTuberling": "the Russian speaker of KTuberling",
}
"""Authors as a recipe has them → as readers should read them; the packages' documents say who."""

_PACKAGES = {
    "mma": "mma",
    "openmsx": "openttd-openmsx",
    presets.SOURCE: "openttd-openmsx",
    "freedoom1": "freedoom",
    "sonic-pi": "sonic-pi-samples",
    "TR808EmulationKit": "hydrogen-data",
}
_TOGETHER = " x "  # joins the licences of a score and of what plays it


def package_of(recipe: Recipe) -> str:
    """The Debian package that brings a piece; nothing where it is generated."""
    if recipe.source in recipes.GAMES:
        return recipe.source
    by_kind = {"song": "lmms-common", "speech": "ktuberling-data", "band": "hydrogen-drumkits"}
    return _PACKAGES.get(recipe.source, by_kind.get(recipe.kind, ""))


def rows_of(made: Iterable[Recipe]) -> list[dict[str, object]]:
    """The rows of the table: pieces by their makers, recordings, and what all of them share.

    Args:
        made: every recipe that needs no folder of recordings.
    """
    made = list(made)
    counts: Counter[tuple[str, ...]] = Counter()
    for recipe in made:
        author = recipe.author.split("; ")[0]  # others follow who made what plays it
        licence = recipe.licence.split(_TOGETHER)[0]
        facts = (recipe.kind, package_of(recipe), recipe.source)
        counts[*facts, SPELT_OUT.get(author, author), licence, recipe.split] += 1
    rows = [(*facts, count) for facts, count in sorted(counts.items())]
    rows += sorted(_recorded())
    rows += [
        (kind, package, source, author, licence, "both", _playing(made, mark))
        for kind, package, source, author, licence, mark in _shared()
    ]
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def _recorded() -> list[tuple[object, ...]]:
    """Rows of the recordings; their rooms serve both splits."""
    kinds = {"instruments": "instrument", "impulse-responses": "room"}
    return [
        (
            kinds.get(source.kind, source.kind),
            " ".join(source.addresses),
            source.name,
            source.author,
            source.licence,
            "both" if source.kind == "impulse-responses" else source.split,
            "",
        )
        for source in recordings.sources().values()
    ]


def _shared() -> list[tuple[str, ...]]:
    """Kind, package, name, author and licence of what plays; and its mark in a recipe's licence."""
    fonts = {
        midi.MUSESCORE: "musescore-general-soundfont-lossless",
        midi.FLUID: "fluid-soundfont-gm",
    }
    shared = [
        ("soundfont", package, name, midi.SOUNDFONT_AUTHORS[font], "MIT", f"({name})")
        for font, package in fonts.items()
        for name in [midi.SOUNDFONTS[font]]
    ]
    for package, author in presets.AUTHORS.items():
        shared.append(("patches", package, "presets", author, "GPL-2+", "(patches)"))
    cabinets = ("cabinets", "guitarix-common", "amps", recordings.CABINETS_AUTHOR, "GPL-2+")
    return [*shared, (*cabinets, "")]


def _playing(made: list[Recipe], mark: str) -> int | str:
    """How many pieces a shared sound plays in; nothing where recordings decide."""
    return sum(mark in recipe.licence for recipe in made) if mark else ""


def read(edition: str) -> list[dict[str, str]]:
    """The table of an edition, its values as text.

    Raises:
        ConfigError: there is no such edition.
    """
    if edition not in EDITIONS:
        raise ConfigError(f"no edition {edition!r} of the corpus: there are {', '.join(EDITIONS)}")
    with open(EDITIONS[edition], newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def used_in(rows: list[dict[str, str]], sources: list[str]) -> list[dict[str, str]]:
    """The rows of these sources and of what played them; rooms are for recordings only."""
    own = [row for row in rows if row["source"] in sources and row["split"] != "both"]
    recorded = any(not row["pieces"] for row in own)
    tools = [row for row in rows if row["split"] == "both" and (row["pieces"] or recorded)]
    return own + tools


def write(path: Path, rows: list[dict[str, object]]) -> None:
    """Write the table."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Write ``credits.csv``; a missing package is an error, or its makers would be left out."""
    if missing := recipes.missing_packages():
        sys.exit(f"error: Debian packages are missing: {' '.join(missing)} (make corpus)")
    try:
        rows = rows_of(recipes.all_recipes(build.materials("data/excerpts")))
    except EnhanceError as error:
        sys.exit(f"error: {error}")
    write(TABLE, rows)
    print(f"{len(rows)} rows in {TABLE}")


if __name__ == "__main__":
    main()
