"""Train the network on prepared pairs with Lightning: AdamW, warm-up and cosine, best checkpoint.

The run writes into its checkpoint folder: ``checkpoint_epoch_<n>_best.pth`` (the best epoch so far,
replaced when beaten), ``<preset>.safetensors`` (the same weights, replaced with it), ``last.ckpt``
(the state to resume from), ``log.csv`` (one row per epoch and condition), ``tensorboard`` (every
step, for ``tensorboard --logdir``), ``config.json`` and, when it is done, ``result.json``.

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
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import lightning
import pandas
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from pydantic import ValidationError

from enhancelib import provenance
from enhancelib.atomic import write_json
from enhancelib.checks import first_problem
from enhancelib.data.pairs import read_manifest
from enhancelib.errors import ConfigError, ModelError, StoppedError
from enhancelib.model.checkpoints import checkpoint_sha256, read_checkpoint
from enhancelib.model.network import PRESETS, AudioUNet
from enhancelib.train.loading import check_lengths, loader, open_pairs
from enhancelib.train.recorder import RunRecorder, WholeFiles
from enhancelib.train.task import Restorer, TrainingConfig, nearest_preset

_KEYS_OF_A_RUN = {"preset", "training_config", "manifest_sha256"}
"""Keys that the config.json of every run has, also of runs by earlier versions."""


@dataclass(frozen=True)
class TrainingResult:
    """What a run left behind.

    Attributes:
        checkpoint: the best epoch's ``.pth``.
        weights: the same as ``.safetensors``.
        log: CSV with the columns of :data:`enhancelib.train.recorder.LOG_COLUMNS`.
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


