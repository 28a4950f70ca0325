"""What each choice in the network and its training is worth: one row each in ablations.csv.

    python -m tools.research.ablate baseline no-gate

Every variant trains from scratch on the items of ``make pretrain`` for the same processor time (so
that other work on the machine does not count) and is then measured on clips of the corpus's
validation pieces.
Rows of data/results/ablations.csv are replaced by name; without names, all variants are run.
"""

import argparse
import math
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import lightning
import pandas
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader, Subset

import enhancelib as el
from enhancelib import audio
from enhancelib.data import pairs as data
from enhancelib.data.catalog import list_pieces, take
from enhancelib.errors import EnhanceError, InputError
from enhancelib.model.network import AudioUNet, ModelConfig, preset_config
from enhancelib.optimize.footprint import macs_per_second
from enhancelib.provenance import provenance
from enhancelib.train.loading import LabelledPairs, open_pairs
from enhancelib.train.run import quiet_lightning
from enhancelib.train.task import Restorer, TrainingConfig
from tools.measure.tables import check_commit, write_table
from tools.research.pretrain import ITEMS, RECIPES, ROOT
from tools.research.variants import AdversarialRestorer, frame_network, learned_front_end

TABLE = Path("data/results/ablations.csv")
RUNS = ROOT / "ablations"
PRESET = "fullband-44k"
BUDGET_S = 400.0
"""Processor seconds of training, over all threads."""
TUNED = 0.5
"""Share of it that fine-tuning gets, after a whole one."""
CORPUS = Path("data/corpus")
CLIPS, CLIP_S = 14, 3.0
"""The validation split is too long to be heard for every variant: the middle of some pieces."""
GROUPS = {
    "weak": ("sbc-20", "aac-64", "mp3-64", "aac-64+sbc-20", "down-16000hz"),
    "middle": ("sbc-35", "aac-128", "mp3-128"),
    "noisy": ("noise-white-20db", "noise-pink-10db"),
    "transparent": ("lossless", "sbc-53", "aac-256", "mp3-320"),
}
METRICS = ("lsd", "in_band_si_sdr", "snr")
HEARD = (*GROUPS["weak"], "lossless")


def network(config: ModelConfig) -> AudioUNet:
    """The published one, untrained."""
    return AudioUNet(**config.model_dump())


@dataclass(frozen=True)
class Variant:
    """What differs from the published recipe, and what that is to show."""

    question: str
    model: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    rows: Callable[[dict], bool] = lambda row: True
    make: Callable[[ModelConfig], AudioUNet] = network
    task: type[Restorer] = Restorer
    start_from: str | None = None


def coded(row: dict) -> bool:
    """Pairs of MP3 and AAC on their own: what most published systems are trained with."""
    return row["condition"].split("-")[0] in ("mp3", "aac") and "+" not in row["condition"]


def tenth(row: dict) -> bool:
    """Items whose main piece is of a tenth, by name."""
    return sum(row["pieces"].split("|")[0].encode()) % 10 == 0


VARIANTS = {
    "baseline": Variant("the published recipe, cut short"),
    "learned-front-end": Variant("STFT or learned basis?", make=learned_front_end),
    "frame-net": Variant("U-Net over bands, or a ConvNet over frames?", make=frame_network),
    "bands-16": Variant("Half as many bands, twice as wide?", model={"bands": 16}),
    "narrow": Variant("Half the width?", model={"base_channels": 16}),
    "deep": Variant("One level more?", model={"depth": 5}),
    "short-memory": Variant("A bottom that sees 0.2 s?", model={"dilations": (1, 2, 4)}),
    "short-frame": Variant(
        "Half the latency?", model={"frame_length": 512, "hop_length": 256, "bands": 16}
    ),
    "no-gate": Variant("No gate?", model={"gated": False}),
    "no-relative": Variant("No relative error?", training={"loss": {"relative": 0}}),
    "no-dissimilarity": Variant("No similarity term?", training={"loss": {"dissimilarity": 0}}),
    "no-audible": Variant(
        "A gate that opens for what nobody hears?", training={"loss": {"audible": 0}}
    ),
    "squared-error": Variant(
        "Squared error of samples?", training={"loss": {"compressed_complex": 0, "mse": 1}}
    ),
    "colors": Variant(
        "Items colored once more?", training={"augmentation": {"equalize_probability": 0.5}}
    ),
    "stream-codecs-only": Variant("Only MP3 and AAC?", rows=coded),
    "tenth-of-music": Variant("A tenth of the music?", rows=tenth),
    "baseline-longer": Variant("The baseline for half as long again", start_from="baseline"),
    "adversarial": Variant(
        "An adversary for that time?", task=AdversarialRestorer, start_from="baseline"
    ),
}


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


def validation_clips(folder: Path) -> Path:
    """Pairs of validation pieces that no codec had changed, under all conditions; their manifest.

    Raises:
        InputError: there is no corpus.
    """
    table = CORPUS / "manifest.csv"
    if not table.is_file():
        raise InputError(f"{table} is missing: make corpus first")
    rows = pandas.read_csv(table).query("split == 'validation' and once_lossy == 0")
    pieces = [piece for piece in list_pieces(CORPUS) if piece.name in set(rows["path"])]
    for piece in take(pieces, CLIPS):
        wave, rate = audio.load(piece.path)
        start = max(0, wave.shape[1] - round(CLIP_S * rate)) // 2
        path = folder / "clips" / "validation" / piece.path.name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            cut = wave[:, start : start + round(CLIP_S * rate)]
            audio.save(path, cut, sample_rate=rate, subtype="PCM_24")
    conditions = sorted({name for group in GROUPS.values() for name in group})
    return data.prepare(
        folder / "clips", folder / "pairs", conditions=conditions, duration_s=CLIP_S
    )


