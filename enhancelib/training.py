"""Train the network on prepared pairs with Lightning: AdamW, warm-up and cosine, best checkpoint.

The run writes into its checkpoint folder: ``checkpoint_epoch_<n>_best.pth`` (the best epoch so far,
replaced when beaten), ``<preset>.safetensors`` (the same weights, at the end), ``last.ckpt`` (the
state to resume from), ``log.csv`` (one row per epoch and condition), ``config.json`` and, when it
is done, ``result.json``.
"""

import csv
import json
import logging
import math
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import lightning
import pandas
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import Logger, WandbLogger
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from tqdm import tqdm

from enhancelib.data import PairDataset, read_manifest
from enhancelib.errors import ConfigError
from enhancelib.losses import CombinedLoss, LossWeights
from enhancelib.model import (
    PRESETS,
    AudioUNet,
    ModelConfig,
    checkpoint_sha256,
    read_checkpoint,
)

LOG_COLUMNS = ("epoch", "step", "learning_rate", "split", "condition", "loss", "untreated")


class TrainingConfig(BaseModel):
    """Settings of one training run; the first seven are the keys of the seed's config.json.

    Attributes:
        base_channels, depth, dropout: see :class:`enhancelib.model.ModelConfig`.
        batch_size: segments per step.
        epochs: passes over the training pairs.
        learning_rate: peak of the schedule, for AdamW (Loshchilov & Hutter, arXiv:1711.05101).
        use_wandb: also log to Weights & Biases (``WANDB_MODE=offline`` keeps it local).
        warmup: share of the steps over which the rate rises; it then falls along a cosine.
        weight_decay: of AdamW.
        gradient_clip: largest norm of the gradient.
        crop_seconds: length cut at random from each pair, in seconds.
        gain_db: pairs are scaled by a random gain up to this far in either direction.
        noise_probability: share of the inputs that get white noise at 10 to 40 dB SNR.
        stretch: largest relative change of speed, applied to both sides of a pair.
        loss: weights of the loss terms.
        seed: of weights, order, crops and augmentation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_channels: int = Field(32, ge=4, le=256)
    depth: int = Field(4, ge=2, le=6)
    dropout: float = Field(0.1, ge=0.0, lt=1.0)
    batch_size: int = Field(16, ge=1)
    epochs: int = Field(100, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    use_wandb: bool = False
    warmup: float = Field(0.05, ge=0, le=1)
    weight_decay: float = Field(1e-2, ge=0)
    gradient_clip: float = Field(1.0, gt=0)
    crop_seconds: float = Field(1.0, gt=0)
    gain_db: float = Field(6.0, ge=0)
    noise_probability: float = Field(0.1, ge=0, le=1)
    stretch: float = Field(0.05, ge=0, lt=0.5)
    loss: LossWeights = LossWeights()
    seed: int = 0

    @classmethod
    def from_json(cls, path: str | Path) -> Self:
        """Read a config.json.

        Raises:
            ConfigError: not JSON, an unknown key or an impossible value; the file, the key and
                what is allowed are named.
        """
        path = Path(path)
        try:
            return cls.model_validate(json.loads(path.read_text()))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}; name an existing config file") from None
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(str(part) for part in problem["loc"])
            hint = ""
            if problem["type"] == "extra_forbidden":
                hint = f"; known keys: {', '.join(cls.model_fields)}"
            raise ConfigError(f"{path}: {key}: {problem['msg']}{hint}") from None
        except ValueError as error:
            raise ConfigError(f"{path}: not valid JSON ({error})") from None

    def for_rate(self, sample_rate: int) -> ModelConfig:
        """The network of this run for audio at ``sample_rate``: the geometry of the nearest preset.

        Raises:
            ConfigError: the combination is impossible.
        """
        nearest = min(
            PRESETS.values(), key=lambda preset: abs(math.log(preset.sample_rate / sample_rate))
        )
        chosen = self.model_dump(include={"base_channels", "depth", "dropout"})
        return AudioUNet(**{**nearest.model_dump(), "sample_rate": sample_rate, **chosen}).config


@dataclass(frozen=True)
class TrainingResult:
    """What a run left behind.

    Attributes:
        checkpoint: the best epoch's ``.pth``.
        weights: the same as ``.safetensors``.
        log: CSV with the columns of :data:`LOG_COLUMNS`.
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


