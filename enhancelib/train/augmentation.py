"""Vary pairs while training, so that a network sees more music than there is."""

import math

import torch
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from torch import Tensor, nn

LOWEST_HZ = 62.5
"""Below this, :func:`random_response` is flat."""

OCTAVE_DB = 3.0
"""Standard deviation of an equalizer's gain in each octave."""

CORNERS_HZ = (1000.0, 12000.0)
STEEPEST_DB = 40.0
"""Steepest fall of a muffled pair's treble, in dB per octave above one of :data:`CORNERS_HZ`.

The speech of the test set falls by 20 to 40 dB per octave, a muted synthesizer by 30.
"""


_EQUALIZE = ("equalize_probability", "equalise_probability")  # the second in older checkpoints


class Augmentation(BaseModel):
    """How far a pair may be varied.

    Attributes:
        gain_db: pairs are scaled by a random gain up to this far in either direction.
        noise_probability: share of the inputs that get white noise at 10 to 40 dB SNR.
        stretch: largest relative change of speed.
        equalize_probability: share of the pairs that get another colour, both sides alike.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gain_db: float = Field(6.0, ge=0)
    noise_probability: float = Field(0.1, ge=0, le=1)
    stretch: float = Field(0.05, ge=0, lt=0.5)
    equalize_probability: float = Field(0.5, ge=0, le=1, validation_alias=AliasChoices(*_EQUALIZE))


def augment(
    untreated: Tensor,
    reference: Tensor,
    settings: Augmentation,
    *,
    crop_samples: int,
    sample_rate: int,
) -> tuple[Tensor, Tensor]:
    """Vary a batch of pairs, (batch, 1, samples) each, so that each pair stays a pair.

    A random crop of ``crop_samples``, gain, polarity, speed and colour act on both sides alike;
    noise is one more loss, so it is added to the input only. Randomness comes from torch's
    generator.
    """
    starts = torch.randint(max(1, untreated.shape[2] - crop_samples + 1), (len(untreated),))
    untreated, reference = (
        torch.stack(
            [item[:, at : at + crop_samples] for item, at in zip(wave, starts, strict=True)]
        )
        for wave in (untreated, reference)
    )
    size, device = (len(untreated), 1, 1), untreated.device

    def uniform(low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(size)).to(device)

    gain = 10 ** (uniform(-settings.gain_db, settings.gain_db) / 20) * uniform(-1, 1).sign()
    untreated, reference = untreated * gain, reference * gain
    if settings.stretch:
        speed = 1 + settings.stretch * (2 * torch.rand(()).item() - 1)
        untreated, reference = change_speed(untreated, speed), change_speed(reference, speed)
    if settings.equalize_probability:
        bins = untreated.shape[2] // 2 + 1
        response = random_response(len(untreated), bins, sample_rate=sample_rate)
        response[torch.rand(len(untreated)) >= settings.equalize_probability] = 1
        response = response[:, None].to(device)
        untreated, reference = equalize(untreated, response), equalize(reference, response)
    level = reference.square().mean(dim=2, keepdim=True).sqrt() * 10 ** (uniform(-40, -10) / 20)
    level = level * (uniform(0, 1) < settings.noise_probability)
    return untreated + level * torch.randn(untreated.shape).to(device), reference


def change_speed(wave: Tensor, speed: float) -> Tensor:
    """Play (batch, 1, samples) faster by the factor ``speed``, by resampling in the Fourier domain.

    The band above the new Nyquist frequency is dropped; the length becomes samples / speed.
    """
    samples = wave.shape[-1]
    length = round(samples / speed)
    spectrum = torch.fft.rfft(wave)
    bins = length // 2 + 1
    spectrum = nn.functional.pad(spectrum, (0, max(0, bins - spectrum.shape[-1])))[..., :bins]
    return torch.fft.irfft(spectrum, n=length) * (length / samples)


def equalize(wave: Tensor, response: Tensor) -> Tensor:
    """Filter (batch, 1, samples) by real gains per frequency, (batch, 1, samples // 2 + 1)."""
    return torch.fft.irfft(torch.fft.rfft(wave) * response, n=wave.shape[-1])


def random_response(count: int, bins: int, *, sample_rate: int) -> Tensor:
    """Gains (count, bins) over 0 to the Nyquist frequency: the colours of other recordings.

    A gain per octave, normally distributed (:data:`OCTAVE_DB`), with straight lines between; for
    half of them also a roll-off from a corner in :data:`CORNERS_HZ`, up to :data:`STEEPEST_DB` per
    octave, so that music without treble is met as an original and not only as a loss.
    """
    frequency = torch.linspace(0, sample_rate / 2, bins).clamp(min=LOWEST_HZ)
    octave = (frequency / LOWEST_HZ).log2()
    knots = OCTAVE_DB * torch.randn(count, int(octave[-1]) + 2)
    below = octave.long()
    part = octave - below
    gain_db = knots[:, below] * (1 - part) + knots[:, below + 1] * part
    low, high = (math.log2(corner / LOWEST_HZ) for corner in CORNERS_HZ)
    corner = low + (high - low) * torch.rand(count, 1)
    slope_db = STEEPEST_DB * torch.rand(count, 1) * (torch.rand(count, 1) < 0.5)
    gain_db = gain_db - slope_db * (octave - corner).clamp(min=0)
    return 10 ** (gain_db / 20)
