"""Noise-to-mask ratio: what psychoacoustics knows must come out of it."""

import numpy as np
import pytest

from enhancelib.audio.masking import noise_to_mask
from enhancelib.degrade import codecs
from enhancelib.errors import InputError

RATE = 44100


def band_noise(low_hz, high_hz, level_db, *, seed=0):
    """Noise in one band at this RMS level in dBFS, (1, 2 seconds)."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal(2 * RATE))
    frequencies = np.fft.rfftfreq(2 * RATE, 1 / RATE)
    spectrum[(frequencies < low_hz) | (frequencies > high_hz)] = 0
    wave = np.fft.irfft(spectrum)
    return (10 ** (level_db / 20) * wave / np.std(wave)).astype(np.float32)[None]


def near(centers, ratio, hertz):
    return ratio[np.argmin(np.abs(centers - hertz))]


def test_no_error_is_the_floor():
    wave = band_noise(100, 15000, -20)
    centers, ratio = noise_to_mask(wave, wave, sample_rate=RATE)
    assert np.all(ratio == -60)
    assert np.all(np.diff(centers) > 0)
    assert centers[0] > 80
    assert 16000 < centers[-1] < 19000


def test_noise_far_below_the_masker_in_its_band_is_not_heard_but_strong_noise_is():
    masker = band_noise(900, 1100, -20)
    for level_db, heard in ((-50, False), (-22, True)):
        error = band_noise(920, 1080, level_db, seed=1)
        centers, ratio = noise_to_mask(masker + error, masker, sample_rate=RATE)
        assert (near(centers, ratio, 1000) > 0) == heard


def test_masking_reaches_up_further_than_down():
    """The same noise is masked above a masker, where the slopes are shallow, and not below it."""
    masker = band_noise(2000, 2200, -12)
    up = noise_to_mask(masker + band_noise(2700, 2900, -52, seed=1), masker, sample_rate=RATE)
    down = noise_to_mask(masker + band_noise(1450, 1600, -52, seed=1), masker, sample_rate=RATE)
    assert near(*up, 2800) < near(*down, 1520) - 6


def test_louder_maskers_mask_relatively_more_above():
    ratios = []
    for level_db in (-40, -10):
        masker = band_noise(1000, 1150, level_db)
        error = band_noise(1600, 1750, level_db - 30, seed=1)
        ratios.append(near(*noise_to_mask(masker + error, masker, sample_rate=RATE), 1670))
    assert ratios[1] < ratios[0] - 3


def test_noise_under_the_threshold_of_hearing_is_not_heard():
    silence = np.zeros((1, 2 * RATE), np.float32)
    for level_db, heard in ((-110, False), (-60, True)):
        error = band_noise(3000, 3600, level_db)
        centers, ratio = noise_to_mask(error, silence, sample_rate=RATE)
        assert (near(centers, ratio, 3300) > 0) == heard


def test_a_missing_treble_is_heard_there_and_only_there():
    wave = band_noise(100, 16000, -20)
    kept = band_noise(100, 16000, -20)
    spectrum = np.fft.rfft(kept[0])
    spectrum[np.fft.rfftfreq(kept.shape[1], 1 / RATE) > 8000] = 0
    centers, ratio = noise_to_mask(
        np.fft.irfft(spectrum).astype(np.float32)[None], wave, sample_rate=RATE
    )
    assert near(centers, ratio, 12000) > 0
    assert near(centers, ratio, 2000) < -20


@pytest.mark.parametrize(("worse", "better"), [("mp3-64", "mp3-192"), ("sbc-10", "sbc-53")])
def test_a_higher_bit_rate_has_less_audible_noise(worse, better):
    wave = np.concatenate([band_noise(60, 18000, -25, seed=s) for s in (1, 2)])
    results = [
        noise_to_mask(codecs.degrade(wave, name, sample_rate=RATE), wave, sample_rate=RATE)[1]
        for name in (worse, better)
    ]
    assert results[0].mean() > results[1].mean() + 6


def test_unequal_or_too_short_waves_are_refused():
    with pytest.raises(InputError, match="two shapes"):
        noise_to_mask(
            np.zeros((1, 4000), np.float32), np.zeros((2, 4000), np.float32), sample_rate=RATE
        )
    with pytest.raises(InputError, match="less than one frame"):
        noise_to_mask(
            np.zeros((1, 400), np.float32), np.zeros((1, 400), np.float32), sample_rate=RATE
        )
