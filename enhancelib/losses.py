"""Training losses on waveforms: small functions, and one weighted sum of them.

Every function takes ``(estimate, reference)``, tensors of shape (batch, 1, samples) in [-1, 1], and
returns a scalar; lower is better and identical signals give the least value possible.
"""

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, hann_window, nn, stft
from torch.nn import functional

FRAME_LENGTHS = (512, 2048)
"""STFT sizes of the spectral terms, in samples: a short one for attacks, a long one for tones."""

POWER_FLOOR = 1e-6
"""Least power of an STFT bin in the logarithm, about 110 dB under a full-scale sine.

The log spectral distance as published has 1e-8, under the noise of 16-bit audio; as a loss that
would spend the network on what nobody can hear.
"""

SURVIVAL = 0.9
"""A bin survived if its error has less than this share of its power; a lost bin's has all of it."""

ERROR_FLOOR_DB = -60.0
"""Errors this far under the signal count as none in :func:`relative_error`."""


class LossWeights(BaseModel):
    """Weight of each term of :class:`CombinedLoss`; zero leaves the term out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mse: float = Field(1.0, ge=0)
    l1: float = Field(1.0, ge=0)
    spectral: float = Field(1.0, ge=0)
    relative: float = Field(0.2, ge=0)


def power_spectrogram(wave: Tensor, frame_length: int) -> Tensor:
    """|STFT|², Hann, hop a quarter of the frame: (batch, 1, samples) → (batch, bins, frames)."""
    spectrum = stft(
        wave[:, 0],
        frame_length,
        hop_length=frame_length // 4,
        window=hann_window(frame_length, device=wave.device),
        return_complex=True,
    )
    return spectrum.real.square() + spectrum.imag.square()


def mse(estimate: Tensor, reference: Tensor) -> Tensor:
    """Mean squared error of the samples."""
    return functional.mse_loss(estimate, reference)


def l1(estimate: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute error of the samples."""
    return functional.l1_loss(estimate, reference)


def log_magnitude(estimate: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute difference of log10 power over two STFT sizes.

    The log-magnitude term of the multi-resolution STFT loss (Yamamoto et al., "Parallel WaveGAN",
    arXiv:1910.11480, eq. 5), in the decades of power in which the log spectral distance is stated.
    """
    terms = []
    for frame_length in FRAME_LENGTHS:
        decades = [
            power_spectrogram(wave, frame_length).clamp(min=POWER_FLOOR).log10()
            for wave in (estimate, reference)
        ]
        terms.append(functional.l1_loss(*decades))
    return sum(terms) / len(terms)


def relative_error(estimate: Tensor, reference: Tensor, untreated: Tensor) -> Tensor:
    """Decades by which the error has grown over the untreated signal's, where that one survived.

    Per item, log10 of (estimate's error / untreated error) over the STFT bins in which the
    untreated signal is nearer to the reference than silence is; both errors are floored at
    :data:`ERROR_FLOOR_DB` under the signal, so clean input is not asked to become cleaner. Negative
    when the estimate is the better of the two, zero for the identity. It is the training form of
    the in-band SI-SDR that guards against harm.
    """
    frame_length = FRAME_LENGTHS[-1]
    power = power_spectrogram(reference, frame_length)
    before = power_spectrogram(untreated - reference, frame_length)
    after = power_spectrogram(estimate - reference, frame_length)
    survived = before < SURVIVAL * power
    floor = 10 ** (ERROR_FLOOR_DB / 10) * (power * survived).sum(dim=(1, 2)) + POWER_FLOOR
    ratio = ((after * survived).sum(dim=(1, 2)) + floor) / (
        (before * survived).sum(dim=(1, 2)) + floor
    )
    return ratio.log10().mean()


class CombinedLoss(nn.Module):
    """Weighted sum of MSE, L1, spectral and relative-error terms."""

    def __init__(self, weights: LossWeights | None = None):
        super().__init__()
        self.weights = weights or LossWeights()

    def terms(self, estimate: Tensor, reference: Tensor, untreated: Tensor) -> dict[str, Tensor]:
        """Every term with a weight above zero, before weighting."""
        compute = {
            "mse": lambda: mse(estimate, reference),
            "l1": lambda: l1(estimate, reference),
            "spectral": lambda: log_magnitude(estimate, reference),
            "relative": lambda: relative_error(estimate, reference, untreated),
        }
        return {name: term() for name, term in compute.items() if getattr(self.weights, name)}

    def forward(self, estimate: Tensor, reference: Tensor, untreated: Tensor) -> Tensor:
        """The weighted sum: tensors (batch, 1, samples) → scalar."""
        terms = self.terms(estimate, reference, untreated)
        return sum(getattr(self.weights, name) * term for name, term in terms.items())