class Restorer(lightning.LightningModule):
    """The training task: batches of (lossy, lossless) pairs, a schedule, a validation table."""

    def __init__(self, model: AudioUNet, config: TrainingConfig, conditions: list[str]):
        super().__init__()
        self.model = model
        self.config = config
        self.conditions = conditions
        self.loss = CombinedLoss(config.loss)
        self.sums: dict[str, list[float]] = {}
        self.training_losses: list[float] = []

    def on_train_batch_start(self, batch: object, index: int) -> None:
        """Draw each step's crops, augmentation and dropout from a seed of its own.

        So a resumed run draws what an uninterrupted one would have drawn.
        """
        torch.manual_seed(self.config.seed * 1_000_003 + self.global_step)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], index: int) -> Tensor:
        """Loss of one batch after augmentation."""
        crop = round(self.config.crop_seconds * self.model.config.sample_rate)
        untreated, reference = augment(batch[0], batch[1], self.config, crop_samples=crop)
        loss = self.loss(self.model(untreated), reference, untreated)
        self.training_losses.append(loss.item())
        self.log("loss", loss, prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the sums of the last round."""
        self.sums = {name: [0.0, 0.0, 0.0] for name in self.conditions}

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], index: int) -> None:
        """Add every item's loss, enhanced and untreated, to its condition's sum."""
        untreated, reference, condition = batch
        enhanced = self.model(untreated)
        for item, which in enumerate(condition.tolist()):
            one = slice(item, item + 1)
            sums = self.sums[self.conditions[which]]
            sums[0] += self.loss(enhanced[one], reference[one], untreated[one]).item()
            sums[1] += self.loss(untreated[one], reference[one], untreated[one]).item()
            sums[2] += 1

    def on_validation_epoch_end(self) -> None:
        """Publish the mean over conditions, by which the best epoch is chosen."""
        table = self.validation_table()
        self.log("validation_loss", sum(loss for loss, _ in table.values()) / len(table))

    def validation_table(self) -> dict[str, tuple[float, float]]:
        """Condition → (loss, untreated loss) of the last validation round."""
        return {
            name: (loss / count, untreated / count)
            for name, (loss, untreated, count) in self.sums.items()
            if count
        }

    def configure_optimizers(self) -> dict:
        """AdamW; linear warm-up, then a cosine down to zero (arXiv:1608.03983)."""
        optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
        )
        total = int(self.trainer.estimated_stepping_batches)
        rising = max(1, round(self.config.warmup * total))

        def factor(step: int) -> float:
            if step < rising:
                return (step + 1) / rising
            return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def augment(
    untreated: Tensor, reference: Tensor, config: TrainingConfig, *, crop_samples: int
) -> tuple[Tensor, Tensor]:
    """Vary a batch of pairs, (batch, 1, samples) each, so that each pair stays a pair.

    A random crop of ``crop_samples``, gain, polarity and speed act on both sides alike; noise is
    one more loss, so it is added to the input only. Randomness comes from torch's generator.
    """
    starts = torch.randint(max(1, untreated.shape[2] - crop_samples + 1), (len(untreated),))
    untreated, reference = (
        torch.stack(
            [item[:, at : at + crop_samples] for item, at in zip(wave, starts, strict=True)]
        )
        for wave in (untreated, reference)
    )
    size, device = (len(untreated), 1, 1), untreated.device

    def uniform(low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(size)).to(device)

    gain = 10 ** (uniform(-config.gain_db, config.gain_db) / 20) * uniform(-1, 1).sign()
    untreated, reference = untreated * gain, reference * gain
    if config.stretch:
        speed = 1 + config.stretch * (2 * torch.rand(()).item() - 1)
        untreated, reference = change_speed(untreated, speed), change_speed(reference, speed)
    level = reference.square().mean(dim=2, keepdim=True).sqrt() * 10 ** (uniform(-40, -10) / 20)
    level = level * (uniform(0, 1) < config.noise_probability)
    return untreated + level * torch.randn(untreated.shape).to(device), reference


def change_speed(wave: Tensor, speed: float) -> Tensor:
    """Play (batch, 1, samples) faster by the factor ``speed``, by resampling in the Fourier domain.

    The band above the new Nyquist frequency is dropped; the length becomes samples / speed.
    """
    samples = wave.shape[-1]
    length = round(samples / speed)
    spectrum = torch.fft.rfft(wave)
    bins = length // 2 + 1
    spectrum = nn.functional.pad(spectrum, (0, max(0, bins - spectrum.shape[-1])))[..., :bins]
    return torch.fft.irfft(spectrum, n=length) * (length / samples)


class PairsInMemory(Dataset):
    """(lossy, lossless, index of the condition) of one split, each file read once."""

    def __init__(self, pairs: PairDataset, conditions: list[str]):
        self.pairs = pairs
        self.conditions = [conditions.index(row["condition"]) for row in pairs.rows]
        self.read: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        if index not in self.read:
            self.read[index] = self.pairs[index]
        return *self.read[index], self.conditions[index]


class RunRecorder(Callback):
    """Writes the log, keeps the best epoch's weights and shows progress with plain tqdm."""

    def __init__(self, folder: Path, preset: str, facts: dict[str, str], *, progress: bool):
        self.folder, self.preset, self.facts, self.progress = folder, preset, facts, progress
        self.best_epoch, self.best_loss, self.untreated_loss = -1, math.inf, math.nan
        self.bar: tqdm | None = None

    @property
    def checkpoint(self) -> Path:
        """Path of the best epoch's weights."""
        return self.folder / f"checkpoint_epoch_{self.best_epoch}_best.pth"

    def state_dict(self) -> dict:
        """What a resumed run needs to know of the best epoch."""
        names = ("best_epoch", "best_loss", "untreated_loss")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict) -> None:
        """Restore :meth:`state_dict`."""
        for name, value in state.items():
            setattr(self, name, value)

    def on_train_start(self, trainer: lightning.Trainer, task: Restorer) -> None:
        """Open the progress bar at the step reached; drop log rows of an epoch cut short."""
        self._append([], before_epoch=trainer.current_epoch)
        self.bar = tqdm(
            total=int(trainer.estimated_stepping_batches),
            initial=trainer.global_step,
            desc="training",
            unit="step",
            disable=not self.progress,
        )

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx) -> None:
        """Advance the bar."""
        self.bar.update(1)
        self.bar.set_postfix(loss=f"{task.training_losses[-1]:.3f}", refresh=False)

    def on_validation_end(self, trainer: lightning.Trainer, task: Restorer) -> None:
        """Append this epoch's rows to the log and keep the weights if they are the best."""
        table = task.validation_table()
        loss = sum(enhanced for enhanced, _ in table.values()) / len(table)
        self.untreated_loss = sum(untreated for _, untreated in table.values()) / len(table)
        head = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
        }
        rows = [
            head | {"split": "validation", "condition": name, "loss": a, "untreated": b}
            for name, (a, b) in table.items()
        ]
        if task.training_losses:
            mean = sum(task.training_losses) / len(task.training_losses)
            rows.insert(0, head | {"split": "train", "condition": "all", "loss": mean})
            task.training_losses.clear()
        self._append(rows)
        if loss < self.best_loss:
            self._keep(task.model, trainer.current_epoch, loss)

    def on_train_end(self, trainer: lightning.Trainer, task: Restorer) -> None:
        """Close the bar."""
        self.bar.close()

    def _append(self, rows: list[dict], *, before_epoch: float = math.inf) -> None:
        path = self.folder / "log.csv"
        kept: list[dict] = []
        if path.exists():
            with path.open(newline="") as file:
                kept = [row for row in csv.DictReader(file) if int(row["epoch"]) < before_epoch]
        partial = path.with_suffix(".partial")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, LOG_COLUMNS)
            writer.writeheader()
            writer.writerows(kept + rows)
        partial.replace(path)

    def _keep(self, model: AudioUNet, epoch: int, loss: float) -> None:
        previous = self.checkpoint
        self.best_epoch, self.best_loss = epoch, loss
        facts = self.facts | {"epoch": str(epoch), "validation_loss": f"{loss:.6f}"}
        model.save(self.checkpoint, overwrite=True, metadata=facts)
        model.save(self.folder / f"{self.preset}.safetensors", overwrite=True, metadata=facts)
        if previous != self.checkpoint:
            previous.unlink(missing_ok=True)


