"""Numbers that no function of the library can use are refused by the argument's name."""

import math
import os

import numpy as np
import pytest
from conftest import ROOT

import enhancelib as el
from enhancelib.errors import EnhanceError

RATE = 22050
NO_RATES = (math.nan, math.inf, -math.inf, -44100, 0, 44100.5, 1 << 31, True, "44100", b"44100")
NO_COUNTS = (math.nan, math.inf, -1, 1.5, True, "text", b"1")


def wave(channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (0.1 * rng.standard_normal((channels, RATE))).astype(np.float32)


RATES = {
    "save": lambda folder, rate: el.save(folder / "b.wav", wave(), sample_rate=rate),
    "load": lambda folder, rate: el.load(folder / "a.wav", sample_rate=rate),
    "blocks": lambda folder, rate: next(el.audio.blocks(folder / "a.wav", sample_rate=rate)),
    "segments": lambda _, rate: el.segments(wave(), sample_rate=rate, duration_s=0.1),
    "bandwidth_hz": lambda _, rate: el.bandwidth_hz(wave(), sample_rate=rate),
    "noise_to_mask": lambda _, rate: el.noise_to_mask(wave(), wave(), sample_rate=rate),
    "degrade": lambda _, rate: el.degrade(wave(), "mp3-64", sample_rate=rate),
    "encode": lambda _, rate: el.encode(wave(), "mp3-64", sample_rate=rate),
    "standard_conditions": lambda _, rate: el.standard_conditions(sample_rate=rate),
    "score": lambda _, rate: el.score(wave(), wave(), sample_rate=rate, names=["snr"]),
    "Player": lambda folder, rate: el.Player({"a": wave()}, sample_rate=rate, audio_dir=folder),
}
COUNTS = {
    "degrade: seed": lambda _, count: el.degrade(
        wave(), "noise-white-20db", sample_rate=RATE, seed=count
    ),
    "encode: seed": lambda _, count: el.encode(wave(), "mp3-64", sample_rate=RATE, seed=count),
    "ABX: trials": lambda folder, count: el.ABX(
        wave(), wave(), sample_rate=RATE, trials=count, audio_dir=folder
    ),
    "choose_pieces: count": lambda _, count: el.choose_pieces(
        el.list_pieces(ROOT / "data" / "excerpts"), count
    ),
}


@pytest.fixture
def folder(tmp_path):
    el.save(tmp_path / "a.wav", wave(), sample_rate=RATE)
    return tmp_path


@pytest.mark.parametrize("call", RATES)
@pytest.mark.parametrize("rate", NO_RATES)
def test_what_is_no_sample_rate_is_refused_by_name(folder, call, rate):
    with pytest.raises(EnhanceError) as caught:
        RATES[call](folder, rate)
    assert str(caught.value) == (
        f"sample_rate: {rate!r} is no sample rate; give whole Hz such as 44100"
    )
    assert os.listdir(folder) == ["a.wav"]


@pytest.mark.parametrize("call", COUNTS)
@pytest.mark.parametrize("count", NO_COUNTS)
def test_what_is_no_count_is_refused_by_name(folder, call, count):
    with pytest.raises(EnhanceError) as caught:
        COUNTS[call](folder, count)
    assert str(caught.value).startswith(f"{call.partition(': ')[2]}: ")
    assert "\n" not in str(caught.value)
    assert os.listdir(folder) == ["a.wav"]
