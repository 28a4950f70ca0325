"""Fetching recordings from repositories; here from one on this disk."""

import csv
import dataclasses
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from enhancelib.errors import InputError
from tools.corpus import fetch
from tools.corpus.recipe import RATE
from tools.corpus.sources import recordings


@pytest.fixture
def repository(tmp_path):
    """Five tones of different lengths, a silent file, and one that is no sound."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path / "repository"
    (folder / "sounds").mkdir(parents=True)
    for number in range(5):
        time_s = np.arange((20 + number) * RATE) / RATE
        wave = np.sin(2 * np.pi * (300 + 100 * number) * time_s) * 0.1
        tail = np.zeros(RATE)
        stereo = np.stack([np.concatenate([wave, tail])] * 2, axis=1)
        soundfile.write(folder / "sounds" / f"{number}.wav", stereo, RATE)
    soundfile.write(folder / "silence.wav", np.zeros(RATE), RATE)
    (folder / "broken.wav").write_bytes(b"no sound at all")
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", "-C", folder]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "sounds"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    return folder


def source_at(folder, name="kathleen"):
    return dataclasses.replace(recordings.sources()[name], addresses=(folder.as_uri(),))


def test_a_fetched_folder_is_what_the_corpus_reads(repository, tmp_path):
    folder = tmp_path / "recordings"
    index = fetch.fetch(folder, [source_at(repository)])
    with open(index, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [
        f"speech_kathleen_{n:02d}.flac" for n in range(len(rows))
    ]
    seconds = [float(row["seconds"]) for row in rows]
    assert max(seconds) <= 60
    # Five items of 20 to 24 s, two to a file, their tails cut, with 50 ms between two.
    assert sum(seconds) == pytest.approx(110 + 0.05 * (5 - len(rows)), abs=0.2)
    wave, rate = soundfile.read(folder / rows[0]["path"])
    assert (rate, wave.ndim) == (RATE, 1)
    assert np.abs(wave).max() == pytest.approx(10 ** (-3 / 20), abs=0.001)
    made = recordings.recording_recipes(folder)
    assert {recipe.source for recipe in made} == {"kathleen"}
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.flac")}
    shutil.rmtree(repository)  # nothing is missing, so nothing is cloned
    fetch.fetch(folder, [source_at(repository)])
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.flac")} == before


def test_what_cannot_be_fetched_is_named_and_what_was_stays(repository, tmp_path):
    folder = tmp_path / "recordings"
    nowhere = source_at(tmp_path / "nowhere", "vocobox")
    with pytest.raises(InputError, match=r"nowhere could not be cloned"):
        fetch.fetch(folder, [source_at(repository), nowhere])
    assert len(recordings.read_folder(folder)) == 3


def test_a_repository_without_sound_is_an_error(repository, tmp_path):
    for path in repository.rglob("*.wav"):
        if path.parent.name == "sounds":
            path.unlink()
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", "-C", repository]
    subprocess.run([*git, "commit", "--quiet", "-a", "-m", "none"], check=True)
    with pytest.raises(InputError, match="kathleen: no sound"):
        fetch.fetch(tmp_path / "recordings", [source_at(repository)])


def test_long_items_are_cut_to_the_length_of_a_file():
    waves = [np.full((1, 3 * RATE), 0.1, np.float32), np.full((1, RATE // 2), 0.2, np.float32)]
    files = list(fetch.joined(iter(waves), seconds=1.0))
    assert [wave.shape[1] for wave in files] == [RATE, RATE // 2]
