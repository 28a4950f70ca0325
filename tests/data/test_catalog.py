"""Splits: no leak, no empty split without need, the layouts of known data sets."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from enhancelib.data.catalog import SPLITS, assign_splits, choose_pieces, list_pieces, take
from enhancelib.errors import InputError


def touch(folder, *names):
    """A tenth of a second of audio under every name, each different."""
    for index, name in enumerate(names):
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(4410, index / 1000), 44100)


def split_of(folder):
    return {piece.name: piece.split for piece in list_pieces(folder)}


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.sampled_from("abc"), max_size=40))
def test_every_stratum_of_three_is_in_every_split(strata):
    splits = assign_splits(strata)
    assert splits.keys() == strata.keys()
    assert set(splits.values()) <= set(SPLITS)
    for stratum in set(strata.values()):
        members = [group for group in strata if strata[group] == stratum]
        if len(members) >= 3:
            assert {splits[group] for group in members} == set(SPLITS)
    if len(strata) >= 3:
        assert set(splits.values()) == set(SPLITS)
    assert assign_splits(dict(reversed(strata.items()))) == splits


@pytest.mark.parametrize(
    ("count", "train", "validation", "test"),
    [(1, 1, 0, 0), (2, 1, 1, 0), (3, 1, 1, 1), (10, 6, 2, 2), (100, 70, 15, 15)],
)
def test_shares(count, train, validation, test):
    splits = list(assign_splits({f"piece {index}": "" for index in range(count)}).values())
    assert [splits.count(split) for split in SPLITS] == [train, validation, test]


def test_splits_are_those_of_every_earlier_version():
    """In the order of SHA-256: music that was trained on must not come into the test later."""
    splits = assign_splits({f"song {index}": "" for index in range(10)})
    held_out = {"song 5": "validation", "song 2": "validation", "song 7": "test", "song 1": "test"}
    assert splits == dict.fromkeys(splits, "train") | held_out


@given(st.dictionaries(st.text(max_size=3), st.sampled_from(SPLITS), max_size=20))
def test_given_splits_stay_when_validation_is_among_them(fixed):
    fixed = fixed | {"given": "validation"}
    assert assign_splits(dict.fromkeys(fixed, ""), fixed) == fixed


def test_musdb_layout_takes_mixtures_and_makes_a_validation_split(tmp_path):
    tracks = [f"train/Artist {index} - Song" for index in range(10)]
    tracks += [f"test/Other {index} - Song" for index in range(4)]
    for track in tracks:
        touch(tmp_path / track, "mixture.wav", "vocals.wav", "drums.wav", "bass.wav", "other.wav")
    splits = split_of(tmp_path)
    assert set(splits) == {f"{track}/mixture.wav" for track in tracks}
    assert {splits[name] for name in splits if name.startswith("test/")} == {"test"}
    kinds = [splits[name] for name in splits if name.startswith("train/")]
    assert (kinds.count("train"), kinds.count("validation")) == (8, 2)


def test_the_folder_of_a_split_is_no_album(tmp_path):
    """Songs that lie in it, whatever else lies elsewhere, can be parted."""
    touch(tmp_path, *(f"train/{name}.wav" for name in "abcde"), "test/A/1.wav", "test/B/2.wav")
    splits = split_of(tmp_path)
    training = [splits[f"train/{name}.wav"] for name in "abcde"]
    assert (training.count("train"), training.count("validation")) == (4, 1)
    touch(tmp_path, "intro.wav")
    splits = split_of(tmp_path)
    assert "train" in [splits[f"train/{name}.wav"] for name in "abcde"]
    assert {splits["test/A/1.wav"], splits["test/B/2.wav"]} == {"test"}


def test_titles_are_short_and_tell_all_files_apart(tmp_path):
    touch(
        tmp_path,
        *("train/A - B/mixture.wav", "test/C - D/mixture.wav", "a/x/01.wav", "b/x/01.wav"),
        *("c/01.flac", "speech_1.wav", "speech_1.flac"),
    )
    titles = {piece.name: piece.title for piece in list_pieces(tmp_path)}
    assert titles == {
        "train/A - B/mixture.wav": "mixture (A - B)",
        "test/C - D/mixture.wav": "mixture (C - D)",
        "a/x/01.wav": "a/x/01.wav",
        "b/x/01.wav": "b/x/01.wav",
        "c/01.flac": "01 (c)",
        "speech_1.wav": "speech_1.wav",
        "speech_1.flac": "speech_1.flac",
    }


def test_albums_stay_together(tmp_path):
    touch(tmp_path, *(f"album {a}/track {t}.flac" for a in range(6) for t in range(5)))
    splits = split_of(tmp_path)
    for album in range(6):
        assert len({splits[f"album {album}/track {track}.flac"] for track in range(5)}) == 1
    assert set(splits.values()) == set(SPLITS)


def test_a_catalogue_gives_licence_source_group_and_split(tmp_path):
    touch(tmp_path, "a.wav", "b.wav", "c.wav", "d.wav", "new.wav")
    (tmp_path / "index.csv").write_text(
        "path,source,licence,group,split\n"
        "a.wav,kit,CC0-1.0,g1,test\nb.wav,kit,CC-BY-3.0,g1,test\n"
        "c.wav,band,CC0-1.0,,train\nd.wav,band,CC0-1.0,,validation\n"
    )
    pieces = {piece.name: piece for piece in list_pieces(tmp_path)}
    assert pieces["b.wav"].licence == "CC-BY-3.0"
    assert (pieces["a.wav"].source, pieces["a.wav"].group) == ("kit", "g1")
    assert [pieces[f"{name}.wav"].split for name in "abcd"] == [
        "test", "test", "train", "validation",
    ]  # fmt: skip
    assert pieces["new.wav"].licence == "unknown"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.wav,x,g,dev\n", "a.wav has the split 'dev'"),
        ("a.wav,x,g,train\nb.wav,x,g,test\n", "a group belongs to one split"),
    ],
)
def test_a_catalogue_that_leaks_or_errs_is_refused(tmp_path, rows, message):
    touch(tmp_path, "a.wav", "b.wav")
    (tmp_path / "index.csv").write_text("path,licence,group,split\n" + rows)
    with pytest.raises(InputError, match=message):
        list_pieces(tmp_path)


def test_a_catalogue_that_a_spreadsheet_saved_is_read_or_refused(tmp_path):
    touch(tmp_path, "ä.wav", "b.wav", "c.wav")
    rows = "path,split\nä.wav,test\nb.wav,test\nc.wav,train\n"
    (tmp_path / "index.csv").write_bytes(rows.encode("utf-8-sig"))  # "CSV UTF-8" of Excel
    assert split_of(tmp_path) == {"b.wav": "test", "c.wav": "train", "ä.wav": "test"}
    for saved, message in (
        (rows.replace(",", ";").encode(), "index.csv: is not separated by commas"),
        (rows.replace(",", "\t").encode(), "index.csv: is not separated by commas"),
        (rows.encode("latin-1"), "index.csv: is no CSV in UTF-8"),
    ):
        (tmp_path / "index.csv").write_bytes(saved)
        with pytest.raises(InputError, match=message):
            list_pieces(tmp_path)
    (tmp_path / "index.csv").write_text("name,year\nx,1999\n")  # somebody's own list
    assert len(list_pieces(tmp_path)) == 3


def test_one_file_is_a_training_piece(tmp_path):
    touch(tmp_path, "song.wav", "other.wav")
    assert [(p.name, p.split) for p in list_pieces(tmp_path / "song.wav")] == [
        ("song.wav", "train")
    ]


def test_folder_names_are_safe_and_distinct(tmp_path):
    touch(tmp_path, "a/b.wav", "a_b.wav", "a b.wav", "b.flac", "b.wav", "ü" * 80 + ".wav")
    folders = [piece.folder for piece in list_pieces(tmp_path)]
    assert len(set(folders)) == 6
    assert all(name.isascii() and " " not in name and len(name) < 80 for name in folders)


def test_taking_some_files_covers_splits_and_sources(tmp_path):
    names = [f"{source}{index}.wav" for source in "xyz" for index in range(8)]
    touch(tmp_path, *names)
    rows = "".join(f"{name},{name[0]},CC0-1.0\n" for name in names)
    (tmp_path / "index.csv").write_text("path,source,licence\n" + rows)
    pieces = list_pieces(tmp_path)
    everywhere = {piece.name: piece.split for piece in pieces}
    for count in (3, 6, 12):
        some = take(pieces, count)
        assert len(some) == count
        assert {piece.split for piece in some} == set(SPLITS)
        assert all(piece.split == everywhere[piece.name] for piece in some)
        assert len({piece.source for piece in some}) >= min(3, count // 2)
    assert {piece.name for piece in take(pieces, 3)} <= {piece.name for piece in take(pieces, 6)}
    assert take(pieces, 1000) == take(pieces, None) == pieces
    with pytest.raises(InputError, match="max_files: 0 is not a whole number of 1 or more"):
        take(pieces, 0)


@pytest.fixture
def shelf(tmp_path):
    """Songs of a band in two groups, two of a singer, one drum loop; the number is the size."""
    rows = {
        "song_a1": ("band", "a", 5),
        "song_a2": ("band", "a", 9),
        "song_b": ("band", "b", 8),
        "voice_c": ("singer", "c", 7),
        "voice_d": ("singer", "d", 2),
        "loop_e": ("kit", "e", 1),
    }
    for name, (_, _, tenths) in rows.items():
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(4410 * tenths), 44100)
    lines = "".join(f"{name}.wav,{source},{group}\n" for name, (source, group, _) in rows.items())
    (tmp_path / "index.csv").write_text("path,source,group\n" + lines)
    return list_pieces(tmp_path)


@pytest.mark.parametrize(
    ("count", "like", "chosen"),
    [
        (None, "*", ["song_a2", "voice_c", "loop_e", "song_b", "voice_d"]),
        (0, "*", ["song_a2", "voice_c", "loop_e", "song_b", "voice_d"]),
        (2, "*", ["song_a2", "voice_c"]),
        (1, "loop_*", ["loop_e"]),
        (4, "voice_*", ["voice_c", "voice_d", "song_a2", "loop_e"]),
        (3, "song_a1.*", ["song_a1", "voice_c", "loop_e"]),
        (1, "piano_*", ["song_a2"]),
    ],
)
def test_chosen_pieces_differ(shelf, count, like, chosen):
    """One of each group, sources in turn, large files first; alike names come before all others."""
    for order in (shelf, shelf[::-1]):
        assert [p.path.stem for p in choose_pieces(order, count, like=like)] == chosen


def test_there_must_be_something_to_choose_from():
    with pytest.raises(InputError, match="no piece to choose from"):
        choose_pieces([], 1)
