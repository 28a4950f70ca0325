"""What each choice in the network and its training is worth: rows of ablations.csv.

    python -m tools.research.ablate                     every variant, one after the other
    python -m tools.research.ablate baseline no-gate    these; several may run beside each other
    python -m tools.research.ablate baseline energies --seed 1 --output OTHER.csv    what is chance

Both parts of the recipe are taught from scratch, each variant for the same processor time (so that
other work on the machine does not count): the *network* on waveforms, around the published fill,
and the *energies* of the fill, within the published network. A variant changes one thing. It is
measured on clips of the corpus's validation pieces; data/results/ablations.csv has a row for each
kind of pieces, which takes the place of an older one of this name.
"""

import argparse
import math
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import lightning
import pandas
import torch
from filelock import FileLock
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader, Subset

from enhancelib.errors import ConfigError, EnhanceError
from enhancelib.evaluate.kinds import KINDS
from enhancelib.model.network import AudioUNet, ModelConfig
from enhancelib.model.weights import find_weights
from enhancelib.optimize.footprint import macs_per_second
from enhancelib.provenance import commit, provenance
from enhancelib.train.energies import EnergyTrainer, EnergyTraining
from enhancelib.train.loading import LabelledPairs, open_pairs
from enhancelib.train.run import quiet_lightning
from enhancelib.train.task import Restorer, TrainingConfig
from tools.measure.tables import check_commit, write_table
from tools.research.clips import measure, summary, validation_clips
from tools.research.pretrain import ITEMS, RECIPES, ROOT, energy_tables, joined
from tools.research.variants import AdversarialRestorer, frame_network, learned_front_end

TABLE = Path("data/results/ablations.csv")
RUNS = ROOT / "ablations"
PRESET = "fullband-44k"
BUDGET_S = 400.0
"""Processor seconds of training."""
TUNED = 0.5
"""Share of it that fine-tuning gets, after a whole one."""


def network(config: ModelConfig) -> AudioUNet:
    """The published one, untrained."""
    return AudioUNet(**config.model_dump())


