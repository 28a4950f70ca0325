"""Losses against closed forms and auraloss; identity, and what a swap of arguments does."""

import auraloss
import numpy as np
import pytest
import scipy.signal
import torch

from enhancelib.losses import (
    CombinedLoss,
    LossWeights,
    l1,
    log_magnitude,
    mse,
    power_spectrogram,
    relative_error,
)


def noise(seed: int, level: float = 0.1) -> torch.Tensor:
    return level * torch.randn(3, 1, 16_384, generator=torch.Generator().manual_seed(seed))


def test_mse_and_l1_closed_form():
    estimate, reference = noise(0), noise(0) + 0.25
    assert mse(estimate, reference).item() == pytest.approx(0.0625, rel=1e-5)
    assert l1(estimate, reference).item() == pytest.approx(0.25, rel=1e-5)


def test_power_spectrogram_is_scipys():
    wave = noise(1)
    ours = power_spectrogram(wave, 512)[0].numpy()
    window = scipy.signal.get_window("hann", 512)
    transform = scipy.signal.ShortTimeFFT(window, 128, 1.0)
    theirs = np.abs(transform.stft(wave[0, 0].numpy().astype(float))) ** 2
    # Frames that touch neither end: the two pad differently.
    centre = 40
    offset = -transform.p_min
    np.testing.assert_allclose(ours[:, centre], theirs[:, centre + offset], rtol=1e-3, atol=1e-6)


def test_log_magnitude_of_a_gain_is_its_decades():
    """Every bin of a signal 20 dB louder differs by two decades of power."""
    reference = noise(2)
    assert log_magnitude(10 * reference, reference).item() == pytest.approx(2.0, abs=1e-3)


def test_log_magnitude_agrees_with_auraloss():
    estimate, reference = noise(3), noise(4)
    theirs = auraloss.freq.MultiResolutionSTFTLoss(
        fft_sizes=[512, 2048],
        hop_sizes=[128, 512],
        win_lengths=[512, 2048],
        w_sc=0.0,
        w_log_mag=1.0,
    )(estimate, reference)
    # auraloss takes natural logarithms of magnitudes: ln|X| = log10|X|² · ln(10) / 2.
    expected = theirs.item() * 2 / np.log(10)
    assert log_magnitude(estimate, reference).item() == pytest.approx(expected, rel=2e-3)


def test_relative_error_counts_decades_of_error():
    reference, error = noise(5), 0.01 * noise(6)
    untreated = reference + error
    same = relative_error(untreated, reference, untreated).item()
    better = relative_error(reference + 0.1 * error, reference, untreated).item()
    worse = relative_error(reference + 10 * error, reference, untreated).item()
    assert same == pytest.approx(0, abs=1e-6)
    floor, error_power = 1e-6, 1e-4  # −60 and −40 dB of the reference's power
    expected = [np.log10((s * error_power + floor) / (error_power + floor)) for s in (0.01, 100)]
    assert [better, worse] == pytest.approx(expected, abs=0.02)


def test_relative_error_ignores_bins_that_were_lost():
    """What is put into an empty band is neither praised nor blamed."""
    time = torch.arange(16_384) / 44_100
    low, high = torch.sin(2 * np.pi * 500 * time), torch.sin(2 * np.pi * 15_000 * time)
    window = torch.hann_window(16_384)
    low, high = (0.3 * (window * tone)[None, None] for tone in (low, high))
    assert relative_error(low - high, low + high, low).item() == pytest.approx(0, abs=0.02)
    assert relative_error(1.1 * low, low + high, low).item() > 1


def test_clean_input_may_not_get_worse():
    reference = noise(7)
    changed = relative_error(reference + 0.03 * noise(8), reference, reference).item()
    assert changed > 2


@pytest.mark.parametrize("loss", [mse, l1, log_magnitude])
def test_identity_is_zero_and_zeros_are_not(loss):
    reference = noise(9)
    assert loss(reference, reference).item() == 0
    assert loss(torch.zeros_like(reference), reference).item() > 0


def test_swap_shows_where_it_should():
    estimate, reference, untreated = noise(10), noise(11), noise(11) + 0.1 * noise(12)
    forth = relative_error(estimate, reference, untreated).item()
    back = relative_error(reference, estimate, untreated).item()
    assert abs(forth - back) > 0.1


def test_combined_is_the_weighted_sum():
    weights = LossWeights(mse=2, l1=0, spectral=0.5, relative=0.25)
    estimate, reference, untreated = noise(13), noise(14), noise(15)
    loss = CombinedLoss(weights)
    expected = (
        2 * mse(estimate, reference)
        + 0.5 * log_magnitude(estimate, reference)
        + 0.25 * relative_error(estimate, reference, untreated)
    )
    assert loss(estimate, reference, untreated).item() == pytest.approx(expected.item(), rel=1e-6)
    assert set(loss.terms(estimate, reference, untreated)) == {"mse", "spectral", "relative"}


def test_gradient_is_finite_at_silence_and_identity():
    for reference in (torch.zeros(1, 1, 8192), noise(16)[:1]):
        estimate = reference.clone().requires_grad_()
        CombinedLoss()(estimate, reference, reference).backward()
        assert bool(torch.isfinite(estimate.grad).all())
