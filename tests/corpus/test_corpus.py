"""What the corpus is made of: every source known, free, in one split, and in no other set."""

import csv
import hashlib
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import correlate, resample_poly

from enhancelib.audio.bandwidth import bandwidth_hz
from enhancelib.degrade import codecs
from enhancelib.errors import InputError
from tools.corpus import __main__ as command
from tools.corpus import build, recipes
from tools.corpus.recipe import KINDS
from tools.corpus.sources import bands, midi, recordings
from tools.corpus.sources.bands import BandRecipe, WordsRecipe
from tools.corpus.sources.midi import MidiRecipe

RATE = 44100
EXCERPTS = Path(__file__).parents[2] / "data" / "excerpts"
needs_packages = pytest.mark.skipif(
    bool(recipes.missing_packages(small=True)),
    reason=f"Debian packages are missing: {' '.join(recipes.missing_packages(small=True))}",
)


@pytest.fixture(scope="module")
def all_pieces():
    """Every piece that needs no folder of recordings."""
    return recipes.all_recipes(build.materials(EXCERPTS))


# ---------------------------------------------------------------- sources


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("Kick Lite 1", "kick"),
        ("BassDrum", "kick"),
        ("Snare Rimshot", "snare"),
        ("Hand Clap", "snare"),
        ("Hi Hat Closed", "hat"),
        ("Closed HH", "hat"),
        ("crash16inch", "crash"),
        ("Paiste Ride", "ride"),
        ("Floor Tom", "tom"),
        ("Whistle", "perc"),
    ],
)
def test_roles_follow_names(name, role):
    assert bands.role_of(name) == role


def test_music_lumps_are_read_from_a_wad(tmp_path):
    lumps = {"D_E1M1": b"MThd-one", "PLAYPAL": b"colours", "D_INTRO": b"MUS\x1a"}
    body, entries, at = b"", b"", 12
    for name, data in lumps.items():
        entries += struct.pack("<ii8s", at, len(data), name.encode())
        body, at = body + data, at + len(data)
    wad = tmp_path / "game.wad"
    wad.write_bytes(struct.pack("<4sii", b"IWAD", len(lumps), at) + body + entries)
    assert midi.read_lumps(wad) == {"D_E1M1": b"MThd-one", "D_INTRO": b"MUS\x1a"}
    (tmp_path / "other.wad").write_bytes(b"RIFF....")
    with pytest.raises(InputError, match="no WAD"):
        midi.read_lumps(tmp_path / "other.wad")


def test_a_take_that_was_coded_or_slow_before_is_dropped(tmp_path):
    clean = 0.1 * np.random.default_rng(0).standard_normal((2, RATE)).astype(np.float32)
    coded = codecs.degrade(clean, "mp3-128", sample_rate=RATE)
    for name, wave, rate in (("a", clean, RATE), ("b", coded, RATE), ("c", clean, 22050)):
        soundfile.write(tmp_path / f"{name}.wav", wave.T, rate, subtype="FLOAT")
    kept = [bands.load_take(tmp_path / f"{name}.wav") for name in "abc"]
    assert [take is not None for take in kept] == [True, False, False]


