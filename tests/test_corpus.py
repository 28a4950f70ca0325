"""The corpus: measuring bandwidth, making music of one-shots, building, and what is left out."""

import csv
import dataclasses
import hashlib
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import correlate, firwin, lfilter, resample_poly

from enhancelib import codecs, corpus, recipes, sequencer
from enhancelib.bandwidth import bandwidth_hz, spectral_cliff
from enhancelib.errors import InputError
from enhancelib.recipes import BandRecipe, GrooveRecipe, MidiRecipe, Recipe, SpeechRecipe

RATE = 44100
EXCERPTS = Path(__file__).parent.parent / "data" / "excerpts"
needs_packages = pytest.mark.skipif(
    bool(recipes.missing_packages()),
    reason=f"Debian packages are not installed: {', '.join(recipes.missing_packages())}",
)


def noise(seconds=2.0, seed=0):
    rng = np.random.default_rng(seed)
    return 0.1 * rng.standard_normal((2, round(seconds * RATE))).astype(np.float32)


# ---------------------------------------------------------------- bandwidth and cliffs


@pytest.mark.parametrize("cutoff", [4000, 11000, 16000])
def test_bandwidth_of_filtered_noise_is_the_cutoff(cutoff):
    wave = lfilter(firwin(1023, cutoff, fs=RATE, window=("kaiser", 10)), 1, noise(), axis=1)
    assert bandwidth_hz(wave.astype(np.float32), sample_rate=RATE) == pytest.approx(cutoff, abs=350)


def test_bandwidth_of_full_band_noise_and_of_silence():
    assert bandwidth_hz(noise(), sample_rate=RATE) > 21800
    assert bandwidth_hz(noise(0.01), sample_rate=RATE) > 21800
    assert bandwidth_hz(np.zeros((1, RATE), np.float32), sample_rate=RATE) == 0


@pytest.mark.parametrize(
    ("condition", "edge_hz"), [("mp3-128", 16500), ("mp3-64", 11000), ("down-16000hz", 7900)]
)
def test_a_once_lossy_file_shows_a_cliff(condition, edge_hz):
    cliff = spectral_cliff(codecs.degrade(noise(), condition, sample_rate=RATE), sample_rate=RATE)
    assert cliff.depth_db > 30
    assert cliff.frequency_hz == pytest.approx(edge_hz, abs=900)


def test_what_fades_or_has_gaps_is_no_cliff():
    time_s = np.arange(2 * RATE) / RATE
    brown = np.cumsum(noise(), axis=1).astype(np.float32)
    kick = (np.sin(2 * np.pi * 60 * time_s) * np.exp(-9 * time_s))[None].astype(np.float32)
    partials = sum(np.sin(2 * np.pi * 1500 * k * time_s) / k for k in range(1, 14))
    for wave in (noise(), 0.01 * brown, kick, 0.3 * partials[None].astype(np.float32)):
        assert spectral_cliff(wave, sample_rate=RATE).depth_db < 30


# ---------------------------------------------------------------- the sequencer


def click(level=1.0):
    wave = np.zeros((2, 100), np.float32)
    wave[:, 0] = level
    return wave


def test_place_adds_at_the_sample_and_pans():
    canvas = np.zeros((2, 1000), np.float32)
    sequencer.place(canvas, click(), at_s=100 / RATE, gain=0.5)
    sequencer.place(canvas, click(), at_s=100 / RATE, gain=0.5, pan=-1.0)
    sequencer.place(canvas, click(), at_s=950 / RATE)
    sequencer.place(canvas, click(), at_s=2000 / RATE)
    assert canvas[:, 100].tolist() == [1.0, 0.5]
    assert canvas[:, 950].tolist() == [1.0, 1.0]
    assert np.count_nonzero(canvas) == 4


