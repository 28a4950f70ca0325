"""The table of credits: all that the recipes use, each from the package that really brings it."""

import csv
import shutil
import subprocess
from pathlib import Path

import pytest

from tools.corpus import build, credits, recipes
from tools.corpus.sources import games, midi, recordings

ROOT = Path(__file__).parents[2]
needs_packages = pytest.mark.skipif(
    bool(recipes.missing_packages()),
    reason=f"Debian packages are missing: {' '.join(recipes.missing_packages())}",
)


@pytest.fixture(scope="module")
def table():
    with open(credits.TABLE, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def pieces():
    return recipes.all_recipes(build.materials(ROOT / "data" / "excerpts"))


@needs_packages
def test_the_table_is_what_the_recipes_say(table, pieces, tmp_path):
    credits.write(tmp_path / "now.csv", credits.rows_of(pieces))
    assert (tmp_path / "now.csv").read_text() == credits.TABLE.read_text()
    own = [row for row in table if row["pieces"] and row["split"] != "both"]
    assert sum(int(row["pieces"]) for row in own) == len(pieces)
    assert {row["author"] for row in own} & set(credits.SPELT_OUT) == set()


@needs_packages
@pytest.mark.skipif(not shutil.which("dpkg"), reason="dpkg is not there")
def test_debian_says_that_each_package_brings_its_pieces(table, pieces):
    files = {}
    for piece in pieces:
        for name in ("project", "midi", "file", "stems", "words", "instruments"):
            value = getattr(piece, name, None)
            while isinstance(value, tuple):
                value = value[-1]
            if isinstance(value, Path):
                if value.is_relative_to(games.UNPACKED):
                    value = games.PACKAGES[piece.source].archive
                files[str(value)] = credits.package_of(piece)
    files |= {str(midi.MUSESCORE): "musescore-general-soundfont-lossless"}
    files |= {str(midi.FLUID): "fluid-soundfont-gm", str(recordings.CABINETS): "guitarix-common"}
    said = subprocess.run(["dpkg", "-S", *files], capture_output=True, text=True, check=True).stdout
    owners = dict(reversed(line.split(": ", 1)) for line in said.splitlines())
    wrong = {path: owners.get(path) for path, name in files.items() if owners.get(path) != name}
    assert wrong == {}
    stated = {row["package"] for row in table if not row["package"].startswith("https")}
    assert stated - set(files.values()) == {"", "mma", "zynaddsubfx-data"}  # no file of a recipe


def test_every_recording_is_credited_with_its_address(table):
    found = {row["source"]: row for row in table if row["package"].startswith("https://")}
    assert set(found) == set(recordings.sources())
    for name, source in recordings.sources().items():
        row = found[name]
        assert (row["author"], row["licence"]) == (source.author, source.licence)
        assert row["package"].split() == list(source.addresses)
        assert row["pieces"] == ""


@pytest.mark.parametrize(
    ("edition", "shared"),
    [("1", {"soundfont"}), ("2", {"cabinets", "patches", "room", "soundfont"})],
)
def test_every_row_names_an_author_and_a_free_licence(edition, shared):
    rows = credits.read(edition)
    assert tuple(rows[0]) == credits.COLUMNS
    for row in rows:
        assert row["author"], row
        assert games.is_free(row["licence"]) or row["licence"] in ("Apache-2.0", "Unlicense"), row
        assert row["split"] in ("train", "validation", "both"), row
    assert {row["kind"] for row in rows if row["split"] == "both"} == shared
