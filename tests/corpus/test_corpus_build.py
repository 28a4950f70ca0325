"""Building the corpus: complete pieces, a manifest that is right, and going on where it stopped."""

import csv
import dataclasses
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from enhancelib.errors import InputError
from tools.corpus import build
from tools.corpus.recipe import RATE, Recipe


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
        Tone(
            *(f"tone {value}", "tones", "CC0-1.0", f"tones/{value}", "train", value),
            kind="signal",
            author="this test",
        )
        for value in hertz
    ]


def make(folder, made):
    return build.build(folder, recipes=made, n_jobs=1)


def test_the_manifest_states_what_is_there(tmp_path):
    manifest = make(tmp_path, tones(440, 880))
    with open(manifest, newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == build.COLUMNS
    assert [row["path"] for row in rows] == [
        "train/signal/tones/tone_440.flac", "train/signal/tones/tone_880.flac",
    ]  # fmt: skip
    for row, hertz in zip(rows, (440, 880), strict=True):
        path = tmp_path / row["path"]
        assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (row["split"], row["licence"], row["source"]) == ("train", "CC0-1.0", "tones")
        assert (row["kind"], row["author"]) == ("signal", "this test")
        assert (row["trusted_hz"], row["once_lossy"]) == ("22050", "0")
        facts = soundfile.info(path)
        assert (facts.samplerate, facts.channels, facts.subtype) == (RATE, 2, "PCM_16")
        assert float(row["duration_s"]) == facts.duration == 2.0
        assert float(row["bandwidth_hz"]) == pytest.approx(hertz, abs=250)
    assert build.hours(manifest) == {"train": {"signal": pytest.approx(4 / 3600)}}


def test_the_rounding_is_dithered(tmp_path):
    """The error of 16 bits is noise of constant power, not distortion of the signal."""
    recipe = tones(440)[0]
    make(tmp_path, [recipe])
    error = soundfile.read(tmp_path / recipe.path)[0].T - recipe.render()
    assert np.std(error) * 2**15 == pytest.approx(np.sqrt(1 / 6 + 1 / 12), rel=0.03)
    spectrum = np.abs(np.fft.rfft(error[0]))
    assert spectrum[2 * 880] < 5 * np.median(spectrum)


def test_a_second_build_changes_nothing(tmp_path):
    def state():
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.flac")}

    manifest = make(tmp_path, tones(440, 880))
    before, text = state(), manifest.read_text()
    make(tmp_path, tones(440, 880))
    assert state() == before
    assert manifest.read_text() == text


def test_what_no_recipe_makes_is_removed_and_what_is_not_ours_stays(tmp_path):
    make(tmp_path, tones(440, 880))
    own = tmp_path / "train" / "signal" / "tones" / "mine.flac"
    soundfile.write(own, np.zeros(1000), RATE)
    manifest = make(tmp_path, tones(880))
    assert not (tmp_path / "train/signal/tones/tone_440.flac").exists()
    assert own.exists()
    assert "tone_440" not in manifest.read_text()


def test_a_changed_recipe_and_a_damaged_piece_are_made_again(tmp_path):
    first = tones(440, 880)
    make(tmp_path, first)
    path = tmp_path / first[1].path
    path.write_bytes(path.read_bytes()[:-100])
    changed = [dataclasses.replace(first[0], hertz=500.0), first[1]]
    make(tmp_path, changed)
    assert soundfile.info(path).duration == 2.0
    wave, _ = soundfile.read(tmp_path / first[0].path)
    assert np.argmax(np.abs(np.fft.rfft(wave[:, 0]))) / 2 == pytest.approx(500)


def test_a_piece_that_fails_is_skipped_and_nothing_at_all_is_an_error(tmp_path, caplog):
    manifest = make(tmp_path / "some", tones(440, -1))
    assert "skipped train/signal/tones/tone_-1.flac: tone -1: no such tone" in caplog.text
    assert manifest.read_text().count("tone_") == 1
    with pytest.raises(InputError, match="none of the 1 pieces"):
        make(tmp_path / "none", tones(-1))


def test_killed_while_building_it_resumes(tmp_path):
    code = """
import sys; sys.path.insert(0, sys.argv[1])
from test_corpus_build import make, tones
make(sys.argv[2], tones(*range(200, 3200, 100)))
"""
    folder = tmp_path / "corpus"

    def written():  # what is still being written begins with a dot
        facts = folder.rglob("[!.]*.json")
        return {path: path.stat().st_mtime_ns for path in facts}

    process = subprocess.Popen(
        [sys.executable, "-c", code, Path(__file__).parent, folder],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None and len([*folder.rglob("[!.]*.json")]) < 4:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "manifest.csv").exists()
    kept = written()
    assert len(kept) >= 4
    manifest = make(folder, tones(*range(200, 3200, 100)))
    assert manifest.read_text().count("tone_") == 30
    assert kept.items() <= written().items()
    assert not [path for path in folder.rglob("*") if "part" in path.name]


def test_what_is_left_out_today_stays(tmp_path):
    """A corpus with recordings does not lose them when it is made again without."""
    first = tones(440, 880)
    spoken = dataclasses.replace(first[1], source="kathleen")
    make(tmp_path, [first[0], spoken])
    jobs = [build._Job(recipe, tmp_path) for recipe in first[:1]]
    kept = build._remove_others(tmp_path, {job.recipe.path for job in jobs}, {"kathleen"})
    assert [row["path"] for row in kept] == [spoken.path]
    assert (tmp_path / spoken.path).exists()
    assert set(kept[0]) == set(build.COLUMNS)
