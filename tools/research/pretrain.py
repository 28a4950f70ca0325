"""Train the weights of a preset on the free corpus, stage after stage; run it again to go on.

    python -m tools.research.pretrain fullband-44k

1. *Items* are mixed from the corpus and degraded (:mod:`enhancelib.data.items`).
2. The fill learns the *energies* of bands from tables of them (:mod:`enhancelib.train.energies`).
3. The *network* around it goes on from the published weights and learns on waveforms, from items
   that no codec had changed before (:mod:`enhancelib.train.run`).

Items, runs and logs are kept in data/pretraining; :mod:`tools.publish.weights` makes a release of
them.
"""

import argparse
import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from enhancelib.data.envelopes import make_tables
from enhancelib.errors import EnhanceError
from enhancelib.model.checkpoints import checkpoint_sha256, read_checkpoint
from enhancelib.model.network import AudioUNet, ModelConfig, preset_config
from enhancelib.model.weights import find_weights
from enhancelib.train.energies import EnergyTrainer, EnergyTraining, insert
from enhancelib.train.run import train_model
from enhancelib.train.task import TrainingConfig
from tools.corpus.credits import EDITIONS
from tools.research.items import COUNTS, ITEMS, make_items

ROOT = ITEMS.parent


@dataclass(frozen=True)
class Recipe:
    """The stages of a preset.

    Attributes:
        energies: settings of the second stage; its ``model`` is the network's shape.
        network: settings of the third.
    """

    energies: EnergyTraining
    network: TrainingConfig

    @property
    def model(self) -> ModelConfig:
        """The network's shape."""
        return self.energies.model


def recipe(preset: str, *, steps: int, epochs: int, **fill: object) -> Recipe:
    """The recipe of a preset; ``fill`` gives the shape of its fill."""
    model = preset_config(preset).model_dump() | {"fill": fill, "dropout": 0.0}
    return Recipe(
        EnergyTraining(model=ModelConfig(**model), steps=steps),
        TrainingConfig(
            epochs=epochs,
            epoch_steps=200,  # some minutes: then validation, and a state to go on from
            dropout=0.0,
            batch_size=8,
            crop_seconds=2.0,
            learning_rate=3e-4,
            # Items come mixed, coloured and with noise.
            augmentation={"noise_probability": 0, "stretch": 0, "equalize_probability": 0},
            loss=LOSS,
            keep="last",
        ),
    )


LOSS = {
    **dict.fromkeys(("mse", "l1", "spectral", "envelope"), 0.0),
    **{"compressed_complex": 1.0, "dissimilarity": 1.0, "relative": 0.5, "gate": 0.2},
    "audible": 1.0,
}
"""What is lost is the fill's; the rest of the network is asked for what survived."""

RECIPES = {
    "fullband-44k": recipe("fullband-44k", steps=10_000, epochs=8),
    "seed-22k": recipe("seed-22k", steps=5_000, epochs=8, octaves=2, width=144),
}


def teach_energies(preset: str) -> Path:
    """Second stage; the folder of its run."""
    config, run = RECIPES[preset].energies, ROOT / f"{preset}-energies"
    tables = [
        make_tables(ITEMS / split, ROOT / "tables" / f"{preset}-{split}", config.model)
        for split in COUNTS
    ]
    EnergyTrainer(config, *tables, run).run()
    return run


def start_of(preset: str, run: Path) -> Path:
    """What the third stage goes on from: the published weights, with the fill of a run."""
    weights = find_weights("published", preset=preset)
    model = AudioUNet(**RECIPES[preset].model.model_dump())
    facts = {"energies_sha256": checkpoint_sha256(run / "energies.safetensors")}
    start = model.state_dict()
    for name, value in AudioUNet.load(weights).state_dict().items():
        if ".fill." not in name:
            start[name] = value
    model.load_state_dict(start)
    facts["weights_sha256"] = checkpoint_sha256(weights)
    facts["corpus_editions"] = editions_of(weights)
    insert(run / "energies.safetensors", model)
    return model.save(ROOT / f"{preset}-start.safetensors", metadata=facts, overwrite=True)


def editions_of(weights: Path) -> str:
    """Editions of the corpus that a checkpoint says it learnt from; the first said nothing."""
    return read_checkpoint(weights)[0].get("corpus_editions", "1")


def corpus_notes(corpus: Path, start: Path) -> dict[str, str]:
    """What the weights will say of their music: editions of the corpus, sources of this one.

    The model card is written from it. A corpus may lack games or recordings: its manifest tells.
    """
    editions = editions_of(start).split()
    editions += [edition for edition in [*EDITIONS][-1:] if edition not in editions]
    with open(corpus / "manifest.csv", newline="", encoding="utf-8") as file:
        sources = sorted({row["source"] for row in csv.DictReader(file)})
    return {"corpus_editions": " ".join(editions), "corpus_sources": json.dumps(sources)}


def main() -> None:
    """Parse the command line and run the stages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", choices=RECIPES)
    parser.add_argument("--corpus", type=Path, default=Path("data/corpus"))
    parser.add_argument(
        "--start_from", type=Path, help="a network with a fill; skips the second stage"
    )
    parser.add_argument("--epochs", type=int, help="of the network, instead of the recipe's")
    parser.add_argument("--run", type=Path, help="folder of the network's run")
    arguments = parser.parse_args()
    preset = arguments.preset
    run = arguments.run or ROOT / preset
    try:
        make_items(arguments.corpus)
        start = arguments.start_from
        if start is None:
            start = start_of(preset, teach_energies(preset))
        settings = RECIPES[preset].network
        train_model(
            ITEMS,
            run,
            settings.model_copy(update={"epochs": arguments.epochs or settings.epochs}),
            preset=preset,
            start_from=start,
            notes=corpus_notes(arguments.corpus, start),
        )
    except EnhanceError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
