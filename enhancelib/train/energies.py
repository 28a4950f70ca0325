"""Teach the fill's predictor the energies of bands, from tables: the first stage of training.

What is learnt drops into the network: the weights are those of
:class:`enhancelib.model.fill.EnergyPredictor`, see :func:`insert`. The loss is the pinball loss of
log energies (Koenker & Bassett, "Regression quantiles", Econometrica 46, 1978), which says what
quantile of the possible energies to aim at, and that of their differences between frames, since the
likeliest energy of every frame alone is too smooth in time.

A run writes ``last.pt`` (to go on from), ``energies.safetensors`` (averaged weights) and
``log.csv`` (error per validation and condition) into its folder. Every step draws from a seed of
its own, so a run that was killed and resumed equals one that was not.
"""

import copy
import csv
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from enhancelib.atomic import replacing, write_csv
from enhancelib.data.envelopes import Tables
from enhancelib.data.item_plans import VOICES
from enhancelib.errors import ConfigError, ModelError
from enhancelib.model.checkpoints import (
    checkpoint_sha256,
    read_checkpoint,
    reason_of,
    write_checkpoint,
)
from enhancelib.model.fill import EnergyPredictor
from enhancelib.model.network import AudioUNet, ModelConfig
from enhancelib.train.energy_errors import NEPER_DB, Batch, energy_loss, validation_errors

LOG_COLUMNS = (
    *("step", "cpu_minutes", "hours_seen", "loss"),
    *("condition", "lost_s", "error_db", "bias_db", "harm_db"),
)


