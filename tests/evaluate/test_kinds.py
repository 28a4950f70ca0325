"""Kinds of pieces: read from tables and names, and no mean over two of them."""

import pandas
import pytest

import enhancelib as el
from enhancelib.errors import InputError
from enhancelib.evaluate import kinds


@pytest.mark.parametrize(
    ("piece", "kind"),
    [
        ("song__apollo_01", "song"),
        ("speech__recorded_in_a_room", "speech"),
        ("singing__a", "singing"),
        ("sonicpi_samples_loop_mika", "recorded"),
        ("render_freedoom1_D_E1M2", "rendered"),
        ("voice_mathews", "speech"),
        ("songbird", "other"),
        ("my favourite_song", "other"),
    ],
)
def test_a_name_tells_the_kind(piece, kind):
    assert kinds.kind_of(piece) == kind


def test_the_tables_of_the_sets_come_before_the_names(root, tmp_path):
    found = el.kinds_of(
        ["recorded_choir", "sparse_onion", "speech_00", "x"], data_dir=root / "data"
    )
    assert found.to_dict() == {
        "recorded_choir": "singing",
        "sparse_onion": "song",
        "speech_00": "speech",
        "x": "other",
    }
    files = el.kinds_of(["recorded_choir.flac", "song.WAV", "song v2.1"], data_dir=root / "data")
    assert files.tolist() == ["singing", "song", "other"]
    without = el.kinds_of(["recorded_choir", "sparse_onion"], data_dir=tmp_path)
    assert without.tolist() == ["recorded", "other"]


def rows(*pieces):
    """Two systems under two conditions of one codec, by one metric."""
    names = {"sbc-10": 1.0, "sbc-20": 2.0, "sbc-28": 3.0, "sbc-35": 4.0}
    return pandas.DataFrame(
        [
            {
                "piece": piece,
                "condition": name,
                "system": system,
                "metric": "visqol",
                "value": value,
            }
            for piece in pieces
            for name, value in names.items()
            for system in ("untreated", "ours")
        ]
    )


def test_rows_come_apart_by_kind_and_none_is_lost():
    table = rows("speech__a", "z", "song__b", "song__a")
    parts = dict(el.by_kind(table))
    assert list(parts) == ["song", "speech", "other"]
    assert set(parts["song"]["piece"]) == {"song__a", "song__b"}
    assert pandas.concat(parts.values()).index.sort_values().equals(table.index)


@pytest.mark.parametrize(
    "mean",
    [
        el.summarize,
        el.does_good,
        lambda table: el.does_no_harm(table, transparent=["sbc-10"]),
        lambda table: el.equal_rates(table, dict.fromkeys(table["condition"], 1.0)),
        lambda table: el.bitrate_saving(table, dict.fromkeys(table["condition"], 1.0)),
    ],
    ids=["summarize", "does_good", "does_no_harm", "equal_rates", "bitrate_saving"],
)
def test_no_mean_is_taken_over_two_kinds(mean):
    with pytest.raises(InputError, match=r"2 kinds \(song, speech\) would share a mean; take one"):
        mean(rows("song__a", "speech__a"))


def test_one_kind_with_pieces_of_no_kind_has_a_mean():
    assert len(el.summarize(rows("song__a", "song__b", "z"))) == 4
