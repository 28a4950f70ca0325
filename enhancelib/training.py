"""Train the network on prepared pairs with Lightning: AdamW, warm-up and cosine, best checkpoint.

The run writes into its checkpoint folder: ``checkpoint_epoch_<n>_best.pth`` (the best epoch so far,
replaced when beaten), ``<preset>.safetensors`` (the same weights, at the end), ``last.ckpt`` (the
state to resume from), ``log.csv`` (one row per epoch and condition), ``tensorboard`` (every step,
for ``tensorboard --logdir``), ``config.json`` and, when it is done, ``result.json``.

Several processes, on one machine or many, train one network when they are started together, by
``torchrun --nproc-per-node 2 -m enhancelib train …`` or by SLURM's ``srun``: each takes its share
of every epoch (``batch_size`` is that of one process) and gradients are averaged. In training, a
batch norm takes the statistics of its own process's share; the running ones that are saved are
those of the first process.
"""

import json
import logging
import os
import shutil
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
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Subset

from enhancelib import provenance
from enhancelib.cache import CachedPairs
from enhancelib.checkpoints import checkpoint_sha256, read_checkpoint
from enhancelib.data import PairDataset, read_manifest
from enhancelib.errors import ConfigError
from enhancelib.model import AudioUNet
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
        ConfigError: the folder holds a run with other settings or weights of none, or
            ``start_from``; a split is empty; or the training diverged.
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
        "start_sha256": "" if start_from is None else checkpoint_sha256(start_from),
    }
    for split in ("train", "validation"):
        PairDataset(manifest, split)  # refuses an empty one before anything is written
    if rank_zero_only.rank == 0:  # of several processes, the first one keeps the books
        if start_from is not None and Path(start_from).resolve().parent == folder.resolve():
            raise ConfigError(f"{start_from}: lies in the run's own folder; name another one")
        _claim(folder, facts, overwrite=overwrite)
    with quiet_lightning(), _interruptible():
        lightning.seed_everything(config.seed, workers=True, verbose=False)
        if start_from is None:
            model = AudioUNet(**model_config.model_dump())
        else:
            model = AudioUNet.load(start_from).train()
        # Depthwise convolutions train twice as fast in this layout.
        task = Restorer(model.to(memory_format=torch.channels_last), config, conditions)
        origin = {"commit": provenance.commit()}
        recorder = RunRecorder(folder, preset, facts | origin, progress=progress)
        resume_point = ModelCheckpoint(
            folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False
        )
        loggers: list[Logger] = [TensorBoardLogger(folder, name="tensorboard", version="")]
        if config.use_wandb:
            loggers.append(WandbLogger(project="enhancelib", save_dir=folder))
        trainer = _trainer(config, callbacks=[recorder, resume_point], logger=loggers)
        loaders = [
            _loader(manifest, split, config, conditions, model_config.sample_rate, trainer)
            for split in ("train", "validation")
        ]
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
    if trainer.is_global_zero:
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
    rate = task.model.config.sample_rate
    with quiet_lightning():
        trainer = _trainer(config)
        loader = _loader(manifest, split, config, conditions, rate, trainer)
        trainer.validate(task, loader, verbose=False)
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
    older = [file for pattern in ours for file in folder.glob(pattern)]
    if older and not path.exists() and not overwrite:
        raise ConfigError(
            f"{older[0]}: not of a run that could go on; name another checkpoint folder or pass "
            "overwrite to replace it"
        )
    for file in older:
        file.unlink()
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    path.write_text(json.dumps(settings, indent=1))


def _loader(
    manifest: str | Path,
    split: str,
    config: TrainingConfig,
    conditions: list[str],
    sample_rate: int,
    trainer: lightning.Trainer,
) -> DataLoader:
    """Batches of one split, or of this process's share of it."""
    downmix = "varied" if split == "train" else "mean"
    pairs = CachedPairs(manifest, split, downmix=downmix, sample_rate=sample_rate)
    dataset = LabelledPairs(pairs, conditions)
    processes, rank = trainer.world_size, trainer.global_rank
    if split != "train":  # every item once, though the shares may differ in size by one
        share = Subset(dataset, range(rank, len(dataset), processes))
        return DataLoader(share, batch_size=config.batch_size)
    # Shuffles by (seed, epoch), so that a resumed run sees the order an uninterrupted one would.
    sampler = DistributedSampler(
        dataset, num_replicas=processes, rank=rank, seed=config.seed, drop_last=processes > 1
    )
    return DataLoader(dataset, batch_size=config.batch_size, sampler=sampler)


def _trainer(
    config: TrainingConfig,
    *,
    callbacks: Sequence[Callback] = (),
    logger: Sequence[Logger] = (),
) -> lightning.Trainer:
    # Set by torchrun and srun, of which Lightning takes the rest.
    here = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("SLURM_NTASKS_PER_NODE", 1)))
    processes = int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", here)))
    return lightning.Trainer(
        accelerator="auto",
        devices=here,
        num_nodes=max(1, processes // here),
        strategy="ddp" if processes > 1 else "auto",
        use_distributed_sampler=False,
        max_epochs=config.epochs,
        limit_train_batches=config.epoch_steps,
        gradient_clip_val=config.gradient_clip,
        logger=list(logger),
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
