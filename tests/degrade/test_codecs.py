"""Degrading by name: length, alignment, determinism, chains, mono, surround, refusals."""

import numpy as np
import pytest

from enhancelib import audio
from enhancelib.degrade import codecs, lc3
from enhancelib.degrade.conditions import Coding
from enhancelib.errors import InputError

RATE = 44100
NAMES = [
    *codecs.CONDITIONS,
    "aptx-hd",
    "msbc",
    "msbc-loss-5pct",
    "sbc-53-adaptive-20pct",
    "sbc-53-adaptive-20pct-loss-5pct-burst-4",
    "mp3-32@22050hz",
    "sbc-20@16000hz",
    "up-96000hz",
    "noise-hum-10db",
    "clip-6db+aac-96+sbc-35",
    *(["lc3-192", "lc3-96-loss-5pct"] if lc3.available() else []),
]
"""Conditions that are tried in all ways below; every codec is to be among them."""
RANDOM = ("noise", "-loss-", "adaptive", "old")


def noise(channels: int = 2, samples: int = RATE + 17, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((channels, samples))).astype(np.float32)


def music(seconds: float = 2.0) -> np.ndarray:
    return audio.load("data/excerpts/render_freedoom1_D_E1M2.flac", duration_s=seconds)[0]


def lag(estimate: np.ndarray, reference: np.ndarray) -> int:
    size = 2 * len(reference)
    product = np.conj(np.fft.rfft(reference, size)) * np.fft.rfft(estimate, size)
    peak = int(np.argmax(np.fft.irfft(product)))
    return peak if peak < size // 2 else peak - size


def snr_db(estimate: np.ndarray, reference: np.ndarray) -> float:
    error = np.sum((estimate - reference).astype(float) ** 2)
    return float(10 * np.log10(np.sum(reference.astype(float) ** 2) / max(error, 1e-30)))


def test_every_codec_is_among_the_names_that_are_tried():
    here = {name for name in codecs.CODECS if name != "lc3" or lc3.available()}
    steps = [step for name in NAMES for step in codecs.parse_condition(name).steps]
    coded = {step.codec for step in steps if isinstance(step, Coding)}
    assert coded == here, "add a condition with it to NAMES"


@pytest.mark.parametrize("name", NAMES)
def test_shape_place_and_seed_are_kept(name):
    for wave in (noise(), music(1.0)):
        degraded = codecs.degrade(wave, name, sample_rate=RATE, seed=3)
        assert degraded.shape == wave.shape
        assert degraded.dtype == np.float32
        assert np.isfinite(degraded).all()
        tolerance = 10 if "old" in name else 0  # wow moves the samples about
        for estimate, reference in zip(degraded, wave, strict=True):
            assert abs(lag(estimate, reference)) <= tolerance
        again = codecs.degrade(wave, name, sample_rate=RATE, seed=3)
        np.testing.assert_array_equal(again, degraded)


@pytest.mark.parametrize("name", ["sbc-53", "aptx", "mp3-64", "aac-64+opus-64", "noise-pink-20db"])
def test_a_rate_may_be_any_type_of_whole_number(name):
    wave = music(0.2)
    for rate in (np.int64(RATE), float(RATE)):
        degraded = codecs.degrade(wave, name, sample_rate=rate)
        np.testing.assert_array_equal(degraded, codecs.degrade(wave, name, sample_rate=RATE))
        if not name.startswith("noise"):
            sent = codecs.encode(wave, name, sample_rate=rate)
            assert sent == codecs.encode(wave, name, sample_rate=RATE)
            assert type(sent.sample_rate) is int


@pytest.mark.parametrize("name", NAMES)
def test_only_what_is_random_depends_on_the_seed(name):
    wave = music(3.0)
    first, second = (codecs.degrade(wave, name, sample_rate=RATE, seed=seed) for seed in (0, 5))
    assert np.array_equal(first, second) != any(word in name for word in RANDOM)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("samples", [1, 1000])
def test_short_waves_silence_and_full_scale_pass(name, samples):
    square = np.sign(noise(samples=samples) + 1e-9)
    for wave in (np.zeros((2, samples), np.float32), square):
        degraded = codecs.degrade(wave, name, sample_rate=RATE)
        assert degraded.shape == wave.shape
        assert np.isfinite(degraded).all()
        assert np.abs(degraded).max() < 4


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000, 96000, 192000])
@pytest.mark.parametrize("name", ["sbc-35", "aptx", "opus-96", "aac-96", "msbc", "down-7350hz"])
def test_other_rates_are_converted_in_place(name, rate):
    wave = audio.resample(noise(samples=2 * RATE), from_rate=RATE, to_rate=rate)[:, :-3]
    wave = audio.resample(  # no more band than the narrowest of them keeps
        audio.resample(wave, from_rate=rate, to_rate=6000), from_rate=6000, to_rate=rate
    )
    degraded = codecs.degrade(wave, name, sample_rate=rate)
    assert degraded.shape == wave.shape
    assert lag(degraded[0], wave[0]) == 0
    assert snr_db(degraded, wave) > 5


