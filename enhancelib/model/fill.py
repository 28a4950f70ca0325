"""Fill what a codec emptied: the energy that every band should have, as noise.

A mask cannot fill an empty bin, and a regression of bins that nobody can know comes out too weak.
The ear wants the right energy at the right moment (Dietz et al., "Spectral Band Replication", 112th
AES convention, 2002). So a small network predicts the energy of bands of eight bins, and
:class:`Filler`, which learns nothing, brings emptied bins up to it with noise from a fixed table.
Spectral band replication copies from below where sound is tonal; with the true energies put in,
copies and noise score the same (LOG.md), so there are no copies.

Powers are relative to the running level of the music, so quiet music is filled as loud music is.
Whatever survived is left alone, a band that has its energy gets nothing, and so does one whose
gate is shut: the network found nothing lost there.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from enhancelib.model.blocks import CausalBlock, bin_power

EMPTIED_DB, SOFTNESS_DB = 20.0, 6.0
"""How far a bin lies under the mean power that its band should have when it counts as half emptied,
and the width of the ramp from not at all (17 dB) to altogether (23 dB)."""

MARGIN_DB = 3.0
"""A band whose own energy lacks no more than this is left as it is: the prediction is not sure to
within less. With true energies that costs nothing (ViSQOL equal, LSD 0.01 higher than with 1 dB).
"""

FEWEST = 0.25
"""The gain of a band is that for at least this share of it being filled: one emptied bin among
survivors does not get the energy of all."""

OVERLAP = 2.0
"""Energy that a frame is filled with, over the energy that is lacking.

Neighboring frames are filled with sounds that know nothing of each other. Where these overlap by
half, half of the energy cancels: the transform holds twice as many numbers as the wave.
"""

LEVEL_FRAMES = 128
"""Frames over whose mean power the running level is taken: 1.5 s."""

LEVEL_FLOOR = 1e-13
"""Least mean power of a bin that counts as sound: white noise 10 dB under that of 16-bit audio."""

FLOOR_DB = -90.0
"""Energies of bands are looked at down to here, against the running level."""

CEILING_DB = 30.0
"""The largest energy that can be predicted: all of a frame's in one band, and some more."""

NOISE_LENGTH, NOISE_STRIDE = 4093, 1237
"""The noise of frame ``n`` begins at place ``n * NOISE_STRIDE`` of a table of this length, a prime:
it comes back after 47 s, and neighbours in time share nothing near in frequency."""

LEAST = 1e-26
"""Energies under this are taken for it where something is divided by them: silence."""

_NEPERS = math.log(10) / 10  # per dB of power
_MARGIN = 10 ** (MARGIN_DB / 10)


class FillConfig(BaseModel):
    """Settings that fix the shape of the fill.

    Attributes:
        band_bins: bins of a band whose energy is predicted.
        octaves: how many of the spectrum, from the top, can be filled; three leave what lies under
            2.7 kHz as it is at 44.1 kHz, two at 22.05 kHz.
        width: channels of the network that predicts; other than any level's of the U-Net, since
            layers of a quantised graph are told apart by the shape of their weights.
        dilations: in frames, of each of its blocks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    band_bins: int = Field(8, ge=2, le=64)
    octaves: int = Field(3, ge=1, le=6)
    width: int = Field(208, ge=4, le=1024)
    dilations: tuple[Annotated[int, Field(ge=1)], ...] = (1, 2, 4, 8, 16, 32, 64, 128)

    def check(self, bins: int, channels: Sequence[int], gates: int) -> None:
        """Refuse what does not go with the rest of a network.

        Args:
            bins: of its spectrum, without Nyquist.
            channels: of its levels.
            gates: how many there are, each of as many bins.

        Raises:
            ValueError: in words that name the setting.
        """
        if self.width in channels:
            raise ValueError(f"fill: width {self.width} is that of a level; take another")
        if bins % (self.band_bins << self.octaves):
            raise ValueError(
                f"fill: {self.octaves} octaves of bands of {self.band_bins} bins do not divide "
                f"{bins} (half the frame); take fewer octaves or narrower bands"
            )
        if bins // self.band_bins % gates:
            raise ValueError(
                f"fill: its {bins // self.band_bins} bands of {self.band_bins} bins do not share "
                f"{gates} gates evenly; take narrower ones, or fewer bands of the network"
            )


def running_level(power: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Mean power of the last :data:`LEVEL_FRAMES` frames that were not silent.

    Args:
        power: mean power of each frame's bins, (batch, 1, frames).
        state: what the call before left, (batch, 2, ``LEVEL_FRAMES - 1``); zeros at the start.

    Returns:
        The level, as ``power``, at least :data:`LEVEL_FLOOR`, and the new state.
    """
    heard = (power > LEVEL_FLOOR).to(power.dtype)
    window = torch.cat([state, torch.cat([power * heard, heard], dim=1)], dim=2)
    mean = functional.avg_pool1d(window, LEVEL_FRAMES, stride=1)
    level = mean[:, :1] / mean[:, 1:].clamp(min=0.5 / LEVEL_FRAMES)
    return level.clamp(min=LEVEL_FLOOR), window[:, :, -(LEVEL_FRAMES - 1) :]