def train_model(
    manifest: str | Path,
    checkpoint_dir: str | Path,
    config: TrainingConfig | None = None,
    *,
    preset: str | None = None,
    sample_rate: int | None = None,
    start_from: str | Path | None = None,
    notes: dict[str, str] | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> TrainingResult:
    """Train on the pairs of a manifest; a run that was stopped is resumed.

    Args:
        manifest: ``manifest.csv`` of :func:`enhancelib.data.pairs.prepare`, with a train and a
            validation split, or what else :func:`open_pairs` opens.
        checkpoint_dir: where the run is kept.
        config: settings; the defaults if left out.
        preset: name of the weights file; the one nearest to the sample rate if left out.
        sample_rate: of the network in Hz; the pairs are resampled to it. If left out, that of
            ``start_from``, else of a known ``preset``, else of the pairs.
        start_from: checkpoint to fine-tune instead of an untrained network.
        notes: kept in the checkpoint beside what the run says of itself, such as whose music it
            learnt from.
        overwrite: start anew where the folder holds a finished run, or one with other settings; an
            unfinished one with these settings is resumed all the same.
        progress: show a bar.

    Raises:
        ConfigError: the folder holds a run with other settings, weights or a config.json of none,
            or ``start_from``; the sample rates of ``start_from``, ``preset`` and ``sample_rate``
            differ; or the training diverged.
        InputError: a split is empty.
        ModelError: ``start_from`` cannot be read.
    """
    config = config or TrainingConfig()
    folder = Path(checkpoint_dir)
    pairs = [open_pairs(manifest, split) for split in ("train", "validation")]
    start = None if start_from is None else AudioUNet.load(start_from)
    rates = _rates_asked_for(preset, sample_rate, start_from, start)
    rate = next(iter(rates.values()), pairs[0].sample_rate)
    for split in ("train", "validation"):
        check_lengths(open_pairs(manifest, split, sample_rate=rate), config)
    model_config = config.for_rate(rate) if start is None else start.config
    conditions = sorted({name for part in pairs for name in part.conditions})
    preset = preset or nearest_preset(rate)
    facts = {
        "preset": preset,
        "training_config": config.model_dump_json(),
        "manifest_sha256": checkpoint_sha256(pairs[0].table),
        "start_sha256": "" if start_from is None else checkpoint_sha256(start_from),
        "sample_rate": str(rate),
    }
    if rank_zero_only.rank == 0:  # of several processes, the first one keeps the books
        if start_from is not None and Path(start_from).resolve().parent == folder.resolve():
            raise ConfigError(f"{start_from}: lies in the run's own folder; name another one")
        _claim(folder, facts, overwrite=overwrite)
    with quiet_lightning(), _interruptible():
        lightning.seed_everything(config.seed, workers=True, verbose=False)
        model = AudioUNet(**model_config.model_dump()) if start is None else start.train()
        # Depthwise convolutions train twice as fast in this layout.
        task = Restorer(model.to(memory_format=torch.channels_last), config, conditions)
        origin = {"commit": provenance.commit()}
        recorder = RunRecorder(folder, preset, (notes or {}) | facts | origin, progress=progress)
        resume_point = ModelCheckpoint(
            folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False
        )
        loggers: list[Logger] = [_tensorboard(folder)]
        if config.use_wandb:
            loggers.append(WandbLogger(project="enhancelib", save_dir=folder))
        trainer = _trainer(config, callbacks=[recorder, resume_point], logger=loggers)
        loaders = [
            loader(manifest, split, config, conditions, rate, trainer)
            for split in ("train", "validation")
        ]
        trainer.fit(task, *loaders, ckpt_path=_resume_point(folder), weights_only=True)
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
        write_json(folder / "result.json", recorder.state_dict())
    return result


def held_out_loss(
    weights: str | Path, manifest: str | Path, *, split: str = "test"
) -> pandas.DataFrame:
    """Loss of a checkpoint on one split, beside the loss of the untreated input.

    The loss is the one the checkpoint was trained with, the default one where it does not say.

    Returns:
        One row per condition, with columns ``condition``, ``loss`` and ``untreated``.

    Raises:
        ModelError: the checkpoint is damaged, or its training had settings that are unknown here.
    """
    facts, _ = read_checkpoint(weights)
    try:
        config = TrainingConfig.model_validate_json(facts.get("training_config", "{}"))
    except ValidationError as error:
        raise ModelError(
            f"{weights}: was trained with settings of another version ({first_problem(error)}); "
            "install the version that trained it"
        ) from None
    conditions = sorted(read_manifest(manifest)["condition"].unique())
    task = Restorer(AudioUNet.load(weights), config, conditions)
    rate = task.model.config.sample_rate
    with quiet_lightning():
        trainer = _trainer(config)
        batches = loader(manifest, split, config, conditions, rate, trainer)
        trainer.validate(task, batches, verbose=False)
    rows = [(name, *pair) for name, pair in task.validation_table().items()]
    return pandas.DataFrame(rows, columns=["condition", "loss", "untreated"])


def _rates_asked_for(
    preset: str | None,
    sample_rate: int | None,
    start_from: str | Path | None,
    start: AudioUNet | None,
) -> dict[str, int]:
    """Collect the sample rates asked for: the argument or file that asks → its rate in Hz.

    Raises:
        ConfigError: two of them differ.
    """
    rates = {}
    if start is not None:
        rates[str(start_from)] = start.config.sample_rate
    if sample_rate:
        rates["sample_rate"] = sample_rate
    if preset in PRESETS:
        rates[f"preset {preset}"] = PRESETS[preset].sample_rate
    if len(set(rates.values())) > 1:
        found = ", ".join(f"{name}: {rate} Hz" for name, rate in rates.items())
        raise ConfigError(f"{found}; they must agree: change or leave out preset or sample_rate")
    return rates


def _tensorboard(folder: Path) -> TensorBoardLogger:
    """Every step, for ``tensorboard --logdir``.

    TensorBoard imports TensorFlow, seconds and hundreds of MB, only to write its files, unless a
    module of this name says that there is none.
    """
    sys.modules.setdefault("tensorboard.compat.notf", ModuleType("notf"))
    return TensorBoardLogger(folder, name="tensorboard", version="")


def _claim(folder: Path, settings: dict[str, str], *, overwrite: bool) -> None:
    """Make the folder ours for these settings, or refuse; an unfinished run stays to be resumed."""
    path = folder / "config.json"
    found = _settings_of(path)
    known = found and {"sample_rate": settings["sample_rate"]} | found  # earlier ones did not say
    if known == settings and not (overwrite and (folder / "result.json").exists()):
        return
    if found and not overwrite:
        raise ConfigError(
            f"{path}: this folder holds a run with other settings; name another checkpoint "
            "folder or pass overwrite to replace it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    ours = {f"{run['preset']}.safetensors" for run in (settings, found) if run}
    ours |= {"result.json", "last.ckpt", "log.csv", "tensorboard"}
    older = [*folder.glob("checkpoint_epoch_*_best.pth"), *map(folder.joinpath, sorted(ours))]
    older = [file for file in older if file.exists()]
    if older and not found and not overwrite:
        raise ConfigError(
            f"{older[0]}: not of a run that could go on; name another checkpoint folder or pass "
            "overwrite to replace it"
        )
    for file in older:
        if file.is_dir():
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink()
    write_json(path, settings)


def _settings_of(path: Path) -> dict[str, str]:
    """The settings that a run left in its config.json; none where there is no such file.

    Raises:
        ConfigError: the file cannot be read, or is of something else.
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not found.keys() >= _KEYS_OF_A_RUN:
        raise ConfigError(f"{path}: is not of a training run; name another checkpoint folder")
    return found


def _resume_point(folder: Path) -> Path | None:
    """The state that a run left, if any.

    Raises:
        ConfigError: it is damaged.
    """
    path = folder / "last.ckpt"
    if not path.exists():
        return None
    try:
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # every damage has an exception of its own
        reason = type(error).__name__
        raise ConfigError(
            f"{path}: is damaged and cannot be resumed ({reason}); delete it to begin anew"
        ) from None
    return path


def launched() -> tuple[int, int]:
    """How many processes train together, and how many of them on this machine.

    ``torchrun`` and SLURM's ``srun`` say so in the environment, each by names of its own.
    """
    names = os.environ
    if "WORLD_SIZE" in names:
        return int(names["WORLD_SIZE"]), int(names.get("LOCAL_WORLD_SIZE", names["WORLD_SIZE"]))
    processes = int(names.get("SLURM_NTASKS", 1))
    nodes = int(names.get("SLURM_NNODES", names.get("SLURM_JOB_NUM_NODES", 1)))
    return processes, int(names.get("SLURM_NTASKS_PER_NODE", max(1, processes // nodes)))


def _trainer(
    config: TrainingConfig,
    *,
    callbacks: Sequence[Callback] = (),
    logger: Sequence[Logger] = (),
) -> lightning.Trainer:
    processes, here = launched()
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
        plugins=[WholeFiles()],
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's hardware banner and advice that does not apply.

    Loaders need no workers, since pairs are read ten times as fast as they are eaten; the folder is
    checked by us; a fill is in evaluation mode on purpose; the deprecation is inside Lightning 2.6
    with torch 2.13.
    """
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            warnings.filterwarnings("ignore", "Found .* in eval mode at the start of training")
            warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty.*")
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
            yield
    finally:
        log.setLevel(level)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Signals end the run as they end others, though Lightning takes them for itself.

    It would end the process at Ctrl-C and leave it deaf to a second one, and with status 0, as if
    it had trained, at SIGTERM.
    """
    try:
        yield
    except SystemExit as stop:
        if stop.code is None:
            raise StoppedError(signal.SIGTERM) from None
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None
