"""Remove weights from a network: single ones, which only become zero, or whole channels.

:func:`prune` (unstructured; Han et al., arXiv:1506.02626) leaves every tensor its shape: the file
gets smaller only once it is compressed, and a dense runtime multiplies by the zeros as before.
:func:`prune_channels` (structured) removes channels level by level. All tensors that a level's
channels run through, skip connections included, lose the same ones (Fang et al., "DepGraph",
arXiv:2301.12900), so what remains is an ordinary, narrower network.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from enhancelib.errors import ConfigError
from enhancelib.model.network import AudioUNet, ModelConfig

Method = Literal["magnitude", "random"]


def prune(
    model: AudioUNet, sparsity: float, *, method: Method = "magnitude", seed: int = 0
) -> AudioUNet:
    """Set a share of the weights of every convolution to zero.

    Depthwise filters are left alone: they hold few of the weights, and each of them much of the
    work.

    Args:
        model: the network; it is not changed.
        sparsity: share to remove, above 0 and below 1.
        method: ``"magnitude"`` removes the smallest weights of a layer, ``"random"`` any.
        seed: of the random choice.

    Returns:
        A copy of the same shape, in evaluation mode.

    Raises:
        ConfigError: an impossible share or an unknown method.
    """
    _check(sparsity, method)
    pruned = copy.deepcopy(model).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in prunable(pruned):
            if method == "magnitude":
                torch_prune.l1_unstructured(layer, "weight", amount=sparsity)
            else:
                torch_prune.random_unstructured(layer, "weight", amount=sparsity)
            torch_prune.remove(layer, "weight")
    return pruned


def prunable(model: AudioUNet) -> list[nn.Module]:
    """The convolutions that :func:`prune` takes weights from: all but the depthwise ones."""
    return [
        module
        for module in model.modules()
        if isinstance(module, nn.Conv1d | nn.Conv2d) and module.weight.shape[1] > 1
    ]


def prune_channels(
    model: AudioUNet,
    sparsity: float,
    *,
    method: Method = "magnitude",
    round_to: int = 4,
    seed: int = 0,
) -> AudioUNet:
    """Remove a share of the channels of every level of the U-Net.

    Args:
        model: the network; it is not changed.
        sparsity: share of channels to remove, above 0 and below 1.
        method: ``"magnitude"`` removes the channels whose weights, batch norm folded in, have the
            smallest norm over all layers they run through; ``"random"`` any.
        round_to: remaining widths are multiples of this (runtimes compute in vectors), at least it;
            one that is the width of the fill's layers gets so much narrower still.
        seed: of the random choice.

    Returns:
        A narrower network with the remaining weights, in evaluation mode; it needs fine-tuning.

    Raises:
        ConfigError: an impossible value or an unknown method.
    """
    _check(sparsity, method)
    if round_to < 1:
        raise ConfigError(f"round_to: {round_to} is less than one")
    widths = model.config.channels
    wanted = [
        min(width, max(round_to, round(width * (1 - sparsity) / round_to) * round_to))
        for width in widths
    ]
    if fill := model.config.fill:  # whose width no level may have
        apart = -round_to if fill.width > round_to else round_to
        wanted = [
            min(width, count + apart) if count == fill.width else count
            for width, count in zip(widths, wanted, strict=True)
        ]
    if method == "magnitude":
        scores = _channel_norms(model)
    else:
        generator = torch.Generator().manual_seed(seed)
        scores = [torch.rand(width, generator=generator) for width in widths]
    kept = [
        score.topk(count).indices.sort().values for score, count in zip(scores, wanted, strict=True)
    ]
    config = model.config.model_dump() | {"widths": tuple(wanted)}
    narrow = AudioUNet(**config)
    weights = model.state_dict()
    for name, value in _choose(weights, model.config, kept):
        weights[name] = value
    narrow.load_state_dict(weights)
    return narrow.eval()


def _check(sparsity: float, method: str) -> None:
    if not 0 < sparsity < 1:
        raise ConfigError(f"sparsity: {sparsity} is not between 0 and 1")
    if method not in ("magnitude", "random"):
        raise ConfigError(f"method: {method!r} is neither 'magnitude' nor 'random'")


def _wiring(config: ModelConfig) -> Iterator[tuple[str, str, int, int | None]]:
    """Convolution, its batch norm, level of its outputs, level of its inputs (None: not pruned).

    A depthwise convolution has no inputs of its own: its channels go in and out.
    """
    last = config.depth - 1
    yield "embedding", "embedding_norm", 0, None
    for kind, levels in (
        ("encoder", [level for level in range(last) for _ in range(config.blocks)]),
        ("bottom", [last] * len(config.dilations)),
        ("decoder", [level for level in reversed(range(last)) for _ in range(config.blocks)]),
    ):
        for index, level in enumerate(levels):
            block = f"{kind}.{index}"
            yield f"{block}.depthwise", f"{block}.depthwise_norm", level, None
            yield f"{block}.pointwise", f"{block}.pointwise_norm", level, level
    for level in range(last):
        yield f"down.{level}.convolution", f"down.{level}.norm", level + 1, level
        step = last - 1 - level
        yield f"up.{step}.convolution", f"up.{step}.norm", level, level + 1


def _channel_norms(model: AudioUNet) -> list[Tensor]:
    """Per level and channel, the norm of all weights that only serve this channel."""
    core, config = model.core, model.config
    squares = [torch.zeros(width) for width in config.channels]
    for name, norm_name, outputs, inputs in _wiring(config):
        norm = core.get_submodule(norm_name)
        weight = core.get_submodule(name).weight.detach()
        gain = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
        square = (weight * gain.reshape(-1, *[1] * (weight.ndim - 1))).square()
        per_output = square.flatten(1).sum(dim=1)
        squares[outputs] += per_output.reshape(-1, config.channels[outputs]).sum(dim=0)
        if inputs is not None:
            squares[inputs] += square.sum(dim=(0, 2, 3))
    squares[0] += core.head.weight.detach().square().sum(dim=(0, 2))
    if config.gated:
        squares[0] += core.gate.weight.detach().square().sum(dim=(0, 2))
        context = core.gate_context.weight.detach().square().sum(dim=(0, 2))
        squares[-1] += context.reshape(config.channels[-1], -1).sum(dim=1)
    return [square.sqrt() for square in squares]


def _choose(
    weights: dict[str, Tensor], config: ModelConfig, kept: list[Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that changes, with only the channels that are kept at their level."""
    for name, norm, outputs, inputs in _wiring(config):
        width, chosen = config.channels[outputs], kept[outputs]
        weight = weights[f"core.{name}.weight"]
        groups = len(weight) // width  # the embedding has this level once per band
        rows = torch.cat([chosen + group * width for group in range(groups)])
        weight = weight[rows]
        yield f"core.{name}.weight", weight if inputs is None else weight[:, kept[inputs]]
        for part in ("weight", "bias", "running_mean", "running_var"):
            yield f"core.{norm}.{part}", weights[f"core.{norm}.{part}"][rows]
    yield "core.head.weight", weights["core.head.weight"][:, kept[0]]
    if config.gated:
        yield "core.gate.weight", weights["core.gate.weight"][:, kept[0]]
        context = weights["core.gate_context.weight"].unflatten(1, (config.channels[-1], -1))
        yield "core.gate_context.weight", context[:, kept[-1]].flatten(1, 2)
