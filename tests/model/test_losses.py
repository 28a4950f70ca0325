"""Losses against closed forms and auraloss; identity, and what a swap of arguments does."""

from pathlib import Path

import auraloss
import librosa
import numpy as np
import pytest
import scipy.signal
import torch
import visqol.nsim
from pydantic import ValidationError

from enhancelib import audio
from enhancelib.audio.masking import noise_to_mask
from enhancelib.degrade import codecs
from enhancelib.model import losses
from enhancelib.model.compressed import (
    compressed_complex,
    compressed_magnitude,
    relative_magnitude,
)
from enhancelib.model.losses import (
    HARM,
    ROOM_DB,
    CombinedLoss,
    LossWeights,
    audibility,
    dissimilarity,
    envelope,
    gate_error,
    l1,
    log_magnitude,
    mse,
    nsim,
    relative_error,
    room,
    wanted_gate,
)
from enhancelib.model.spectra import Spectra

RATE = 44100


def noise(seed: int, level: float = 0.1) -> torch.Tensor:
    return level * torch.randn(3, 1, 16_384, generator=torch.Generator().manual_seed(seed))


def test_mse_and_l1_closed_form():
    estimate, reference = noise(0), noise(0) + 0.25
    assert mse(estimate, reference).item() == pytest.approx(0.0625, rel=1e-5)
    assert l1(estimate, reference).item() == pytest.approx(0.25, rel=1e-5)


def test_spectra_are_scipys():
    wave = noise(1)
    ours = Spectra(wave).power(512)[0].numpy()
    window = scipy.signal.get_window("hann", 512)
    transform = scipy.signal.ShortTimeFFT(window, 256, 1.0)
    theirs = np.abs(transform.stft(wave[0, 0].numpy().astype(float))) ** 2
    # Frames that touch neither end: the two pad differently.
    center = 20
    offset = -transform.p_min
    np.testing.assert_allclose(ours[:, center], theirs[:, center + offset], rtol=1e-3, atol=1e-6)


def test_log_magnitude_of_a_gain_is_its_decades():
    """Every bin of a signal 20 dB louder differs by two decades of power."""
    reference = noise(2)
    assert log_magnitude(10 * reference, reference).item() == pytest.approx(2.0, abs=1e-3)


def test_log_magnitude_agrees_with_auraloss():
    estimate, reference = noise(3), noise(4)
    theirs = auraloss.freq.MultiResolutionSTFTLoss(
        fft_sizes=[512, 2048],
        hop_sizes=[256, 1024],
        win_lengths=[512, 2048],
        w_sc=0.0,
        w_log_mag=1.0,
    )(estimate, reference)
    # auraloss takes natural logarithms of magnitudes: ln|X| = log10|X|² · ln(10) / 2.
    expected = theirs.item() * 2 / np.log(10)
    assert log_magnitude(estimate, reference).item() == pytest.approx(expected, rel=2e-3)


def test_envelope_of_a_gain_is_its_decades():
    reference = noise(17)
    assert envelope(10 * reference, reference, sample_rate=RATE).item() == pytest.approx(
        2, abs=0.01
    )


def test_training_may_follow_validation():
    """What a loss keeps from a call in inference mode must not stand in the way of a gradient."""
    estimate, reference = noise(21).requires_grad_(), noise(22)
    loss = CombinedLoss(sample_rate=16_000)  # a rate that no other test has used before
    with torch.inference_mode():
        loss(reference, reference, reference)
    loss(estimate, reference, reference).backward()
    assert bool(torch.isfinite(estimate.grad).all())


def test_envelope_looks_at_energy_not_at_bins():
    """Two draws of the same noise differ in every bin, but hardly in their bands."""
    one, other = noise(18), noise(19)
    bins = log_magnitude(one, other).item()
    assert envelope(one, other, sample_rate=RATE).item() < 0.6 * bins
    assert envelope(0.5 * one, other, sample_rate=RATE).item() > 0.55  # two decades of 0.5: 0.6


