"""What a training run writes down while it goes on."""

import csv
import math
from pathlib import Path

import lightning
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

from enhancelib.atomic import replacing, write_csv
from enhancelib.errors import ConfigError
from enhancelib.model.network import AudioUNet
from enhancelib.train.task import Restorer

LOG_COLUMNS = ("epoch", "step", "learning_rate", "split", "condition", "loss", "untreated")


class RunRecorder(Callback):
    """Writes the log, keeps the best epoch's weights and shows progress with plain tqdm."""

    def __init__(self, folder: Path, preset: str, facts: dict[str, str], *, progress: bool):
        self.folder, self.preset, self.facts, self.progress = folder, preset, facts, progress
        self.best_epoch, self.best_loss, self.untreated_loss = -1, math.inf, math.nan
        self.bar: tqdm  # from the first step to the last

    @property
    def checkpoint(self) -> Path:
        """Path of the best epoch's weights."""
        return self.folder / f"checkpoint_epoch_{self.best_epoch}_best.pth"

    def state_dict(self) -> dict:
        """Return the number and the losses of the best epoch, for a run that is resumed."""
        names = ("best_epoch", "best_loss", "untreated_loss")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict) -> None:
        """Restore :meth:`state_dict`."""
        for name, value in state.items():
            setattr(self, name, value)

    def on_train_start(self, trainer: lightning.Trainer, task: Restorer) -> None:
        """Open the progress bar at the step reached; drop log rows of an epoch cut short."""
        if trainer.is_global_zero:
            self._append([], before_epoch=trainer.current_epoch)
        self.bar = tqdm(
            total=int(trainer.estimated_stepping_batches),
            initial=trainer.global_step,
            desc="training",
            unit="step",
            disable=not (self.progress and trainer.is_global_zero),
        )

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        task: Restorer,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
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
        if trainer.is_global_zero:
            self._append(rows)
        last = task.config.keep == "last" and math.isfinite(loss)
        if last or loss < self.best_loss:
            previous = self.checkpoint
            self.best_epoch, self.best_loss = trainer.current_epoch, loss
            if trainer.is_global_zero:
                self._keep(task.model, previous)

    def on_train_end(self, trainer: lightning.Trainer, task: Restorer) -> None:
        """Close the bar."""
        self.bar.close()

    def _append(self, rows: list[dict], *, before_epoch: float = math.inf) -> None:
        path = self.folder / "log.csv"
        kept: list[dict] = []
        if path.exists():
            with path.open(newline="") as file:
                kept = [row for row in csv.DictReader(file) if int(row["epoch"]) < before_epoch]
        write_csv(path, LOG_COLUMNS, kept + rows)

    def _keep(self, model: AudioUNet, previous: Path) -> None:
        facts = {"epoch": str(self.best_epoch), "validation_loss": f"{self.best_loss:.6f}"}
        facts = self.facts | facts
        model.save(self.checkpoint, overwrite=True, metadata=facts)
        model.save(self.folder / f"{self.preset}.safetensors", overwrite=True, metadata=facts)
        if previous != self.checkpoint:
            previous.unlink(missing_ok=True)


class WholeFiles(TorchCheckpointIO):
    """Writes beside the file and renames, so that no kill leaves half a state."""

    def save_checkpoint(
        self, checkpoint: dict, path: str | Path, storage_options: object = None
    ) -> None:
        """See the base class."""
        try:
            with replacing(Path(path)) as partial:
                torch.save(checkpoint, partial)
        except (OSError, RuntimeError) as error:  # PyTorch's own for a write that falls short
            raise ConfigError(
                f"{path}: cannot be written ({str(error).splitlines()[0]}); free the disk and run "
                "the same command again"
            ) from None
