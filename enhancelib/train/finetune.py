"""Train a finished network a little further: after pruning, or with 8-bit arithmetic in mind.

Both take the training step, the losses and the augmentation of :mod:`enhancelib.train.task`.
"""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from enhancelib.errors import ConfigError
from enhancelib.model.network import AudioUNet
from enhancelib.model.spectra import Spectra
from enhancelib.train.loading import LabelledPairs, check_lengths, open_pairs
from enhancelib.train.run import quiet_lightning
from enhancelib.train.task import Restorer, TrainingConfig


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
        manifest: what :func:`enhancelib.train.run.open_pairs` opens; the train split is used.
        config: settings of the training; epochs are not used. Default: those of
            :class:`~enhancelib.train.task.TrainingConfig` with a third of the learning rate.
        steps: batches.
        teacher: network whose output to come close to, in place of the original music: what was
            pruned learns to do again what it did before (Hinton et al., arXiv:1503.02531).
        keep_zeros: whether weights that are zero stay so, as after
            :func:`enhancelib.optimize.compression.prune`.
        progress: show a bar.

    Returns:
        The tuned copy, in evaluation mode.

    Raises:
        ConfigError: ``steps`` is not positive, or the crops are too short.
        InputError: the pairs are too short.
    """
    tuned = copy.deepcopy(model).train()
    callbacks = [_KeepZeros(tuned)] if keep_zeros else []
    title = "fine-tuning" if progress else ""
    return fit(tuned, manifest, config, steps, callbacks, title, teacher=teacher)


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
        """Compute the loss of an estimate against what the teacher makes of the input.

        Args:
            estimate: waves (batch, 1, samples).
            reference: the originals, which are not looked at; every loss takes them.
            untreated: the input of teacher and student.

        Returns:
            A scalar, as of :class:`enhancelib.model.losses.CombinedLoss`.
        """
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


def fit(
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
    check_lengths(pairs, config)
    conditions = sorted(set(pairs.conditions))
    dataset = LabelledPairs(pairs, conditions)
    order = torch.Generator().manual_seed(config.seed)
    loader = DataLoader(dataset, batch_size=config.batch_size, shuffle=True, generator=order)
    if teacher is not None:  # the gate's own goal comes from the original, which is none here
        loss = config.loss.model_copy(update={"gate": 0.0})
        config = config.model_copy(update={"loss": loss})
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