def band_mean(values: Tensor, band_bins: int) -> Tensor:
    """(batch, bins, frames) → mean of each band, (batch, bands, frames)."""
    return functional.avg_pool2d(values.unsqueeze(1), (band_bins, 1)).squeeze(1)


def band_features(power: Tensor, level: Tensor, band_bins: int) -> Tensor:
    """Compute the input of the energy predictor: log energies of bands, relative to the level.

    Args:
        power: of the bins without Nyquist, (batch, bins, frames).
        level: of :func:`running_level`, (batch, 1, frames).
        band_bins: bins of a band.

    Returns:
        Natural logarithms (batch, 2 * bands, frames) of the bands' arithmetic means of power, then
        of their geometric means, neither under :data:`FLOOR_DB`.
    """
    relative, floor = power / level, math.exp(FLOOR_DB * _NEPERS)
    arithmetic = band_mean(relative, band_bins).clamp(min=floor).log()
    geometric = band_mean(relative.clamp(min=floor).log(), band_bins)
    return torch.cat([arithmetic, geometric], dim=1)


class EnergyPredictor(nn.Module):
    """Network that predicts the original's band energies from those of a damaged spectrum.

    A band's prediction lies between its own energy, where nothing was lost, and one that the
    network makes up. It starts at the former: an untrained network fills nothing.

    Args:
        config: shape.
        bins: of the spectrum, without Nyquist.
    """

    def __init__(self, config: FillConfig, bins: int):
        super().__init__()
        self.config = config
        self.bands = bins // config.band_bins
        self.first = self.bands >> config.octaves  # the lowest band that can be filled
        outputs, width = self.bands - self.first, config.width
        self.embedding = nn.Conv2d(2 * self.bands, width, 1, bias=False)
        self.embedding_norm = nn.BatchNorm2d(width)
        self.blocks = nn.ModuleList(CausalBlock(width, d, height=1) for d in config.dilations)
        self.head = nn.Conv2d(width, 2 * outputs, 1)
        nn.init.zeros_(self.head.weight)
        with torch.no_grad():  # made-up energy, and how far it replaces the band's own
            self.head.bias.copy_(torch.tensor([-10.0, -4.0]).repeat_interleave(outputs))

    def state_shapes(self) -> list[tuple[int, int, int]]:
        """(channels, 1, frames) of each block's state."""
        return [(self.config.width, 1, block.history) for block in self.blocks]

    def initial_state(self, batch: int = 1) -> list[Tensor]:
        """Return the states at the beginning of a stream: zeros."""
        blank = self.head.bias
        return [blank.new_zeros(batch, *shape) for shape in self.state_shapes()]

    def forward(self, features: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Predict the next frames.

        Args:
            features: of :func:`band_features`.
            states: those left by earlier frames.

        Returns:
            Log energies in the features' units, (batch, bands that can be filled, frames), and the
            new states.
        """
        x = (features.unsqueeze(2) + 9) / 6  # about zero mean and unit variance, for music
        x = functional.relu(self.embedding_norm(self.embedding(x)))
        kept = []
        for block, state in zip(self.blocks, states, strict=True):
            x, state = block(x, state)
            kept.append(state)
        made_up, lost = self.head(x).squeeze(2).chunk(2, dim=1)
        own = features[:, self.first : self.bands]
        energies = own + lost.sigmoid() * (made_up - own)
        limits = FLOOR_DB * _NEPERS, CEILING_DB * _NEPERS
        return energies.clamp(*limits), kept


class Filler(nn.Module):
    """Brings emptied bins up to given energies; it has no weights.

    Args:
        config: shape.
        bins: of the spectrum, without Nyquist.
    """

    def __init__(self, config: FillConfig, bins: int):
        super().__init__()
        self.band_bins, self.lowest = config.band_bins, bins >> config.octaves
        upper = bins - self.lowest
        uniform = _uniform(2 * NOISE_LENGTH)
        angle = 2 * np.pi * uniform[:NOISE_LENGTH]
        size = np.sqrt(-np.log(1 - uniform[NOISE_LENGTH:]))
        size /= np.sqrt(np.mean(size**2))
        noise = np.stack([size * np.cos(angle), size * np.sin(angle)], axis=1)
        noise = torch.from_numpy(np.concatenate([noise, noise[:upper]])).float()
        self.register_buffer("noise", noise, persistent=False)
        places = np.arange(2 * upper, dtype=np.int32).reshape(upper, 2).T[:, :, None]
        self.register_buffer("places", torch.from_numpy(places.copy()), persistent=False)

    def forward(
        self, spectrum: Tensor, energies: Tensor, position: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Fill the next frames.

        Args:
            spectrum: without Nyquist, (batch, 2, bins, frames).
            energies: mean power that a bin of each band should have, (batch, bands, frames); of the
                bands that can be filled.
            position: of the first frame's noise in its table, (batch, 1); zero at the start.

        Returns:
            The spectrum, filled, and the position for the frame after.
        """
        noise, position = self._noise(position, spectrum.shape[3])
        untouched, own = spectrum.split([self.lowest, spectrum.shape[2] - self.lowest], dim=2)
        # Bands and the bins of each are two axes, so that what is one per band spreads by itself:
        # (batch, 2, bands, bins of a band, frames). Few operations, since a frame alone is so
        # little work that their number is what it costs.
        own, energies = _banded(own, self.band_bins), energies[:, None, :, None]
        lacking = (energies - 2 * _MARGIN * _mean_square(own)).clamp(min=0)
        # A least power keeps silence from being divided by.
        energies = energies.clamp(min=LEAST)
        sound = _banded(noise, self.band_bins) * self._share(bin_power(own), energies)
        reached = _mean_square(sound).clamp(min=FEWEST / 2)
        # The root of what is lacking over what the sound reaches; with a finite slope where
        # nothing is lacking.
        gain = lacking * (OVERLAP / 2 / (torch.maximum(lacking, 1e-4 * energies) * reached)).sqrt()
        return torch.cat([untouched, (own + sound * gain).flatten(2, 3)], dim=2), position

    def _share(self, power: Tensor, energies: Tensor) -> Tensor:
        """Return how far each bin was emptied, 0 to 1, in the shape of ``power``."""
        ramp = (EMPTIED_DB - SOFTNESS_DB / 2) * _NEPERS, (EMPTIED_DB + SOFTNESS_DB / 2) * _NEPERS
        depth = (power / energies).clamp(math.exp(-ramp[1]), math.exp(-ramp[0])).log()
        return (depth + ramp[0]) * (-1 / (ramp[1] - ramp[0]))

    def _noise(self, position: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        """Complex noise of unit power, (batch, 2, bins that can be filled, frames)."""
        # In integers of 32 bits: exact for a clip of half a year.
        frame = torch.arange(frames, dtype=torch.int32, device=position.device)
        turns = (position.to(torch.int32) + frame) % NOISE_LENGTH  # (batch, frames)
        start = turns[:, None, None] * (2 * NOISE_STRIDE) % (2 * NOISE_LENGTH)
        noise = functional.embedding(self.places + start, self.noise.reshape(-1, 1)).squeeze(4)
        return noise, ((turns[:, -1:] + 1) % NOISE_LENGTH).to(position.dtype)


class FillHead(nn.Module):
    """Predicts the energies of a spectrum's bands and fills what lacks them.

    Args:
        config: shape.
        bins: of the spectrum, without Nyquist.
    """

    def __init__(self, config: FillConfig, bins: int):
        super().__init__()
        self.predictor = EnergyPredictor(config, bins)
        self.filler = Filler(config, bins)
        self.states = len(self.state_shapes())
        self.frozen = False

    def freeze(self) -> None:
        """Stay as taught by :mod:`enhancelib.train.energies` while the rest of the network learns.

        Gradients then reach what is filled only through what it is added to.
        """
        self.frozen = True
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Switch to training, but keep the running statistics where they are frozen."""
        return super().train(mode and not self.frozen)

    def state_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the states: running level, noise, each block of the predictor."""
        return [(2, LEVEL_FRAMES - 1), (1,), *self.predictor.state_shapes()]

    def forward(
        self,
        spectrum: Tensor,
        enhanced: Tensor,
        level: Tensor,
        states: Sequence[Tensor],
        gate: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Fill the next frames.

        Args:
            spectrum: what came in, without Nyquist, (batch, 2, bins, frames).
            enhanced: what it is by now, the same shape.
            level: of :func:`running_level`, (batch, 1, frames).
            states: of the noise and of each block, left by earlier frames.
            gate: how far each band of the network was found to be damaged, 0 to 1, (batch, bands
                of the network, frames); the energies are scaled by it. ``None`` is 1.

        Returns:
            ``enhanced``, filled, and the new states.
        """
        power = bin_power(spectrum).squeeze(1)
        features = band_features(power, level, self.predictor.config.band_bins)
        energies, kept = self.predictor(features, states[1:])
        # A silent frame stays silent, and so does a band predicted at the floor.
        heard = (power.mean(dim=1, keepdim=True) > LEVEL_FLOOR).to(level.dtype)
        wanted = (energies.exp() - 2 * math.exp(FLOOR_DB * _NEPERS)).clamp(min=0) * (level * heard)
        if gate is not None:
            fine = gate.repeat_interleave(self.predictor.bands // gate.shape[1], dim=1)
            wanted = wanted * fine[:, self.predictor.first :]
        if self.frozen and torch.is_grad_enabled():
            filled, position = self.filler(enhanced.detach(), wanted, states[0])
            filled = enhanced + (filled - enhanced).detach()
        else:
            filled, position = self.filler(enhanced, wanted, states[0])
        return filled, [position, *kept]


def _banded(spectrum: Tensor, band_bins: int) -> Tensor:
    """(batch, 2, bins, frames) → (batch, 2, bands, bins of a band, frames)."""
    batch, parts, bins, frames = spectrum.shape
    return spectrum.reshape(batch, parts, bins // band_bins, band_bins, frames)


def _mean_square(banded: Tensor) -> Tensor:
    """(batch, 2, bands, bins of a band, frames) → (batch, 1, bands, 1, frames)."""
    return (banded * banded).mean(dim=(1, 3), keepdim=True)


def limited(correction: Tensor, spectrum: Tensor, band_bins: int) -> Tensor:
    """A correction that raises no bin by more than 6 dB, nor a hole to over -20 dB of its band.

    Args:
        correction: to be added to ``spectrum``, (batch, 2, bins, frames).
        spectrum: what is corrected, the same shape.
        band_bins: bins of a band.
    """
    power = bin_power(spectrum)
    least = 0.02 * _mean_square(_banded(spectrum, band_bins))
    allowed = torch.maximum(_banded(power, band_bins), least).clamp(min=1e-30).flatten(2, 3)
    return correction * (allowed / torch.maximum(allowed, bin_power(correction))).sqrt()


def _uniform(count: int) -> np.ndarray:
    """Numbers in [0, 1) that no version of NumPy will change: a bit generator's own stream."""
    return (np.random.PCG64(20).random_raw(count) >> np.uint64(11)) * 2.0**-53
