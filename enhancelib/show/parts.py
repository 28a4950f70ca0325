"""Look inside a network: what its gate, its correction and its fill do to a wave."""

from typing import NamedTuple

import numpy as np
import torch

from enhancelib.model.blocks import gate_of
from enhancelib.model.network import AudioUNet


class Parts(NamedTuple):
    """Intermediate results of the network for one wave, step by step.

    Attributes:
        corrected: the wave before the fill, (channels, samples): what survived, corrected.
        enhanced: the outcome; the same as ``corrected`` where the network has no fill.
        gate: how far it is open, (channels, bands, frames), 0 to 1; ``None`` without a gate.
    """

    corrected: np.ndarray
    enhanced: np.ndarray
    gate: np.ndarray | None


@torch.no_grad()
def parts(model: AudioUNet, wave: np.ndarray) -> Parts:
    """Enhance a wave and keep what lies on the way.

    Args:
        model: in evaluation mode.
        wave: (channels, samples) in [-1, 1], at the network's rate.
    """
    given = torch.from_numpy(np.asarray(wave, np.float32))[:, None]
    states, spectrum = model.initial_state(given.shape[0]), model.analyze(given)

    def heard(fill: bool) -> tuple[np.ndarray, torch.Tensor | None]:
        changed, _, logits = model.core.with_gate(spectrum, states, fill=fill)
        return model.synthesize(changed, given.shape[-1])[:, 0].numpy(), logits

    (corrected, _), (enhanced, logits) = heard(fill=False), heard(fill=True)
    return Parts(corrected, enhanced, None if logits is None else gate_of(logits).numpy())
