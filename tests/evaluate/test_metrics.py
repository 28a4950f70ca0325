"""Every metric against an independent source, its properties, and what must make it fail."""

import itertools
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import torch
import torchmetrics.functional.audio as tm_audio

from enhancelib.audio.reading import load
from enhancelib.audio.waves import resample
from enhancelib.audio.writing import save
from enhancelib.errors import InputError
from enhancelib.evaluate.metrics import METRICS, perceptual, score, spectral, transforms, waveform

RATE = 44100
PIECE = "data/excerpts/render_freedoom1_D_E1M2.flac"
CHEAP = [name for name, metric in METRICS.items() if not metric.expensive]

SYMMETRIC = {
    "magnitude_distance",
    "lsd",
    "lsd_hf",
    "lsd_lf",
    "chroma_distance",
    "tonnetz_distance",
    "centroid_distance",
    "rolloff_distance",
    "mse",
    "mae",
    "gain_matched_snr",
    "si_sdr",
    "zimtohrli",
}
ASYMMETRIC = {
    "phase_distance",
    "lsd_rel",
    "spectral_convergence",
    "mrstft",
    "mfcc_distance",
    "snr",
    "segmental_snr",
    "in_band_si_sdr",
    "level_difference",
    "treble_level_difference",
    "visqol",
}
LOST = {"band_energy_error", "band_energy_bias"}
"""Look only at what the degradation emptied; there, the estimate is compared with the reference."""
NO_PAIR = {"stereo_image_change"}
"""Compares the estimate with the untreated signal, not with the reference."""
LEVELS_ONLY = {"chroma_distance", "tonnetz_distance", "stereo_image_change"} | LOST
LEVELS_ONLY |= {"level_difference", "treble_level_difference"}
"""Metrics to which left and right are the same."""


@pytest.fixture(scope="module")
def reference():
    return load(PIECE, sample_rate=RATE, offset_s=2.0, duration_s=1.0)[0]


@pytest.fixture(scope="module")
def estimate(reference):
    """Band-limited, 1 dB quieter and a little noisy: every metric sees it."""
    low = scipy.signal.butter(6, 9000, fs=RATE, output="sos")
    noise = np.random.default_rng(1).standard_normal(reference.shape) * 2e-3
    return (10 ** (-1 / 20) * scipy.signal.sosfiltfilt(low, reference) + noise).astype(np.float32)


def value(name, estimate, reference, untreated=None):
    if untreated is None:  # what the image is compared with; to the others, the input
        untreated = reference if name == "stereo_image_change" else estimate
    got = score(estimate, reference, sample_rate=RATE, names=[name], untreated=untreated)
    return got[name]


def best(name):
    return {
        "in_band_si_sdr": spectral.SURVIVED_DB,
        "segmental_snr": waveform.SEGMENT_RANGE_DB[1],
        "visqol": pytest.approx(4.732101, abs=1e-5),
        "zimtohrli": pytest.approx(5.0),
        "phase_distance": pytest.approx(0, abs=1e-6),  # of a product of complex64
    }.get(name, waveform.CLAMP_DB if METRICS[name].better == "higher" else 0.0)


def is_worse(name, one, other):
    if METRICS[name].better == "zero":
        return abs(one) > abs(other)
    return one < other if METRICS[name].better == "higher" else one > other


def torch_stft(wave, n_fft=2048, hop=512):
    """(channels, bins, frames), by another library than the one under test."""
    window = torch.hann_window(n_fft, dtype=torch.float64)
    padded = torch.from_numpy(wave.astype(np.float64))
    spectrum = torch.stft(
        padded, n_fft, hop, window=window, pad_mode="constant", return_complex=True
    )
    return spectrum.numpy()


# --- properties of all ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", METRICS)
def test_identity_is_the_best_value(name, reference):
    assert value(name, reference, reference) == best(name)


@pytest.mark.parametrize("name", METRICS)
def test_identity_beats_damage_and_damage_beats_silence(name, estimate, reference):
    damaged = value(name, estimate, reference)
    untreated = estimate if name in LOST else reference
    empty = value(name, np.zeros_like(estimate), reference, untreated=untreated)
    assert is_worse(name, damaged, value(name, reference, reference))
    assert is_worse(name, empty, damaged)


def test_every_metric_is_declared_symmetric_or_not():
    declared = SYMMETRIC | ASYMMETRIC | LOST | NO_PAIR
    assert set(METRICS) == declared, "put it into one of the sets on top of this file"
    assert not SYMMETRIC & ASYMMETRIC


