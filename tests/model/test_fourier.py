"""The matrix transform against numpy's FFT."""

import numpy as np
import pytest
import torch

from enhancelib.model.fourier import RealFourier


@pytest.mark.parametrize("length", [64, 96, 512, 1024, 2 * 3 * 37])
def test_equals_the_fft(length):
    frames = np.random.default_rng(0).standard_normal((2, 3, length))
    wanted = np.fft.rfft(frames)
    spectrum = RealFourier(length)(torch.from_numpy(frames).float()).numpy()
    error = spectrum[:, :, 0] + 1j * spectrum[:, :, 1] - wanted
    assert np.abs(error).max() < 3e-6 * np.abs(wanted).max()


@pytest.mark.parametrize("length", [64, 96, 512, 1024])
def test_inverse_equals_the_inverse_fft(length):
    generator = np.random.default_rng(1)
    spectrum = generator.standard_normal((1, 4, 2, length // 2 + 1))  # not that of a real signal
    wanted = np.fft.irfft(spectrum[:, :, 0] + 1j * spectrum[:, :, 1])
    frames = RealFourier(length).inverse(torch.from_numpy(spectrum).float()).numpy()
    assert np.abs(frames - wanted).max() < 3e-6 * np.abs(wanted).max()


def test_tables_are_small_and_no_part_of_a_checkpoint():
    fourier = RealFourier(1024)
    assert sum(table.nbytes for table in fourier.buffers()) < 50_000
    assert not fourier.state_dict()