def test_lossless_is_the_wave_itself():
    wave = music()
    np.testing.assert_array_equal(codecs.degrade(wave, "lossless", sample_rate=RATE), wave)


def test_a_chain_is_its_steps_in_order():
    wave = music()
    stepwise = codecs.degrade(wave, "aac-64", sample_rate=RATE)
    stepwise = codecs.degrade(stepwise, "sbc-20", sample_rate=RATE)
    chained = codecs.degrade(wave, "aac-64+sbc-20", sample_rate=RATE)
    np.testing.assert_array_equal(chained, stepwise)
    other = codecs.degrade(wave, "sbc-20+aac-64", sample_rate=RATE)
    assert np.abs(chained - other).max() > 1e-3
    assert snr_db(chained, wave) < snr_db(codecs.degrade(wave, "aac-64", sample_rate=RATE), wave)


def test_the_same_noise_is_not_drawn_twice_in_a_chain():
    wave = noise()
    once = codecs.degrade(wave, "noise-white-0db", sample_rate=RATE) - wave
    twice = codecs.degrade(wave, "noise-white-0db+noise-white-0db", sample_rate=RATE) - wave - once
    assert abs(np.corrcoef(once[0], twice[0])[0, 1]) < 0.6  # 1 if it were the same


@pytest.mark.parametrize(
    "names",
    [
        ("sbc-20", "sbc-35", "sbc-53"),
        ("mp3-64", "mp3-128", "mp3-320"),
        ("aac-64", "aac-128", "aac-256"),
        ("opus-32", "opus-128", "opus-320"),
        ("down-8000hz", "down-16000hz", "down-32000hz"),
        ("aptx", "aptx-hd"),
    ],
)
def test_more_bits_or_more_band_mean_less_error(names):
    wave = music(4.0)
    ratios = [snr_db(codecs.degrade(wave, name, sample_rate=RATE), wave) for name in names]
    assert ratios == sorted(ratios)
    assert ratios[-1] > ratios[0] + 3


def test_field_measurements_hold():
    """SNR of this excerpt lies where six full-band excerpts lay when the plan was made, in dB."""
    wave = music(6.0)
    for name, expected in (("sbc-53", 36), ("sbc-20", 22), ("aac-128", 21), ("aptx", 34)):
        measured = snr_db(codecs.degrade(wave, name, sample_rate=RATE), wave)
        assert measured == pytest.approx(expected, abs=4)


# ---------------------------------------------------------------- channels


def test_mono_is_coded_as_mono_not_as_two_equal_channels():
    """Two equal channels in joint stereo come out far too clean: the side channel takes no bits."""
    wave = music(4.0)[:1]
    mono = codecs.degrade(wave, "sbc-20", sample_rate=RATE)
    double = codecs.degrade(np.repeat(wave, 2, axis=0), "sbc-20", sample_rate=RATE)[:1]
    assert snr_db(double, wave) > snr_db(mono, wave) + 4
    stereo = music(4.0)
    both = snr_db(codecs.degrade(stereo, "sbc-20", sample_rate=RATE), stereo)
    assert snr_db(mono, wave) == pytest.approx(both, abs=4)


@pytest.mark.parametrize(
    ("name", "kbps"), [("mp3-128", 64), ("aac-128", 64), ("opus-128", 64), ("msbc", 60.8)]
)
def test_mono_takes_half_the_bits(name, kbps):
    wave = music(3.0)[:1]
    assert codecs.encode(wave, name, sample_rate=RATE).kbps == pytest.approx(kbps, rel=0.12)


@pytest.mark.parametrize("name", ["sbc-53", "aac-128", "aptx", "msbc", "sbc-53-loss-10pct"])
def test_surround_is_coded_pair_by_pair(name):
    wave = noise(5)
    whole = codecs.degrade(wave, name, sample_rate=RATE)
    pairs = [
        codecs.degrade(part, name, sample_rate=RATE) for part in (wave[:2], wave[2:4], wave[4:])
    ]
    np.testing.assert_array_equal(whole, np.concatenate(pairs))


# ---------------------------------------------------------------- packets, bit rate, gain


def test_encoded_names_its_rate_and_measures_its_bits():
    wave = music(3.0)
    encoded = codecs.encode(wave, "opus-96", sample_rate=RATE)
    assert encoded.condition == "opus-96@48000hz"
    assert encoded.sample_rate == 48000
    bits = 8 * sum(map(len, encoded.packets))
    assert encoded.kbps == pytest.approx(bits / 1000 / (len(encoded.packets) * 0.020))
    assert encoded.kbps == pytest.approx(96, rel=0.15)


@pytest.mark.parametrize(
    ("name", "kbps"), [("sbc-53", 328), ("sbc-35", 229), ("sbc-20", 146), ("aptx", 352.8)]
)
def test_bluetooth_bit_rates_are_those_of_the_profiles(name, kbps):
    encoded = codecs.encode(music(), name, sample_rate=RATE)
    assert encoded.kbps == pytest.approx(kbps, abs=0.5)