def test_similarity_is_visqols(monkeypatch):
    """The index of a patch, with the constants as published and the edges repeated."""
    monkeypatch.setattr(losses, "SHAPE_FLOOR", visqol.nsim.C3)
    generator = np.random.default_rng(0)
    expected = generator.uniform(0, 45, (32, 30))
    estimated = np.maximum(0, expected + generator.normal(0, 3, expected.shape))
    theirs = visqol.nsim.measure_patch_similarity(expected, estimated)
    padded = [
        torch.from_numpy(np.pad(image, 1, "edge"))[None, None] for image in (estimated, expected)
    ]
    ours = nsim(*padded)
    assert ours.mean().item() == pytest.approx(theirs.similarity, abs=1e-4)
    np.testing.assert_allclose(ours.mean(dim=3)[0, 0], theirs.freq_band_means, atol=1e-4)


def test_dissimilarity_of_equal_of_louder_and_of_other_sounds():
    wave, other = noise(5), noise(6)
    assert dissimilarity(wave, wave, sample_rate=RATE).item() == pytest.approx(0, abs=1e-3)
    louder = dissimilarity(2 * wave, wave, sample_rate=RATE).item()  # the same shape, higher
    assert 0.05 < louder < dissimilarity(other, wave, sample_rate=RATE).item() < 2


def test_envelope_bands_are_librosas():
    wave = noise(20)[:1]
    theirs = librosa.feature.melspectrogram(
        y=wave[0, 0].numpy(), sr=RATE, n_fft=2048, hop_length=1024, n_mels=80, pad_mode="reflect"
    )
    widths = librosa.filters.mel(sr=RATE, n_fft=2048, n_mels=80).sum(axis=1, keepdims=True)
    quiet = torch.full_like(wave, 0)
    floor = 1e-6
    expected = np.abs(np.log10(np.maximum(theirs / widths, floor)) - np.log10(floor)).mean()
    short = librosa.feature.melspectrogram(
        y=wave[0, 0].numpy(), sr=RATE, n_fft=512, hop_length=256, n_mels=24, pad_mode="reflect"
    ) / librosa.filters.mel(sr=RATE, n_fft=512, n_mels=24).sum(axis=1, keepdims=True)
    expected += np.abs(np.log10(np.maximum(short, floor)) - np.log10(floor)).mean()
    ours = envelope(quiet, wave, sample_rate=RATE).item()
    assert ours == pytest.approx(expected / 2, rel=1e-4)


def test_room_follows_the_noise_to_mask_ratio():
    """The batched form against the numpy one on coded music: at most 2 dB, mapped by ROOM_DB."""
    path = Path(__file__).parents[2] / "data" / "excerpts" / "render_freedoom1_D_E1M5.flac"
    original, _ = audio.load(path, sample_rate=RATE)
    original = original[:1, : 3 * RATE]
    seen = {}
    for name in ("lossless", *(f"sbc-{bitpool}" for bitpool in range(53, 33, -2)), "aac-128"):
        coded = codecs.degrade(original, name, sample_rate=RATE, seed=0)
        pair = (torch.from_numpy(wave)[None] for wave in (coded, original))
        _, ratio = noise_to_mask(coded, original, sample_rate=RATE)
        mean_db = 10 * np.log10(np.mean(10 ** (ratio / 10)))
        share = room(*pair, sample_rate=RATE).item()
        width_db = ROOM_DB[1] - ROOM_DB[0]
        low, high = (np.clip((mean_db + d - ROOM_DB[0]) / width_db, 0, 1) for d in (-2, 2))
        assert low <= share <= high, (name, share, mean_db)
        seen[name] = share
    assert seen["lossless"] == seen["sbc-53"] == 0
    assert seen["aac-128"] == 1
    assert any(0 < share < 1 for share in seen.values())  # by degrees


def test_wanted_gate_opens_where_the_input_differs():
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(2, 2, 33, 5, generator=generator)
    untreated = reference.clone()
    untreated[0, :, :16] = 0  # two of four bands lost
    untreated[1] *= 1 + 10**-2.5  # an error 50 dB under the signal, the middle of the ramp
    wanted = wanted_gate(untreated, reference, 4)
    assert wanted.shape == (2, 4, 5)
    assert bool((wanted[0, :2] == 1).all())
    assert bool((wanted[0, 2:] == 0).all())
    torch.testing.assert_close(wanted[1], torch.full((4, 5), 0.5), atol=0.01, rtol=0)