class EnergyTraining(BaseModel):
    """Settings of the first stage.

    Attributes:
        model: the network that the predictor is for; it must have a fill.
        batch_size, seconds: items per step and the length taken of each.
        steps: after which the rate has fallen to zero.
        warmup: steps over which the rate rises.
        decay: share of the steps, at the end, over which it falls; before, it is constant.
        learning_rate, weight_decay: of AdamW (Loshchilov & Hutter, arXiv:1711.05101).
        gradient_clip: largest norm of the gradient.
        quantile: that the predicted energy of music aims at; over 0.5 is rather too strong than too
            weak.
        voice_quantile: the same of speech and singing, where hiss is worse than dullness.
        difference: weight of the differences between frames.
        survivors: weight of bands that were not emptied; the others have one.
        harm: weight of what is predicted too much in items from which nothing was lost, beyond the
            fill's margin: music without treble is not to get any.
        dissimilarity: weight of the shape of what is predicted, over both bands and frames.
        color_db: each item is heard through a smooth filter drawn anew, its lossy and its lossless
            side alike; so far the filter's tilt and its two bumps rise or fall.
        average: share of the mean weights that a step keeps.
        precision: of the convolutions in training; ``auto`` is ``bfloat16`` where the processor
            computes it itself, which is twice as fast there, and ``float32`` where it would be
            emulated, which is four times as slow.
        error_from_hz: validation shows the error of lost bands from here up.
        seed: of weights and draws.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig = ModelConfig(fill={})
    batch_size: int = Field(32, ge=1)
    seconds: float = Field(5.0, gt=0)
    steps: int = Field(100_000, ge=1)
    warmup: int = Field(200, ge=1)
    decay: float = Field(0.2, ge=0, le=1)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    gradient_clip: float = Field(1.0, gt=0)
    quantile: float = Field(0.55, gt=0, lt=1)
    voice_quantile: float = Field(0.15, gt=0, lt=1)
    difference: float = Field(0.3, ge=0)
    survivors: float = Field(0.1, ge=0)
    harm: float = Field(0.2, ge=0)
    dissimilarity: float = Field(0.0, ge=0)
    color_db: float = Field(0.0, ge=0)
    average: float = Field(0.998, ge=0, lt=1)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    error_from_hz: float = Field(5500.0, ge=0)
    seed: int = 0

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        falling = max(1, round(self.decay * self.steps))
        return self.learning_rate * min(
            1.0, (step + 1) / self.warmup, max(0, self.steps - step) / falling
        )

    def identity(self) -> str:
        """Return, as JSON, what may not change while a run goes on: all but ``steps``."""
        return self.model_dump_json(exclude={"steps"})


class EnergyTrainer:
    """One run of the first stage; made anew, it goes on where the folder's run was left.

    On a GPU, the tables are kept in its memory.

    Args:
        config: settings.
        train, validation: tables.
        folder: of the run; made if missing.
        start_from: ``energies.safetensors`` of another run, whose weights this one begins with.
        device: on which it runs; a GPU if there is one.

    Raises:
        ConfigError: the folder holds a run with other settings or tables, or no run; or the tables
            are too short or of another network.
        ModelError: ``start_from`` is damaged or of another shape.
    """

    def __init__(
        self,
        config: EnergyTraining,
        train: Tables,
        validation: Tables,
        folder: str | Path,
        *,
        start_from: str | Path | None = None,
        device: str | torch.device | None = None,
    ):
        self.config, self.train, self.validation = config, train, validation
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.folder = Path(folder)
        model = config.model
        if model.fill is None:
            raise ConfigError("model: has no fill; give it one")
        for name, wanted in {
            "sample_rate": model.sample_rate,
            "frame_length": model.frame_length,
            "band_bins": model.fill.band_bins,
        }.items():
            for tables in (train, validation):
                if (found := tables.facts.get(name)) != wanted:
                    raise ConfigError(f"the tables have {name} {found}, this network {wanted}")
        self.frames = round(config.seconds * model.sample_rate / model.hop_length)
        if train.values.shape[1] < self.frames:
            raise ConfigError(f"seconds: {config.seconds} is longer than the items are")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.predictor = EnergyPredictor(model.fill, model.hop_length)
        if start_from is not None:
            _load(self.predictor, start_from)
        self.predictor.to(self.device)
        self.average = copy.deepcopy(self.predictor).eval()
        auto = config.precision == "auto"
        self.half = has_bfloat16(self.device) if auto else config.precision == "bfloat16"
        resident = self.device.type != "cpu"
        self._resident = (
            torch.from_numpy(np.array(train.values)).to(self.device) if resident else None
        )
        self.optimizer = torch.optim.AdamW(
            self.predictor.parameters(), lr=0.0, weight_decay=config.weight_decay
        )
        self.step, self.cpu_s = 0, 0.0
        self.losses: list[float] = []
        self._trusted = train.trusted_bands(model.sample_rate)
        voices = train.items["kind"].isin(VOICES).to_numpy()
        self._quantiles = np.where(voices, config.voice_quantile, config.quantile)
        self.facts = {
            "settings": config.identity(),
            "train": json.dumps(train.facts),
            "validation": json.dumps(validation.facts),
            "start_sha256": "" if start_from is None else checkpoint_sha256(start_from),
        }
        self._resume()

    def run(self, *, validate_minutes: float = 3.0, minutes: float | None = None) -> None:
        """Train to the last step, or for so many minutes of processor time.

        Args:
            validate_minutes: processor time between validations; each also saves.
            minutes: of this call; ``None``: until the last step.
        """
        began = last = time.process_time()
        validated = self.step if self.step and (self.folder / "log.csv").exists() else -1
        while self.step < self.config.steps:
            self.losses.append(self.train_step())
            now = time.process_time()
            if now - last >= 60 * validate_minutes:
                self.cpu_s += now - last
                self.validate()
                validated, last = self.step, time.process_time()
            if minutes is not None and time.process_time() - began >= 60 * minutes:
                break
        if validated != self.step:
            self.cpu_s += time.process_time() - last
            self.validate()

    def train_step(self) -> float:
        """Train for one step and return its loss."""
        config = self.config
        batch = self._draw()
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate(self.step)
        self.predictor.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            states = self.predictor.initial_state(len(batch.features))
            energies, _ = self.predictor(batch.features, states)
        terms = energy_loss(energies.float(), batch, survivors=config.survivors)
        weights = {name: getattr(config, name) for name in ("difference", "harm", "dissimilarity")}
        loss = terms["level"] + sum(weight * terms[name] for name, weight in weights.items())
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.predictor.parameters(), config.gradient_clip)
        self.optimizer.step()
        self.step += 1
        self._update_average()
        if not torch.isfinite(loss):
            raise ConfigError(
                f"{self.folder}: the loss of step {self.step} is no number; lower learning_rate "
                f"({config.learning_rate}) and name another folder"
            )
        return loss.item()

    def validate(self) -> list[dict]:
        """Measure the averaged weights, write the log and save; returns the log's new rows."""
        errors = validation_errors(self.average, self.validation, self.config)
        minutes, seen_s = self.cpu_s / 60, self.step * self.config.batch_size * self.config.seconds
        shared = {
            "step": self.step,
            "cpu_minutes": round(minutes, 2),
            "hours_seen": round(seen_s / 3600, 2),
            "loss": round(float(np.mean(self.losses)), 4) if self.losses else "",
        }
        rows = [shared | {"condition": name} | figures for name, figures in errors.items()]
        self.losses = []
        # The log first: of a run killed in between, rows beyond the state are dropped again.
        self._write(lambda: self._log(rows))
        self.save()
        return rows

    def save(self) -> None:
        """Write the state to go on from, and the averaged weights.

        Raises:
            ConfigError: they cannot be written.
        """
        self._write(self._save)

    def _write(self, write: Callable[[], None]) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write()
        except (OSError, RuntimeError) as error:  # PyTorch's own for a write that falls short
            raise ConfigError(
                f"{self.folder}: cannot be written ({str(error).splitlines()[0]}); free the disk "
                "and run the same command again"
            ) from None

    def _log(self, rows: list[dict], *, last: float = math.inf) -> None:
        """Add rows to the log, or drop those of steps beyond the last."""
        path, kept = self.folder / "log.csv", []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                kept = [row for row in csv.DictReader(file) if int(row["step"]) <= last]
        write_csv(path, LOG_COLUMNS, kept + rows)

    def _save(self) -> None:
        state = {
            "facts": self.facts,
            "step": self.step,
            "cpu_s": self.cpu_s,
            "predictor": self.predictor.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with replacing(self.folder / "last.pt") as partial:
            torch.save(state, partial)
        facts = {"fill": self.predictor.config.model_dump_json(), "step": str(self.step)}
        facts |= {"bins": str(self.config.model.hop_length)} | self.facts
        weights = self.folder / "energies.safetensors"
        write_checkpoint(weights, facts, self.average.state_dict(), overwrite=True)

    def _resume(self) -> None:
        path = self.folder / "last.pt"
        if not path.exists():
            if (self.folder / "log.csv").exists():
                raise ConfigError(f"{self.folder}: holds a log but no last.pt; name another folder")
            return
        try:
            state = torch.load(path, weights_only=True, map_location=self.device)
            facts = state["facts"]
        except Exception as error:  # torch raises its own kinds for a damaged file
            raise ConfigError(
                f"{path}: cannot be gone on from ({reason_of(error)}); name another folder"
            ) from None
        changed = [name for name, value in self.facts.items() if facts.get(name) != value]
        if changed:
            raise ConfigError(
                f"{path}: is of a run with other {', '.join(changed)}; name another folder"
            )
        self.step, self.cpu_s = state["step"], state["cpu_s"]
        self.predictor.load_state_dict(state["predictor"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        if (self.folder / "log.csv").exists():
            self._write(lambda: self._log([], last=self.step))

    def _draw(self) -> Batch:
        """Items and places of a step, from a seed of its own."""
        random = np.random.default_rng([self.config.seed, self.step])
        items = random.integers(len(self.train.values), size=self.config.batch_size)
        room = self.train.values.shape[1] - self.frames
        starts = random.integers(room + 1, size=self.config.batch_size)
        colors = _colors(random, self.config.batch_size, self.train.bands) * self.config.color_db
        colors = np.tile(colors / NEPER_DB, 3)[:, :, None].astype(np.float32)
        values = self._read(items, starts) + torch.from_numpy(colors).to(self.device)
        return Batch(values, self._trusted[items], self.predictor.first, self._quantiles[items])

    def _read(self, items: np.ndarray, starts: np.ndarray) -> torch.Tensor:
        """A crop of each item, float32 (batch, 3 * bands, frames)."""
        if self._resident is None:
            places = zip(items, starts, strict=True)
            return torch.from_numpy(np.stack([self.train.read(*at, self.frames) for at in places]))
        rows = torch.from_numpy(items)[:, None]
        frames = torch.from_numpy(starts)[:, None] + torch.arange(self.frames)
        return self._resident[rows.to(self.device), frames.to(self.device)].float().mT

    def _update_average(self) -> None:
        """Mean of the weights over the last steps (Polyak & Juditsky, 1992), fewer at the start."""
        keep = min(self.config.average, self.step / (self.step + 10))
        new = self.predictor.state_dict()
        for name, kept in self.average.state_dict().items():
            if kept.is_floating_point():
                kept.lerp_(new[name], 1 - keep)
            else:
                kept.copy_(new[name])


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes with bfloat16 by itself."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def _colors(random: np.random.Generator, count: int, bands: int) -> np.ndarray:
    """Smooth curves over the bands, (count, bands): a tilt and two bumps, each within -1 and 1."""
    place = np.log2(np.arange(bands) + 1) / np.log2(bands)  # even in octaves, from 0 to 1
    tilt, *heights = random.uniform(-1, 1, (3, count, 1))
    centers, widths = (
        random.uniform(0.2, 1, (2, count, 1)),
        random.uniform(0.08, 0.3, (2, count, 1)),
    )
    bumps = (
        height * np.exp(-(((place - center) / width) ** 2))
        for height, center, width in zip(heights, centers, widths, strict=True)
    )
    return tilt * (2 * place - 1) + sum(bumps)


def insert(path: str | Path, model: AudioUNet) -> AudioUNet:
    """Put the weights of a run into the fill of a network, which is changed and returned.

    Args:
        path: ``energies.safetensors``.
        model: a network with a fill of the same shape.

    Raises:
        ModelError: the file is damaged or of another shape, or the network has no fill.
    """
    if model.core.fill is None:
        raise ModelError(f"{path}: the network has no fill to put it in; make one with fill={{}}")
    _load(model.core.fill.predictor, path)
    return model


def _load(predictor: EnergyPredictor, path: str | Path) -> None:
    _, weights = read_checkpoint(path)
    try:
        predictor.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path}: does not fit this network's fill ({reason})") from None
