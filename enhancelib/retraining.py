"""Train a finished network a little further: after pruning, or with 8-bit arithmetic in mind.

Both take the training step, the losses and the augmentation of :mod:`enhancelib.restoration`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.data import DataLoader
from tqdm import tqdm

from enhancelib.blocks import BandScale, CausalBlock, TemporalBlock
from enhancelib.calibration import LayerRange, Range
from enhancelib.errors import ConfigError, ModelError
from enhancelib.model import AudioUNet
from enhancelib.restoration import Restorer, TrainingConfig
from enhancelib.spectra import Spectra
from enhancelib.training import LabelledPairs, open_pairs, quiet_lightning

LEVELS = 256
"""Steps of an 8-bit activation."""


def fine_tune(
    model: AudioUNet,
    manifest: str | Path,
    config: TrainingConfig | None = None,
    *,
    steps: int,
    teacher: AudioUNet | None = None,
    keep_zeros: bool = False,
    progress: bool = True,
) -> AudioUNet:
    """Train a copy of a network for some steps more.

    Args:
        model: the network; it is not changed.
        manifest: what :func:`enhancelib.training.open_pairs` opens; the train split is used.
        config: settings of the training; epochs are not used. Default: those of
            :class:`~enhancelib.restoration.TrainingConfig` with a third of the learning rate.
        steps: batches.
        teacher: network whose output to come close to, in place of the original music: what was
            pruned learns to do again what it did before (Hinton et al., arXiv:1503.02531).
        keep_zeros: whether weights that are zero stay so, as after
            :func:`enhancelib.compression.prune`.
        progress: show a bar.

    Returns:
        The tuned copy, in evaluation mode.

    Raises:
        ConfigError: ``steps`` is not positive.
    """
    tuned = copy.deepcopy(model).train()
    callbacks = [_KeepZeros(tuned)] if keep_zeros else []
    title = "fine-tuning" if progress else ""
    return _fit(tuned, manifest, config, steps, callbacks, title, teacher=teacher)


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

    Weights and activations are rounded as :func:`~enhancelib.quantisation.quantize_static` will
    round them, with the same ranges; the gradient passes through as if they were not (Jacob et al.,
    arXiv:1712.05877). Batch norm keeps its statistics, as it does in the exported file. The goal is
    the output of the network as it was, in float (Mishra & Marr, arXiv:1711.05852): nothing else is
    to change.

    Args:
        model: the network; it is not changed.
        manifest: as for :func:`fine_tune`.
        ranges: of this network, from :func:`enhancelib.compression.calibrate`; use them for the
            result too.
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
        return _fit(tuned, manifest, config, steps, [], title, teacher=model)


@contextmanager
def rounding(model: AudioUNet, ranges: Sequence[LayerRange]) -> Iterator[None]:
    """Let a network compute with weights and activations rounded to 8 bits, for a while.

    Raises:
        ModelError: the ranges are those of another network.
    """
    layers = {layer.name: layer for layer in ranges}
    convolutions = {name: module for name, module in model.named_modules() if name in layers}
    if len(convolutions) < len(layers) or any(
        tuple(module.weight.shape) != layers[name].shape for name, module in convolutions.items()
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
    if isinstance(module, TemporalBlock):
        temporal, pointwise = layers[f"{name}.temporal"], layers[f"{name}.pointwise"]
        return [
            _round_input(module, temporal.input),
            _round_input(module.pointwise, pointwise.input),
            _round_output(module.pointwise_norm, pointwise.output),
        ]
    if isinstance(module, BandScale):
        layer = layers[f"{name}.convolution"]
        return [_round_input(module, layer.input), _round_output(module, (0.0, layer.output[1]))]
    return []


def _round_input(module: nn.Module, limits: Range):
    return module.register_forward_pre_hook(
        lambda _, inputs: (_rounded(inputs[0], limits), *inputs[1:])
    )


def _round_output(module: nn.Module, limits: Range):
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
        """Any convolution's weight, same shape out."""
        scale = weight.detach().flatten(1).abs().amax(dim=1).clamp(min=1e-12) / 127
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -127, 127)


class _KeepZeros(Callback):
    """After every step, weights that were zero at the beginning are zero again."""

    def __init__(self, model: AudioUNet):
        self._zeros = {
            module: module.weight == 0
            for module in model.modules()
            if isinstance(module, nn.modules.conv._ConvNd)
        }

    def on_train_batch_end(self, *unused: object) -> None:
        """Lightning's hook after a step."""
        with torch.no_grad():
            for module, zeros in self._zeros.items():
                module.weight[zeros.to(module.weight.device)] = 0


class _Imitation(nn.Module):
    """A loss towards a teacher's output in place of the original."""

    def __init__(self, loss: nn.Module, teacher: AudioUNet):
        super().__init__()
        self.loss, self.teacher = loss, copy.deepcopy(teacher).eval().requires_grad_(False)

    def forward(
        self, estimate: Tensor | Spectra, reference: Tensor | Spectra, untreated: Tensor | Spectra
    ) -> Tensor:
        """As :class:`enhancelib.losses.CombinedLoss`; the reference is not looked at."""
        return self.loss(estimate, self.teacher(Spectra.of(untreated).wave), untreated)


class _Bar(Callback):
    """Progress in plain tqdm."""

    def __init__(self, title: str, steps: int):
        self._bar = tqdm(total=steps, desc=title, unit="step", dynamic_ncols=True)

    def on_train_batch_end(self, *unused: object) -> None:
        """Lightning's hook after a step."""
        self._bar.update()

    def on_train_end(self, *unused: object) -> None:
        """Lightning's hook at the end."""
        self._bar.close()


def _fit(
    model: AudioUNet,
    manifest: str | Path,
    config: TrainingConfig | None,
    steps: int,
    callbacks: list[Callback],
    title: str,
    *,
    teacher: AudioUNet | None = None,
) -> AudioUNet:
    """Run the training step ``steps`` times on the train split; a title shows a progress bar."""
    if steps < 1:
        raise ConfigError(f"steps: {steps} is less than one")
    defaults = TrainingConfig()
    config = config or TrainingConfig(learning_rate=defaults.learning_rate / 3)
    rate = model.config.sample_rate
    pairs = open_pairs(manifest, "train", downmix="varied", sample_rate=rate)
    conditions = sorted(set(pairs.conditions))
    dataset = LabelledPairs(pairs, conditions)
    order = torch.Generator().manual_seed(config.seed)
    loader = DataLoader(dataset, batch_size=config.batch_size, shuffle=True, generator=order)
    task = Restorer(model, config, conditions)
    if teacher is not None:
        task.loss = _Imitation(task.loss, teacher)
    with quiet_lightning(), warnings.catch_warnings():
        # Nothing is validated here; and 8-bit training keeps batch norm in evaluation mode.
        warnings.filterwarnings("ignore", "You defined a `validation_step` but have no")
        warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode at the start")
        lightning.seed_everything(config.seed, workers=True, verbose=False)
        lightning.Trainer(
            accelerator="auto",
            devices=1,
            max_steps=steps,
            gradient_clip_val=config.gradient_clip,
            callbacks=[*callbacks, _Bar(title, steps)] if title else callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
        ).fit(task, loader)
    return model.eval()