def test_gate_error_wants_a_shut_gate_without_room():
    wanted, sure = torch.ones(1, 4, 5), torch.full((1, 4, 5), 8.0)
    full, none = torch.ones(1), torch.zeros(1)
    assert gate_error(sure, wanted, full).item() < 0.001
    assert gate_error(-sure, wanted, none).item() < 0.01
    # Cross-entropy of a wrong logit of 8 is 8; without room it counts six times.
    assert gate_error(-sure, wanted, full).item() == pytest.approx(8, abs=0.01)
    assert gate_error(sure, wanted, none).item() == pytest.approx(48, abs=0.01)


def test_relative_error_counts_decades_of_error():
    reference, error = noise(5), 0.01 * noise(6)
    untreated = reference + error
    same = relative_error(untreated, reference, untreated).item()
    better = relative_error(reference + 0.1 * error, reference, untreated).item()
    worse = relative_error(reference + 10 * error, reference, untreated).item()
    assert same == pytest.approx(0, abs=1e-6)
    floor, error_power = 1e-6, 1e-4  # −60 and −40 dB of the reference's power
    expected = [np.log10((s * error_power + floor) / (error_power + floor)) for s in (0.01, 100)]
    expected[1] *= HARM
    assert [better, worse] == pytest.approx(expected, abs=0.05)


def test_relative_error_ignores_bins_that_were_lost():
    """What is put into an empty band is neither praised nor blamed."""
    time = torch.arange(16_384) / 44_100
    low, high = torch.sin(2 * np.pi * 500 * time), torch.sin(2 * np.pi * 15_000 * time)
    window = torch.hann_window(16_384)
    low, high = (0.3 * (window * tone)[None, None] for tone in (low, high))
    assert relative_error(low - high, low + high, low).item() == pytest.approx(0, abs=0.06)
    assert relative_error(1.1 * low, low + high, low).item() > 1


def test_clean_input_may_not_get_worse():
    reference = noise(7)
    changed = relative_error(reference + 0.03 * noise(8), reference, reference).item()
    floor, error_power = 1e-6, 0.03**2  # of the reference's power
    expected = HARM * np.log10((error_power + floor) / floor)
    assert changed == pytest.approx(expected, abs=0.05)