@dataclass(frozen=True)
class Network:
    """What differs from the published recipe of the network, and what that is to show."""

    question: str
    model: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    rows: Callable[[dict], bool] = lambda row: True
    make: Callable[[ModelConfig], AudioUNet] = network
    task: type[Restorer] = Restorer
    start_from: str | None = None

    def config(self, seed: int = 0) -> TrainingConfig:
        """The recipe's settings but for what the variant changes, be it one weight of the loss."""
        settings = RECIPES[PRESET].network.model_dump() | {"epochs": 1000, "seed": seed}
        for name, value in self.training.items():
            settings[name] = settings[name] | value if isinstance(value, dict) else value
        return TrainingConfig(**settings)

    def untrained(self) -> AudioUNet:
        """The network before its first step, with a fill that knows nothing yet."""
        return self.make(ModelConfig(**RECIPES[PRESET].model.model_dump() | self.model))

    def train(self, name: str, seconds: float, seed: int = 0) -> tuple[AudioUNet, int]:
        """Train for so many processor seconds; the network and its number of steps."""
        config = self.config(seed)
        torch.manual_seed(config.seed)
        model = self.untrained()
        if model.core.fill is not None:
            known = AudioUNet.load(find_weights("published", preset=PRESET)).core.fill
            model.core.fill.load_state_dict(known.state_dict())
        share = 1.0
        if self.start_from:
            model.load_state_dict(self.start(seconds, seed))
            share = TUNED
        task = self.task(model.to(memory_format=torch.channels_last), config, ["any"])
        pairs = open_pairs(ITEMS, "train", sample_rate=model.config.sample_rate)
        conditions = sorted(set(pairs.conditions))
        chosen = [index for index, row in enumerate(pairs.rows) if self.rows(row)]
        loader = DataLoader(
            Subset(LabelledPairs(pairs, conditions), chosen),
            batch_size=config.batch_size,
            shuffle=True,
            drop_last=True,
        )
        with quiet_lightning():
            warnings.filterwarnings("ignore", "You defined a `validation_step` but have no")
            trainer = lightning.Trainer(
                max_epochs=1000,
                limit_val_batches=0,
                gradient_clip_val=config.gradient_clip if task.automatic_optimization else None,
                callbacks=[Budget(share * seconds, config.learning_rate)],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(task, loader)
        RUNS.mkdir(parents=True, exist_ok=True)
        kept = {"weights": model.state_dict(), **_made(seconds, seed)}
        torch.save(kept, RUNS / f"{name}.pt")
        return model.eval(), trainer.global_step

    def start(self, seconds: float, seed: int = 0) -> dict[str, torch.Tensor]:
        """The weights that this one goes on from, of this commit, seed and length of training.

        Raises:
            ConfigError: there are none.
        """
        path = RUNS / f"{self.start_from}.pt"
        kept = torch.load(path, weights_only=True) if path.is_file() else {}
        made = _made(seconds, seed)
        if {name: kept.get(name) for name in made} != made:
            raise ConfigError(
                f"{path}: not there, or not of this commit, budget and seed; "
                f"name {self.start_from} too"
            )
        return kept["weights"]


def _made(seconds: float, seed: int) -> dict[str, str | float]:
    """What weights must agree in that others go on from."""
    return {"commit": commit(), "budget_s": seconds, "seed": seed}


@dataclass(frozen=True)
class Energies:
    """What differs from the published recipe of the energies, and what that is to show."""

    question: str
    training: dict = field(default_factory=dict)
    fill: dict = field(default_factory=dict)

    def config(self, seed: int = 0) -> EnergyTraining:
        """The recipe's settings but for what the variant changes.

        The recipe goes on from good energies and ends with a falling rate. Here the rate is that of
        energies from scratch, and stays: nobody knows yet how many steps there will be.
        """
        settings = RECIPES[PRESET].energies.model_dump()
        settings |= {"learning_rate": 2e-3, "decay": 0.0, "steps": 1_000_000, "seed": seed}
        settings |= self.training
        settings["model"]["fill"] |= self.fill
        return EnergyTraining(**settings)

    def train(self, name: str, seconds: float, seed: int = 0) -> tuple[AudioUNet, int]:
        """Train for so many processor seconds; the network and its number of steps."""
        config, run = self.config(seed), RUNS / name
        shutil.rmtree(run, ignore_errors=True)
        train, validation = energy_tables(PRESET)
        trainer = EnergyTrainer(config, train, validation, run)
        trainer.run(validate_minutes=math.inf, minutes=seconds / 60)
        published = find_weights("published", preset=PRESET)
        model = joined(config.model, published, run / "energies.safetensors")
        return model.eval(), trainer.step


class Budget(Callback):
    """Ends training when the processor time is used up; warm-up and cosine follow its use."""

    WARM_UP = 0.05

    def __init__(self, seconds: float, peak: float):
        self.seconds, self.peak = seconds, peak

    def on_train_start(self, trainer: lightning.Trainer, task: Restorer) -> None:
        """Start the clock."""
        self.started = time.process_time()

    def on_train_batch_start(self, trainer, task, batch, index) -> None:
        """Set the rate, or stop."""
        used = (time.process_time() - self.started) / self.seconds
        trainer.should_stop = used >= 1
        falling = 0.5 * (1 + math.cos(math.pi * min(1.0, used)))
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.peak * min(falling, (used + 1e-3) / self.WARM_UP)


def coded(row: dict) -> bool:
    """Pairs of MP3 and AAC on their own: what most published systems are trained with."""
    return row["condition"].split("-")[0] in ("mp3", "aac") and "+" not in row["condition"]


def tenth(row: dict) -> bool:
    """Items whose main piece is of a tenth, by name."""
    return sum(row["pieces"].split("|")[0].encode()) % 10 == 0


ALONE = {"fill": None}
"""A network without a fill, where the published one does not fit: to be compared with no-fill."""

VARIANTS: dict[str, Network | Energies] = {
    "baseline": Network("The network, cut short"),
    "narrow": Network("Half the width?", model={"base_channels": 16}),
    "short-memory": Network("A bottom that sees 0.2 s?", model={"dilations": (1, 2, 4)}),
    "no-gate": Network("No gate?", model={"gated": False}),
    "no-audible": Network(
        "A gate that opens for what nobody hears?", training={"loss": {"audible": 0}}
    ),
    "no-relative": Network("No relative error?", training={"loss": {"relative": 0}}),
    "no-dissimilarity": Network("No similarity term?", training={"loss": {"dissimilarity": 0}}),
    "squared-error": Network(
        "Squared error of samples?", training={"loss": {"compressed_complex": 0, "mse": 1}}
    ),
    "stream-codecs-only": Network("Only MP3 and AAC?", rows=coded),
    "tenth-of-music": Network("A tenth of the music?", rows=tenth),
    "baseline-longer": Network("The baseline for half as long again", start_from="baseline"),
    "adversarial": Network(
        "An adversary for that time?", task=AdversarialRestorer, start_from="baseline"
    ),
    "no-fill": Network("The network without a fill, cut short", model=ALONE),
    "learned-front-end": Network("A learned basis?", model=ALONE, make=learned_front_end),
    "frame-net": Network("A ConvNet over frames?", model=ALONE, make=frame_network),
    "short-frame": Network(
        "Half the latency?",
        model=ALONE | {"frame_length": 512, "hop_length": 256, "bands": 16},
    ),
    "energies": Energies("The energies, cut short"),
    "one-quantile": Energies(
        "The median, for voices as for music?", {"quantile": 0.5, "voice_quantile": 0.5}
    ),
    "no-difference": Energies("No differences between frames?", {"difference": 0}),
    "no-harm": Energies("No loss on added treble?", {"harm": 0}),
    "no-shape": Energies("No loss on their shape?", {"dissimilarity": 0}),
    "no-color": Energies("Items as they are, not colored?", {"color_db": 0}),
    "narrow-energies": Energies("Half the width?", fill={"width": 104}),
    "short-energies": Energies(
        "A memory of a third of a second?", fill={"dilations": (1, 2, 4, 8)}
    ),
}


def write(rows: pandas.DataFrame, path: Path) -> None:
    """Add rows of a variant to the table, in place of older ones of its name."""
    RUNS.mkdir(parents=True, exist_ok=True)
    with FileLock(RUNS / "table.lock"):
        table = rows
        if path.exists():
            older = pandas.read_csv(path)
            table = pandas.concat([older[~older["variant"].isin(rows["variant"])], rows])
        at = {name: place for place, name in enumerate(["untreated", *VARIANTS])}
        at |= {kind: place for place, kind in enumerate(KINDS)}
        table = table.sort_values(["variant", "kind"], key=lambda names: names.map(at))
        counts = [name for name in ("clips", "parameters", "steps", "seed") if name in table]
        table = table.astype(dict.fromkeys(counts, "Int64"))
        rounded = table.select_dtypes("float").map(lambda value: float(f"{value:.4g}"))
        write_table(table.assign(**rounded), path)


def main() -> None:
    """Parse the command line; train, measure and write one variant after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help=", ".join(VARIANTS))
    parser.add_argument("--budget_s", type=float, default=BUDGET_S, help="processor seconds")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and crops")
    parser.add_argument("--output", type=Path, default=TABLE, help="table to write, or to add to")
    arguments = parser.parse_args()
    names = arguments.variants or list(VARIANTS)
    if unknown := [name for name in names if name not in VARIANTS]:
        sys.exit(f"error: no variant {unknown[0]!r}: choose from {', '.join(VARIANTS)}")
    if not (ITEMS / "train" / "items.csv").exists():
        sys.exit(f"error: {ITEMS}: holds no items; make them with make pretrain first")
    rate = RECIPES[PRESET].model.sample_rate
    facts = provenance("python -m tools.research.ablate")
    torch.set_num_threads(1)  # so that processor time is work, and other variants run beside
    try:
        check_commit(arguments.output, joined=bool(arguments.variants))
        for variant in map(VARIANTS.get, names):
            if isinstance(variant, Network) and variant.start_from not in (None, *names):
                variant.start(arguments.budget_s, arguments.seed)
        manifest = validation_clips(RUNS)
        untreated = measure(lambda wave: wave, manifest, sample_rate=rate)

        if not arguments.variants:
            arguments.output.unlink(missing_ok=True)

        def add(values: pandas.DataFrame, **more: object) -> None:
            rows = summary(values, untreated).reset_index()
            write(rows.assign(**more, **facts), arguments.output)

        add(untreated, variant="untreated")
        for name in names:
            variant = VARIANTS[name]
            began = time.process_time()
            model, steps = variant.train(name, arguments.budget_s, arguments.seed)
            used = time.process_time() - began
            add(
                measure(model, manifest, sample_rate=rate),
                variant=name,
                question=variant.question,
                part=type(variant).__name__.lower(),
                parameters=model.num_parameters,
                million_macs_per_s=macs_per_second(model) / 1e6,
                steps=steps,
                seed=arguments.seed,
                cpu_s=used,
            )
            print(f"{name}: {steps} steps", flush=True)
    except EnhanceError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
