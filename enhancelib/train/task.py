"""The training task: its settings, one step, one validation round, one schedule."""

import json
import math
from pathlib import Path
from typing import Annotated, Literal, Self

import lightning
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from torch import Tensor

from enhancelib.checks import first_problem
from enhancelib.errors import ConfigError
from enhancelib.model.losses import (
    FRAME_LENGTHS,
    CombinedLoss,
    LossWeights,
    audibility,
    gate_error,
    room,
    wanted_gate,
)
from enhancelib.model.network import PRESETS, AudioUNet, ModelConfig
from enhancelib.model.spectra import Spectra
from enhancelib.train.augmentation import Augmentation, augment

_SHAPE = {"base_channels", "depth", "dropout", "blocks", "dilations"}
"""Settings that are those of the network."""


class TrainingConfig(BaseModel):
    """Settings of one training run; the first seven are the keys of the seed's config.json.

    Attributes:
        base_channels, depth, dropout: see :class:`enhancelib.model.network.ModelConfig`.
        batch_size: segments per step.
        epochs: passes over the training pairs.
        epoch_steps: steps after which an epoch ends before all pairs were seen; each epoch draws
            anew. Validation and the state to resume from come at its end.
        learning_rate: peak of the schedule, for AdamW (Loshchilov & Hutter, arXiv:1711.05101).
        use_wandb: also log to Weights & Biases (``WANDB_MODE=offline`` keeps it local).
        warmup: share of the steps over which the rate rises; it then falls along a cosine.
        weight_decay: of AdamW.
        gradient_clip: largest norm of the gradient.
        crop_seconds: length cut at random from each pair, in seconds.
        augmentation: how far the pairs are varied.
        loss: weights of the loss terms.
        keep: the weights of the epoch with the least validation loss, or of the last. A network
            with a fill invents treble, which every waveform loss takes for an error; its best epoch
            would be the one that invents least.
        seed: of weights, order, crops and augmentation.
        blocks, dilations: see :class:`enhancelib.model.network.ModelConfig`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base_channels: int = Field(32, ge=4, le=256)
    depth: int = Field(4, ge=2, le=6)
    dropout: float = Field(0.1, ge=0.0, lt=1.0)
    batch_size: int = Field(16, ge=1)
    epochs: int = Field(100, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    use_wandb: bool = False
    epoch_steps: int | None = Field(None, ge=1)
    warmup: float = Field(0.05, ge=0, le=1)
    weight_decay: float = Field(1e-2, ge=0)
    gradient_clip: float = Field(1.0, gt=0)
    crop_seconds: float = Field(1.0, ge=0.05, le=600)
    augmentation: Augmentation = Augmentation()
    loss: LossWeights = LossWeights()
    keep: Literal["best", "last"] = "best"
    seed: int = Field(0, ge=0, lt=1 << 32)
    blocks: int = Field(2, ge=1, le=8)
    dilations: tuple[Annotated[int, Field(ge=1)], ...] = (1, 2, 4, 8, 16, 32)

    @field_validator("augmentation", "loss")
    @classmethod
    def _finite(cls, settings: BaseModel) -> BaseModel:
        for name, value in settings.model_dump().items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} is {value}")
        return settings

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
            hint = ""
            if error.errors()[0]["type"] == "extra_forbidden":
                hint = f"; known keys: {', '.join(cls.model_fields)}"
            raise ConfigError(f"{path}: {first_problem(error)}{hint}") from None
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: not valid JSON ({error})") from None

    def check_crop(self, sample_rate: int) -> None:
        """Refuse a crop that holds fewer than the frames that the loss compares.

        Raises:
            ConfigError: how long it must be at this rate in Hz.
        """
        least = self.least_seconds(sample_rate)
        if self.crop_seconds < least:
            raise ConfigError(
                f"crop_seconds: {self.crop_seconds} is too short for the loss at {sample_rate} Hz; "
                f"give {least} or more"
            )

    def least_seconds(self, sample_rate: int) -> float:
        """Length of the frames that the loss compares at this rate in Hz, rounded up."""
        longest = 2 * max(FRAME_LENGTHS) * (1 + self.augmentation.stretch)
        return math.ceil(1000 * longest / sample_rate) / 1000

    def for_rate(self, sample_rate: int) -> ModelConfig:
        """The network of this run for audio at ``sample_rate``: the geometry of the nearest preset.

        Raises:
            ConfigError: the combination is impossible.
        """
        nearest = PRESETS[nearest_preset(sample_rate)]
        deepest = (nearest.bands & -nearest.bands).bit_length()  # every level halves the bands
        if self.depth > deepest:
            raise ConfigError(
                f"depth: {self.depth} is too deep at {sample_rate} Hz; give {deepest} or less"
            )
        chosen = self.model_dump(include=_SHAPE)
        return AudioUNet(**{**nearest.model_dump(), "sample_rate": sample_rate, **chosen}).config


def nearest_preset(sample_rate: int) -> str:
    """Name of the preset whose sample rate is the nearest by ratio to this one, in Hz."""
    return min(PRESETS, key=lambda name: abs(math.log(PRESETS[name].sample_rate / sample_rate)))


class Restorer(lightning.LightningModule):
    """The training task: batches of (lossy, lossless) pairs, a schedule, a validation table."""

    def __init__(self, model: AudioUNet, config: TrainingConfig, conditions: list[str]):
        super().__init__()
        self.model = model
        fill = getattr(model.core, "fill", None)
        if fill is not None:  # it has a stage of its own, on far more music
            fill.freeze()
        self.config = config
        self.conditions = conditions
        self.loss = CombinedLoss(config.loss, sample_rate=model.config.sample_rate)
        self.sums: dict[str, list[float]] = {}
        self.training_losses: list[float] = []

    def on_train_batch_start(self, batch: object, index: int) -> None:
        """Draw each step's crops, augmentation and dropout from a seed of its own.

        So a resumed run draws what an uninterrupted one would have drawn, and each of several
        processes draws its own.
        """
        own = self.global_rank << 40
        torch.manual_seed(self.config.seed * 1_000_003 + self.global_step + own)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], index: int) -> Tensor:
        """Loss of one batch after augmentation."""
        loss, _ = self.losses(batch)
        self.training_losses.append(loss.item())
        self.log("loss", loss, prog_bar=True)
        return loss

    def losses(self, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, tuple[Spectra, ...]]:
        """Loss of a batch after augmentation; the enhanced waves and the originals."""
        rate = self.model.config.sample_rate
        untreated, reference = augment(
            *batch[:2],
            self.config.augmentation,
            crop_samples=round(self.config.crop_seconds * rate),
            sample_rate=rate,
        )
        enhanced, logits = self.model.with_gate(untreated)
        waves = Spectra(enhanced), Spectra(reference), Spectra(untreated)
        loss = self.loss(*waves)
        if logits is not None and self.config.loss.gate:
            space = room(waves[2], waves[1], sample_rate=rate)
            spectra = self.model.analyze(untreated), self.model.analyze(reference)
            wanted = wanted_gate(*spectra, self.model.config.bands)
            if share := self.config.loss.audible:
                heard = audibility(spectra[1], self.model.config.bands)
                wanted = wanted * (1 - share + share * heard)
            loss = loss + self.config.loss.gate * gate_error(logits, wanted, space)
        return loss, waves[:2]

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
        if self.trainer.world_size > 1:
            # On the device of this process: NCCL carries nothing else.
            sums = torch.tensor(list(self.sums.values()), dtype=torch.float64, device=self.device)
            sums = self.trainer.strategy.reduce(sums, reduce_op="sum")
            self.sums = dict(zip(self.sums, sums.tolist(), strict=True))
        table = self.validation_table()
        mean = sum(loss for loss, _ in table.values()) / len(table)
        self.log("validation_loss", mean, sync_dist=True)
        self.log_dict(
            {f"validation/{name}": loss for name, (loss, _) in table.items()}, sync_dist=True
        )

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
            (weight for weight in self.model.parameters() if weight.requires_grad),
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
