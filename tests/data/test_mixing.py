"""Mixing against closed forms: levels, silence, crossfades, slopes, walls."""

import numpy as np
import pytest

from enhancelib.data import mixing
from enhancelib.errors import InputError

RATE = 44100


def noise(seconds=1.0, *, seed=0, channels=2, level=0.1):
    rng = np.random.default_rng(seed)
    return (level * rng.standard_normal((channels, round(seconds * RATE)))).astype(np.float32)


def sine(hz, seconds=1.0, level=0.5):
    return level * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)[None]


def rms_db(wave):
    return 10 * np.log10(np.mean(np.square(wave, dtype=np.float64)))


def test_a_sum_has_the_power_of_its_parts():
    parts = [noise(seed=seed, level=10.0**-seed) for seed in range(4)]
    gains = [10.0, 0.0, -10.0, 3.0]
    expected = 10 * np.log10(sum(0.01 * 10 ** (gain / 10) for gain in gains))
    assert rms_db(mixing.add(parts, gains)) == pytest.approx(expected, abs=0.1)
    alone = mixing.add([np.zeros((2, RATE)), parts[0]], [10.0, 0.0])  # silence adds nothing
    assert rms_db(alone) == pytest.approx(-20, abs=1e-4)
    assert alone.dtype == np.float32


def test_a_sum_of_none_of_too_many_or_of_unequal_parts_is_refused():
    for count in (0, 9):
        with pytest.raises(InputError, match=f"{count} parts; add 1 to 8"):
            mixing.add([noise()] * count, [0.0] * count)
    with pytest.raises(InputError, match="cut them to one"):
        mixing.add([noise(), noise(0.5)], [0, 0])


def test_mid_and_side_are_of_the_two_channels():
    wave = noise()
    mid, side = mixing.pick_channel(wave, "mean"), mixing.pick_channel(wave, "side")
    np.testing.assert_allclose(mid + side, mixing.pick_channel(wave, "left"), atol=1e-7)
    np.testing.assert_allclose(mid - side, mixing.pick_channel(wave, "right"), atol=1e-7)
    assert mid.shape == side.shape == (1, RATE)
    with pytest.raises(InputError, match="mean, left, right, side"):
        mixing.pick_channel(wave, "centre")


@pytest.mark.parametrize("level_db", [-30.0, -6.0, 0.0])
def test_the_peak_is_at_the_level_asked_for(level_db):
    assert np.abs(mixing.to_level(noise(), level_db)).max() == pytest.approx(10 ** (level_db / 20))
    assert not mixing.to_level(np.zeros((2, 9)), level_db).any()


def test_a_limiter_keeps_the_peak_and_raises_the_rest():
    wave = noise(level=0.05)
    wave[:, 20000] = 0.9
    ceiling = np.abs(wave).max()
    limited = mixing.limit(wave, 9.0, sample_rate=RATE)
    assert np.abs(limited).max() <= ceiling * (1 + 1e-6)
    assert limited[0, 20000] == pytest.approx(ceiling, rel=0.01)
    far = slice(0, 19000)  # before anything is over the ceiling
    np.testing.assert_allclose(limited[:, far], wave[:, far] * 10 ** (9 / 20), rtol=1e-4)
    recovered = 20000 + round(9 / 75 * RATE) + 200  # 9 dB at 75 dB per second
    np.testing.assert_allclose(
        limited[:, recovered:], wave[:, recovered:] * 10 ** (9 / 20), rtol=1e-4
    )
    gain_db = 20 * np.log10(limited[0, wave[0] != 0] / wave[0, wave[0] != 0])
    assert np.abs(np.diff(gain_db)).max() < 0.3  # no step that would click


def test_a_limiter_that_is_not_driven_changes_nothing():
    wave = noise()
    np.testing.assert_allclose(mixing.limit(wave, 0.0, sample_rate=RATE), wave, rtol=1e-6)
    assert not mixing.limit(np.zeros((2, 100)), 6.0, sample_rate=RATE).any()


def test_a_dip_is_silent_between_its_fades_and_nothing_else():
    wave = np.ones((2, 1000), np.float32)
    dipped = mixing.dip(wave, 400, 600, fade=100)
    assert not dipped[:, 400:600].any()
    assert (dipped[:, :300] == 1).all()
    assert (dipped[:, 700:] == 1).all()
    assert dipped[0, 350] == pytest.approx(0.5)
    assert dipped[0, 649] == pytest.approx(0.5)
    np.testing.assert_array_equal(dipped, dipped[:, ::-1])
    assert not mixing.dip(wave, 0, 1000, fade=100).any()


def test_a_join_crossfades_at_equal_power():
    first, second = noise(seed=1), noise(seed=2)
    joined = mixing.join(first, second, 20000, fade=4000)
    np.testing.assert_array_equal(joined[:, :17999], first[:, :17999])
    np.testing.assert_array_equal(joined[:, 22001:], second[:, 22001:])
    assert rms_db(joined[:, 18000:22000]) == pytest.approx(rms_db(first), abs=0.2)
    hard = mixing.join(first, second, 20000, fade=0)
    np.testing.assert_array_equal(hard[:, :20000], first[:, :20000])
    np.testing.assert_array_equal(hard[:, 20000:], second[:, 20000:])


@pytest.mark.parametrize("slope_db", [12.0, 24.0, 40.0])
def test_a_roll_off_falls_by_so_much_in_an_octave(slope_db):
    levels = {
        hz: rms_db(mixing.roll_off(sine(hz), 2000.0, slope_db, sample_rate=RATE)[:, 2000:-2000])
        - rms_db(sine(hz))
        for hz in (200.0, 2000.0, 4000.0, 8000.0)
    }
    assert levels[200] == pytest.approx(0, abs=0.1)
    assert levels[2000] == pytest.approx(-3.01, abs=0.05)
    assert levels[4000] - levels[8000] == pytest.approx(slope_db, abs=0.4)


def test_hiss_lies_as_far_under_the_music_as_it_is_told_and_mono_stays_mono():
    quiet = np.repeat(0.01 * sine(440), 2, axis=0)
    for wave in (quiet, 30 * quiet):
        noise = mixing.add_hiss(wave, 60, rng=np.random.default_rng(0)) - wave
        power = np.mean(np.square([wave, noise], dtype=np.float64), axis=(1, 2))
        assert 10 * np.log10(power[0] / power[1]) == pytest.approx(60, abs=0.1)
        assert np.abs(noise[0] - noise[1]).max() < 1e-6
        spectrum = np.abs(np.fft.rfft(noise[0])) ** 2
        low, high = (part.mean() for part in np.array_split(spectrum, 2))
        assert low == pytest.approx(high, rel=0.05)


def test_a_brick_wall_takes_what_is_above_and_nothing_below():
    kept = mixing.brick_wall(sine(9700), 10000, sample_rate=RATE)
    gone = mixing.brick_wall(sine(10100), 10000, sample_rate=RATE)
    middle = slice(4000, -4000)
    np.testing.assert_allclose(kept[:, middle], sine(9700)[:, middle], atol=2e-3)
    assert rms_db(gone[:, middle]) < rms_db(sine(10100)) - 60


def test_filters_move_nothing():
    impulse = np.zeros((1, 4001), np.float32)
    impulse[0, 2000] = 1
    for filtered in (
        mixing.roll_off(impulse, 3000, 24, sample_rate=RATE),
        mixing.brick_wall(impulse, 8000, sample_rate=RATE),
    ):
        np.testing.assert_allclose(filtered, filtered[:, ::-1], atol=1e-6)
        assert np.argmax(filtered) == 2000
