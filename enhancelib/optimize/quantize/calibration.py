"""Ranges of a network's activations on music, and how they carry over to its exported graphs.

Eight bits divide a fixed range into 256 steps, so a quantised graph must know the range of every
tensor. They are measured once, on the network itself, and hold for every file made from it: whole
clip or stream, ONNX or TensorFlow Lite. Convolutions of a graph are known by the shape of their
weights, and among equal ones by their order; tensors between two are reached by :func:`spread`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from enhancelib.audio.waves import Wave
from enhancelib.errors import InputError, ModelError
from enhancelib.model.network import AudioUNet

FLOAT_LAYERS = ("embedding", "head", "gate", "gate_context")
"""Layers whose activations stay float: the first one sees the spectrum, the last ones multiply it.

Music spans 100 dB, 8 bits span 48. The weights of these layers are stored in 8 bits all the same.
"""

CLIPPED = 2e-4
"""Share of the values that may lie above a range, and as many below it (Wu et al., "Integer
quantization for deep learning inference", arXiv:2004.09602: percentile calibration).

The largest values of music are rare, and twice as large as all others: with a place for them, every
step is twice as wide.
"""

SAMPLES = 1 << 14
"""Number of values of a tensor that are looked at in each clip, besides its extremes."""

Range = tuple[float, float]


@dataclass(frozen=True)
class LayerRange:
    """Ranges of the values that go into and come out of one convolution.

    Attributes:
        name: of the module within the network.
        shape: of its weights.
        input: of the values that go in; for a causal block, of the whole window.
        output: of the values after its batch norm, before a ReLU.
    """

    name: str
    shape: tuple[int, ...]
    input: Range
    output: Range

    @property
    def stays_float(self) -> bool:
        """Whether its activations are not to be quantised."""
        return self.name.rpartition(".")[2] in FLOAT_LAYERS


def calibrate(
    model: AudioUNet, music: Sequence[Wave], *, clipped: float = CLIPPED
) -> list[LayerRange]:
    """Measure the ranges of a network's activations.

    A range too narrow clips what this music did not reach, one too wide wastes steps: take music of
    many kinds, degraded as the network will meet it, some of it at full scale.

    Args:
        model: the network.
        music: waves (channels, samples) at its rate.
        clipped: share of the values that may lie above a range, and as many below it; with 0 it
            holds them all.

    Returns:
        The convolutions in the order in which they run. Every range holds zero.

    Raises:
        InputError: there is no music.
    """
    if not len(music):
        raise InputError("music: nothing to measure ranges on; pass a few seconds of it")
    names = {module: name for name, module in model.named_modules()}
    seen: dict[nn.Module, tuple[list[Tensor], list[Tensor]]] = {}
    order: list[nn.Module] = []

    def note(module: nn.Module, place: int, values: Tensor) -> None:
        values = values.flatten()
        spaced = values[:: -(-len(values) // SAMPLES)]
        before = seen.setdefault(module, ([], []))
        before[place].append(torch.cat([spaced, torch.stack(values.aminmax())]))

    def on_convolution(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        if module not in order:
            order.append(module)
        running.append(module)
        note(module, 0, inputs[0])
        if module.bias is not None:  # no batch norm follows
            note(module, 1, output)

    def on_norm(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        note(running[-1], 1, output)

    running: list[nn.Module] = []
    hooks = [
        module.register_forward_hook(on_convolution if kind is nn.modules.conv._ConvNd else on_norm)
        for module in model.modules()
        for kind in (nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm)
        if isinstance(module, kind)
    ]
    was_training = model.training
    try:
        with torch.inference_mode():
            for wave in music:
                model.eval()(torch.from_numpy(np.asarray(wave, np.float32))[:, None])
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return [
        LayerRange(
            names[module],
            tuple(module.weight.shape),
            *(_range(values, clipped) for values in seen[module]),
        )
        for module in order
    ]


def _range(clips: list[Tensor], clipped: float) -> Range:
    """Ends of the range of some values, zero among them."""
    if not clips:  # of a layer that nothing is known to follow
        return 0.0, 0.0
    low, high = np.quantile(torch.cat(clips).numpy(), [clipped, 1 - clipped])
    return min(0.0, float(low)), max(0.0, float(high))


@dataclass(frozen=True)
class Node:
    """One operator of an exported graph: what it does to ranges, and its tensors by name.

    Attributes:
        kind: ``"convolution"``, ``"copy"`` (moves or repeats values), ``"join"`` (concatenates),
            ``"relu"``, or anything else.
        inputs: the tensors it takes; weights last.
        outputs: the tensors it computes.
        relu: whether a convolution cuts its output off below zero by itself.
        shape: of a convolution's weights, in whatever layout.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    relu: bool = False
    shape: tuple[int, ...] = ()


def spread(
    nodes: Sequence[Node], layers: Sequence[LayerRange], *, path: object
) -> dict[str, Range]:
    """Ranges of the tensors of a graph, as far as they follow from those of its convolutions.

    Convolutions whose weights have the same shape are met in the order of ``layers`` (exporters put
    branches in an order of their own); those that stay float tell nothing. A range is handed on
    through nodes that copy, and from a concatenation to what it joins: a state and the frame it
    precedes.

    Args:
        nodes: the graph in an order in which it can run.
        layers: from :func:`calibrate`.
        path: names the file in errors.

    Raises:
        ModelError: the graph has other convolutions than the network.
    """
    convolutions = [node for node in nodes if node.kind == "convolution"]
    waiting: dict[tuple[int, ...], list[LayerRange]] = {}
    for layer in layers:
        waiting.setdefault(_sizes(layer.shape), []).append(layer)
    if len(convolutions) != len(layers) or any(
        len(same) != sum(_sizes(node.shape) == sizes for node in convolutions)
        for sizes, same in waiting.items()
    ):
        raise ModelError(
            f"{path}: has {len(convolutions)} convolutions, the calibrated network "
            f"{len(layers)}; export that network again"
        )
    ranges: dict[str, Range] = {}

    def share(giver: str, takers: Iterable[str], *, relu: bool = False) -> None:
        if giver in ranges:
            low, high = ranges[giver]
            for taker in takers:
                ranges.setdefault(taker, (max(low, 0.0) if relu else low, high))

    for node in convolutions:
        layer = waiting[_sizes(node.shape)].pop(0)
        if not layer.stays_float:
            low, high = layer.output
            ranges[node.inputs[0]] = layer.input
            ranges[node.outputs[0]] = (max(low, 0.0) if node.relu else low, high)
    known = -1
    while known < len(ranges):
        known = len(ranges)
        for node in nodes:
            if node.kind == "copy":
                share(node.inputs[0], node.outputs)
                share(node.outputs[0], node.inputs[:1])
            elif node.kind == "join":
                share(node.outputs[0], node.inputs)
            elif node.kind == "relu":
                share(node.inputs[0], node.outputs, relu=True)
    return ranges


def _sizes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the sizes above one, sorted: two layouts of the same weights share them."""
    return tuple(sorted(size for size in shape if size > 1))