@pytest.mark.parametrize("name", sorted(SYMMETRIC))
def test_symmetric_metrics_do_not_care_for_order(name, estimate, reference):
    forth, back = value(name, estimate, reference), value(name, reference, estimate)
    assert forth == pytest.approx(back, rel=1e-4)


@pytest.mark.parametrize("name", sorted(ASYMMETRIC | LOST))
def test_swapped_arguments_change_an_asymmetric_metric(name, estimate, reference):
    forth, back = value(name, estimate, reference), value(name, reference, estimate, estimate)
    assert forth != pytest.approx(back, rel=1e-4)


@pytest.mark.parametrize("name", CHEAP)
def test_silence_gives_a_finite_value(name, estimate):
    silence = np.zeros_like(estimate)
    assert value(name, silence, silence) == best(name)
    for pair in ((silence, estimate), (estimate, silence)):
        got = value(name, *pair, untreated=silence)
        assert np.isfinite(got)
        # Silence has no phase to miss, no image to change and nothing that survives or is lost.
        nothing = {"phase_distance", "stereo_image_change", "in_band_si_sdr"} | LOST
        assert got != best(name) or name in nothing


@pytest.mark.parametrize("name", CHEAP)
@pytest.mark.parametrize("samples", [1, 100, 2047, 5000])
def test_short_signals_are_scored(name, samples, estimate, reference):
    assert np.isfinite(value(name, estimate[:, :samples], reference[:, :samples]))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("side", ["estimate", "reference"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda wave: wave[:, :-1], "differ in shape"),
        (lambda wave: wave[:1], "differ in shape"),
        (lambda wave: wave[0], "channels, samples"),
        (lambda wave: wave[:, :0], "no samples"),
        (lambda wave: np.where(wave == wave.max(), np.nan, wave), "NaN"),
        (lambda wave: np.where(wave == wave.max(), np.inf, wave), "NaN or infinity"),
        (lambda wave: (wave * 32767).astype(np.int16), "float32"),
    ],
    ids=["length", "channels", "flat", "empty", "nan", "infinity", "integers"],
)
def test_unusable_input_is_refused(name, side, spoil, message, estimate, reference):
    pair = {"estimate": estimate, "reference": reference}
    pair[side] = spoil(pair[side])
    with pytest.raises(InputError, match=message):
        value(name, **pair, untreated=estimate)


@pytest.mark.parametrize("name", CHEAP)
def test_two_equal_channels_score_as_one(name, estimate, reference):
    mono = value(name, estimate[:1], reference[:1])
    both = value(name, estimate[[0, 0]], reference[[0, 0]])
    assert both == pytest.approx(mono, rel=1e-5)


@pytest.mark.parametrize("name", sorted(set(CHEAP) - LEVELS_ONLY))
def test_exchanged_channels_are_noticed(name, reference):
    wide = np.stack([reference[0], np.roll(reference[0], 7000) * 0.5])
    noticed = value(name, wide[::-1], wide, untreated=wide) != best(name)
    assert noticed, "if left and right are the same to it, put it into LEVELS_ONLY"


# --- waveform ------------------------------------------------------------------------------------


def test_snr_and_si_sdr_agree_with_torchmetrics(estimate, reference):
    flat = [torch.from_numpy(wave.ravel().astype(np.float64)) for wave in (estimate, reference)]
    snr = tm_audio.signal_noise_ratio(*flat).item()
    si_sdr = tm_audio.scale_invariant_signal_distortion_ratio(*flat).item()
    assert waveform.snr(estimate, reference) == pytest.approx(snr, abs=1e-6)
    assert waveform.si_sdr(estimate, reference) == pytest.approx(si_sdr, abs=1e-6)


@pytest.mark.parametrize("gain", [0.5, 0.9, 1.2])
def test_gain_alone(gain, reference):
    closed = -20 * np.log10(abs(1 - gain))
    assert waveform.snr(gain * reference, reference) == pytest.approx(closed, abs=1e-3)
    assert waveform.gain_matched_snr(gain * reference, reference) == waveform.CLAMP_DB
    assert waveform.si_sdr(gain * reference, reference) > 99


def test_gain_matched_snr_and_si_sdr_follow_from_the_correlation(estimate, reference):
    a, b = (wave.ravel().astype(np.float64) for wave in (estimate, reference))
    squared = np.dot(a, b) ** 2 / np.dot(a, a) / np.dot(b, b)
    matched, si_sdr = 1 / (1 - squared), squared / (1 - squared)
    assert waveform.gain_matched_snr(estimate, reference) == pytest.approx(10 * np.log10(matched))
    assert waveform.si_sdr(estimate, reference) == pytest.approx(10 * np.log10(si_sdr))


