"""Games, synthesizers, recordings: who owns them, how far they are trusted, how they are read."""

import contextlib
import csv
import dataclasses
import hashlib
import io
import os
import threading
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile

from enhancelib.errors import InputError
from tools.corpus.recipe import RATE
from tools.corpus.sources import games, lmms, midi, presets, recordings

# ---------------------------------------------------------------- who owns a file

COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: a game

Files: *
Copyright: 2001-2022 The Team <team@example.org>
           2003 Ann Other
License: GPL-3+
 Text of it.

Files: music/*.ogg
       music/old/*
Copyright: © 2019 Bea (https://bea.example)
License: CC-BY-SA-4.0

Files: music/theme.ogg
Copyright: Cy
License: CC-BY-NC-3.0

License: CC-BY-SA-4.0
 Text of it.
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "doc" / "a-game").mkdir(parents=True)
    (tmp_path / "doc" / "a-game" / "copyright").write_text(COPYRIGHT)
    monkeypatch.setattr(games, "DOCS", tmp_path / "doc")
    game = games.Game(tmp_path / "game" / "music", tmp_path / "game")
    monkeypatch.setattr(games, "PACKAGES", {"a-game": game})
    games.copyright_of.cache_clear()
    yield game
    games.copyright_of.cache_clear()


def test_the_last_stanza_that_matches_owns_a_file(package):
    expected = {
        "sound.ogg": ("GPL-3+", "The Team Ann Other"),
        "music/battle.ogg": ("CC-BY-SA-4.0", "Bea"),
        "music/old/menu.flac": ("CC-BY-SA-4.0", "Bea"),
        "music/theme.ogg": ("CC-BY-NC-3.0", "Cy"),
    }
    for name, owner in expected.items():
        assert games.ownership("a-game", package.root / name) == owner


def test_a_tune_that_comes_under_two_names_is_taken_once(tmp_path):
    for name, content in {"a": b"one", "b": b"two", "c": b"one", "d": b"three"}.items():
        (tmp_path / name).write_bytes(content)
    kept = games.different(sorted(tmp_path.iterdir()))
    assert sorted(file.name for file in kept) == ["a", "b", "d"]


def test_what_a_package_installs_may_lie_deeper_in_its_sources(package, monkeypatch):
    below = dataclasses.replace(package, root=package.root / "music", prefix="music/")
    monkeypatch.setattr(games, "PACKAGES", {"a-game": below})
    assert games.ownership("a-game", package.music / "battle.ogg") == ("CC-BY-SA-4.0", "Bea")


def test_a_list_of_holders_that_fills_a_page_is_not_copied():
    assert games.named("2006-2022 Ann <a@example.org>, 2010 Bea") == "Ann, Bea"
    assert games.named(", ".join(f"Person Number {index}" for index in range(30))) == ""


@pytest.mark.parametrize(
    "licence",
    ["GPL-2+", "GPL", "AGPL-3", "LGPL-2.1+", "CC0-1.0", "CC-BY-3.0", "CC-BY-SA-4.0", "MIT"],
)
def test_free_licences_are_free(licence):
    assert games.is_free(licence)


@pytest.mark.parametrize(
    "licence",
    ["CC-BY-NC-3.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-2.0", "CC-BY-NC-ND-3.0", "proprietary", ""],
)
def test_others_are_not(licence):
    assert not games.is_free(licence)


# ---------------------------------------------------------------- how far a file is trusted


def coded(path, *, seconds=46.0, quality=0.5, cut_hz=None):
    """Noise that falls by 6 dB an octave, in stereo, as Ogg Vorbis."""
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft(rng.standard_normal((2, round(seconds * RATE))), axis=1)
    hertz = np.fft.rfftfreq(round(seconds * RATE), 1 / RATE)
    spectrum /= np.maximum(hertz, 50)
    if cut_hz:
        spectrum[:, hertz > cut_hz] = 0
    wave = np.fft.irfft(spectrum, axis=1)
    wave *= 0.5 / np.abs(wave).max()
    path.parent.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(
        path, "w", RATE, 2, format="OGG", subtype="VORBIS", compression_level=1 - quality
    ) as file:
        for start in range(0, wave.shape[1], RATE):  # libsndfile fails on long blocks of Vorbis
            file.write(wave[:, start : start + RATE].T)
    return path


def test_a_vorbis_file_is_trusted_by_its_rate_and_to_its_own_cut(tmp_path):
    facts = {}
    for name, options in {"low": {"quality": 0.2}, "high": {"quality": 0.9}}.items():
        file = coded(tmp_path / f"{name}.ogg", seconds=10, **options)
        wave = soundfile.read(file, dtype="float32")[0].T
        facts[name] = games.once_lossy_facts(wave, file)
    assert facts["low"]["trusted_hz"] <= 15800 < facts["high"]["trusted_hz"]
    assert facts["high"]["once_lossy"] == 1
    file = coded(tmp_path / "cut.ogg", seconds=10, quality=0.9, cut_hz=14000)
    wave = soundfile.read(file, dtype="float32")[0].T
    assert games.once_lossy_facts(wave, file)["trusted_hz"] == pytest.approx(13500, abs=400)
    file = coded(tmp_path / "dull.ogg", seconds=10, quality=0.9, cut_hz=9000)
    wave = soundfile.read(file, dtype="float32")[0].T
    with pytest.raises(InputError, match=r"dull\.ogg: ends at 8\.\d kHz"):
        games.once_lossy_facts(wave, file)


def test_pieces_of_a_game_are_the_long_and_free_ones_as_they_are(package, tmp_path):
    battle = coded(package.music / "battle.ogg", quality=0.7)
    coded(package.music / "jingle.ogg", seconds=3)
    coded(package.music / "theme.ogg")  # no commercial use
    (recipe,) = games.game_recipes()
    assert (recipe.name, recipe.kind, recipe.author) == ("battle", "game", "Bea")
    assert recipe.path == "train/game/a-game/battle.ogg"
    target = tmp_path / "battle.ogg"
    facts = recipe.store(target)
    assert target.read_bytes() == battle.read_bytes()
    assert facts["duration_s"] == pytest.approx(46, abs=0.01)


def test_music_in_an_archive_is_unpacked_once_and_what_is_coded_too_low_is_left(
    package, tmp_path, monkeypatch
):
    battle = coded(tmp_path / "battle.ogg", quality=0.7)
    low = coded(tmp_path / "low.ogg", quality=0.0)
    assert games.kbps_of(low, 46) < games.LEAST_KBPS < games.kbps_of(battle, 46)
    archive = tmp_path / "game.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("music/old/battle.ogg", "music/old/low.ogg", "voices/battle.ogg"):
            file.write(tmp_path / Path(name).name, name)
    packed = dataclasses.replace(package, archive=archive)
    monkeypatch.setattr(games, "PACKAGES", {"a-game": packed})
    assert packed.proof == archive
    (recipe,) = games.game_recipes()
    assert (recipe.name, recipe.author, recipe.licence) == ("old_battle", "Bea", "CC-BY-SA-4.0")
    recipe.store(tmp_path / "stored.ogg")
    assert (tmp_path / "stored.ogg").read_bytes() == battle.read_bytes()
    assert not (package.root / "voices").exists()
    before = recipe.file.stat().st_mtime_ns
    games.game_recipes()
    assert recipe.file.stat().st_mtime_ns == before


def test_a_song_with_a_guitar_beside_it_gives_their_sum(package, tmp_path):
    song = coded(package.music / "song.ogg", quality=0.7)
    guitar = coded(package.music / "guitar.ogg", quality=0.7, cut_hz=12000)
    recipe = next(piece for piece in games.game_recipes() if piece.name == "song_and_guitar")
    facts = recipe.store(tmp_path / "sum.flac")
    wave = soundfile.read(tmp_path / "sum.flac", dtype="float32")[0]
    both = soundfile.read(song, dtype="float32")[0] + soundfile.read(guitar, dtype="float32")[0]
    assert np.corrcoef(wave[:, 0], both[:, 0])[0, 1] > 0.9999
    assert facts["once_lossy"] == 1
    assert facts["trusted_hz"] == pytest.approx(11500, abs=400)


def test_the_licence_of_every_song_is_that_of_lmms(tmp_path):
    facts = games.DOCS / "lmms" / "copyright"
    if not facts.exists():
        pytest.skip("the Debian package lmms is not installed")
    short = {"Artistic-2": "Artistic-2.0", "CC-BY-SA-3": "CC-BY-SA-3.0"}
    for songs in lmms.SONGS:
        for project in songs.projects:
            name = f"data/projects/{project}.mmpz"
            stanza = next(
                stanza
                for stanza in reversed(games.copyright_of("lmms"))
                if any(games.fnmatch.fnmatchcase(name, pattern) for pattern in stanza[0])
            )
            assert short.get(stanza[1], stanza[1]) == songs.licence, project


# ---------------------------------------------------------------- scores and patches


def score(path):
    """Two channels, one tempo change: a C for a beat, then an E for a beat at half the tempo."""
    file = mido.MidiFile(ticks_per_beat=480)
    track = mido.MidiTrack()
    file.tracks.append(track)
    track += [
        mido.MetaMessage("set_tempo", tempo=500_000),
        mido.Message("note_on", channel=0, note=60, velocity=100),
        mido.Message("note_on", channel=9, note=36, velocity=127),
        mido.Message("note_off", channel=9, note=36, time=120),
        mido.Message("note_on", channel=0, note=60, velocity=0, time=360),
        mido.MetaMessage("set_tempo", tempo=1_000_000),
        mido.Message("note_on", channel=0, note=64, velocity=50),
        mido.Message("note_off", channel=0, note=64, time=480),
    ]
    file.save(path)
    return path


def test_notes_of_a_score_have_their_times_and_channels(tmp_path):
    notes = presets.notes_of(score(tmp_path / "a.mid"), seconds=10)
    assert notes == {
        0: [presets.Note(0.0, 0.5, 60, 100), presets.Note(0.5, 1.0, 64, 50)],
        9: [presets.Note(0.0, 0.125, 36, 127)],
    }
    later = presets.notes_of(tmp_path / "a.mid", start_s=0.25, seconds=10)
    assert later == {0: [presets.Note(0.25, 1.0, 64, 50)]}


def test_drums_go_through_a_score_of_their_own():
    notes = [presets.Note(0.0, 0.25, 36, 127), presets.Note(1.0, 0.5, 42, 80)]
    file = mido.MidiFile(file=io.BytesIO(presets.drum_score(notes)))
    times, now = [], 0.0
    for message in file:
        now += message.time
        if message.type == "note_on":
            times.append((round(now, 3), message.channel, message.note, message.velocity))
    assert times == [(0.0, 9, 36, 127), (0.25, 9, 36, 0), (1.0, 9, 42, 80), (1.5, 9, 42, 0)]


def test_a_project_has_its_notes_in_lmms_terms(tmp_path):
    preset = tmp_path / "lead.xpf"
    preset.write_text(
        '<lmms-project type="instrumenttracksettings"><instrumenttracksettings>'
        '<instrumenttrack vol="100"><instrument name="kicker"/></instrumenttrack>'
        "</instrumenttracksettings></lmms-project>"
    )
    notes = [presets.Note(0.5, 0.25, 69, 127)]
    root = ElementTree.fromstring(presets.project([(presets.instrument_of(preset), notes)]))
    note = root.find(".//note")
    assert (note.get("pos"), note.get("len"), note.get("key")) == ("48", "24", "57")
    assert root.find(".//instrument").get("name") == "kicker"
    (tmp_path / "no.xpf").write_text("<other/>")
    with pytest.raises(InputError, match=r"no\.xpf: no preset"):
        presets.instrument_of(tmp_path / "no.xpf")


@pytest.mark.skipif(
    not midi.OPENMSX.exists(), reason="the Debian package openttd-openmsx is not installed"
)
def test_patches_without_treble_are_left_out():
    levels = [float(row["treble_db"]) for row in presets.surveyed()]
    assert levels == sorted(levels)
    dull = {row["path"] for row in presets.surveyed() if float(row["treble_db"]) <= -100}
    assert dull
    used = {str(patch) for recipe in presets.preset_recipes() for patch in recipe.patches}
    assert not used & dull


# ---------------------------------------------------------------- recordings


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two voices, a banjo, a guitar and its cabinet, a kit and seven rooms, with their index."""
    rng = np.random.default_rng(0)
    time_s = np.arange(RATE // 2) / RATE
    tones = [np.sin(2 * np.pi * 220 * 2 ** (step / 12) * time_s) for step in range(0, 16, 2)]
    gap = np.zeros(RATE // 20)
    plucks = [part for tone in tones for part in (0.5 * tone * np.exp(-4 * time_s), gap)]
    hits = [part for _ in range(6) for part in (rng.normal(0, 0.1, RATE // 5), gap)]
    room = np.exp(-8 * np.arange(RATE) / RATE) * rng.standard_normal(RATE) / 10
    voice = np.convolve(rng.normal(0, 0.2, 3 * RATE), np.ones(4) / 4, mode="same")
    files = [
        ("kathleen_00", "speech", "kathleen", voice),
        ("nathalie_00", "speech", "nathalie", voice[::-1]),
        ("kay5banjo_00", "instruments", "kay5banjo", np.concatenate(plucks)),
        ("emilyguitar_00", "instruments", "emilyguitar", np.concatenate(plucks)),
        ("muldjordkit_00", "instruments", "muldjordkit", np.concatenate(hits)),
        *((f"room_{index}", "impulse-responses", "rir_webaudio", room) for index in range(7)),
    ]
    with open(tmp_path / "index.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "kind", "source", "sha256"])
        for name, kind, source, wave in files:
            path = tmp_path / f"{name}.flac"
            soundfile.write(path, np.clip(wave, -1, 1), RATE)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            writer.writerow([path.name, kind, source, digest])
    monkeypatch.setattr(recordings, "CABINETS", tmp_path / "cabinets")
    recordings.CABINETS.mkdir()
    soundfile.write(recordings.CABINETS / "amp.wav", np.clip(room, -1, 1)[: RATE // 20], RATE)
    return tmp_path


def test_recordings_give_pieces_in_the_split_of_their_source(folder, tmp_path):
    made = recordings.recording_recipes(folder)
    by_source = {
        source: [recipe for recipe in made if recipe.source == source]
        for source in ("kathleen", "nathalie", "kay5banjo", "emilyguitar", "muldjordkit")
    }
    assert {name: len(pieces) for name, pieces in by_source.items()} == {
        "kathleen": 2, "nathalie": 2, "kay5banjo": 4, "emilyguitar": 8, "muldjordkit": 4,
    }  # fmt: skip
    for recipe in made:
        assert recipe.split == ("validation" if recipe.source in recordings.VALIDATION else "train")
        assert recipe.author == recordings.sources()[recipe.source].author
    rooms = {split: set() for split in ("train", "validation")}
    for recipe in made:
        rooms[recipe.split] |= {room.path for room in recipe.rooms}
    assert rooms["train"]
    assert rooms["validation"]
    assert not rooms["train"] & rooms["validation"]
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in folder.glob("*.*"):
        (moved / path.name).write_bytes(path.read_bytes())
    assert list(map(repr, recordings.recording_recipes(moved))) == list(map(repr, made))


def test_a_voice_is_once_in_the_middle_and_once_in_a_room(folder, tmp_path):
    dry, placed = (r for r in recordings.recording_recipes(folder) if r.source == "kathleen")
    wave = dry.render()
    assert np.array_equal(wave[0], wave[1])
    original = soundfile.read(folder / "kathleen_00.flac")[0]
    assert np.corrcoef(wave[0], original[: wave.shape[1]])[0, 1] > 0.99
    wave = placed.render()
    assert np.corrcoef(wave)[0, 1] < 0.999
    assert placed.licence == "CC0-1.0 x Apache-2.0 (rooms)"
    facts = dry.store(tmp_path / "dry.flac")
    assert (facts["once_lossy"], facts["channels"]) == (0, 2)


def test_what_came_in_opus_is_trusted_less(folder, tmp_path):
    recipe = next(r for r in recordings.recording_recipes(folder) if r.source == "nathalie")
    facts = recipe.store(tmp_path / "coded.flac")
    assert facts["once_lossy"] == 1
    assert facts["trusted_hz"] <= 12000


@pytest.mark.parametrize("source", ["kay5banjo", "muldjordkit", "emilyguitar"])
def test_instruments_play_for_a_minute_and_repeat(folder, source):
    made = [r for r in recordings.recording_recipes(folder) if r.source == source]
    assert (made[-1].cabinet is not None) == (source == "emilyguitar")
    wave = made[-1].render()
    assert wave.shape[1] == pytest.approx(60 * RATE, abs=4 * RATE)
    assert np.abs(wave).max() == pytest.approx(10 ** (-1 / 20), rel=1e-4)
    assert np.array_equal(made[-1].render(), wave)
    assert not np.allclose(made[0].render()[:, :RATE], wave[:, :RATE])


def test_a_folder_that_is_not_as_it_says_is_refused(folder):
    with pytest.raises(InputError, match=r"index\.csv is missing"):
        recordings.read_folder(folder / "nowhere")
    index, text = folder / "index.csv", (folder / "index.csv").read_text()
    index.write_text(text.replace(",kathleen,", ",somebody,"))
    with pytest.raises(InputError, match=r"the source 'somebody' is not in recordings\.csv"):
        recordings.read_folder(folder)
    index.write_text(text.replace("sha256", "hash", 1))
    with pytest.raises(InputError, match="needs rows with the columns"):
        recordings.read_folder(folder)
    index.write_text(text)
    voice = folder / "kathleen_00.flac"
    voice.write_bytes(voice.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"kathleen_00\.flac is not what index\.csv says"):
        recordings.read_folder(folder)
    voice.unlink()
    with pytest.raises(InputError, match=r"kathleen_00\.flac is missing"):
        recordings.read_folder(folder)


def test_every_source_is_free_and_has_an_author_and_an_address():
    for source in recordings.sources().values():
        free = games.is_free(source.licence) or source.licence in ("Unlicense", "Apache-2.0")
        assert free, source.name
        assert source.author
        assert all(address.startswith("https://") for address in source.addresses)
        assert source.addresses
    assert dataclasses.replace(recordings.sources()["vocobox"]).split == "validation"


@pytest.mark.skipif(not lmms.PROJECTS.exists(), reason="the Debian package lmms is not installed")
def test_lmms_renders_at_ordinary_priority():
    """LMMS asks for real-time priority, with which it would halt everything else."""
    song = next(recipe for recipe in lmms.song_recipes() if recipe.name == "Crunk(Demo)")
    classes = set()

    def watch():
        while not done.is_set():
            for stat in Path("/proc").glob("[0-9]*/stat"):
                with contextlib.suppress(OSError, ValueError):
                    pid = int(stat.parent.name)
                    parent = int(stat.read_text().rpartition(")")[2].split()[1])
                    if parent == os.getpid() and stat.read_text().split()[1] == "(lmms)":
                        threads = map(int, os.listdir(f"/proc/{pid}/task"))
                        classes.update(os.sched_getscheduler(thread) for thread in threads)
            done.wait(0.1)

    done = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        song.render()
    finally:
        done.set()
        watcher.join()
    assert classes == {os.SCHED_OTHER}