def test_drums_play_in_time():
    beats_per_minute = 120
    wave = sequencer.drums(
        {"kick": [click()]}, beats_per_minute=beats_per_minute, bars=4, rng=np.random.default_rng(1)
    )
    hits_s = np.flatnonzero(wave[0] > 0.2) / RATE
    sixteenth_s = 60 / beats_per_minute / 4
    assert len(hits_s) >= 8
    off_grid_s = np.abs(hits_s / sixteenth_s - np.round(hits_s / sixteenth_s)) * sixteenth_s
    assert np.median(off_grid_s) < 0.01
    assert wave.shape == (2, 4 * 2 * RATE + RATE)


def test_a_voice_is_repitched():
    time_s = np.arange(RATE) / RATE
    take = np.tile(np.sin(2 * np.pi * 440 * time_s), (2, 1)).astype(np.float32)
    for semitones, expected in ((0, 440), (12, 880), (-12, 220)):
        wave = sequencer.voice(
            take, [semitones], seconds=0.4, note_s=0.4, rng=np.random.default_rng(0)
        )
        spectrum = np.abs(np.fft.rfft(wave[0] * np.hanning(wave.shape[1]), n=8 * RATE))
        assert np.argmax(spectrum) / 8 == pytest.approx(expected, abs=2)