def powers(wave: torch.Tensor) -> list[np.ndarray]:
    """``|STFT|²`` in both sizes by librosa, (batch, bins, frames)."""
    spectra = (
        librosa.stft(wave[:, 0].numpy(), n_fft=size, hop_length=size // 2, pad_mode="reflect")
        for size in (512, 2048)
    )
    return [np.abs(spectrum.astype(complex)) ** 2 for spectrum in spectra]


def test_identity_costs_nothing_and_silence_costs_what_is_missing():
    reference, floor = noise(9), 1e-6
    samples = reference.numpy()
    decades = [np.log10(np.maximum(power, floor) / floor).mean() for power in powers(reference)]
    missing = {mse: np.mean(samples**2), l1: np.mean(np.abs(samples))}
    for loss, expected in (missing | {log_magnitude: np.mean(decades)}).items():
        assert loss(reference, reference).item() == 0
        silence = torch.zeros_like(reference)
        assert loss(silence, reference).item() == pytest.approx(expected, rel=1e-4)


def test_swap_shows_where_it_should():
    estimate, reference, untreated = noise(10), noise(11), noise(11) + 0.1 * noise(12)
    forth = relative_error(estimate, reference, untreated).item()
    back = relative_error(reference, estimate, untreated).item()
    # Two unlike noises differ by twice their power, the untreated one by a hundredth of it.
    assert forth == pytest.approx(HARM * np.log10(2 / 0.01), abs=0.1)
    assert back == pytest.approx(0, abs=0.1)  # either differs as much from the third


def test_combined_is_the_weighted_sum():
    weights = LossWeights(
        mse=2, l1=0, spectral=0.5, envelope=0.125, dissimilarity=0.0625, relative=0.25
    )
    estimate, reference, untreated = noise(13), noise(14), noise(15)
    loss = CombinedLoss(weights)
    expected = (
        2 * mse(estimate, reference)
        + 0.5 * log_magnitude(estimate, reference)
        + 0.125 * envelope(estimate, reference, sample_rate=RATE)
        + 0.0625 * dissimilarity(estimate, reference, sample_rate=RATE)
        + 0.25 * relative_error(estimate, reference, untreated)
    )
    assert loss(estimate, reference, untreated).item() == pytest.approx(expected.item(), rel=1e-6)
    given = estimate, Spectra(reference), untreated  # either kind of argument
    assert set(loss.terms(*given)) == {
        *("mse", "spectral", "envelope", "dissimilarity", "relative")
    }


def test_every_weight_has_its_term():
    """But those of the gate, which is no wave: a weight without a term would be ignored."""
    weights = LossWeights(**dict.fromkeys(LossWeights.model_fields, 1.0))
    terms = CombinedLoss(weights).terms(noise(13), noise(14), noise(15))
    assert terms.keys() == LossWeights.model_fields.keys() - {"gate", "audible"}


@pytest.mark.parametrize("left", [{}, {"gate": 0.2}, {"gate": 0.2, "audible": 0.5}])
def test_weights_without_a_term_on_the_waves_are_refused(left):
    """Their sum is no tensor, and has no gradient."""
    with pytest.raises(ValidationError, match="nothing to learn"):
        LossWeights(**dict.fromkeys(LossWeights.model_fields, 0.0) | left)


def test_gradient_is_finite_at_silence_and_identity():
    for reference in (torch.zeros(1, 1, 8192), noise(16)[:1]):
        estimate = reference.clone().requires_grad_()
        CombinedLoss()(estimate, reference, reference).backward()
        assert bool(torch.isfinite(estimate.grad).all())


# --- losses with a weight of zero by default -----------------------------------------------------

COMPRESSED = [compressed_magnitude, compressed_complex, relative_magnitude]


def mean_compressed(wave, exponent):
    """Mean of ``|X|`` to a power over both sizes, by torch's transform."""
    means = []
    for length in (512, 2048):
        window = torch.hann_window(length)
        spectrum = torch.stft(wave[:, 0], length, length // 2, window=window, return_complex=True)
        means.append(spectrum.abs().pow(exponent).mean().item())
    return np.mean(means)


def test_compressed_losses_of_a_gain_and_of_an_inversion():
    """A gain g leaves ``(g^0.3 - 1)²`` of the mean square; -1 leaves the magnitude alone."""
    reference = noise(20)
    square = mean_compressed(reference, 0.6)
    for gain in (0.5, 2.0):
        expected = (gain**0.3 - 1) ** 2 * square
        for loss in (compressed_magnitude, compressed_complex):
            assert loss(gain * reference, reference).item() == pytest.approx(expected, rel=1e-3)
    assert compressed_magnitude(-reference, reference).item() == 0
    inverted = compressed_complex(-reference, reference).item()
    assert inverted == pytest.approx(4 * square, rel=1e-3)


def test_relative_magnitude_of_a_gain_is_its_decades_at_any_level():
    reference = noise(21)
    for level in (1.0, 1e-2, 1e-4):
        got = relative_magnitude(10 * level * reference, level * reference).item()
        assert got == pytest.approx(2, abs=1e-3)
    absolute = [log_magnitude(10 * level * reference, level * reference) for level in (1, 1e-4)]
    assert absolute[1] < 0.9 * absolute[0]  # which the published form does not


def test_the_relative_floor_lies_90_db_under_the_frame():
    """A second tone 80 dB under the first is missed, one 120 dB under it is not."""
    time = torch.arange(16_384) / RATE
    low, high = (torch.sin(2 * np.pi * f * time)[None, None] for f in (861.328125, 15_073.2421875))
    missed, inaudible = (
        relative_magnitude(0.3 * low, 0.3 * low + level * high).item() for level in (3e-5, 3e-7)
    )
    assert missed > 5 * inaudible


@pytest.mark.parametrize("loss", COMPRESSED)
def test_compressed_losses_are_zero_at_identity_and_finite_at_silence(loss):
    reference = noise(22)
    assert loss(reference, reference).item() == 0
    missing = []  # where silence stands for the reference
    for power in powers(reference):
        floor = 1e-9 * power.max(axis=1, keepdims=True)  # 90 dB under the frame's loudest bin
        missing.append(
            {
                compressed_magnitude: ((power + floor) ** 0.15 - floor**0.15) ** 2,
                compressed_complex: power * (power + floor) ** -0.7,
                relative_magnitude: np.log10((power + floor) / floor),
            }[loss].mean()
        )
    got = loss(torch.zeros_like(reference), reference).item()
    assert got == pytest.approx(np.mean(missing), rel=1e-4)
    for wave in (torch.zeros(1, 1, 8192), reference):
        estimate = wave.clone().requires_grad_()
        loss(estimate, wave).backward()
        assert bool(torch.isfinite(estimate.grad).all())


def test_by_default_the_new_terms_are_left_out_and_with_a_weight_they_are_not():
    estimate, reference, untreated = noise(13), noise(14), noise(15)
    names = [loss.__name__ for loss in COMPRESSED]
    assert not set(names) & set(CombinedLoss().terms(estimate, reference, untreated))
    none = dict.fromkeys(LossWeights.model_fields, 0.0)
    for loss in COMPRESSED:
        weighted = CombinedLoss(LossWeights(**none | {loss.__name__: 0.5}))
        expected = 0.5 * loss(estimate, reference).item()
        assert weighted(estimate, reference, untreated).item() == pytest.approx(expected)


def test_audibility_of_known_levels():
    """Bands at 0, -40, -70, -75 and -90 dB of the loudest."""
    levels_db = torch.tensor([0.0, -40.0, -70.0, -75.0, -90.0])
    bins = (10 ** (levels_db / 20)).repeat_interleave(4)
    spectrum = torch.cat([bins, torch.ones(1)]).reshape(1, 1, 21, 1).repeat(1, 2, 1, 3)
    expected = torch.tensor([1.0, 1.0, 0.75, 0.5, 0.0])[None, :, None].expand(1, 5, 3)
    for gain in (1.0, 1e-3):  # whatever the level of the music
        torch.testing.assert_close(audibility(gain * spectrum, 5), expected, atol=1e-3, rtol=0)
    assert torch.isfinite(audibility(0 * spectrum, 5)).all()


def test_a_gate_taught_what_is_audible_is_asked_to_open_less():
    """Training's gate term falls where what was lost cannot be heard, and an open gate is dear."""
    from enhancelib.model.network import AudioUNet
    from enhancelib.train.augmentation import Augmentation
    from enhancelib.train.task import Restorer, TrainingConfig

    time = torch.arange(8192) / RATE
    low, high = (torch.sin(2 * np.pi * f * time)[None, None] for f in (861.0, 3000.0))
    batch = 0.3 * low, 0.3 * low + 0.1 * high + noise(23, 1e-6)[:1, :, :8192], torch.zeros(1)
    terms = {}
    for audible in (0.0, 1.0):
        none = dict.fromkeys(LossWeights.model_fields, 0.0)
        loss = LossWeights(**none | {"gate": 1.0, "audible": audible, "mse": 1e-9})
        augmentation = dict.fromkeys(Augmentation.model_fields, 0.0)
        config = TrainingConfig(loss=loss, crop_seconds=0.1, augmentation=augmentation)
        torch.manual_seed(0)
        model = AudioUNet(base_channels=8, depth=2)
        with torch.no_grad():
            model.core.gate.bias.fill_(-8.0)  # shut
        terms[audible] = Restorer(model, config, ["mp3-64"]).losses(batch)[0].item()
    assert terms[1.0] < 0.7 * terms[0.0]
