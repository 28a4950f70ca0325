"""The three sets: what they hold, that nothing is in two of them, how stretches are chosen."""

import csv
import hashlib
import itertools
from pathlib import Path

import numpy as np
import pandas
import pytest

import enhancelib as el
from enhancelib.atomic import write_csv
from enhancelib.audio.bandwidth import bandwidth_hz, spectral_cliff
from enhancelib.errors import ConfigError, InputError
from enhancelib.evaluate.kinds import KINDS
from tools.corpus import build, pieces, recipes, scores, sets

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data"
DEVSET, TESTSET = (pandas.read_csv(DATA / f"{name}.csv") for name in ("devset", "testset"))
INDEX = pandas.read_csv(DATA / "excerpts" / "index.csv")
RATE = pieces.RATE


# --- what is there -------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [DEVSET, TESTSET], ids=["devset", "testset"])
def test_a_set_is_what_was_fixed(table):
    for row in table.itertuples():
        path = DATA / row.path
        assert hashlib.sha256(path.read_bytes()).hexdigest() == row.sha256, path
        wave, rate = el.load(path)
        assert 6 <= wave.shape[1] / rate <= 10, path
        assert wave.shape[1] / rate == pytest.approx(row.seconds, abs=0.001), path
    assert table[["source", "author", "licence"]].notna().all(axis=None)
    folder = DATA / table["path"].iloc[0].split("/")[0]
    assert {path.name for path in folder.iterdir()} == {Path(path).name for path in table["path"]}


def test_the_test_set_is_as_large_as_promised():
    shelves = TESTSET["path"].str.extract(r"/(\w+?)_")[0].value_counts()
    assert len(TESTSET) >= 24
    assert set(shelves.index) == {"song", "recorded", "drums", "voice", "sparse"}
    assert shelves.min() >= 5
    assert sum((DATA / path).stat().st_size for path in TESTSET["path"]) < 25e6
    assert len(DEVSET) == 18


def test_the_test_set_was_never_coded_and_is_as_wide_as_it_says():
    for row in TESTSET.itertuples():
        wave, rate = el.load(DATA / row.path)
        assert (rate, len(wave)) == (RATE, 2)
        assert spectral_cliff(wave, sample_rate=rate).depth_db < 20, row.path
        assert bandwidth_hz(wave, sample_rate=rate) == pytest.approx(row.bandwidth_hz, abs=1)
        assert (row.channels == 1) == np.array_equal(wave[0], wave[1]), row.path
    assert (TESTSET["bandwidth_hz"] > 18000).sum() > len(TESTSET) / 2


def test_the_new_excerpts_are_long_enough_to_listen_to():
    new = INDEX.iloc[42:]
    assert len(new) >= 12
    assert new["seconds"].between(10, 15).all()
    assert (new["rate"] == RATE).all()
    assert new["bytes"].sum() < 20e6
    assert list(new["bytes"]) == [(DATA / "excerpts" / name).stat().st_size for name in new["path"]]
    assert INDEX["author"].notna().all()


# --- that nothing is in two ----------------------------------------------------------------------


def makers(table) -> set[tuple[str, str]]:
    """Who made the pieces, and the package; those that a whole project made count by package."""
    return {
        (source, author.split(";")[0])
        for source, author in zip(table["source"], table["author"], strict=True)
    }


@pytest.mark.parametrize(
    ("one", "other"),
    list(itertools.combinations([DEVSET, TESTSET, INDEX], 2)),
    ids=["devset, testset", "devset, excerpts", "testset, excerpts"],
)
def test_no_maker_is_in_two_sets(one, other):
    assert makers(one) & makers(other) == set()


def test_packages_of_the_test_set_are_in_no_other_set_but_songs_by_others():
    shared = set(TESTSET["source"]) & (set(INDEX["source"]) | set(DEVSET["source"]))
    assert shared == {"lmms"}


def test_no_source_of_the_test_set_is_in_the_corpus():
    assert set(recipes.SPLITS) & {*TESTSET["source"], *recipes.HELD_OUT} == set()
    assert set(recipes.SPLITS.values()) == {"train", "validation"}


@pytest.mark.skipif(
    bool(recipes.missing_packages()), reason="the corpus's Debian packages are not installed"
)
def test_no_author_of_the_test_set_is_in_the_corpus():
    made = recipes.all_recipes(build.materials(DATA / "excerpts"))
    corpus = " ".join({recipe.author for recipe in made})
    people = {author for author in TESTSET["author"] if "contributors" not in author}
    assert len(people) >= 6
    assert [author for author in people if author in corpus] == []


def test_the_list_that_the_files_were_made_from_is_what_lies_there():
    listed = [f"testset/{piece.kind}_{piece.name}.flac" for piece in pieces.TESTSET]
    assert listed == list(TESTSET["path"])
    assert [piece.heard_as for piece in pieces.TESTSET] == list(TESTSET["kind"])
    assert {*TESTSET["kind"], *DEVSET["kind"]} == set(KINDS)
    listed = [f"{piece.kind}_{piece.name}.flac" for piece in pieces.EXCERPTS]
    assert listed == list(INDEX["path"][-len(listed) :])


# --- how they are made ---------------------------------------------------------------------------


def noise(levels_db, seconds=1):
    """Stereo noise, a stretch at each level."""
    rng = np.random.default_rng(0)
    parts = [10 ** (level / 20) * rng.standard_normal((2, RATE * seconds)) for level in levels_db]
    return np.concatenate(parts, axis=1).astype(np.float32)