def train_model(
    manifest: str | Path,
    checkpoint_dir: str | Path,
    config: TrainingConfig | None = None,
    *,
    preset: str | None = None,
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
        start_from: checkpoint to fine-tune instead of an untrained network.
        overwrite: start anew where the folder holds a finished run, or one with other settings.
        progress: show a bar.

    Raises:
        ConfigError: the folder holds a run with other settings, or a split is empty.
    """
    config = config or TrainingConfig()
    folder = Path(checkpoint_dir)
    pairs = read_manifest(manifest)
    model_config = config.for_rate(int(pairs["sample_rate"].iloc[0]))
    conditions = sorted(pairs["condition"].unique())
    if preset is None:
        preset = "seed-22k" if model_config.sample_rate <= 32000 else "fullband-44k"
    facts = {
        "preset": preset,
        "training_config": config.model_dump_json(),
        "manifest_sha256": checkpoint_sha256(manifest),
    }
    _claim(folder, facts | {"start_from": str(start_from)}, overwrite=overwrite)
    with _quiet_lightning(), _interruptible():
        lightning.seed_everything(config.seed, workers=True, verbose=False)
        if start_from is None:
            model = AudioUNet(**model_config.model_dump())
        else:
            model = AudioUNet.load(start_from).train()
        task = Restorer(model, config, conditions)
        recorder = RunRecorder(folder, preset, facts, progress=progress)
        resume_point = ModelCheckpoint(
            folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False
        )
        logger = WandbLogger(project="enhancelib", save_dir=folder) if config.use_wandb else False
        trainer = _trainer(config, callbacks=[recorder, resume_point], logger=logger)
        last = folder / "last.ckpt"
        trainer.fit(
            task,
            _loader(manifest, "train", config, conditions),
            _loader(manifest, "validation", config, conditions),
            ckpt_path=last if last.exists() else None,
            weights_only=True,
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
    with _quiet_lightning():
        _trainer(config).validate(task, _loader(manifest, split, config, conditions), verbose=False)
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
    manifest: str | Path, split: str, config: TrainingConfig, conditions: list[str]
) -> DataLoader:
    dataset = PairsInMemory(PairDataset(manifest, split), conditions)
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
def _quiet_lightning() -> Iterator[None]:
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