def test_the_materials_of_every_excerpt_are_known(tmp_path):
    names = build.materials(EXCERPTS)
    with open(EXCERPTS / "index.csv", newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    assert {"freedoom1_D_E1M2", "sonicpi_loop_tabla", "sonicpi_tabla", "strums_Amajor"} <= names
    stems = [
        Path(path).stem.replace("sonicpi_samples_", "sonicpi_")
        .replace("guitar_belofilms_GuitarStrums_", "strums_")
        .replace("render_", "")
        for path in paths
    ]  # fmt: skip
    assert set(stems) <= names
    with pytest.raises(InputError, match=r"index\.csv is missing"):
        build.materials(tmp_path)


@needs_packages
def test_no_recipe_uses_what_an_excerpt_was_cut_from(all_pieces):
    """By sound, not by name: no sample of the corpus contains a quarter second of an excerpt."""
    files = set()
    for recipe in all_pieces:
        if isinstance(recipe, BandRecipe):
            files |= {path for _, paths in recipe.instruments for path in paths}
            files |= {*recipe.voices, *recipe.beds}
        if isinstance(recipe, MidiRecipe):
            assert f"render_{recipe.name}" not in {path.stem for path in EXCERPTS.glob("*.flac")}
    assert len(files) > 500

    def slow(path, **options):
        wave, rate = soundfile.read(path, dtype="float32", always_2d=True, **options)
        return resample_poly(wave.mean(axis=1).astype(float), 11025, rate)

    snippets = []
    for path in sorted(EXCERPTS.glob("sonicpi_*.flac")):
        wave = slow(path)
        middle = len(wave) // 2
        snippets.append(wave[middle : middle + 2756])
    snippets = [snippet / np.linalg.norm(snippet) for snippet in snippets if snippet.any()]
    assert len(snippets) == 28

    def likeness(wave, snippet):
        wave = np.pad(wave, (0, max(0, len(snippet) - len(wave))))
        match = correlate(wave, snippet, mode="valid", method="fft")
        energy = np.cumsum(np.pad(wave**2, (1, 0)))
        return np.max(match / np.sqrt(energy[len(snippet) :] - energy[: -len(snippet)] + 1e-3))

    itself = slow(bands.SONIC_PI / "loop_mika.flac")
    assert max(likeness(itself, snippet) for snippet in snippets) > 0.95
    for path in sorted(path for path in files if path.parent == bands.SONIC_PI):
        wave = slow(path)
        assert max(likeness(wave, snippet) for snippet in snippets) < 0.9, path.name


@needs_packages
def test_no_material_source_author_or_group_is_in_two_splits(all_pieces):
    splits = {}
    for recipe in all_pieces:
        used = {("source", recipe.source), ("group", recipe.group), ("author", recipe.author)}
        used |= {("author", name.strip()) for name in re.split("[,;/]| and ", recipe.author)}
        if isinstance(recipe, BandRecipe):
            used |= {path for _, paths in recipe.instruments for path in paths}
            used |= {*recipe.voices, *recipe.beds}
        if isinstance(recipe, MidiRecipe):
            used.add(hashlib.sha256(recipe.score).digest())
        if isinstance(recipe, WordsRecipe):
            used |= {path.parent for path in recipe.words}
        for material in used:
            assert splits.setdefault(material, recipe.split) == recipe.split, material
    assert set(splits.values()) == {"train", "validation"}


@needs_packages
def test_the_table_of_splits_is_what_the_recipes_say(all_pieces):
    stated = {recipe.source: recipe.split for recipe in all_pieces}
    assert stated.items() <= recipes.SPLITS.items()
    missing = set(recipes.SPLITS) - set(stated) - set(recipes.GAMES) - set(recordings.sources())
    assert missing == set()
    assert not set(recipes.SPLITS) & set(recipes.HELD_OUT)
    assert {recipe.kind for recipe in all_pieces} <= set(KINDS)
    assert len({recipe.path for recipe in all_pieces}) == len(all_pieces)
    held_out = "|".join(name.removeprefix("lmms-") for name in recipes.HELD_OUT)
    assert [r.path for r in all_pieces if re.search(held_out, repr(r))] == []


@needs_packages
@pytest.mark.parametrize("kind", ["song", "rendered", "synthesizer", "band", "speech", "signal"])
def test_a_recipe_of_each_kind_sounds_and_repeats(kind, all_pieces):
    name = {"song": "Crunk(Demo)"}.get(kind)  # the shortest song
    recipe = next(
        recipe for recipe in all_pieces if recipe.kind == kind and name in (None, recipe.name)
    )
    wave = recipe.render()
    assert wave.dtype == np.float32
    assert wave.shape[0] == 2
    assert wave.shape[1] > 5 * RATE
    assert np.abs(wave).max() == pytest.approx(10 ** (-1 / 20), rel=1e-4)
    assert bandwidth_hz(wave, sample_rate=RATE) > 9000
    if kind in ("band", "speech", "signal"):
        assert np.array_equal(recipe.render(), wave)


@needs_packages
def test_mma_plays_every_groove_file_once(all_pieces):
    grooves = [recipe for recipe in all_pieces if isinstance(recipe, midi.GrooveRecipe)]
    names = [name.lower() for recipe in grooves for name in recipe.grooves]
    assert len(names) > len(grooves) > 200
    assert bandwidth_hz(grooves[0].render(), sample_rate=RATE) > 9000


def test_the_readme_names_every_licence_and_package():
    text = (EXCERPTS.parent / "README.md").read_text()
    with open(EXCERPTS / "index.csv", newline="") as file:
        licences = {row["licence"].split()[0] for row in csv.DictReader(file)}
    licences |= {licence.split()[0].removesuffix("-US") for _, licence in bands.KIT_FACTS.values()}
    assert [licence for licence in licences if licence not in text] == []
    packages = recipes.PACKAGES | recipes.GAMES
    assert [package for package in packages if f"`{package}`" not in text] == []
    assert [name for name in recordings.sources() if f"`{name}`" not in text] == []
    assert [column for column in build.COLUMNS if column not in text] == []


# ---------------------------------------------------------------- the command


@pytest.mark.parametrize(
    ("small", "folder", "said"),
    [
        (True, None, ["games' music", "recorded speech"]),
        (True, Path("recordings"), ["games' music"]),
    ],
)
def test_the_command_says_what_it_leaves_out(small, folder, said):
    lines = command.left_out(small=small, recordings=folder)
    assert len(lines) == len(said)
    for line, words in zip(lines, said, strict=True):
        assert line.startswith("Left out: ")
        assert words in line


def test_a_folder_without_an_index_is_refused_in_one_line(tmp_path, root):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tools.corpus", tmp_path / "corpus", "--small"),
            *("--recordings", tmp_path / "nothing"),
        ],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path}/nothing/index.csv is missing")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "corpus").exists()