def test_the_typical_stretch_is_at_the_median_and_the_quiet_one_at_the_bottom():
    wave = noise([-60, -60, -40, -40, -20, -20, -20, -20, -20, -12, -12, 12, 12, -20])
    part, start_s = pieces.typical(lambda shelf: wave, 2.0)(None)
    assert 4.0 <= start_s <= 7.0  # as loud as most of it
    assert np.abs(part).max() == pytest.approx(10 ** (-1 / 20), abs=1e-5)
    part, start_s = pieces.quiet(lambda shelf: wave, 2.0)(None)
    assert start_s == 1.0  # the two seconds before are too quiet
    assert np.abs(part).max() < 0.15
    _, start_s = pieces.typical(lambda shelf: wave, 2.0, (1, 2))(None)
    assert start_s >= 7.0


def test_a_short_recording_comes_twice_and_a_long_one_is_cut():
    short, long = noise([-20], 4), noise([-20], 12)
    part, _ = pieces.whole(lambda shelf: short)(None)
    assert part.shape == (2, round(8.5 * RATE))
    loud, soft = part[:, : 4 * RATE], part[:, round(4.5 * RATE) :]
    ratio_db = 10 * np.log10(np.mean(loud**2) / np.mean(soft**2))
    assert ratio_db == pytest.approx(12, abs=0.05)
    assert pieces.whole(lambda shelf: long)(None)[0].shape == (2, 10 * RATE)
    kept, _ = pieces.whole(lambda shelf: long, peak_db=None)(None)
    middle = slice(RATE, 9 * RATE)
    np.testing.assert_array_equal(kept[:, middle], long[:, middle])


def test_a_missing_package_is_named_with_the_remedy(tmp_path):
    shelf = pieces.Shelf(tmp_path, tmp_path)
    with pytest.raises(InputError, match=r"fox\.wav: not there; install the packages"):
        shelf.recording("/usr/share/fox.wav")


def test_packed_recordings_and_other_rates_are_read(tmp_path):
    import gzip

    wave = noise([-20])[:1]
    el.save(tmp_path / "a.wav", el.resample(wave, from_rate=RATE, to_rate=48000), sample_rate=48000)
    (tmp_path / "a.wav.gz").write_bytes(gzip.compress((tmp_path / "a.wav").read_bytes()))
    (tmp_path / "a.wav").unlink()
    read = pieces.Shelf(tmp_path, tmp_path).recording("/a.wav")
    assert read.shape == (2, RATE)
    np.testing.assert_array_equal(read[0], read[1])


def piece(name, wave):
    return pieces.Piece(name, "song", "package", "author", "MIT", "here", lambda shelf: (wave, 0.0))


def test_a_set_is_written_once_and_whole(tmp_path, monkeypatch):
    wave = noise([-20], 6)
    monkeypatch.setattr(sets, "TESTSET", (piece("a", wave), piece("b", wave)))
    sets.make_testset(None, tmp_path)
    rows = list(csv.DictReader((tmp_path / "testset.csv").open(newline="")))
    assert [row["path"] for row in rows] == ["testset/song_a.flac", "testset/song_b.flac"]
    assert tuple(rows[0]) == sets.COLUMNS
    assert rows[0]["author"] == "author"
    assert float(rows[0]["seconds"]) == 6.0
    with pytest.raises(ConfigError, match="is there, and a test set is not to change"):
        sets.make_testset(None, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"testset", "testset.csv"}


def test_what_was_coded_before_is_refused_and_nothing_is_left(tmp_path, monkeypatch):
    wave = noise([-20], 6)
    spectrum = np.fft.rfft(wave, axis=1)
    spectrum[:, np.fft.rfftfreq(wave.shape[1], 1 / RATE) > 11000] = 0
    coded = np.fft.irfft(spectrum, n=wave.shape[1], axis=1).astype(np.float32)
    monkeypatch.setattr(sets, "TESTSET", (piece("a", wave), piece("b", coded)))
    with pytest.raises(
        InputError, match=r"b: falls by \d+ dB at 1\d{4} Hz, so it was coded before"
    ):
        sets.make_testset(None, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_excerpts_are_added_and_never_replaced(tmp_path, monkeypatch):
    folder = tmp_path / "excerpts"
    folder.mkdir()
    write_csv(folder / "index.csv", sets.EXCERPT_COLUMNS, [{"path": "old.flac"}])
    monkeypatch.setattr(sets, "EXCERPTS", (piece("a", noise([-20], 6)),))
    sets.make_excerpts(None, tmp_path)
    rows = list(csv.DictReader((folder / "index.csv").open(newline="")))
    assert [row["path"] for row in rows] == ["old.flac", "song_a.flac"]
    assert int(rows[1]["bytes"]) == (folder / "song_a.flac").stat().st_size
    with pytest.raises(ConfigError, match=r"song_a\.flac is there; delete it"):
        sets.make_excerpts(None, tmp_path)


def test_a_pattern_plays_its_marks_with_small_deviations():
    pattern = scores.Pattern(120, ({36: "x.......o......."},))
    notes = pattern.notes(seconds=4.0, seed=0)
    assert [note.key for note in notes] == [36] * 4
    assert [note.start for note in notes] == pytest.approx([0, 2, 4, 6], abs=0.05)
    assert notes[0].velocity > notes[1].velocity + 20
    assert notes == pattern.notes(seconds=4.0, seed=0)


def test_a_score_becomes_midi_that_says_the_same():
    notes = [scores.Note(0, 1, 60, 90), scores.Note(1, 200, 64, 80, 1)]
    data = scores._midi(notes, 120, [0, 48])
    assert data[:8] == b"MThd\0\0\0\x06"
    assert int.from_bytes(data[18:22], "big") == len(data) - 22
    assert b"\xff\x51\x03" + (500000).to_bytes(3, "big") in data
    assert b"\xc1\x30" in data
    assert b"\x91\x40\x50" in data
    assert b"\x85\xee\x00\x81\x40\x00" in data  # 96,000 ticks later it ends