def test_mse_and_mae_of_a_known_error(reference):
    error = np.where(np.arange(reference.shape[1]) % 2, 0.01, -0.03).astype(np.float32)
    assert waveform.mse(reference + error, reference) == pytest.approx(5e-4, rel=1e-4)
    assert waveform.mae(reference + error, reference) == pytest.approx(0.02, rel=1e-4)


def test_segmental_snr_by_an_explicit_loop(estimate, reference):
    reference, estimate = reference.copy(), estimate.copy()
    reference[:, :10000] *= 1e-5  # 100 dB down: left out
    estimate[:, 20000:22000] += 1  # clamped at -10 dB
    length, values = round(0.03 * RATE), []
    starts = range(0, reference.shape[1] - length + 1, length)
    energies = [np.sum(reference[:, s : s + length] ** 2.0) for s in starts]
    for start, energy in zip(starts, energies, strict=True):
        if energy >= 1e-6 * max(energies):
            cut = slice(start, start + length)
            error = np.sum((estimate[:, cut] - reference[:, cut]) ** 2.0)
            values.append(min(35, max(-10, 10 * np.log10(energy / error))))
    assert min(values) == -10
    assert len(values) < len(energies)
    got = waveform.segmental_snr(estimate, reference, sample_rate=RATE)
    assert got == pytest.approx(np.mean(values), abs=1e-3)


def test_a_delay_of_one_sample_costs_si_sdr(reference):
    assert waveform.si_sdr(np.roll(reference, 1, axis=1), reference) < 40


def test_a_difference_in_level_is_seen_with_its_sign(estimate, reference):
    for gain_db in (-20.0, -0.5, 0.0, 1.0):
        louder = 10 ** (gain_db / 20) * reference.astype(np.float64)
        got = value("level_difference", louder.astype(np.float32), reference)
        assert got == pytest.approx(gain_db, abs=1e-4)
    assert value("level_difference", -reference, reference) == 0


def test_the_level_of_treble_has_a_sign_and_leaves_the_rest_out():
    noise = np.random.default_rng(0).uniform(-0.2, 0.2, (2, RATE))
    spectrum, hz = np.fft.rfft(noise), np.fft.rfftfreq(RATE, 1 / RATE)
    under, over = (np.fft.irfft(np.where(part, spectrum, 0)) for part in (hz < 7500, hz > 8500))

    def level(low, high):
        heard = (low * under + high * over).astype(np.float32)
        return value("treble_level_difference", heard, (under + over).astype(np.float32))

    for gain_db in (-6.0, -1.0, 0.0, 3.0):
        assert level(1, 10 ** (gain_db / 20)) == pytest.approx(gain_db, abs=0.01)
        assert level(0.5, 10 ** (gain_db / 20)) == pytest.approx(gain_db, abs=0.01)
    assert level(1, 0) < -40
    silence = np.zeros((1, RATE), dtype=np.float32)
    assert value("treble_level_difference", silence, silence) == 0


# --- spectra -------------------------------------------------------------------------------------


def test_two_noises_differ_by_as_much_as_chance_has_it():
    """Powers of bins of white noise are exponential: the page on measures says what follows."""
    noises = np.random.default_rng(0).normal(0, 0.1, (2, 1, 10 * RATE)).astype(np.float32)
    wanted = np.pi / np.sqrt(3) / np.log(10)
    assert value("lsd", *noises) == pytest.approx(wanted, rel=0.01)
    assert np.std(np.log10(np.random.default_rng(1).exponential(size=100_000))) == pytest.approx(
        wanted / np.sqrt(2), rel=0.01
    )


def lsd_by_loops(estimate, reference, *, floor=1e-8, bins=slice(None)):
    values = []
    for got, true in zip(torch_stft(estimate), torch_stft(reference), strict=True):
        for frame in range(got.shape[1]):
            powers = [np.maximum(np.abs(x[bins, frame]) ** 2, floor) for x in (got, true)]
            values.append(np.sqrt(np.mean((np.log10(powers[0]) - np.log10(powers[1])) ** 2)))
    return np.mean(values)