def training_config(variant: Variant) -> TrainingConfig:
    """The recipe's settings but for what the variant changes, be it one weight of the loss."""
    settings = RECIPES[PRESET].network.model_dump() | {"epochs": 1000}
    for name, value in variant.training.items():
        settings[name] = settings[name] | value if isinstance(value, dict) else value
    return TrainingConfig(**settings)


def train(name: str, variant: Variant, items: Path, seconds: float) -> tuple[AudioUNet, int]:
    """Train a variant for so many processor seconds; the network and its number of steps."""
    config = training_config(variant)
    torch.manual_seed(config.seed)
    geometry = preset_config(PRESET).model_dump() | {"dropout": 0.0} | variant.model
    model = variant.make(ModelConfig(**geometry))
    if variant.start_from:
        model.load_state_dict(torch.load(RUNS / f"{variant.start_from}.pt", weights_only=True))
        seconds = TUNED * seconds
    task = variant.task(model.to(memory_format=torch.channels_last), config, ["any"])
    pairs = open_pairs(items, "train", downmix="varied", sample_rate=model.config.sample_rate)
    conditions = sorted(set(pairs.conditions))
    chosen = [index for index, row in enumerate(pairs.rows) if variant.rows(row)]
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
            callbacks=[Budget(seconds, config.learning_rate)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(task, loader)
    RUNS.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), RUNS / f"{name}.pt")
    return model.eval(), trainer.global_step


@torch.no_grad()
def measure(enhance: Callable[[torch.Tensor], torch.Tensor], manifest: Path) -> pandas.DataFrame:
    """Metrics of every validation clip: one row each, with its condition."""
    rate = preset_config(PRESET).sample_rate
    pairs = data.PairDataset(manifest, "validation", downmix="mean", sample_rate=rate)
    rows = []
    for index, row in enumerate(pairs.rows):
        untreated, reference = pairs[index]
        enhanced = enhance(untreated[None])[0].numpy()
        names = METRICS + (("visqol",) if row["condition"] in HEARD else ())
        values = el.score(
            enhanced,
            reference.numpy(),
            untreated=untreated.numpy(),
            sample_rate=rate,
            names=names,
        )
        rows.append({"piece": row["piece"], "condition": row["condition"]} | values)
    return pandas.DataFrame(rows).set_index(["condition", "piece"])


def summary(values: pandas.DataFrame, untreated: pandas.DataFrame) -> dict[str, float]:
    """The figures of a row: means over a group of conditions, or the worst clip of one."""
    delta = values - untreated
    group = {name: delta.loc[list(conditions)] for name, conditions in GROUPS.items()}
    return {
        "lsd_weak": values.loc[list(GROUPS["weak"]), "lsd"].mean(),
        "lsd_middle": values.loc[list(GROUPS["middle"]), "lsd"].mean(),
        "visqol_weak": values.loc[list(GROUPS["weak"]), "visqol"].mean(),
        "visqol_weak_worst_delta": group["weak"]["visqol"].min(),
        "in_band_si_sdr_weak_delta": group["weak"]["in_band_si_sdr"].mean(),
        "snr_noisy_delta": group["noisy"]["snr"].mean(),
        "in_band_si_sdr_transparent_worst_delta": group["transparent"]["in_band_si_sdr"].min(),
        "visqol_lossless_worst_delta": delta.loc["lossless", "visqol"].min(),
        "lsd_lossless": values.loc["lossless", "lsd"].mean(),
    }


def write(row: dict) -> None:
    """Add a row to the table, in place of an older one of its name."""
    table = pandas.DataFrame([row])
    if TABLE.exists():
        older = pandas.read_csv(TABLE)
        table = pandas.concat([older[older["variant"] != row["variant"]], table])
    order = ["untreated", *VARIANTS]
    table = table.sort_values("variant", key=lambda names: names.map(order.index))
    rounded = table.select_dtypes("float").map(lambda value: float(f"{value:.4g}"))
    write_table(table.assign(**rounded), TABLE)


def main() -> None:
    """Parse the command line; train, measure and write one variant after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help=", ".join(VARIANTS))
    parser.add_argument("--budget_s", type=float, default=BUDGET_S, help="processor seconds")
    arguments = parser.parse_args()
    names = arguments.variants or list(VARIANTS)
    if unknown := [name for name in names if name not in VARIANTS]:
        sys.exit(f"error: no variant {unknown[0]!r}: choose from {', '.join(VARIANTS)}")
    if not (ITEMS / "train" / "items.csv").exists():
        sys.exit(f"error: {ITEMS}: holds no items; make them with make pretrain first")
    facts = provenance("tools/research/ablate.py")
    try:
        check_commit(TABLE, joined=True)
        manifest = validation_clips(RUNS)
        untreated = measure(lambda wave: wave, manifest)
        write({"variant": "untreated"} | summary(untreated, untreated) | facts)
        for name in names:
            variant = VARIANTS[name]
            began = time.process_time()
            model, steps = train(name, variant, ITEMS, arguments.budget_s)
            row = {
                "variant": name,
                "question": variant.question,
                "parameters": model.num_parameters,
                "million_macs_per_s": macs_per_second(model) / 1e6,
                "steps": steps,
                "cpu_s": time.process_time() - began,
            }
            write(row | summary(measure(model, manifest), untreated) | facts)
            print(f"{name}: {steps} steps", flush=True)
    except EnhanceError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