def test_a_loop_repeats_without_a_click():
    take = np.ones((2, RATE // 10), np.float32)
    wave = sequencer.loop(take, seconds=1.0)
    inside = wave[:, RATE // 10 : -RATE // 10]
    assert inside.min() > 0.9
    assert inside.max() < 1.1


def test_a_room_decays_by_60_db():
    wave = np.zeros((2, 2 * RATE), np.float32)
    wave[:, 0] = 1
    wet = sequencer.room(wave, decay_s=1.0, wet_db=-10, rng=np.random.default_rng(0))
    wet[:, 0] -= 1
    assert 10 * np.log10(np.sum(wet[0] ** 2)) == pytest.approx(-10, abs=0.1)
    early, late = wet[:, : RATE // 10], wet[:, RATE // 2 : RATE // 2 + RATE // 10]
    assert 10 * np.log10(np.sum(early**2) / np.sum(late**2)) == pytest.approx(30, abs=2)
    assert np.abs(wet[:, RATE + 2 :]).max() < 1e-6


def test_a_mix_has_its_levels_and_peak():
    low, high = noise(1, seed=1), noise(1.5, seed=2)
    wave = sequencer.mix([(low, -30.0), (high, -10.0), (np.zeros((2, RATE), np.float32), -10.0)])
    assert wave.shape == (2, RATE)
    assert np.abs(wave).max() == pytest.approx(10 ** (-1 / 20), rel=1e-5)
    ratio = [np.sum(wave * layer[:, :RATE]) / np.sum(layer[:, :RATE] ** 2) for layer in (low, high)]
    assert 20 * np.log10(ratio[1] / ratio[0]) == pytest.approx(20, abs=1)


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
    assert recipes.role_of(name) == role


def test_music_lumps_are_read_from_a_wad(tmp_path):
    lumps = {"D_E1M1": b"MThd-one", "PLAYPAL": b"colours", "D_INTRO": b"MUS\x1a"}
    body, entries, at = b"", b"", 12
    for name, data in lumps.items():
        entries += struct.pack("<ii8s", at, len(data), name.encode())
        body, at = body + data, at + len(data)
    wad = tmp_path / "game.wad"
    wad.write_bytes(struct.pack("<4sii", b"IWAD", len(lumps), at) + body + entries)
    assert recipes.read_lumps(wad) == {"D_E1M1": b"MThd-one", "D_INTRO": b"MUS\x1a"}
    (tmp_path / "other.wad").write_bytes(b"RIFF....")
    with pytest.raises(InputError, match="no WAD"):
        recipes.read_lumps(tmp_path / "other.wad")


def test_a_take_that_was_coded_or_slow_before_is_dropped(tmp_path):
    clean = noise(1)
    coded = codecs.degrade(clean, "mp3-128", sample_rate=RATE)
    for name, wave, rate in (("a", clean, RATE), ("b", coded, RATE), ("c", clean, 22050)):
        soundfile.write(tmp_path / f"{name}.wav", wave.T, rate, subtype="FLOAT")
    kept = [recipes.load_take(tmp_path / f"{name}.wav") for name in "abc"]
    assert [take is not None for take in kept] == [True, False, False]


def test_the_materials_of_every_excerpt_are_known(tmp_path):
    names = corpus.materials(EXCERPTS)
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
        corpus.materials(tmp_path)


@needs_packages
def test_no_recipe_uses_what_an_excerpt_was_cut_from():
    """By sound, not by name: no sample of the corpus contains a quarter second of an excerpt."""
    files = set()
    for recipe in recipes.all_recipes(corpus.materials(EXCERPTS)):
        if isinstance(recipe, BandRecipe):
            files |= {path for _, paths in recipe.instruments for path in paths}
            files |= {*recipe.voices, *recipe.beds, *recipe.strums}
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

    itself = slow(recipes.SONIC_PI / "loop_mika.flac")
    assert max(likeness(itself, snippet) for snippet in snippets) > 0.95
    for path in sorted(path for path in files if path.parent == recipes.SONIC_PI):
        wave = slow(path)
        assert max(likeness(wave, snippet) for snippet in snippets) < 0.9, path.name


@needs_packages
def test_no_material_is_in_two_splits():
    splits = {}
    for recipe in recipes.all_recipes(corpus.materials(EXCERPTS)):
        used = {recipe.group}
        if isinstance(recipe, BandRecipe):
            used |= {path for _, paths in recipe.instruments for path in paths}
            used |= {*recipe.voices, *recipe.beds, *recipe.strums}
        if isinstance(recipe, MidiRecipe):
            lumps = recipes.read_lumps(recipe.midi) if recipe.lump else {}
            used.add(hashlib.sha256(lumps.get(recipe.lump) or recipe.midi.read_bytes()).digest())
        if isinstance(recipe, SpeechRecipe):
            used |= {path.parent for path in recipe.words}
        for material in used:
            assert splits.setdefault(material, recipe.split) == recipe.split


@needs_packages
@pytest.mark.parametrize("kind", [MidiRecipe, GrooveRecipe, BandRecipe, SpeechRecipe])
def test_a_recipe_of_each_kind_sounds_and_repeats(kind):
    recipe = next(
        recipe
        for recipe in recipes.all_recipes(corpus.materials(EXCERPTS))
        if isinstance(recipe, kind)
    )
    wave = recipe.render()
    assert wave.dtype == np.float32
    assert wave.shape[0] == 2
    assert wave.shape[1] > 5 * RATE
    assert np.abs(wave).max() == pytest.approx(10 ** (-1 / 20), rel=1e-4)
    assert bandwidth_hz(wave, sample_rate=RATE) > 9000
    if kind in (BandRecipe, SpeechRecipe):
        assert np.array_equal(recipe.render(), wave)


def test_the_readme_names_every_licence_and_package():
    text = (EXCERPTS.parent / "README.md").read_text()
    with open(EXCERPTS / "index.csv", newline="") as file:
        licences = {row["licence"].split()[0] for row in csv.DictReader(file)}
    licences |= {
        licence.split()[0].removesuffix("-US") for _, licence in recipes.KIT_FACTS.values()
    }
    assert [licence for licence in licences if licence not in text] == []
    assert [package for package in recipes.PACKAGES if f"`{package}`" not in text] == []


# ---------------------------------------------------------------- building


@dataclasses.dataclass(frozen=True)
class Tone(Recipe):
    """A recipe that needs no package."""

    hertz: float = 440.0

    def render(self):
        if self.hertz <= 0:
            raise InputError(f"{self.name}: no such tone")
        time_s = np.arange(2 * RATE) / RATE
        wave = np.sin(2 * np.pi * self.hertz * time_s) * 0.5
        return np.tile(wave.astype(np.float32), (2, 1))


def tones(*hertz):
    return [
        Tone(f"tone {value}", "tones", "CC0-1.0", f"tones/{value}", "train", value)
        for value in hertz
    ]


def build(folder, made):
    return corpus.build(folder, recipes=made, n_jobs=1)


def test_the_manifest_states_what_is_there(tmp_path):
    manifest = build(tmp_path, tones(440, 880))
    with open(manifest, newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == corpus.COLUMNS
    assert [row["path"] for row in rows] == [
        "train/tones/tone_440.flac", "train/tones/tone_880.flac",
    ]  # fmt: skip
    for row, hertz in zip(rows, (440, 880), strict=True):
        path = tmp_path / row["path"]
        assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (row["split"], row["licence"], row["source"]) == ("train", "CC0-1.0", "tones")
        facts = soundfile.info(path)
        assert (facts.samplerate, facts.channels, facts.subtype) == (RATE, 2, "PCM_16")
        assert float(row["duration_s"]) == facts.duration == 2.0
        assert float(row["bandwidth_hz"]) == pytest.approx(hertz, abs=250)
    assert corpus.hours(manifest) == {"train": {"tones": pytest.approx(4 / 3600)}}


def test_the_rounding_is_dithered(tmp_path):
    """The error of 16 bits is noise of constant power, not distortion of the signal."""
    recipe = tones(440)[0]
    build(tmp_path, [recipe])
    error = soundfile.read(tmp_path / recipe.path)[0].T - recipe.render()
    assert np.std(error) * 2**15 == pytest.approx(np.sqrt(1 / 6 + 1 / 12), rel=0.03)
    spectrum = np.abs(np.fft.rfft(error[0]))
    assert spectrum[2 * 880] < 5 * np.median(spectrum)


def test_a_second_build_changes_nothing(tmp_path):
    def state():
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.flac")}

    manifest = build(tmp_path, tones(440, 880))
    before, text = state(), manifest.read_text()
    build(tmp_path, tones(440, 880))
    assert state() == before
    assert manifest.read_text() == text


def test_what_no_recipe_makes_is_removed_and_what_is_not_ours_stays(tmp_path):
    build(tmp_path, tones(440, 880))
    own = tmp_path / "train" / "tones" / "mine.flac"
    soundfile.write(own, np.zeros(1000), RATE)
    manifest = build(tmp_path, tones(880))
    assert not (tmp_path / "train/tones/tone_440.flac").exists()
    assert own.exists()
    assert "tone_440" not in manifest.read_text()


def test_a_changed_recipe_and_a_damaged_piece_are_made_again(tmp_path):
    first = tones(440, 880)
    build(tmp_path, first)
    path = tmp_path / first[1].path
    path.write_bytes(path.read_bytes()[:-100])
    changed = [dataclasses.replace(first[0], hertz=500.0), first[1]]
    build(tmp_path, changed)
    assert soundfile.info(path).duration == 2.0
    wave, _ = soundfile.read(tmp_path / first[0].path)
    assert np.argmax(np.abs(np.fft.rfft(wave[:, 0]))) / 2 == pytest.approx(500)


def test_a_piece_that_fails_is_skipped_and_nothing_at_all_is_an_error(tmp_path, caplog):
    manifest = build(tmp_path / "some", tones(440, -1))
    assert "skipped train/tones/tone_-1.flac: tone -1: no such tone" in caplog.text
    assert manifest.read_text().count("tone_") == 1
    with pytest.raises(InputError, match="none of the 1 pieces"):
        build(tmp_path / "none", tones(-1))


def test_killed_while_building_it_resumes(tmp_path):
    code = """
import sys; sys.path.insert(0, sys.argv[1])
from test_corpus import build, tones
build(sys.argv[2], tones(*range(200, 3200, 100)))
"""
    folder = tmp_path / "corpus"
    process = subprocess.Popen(
        [sys.executable, "-c", code, Path(__file__).parent, folder],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None and len(list(folder.rglob("*.json"))) < 4:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "manifest.csv").exists()
    kept = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}
    manifest = build(folder, tones(*range(200, 3200, 100)))
    assert manifest.read_text().count("tone_") == 30
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert not [path for path in folder.rglob("*") if "part" in path.name]
