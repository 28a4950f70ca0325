"""Training losses on waveforms: small functions, and one weighted sum of them.

A loss takes ``(estimate, reference)``, tensors of shape (batch, 1, samples) in [-1, 1], and returns
a scalar; lower is better and identical signals give the least value possible.
:func:`relative_error` takes the untreated input too. All but :func:`mse` and :func:`l1` take a
:class:`Spectra` in place of a tensor, so that several losses share its transforms.

Others are parts of a loss: :func:`nsim` compares images point by point; :func:`room` and
:func:`wanted_gate` tell from the untreated input and the reference how far the gate is to open, and
:func:`gate_error` compares that with its logits.
"""

from functools import lru_cache
from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from enhancelib.audio.masking import SURVIVAL, Ear
from enhancelib.model.compressed import compressed_complex, compressed_magnitude, relative_magnitude
from enhancelib.model.spectra import Spectra, power_of

FRAME_LENGTHS = (512, 2048)
"""STFT sizes of the spectral terms, in samples: a short one for attacks, a long one for tones."""

POWER_FLOOR = 1e-6
"""Least power of an STFT bin in the logarithm, about 110 dB under a full-scale sine.

The log spectral distance as published has 1e-8, under the noise of 16-bit audio; as a loss that
would spend the network on what nobody can hear.
"""

MEL_BANDS = {512: 24, 2048: 80}
"""STFT size → bands of :func:`envelope`."""

NEUROGRAM_BANDS = 32
RANGE_DB = 90.0
"""Mel bands of :func:`dissimilarity`, and how far under its loudest one a frame is looked at."""

HEIGHT_FLOOR, SHAPE_FLOOR = 1e-4, 0.05
"""Constants of :func:`nsim`; the second is larger than published, for steady gradients."""

ERROR_FLOOR_DB = -60.0
"""Errors this far under the signal count as none in :func:`relative_error`."""

HARM = 3.0
"""How much more a grown error weighs in :func:`relative_error` than one made smaller by as much."""

ROOM_DB = (-18.5, -16.0)
"""Noise-to-mask ratios between which the room for enhancement rises from none to full.

Measured on the corpus: SBC 53, AAC 256, MP3 320 and aptX lie at −18 to −25 dB, SBC 35, AAC 128 and
MP3 128 at −8 to −16.
"""

CHANGE_DB = (-60.0, -40.0)
"""Errors in a band, against its signal, between which the wanted gate rises from shut to open."""

AUDIBLE_DB = (-85.0, -65.0)
"""Levels of a band, against the loudest of its frame, between which :func:`audibility` rises."""

SHUT_WEIGHT = 6.0
"""Weight in :func:`gate_error` of items without room; the others have one."""


class LossWeights(BaseModel):
    """Weight of each term of :class:`CombinedLoss`; zero leaves the term out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mse: float = Field(1.0, ge=0)
    l1: float = Field(1.0, ge=0)
    spectral: float = Field(1.0, ge=0)
    envelope: float = Field(1.0, ge=0)
    dissimilarity: float = Field(2.0, ge=0)
    relative: float = Field(0.5, ge=0)
    gate: float = Field(0.2, ge=0)
    compressed_magnitude: float = Field(0.0, ge=0)
    compressed_complex: float = Field(0.0, ge=0)
    relative_magnitude: float = Field(0.0, ge=0)
    audible: float = Field(0.0, ge=0, le=1)
    """Not of a term: how far the gate's target is multiplied by :func:`audibility`."""

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if not any(value for name, value in self if name not in ("gate", "audible")):
            raise ValueError("every weight is 0, so that there is nothing to learn")
        return self


def mse(estimate: Tensor, reference: Tensor) -> Tensor:
    """Mean squared error of the samples."""
    return functional.mse_loss(estimate, reference)