def test_log_spectral_distances_by_explicit_loops(estimate, reference):
    split = round(8000 * 2048 / RATE)
    floor = 1e-8 * np.max(np.abs(torch_stft(reference)) ** 2)
    for got, settings in (
        (value("lsd", estimate, reference), {}),
        (value("lsd_rel", estimate, reference), {"floor": floor}),
        (value("lsd_hf", estimate, reference), {"bins": slice(split, None)}),
        (value("lsd_lf", estimate, reference), {"bins": slice(split)}),
    ):
        assert got == pytest.approx(lsd_by_loops(estimate, reference, **settings), rel=1e-4)


def test_ten_decibels_are_one_bel():
    noise = np.random.default_rng(0).standard_normal((1, RATE)).astype(np.float32) * 0.1
    for name in ("lsd", "lsd_rel", "lsd_hf", "lsd_lf"):
        assert value(name, noise * 10**-0.5, noise) == pytest.approx(1, abs=1e-3)


def test_relative_floor_ignores_the_level_of_the_recording(estimate, reference):
    quiet = value("lsd_rel", 1e-3 * estimate, 1e-3 * reference)
    assert quiet == pytest.approx(value("lsd_rel", estimate, reference), rel=1e-4)
    assert value("lsd", 1e-3 * estimate, 1e-3 * reference) < value("lsd", estimate, reference)


def test_high_and_low_band_see_their_own_band(reference):
    high = scipy.signal.butter(8, 12000, "high", fs=RATE, output="sos")
    changed = reference + 0.5 * scipy.signal.sosfiltfilt(high, reference)
    changed = changed.astype(np.float32)
    assert value("lsd_hf", changed, reference) > 50 * value("lsd_lf", changed, reference)


def test_magnitude_phase_and_convergence_by_torch(estimate, reference):
    got, true = torch_stft(estimate), torch_stft(reference)
    difference = np.abs(np.abs(got) - np.abs(true))
    assert value("magnitude_distance", estimate, reference) == pytest.approx(
        difference.mean(), rel=1e-4
    )
    assert value("spectral_convergence", estimate, reference) == pytest.approx(
        np.sqrt(np.sum(difference**2) / np.sum(np.abs(true) ** 2)), rel=1e-4
    )
    kept = 20 * np.log10(np.abs(true) + 1e-30) > 20 * np.log10(np.abs(true).max()) - 60
    turn = np.angle(got[kept]) - np.angle(true[kept])
    turn = np.abs(np.arctan2(np.sin(turn), np.cos(turn)))
    assert value("phase_distance", estimate, reference) == pytest.approx(
        np.average(turn, weights=np.abs(true[kept])), rel=1e-3
    )


def test_phase_distance_of_known_turns(reference):
    quadrature = np.imag(scipy.signal.hilbert(reference)).astype(np.float32)
    assert value("phase_distance", -reference, reference) == pytest.approx(np.pi)
    assert value("phase_distance", quadrature, reference) == pytest.approx(np.pi / 2, abs=0.05)
    assert value("phase_distance", 0 * reference, reference) == pytest.approx(np.pi / 2)


def test_multi_resolution_distance_agrees_with_auraloss(estimate, reference):
    from auraloss.freq import MultiResolutionSTFTLoss

    # Silent ends, since the two pad differently there.
    pair = [np.pad(wave[:1, :20000], ((0, 0), (2048, 2048))) for wave in (estimate, reference)]
    loss = MultiResolutionSTFTLoss()
    expected = loss(*(torch.from_numpy(wave[None]) for wave in pair)).item()
    assert spectral.multi_resolution_stft_distance(*pair) == pytest.approx(expected, rel=1e-3)


# --- what survived -------------------------------------------------------------------------------


def test_in_band_si_sdr_by_its_definition(estimate, reference):
    enhanced = (0.7 * reference + 0.3 * estimate).astype(np.float32)
    got, true, lossy = (torch_stft(wave) for wave in (enhanced, reference, estimate))
    power = np.abs(true) ** 2
    mask = (np.abs(true - lossy) ** 2 < 0.9 * power) & (power >= 1e-6 * power.max())
    a, b = (np.concatenate([x[mask].real, x[mask].imag]) for x in (got, true))
    squared = np.dot(a, b) ** 2 / np.dot(a, a) / np.dot(b, b)
    expected = 10 * np.log10(squared / (1 - squared))
    assert value("in_band_si_sdr", enhanced, reference, estimate) == pytest.approx(
        expected, abs=1e-3
    )


