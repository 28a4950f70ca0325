"""Training items: the shares of a large draw, and items made from a small corpus of real files."""

import csv
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
import soundfile
import torch
from conftest import PATIENCE_S

from enhancelib.audio.bandwidth import long_term_spectrum
from enhancelib.data import item_plans, items, mixing
from enhancelib.data.item_conditions import LOW_RATES, MIDDLE_RATES, OWN_CUT_HZ, USUAL_RATES
from enhancelib.data.item_plans import ItemSettings, Material, Part, Plan, Pool, draw
from enhancelib.degrade import codecs
from enhancelib.errors import ConfigError, InputError
from enhancelib.locking import only_one
from tools.research import items as command

RATE = 44100
COLUMNS = (
    *("path", "kind", "source", "author", "licence", "group", "split", "sha256", "sample_rate"),
    *("channels", "duration_s", "bandwidth_hz", "trusted_hz", "once_lossy"),
)
DRAWN = 12000


def music(seconds, *, seed, channels=2, rate=RATE):
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * rate)) / rate
    wave = 0.05 * rng.standard_normal((len(time_s), channels))
    for hz in rng.uniform(100, 2000, 5):
        wave += 0.1 * np.sin(2 * np.pi * hz * time_s)[:, None] * rng.uniform(0.2, 1, channels)
    return wave.astype(np.float32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Songs, a game's Ogg, a mono voice at another rate, a note shorter than an item."""
    folder = tmp_path_factory.mktemp("corpus")
    files = [
        ("song/a.flac", "song", 6.0, 2, RATE, "", 0),
        ("song/b.flac", "song", 4.0, 2, RATE, "22050", 0),
        ("game/c.ogg", "game", 5.0, 2, RATE, "15500", 1),
        ("speech/d.flac", "speech", 3.0, 1, 48000, "22050", 0),
        ("instrument/e.flac", "instrument", 0.4, 2, RATE, "22050", 0),
        ("song/other.flac", "song", 2.0, 2, RATE, "22050", 0),
    ]
    rows = []
    for seed, (path, kind, seconds, channels, rate, trusted, lossy) in enumerate(files):
        (folder / path).parent.mkdir(exist_ok=True)
        soundfile.write(
            folder / path, music(seconds, seed=seed, channels=channels, rate=rate), rate
        )
        facts = {"path": path, "kind": kind, "source": path.split(".")[0], "author": "nobody"}
        facts |= {"licence": "CC0", "group": path, "sha256": "", "sample_rate": rate}
        facts |= {"split": "validation" if "other" in path else "train", "channels": channels}
        facts |= {"duration_s": seconds, "bandwidth_hz": 20000, "trusted_hz": trusted}
        rows.append(facts | {"once_lossy": lossy})
    with open(folder / "manifest.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return folder


def settings(count=20, **more):
    return ItemSettings(**{"count": count, "seconds": 1.0, "seed": 3} | more)


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "items"
    items.prepare_items(corpus, folder, settings(), n_jobs=1)
    return folder


def content(folder):
    return [(folder / name).read_bytes() for name in ("samples.npy", "scales.npy", "items.csv")]


# ---------------------------------------------------------------- shares of a large draw


@pytest.fixture(scope="module")
def plans():
    pieces = [
        Material(
            path=f"{kind}/{source}/{piece}",
            kind=kind,
            source=f"{kind}-{source}",
            duration_s=5.0 + 60 * piece,
            trusted_hz=15000.0 + 500 * source if kind == "game" else 22050.0,
            once_lossy=kind == "game",
        )
        for _, weights in item_plans.KINDS
        for kind in weights
        for source in range(3)
        for piece in range(4)
    ]
    pool = Pool(pieces)
    return [draw(settings().rng(index), pool) for index in range(DRAWN)]


def share(plans, is_so):
    return sum(bool(is_so(plan)) for plan in plans) / len(plans)


def steps(plan):
    return plan.condition.split("+")


def test_kinds_have_the_shares_promised(plans):
    kinds = Counter(plan.kind for plan in plans)
    assert (kinds["song"] + kinds["game"]) / DRAWN == pytest.approx(0.46, abs=0.015)
    assert (kinds["speech"] + kinds["singing"]) / DRAWN == pytest.approx(0.18, abs=0.012)
    assert kinds["signal"] / DRAWN == pytest.approx(0.15, abs=0.012)
    signals = [plan for plan in plans if plan.kind == "signal"]
    assert share(signals, lambda p: p.condition == "lossless") == pytest.approx(0.54, abs=0.05)
    assert share(signals, lambda p: p.hiss_db > 0) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("rate", [*LOW_RATES, *MIDDLE_RATES, *USUAL_RATES])
def test_every_rate_comes_often_enough(plans, rate):
    pattern = re.compile(rf"{rate}(-[a-z]\w*)?(@\d+hz)?")
    assert 0.02 <= share(plans, lambda p: any(map(pattern.fullmatch, steps(p)))) <= 0.05


def test_noise_and_every_operating_point_come(plans):
    assert 0.20 <= share(plans, lambda p: "noise-" in p.condition) <= 0.35
    before = share(plans, lambda p: re.match(r"noise.*\+", p.condition) is not None)
    after = share(plans, lambda p: re.search(r"\+noise", p.condition) is not None)
    assert before == pytest.approx(after, rel=0.15)
    assert share(plans, lambda p: len(steps(p)) == 1 and "noise" in p.condition) > 0.02
    voices = [plan for plan in plans if plan.kind in item_plans.VOICES]
    others = [plan for plan in plans if plan.kind not in item_plans.VOICES]
    assert share(voices, lambda p: "noise-" in p.condition) == pytest.approx(0.33, abs=0.04)
    assert share(others, lambda p: "noise-" in p.condition) < 0.25
    wanted = [
        r"sbc-38-dual", r"sbc-47-dual", r"sbc-\d+$", r"aptx$", r"aptx-hd", r"opus-\d+", r"msbc",
        r"mp3-24@22050hz", r"mp3-\d+-q9", r"mp3-\d+-lr", r"aac-\d+-fast", r"aac-\d+-lr", r"mp3-320",
        r"sbc-\d+-loss", r"sbc-\d+-dual-loss", r"sbc-\d+-adaptive", r"down-", r"clip-", r"lossless",
        r"old-recording", r"(mp3|aac)-.*\+sbc-",
    ]  # fmt: skip
    for pattern in wanted:
        assert share(plans, lambda p, found=pattern: re.search(found, p.condition)) > 5e-4, pattern
    assert 0.1 <= share(plans, lambda p: p.condition == "lossless") <= 0.16
    varied = share(plans, lambda p: re.search(r"-(q\d|lr|fast|nopns)\b", p.condition))
    assert 0.12 <= varied <= 0.3


def test_what_was_coded_before_teaches_energies_only(plans):
    for plan in plans:
        lossy = [part for part in plan.all_parts if part.material.once_lossy]
        assert plan.energies_only == bool(lossy)
        assert plan.trusted_hz == min(part.material.trusted_hz for part in plan.all_parts)
        if plan.energies_only:
            assert plan.kind == "game"  # an original stays one, whatever is beside it
            assert not plan.wall_hz
            coded = [step for step in steps(plan) if not step.startswith("noise")]
            assert coded, plan.condition
            assert coded[0].startswith(("mp3", "aac", "opus", "sbc", "down"))
            kbps = int(re.search(r"\d+", coded[0])[0])
            assert (
                kbps
                <= {"mp3": 96, "aac": 96, "opus": 40, "sbc": 24, "down": 22050}[
                    coded[0].split("-")[0]
                ]
            )


def test_walls_in_originals_are_rare_and_can_be_told_apart(plans):
    walled = [plan for plan in plans if plan.wall_hz]
    assert 0.05 <= len(walled) / DRAWN <= 0.10
    for plan in walled:
        if plan.condition != "lossless":
            assert OWN_CUT_HZ[plan.condition] + 1000 <= plan.wall_hz <= 20000


@pytest.mark.parametrize("name", sorted(OWN_CUT_HZ))
def test_the_own_cut_of_each_codec_is_measured(name):
    noise = (0.1 * np.random.default_rng(0).standard_normal((2, 2 * RATE))).astype(np.float32)
    clicks = np.zeros_like(noise)
    clicks[:, 2205::11025] = 0.9
    ends = []
    for wave in (noise, clicks):
        coded = codecs.degrade(wave, name, sample_rate=RATE)
        hz, before = long_term_spectrum(wave, sample_rate=RATE)
        after = long_term_spectrum(coded, sample_rate=RATE)[1]
        ends.append(hz[after > before - 20][-1])
    assert max(ends) == pytest.approx(OWN_CUT_HZ[name], abs=120)


def test_mixes_levels_and_channels_vary(plans):
    counts = Counter(len(plan.parts) for plan in plans)
    assert set(counts) == set(range(1, 9))
    gains = [part.gain_db for plan in plans for part in plan.parts]
    assert -10 <= min(gains) < -9.9
    assert 9.9 < max(gains) <= 10
    assert all(-30 <= plan.level_db <= 0 for plan in plans)
    for what, expected in (
        (lambda p: p.joined is not None, item_plans.JOIN),
        (lambda p: p.dip_s is not None, item_plans.DIP),
        (lambda p: p.slope is not None, item_plans.DULL),
        (lambda p: p.drive_db > 0, item_plans.LIMITED),
        (lambda p: p.hiss_db > 0, item_plans.HISS + 0.15 * (item_plans.HISS_OF_SIGNALS - 0.15)),
        (lambda p: p.channel == "side", 0.10),
    ):
        assert share(plans, what) == pytest.approx(expected, abs=0.012)
    assert all(12 <= plan.slope[1] <= 40 for plan in plans if plan.slope)


def test_kinds_that_a_corpus_lacks_give_their_share_to_the_others():
    pool = Pool([Material("a", "song", "a", 30.0), Material("b", "singing", "b", 30.0)])
    kinds = Counter(draw(settings().rng(index), pool).kind for index in range(2000))
    assert kinds["song"] / 2000 == pytest.approx(0.52 / 0.72, abs=0.03)
    with pytest.raises(InputError, match="unknown kind 'noises'"):
        Pool([Material("a", "noises", "a", 30.0)])


@pytest.mark.parametrize("duration_s", [0.4, 10.0, 12.5])
def test_a_cut_lies_in_its_piece_or_the_piece_in_the_cut(duration_s):
    pool = Pool([Material("a", "song", "a", duration_s)])
    plans = [draw(settings().rng(index), pool, seconds=10.0) for index in range(300)]
    starts = [part.start_s for plan in plans for part in plan.all_parts]
    assert min(0, duration_s - 10) - 1e-4 <= min(starts)
    assert max(starts) <= max(0, duration_s - 10) + 1e-4
    assert np.ptp(starts) == pytest.approx(abs(duration_s - 10), rel=0.05)


# ---------------------------------------------------------------- items


def test_items_are_the_same_for_any_number_of_processes(corpus, made, tmp_path):
    items.prepare_items(corpus, tmp_path / "two", settings(), n_jobs=2)
    assert content(tmp_path / "two") == content(made)
    items.prepare_items(corpus, tmp_path / "seed", settings(seed=4), n_jobs=1)
    assert content(tmp_path / "seed")[0] != content(made)[0]
    # A larger set begins with the smaller one: each item has a seed of its own.
    items.prepare_items(corpus, tmp_path / "fewer", settings(count=3), n_jobs=1)
    few, many = items.Items(tmp_path / "fewer"), items.Items(made)
    assert few.rows == many.rows[:3]
    assert all(torch.equal(a, b) for i in range(3) for a, b in zip(few[i], many[i], strict=True))


def test_the_data_set_gives_pairs_with_their_rows(made):
    data = items.Items(made)
    assert len(data) == len(data.rows) == 20
    assert data.sample_rate == RATE
    assert tuple(data.rows[0]) == items.COLUMNS
    loader = torch.utils.data.DataLoader(data, batch_size=5)
    for lossy, lossless in loader:
        assert lossy.shape == lossless.shape == (5, 1, RATE)
        assert lossy.dtype == torch.float32
    samples = np.load(made / "samples.npy", mmap_mode="r")
    assert np.abs(samples.astype(int)).reshape(20, -1).max(axis=1).tolist() == [32767] * 20
    for index, row in enumerate(data.rows):
        assert row["index"] == str(index)
        assert codecs.parse_condition(row["condition"]).name == row["condition"]
        assert (row["energies_only"] == "1") == ("game/c.ogg" in row["pieces"])
        assert row["trusted_hz"] == ("15500" if "game/c.ogg" in row["pieces"] else "22050")
        assert "song/other" not in row["pieces"]  # of another split
        assert data[index][1].abs().max() <= 1.0 + 1e-4
    copy = pickle.loads(pickle.dumps(data))
    assert len(pickle.dumps(data)) < 50_000  # a loader's process gets the name, not the array
    assert torch.equal(copy[7][0], data[7][0])


def plain(path, condition, *, start_s=1.0, channel="left", duration_s=6.0):
    """A plan without anything random."""
    part = Part(Material(path, "song", "a", duration_s), start_s, 0.0)
    return Plan("song", (part,), None, 0.5, condition, channel, -6.0, 0.0, None, 0.0, 0.0, None, 1)


@pytest.mark.parametrize("path", ["song/a.flac", "game/c.ogg"])
def test_an_item_is_the_cut_asked_for(corpus, path):
    pair, row = items.make_item(plain(path, "lossless"), corpus, settings())
    whole, _ = soundfile.read(corpus / path, dtype="float32", always_2d=True)
    cut = whole[RATE : 2 * RATE, 0]
    np.testing.assert_array_equal(pair[0], pair[1])
    gain = np.dot(pair[1], cut) / np.dot(cut, cut)
    np.testing.assert_allclose(pair[1], gain * cut, atol=1e-5)
    assert row["channel"] == "left"
    assert row["pieces"] == path


@pytest.mark.parametrize("condition", ["mp3-64", "aac-64-fast", "sbc-20", "sbc-38-dual", "opus-64"])
def test_both_sides_are_aligned(corpus, condition):
    lossy, lossless = items.make_item(plain("song/a.flac", condition), corpus, settings())[0]
    spectrum = np.fft.rfft(lossy) * np.conj(np.fft.rfft(lossless))
    assert np.argmax(np.fft.irfft(spectrum, n=RATE)) == 0
    assert not np.array_equal(lossy, lossless)


def test_a_piece_that_is_too_short_lies_in_silence(corpus):
    plan = plain("instrument/e.flac", "lossless", start_s=-0.3, duration_s=0.4)
    pair, _ = items.make_item(plan, corpus, settings())
    assert not pair[:, : round(0.3 * RATE)].any()
    assert pair[1, round(0.3 * RATE) : round(0.7 * RATE)].any()
    assert not pair[:, round(0.7 * RATE) + 1 :].any()


def test_another_rate_is_brought_to_ours_and_mono_has_no_side(corpus):
    plan = plain("speech/d.flac", "lossless", channel="side", duration_s=3.0)
    pair, row = items.make_item(plan, corpus, settings())
    assert row["channel"] == "mean"
    whole, rate = soundfile.read(corpus / "speech/d.flac")
    peak_hz = np.argmax(np.abs(np.fft.rfft(pair[1])))
    assert peak_hz == pytest.approx(np.argmax(np.abs(np.fft.rfft(whole[rate : 2 * rate]))), abs=1)


def test_walls_slopes_and_dips_are_in_the_original_too(corpus):
    base = plain("song/a.flac", "lossless")
    changed = Plan(**{**base.__dict__, "wall_hz": 8000.0, "dip_s": (0.4, 0.6)})
    pair, row = items.make_item(changed, corpus, settings())
    assert not pair[:, round(0.4 * RATE) : round(0.6 * RATE)].any()
    head = np.abs(np.fft.rfft(pair[1, : round(0.3 * RATE)] * np.hanning(round(0.3 * RATE))))
    assert head[round(0.3 * 8100) :].max() < 1e-2 * head[round(0.3 * 7000) : 2300].mean()
    assert row["wall_hz"] == 8000
    np.testing.assert_allclose(np.abs(pair).max(), 10 ** (-6 / 20), atol=0.06)
    assert mixing.CHANNELS[0] == "mean"


# ---------------------------------------------------------------- runs


def test_a_run_that_is_killed_goes_on_where_it_was(corpus, tmp_path):
    count = settings(count=64)
    items.prepare_items(corpus, tmp_path / "quiet", count, n_jobs=1)
    folder = tmp_path / "killed"
    command = [
        sys.executable,
        "-m",
        "tools.research.items",
        str(corpus),
        str(folder),
        "--count",
        "64",
    ]
    command += ["--seconds", "1", "--seed", "3", "--jobs", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + PATIENCE_S
    while not list(folder.glob("chunks/0*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("chunks/0*.json")}
    assert 1 <= len(finished) < 4
    assert not (folder / "items.csv").exists()
    with pytest.raises(InputError, match="no finished items"):
        items.Items(folder)
    items.prepare_items(corpus, folder, count, n_jobs=1)
    assert content(folder) == content(tmp_path / "quiet")
    assert all(path.stat().st_mtime_ns == before for path, before in finished.items())


def test_a_folder_of_something_else_or_of_another_run_is_refused(corpus, made, tmp_path):
    with pytest.raises(ConfigError, match="items of another seed; name another folder"):
        items.prepare_items(corpus, made, settings(seed=9), n_jobs=1)
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something else"):
        items.prepare_items(corpus, tmp_path, settings(), n_jobs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["diary.txt"]
    with only_one(tmp_path / "busy"), pytest.raises(ConfigError, match="another run is writing"):
        items.prepare_items(corpus, tmp_path / "busy", settings(), n_jobs=1)


def test_a_disk_without_room_is_said_before_anything_is_made(corpus, tmp_path):
    huge = settings(count=10**9, seconds=60.0)
    with pytest.raises(InputError, match="no room for it"):
        items._make_array(tmp_path / "samples.npy", np.int16, (huge.count, 2, huge.samples))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda folder: (folder / "manifest.csv").unlink(), "run|build the corpus"),
        (lambda folder: (folder / "song/a.flac").write_bytes(b"x"), "a.flac: cannot be read"),
        (lambda folder: (folder / "manifest.csv").write_text("path,split\na,train\n"), "'kind'"),
    ],
)
def test_a_damaged_corpus_is_named(corpus, tmp_path, change, named):
    folder = tmp_path / "corpus"
    subprocess.run(["cp", "-r", corpus, folder], check=True)
    change(folder)
    run = subprocess.run(
        [sys.executable, "-m", "tools.research.items", folder, tmp_path / "out", "--count", "16",
         "--seconds", "1", "--jobs", "1"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 1
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("error")]
    assert re.search(named, line)
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "out" / "items.csv").exists()


def test_impossible_settings_are_refused_by_their_option(corpus, tmp_path):
    for option, value in (("count", "0"), ("seed", "-1"), ("seconds", "0")):
        options = {"count": "4"} | {option: value}
        words = [word for name, text in options.items() for word in (f"--{name}", text)]
        run = subprocess.run(
            [sys.executable, "-m", "tools.research.items", corpus, tmp_path / "out", *words],
            capture_output=True,
            text=True,
        )
        assert run.returncode == 1
        assert run.stderr.startswith(f"error: --{option}: ")
    assert not (tmp_path / "out").exists()


def test_without_a_folder_the_items_of_pretraining_are_made(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "COUNTS", {"train": 2, "validation": 1})
    monkeypatch.setattr(command, "ITEMS", tmp_path / "items")
    monkeypatch.setattr(sys, "argv", ["items", str(corpus), "--jobs", "1"])
    command.main()
    assert "{'train': 2, 'validation': 1} items are in" in capsys.readouterr().out
    train, validation = (items.Items(tmp_path / "items" / name) for name in command.COUNTS)
    assert (len(train), len(validation)) == (2, 1)
    assert train[0][0].shape == (1, 10 * RATE)
    assert validation.rows[0]["pieces"].startswith("song/other.flac")


@pytest.mark.parametrize("words", [["--count", "3"], ["out"]])
def test_a_folder_and_a_count_go_together(corpus, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["items", str(corpus), *words])
    with pytest.raises(SystemExit):
        command.main()
    assert "OUTPUT and --count go together" in capsys.readouterr().err