def l1(estimate: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute error of the samples."""
    return functional.l1_loss(estimate, reference)


def log_magnitude(estimate: Tensor | Spectra, reference: Tensor | Spectra) -> Tensor:
    """Mean absolute difference of log10 power over two STFT sizes.

    The log-magnitude term of the multi-resolution STFT loss (Yamamoto et al., "Parallel WaveGAN",
    arXiv:1910.11480, eq. 5), in the decades of power in which the log spectral distance is stated.
    """
    estimate, reference = Spectra.of(estimate), Spectra.of(reference)
    terms = []
    for frame_length in FRAME_LENGTHS:
        decades = [
            spectra.power(frame_length).clamp(min=POWER_FLOOR).log10()
            for spectra in (estimate, reference)
        ]
        terms.append(functional.l1_loss(*decades))
    return sum(terms) / len(terms)


def envelope(
    estimate: Tensor | Spectra, reference: Tensor | Spectra, *, sample_rate: int
) -> Tensor:
    """Mean absolute difference of log10 energy in mel bands, over two STFT sizes.

    What :func:`log_magnitude` leaves open: of a noise-like band it wants the median of each bin,
    which has less energy than the music; and its bins are mostly high, mel bands are as the ear's
    (Kong et al., "HiFi-GAN", arXiv:2010.05646, section 2.3).
    """
    estimate, reference = Spectra.of(estimate), Spectra.of(reference)
    terms = []
    for frame_length, bands in MEL_BANDS.items():
        mel = _tensor(_mel(sample_rate, frame_length, bands), reference)
        decades = [
            (mel @ spectra.power(frame_length)).clamp(min=POWER_FLOOR).log10()
            for spectra in (estimate, reference)
        ]
        terms.append(functional.l1_loss(*decades))
    return sum(terms) / len(terms)


def dissimilarity(
    estimate: Tensor | Spectra, reference: Tensor | Spectra, *, sample_rate: int
) -> Tensor:
    """One minus the neurogram similarity index (NSIM), 0 for equal signals, at most 2.

    Levels of 32 mel bands, from the loudest of each frame down to :data:`RANGE_DB` under it, are
    compared in 3 x 3 neighbourhoods, once in height and once in shape (Hines and Harte, Speech
    Communication 54, 2012, eq. 4). ViSQOL is made of it, with other filters; so a gain in ViSQOL
    must be seen by another measure too before it counts.
    """
    estimate, reference = Spectra.of(estimate), Spectra.of(reference)
    frame_length = FRAME_LENGTHS[-1]
    mel = _tensor(_mel(sample_rate, frame_length, NEUROGRAM_BANDS), reference)
    levels = [
        5 * (mel @ spectra.power(frame_length)).clamp(min=POWER_FLOOR).log10()
        for spectra in (estimate, reference)
    ]  # in units of 2 dB, as in ViSQOL
    floor = torch.maximum(*levels).amax(dim=1, keepdim=True).detach() - RANGE_DB / 2
    estimated, expected = (torch.maximum(level, floor)[:, None] for level in levels)
    lowest = torch.minimum(estimated, expected).amin(dim=(1, 2, 3), keepdim=True).detach()
    return 1 - nsim(estimated - lowest, expected - lowest).mean()


def nsim(estimated: Tensor, expected: Tensor) -> Tensor:
    """Neurogram similarity of images (batch, 1, bands, frames) ≥ 0, at every point inside.

    Args:
        estimated: levels in units of 2 dB.
        expected: of the original, the same shape.

    Returns:
        (batch, 1, bands - 2, frames - 2); 1 where they are equal.
    """
    weights = torch.exp(-torch.tensor([1.0, 0.0, 1.0]) / (2 * 0.5**2)).to(expected)
    weights = torch.outer(weights, weights)[None, None] / weights.sum() ** 2

    def mean(image: Tensor) -> Tensor:
        return functional.conv2d(image, weights)

    center = mean(estimated), mean(expected)
    product = center[0] * center[1]
    squares = center[0].square(), center[1].square()
    covariance = mean(estimated * expected) - product
    variances = [
        (mean(image.square()) - square).clamp(min=0)
        for image, square in zip((estimated, expected), squares, strict=True)
    ]
    height = (2 * product + HEIGHT_FLOOR) / (squares[0] + squares[1] + HEIGHT_FLOOR)
    spread = ((variances[0] + SHAPE_FLOOR) * (variances[1] + SHAPE_FLOOR)).sqrt()
    return height * (covariance + SHAPE_FLOOR) / spread


def relative_error(
    estimate: Tensor | Spectra, reference: Tensor | Spectra, untreated: Tensor | Spectra
) -> Tensor:
    """Decades by which the error has grown over the untreated signal's, where that one survived.

    Per item, log10 of (estimate's error / untreated error) over the STFT bins of the untreated
    signal that survived (:data:`enhancelib.audio.masking.SURVIVAL`); both errors are floored at
    :data:`ERROR_FLOOR_DB` under the signal, so clean input is not asked to become cleaner. Negative
    when the estimate is the better of the two, zero for the identity; growth is weighed
    :data:`HARM` times more, since one piece that is harmed is worse than another that gains. It is
    the training form of the in-band SI-SDR that guards against harm.
    """
    estimate, reference, untreated = map(Spectra.of, (estimate, reference, untreated))
    frame_length = FRAME_LENGTHS[-1]
    power, target = reference.power(frame_length), reference.complex(frame_length)
    before = power_of(untreated.complex(frame_length) - target)
    after = power_of(estimate.complex(frame_length) - target)
    survived = before < SURVIVAL * power
    floor = 10 ** (ERROR_FLOOR_DB / 10) * (power * survived).sum(dim=(1, 2)) + POWER_FLOOR
    ratio = ((after * survived).sum(dim=(1, 2)) + floor) / (
        (before * survived).sum(dim=(1, 2)) + floor
    )
    decades = ratio.log10()
    return (decades + (HARM - 1) * decades.relu()).mean()


def room(untreated: Tensor | Spectra, reference: Tensor | Spectra, *, sample_rate: int) -> Tensor:
    """How much there is to enhance in each item, from 0 (transparent) to 1: a tensor (batch,).

    The noise-to-mask ratio of :func:`enhancelib.audio.masking.noise_to_mask`, for differentiable
    batches: averaged over time, bands and frequency, with the spreading of a sound of 40 dB SPL at
    every level; then linear between :data:`ROOM_DB`.
    """
    untreated, reference = Spectra.of(untreated), Spectra.of(reference)
    ear = _ear(sample_rate)
    constants = (ear.scale, ear.to_bands_matrix, ear.spreading(40.0))
    scale, to_bands, spreading = (_tensor(part, reference) for part in constants)
    internal_noise, offset = (
        _tensor(part[:, None], reference) for part in (ear.internal_noise, ear.offset)
    )
    low, high = ROOM_DB
    with torch.no_grad():
        heard, expected = (
            scale * spectra.power(ear.FRAME).sqrt() for spectra in (untreated, reference)
        )
        noise = to_bands @ (heard - expected).square()
        bands = to_bands @ expected.square() + internal_noise
        mask = (spreading @ bands**ear.ADDITION_POWER) ** (1 / ear.ADDITION_POWER)
        ratio = (noise * offset / mask).mean(dim=(1, 2))
        return ((10 * ratio.clamp(min=1e-9).log10() - low) / (high - low)).clamp(0, 1)


def wanted_gate(untreated: Tensor, reference: Tensor, bands: int) -> Tensor:
    """How far each band of the input differs from the reference, from 0 (not at all) to 1.

    Args:
        untreated: spectra of the network's frames, (batch, 2, bins, frames).
        reference: of the original, the same shape.
        bands: of neighbouring bins; the Nyquist bin is in none of them.

    Returns:
        (batch, bands, frames), linear in the error against the signal, in dB, between
        :data:`CHANGE_DB`.
    """
    low, high = CHANGE_DB
    error, signal = (_band_energy(x, bands) for x in (untreated - reference, reference))
    ratio = error / (signal + POWER_FLOOR)
    return ((10 * ratio.clamp(min=1e-9).log10() - low) / (high - low)).clamp(0, 1)


def audibility(reference: Tensor, bands: int) -> Tensor:
    """Whether each band of the original is loud enough, from 0 to 1, for its loss to be heard.

    A band that a codec emptied wants the gate open even where nobody would hear it; a gate taught
    that way invents treble in speech.

    Args:
        reference: as for :func:`wanted_gate`, and so is the result.
        bands: of neighbouring bins.

    Returns:
        (batch, bands, frames), linear in the level under the frame's loudest band, in dB, between
        :data:`AUDIBLE_DB`.
    """
    energy = _band_energy(reference, bands) + 1e-20
    level_db = 10 * (energy / energy.amax(dim=1, keepdim=True)).log10()
    low, high = AUDIBLE_DB
    return ((level_db - low) / (high - low)).clamp(0, 1)


def _band_energy(spectrum: Tensor, bands: int) -> Tensor:
    """(batch, 2, bins, frames), Nyquist in no band → (batch, bands, frames)."""
    power = spectrum[:, :, : spectrum.shape[2] - 1].square().sum(dim=1)
    return power.unflatten(1, (bands, -1)).sum(dim=2)


def gate_error(logits: Tensor, wanted: Tensor, room: Tensor) -> Tensor:
    """Cross-entropy of the gate; where an item has no room, every band is to be shut.

    Args:
        logits: of the gate, (batch, bands, frames).
        wanted: of :func:`wanted_gate`, the same shape.
        room: of :func:`room`, (batch,); items with none count :data:`SHUT_WEIGHT` times.
    """
    room = room[:, None, None]
    weight = room + SHUT_WEIGHT * (1 - room)
    return functional.binary_cross_entropy_with_logits(
        logits, wanted * room, weight=weight.expand_as(logits)
    )


class CombinedLoss(nn.Module):
    """Weighted sum of the terms on waveforms; the gate's is added where the gate is known."""

    def __init__(self, weights: LossWeights | None = None, *, sample_rate: int = 44100):
        super().__init__()
        self.weights = weights or LossWeights()
        self.sample_rate = sample_rate

    def terms(
        self, estimate: Tensor | Spectra, reference: Tensor | Spectra, untreated: Tensor | Spectra
    ) -> dict[str, Tensor]:
        """Every term with a weight above zero, before weighting."""
        estimate, reference, untreated = map(Spectra.of, (estimate, reference, untreated))
        compute = {
            "mse": lambda: mse(estimate.wave, reference.wave),
            "l1": lambda: l1(estimate.wave, reference.wave),
            "spectral": lambda: log_magnitude(estimate, reference),
            "envelope": lambda: envelope(estimate, reference, sample_rate=self.sample_rate),
            "dissimilarity": lambda: dissimilarity(
                estimate, reference, sample_rate=self.sample_rate
            ),
            "relative": lambda: relative_error(estimate, reference, untreated),
            "compressed_magnitude": lambda: compressed_magnitude(estimate, reference),
            "compressed_complex": lambda: compressed_complex(estimate, reference),
            "relative_magnitude": lambda: relative_magnitude(estimate, reference),
        }
        return {name: term() for name, term in compute.items() if getattr(self.weights, name)}

    def forward(
        self, estimate: Tensor | Spectra, reference: Tensor | Spectra, untreated: Tensor | Spectra
    ) -> Tensor:
        """The weighted sum: waves (batch, 1, samples) → scalar."""
        terms = self.terms(estimate, reference, untreated)
        return sum(getattr(self.weights, name) * term for name, term in terms.items())


def _tensor(array: np.ndarray, like: Spectra) -> Tensor:
    return torch.from_numpy(array).to(like.wave)


@lru_cache(maxsize=8)
def _mel(sample_rate: int, frame_length: int, bands: int) -> np.ndarray:
    """(bands, bins); each row sums to one, so that the floor means the same in every band.

    No tensor is kept: one made while validating (inference mode) could not be trained with.
    """
    from librosa.filters import mel

    weights = mel(sr=sample_rate, n_fft=frame_length, n_mels=bands)
    return weights / weights.sum(axis=1, keepdims=True)


@lru_cache(maxsize=4)
def _ear(sample_rate: int) -> Ear:
    return Ear(sample_rate)