def test_in_band_si_sdr_looks_only_where_something_survived(reference):
    low = scipy.signal.butter(10, 8000, fs=RATE, output="sos")
    high = scipy.signal.butter(10, 12000, "high", fs=RATE, output="sos")
    kept = scipy.signal.sosfiltfilt(low, reference)
    noise = 0.05 * np.random.default_rng(3).standard_normal(reference.shape)
    lost = kept - reference  # a band that comes back inverted has not survived
    untreated = (kept + lost).astype(np.float32)
    changed = (kept + lost + scipy.signal.sosfiltfilt(high, noise)).astype(np.float32)
    damaged = (kept + lost + scipy.signal.sosfiltfilt(low, noise)).astype(np.float32)
    before = value("in_band_si_sdr", untreated, reference, untreated)
    assert value("in_band_si_sdr", changed, reference, untreated) == pytest.approx(before, abs=0.3)
    assert value("in_band_si_sdr", damaged, reference, untreated) < before - 10
    assert value("si_sdr", changed, reference) < value("si_sdr", untreated, reference) - 3


def test_in_band_si_sdr_charges_nothing_for_what_fills_an_emptied_band(reference):
    """As of a file at a lower rate: whatever comes back above 10 kHz, the value stays."""
    reference = (np.hanning(reference.shape[1]) * reference).astype(np.float32)  # no hard ends
    spectrum = np.fft.rfft(reference)
    frequency = np.fft.rfftfreq(reference.shape[1], 1 / RATE)
    lossy = np.fft.irfft(np.where(frequency > 10_000, 0, spectrum)).astype(np.float32)
    phase = np.exp(2j * np.pi * np.random.default_rng(9).random(spectrum.shape))
    invented = np.fft.irfft(np.where(frequency > 10_200, phase * spectrum, 0)).astype(np.float32)
    before = value("in_band_si_sdr", lossy, reference, lossy)
    assert 30 < before < 55
    for gain in (0.1, 1, 3):
        after = value("in_band_si_sdr", lossy + gain * invented, reference, lossy)
        assert after == pytest.approx(before, abs=0.1)


def test_metric_and_loss_share_their_bins(reference):
    """A bin whose error has 0.95 of its power is lost to both, one of 0.85 has survived to both."""
    import torch

    from enhancelib.model.losses import relative_error

    for share, survived in ((0.95, False), (0.85, True)):
        lossy = ((1 - np.sqrt(share)) * reference[:1]).astype(np.float32)
        silent = np.zeros_like(lossy)
        waves = (torch.from_numpy(wave[None]) for wave in (silent, reference[:1], lossy))
        harmed = value("in_band_si_sdr", silent, reference[:1], lossy) < 0
        assert harmed == (relative_error(*waves).item() > 0.01) == survived


def test_in_band_si_sdr_counts_inaudible_error_as_none(reference):
    noise = np.random.default_rng(4).standard_normal(reference.shape).astype(np.float32)
    noise *= np.linalg.norm(reference) / np.linalg.norm(noise)
    assert value("in_band_si_sdr", reference + 1e-4 * noise, reference, reference) == 60
    assert value("in_band_si_sdr", reference + 1e-2 * noise, reference, reference) < 45


# --- what was emptied ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def emptied():
    """A second of white noise, and what is left of it under 11,025 Hz: bands 0 to 31 of 64."""
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, RATE))
    spectrum = np.fft.rfft(noise)
    spectrum[:, np.fft.rfftfreq(RATE, 1 / RATE) > 11025] = 0
    return noise.astype(np.float32), np.fft.irfft(spectrum, RATE).astype(np.float32)


@pytest.mark.parametrize("gain_db", [-6.0, 0.0, 3.0])
def test_band_energies_of_a_known_gain(gain_db, emptied):
    """Whatever the estimate has in the bands that survived."""
    original, lossy = emptied
    estimate = (original + 0.5 * lossy) * 10 ** (gain_db / 20)
    right_below = 10 ** (gain_db / 20) * (original - lossy) + lossy
    for wave in (estimate.astype(np.float32), right_below.astype(np.float32)):
        error = value("band_energy_error", wave, original, lossy)
        # Next to the edge, the window's side lobes bring some of the survivors over.
        assert error == pytest.approx(abs(gain_db), abs=0.15)
        assert value("band_energy_bias", wave, original, lossy) == pytest.approx(gain_db, abs=0.15)


