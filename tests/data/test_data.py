"""Pairs: what is in them, resuming, splits without leaks, bad files. Real audio, real codecs."""

import csv
import hashlib
import itertools
import json
import logging
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from conftest import PATIENCE_S, interruptible
from dask_cluster import dask_cluster
from scipy.signal import correlate

from enhancelib import audio
from enhancelib.data import pairing
from enhancelib.data import pairs as data
from enhancelib.degrade import codecs
from enhancelib.errors import ConfigError, InputError, printable
from enhancelib.locking import only_one

RATE = 44100
EXCERPTS = Path(__file__).parents[2] / "data" / "excerpts"


def music(seconds, *, seed=0, rate=RATE, channels=2, peak=0.5):
    """Plucked tones over pink-like noise, different in each channel; (samples, channels)."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * rate)) / rate
    wave = np.cumsum(rng.standard_normal((len(time_s), channels)), axis=0)
    wave = 0.02 * (wave - np.roll(wave, 40, axis=0))
    for onset in np.arange(0, seconds, 0.25):
        since = np.maximum(time_s - onset, 0)
        pluck = np.exp(-8 * since) * (time_s >= onset)
        for harmonic in (1, 2, 3, 5, 8, 13):
            tone = np.sin(2 * np.pi * rng.uniform(100, 900) * harmonic * since)
            wave += (pluck * tone / harmonic)[:, None] * rng.uniform(0.3, 1, channels)
    return (peak * wave / np.abs(wave).max()).astype(np.float32)


def write(path, wave, *, rate=RATE, subtype="PCM_16", format=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, subtype=subtype, format=format)
    return path


@pytest.fixture
def folder(tmp_path):
    """Four pieces of 2.6, 2, 1 and 0.3 seconds."""
    for index, seconds in enumerate((2.6, 2.0, 1.0, 0.3)):
        write(tmp_path / "music" / f"{index}.wav", music(seconds, seed=index))
    return tmp_path / "music"


def prepare(folder, output, **options):
    return data.prepare(
        folder,
        output,
        **{"duration_s": 1.0, "conditions": ["lossless", "sbc-20"], "n_jobs": 1} | options,
    )


def contents(folder):
    """Relative path → hash of every file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def changed_at(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.flac")}


def snr_db(estimate, reference):
    return 10 * np.log10(np.sum(reference**2) / np.sum((estimate - reference) ** 2))


# ---------------------------------------------------------------- what is in a pair


def test_one_row_per_segment_and_condition(folder, tmp_path):
    table = data.read_manifest(prepare(folder, tmp_path / "pairs"))
    # 2.6 s: two whole segments and 0.6 s kept; 2 s: two; 1 s: one; 0.3 s: one, padded.
    assert table.groupby("piece").size().to_dict() == {
        "0.wav": 6, "1.wav": 4, "2.wav": 2, "3.wav": 2,
    }  # fmt: skip
    assert tuple(table.columns) == data.COLUMNS
    assert set(table["sample_rate"]) == {RATE}
    last = table[table["piece"] == "0.wav"].iloc[-1]
    assert last["start_s"] == 2.0
    assert last["seconds"] == pytest.approx(0.6)
    for path in {*table["lossless"], *table["lossy"]}:
        facts = soundfile.info(path)
        assert (facts.frames, facts.subtype, facts.format) == (RATE, "PCM_24", "FLAC")


def test_the_lossless_half_is_the_original_bit_for_bit(folder, tmp_path):
    table = data.read_manifest(prepare(folder, tmp_path / "pairs"))
    for _, row in table[table["condition"] == "lossless"].iterrows():
        start = round(row["start_s"] * RATE)
        original = soundfile.read(folder / row["piece"], dtype="int32", start=start, frames=RATE)[0]
        kept = soundfile.read(row["lossless"], dtype="int32")[0]
        assert np.array_equal(kept[: len(original)], original)
        assert not kept[len(original) :].any()
        assert row["lossy"] == row["lossless"]


def test_the_lossy_half_is_cut_from_the_whole_degraded_piece(folder, tmp_path):
    table = data.read_manifest(prepare(folder, tmp_path / "pairs", conditions=["sbc-20"]))
    original = soundfile.read(folder / "0.wav", dtype="float32")[0].T
    whole = codecs.degrade(original, "sbc-20", sample_rate=RATE)
    second = table[(table["piece"] == "0.wav") & (table["start_s"] == 1.0)].iloc[0]
    kept = soundfile.read(second["lossy"])[0].T
    assert np.abs(kept - whole[:, RATE : 2 * RATE]).max() <= 2**-23
    cut_first = codecs.degrade(original[:, RATE : 2 * RATE], "sbc-20", sample_rate=RATE)
    assert np.abs(kept - cut_first)[:, :500].max() > 1e-3  # a cold codec has other edges


@pytest.mark.parametrize("condition", ["sbc-53", "aac-64", "mp3-64", "aac-64+sbc-20"])
def test_every_segment_is_aligned_to_the_sample(folder, tmp_path, condition):
    table = data.read_manifest(
        prepare(folder, tmp_path / "pairs", conditions=[condition], max_files=1)
    )
    for _, row in table.iterrows():
        lossy, lossless = (soundfile.read(row[side])[0][:, 0] for side in ("lossy", "lossless"))
        correlation = correlate(lossy, lossless, mode="full", method="fft")
        assert np.argmax(correlation) - (len(lossless) - 1) == 0
        assert snr_db(lossy, lossless) > 5


def test_overshoot_turns_both_halves_down_alike(tmp_path):
    wave = np.sign(music(1.0, seed=5)) * np.float32(0.98)  # MP3 overshoots steep edges
    write(tmp_path / "music" / "loud.wav", wave, subtype="FLOAT")
    table = data.read_manifest(
        prepare(tmp_path / "music", tmp_path / "pairs", conditions=["mp3-64", "sbc-53"])
    )
    degraded = codecs.degrade(wave.T, "mp3-64", sample_rate=RATE)
    assert np.abs(degraded).max() > 1.05
    row = table[table["condition"] == "mp3-64"].iloc[0]
    assert row["gain_db"] < -0.4
    lossy, lossless = (soundfile.read(row[side])[0].T for side in ("lossy", "lossless"))
    gain = 10 ** (row["gain_db"] / 20)
    assert np.abs(lossy).max() < 1.0
    assert np.abs(lossless - gain * wave.T).max() < 1e-4
    assert np.abs(lossy - gain * degraded).max() < 1e-4
    assert set(table["lossless"]) == {row["lossless"]}  # one original serves all conditions


def test_pairs_at_half_the_rate_are_coded_at_the_full_one(folder, tmp_path):
    table = data.read_manifest(
        prepare(folder, tmp_path / "pairs", sample_rate=22050, conditions=["mp3-64"])
    )
    original = soundfile.read(folder / "1.wav", dtype="float32")[0].T
    row = table[table["piece"] == "1.wav"].iloc[0]
    lossy, rate = soundfile.read(row["lossy"])
    assert (rate, len(lossy)) == (22050, 22050)
    at_full = codecs.degrade(original, "mp3-64", sample_rate=RATE)
    expected = audio.resample(at_full, from_rate=RATE, to_rate=22050)[:, :22050]
    assert np.abs(lossy.T - expected).max() <= 2**-23
    native = codecs.degrade(
        audio.resample(original, from_rate=RATE, to_rate=22050), "mp3-64", sample_rate=22050
    )
    assert np.abs(lossy.T - native[:, :22050]).max() > 1e-3


def test_noise_differs_between_pieces_and_seeds_but_not_between_runs(tmp_path):
    wave = music(1.0)
    for name in "ab":
        write(tmp_path / "music" / f"{name}.wav", wave)

    def noises(output, **options):
        table = data.read_manifest(
            prepare(
                tmp_path / "music", tmp_path / output, conditions=["noise-white-20db"], **options
            )
        )
        return [
            soundfile.read(row["lossy"])[0] - soundfile.read(row["lossless"])[0]
            for _, row in table.iterrows()
        ]

    first, second = noises("one")
    assert 20 * np.log10(np.std(wave) / np.std(first)) == pytest.approx(20, abs=0.5)
    assert abs(np.corrcoef(first[:, 0], second[:, 0])[0, 1]) < 0.05
    assert np.array_equal(noises("two")[0], first)
    assert abs(np.corrcoef(noises("three", seed=1)[0][:, 0], first[:, 0])[0, 1]) < 0.05


def test_random_conditions_are_drawn_for_each_segment_and_named(tmp_path):
    write(tmp_path / "music" / "long.wav", music(6.0))
    options = {"conditions": ["random-1", "random-2"], "duration_s": 0.5}
    manifest = prepare(tmp_path / "music", tmp_path / "pairs", **options)
    table = data.read_manifest(manifest)
    assert len(table) == 24
    assert not [name for name in table["condition"] if name.startswith("random")]
    assert table["condition"].nunique() > 6
    assert [codecs.parse_condition(name).name for name in table["condition"]] == list(
        table["condition"]
    )
    again = data.read_manifest(prepare(tmp_path / "music", tmp_path / "again", **options))
    assert list(again["condition"]) == list(table["condition"])
    assert contents(manifest.parent).keys() == contents(tmp_path / "again").keys()
    original = soundfile.read(tmp_path / "music" / "long.wav", dtype="float32")[0].T
    for row in table[~table["condition"].str.contains("noise|loss|old")].itertuples():
        start = round(row.start_s * RATE)
        first, stop = max(0, start - RATE // 2), start + RATE
        part = codecs.degrade(original[:, first:stop], row.condition, sample_rate=RATE)
        expected = part[:, start - first :][:, : RATE // 2]
        lossy = soundfile.read(row.lossy)[0].T / 10 ** (row.gain_db / 20)
        assert np.abs(lossy - expected).max() < 1e-5, row.condition


def test_draws_cover_the_kinds_in_their_shares():
    rng = np.random.default_rng(0)
    names = [pairing.draw_condition(rng) for _ in range(2000)]
    shares = {
        kind: np.mean([name.startswith(kind) and "+" not in name for name in names])
        for kind in ("lossless", "noise", "down", "sbc", "mp3")
    }
    assert shares["lossless"] == pytest.approx(0.125, abs=0.03)
    assert shares["noise"] == pytest.approx(0.12, abs=0.03)
    assert shares["sbc"] == pytest.approx(0.2, abs=0.03)
    assert np.mean(["+" in name for name in names]) == pytest.approx(0.125, abs=0.03)


# ---------------------------------------------------------------- the data set


def test_data_set_gives_mono_tensors_of_both_halves(folder, tmp_path):
    import torch

    manifest = prepare(folder, tmp_path / "pairs")
    table = data.read_manifest(manifest)
    pairs = data.PairDataset(manifest, "train")
    rows = table[table["split"] == "train"].reset_index()
    assert len(pairs) == len(rows) > 0
    assert pairs.sample_rate == RATE
    for index in range(len(pairs)):
        for tensor, side in zip(pairs[index], ("lossy", "lossless"), strict=True):
            stereo = soundfile.read(rows[side][index])[0]
            assert tensor.dtype == torch.float32
            assert tensor.shape == (1, RATE)
            assert np.abs(tensor[0].numpy() - stereo.mean(axis=1)).max() < 1e-6
    lossy, lossless = next(iter(torch.utils.data.DataLoader(pairs, batch_size=3)))
    assert lossy.shape == lossless.shape == (3, 1, RATE)


def test_data_set_can_be_kept_to_some_conditions(folder, tmp_path):
    manifest = prepare(folder, tmp_path / "pairs")
    only = data.PairDataset(manifest.parent, "train", conditions=["sbc-20"])
    assert {row["condition"] for row in only.rows} == {"sbc-20"}
    with pytest.raises(InputError, match="no train pair"):
        data.PairDataset(manifest, "train", conditions=["aptx"])
    with pytest.raises(InputError, match="'dev' is not one of train, validation, test"):
        data.PairDataset(manifest, "dev")


def test_data_set_takes_the_mean_or_some_channel_and_resamples(folder, tmp_path):
    manifest = prepare(
        folder, tmp_path / "pairs", conditions=["lossless", *(f"sbc-{n}" for n in range(20, 30))]
    )
    mean = data.PairDataset(manifest, "train")
    varied = data.PairDataset(manifest, "train", downmix="varied")
    seen = set()
    for index, row in enumerate(varied.rows):
        wave, _ = audio.load(manifest.parent / row["lossless"])
        views = {"mean": wave.mean(axis=0), "left": wave[0], "right": wave[-1]}
        pair = varied[index]
        names = [name for name, view in views.items() if np.array_equal(pair[1][0].numpy(), view)]
        lossy, _ = audio.load(manifest.parent / row["lossy"])
        same = {"mean": lossy.mean(axis=0), "left": lossy[0], "right": lossy[-1]}
        assert names  # and the lossy half is of the same channel:
        assert any(np.array_equal(pair[0][0].numpy(), same[name]) for name in names)
        seen.update(names)
    assert seen == {"mean", "left", "right"}
    half = data.PairDataset(manifest, "train", sample_rate=22050)
    assert half.sample_rate == 22050
    assert half[0][0].shape[1] == mean[0][0].shape[1] // 2


def test_data_sets_of_other_options_share_nothing(folder, tmp_path):
    """Each gives what it gives alone, no two alike, in any turn, and leaves nothing behind."""
    manifest = prepare(folder, tmp_path / "pairs", conditions=["lossless", "sbc-20"])
    options = ({}, {"downmix": "varied"}, {"sample_rate": 22050})
    before = sorted(tmp_path.rglob("*"))
    alone = [[*data.PairDataset(manifest, "train", **option)] for option in options]
    for one, other in itertools.combinations(alone, 2):
        assert not all(np.array_equal(a[0], b[0]) for a, b in zip(one, other, strict=True))
    together = [data.PairDataset(manifest, "train", **option) for option in options]
    for index in range(len(together[0])):
        for pairs, expected in zip(together, alone, strict=True):
            for got, wanted in zip(pairs[index], expected[index], strict=True):
                assert np.array_equal(got, wanted)
    assert sorted(tmp_path.rglob("*")) == before


def test_only_some_splits_can_be_prepared(folder, tmp_path):
    manifest = prepare(folder, tmp_path / "pairs", splits=["train"])
    assert set(data.read_manifest(manifest)["split"]) == {"train"}
    with pytest.raises(ConfigError, match="holds pairs made with other settings"):
        prepare(folder, tmp_path / "pairs", splits=["test"])


def test_a_missing_or_foreign_manifest_is_named(tmp_path):
    with pytest.raises(InputError, match=r"manifest\.csv: run `enhancelib prepare` first"):
        data.read_manifest(tmp_path)
    (tmp_path / "manifest.csv").write_text("path,licence\na.wav,CC0-1.0\n")
    with pytest.raises(InputError, match="is no manifest of pairs: it lacks lossless"):
        data.read_manifest(tmp_path)


# ---------------------------------------------------------------- resuming


def test_a_second_run_makes_nothing_new(folder, tmp_path):
    output = tmp_path / "pairs"
    prepare(folder, output)
    before, times = contents(output), changed_at(output)
    prepare(folder, output)
    assert contents(output) == before
    assert changed_at(output) == times


def test_jobs_do_not_change_the_result(folder, tmp_path):
    prepare(folder, tmp_path / "one", n_jobs=1)
    prepare(folder, tmp_path / "two", n_jobs=2)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one == two


def test_a_new_or_changed_original_is_the_only_work(folder, tmp_path):
    output = tmp_path / "pairs"
    prepare(folder, output)
    times = changed_at(output)
    write(folder / "4.wav", music(1.0, seed=9))
    write(folder / "1.wav", music(1.0, seed=10))
    table = data.read_manifest(prepare(folder, output))
    after = changed_at(output)
    redone = {path.parent.name.split("-")[0] for path in after if after[path] != times.get(path)}
    assert redone == {"1", "4"}
    assert table.groupby("piece").size()["1.wav"] == 2


KILLED_RUN = """
import sys
from enhancelib import data
data.prepare(sys.argv[1], sys.argv[2], duration_s=1.0, n_jobs=int(sys.argv[3]),
             conditions=["lossless", "sbc-20", "mp3-64"])
"""


@pytest.mark.parametrize("n_jobs", ["1", "2"])
def test_killed_at_any_moment_it_leaves_no_half_piece_and_resumes(tmp_path, n_jobs):
    for index in range(6):
        write(tmp_path / "music" / f"{index}.wav", music(2.0, seed=index))
    conditions = ["lossless", "sbc-20", "mp3-64"]
    whole = prepare(tmp_path / "music", tmp_path / "whole", conditions=conditions).parent
    output = tmp_path / "pairs"
    for finished_before_kill in (1, 3):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED_RUN, tmp_path / "music", output, n_jobs],
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while process.poll() is None:
            if len(list(output.glob("*/piece.json"))) >= finished_before_kill + 1:
                os.killpg(process.pid, signal.SIGKILL)
                break
            time.sleep(0.002)
        process.wait()
        assert not (output / "manifest.csv").exists()
        for piece in output.glob("[0-9]*"):
            assert contents(piece) == contents(whole / piece.name)
    times = changed_at(output)
    prepare(tmp_path / "music", output, conditions=conditions)
    assert contents(output) == contents(whole)
    assert not list(output.glob(".partial-*"))
    finished = {path: at for path, at in times.items() if ".partial-" not in str(path)}
    assert finished.items() <= changed_at(output).items()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_run_that_is_asked_to_end_takes_its_half_pieces_with_it(tmp_path, number):
    """A terminal that closes sends SIGHUP to the workers and to what joblib starts, too."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (60 * RATE, 2))
    for index in range(2):
        write(tmp_path / "music" / f"{index}.wav", noise)
    output = tmp_path / "pairs"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "enhancelib", "prepare", "--condition", "mp3-64"),
            *("--input_dir", tmp_path / "music", "--output_dir", output),
        ],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
        start_new_session=True,
    )
    while not list(output.glob(".partial-*/*")) and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + number
    assert not [word for word in ("Traceback", "resource_tracker") if word in errors], errors
    assert {path.name for path in output.iterdir()} <= {".lock", "settings.json"}


@pytest.mark.parametrize("delay_s", [0.1, 0.3, 0.6])  # most of a second is spent on imports
def test_ctrl_c_while_workers_start_says_nothing_of_them(tmp_path, delay_s):
    for index in range(2):
        write(tmp_path / "music" / f"{index}.wav", music(2.0, seed=index))
    command = [sys.executable, "-m", "enhancelib", "prepare", "--condition", "mp3-64"]
    command += ["--input_dir", tmp_path / "music", "--output_dir", tmp_path / "pairs"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=interruptible, start_new_session=True
    )
    here = psutil.Process(process.pid)
    while process.poll() is None:
        if any("popen_loky" in " ".join(child.cmdline()) for child in here.children()):
            break
    time.sleep(delay_s)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + signal.SIGINT
    assert "Traceback" not in errors


def test_a_dask_cluster_that_loses_a_worker_makes_the_same_pairs(tmp_path):
    for index in range(10):
        write(tmp_path / "music" / f"{index}.wav", music(2.0, seed=index))
    options = {"conditions": ["sbc-20", "mp3-64"]}
    whole = prepare(tmp_path / "music", tmp_path / "whole", n_jobs=2, **options).parent
    output = tmp_path / "pairs"

    def kill_one(worker):
        while len(list(output.glob("*/piece.json"))) < 3:
            time.sleep(0.005)
        worker.kill()

    with dask_cluster(tmp_path) as (address, workers):
        killer = threading.Thread(target=kill_one, args=[workers[0]])
        killer.start()
        prepare(tmp_path / "music", output, scheduler=address, **options)
        killer.join()
        assert workers[0].wait(timeout=PATIENCE_S) == -signal.SIGKILL
        assert workers[1].poll() is None
    left_by_the_dead = {name for name in contents(output) if name.startswith(".partial-")}
    made = contents(output)
    assert {name: made[name] for name in made.keys() - left_by_the_dead} == contents(whole)
    prepare(tmp_path / "music", output, **options)
    assert contents(output) == contents(whole)


def test_other_settings_are_refused_and_named(folder, tmp_path):
    output = tmp_path / "pairs"
    prepare(folder, output)
    before = contents(output)
    with pytest.raises(ConfigError, match=r"other settings \(duration_s 1\.0 ≠ 2\.0\)"):
        prepare(folder, output, duration_s=2.0)
    assert contents(output) == before
    prepare(folder, output, duration_s=2.0, overwrite=True)
    assert soundfile.info(next(output.glob("*/0000.lossless.flac"))).duration == 2.0


def test_pairs_of_codecs_that_behaved_differently_are_not_mixed(folder, tmp_path):
    output = tmp_path / "pairs"
    prepare(folder, output)
    settings = json.loads((output / "settings.json").read_text())
    settings["probe_snr_db"]["sbc-20"] += 0.3
    (output / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match="probe_snr_db"):
        prepare(folder, output)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_other_things_is_left_alone(folder, tmp_path, overwrite):
    output = tmp_path / "mine"
    output.mkdir()
    (output / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="holds no pairs of ours"):
        prepare(folder, output, overwrite=overwrite)
    assert contents(output).keys() == {"thesis.txt"}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("settings", [b'{"theme": "dark"}', b"no JSON", b"\xff", b""])
def test_settings_of_something_else_do_not_make_a_folder_ours(
    folder, tmp_path, settings, overwrite
):
    output = tmp_path / "mine"
    output.mkdir()
    (output / "settings.json").write_bytes(settings)
    (output / "thesis.txt").write_text("years of work")
    before = contents(output)
    with pytest.raises(ConfigError, match=r"mine .* no pairs of ours: name another folder"):
        prepare(folder, output, overwrite=overwrite)
    assert contents(output) == before


def test_starting_over_removes_only_what_was_made_here(folder, tmp_path):
    output = tmp_path / "pairs"
    prepare(folder, output)
    older = next(output.glob("0-*"))
    (output / "cache" / "train-44100-0").mkdir(parents=True)
    (output / "mine").mkdir()
    (output / "mine" / "thesis.txt").write_text("years of work")
    (folder / "0.wav").rename(folder / "renamed.wav")
    prepare(folder, output, duration_s=2.0, overwrite=True)
    assert (output / "mine" / "thesis.txt").read_text() == "years of work"
    assert not older.exists()
    assert not (output / "cache").exists()


def test_pairs_inside_the_input_folder_are_not_taken_for_music(folder):
    first = data.read_manifest(prepare(folder, folder / "pairs"))
    second = data.read_manifest(prepare(folder, folder / "pairs"))
    assert second.equals(first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"duration_s": 0.0}, "duration_s"),
        ({"sample_rate": 100}, "sample_rate"),
        ({"max_files": 0}, "max_files"),
        ({"conditions": []}, "conditions"),
        ({"conditions": ["mp3-65"]}, "mp3"),
        ({"conditions": ["sbc-53", "SBC-53"]}, "named twice"),
        ({"n_jobs": 0}, "n_jobs"),
    ],
)
def test_an_impossible_setting_is_refused_by_name(folder, tmp_path, options, message):
    with pytest.raises((ConfigError, InputError), match=message) as caught:
        prepare(folder, tmp_path / "pairs", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pairs" / "manifest.csv").exists()


def test_a_number_given_as_text_counts_as_that_number(folder, tmp_path):
    given = [prepare(folder, tmp_path / str(most), max_files=most) for most in (1, "1")]
    one, text = (data.read_manifest(manifest)["piece"].unique() for manifest in given)
    assert list(one) == list(text)
    assert len(one) == 1


# ---------------------------------------------------------------- bad files


def test_bad_files_are_skipped_counted_and_listed(folder, tmp_path, caplog):
    wave = music(1.0, seed=3)
    good = {
        "8bit.wav": {"subtype": "PCM_U8"},
        "24bit.wav": {"subtype": "PCM_24"},
        "float.wav": {"subtype": "FLOAT"},
        "fast.wav": {"rate": 96000},
        "faster.wav": {"rate": 192000},
        "really-flac.wav": {"format": "FLAC"},
    }
    for name, options in good.items():
        write(folder / name, wave, **options)
    write(folder / "surround.wav", music(1.0, channels=6))
    write(folder / "plain.wav", wave).rename(folder / os.fsdecode(b"caf\xe9.wav"))
    (folder / "loop").symlink_to(folder)

    (folder / "empty.flac").touch()
    (folder / "text.wav").write_text("not audio")
    flac = write(folder / "truncated.flac", music(3.0))
    flac.write_bytes(flac.read_bytes()[: flac.stat().st_size // 2])
    nan = wave.copy()
    nan[100] = np.nan
    write(folder / "nan.wav", nan, subtype="FLOAT")
    write(folder / "no-samples.wav", wave[:0])
    bad = {"empty.flac", "text.wav", "truncated.flac", "nan.wav", "no-samples.wav"}

    with caplog.at_level(logging.WARNING, logger="enhancelib"):
        table = data.read_manifest(prepare(folder, tmp_path / "pairs"))
    with open(tmp_path / "pairs" / "skipped.csv", newline="") as file:
        assert {row["path"] for row in csv.DictReader(file)} == bad
    expected = {"0.wav", "1.wav", "2.wav", "3.wav", *good, "surround.wav", "caf\udce9.wav"}
    assert set(table["piece"]) == expected
    assert f"5 of {len(bad | expected)} files skipped" in caplog.text
    assert set(table[table["piece"] == "surround.wav"]["channels"]) == {2}
    assert all(Path(path).is_file() for path in table["lossy"])

    for name in bad:
        (folder / name).unlink()
    prepare(folder, tmp_path / "pairs")
    assert not (tmp_path / "pairs" / "skipped.csv").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_skipped(folder, tmp_path):
    (folder / "0.wav").chmod(0)
    table = data.read_manifest(prepare(folder, tmp_path / "pairs"))
    assert set(table["piece"]) == {"1.wav", "2.wav", "3.wav"}


def test_a_folder_without_usable_audio_is_an_error(tmp_path):
    (tmp_path / "music").mkdir()
    with pytest.raises(InputError, match="no audio files"):
        prepare(tmp_path / "music", tmp_path / "pairs")
    (tmp_path / "music" / "a.wav").write_text("no")
    (tmp_path / "music" / "b.flac").touch()
    with pytest.raises(InputError, match="none of the 2 audio files could be used"):
        prepare(tmp_path / "music", tmp_path / "pairs")
    assert not (tmp_path / "pairs" / "manifest.csv").exists()


def test_a_file_too_large_for_the_disk_is_reported_and_the_rest_done(tmp_path):
    """A limit on the size of files stands in for a full disk: writing fails half-way."""
    write(tmp_path / "music" / "long.wav", music(3.0))
    write(tmp_path / "music" / "short.wav", music(0.5))
    limit = 700_000

    process = subprocess.run(
        [sys.executable, "-c", KILLED_RUN, tmp_path / "music", tmp_path / "pairs", "1"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(
        r"skipped long\.wav: cannot be written \(.*\); is the disk full\?", process.stderr
    )
    table = data.read_manifest(tmp_path / "pairs")
    assert set(table["piece"]) == {"short.wav"}
    assert not list((tmp_path / "pairs").glob(".partial-*"))


# ---------------------------------------------------------------- the embedded excerpts


def test_every_excerpt_has_a_licence_and_a_checked_entry():
    with open(EXCERPTS / "index.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["path"] for row in rows} == {path.name for path in EXCERPTS.glob("*.flac")}
    assert len(rows) == 54
    for row in rows:
        facts = soundfile.info(EXCERPTS / row["path"])
        assert row["licence"]
        assert facts.samplerate == int(row["rate"])
        assert facts.duration == pytest.approx(float(row["seconds"]), abs=0.01)


def test_a_few_excerpts_cover_splits_and_keep_their_licences(tmp_path):
    table = data.read_manifest(prepare(EXCERPTS, tmp_path / "pairs", max_files=3, n_jobs=2))
    assert table["piece"].nunique() == 3
    assert set(table["split"]) == {"train", "validation", "test"}
    assert "unknown" not in set(table["licence"])


def test_no_name_steers_the_terminal_and_each_message_is_one_line(tmp_path, caplog):
    write(tmp_path / "music" / "a.wav", music(0.5))
    (tmp_path / "music" / "\x1b]0;title\x07\nb.wav").write_bytes(b"RIFF nothing")
    prepare(tmp_path / "music", tmp_path / "\x1b[2Jpairs")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert all(printable(message) == message and "\n" not in message for message in said)
    assert said[0].startswith(r"skipped \x1b]0;title\x07\nb.wav: ")


def test_a_folder_that_another_run_writes_to_is_refused(folder, tmp_path):
    with only_one(tmp_path / "pairs"), pytest.raises(ConfigError, match="another run is writing"):
        prepare(folder, tmp_path / "pairs")
    assert [path.name for path in (tmp_path / "pairs").iterdir()] == [".lock"]
    assert prepare(folder, tmp_path / "pairs").is_file()


def test_a_negative_seed_is_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match="seed: Input should be greater than or equal to 0"):
        prepare(folder, tmp_path / "pairs", seed=-1)
    assert not (tmp_path / "pairs").exists()
