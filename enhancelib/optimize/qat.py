"""Train a network a little further with the rounding of 8-bit arithmetic in mind."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from enhancelib.errors import ModelError
from enhancelib.model.blocks import BandScale, CausalBlock
from enhancelib.model.network import AudioUNet
from enhancelib.optimize.quantize.calibration import LayerRange, Range
from enhancelib.train.finetune import fit
from enhancelib.train.task import TrainingConfig

LEVELS = 256
"""Steps of an 8-bit activation."""


def quantization_aware_training(
    model: AudioUNet,
    manifest: str | Path,
    ranges: Sequence[LayerRange],
    config: TrainingConfig | None = None,
    *,
    steps: int,
    progress: bool = True,
) -> AudioUNet:
    """Train a copy of a network with the rounding of 8-bit arithmetic in the forward pass.

    Weights and activations are rounded as :func:`~enhancelib.optimize.quantize.quantize_static`
    will round them, with the same ranges; the gradient passes through as if they were not (Jacob et
    al., arXiv:1712.05877). Batch norm keeps its statistics, as it does in the exported file. The
    goal is the output of the network as it was, in float (Mishra & Marr, arXiv:1711.05852): nothing
    else is to change.

    Args:
        model: the network; it is not changed.
        manifest: as for :func:`fine_tune`.
        ranges: of this network, from :func:`enhancelib.optimize.compression.calibrate`; use them
            for the result too.
        config: as for :func:`fine_tune`; default: a hundredth of the usual learning rate.
        steps: batches.
        progress: show a bar.

    Returns:
        The tuned copy, an ordinary network, to be exported and quantised.

    Raises:
        ConfigError: ``steps`` is not positive.
        ModelError: the ranges are those of another network.
    """
    tuned = copy.deepcopy(model).eval()  # no dropout; batch norm keeps its statistics
    config = config or TrainingConfig(learning_rate=TrainingConfig().learning_rate / 100)
    title = "8-bit training" if progress else ""
    with rounding(tuned, ranges):
        return fit(tuned, manifest, config, steps, [], title, teacher=model)


_ROUNDED = {CausalBlock: ("depthwise", "pointwise"), BandScale: ("convolution",)}
"""Layers of a module whose ranges are asked for."""


@contextmanager
def rounding(model: AudioUNet, ranges: Sequence[LayerRange]) -> Iterator[None]:
    """Let a network compute with weights and activations rounded to 8 bits, for a while.

    Raises:
        ModelError: the ranges are those of another network.
    """
    layers = {layer.name: layer for layer in ranges}
    convolutions = {name: module for name, module in model.named_modules() if name in layers}
    asked = {
        f"{name}.{part}"
        for name, module in model.named_modules()
        for part in _ROUNDED.get(type(module), ())
    }
    if (
        len(convolutions) < len(layers)
        or not asked <= set(layers)
        or any(tuple(m.weight.shape) != layers[name].shape for name, m in convolutions.items())
    ):
        raise ModelError("ranges: measured on another network; calibrate this one")
    with ExitStack() as stack:
        for module in convolutions.values():
            parametrize.register_parametrization(module, "weight", _RoundedWeight())
            stack.callback(
                parametrize.remove_parametrizations, module, "weight", leave_parametrized=False
            )
        for name, module in model.named_modules():
            for hook in _activation_hooks(name, module, layers):
                stack.callback(hook.remove)
        yield


def _activation_hooks(name: str, module: nn.Module, layers: dict[str, LayerRange]) -> list:
    """Round where the quantised graph does: what enters a convolution, what a block adds."""
    if isinstance(module, CausalBlock):
        depthwise, pointwise = layers[f"{name}.depthwise"], layers[f"{name}.pointwise"]
        return [
            _round_input(module, depthwise.input),
            _round_input(module.pointwise, pointwise.input),
            _round_output(module.pointwise_norm, pointwise.output),
        ]
    if isinstance(module, BandScale):
        layer = layers[f"{name}.convolution"]
        return [_round_input(module, layer.input), _round_output(module, (0.0, layer.output[1]))]
    return []


def _round_input(module: nn.Module, limits: Range) -> RemovableHandle:
    return module.register_forward_pre_hook(
        lambda _, inputs: (_rounded(inputs[0], limits), *inputs[1:])
    )


def _round_output(module: nn.Module, limits: Range) -> RemovableHandle:
    return module.register_forward_hook(lambda _, inputs, output: _rounded(output, limits))


def _rounded(values: Tensor, limits: Range) -> Tensor:
    """To the nearest of :data:`LEVELS` steps between the limits, one of which is zero."""
    scale = max((limits[1] - limits[0]) / (LEVELS - 1), 1e-12)
    return torch.fake_quantize_per_tensor_affine(
        values, scale, round(-limits[0] / scale), 0, LEVELS - 1
    )


class _RoundedWeight(nn.Module):
    """Weights to 8 bits, symmetric about zero, with a scale per output channel.

    A batch norm behind the convolution scales whole channels, so folding it changes nothing here.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """Round the weight of a convolution to its steps; the shape stays."""
        scale = weight.detach().flatten(1).abs().amax(dim=1).clamp(min=1e-12) / 127
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -127, 127)