def test_band_energies_by_an_explicit_loop(estimate, reference):
    enhanced = (0.3 * reference + 0.7 * estimate).astype(np.float32)
    window = np.sqrt(np.hanning(1025)[:-1])
    levels = []
    for wave in (enhanced, reference, estimate):
        bands = []
        for channel in wave.astype(np.float64):
            padded = np.pad(channel, 512)
            for start in range(0, len(padded) - 1023, 512):
                power = np.abs(np.fft.rfft(window * padded[start : start + 1024])) ** 2
                bands += [power[8 * band : 8 * band + 8].sum() for band in range(64)]
        levels.append(10 * np.log10(np.array(bands) + 1e-30))
    got, true, lossy = levels
    floor = true.max() - 80
    lost = (lossy < true - 10) & (true > floor)
    assert 0.05 < lost.mean() < 0.95
    errors = np.maximum(got[lost], floor) - true[lost]
    assert value("band_energy_bias", enhanced, reference, estimate) == pytest.approx(errors.mean())
    assert value("band_energy_error", enhanced, reference, estimate) == pytest.approx(
        np.abs(errors).mean()
    )


def test_noise_of_the_right_energies_is_nearly_perfect(emptied):
    """Another noise in the empty bands: what is left is the spread of a band of eight bins."""
    original, lossy = emptied
    other = np.roll(original - lossy, 5000, axis=1)
    assert abs(value("band_energy_bias", lossy + other, original, lossy)) < 0.3
    assert 1.5 < value("band_energy_error", lossy + other, original, lossy) < 3.0
    assert value("band_energy_error", lossy, original, lossy) > 40


def test_band_energies_do_not_know_the_level(estimate, reference):
    for name in sorted(LOST):
        loud = value(name, 0.9 * estimate, reference, estimate)
        waves = [np.float32(1e-3) * wave for wave in (0.9 * estimate, reference, estimate)]
        assert value(name, *waves) == pytest.approx(loud, abs=1e-3)


@pytest.mark.parametrize("gain_db", [-3.0, 0.4, 6.0])
def test_stereo_image_change_is_the_gain_of_the_side_in_one_band(gain_db):
    left, right = np.random.default_rng(7).standard_normal((2, RATE)) * 0.05
    wave = np.stack([left, right]).astype(np.float32)
    side = np.fft.rfft((left - right) / 2)
    frequency_hz = np.fft.rfftfreq(RATE, 1 / RATE)
    band = (frequency_hz > 1000 * 10**0.25) & (frequency_hz < 1000 * 10**0.35)  # 2 kHz, a third
    side[band] *= 10 ** (gain_db / 20)
    middle, side = (left + right) / 2, np.fft.irfft(side, RATE)
    changed = np.stack([middle + side, middle - side]).astype(np.float32)
    options = {"untreated": wave, "sample_rate": RATE}
    got = spectral.stereo_image_change(changed, wave, **options)
    assert got == pytest.approx(abs(gain_db), abs=0.02)
    assert spectral.stereo_image_change(0.5 * wave, wave, **options) == pytest.approx(0, abs=1e-4)
    mono = np.stack([middle, middle]).astype(np.float32)
    assert spectral.stereo_image_change(mono, wave, **options) == waveform.CLAMP_DB
    assert spectral.stereo_image_change(wave, wave, untreated=mono, sample_rate=RATE) == 0
    one = {"untreated": wave[:1], "sample_rate": RATE}
    assert spectral.stereo_image_change(0.5 * wave[:1], wave[:1], **one) == 0


# --- features ------------------------------------------------------------------------------------


def tone(frequency_hz, seconds=1.0):
    return (0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(int(seconds * RATE)) / RATE))[
        None
    ].astype(np.float32)


def test_centroid_and_rolloff_of_tones_are_their_distance_in_hz():
    for name in ("centroid_distance", "rolloff_distance"):
        # Edges spread energy: the first and last frames are off by a few Hz.
        assert value(name, tone(3000), tone(2000)) == pytest.approx(1000, rel=0.02)


def test_centroid_and_rolloff_by_torch(estimate, reference):
    frequencies = np.arange(1025)[:, None] * RATE / 2048
    centroids, rolloffs = [], []
    for magnitude in (np.abs(torch_stft(wave)) for wave in (estimate, reference)):
        centroids.append(np.sum(frequencies * magnitude, axis=1) / np.sum(magnitude, axis=1))
        reached = np.cumsum(magnitude, axis=1) >= 0.85 * np.sum(magnitude, axis=1, keepdims=True)
        rolloffs.append(frequencies[np.argmax(reached, axis=1), 0])
    for name, (got, true) in (("centroid_distance", centroids), ("rolloff_distance", rolloffs)):
        expected = np.mean(np.abs(got - true))
        assert value(name, estimate, reference) == pytest.approx(expected, rel=1e-3)


