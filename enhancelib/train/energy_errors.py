"""Losses and errors of band energies: what the first stage of training minimizes and shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from enhancelib.data.envelopes import Tables
from enhancelib.model.fill import MARGIN_DB, EnergyPredictor
from enhancelib.model.losses import nsim

if TYPE_CHECKING:
    from enhancelib.train.energies import EnergyTraining


LOST_DB = 10.0
"""A band was emptied where it lies so far under the original's."""


LEAST_DB = -88.0
"""Bands of the original further under the running level have nothing to lose: next to the floor of
what the network sees."""

HEARD_DB = -80.0
"""Least level that added energy is measured against: nobody hears what is further down."""


RANGE_DB = 60.0
"""Shapes are compared down to here, against the strongest band of the frame."""

WHOLE = 0.01
"""Share of emptied bands under which an item counts as whole: there, whatever is added is harm."""

NEPER_DB = 10 / np.log(10)
"""Decibels in a neper of power, the unit of the tables."""


def pinball(predicted: Tensor, target: Tensor, quantile: float | Tensor) -> Tensor:
    """Twice the pinball loss, element by element: at quantile 0.5 the absolute error."""
    short = target - predicted
    return 2 * torch.maximum(quantile * short, (quantile - 1) * short)


def emptied(own: Tensor, target: Tensor) -> Tensor:
    """Whether each band lost what it had, from log energies in units of the level."""
    return (own < target - LOST_DB / NEPER_DB) & (target > LEAST_DB / NEPER_DB)


def energy_loss(energies: Tensor, batch: Batch, *, survivors: float) -> dict[str, Tensor]:
    """The terms of the loss before weighting, in dB.

    Args:
        energies: predicted, log, (batch, bands, frames).
        batch: what was to be predicted.
        survivors: weight of bands that were not emptied; the others have one.
    """
    lost = emptied(batch.own, batch.target)
    weight = batch.trusted * (lost + survivors * ~lost)
    total = weight.sum().clamp(min=1)
    level = NEPER_DB * (weight * pinball(energies, batch.target, batch.quantiles)).sum() / total
    steps = energies.diff(dim=2) - batch.target.diff(dim=2)
    between = weight[:, :, 1:]
    difference = NEPER_DB * (between * steps.abs()).sum() / between.sum().clamp(min=1)
    whole, excess = added_treble(energies, batch)
    harm = (whole * excess).sum() / whole.sum().clamp(min=1)
    terms = {"level": level, "difference": difference, "harm": harm}
    return terms | {"dissimilarity": dissimilarity(energies, batch, lost)}


def dissimilarity(energies: Tensor, batch: Batch, lost: Tensor) -> Tensor:
    """One minus the neurogram similarity (:func:`enhancelib.model.losses.nsim`) of lost bands.

    A guess that is right in the mean is too smooth, and so differs in shape from the original.

    Args:
        energies: predicted, log, (batch, bands, frames).
        batch: what was to be predicted.
        lost: of :func:`emptied`.
    """
    first = batch.features.shape[1] // 2 - batch.target.shape[1]
    whole = torch.cat([batch.features[:, :first], batch.target], dim=1)
    floor = NEPER_DB * whole.amax(dim=1, keepdim=True) - RANGE_DB
    images = [torch.maximum(NEPER_DB * values, floor) / 2 for values in (energies, batch.target)]
    lowest = floor.amin(dim=(1, 2), keepdim=True) / 2
    similar = nsim(*[(image - lowest)[:, None] for image in images])[:, 0]
    weight = (batch.trusted * lost)[:, 1:-1, 1:-1]
    return (weight * (1 - similar)).sum() / weight.sum().clamp(min=1)


def added_treble(energies: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Treble that music never had.

    Args:
        energies: predicted, log, (batch, bands, frames).
        batch: what was to be predicted.

    Returns:
        Where it counts, of the same shape, 1 in items from which nothing was lost and 0 elsewhere;
        and by how many dB the prediction is too strong there, beyond the fill's margin.
    """
    share = emptied(batch.own, batch.target).float().mean(dim=(1, 2), keepdim=True)
    audible = batch.target.clamp(min=HEARD_DB / NEPER_DB)
    excess = (NEPER_DB * (energies - audible) - MARGIN_DB).clamp(min=0)
    return (batch.trusted * (share < WHOLE)).expand_as(excess), excess


class Batch:
    """Features and targets of some items, of the bands that can be filled.

    Attributes:
        features: (batch, 2 * bands, frames).
        own, target: log energies of the lossy and the lossless signal, (batch, bands, frames).
        trusted: whether each band of an item can be believed, (batch, bands, 1), 0 or 1.
        quantiles: that the predicted energies of each item aim at, (batch, 1, 1).
    """

    def __init__(
        self, values: Tensor, trusted: np.ndarray, first: int, quantiles: np.ndarray | float = 0.5
    ):
        bands = values.shape[1] // 3
        self.features = values[:, : 2 * bands]
        self.own = values[:, first:bands]
        self.target = values[:, 2 * bands + first :]
        self.trusted = torch.from_numpy(trusted[:, first:, None].astype(np.float32)).to(values)
        aims = np.broadcast_to(np.float32(quantiles), len(values))
        self.quantiles = torch.from_numpy(aims.copy()).to(values)[:, None, None]


def validation_errors(
    predictor: EnergyPredictor, tables: Tables, config: EnergyTraining
) -> dict[str, dict]:
    """Error of the emptied bands per condition, and of ``all`` together.

    Args:
        predictor: in evaluation mode.
        tables: to measure on, whole items.
        config: settings.

    Returns:
        Condition → ``lost_s`` (seconds of audio times share of bands emptied), ``error_db`` (mean
        absolute) and ``bias_db`` (mean of predicted minus true), nothing where nothing was lost;
        and ``harm_db``, the mean of :func:`added_treble` over items from which nothing was lost.
    """
    rate, first = config.model.sample_rate, predictor.first
    lower_hz = np.arange(first, tables.bands) * (rate / 2 / tables.bands)
    device = predictor.head.weight.device
    high = torch.from_numpy(lower_hz >= config.error_from_hz)[None, :, None].to(device)
    trusted = tables.trusted_bands(rate)
    sums: dict[str, np.ndarray] = {}
    for start in range(0, len(tables.values), 16):
        chosen = slice(start, start + 16)
        values = torch.from_numpy(tables.values[chosen].astype(np.float32)).mT.to(device)
        batch = Batch(values, trusted[chosen], first)
        with torch.inference_mode():
            states = predictor.initial_state(len(values))
            energies, _ = predictor(batch.features, states)
            lost = emptied(batch.own, batch.target) & high & (batch.trusted > 0)
            difference = NEPER_DB * (energies - batch.target) * lost
            whole, excess = added_treble(energies, batch)
            whole = whole * high
            parts = lost.float(), difference.abs(), difference, whole, whole * excess
            figures = torch.stack(parts).sum(dim=(2, 3)).cpu()
        for name, figure in zip(tables.items["condition"][chosen], figures.T, strict=True):
            for key in (name, "all"):
                sums[key] = sums.get(key, np.zeros(5)) + figure.double().numpy()
    second = rate / config.model.hop_length * max(1, int(high.sum()))
    return {
        name: {
            "lost_s": round(count / second, 2),
            "error_db": round(error / count, 3) if count else "",
            "bias_db": round(bias / count, 3) if count else "",
            "harm_db": round(excess / left, 3) if left else "",
        }
        for name, (count, error, bias, left, excess) in sorted(sums.items())
    }
