"""Train the network on prepared pairs with Lightning: AdamW, warm-up and cosine, best checkpoint.

The run writes into its checkpoint folder: ``checkpoint_epoch_<n>_best.pth`` (the best epoch so far,
replaced when beaten), ``<preset>.safetensors`` (the same weights, at the end), ``last.ckpt`` (the
state to resume from), ``log.csv`` (one row per epoch and condition), ``config.json`` and, when it
is done, ``result.json``.
"""

import json
import logging
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lightning
import pandas
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import Logger, WandbLogger
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from enhancelib.cache import CachedPairs
from enhancelib.data import read_manifest
from enhancelib.errors import ConfigError
from enhancelib.model import AudioUNet, checkpoint_sha256, read_checkpoint
from enhancelib.recorder import RunRecorder
from enhancelib.restoration import Restorer, TrainingConfig


@dataclass(frozen=True)
class TrainingResult:
    """What a run left behind.

    Attributes:
        checkpoint: the best epoch's ``.pth``.
        weights: the same as ``.safetensors``.
        log: CSV with the columns of :data:`enhancelib.recorder.LOG_COLUMNS`.
        best_epoch: counted from zero.
        best_loss: validation loss of that epoch, mean over conditions.
        untreated_loss: the same loss of the untreated input.
    """

    checkpoint: Path
    weights: Path
    log: Path
    best_epoch: int
    best_loss: float
    untreated_loss: float


class LabelledPairs(Dataset):
    """(lossy, lossless, index of the condition) of pairs."""

    def __init__(self, pairs: CachedPairs, conditions: list[str]):
        self.pairs = pairs
        self.conditions = [conditions.index(row["condition"]) for row in pairs.rows]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        return *self.pairs[index], self.conditions[index]


