"""Arrays: what is a wave, resampling to exact lengths, segments, the window."""

import numpy as np
import pytest
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

from enhancelib import audio
from enhancelib.audio.waves import hann_window, short_time_spectra
from enhancelib.errors import InputError


def noise(channels: int = 2, samples: int = 10_001, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((channels, samples))).astype(np.float32)


# ---------------------------------------------------------------- resampling


@given(
    samples=st.integers(1, 3000),
    from_rate=st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000, 96000]),
    to_rate=st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000, 96000]),
)
def test_resampling_gives_the_promised_length(samples, from_rate, to_rate):
    wave = noise(1, samples)
    there = audio.resample(wave, from_rate=from_rate, to_rate=to_rate)
    exact = samples * to_rate / from_rate
    assert there.shape == (1, max(1, int(np.floor(exact + 0.5))))
    assert there.dtype == np.float32


@pytest.mark.parametrize("to_rate", [22050, 32000, 48000, 96000])
def test_a_resampled_tone_is_the_tone_at_the_new_rate(to_rate):
    """No delay, no change of level: compared with the formula, away from the ends."""

    def tone(rate):
        return 0.5 * np.sin(2 * np.pi * 997 * np.arange(rate) / rate)[None].astype(np.float32)

    resampled = audio.resample(tone(44100), from_rate=44100, to_rate=to_rate)
    middle = slice(to_rate // 4, -to_rate // 4)
    np.testing.assert_allclose(resampled[:, middle], tone(to_rate)[:, middle], atol=1e-6)


def test_resampling_removes_what_the_new_rate_cannot_hold():
    tone = np.sin(2 * np.pi * 15000 * np.arange(44100) / 44100)[None].astype(np.float32)
    low = audio.resample(tone, from_rate=44100, to_rate=16000)
    assert np.sqrt(np.mean(low[:, 1000:-1000] ** 2)) < 1e-5


# ---------------------------------------------------------------- arrays


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(10, np.float32), r"wave\[None\]"),
        (np.zeros((1, 1, 10), np.float32), "channels, samples"),
        (np.zeros((2, 0), np.float32), "no samples"),
        (np.zeros((44100, 2), np.float32), "transpose"),
        (np.zeros((2, 10), np.int16), "int16"),
        (np.array([[0.0, np.inf]]), "infinity"),
        ([["a"]], "dtype"),
    ],
)
def test_what_is_no_wave_is_refused_with_the_remedy(array, words):
    with pytest.raises(InputError, match=words) as caught:
        audio.check_wave(array, name="piece.wav")
    assert str(caught.value).startswith("piece.wav: ")


def test_float64_becomes_float32_and_float32_stays_itself():
    assert audio.check_wave(np.zeros((1, 3))).dtype == np.float32
    wave = noise()
    assert audio.check_wave(wave) is wave


@pytest.mark.parametrize(
    ("samples", "parts"), [(1, 1), (99, 1), (100, 1), (133, 1), (134, 2), (200, 2), (334, 4)]
)
def test_segments_keep_a_last_third_and_fill_it_up(samples, parts):
    wave = noise(2, samples)
    cut = audio.segments(wave, sample_rate=100, duration_s=1.0)
    assert cut.shape == (parts, 2, 100)
    joined = cut.transpose(1, 0, 2).reshape(2, -1)
    kept = min(samples, parts * 100)
    np.testing.assert_array_equal(joined[:, :kept], wave[:, :kept])
    assert not joined[:, kept:].any()


def test_segments_refuse_nothing_long():
    with pytest.raises(InputError, match="duration_s"):
        audio.segments(noise(), sample_rate=44100, duration_s=0)


def test_short_time_spectra_are_those_of_the_definition():
    """Every frame within the wave, times the periodic Hann window, by the sum of the DFT itself."""
    wave, length, hop = noise(samples=117), 32, 10
    window = hann_window(length)
    np.testing.assert_allclose(window, scipy.signal.get_window("hann", length), atol=1e-12)
    spectra = short_time_spectra(wave, window, hop)
    assert spectra.shape == (2, 9, 17)  # the last frame ends at sample 112: one more would not fit
    turns = np.exp(-2j * np.pi * np.outer(np.arange(17), np.arange(length)) / length)
    for frame in range(9):
        part = window * wave[:, 10 * frame : 10 * frame + length]
        np.testing.assert_allclose(spectra[:, frame], part @ turns.T, atol=1e-12)
    assert short_time_spectra(wave, window.astype(np.float32), hop).dtype == np.complex64


@pytest.mark.parametrize("frame_length", [2, 512, 1024])
def test_the_window_is_the_root_of_hann_and_its_square_adds_up_to_one(frame_length):
    window = audio.analysis_window(frame_length)
    hann = scipy.signal.get_window("hann", frame_length)
    np.testing.assert_allclose(window, np.sqrt(hann), atol=1e-6)
    half = frame_length // 2
    np.testing.assert_allclose(window[:half] ** 2 + window[half:] ** 2, 1, atol=1e-6)
    for bad in (0, 3):
        with pytest.raises(InputError, match="even"):
            audio.analysis_window(bad)