def test_a_chain_reports_its_last_codec():
    wave = music()
    chained = codecs.encode(wave, "aac-64+sbc-20", sample_rate=RATE)
    before = codecs.degrade(wave, "aac-64", sample_rate=RATE)
    assert chained.packets == codecs.encode(before, "sbc-20", sample_rate=RATE).packets
    for name in ("lossless", "sbc-20+clip-6db"):
        with pytest.raises(InputError, match="ends in no codec"):
            codecs.encode(wave, name, sample_rate=RATE)


def test_surround_bits_add_up():
    wave = noise(5)
    whole = codecs.encode(wave, "sbc-53", sample_rate=RATE)
    parts = [codecs.encode(p, "sbc-53", sample_rate=RATE) for p in (wave[:2], wave[2:4], wave[4:])]
    assert whole.kbps == pytest.approx(sum(part.kbps for part in parts))
    assert whole.packets[7] == b"".join(part.packets[7] for part in parts)


def test_lame_lowers_the_level_and_others_keep_it():
    wave = music(4.0)
    assert -0.7 < codecs.encode(wave, "mp3-128", sample_rate=RATE).gain_db < -0.2
    assert abs(codecs.encode(wave, "sbc-53", sample_rate=RATE).gain_db) < 0.02


def test_gain_is_the_least_squares_level():
    wave, other = noise(seed=0), noise(seed=1)
    assert codecs.gain_db(0.5 * wave, wave) == pytest.approx(-6.0206, abs=1e-3)
    assert codecs.gain_db(2 * wave + 0.01 * other, wave) == pytest.approx(6.02, abs=0.01)
    assert codecs.gain_db(wave, np.zeros_like(wave)) == 0


# ---------------------------------------------------------------- the radio


def test_lost_packets_are_heard_and_more_of_them_more():
    wave = music(8.0)
    ratios = [
        snr_db(codecs.degrade(wave, name, sample_rate=RATE, seed=1), wave)
        for name in ("sbc-53", "sbc-53-loss-2pct", "sbc-53-loss-20pct")
    ]
    assert ratios[0] > ratios[1] + 6 > ratios[2] + 12


def test_losses_hit_whole_media_packets():
    """At bitpool 53 five frames share a packet: differences come in stretches of that."""
    wave = noise(samples=4 * RATE)
    clean, lossy = (
        codecs.degrade(wave, name, sample_rate=RATE, seed=2)
        for name in ("sbc-53", "sbc-53-loss-5pct-burst-1")
    )
    differs = np.any(np.abs(clean - lossy) > 1e-6, axis=0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], differs.astype(int), [0]])))
    starts, ends = edges[::2], edges[1::2]
    gaps = np.flatnonzero(starts[1:] - ends[:-1] > 300)  # an exact zero inside parts no gap
    lengths = np.append(ends[:-1][gaps], ends[-1]) - np.append(starts[0], starts[1:][gaps])
    # A packet, less the filter's look-back, more its reconvergence and the crossfade.
    assert len(lengths) > 3
    assert np.median(lengths) == pytest.approx(5 * 128, abs=130)
    assert differs.mean() == pytest.approx(0.05, abs=0.04)


def test_adaptive_bitpool_spends_fewer_bits():
    wave = music(6.0)
    fixed = codecs.encode(wave, "sbc-53", sample_rate=RATE)
    adaptive = codecs.encode(wave, "sbc-53-adaptive-20pct", sample_rate=RATE, seed=1)
    assert adaptive.kbps < 0.95 * fixed.kbps
    assert len({len(packet) for packet in adaptive.packets}) > 3
    assert len(adaptive.packets) == len(fixed.packets)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("name", "rate", "words"),
    [
        ("mp3-320", 22050, "22050 Hz.*144, 160"),
        ("down-48000hz", 44100, "not below the wave's 44100 Hz"),
        ("up-22050hz", 44100, "not at or above"),
        ("aac-500", 22050, "16 to 264"),
        ("nothing", 44100, "is unknown"),
        ("sbc-53", 0, "whole Hz"),
    ],
)
def test_what_the_rate_does_not_allow_is_refused(name, rate, words):
    with pytest.raises(InputError, match=words):
        codecs.degrade(noise(samples=100), name, sample_rate=rate)


def test_bad_waves_are_refused():
    with pytest.raises(InputError, match="NaN"):
        codecs.degrade(np.full((2, 10), np.nan), "sbc-53", sample_rate=RATE)
    with pytest.raises(InputError, match="channels, samples"):
        codecs.degrade(np.zeros(10), "sbc-53", sample_rate=RATE)
    with pytest.raises(InputError, match="seed: -1 is not a whole number of 0 or more"):
        codecs.degrade(np.zeros((1, 10)), "noise-white-20db", sample_rate=RATE, seed=-1)


def test_a_missing_lc3_is_named_with_its_package(monkeypatch):
    monkeypatch.setattr(lc3, "_NAMES", ("libnone.so.9",))
    lc3.library.cache_clear()
    assert not lc3.available()
    with pytest.raises(InputError, match="apt-get install liblc3-tools"):
        codecs.degrade(noise(), "lc3-192", sample_rate=48000)
    lc3.library.cache_clear()