def test_mfcc_distance_by_scipy(estimate, reference):
    import librosa.filters

    bank = librosa.filters.mel(sr=RATE, n_fft=2048, n_mels=128)
    coefficients = []
    for wave in (estimate, reference):
        decibels = 10 * np.log10(np.maximum(bank @ np.abs(torch_stft(wave)) ** 2, 1e-10))
        decibels = np.maximum(decibels, decibels.max() - 80)
        coefficients.append(scipy.fft.dct(decibels, axis=1, norm="ortho")[:, :13])
    got, true = coefficients
    expected = np.linalg.norm(got - true) / np.linalg.norm(true)
    assert value("mfcc_distance", estimate, reference) == pytest.approx(expected, rel=1e-3)


def test_a_gain_moves_only_the_first_mfcc():
    noise = np.random.default_rng(0).standard_normal((1, RATE)).astype(np.float32) * 0.1
    loud, quiet = noise, noise * 10 ** (-6 / 20)
    shift = 6 * np.sqrt(128)  # orthonormal cosine transform of a constant -6 dB in 128 bands
    frames = torch_stft(noise).shape[-1]
    import librosa.filters

    bank = librosa.filters.mel(sr=RATE, n_fft=2048, n_mels=128)
    decibels = 10 * np.log10(bank @ np.abs(torch_stft(loud)[0]) ** 2)
    true = scipy.fft.dct(decibels, axis=0, norm="ortho")[:13]
    expected = shift * np.sqrt(frames) / np.linalg.norm(true)
    assert value("mfcc_distance", quiet, loud) == pytest.approx(expected, rel=1e-3)


def test_chroma_of_tones_knows_octaves_and_semitones():
    a4, a5, b4 = tone(440.0), tone(880.0), tone(440.0 * 2 ** (2 / 12))
    same_class = value("chroma_distance", a5, a4)
    other_class = value("chroma_distance", b4, a4)
    assert same_class < 0.05
    assert other_class > 2 / 12  # one class of twelve lost, one gained, and their neighbours


def test_chroma_distance_by_torch_and_librosa(estimate, reference):
    import librosa

    got, true = (
        librosa.feature.chroma_stft(S=np.abs(torch_stft(wave)) ** 2, sr=RATE, tuning=0.0)
        for wave in (estimate, reference)
    )
    expected = np.mean(np.abs(got - true))
    assert value("chroma_distance", estimate, reference) == pytest.approx(expected, rel=1e-3)


def test_tonnetz_by_the_formula_of_harte(estimate, reference):
    import librosa

    centroids = []
    for wave in (estimate, reference):
        chroma = librosa.feature.chroma_stft(
            S=np.abs(torch_stft(wave)) ** 2, sr=RATE, n_fft=2048, tuning=0.0
        )
        weight = chroma / chroma.sum(axis=1, keepdims=True)
        pitch = np.arange(12)
        angles = [(7 * np.pi / 6, 1), (3 * np.pi / 2, 1), (2 * np.pi / 3, 0.5)]
        rows = [
            radius * wave_of(angle * pitch)
            for angle, radius in angles
            for wave_of in (np.sin, np.cos)
        ]
        centroids.append(np.array(rows) @ weight)
    got, true = centroids
    expected = np.mean(np.linalg.norm(got - true, axis=1))
    assert value("tonnetz_distance", estimate, reference) == pytest.approx(expected, rel=1e-3)


# --- hearing -------------------------------------------------------------------------------------


def test_visqol_agrees_with_the_package_on_files(tmp_path, estimate, reference):
    from visqol import VisqolApi

    paths = []
    for name, wave in (("reference", reference), ("estimate", estimate)):
        mono = resample(wave.mean(axis=0, keepdims=True), from_rate=RATE, to_rate=48000)
        paths.append(str(save(tmp_path / f"{name}.wav", mono, sample_rate=48000, subtype="FLOAT")))
    api = VisqolApi()
    api.create(mode="audio")
    expected = api.measure(*paths).moslqo
    assert perceptual.visqol(estimate, reference, sample_rate=RATE) == pytest.approx(
        expected, abs=0.01
    )


def test_zimtohrli_agrees_with_the_package_on_another_resampling(estimate, reference):
    import zimtohrli

    heard = [
        scipy.signal.resample_poly(wave.mean(axis=0), 160, 147) for wave in (estimate, reference)
    ]
    distance = zimtohrli.Pyohrli().distance(*heard)
    assert perceptual.zimtohrli(estimate, reference, sample_rate=RATE) == pytest.approx(
        zimtohrli.mos_from_zimtohrli(distance), abs=0.01
    )


