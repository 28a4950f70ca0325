"""Vary pairs while training, so that a network sees more music than there is."""

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn


class Augmentation(BaseModel):
    """How far a pair may be varied.

    Attributes:
        gain_db: pairs are scaled by a random gain up to this far in either direction.
        noise_probability: share of the inputs that get white noise at 10 to 40 dB SNR.
        stretch: largest relative change of speed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gain_db: float = Field(6.0, ge=0)
    noise_probability: float = Field(0.1, ge=0, le=1)
    stretch: float = Field(0.05, ge=0, lt=0.5)


def augment(
    untreated: Tensor, reference: Tensor, settings: Augmentation, *, crop_samples: int
) -> tuple[Tensor, Tensor]:
    """Vary a batch of pairs, (batch, 1, samples) each, so that each pair stays a pair.

    A random crop of ``crop_samples``, gain, polarity and speed act on both sides alike; noise is
    one more loss, so it is added to the input only. Randomness comes from torch's generator.
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
