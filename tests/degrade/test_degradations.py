"""Noise, clipping and the old recording against their definitions."""

import numpy as np
import pytest
import scipy.signal

from enhancelib.degrade import degradations
from enhancelib.errors import InputError

RATE = 44100


def noise(channels: int = 2, samples: int = RATE, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((channels, samples))).astype(np.float32)


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("color", degradations.NOISE_COLORS)
@pytest.mark.parametrize("snr_db", [-5, 0, 20, 40])
def test_the_signal_to_noise_ratio_is_exact(color, snr_db):
    wave = noise()
    noisy = degradations.add_noise(wave, color, snr_db, sample_rate=RATE, rng=rng())
    error = noisy.astype(float) - wave
    measured = 10 * np.log10(np.sum(wave.astype(float) ** 2) / np.sum(error**2))
    assert noisy.dtype == np.float32
    assert measured == pytest.approx(snr_db, abs=1e-3)


@pytest.mark.parametrize(
    ("color", "db_per_octave"),
    [("white", 0), ("pink", -3.01), ("brown", -6.02), ("blue", 3.01), ("violet", 6.02)],
)
def test_colors_have_their_slopes(color, db_per_octave):
    """The slope of scipy's Welch spectrum from 100 Hz to 10 kHz."""
    exponent = degradations.NOISE_EXPONENTS[color]
    samples = degradations.colored_noise((1, 20 * RATE), exponent, sample_rate=RATE, rng=rng())
    frequency, power = scipy.signal.welch(samples[0], RATE, nperseg=8192)
    band = (frequency > 100) & (frequency < 10_000)
    slope = np.polyfit(np.log2(frequency[band]), 10 * np.log10(power[band]), 1)[0]
    assert slope == pytest.approx(db_per_octave, abs=0.15)


def test_noise_differs_between_channels_and_hum_does_not():
    wave = noise()
    for color, expected in (("white", 0.0), ("pink", 0.0), ("hum", 1.0)):
        added = degradations.add_noise(wave, color, 0, sample_rate=RATE, rng=rng()) - wave
        assert np.corrcoef(added)[0, 1] == pytest.approx(expected, abs=0.1)


def test_hum_sits_on_multiples_of_50_hz_each_6_db_lower():
    samples = degradations.hum(RATE, sample_rate=RATE, rng=rng())
    level = 20 * np.log10(np.abs(np.fft.rfft(samples))[[50, 100, 150, 500]] + 1e-9)
    assert np.diff(level[:3]) == pytest.approx([-6.02, -6.02], abs=0.1)
    assert level[3] - level[0] == pytest.approx(-54.2, abs=0.1)
    off = np.abs(np.fft.rfft(samples))
    off[50:501:50] = 0
    assert off.max() < 1e-6
    slow = degradations.hum(320, sample_rate=320, rng=rng())  # harmonics above 160 Hz are left out
    assert np.abs(np.fft.rfft(slow))[[50, 100, 150]].min() > 30


def test_silence_stays_silence_and_an_unknown_color_is_refused():
    silence = np.zeros((2, 100), np.float32)
    assert not degradations.add_noise(silence, "pink", 20, sample_rate=RATE, rng=rng()).any()
    assert np.isfinite(degradations.old_recording(silence, sample_rate=RATE, rng=rng())).all()
    with pytest.raises(InputError, match="white, pink, brown"):
        degradations.add_noise(silence, "grey", 20, sample_rate=RATE, rng=rng())


@pytest.mark.parametrize("drive_db", [3, 6, 20])
def test_clipping_flattens_what_is_above_and_nothing_else(drive_db):
    wave = noise()
    clipped = degradations.clip(wave, drive_db)
    limit = np.abs(wave).max() * 10 ** (-drive_db / 20)
    below = np.abs(wave) < limit
    np.testing.assert_array_equal(clipped[below], wave[below])
    np.testing.assert_allclose(np.abs(clipped[~below]), limit, rtol=1e-6)
    np.testing.assert_array_equal(np.sign(clipped), np.sign(wave))


def test_the_band_limit_has_its_corners_its_slopes_and_no_delay():
    """Third of the power at no corner but half: −3 dB at both, −24 dB an octave outside."""
    impulse = np.zeros((1, RATE))
    impulse[0, RATE // 2] = 1
    response = degradations.band_limit(impulse, sample_rate=RATE)
    assert np.argmax(response) == RATE // 2
    gain = 20 * np.log10(np.abs(np.fft.rfft(response[0])))
    assert gain[1000] == pytest.approx(0, abs=0.01)
    assert gain[[100, 5000]] == pytest.approx([-3.01, -3.01], abs=0.1)
    assert gain[[50, 10_000]] == pytest.approx([-24.1, -24.1], abs=0.3)


def test_wow_shifts_a_tone_by_its_formula_and_nothing_on_average():
    """The phase of a 440 Hz tone against the displacement of an eccentric disc."""
    time = np.arange(3 * RATE) / RATE
    tone = np.sin(2 * np.pi * 440 * time)[None]
    warped = degradations.wow(tone, sample_rate=RATE, rng=rng())
    analytic = scipy.signal.hilbert(warped[0]) * np.exp(-2j * np.pi * 440 * time)
    shift = np.unwrap(np.angle(analytic)) / (2 * np.pi * 440)
    shift = (shift - np.mean(shift[RATE // 2 : -RATE // 2]))[RATE // 2 : -RATE // 2]
    expected = degradations.OLD_WOW_DEPTH / (2 * np.pi * degradations.OLD_WOW_HZ)
    assert np.abs(shift).max() == pytest.approx(expected, rel=0.1)
    assert np.std(np.abs(analytic[RATE // 2 : -RATE // 2])) < 1e-3  # the level does not waver
    turns = np.sum(np.diff(np.sign(shift)) != 0) / 2 / 2  # zero crossings in two seconds
    assert turns == pytest.approx(degradations.OLD_WOW_HZ, abs=0.3)


def test_clicks_come_at_their_rate_and_are_heavy_tailed():
    clicks = degradations.crackle(60 * RATE, sample_rate=RATE, rng=rng())
    peaks = scipy.signal.find_peaks(np.abs(clicks), height=1e-2, distance=RATE // 1000)[0]
    assert len(peaks) / 60 == pytest.approx(degradations.OLD_CLICKS_PER_S, rel=0.15)
    heights = np.abs(clicks[peaks])
    assert np.median(heights) == pytest.approx(1, rel=0.2)  # log-normal around the signal's RMS
    assert heights.max() > 5


def test_an_old_recording_is_narrow_noisy_and_in_place():
    wave = noise(samples=3 * RATE)
    old = degradations.old_recording(wave, sample_rate=RATE, rng=rng())
    assert old.shape == wave.shape
    assert old.dtype == np.float32
    frequency, power = scipy.signal.welch(old[0], RATE, nperseg=4096)
    inside = power[(frequency > 300) & (frequency < 3000)].mean()
    assert power[frequency > 12_000].mean() < 0.1 * inside
    assert np.corrcoef(old)[0, 1] < 0.5  # stereo is kept
    size = 2 * wave.shape[1]
    product = np.conj(np.fft.rfft(wave[0], size)) * np.fft.rfft(old[0], size)
    lag = int(np.argmax(np.fft.irfft(product)))
    assert min(lag, size - lag) <= 10