def train_model(
    manifest: str | Path,
    checkpoint_dir: str | Path,
    config: TrainingConfig | None = None,
    *,
    preset: str | None = None,
    sample_rate: int | None = None,
    start_from: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> TrainingResult:
    """Train on the pairs of a manifest; a run that was stopped is resumed.

    Args:
        manifest: ``manifest.csv`` of :func:`enhancelib.data.prepare`, with a train and a
            validation split.
        checkpoint_dir: where the run is kept.
        config: settings; the defaults if left out.
        preset: name of the weights file; chosen by the sample rate if left out.
        sample_rate: of the network in Hz; the pairs are resampled to it. Theirs if left out.
        start_from: checkpoint to fine-tune instead of an untrained network.
        overwrite: start anew where the folder holds a finished run, or one with other settings.
        progress: show a bar.

    Raises:
        ConfigError: the folder holds a run with other settings, a split is empty, or the training
            diverged.
    """
    config = config or TrainingConfig()
    folder = Path(checkpoint_dir)
    pairs = read_manifest(manifest)
    model_config = config.for_rate(sample_rate or int(pairs["sample_rate"].iloc[0]))
    conditions = sorted(pairs["condition"].unique())
    if preset is None:
        preset = "seed-22k" if model_config.sample_rate <= 32000 else "fullband-44k"
    facts = {
        "preset": preset,
        "training_config": config.model_dump_json(),
        "manifest_sha256": checkpoint_sha256(manifest),
    }
    loaders = [
        _loader(manifest, split, config, conditions, model_config.sample_rate)
        for split in ("train", "validation")
    ]
    _claim(folder, facts | {"start_from": str(start_from)}, overwrite=overwrite)
    with quiet_lightning(), _interruptible():
        lightning.seed_everything(config.seed, workers=True, verbose=False)
        if start_from is None:
            model = AudioUNet(**model_config.model_dump())
        else:
            model = AudioUNet.load(start_from).train()
        # Depthwise convolutions train twice as fast in this layout.
        task = Restorer(model.to(memory_format=torch.channels_last), config, conditions)
        recorder = RunRecorder(folder, preset, facts, progress=progress)
        resume_point = ModelCheckpoint(
            folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False
        )
        logger = WandbLogger(project="enhancelib", save_dir=folder) if config.use_wandb else False
        trainer = _trainer(config, callbacks=[recorder, resume_point], logger=logger)
        last = folder / "last.ckpt"
        trainer.fit(
            task,
            *loaders,
            ckpt_path=last if last.exists() else None,
            weights_only=True,
        )
    if recorder.best_epoch < 0:
        raise ConfigError(
            f"{folder}: the loss is no number in any epoch; lower learning_rate "
            f"({config.learning_rate}) and pass overwrite to start anew"
        )
    result = TrainingResult(
        checkpoint=recorder.checkpoint,
        weights=folder / f"{preset}.safetensors",
        log=folder / "log.csv",
        best_epoch=recorder.best_epoch,
        best_loss=recorder.best_loss,
        untreated_loss=recorder.untreated_loss,
    )
    (folder / "result.json").write_text(json.dumps(recorder.state_dict(), indent=1))
    return result


def held_out_loss(
    weights: str | Path, manifest: str | Path, *, split: str = "test"
) -> pandas.DataFrame:
    """Loss of a checkpoint on one split, beside the loss of the untreated input.

    The loss is the one the checkpoint was trained with, the default one where it does not say.

    Returns:
        One row per condition: ``condition``, ``loss``, ``untreated``.
    """
    facts, _ = read_checkpoint(weights)
    config = TrainingConfig.model_validate_json(facts.get("training_config", "{}"))
    conditions = sorted(read_manifest(manifest)["condition"].unique())
    task = Restorer(AudioUNet.load(weights), config, conditions)
    loader = _loader(manifest, split, config, conditions, task.model.config.sample_rate)
    with quiet_lightning():
        _trainer(config).validate(task, loader, verbose=False)
    rows = [(name, *pair) for name, pair in task.validation_table().items()]
    return pandas.DataFrame(rows, columns=["condition", "loss", "untreated"])


def _claim(folder: Path, settings: dict[str, str], *, overwrite: bool) -> None:
    """Make the folder ours for these settings, or refuse; an unfinished run stays to be resumed."""
    path = folder / "config.json"
    same = path.exists() and json.loads(path.read_text()) == settings
    if same and not (overwrite and (folder / "result.json").exists()):
        return
    if path.exists() and not overwrite:
        raise ConfigError(
            f"{path}: this folder holds a run with other settings; name another checkpoint "
            "folder or pass overwrite to replace it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    ours = ("result.json", "checkpoint_epoch_*_best.pth", "*.safetensors", "last.ckpt", "log.csv")
    for file in (file for pattern in ours for file in folder.glob(pattern)):
        file.unlink()
    path.write_text(json.dumps(settings, indent=1))


def _loader(
    manifest: str | Path,
    split: str,
    config: TrainingConfig,
    conditions: list[str],
    sample_rate: int,
) -> DataLoader:
    downmix = "varied" if split == "train" else "mean"
    pairs = CachedPairs(manifest, split, downmix=downmix, sample_rate=sample_rate)
    dataset = LabelledPairs(pairs, conditions)
    if split != "train":
        return DataLoader(dataset, batch_size=config.batch_size)
    # Shuffles by (seed, epoch), so that a resumed run sees the order an uninterrupted one would.
    sampler = DistributedSampler(dataset, num_replicas=1, rank=0, seed=config.seed)
    return DataLoader(dataset, batch_size=config.batch_size, sampler=sampler)


def _trainer(
    config: TrainingConfig,
    *,
    callbacks: Sequence[Callback] = (),
    logger: Logger | bool = False,
) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator="auto",
        devices=1,
        max_epochs=config.epochs,
        gradient_clip_val=config.gradient_clip,
        logger=logger,
        log_every_n_steps=1,
        enable_checkpointing=bool(callbacks),
        callbacks=list(callbacks),
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's hardware banner and advice that does not apply.

    Loaders need no workers, since pairs are read from memory; the folder is checked by us; the
    deprecation is inside Lightning 2.6 with torch 2.13.
    """
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty.*")
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
            yield
    finally:
        log.setLevel(level)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C stays Ctrl-C: Lightning ends the process and leaves it deaf to a second one."""
    try:
        yield
    except SystemExit as stop:
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None