@pytest.mark.parametrize("name", ["visqol", "zimtohrli"])
def test_more_noise_sounds_worse(name, reference):
    noise = np.random.default_rng(5).standard_normal(reference.shape).astype(np.float32)
    scores = [value(name, reference + level * noise, reference) for level in (0.001, 0.01, 0.1)]
    assert all(a > b + 0.1 for a, b in itertools.pairwise(scores))
    assert min(scores) >= 1


def test_hearing_needs_something_to_hear(reference):
    rate = perceptual.MODEL_RATE_HZ
    for name, metric in (("ViSQOL", perceptual.visqol), ("Zimtohrli", perceptual.zimtohrli)):
        # What is long enough is asked of the models themselves: one refuses, one would crash.
        enough = round(perceptual.SHORTEST_S[name] * rate)
        short = np.resize(reference, (1, enough))
        assert metric(short, short, sample_rate=rate) > 4.5
        for samples in (1, enough // 2, enough - 1):
            with pytest.raises(InputError, match=rf"{name} needs at least 0\.\d+ s"):
                metric(short[:, :samples], short[:, :samples], sample_rate=rate)
    for metric in (perceptual.visqol, perceptual.zimtohrli):
        with pytest.raises(InputError, match="silent"):
            metric(reference, np.zeros_like(reference), sample_rate=RATE)


# --- score ---------------------------------------------------------------------------------------


def test_score_gives_the_cheap_metrics_in_order(estimate, reference):
    scores = score(estimate, reference, sample_rate=RATE, untreated=estimate)
    assert list(scores) == CHEAP
    assert list(score(estimate, reference, sample_rate=RATE)) == [
        name for name in CHEAP if name not in {"in_band_si_sdr", "stereo_image_change"} | LOST
    ]
    assert scores["snr"] == waveform.snr(estimate, reference)
    assert scores["lsd"] == spectral.log_spectral_distance(estimate, reference)


def test_score_sees_a_wave_changed_in_place(estimate, reference):
    changed = estimate.copy()
    before = spectral.log_spectral_distance(changed, reference)
    changed[:] = reference
    assert spectral.log_spectral_distance(changed, reference) == 0 < before


def test_score_refuses_unknown_names_and_a_missing_input(estimate, reference):
    with pytest.raises(InputError, match="no metric named 'pesq': choose from magnitude_distance"):
        score(estimate, reference, sample_rate=RATE, names=["pesq"])
    with pytest.raises(InputError, match="pass untreated="):
        score(estimate, reference, sample_rate=RATE, names=["in_band_si_sdr"])


def test_score_shares_its_transforms(reference, monkeypatch):
    transformed, transform = [], transforms.Spectra._transform

    def counting(spectra, frames):
        transformed.append(frames)
        return transform(spectra, frames)

    monkeypatch.setattr(transforms.Spectra, "_transform", counting)
    noisy = reference + np.float32(0.01)
    score(noisy, reference, sample_rate=RATE, untreated=noisy)
    # Of estimate, reference and untreated; nothing was emptied, so no bands of the estimate.
    once = {transforms.SHARED: 3, spectral.BAND_FRAMES: 2}
    once |= dict.fromkeys(spectral.RESOLUTIONS, 2)
    assert Counter(transformed) == once


def test_a_long_wave_gives_what_a_short_one_does_block_by_block(estimate, reference, monkeypatch):
    names = [name for name, metric in METRICS.items() if not metric.expensive]
    lossy = 0.5 * estimate + 0.5 * reference
    options = {"sample_rate": RATE, "names": names, "untreated": lossy}
    kept = score(estimate, reference, **options)
    monkeypatch.setattr(transforms, "KEPT_SAMPLES", 0)
    monkeypatch.setattr(transforms, "BLOCK_FRAMES", 5)
    for name, value in score(estimate, reference, **options).items():
        assert value == pytest.approx(kept[name], rel=1e-5, abs=1e-6), name


def test_a_long_song_is_scored_in_little_memory():
    """Two minutes of stereo; their spectra alone would take 3 GB."""
    code = """
import resource, sys
import numpy as np
import enhancelib as el
rng = np.random.default_rng(0)
song = rng.normal(0, 0.1, (2, 120 * 44100)).astype(np.float32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
names = ["lsd", "phase_distance", "in_band_si_sdr", "stereo_image_change", "centroid_distance"]
el.score(0.9 * song, song, sample_rate=44100, untreated=song, names=[*names, "mrstft"])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 500
