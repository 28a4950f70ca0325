"""Our weights beside the published outputs of others, on a small folder that was made up."""

import hashlib

import numpy as np
import pandas
import pytest

import enhancelib as el
from enhancelib.errors import InputError
from tools.measure import versus
from tools.publish import beside

RATE, LATE = 44100, 100
PRESET = "fullband-44k"
PIECES = {"song__cpu": "song_cpu_1", "speech__mathews": "voice_mathews"}


@pytest.fixture(scope="module")
def folder(root, tmp_path_factory):
    """`by-perfect` returns the original, late; `by-mono` makes one piece, in mono, cut short."""
    folder = tmp_path_factory.mktemp("versus") / "demo"
    for name, excerpt in PIECES.items():
        wave, _ = el.load(root / f"data/excerpts/{excerpt}.flac", sample_rate=RATE, duration_s=2.5)
        lossy = el.degrade(wave, "mp3-48", sample_rate=RATE)
        early = lossy[:, LATE:]
        late = np.pad(wave, ((0, 0), (LATE, 0)))
        made = {"ref": wave, "in": early, "by-perfect": late}
        if name == "song__cpu":
            made["by-mono"] = lossy.mean(axis=0, keepdims=True)[:, : 2 * RATE]
        for part, sound in made.items():
            (folder / part).mkdir(parents=True, exist_ok=True)
            el.save(folder / part / f"{name}.flac", sound, sample_rate=RATE)
    return folder


@pytest.fixture(scope="module")
def table(folder):
    weights = el.find_weights("published", preset=PRESET)
    return versus.versus([folder], PRESET, weights, "a test", 1)


def value(table, piece, system, metric):
    chosen = table[
        (table["piece"] == piece) & (table["system"] == system) & (table["metric"] == metric)
    ]
    return chosen["value"].item()


def test_every_system_is_measured_on_what_it_made(table):
    assert tuple(table.columns) == versus.COLUMNS
    systems = table.groupby("piece")["system"].unique().map(set)
    everywhere = {"untreated", PRESET, "perfect"}
    assert systems["song__cpu"] == everywhere | {"mono"}
    assert systems["speech__mathews"] == everywhere
    assert set(table["metric"]) == set(versus.METRICS)
    assert dict(table[["piece", "kind"]].drop_duplicates().to_numpy()) == {
        "song__cpu": "song",
        "speech__mathews": "speech",
    }
    assert set(table["condition"]) == {"demo"}


def test_delays_are_found_and_taken_out(table):
    delays = table.groupby("system")["delay_samples"].unique().map(set)
    assert delays["perfect"] == {LATE}
    assert delays["untreated"] == delays[PRESET] == {-LATE}
    for piece in PIECES:
        assert value(table, piece, "perfect", "si_sdr") > 60
        assert value(table, piece, "perfect", "lsd") < 0.01
        assert value(table, piece, "perfect", "visqol") > 4.7
        assert value(table, piece, "untreated", "si_sdr") > 3
        assert value(table, piece, "untreated", "treble_level_difference") < -3


def test_ours_is_what_the_weights_make_of_the_input(table, folder):
    given, _ = el.load(folder / "in" / "speech__mathews.flac")
    reference, _ = el.load(folder / "ref" / "speech__mathews.flac")
    weights = el.find_weights("published", preset=PRESET)  # exported files differ by -120 dB
    ours = el.enhance_wave(given, weights, sample_rate=RATE)
    wanted = el.score(ours, reference[:, LATE:], sample_rate=RATE, names=["lsd", "si_sdr"])
    for metric, right in wanted.items():
        got = value(table, "speech__mathews", PRESET, metric)
        assert got == pytest.approx(right, rel=1e-5)


def test_rows_name_what_they_were_measured_from(table, folder):
    for row in table.drop_duplicates(["piece", "system"]).itertuples():
        files = {"reference": folder / "ref", "input": folder / "in"}
        ours = row.system == PRESET
        if not ours:
            parent = "in" if row.system == "untreated" else f"by-{row.system}"
            files["output"] = folder / parent
        for what, parent in files.items():
            content = (parent / f"{row.piece}.flac").read_bytes()
            assert getattr(row, f"{what}_sha256") == hashlib.sha256(content).hexdigest()
        assert (row.output_sha256 == "") == ours
        weights = el.checkpoint_sha256(el.find_weights("published", preset=PRESET))
        assert row.checkpoint_sha256 == (weights if ours else "")
        assert row.measured_by == "a test"


def test_the_command_writes_the_table(folder, tmp_path, monkeypatch, capsys):
    file = tmp_path / "versus.csv"
    arguments = ["versus", str(folder), "--output", str(file), "--jobs", "1", "--by", "me"]
    monkeypatch.setattr("sys.argv", arguments)
    versus.main()
    written = pandas.read_csv(file, keep_default_na=False)
    assert tuple(written.columns) == versus.COLUMNS
    assert set(written["measured_by"]) == {"me"}
    assert "2 pieces" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["versus", str(tmp_path), "--output", str(file)])
    with pytest.raises(SystemExit, match=r"error: .*ref: no such folder"):
        versus.main()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["in/song__a.wav"], "ref: no such folder; originals lie in ref"),
        (["ref/song__a.wav"], "in: no such folder"),
        (["ref/song__a.wav", "ref/song__b.wav", "in/song__a.wav"], r"song__b.wav: no file of that"),
        (
            ["ref/song__a.wav", "in/song__a.wav", "by-x/song__c.wav"],
            r"song__c.wav: no file of that",
        ),
        (["ref/a.wav", "in/a.wav"], r"a.wav: begin its name with a kind and __, of song, recorded"),
        (["ref/jazz__a.wav", "in/jazz__a.wav"], r"begin its name with a kind"),
        (["ref/song__a.wav", "ref/song__a.flac", "in/song__a.wav"], "two files of one name"),
    ],
)
def test_a_folder_laid_out_otherwise_is_refused(files, message, tmp_path):
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        el.save(path, np.zeros((1, 100), np.float32), sample_rate=RATE)
    with pytest.raises(InputError, match=message):
        versus.cases(tmp_path)


def test_sounds_that_are_not_of_one_piece_are_refused(folder, tmp_path):
    for part, seconds in (("ref", 2.0), ("in", 0.5)):
        wave, _ = el.load(folder / "ref" / "song__cpu.flac", duration_s=seconds)
        el.save(tmp_path / part / "song__a.wav", wave, sample_rate=RATE)
    (case,) = versus.cases(tmp_path)
    weights = el.find_weights("published", preset=PRESET)
    with pytest.raises(InputError, match=r"song__a.wav: under 1 s .* versions of one piece\?"):
        versus.measure((case, PRESET, weights, RATE, ""))


def test_the_page_shows_means_by_kind_and_who_measured_them(table):
    shown = beside.means(table)
    assert shown.index.tolist() == [
        *(("demo", "song", name) for name in ("untreated", "mono", "perfect", PRESET)),
        *(("demo", "speech", name) for name in ("untreated", "perfect", PRESET)),
    ]
    row = shown.loc[("demo", "song", "perfect")]
    assert row["ViSQOL"] == round(value(table, "song__cpu", "perfect", "visqol"), 2)
    assert row["ViSQOL under ours"] == "0 of 1"
    assert shown.loc[("demo", "song", PRESET), "ViSQOL under ours"] == "–"
    said = beside.origin(table)
    assert "Measured by a test" in said
    assert "2 pieces" in said
    assert el.checkpoint_sha256(el.find_weights("published", preset=PRESET))[:12] in said
