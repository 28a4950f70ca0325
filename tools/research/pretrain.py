"""Train the weights of a preset on the free corpus, stage after stage; run it again to go on.

    python -m tools.research.pretrain fullband-44k
    python -m tools.research.pretrain fullband-44k --start_from data/candidates/mean.safetensors

1. *Items* are mixed from the corpus and degraded (:mod:`enhancelib.data.items`).
2. The fill learns the *energies* of bands from tables of them (:mod:`enhancelib.train.energies`).
3. The *network* around it learns on waveforms, from items that no codec had changed before
   (:mod:`enhancelib.train.run`).

Both go on from the published weights, or from others; a recipe may leave the network as it was.
Weights that have a fill of the recipe's shape lend it to the network, so that neither stage waits
for the other: with ``--only energies`` in one terminal and ``--only network`` in another, two cores
share the work. The command without it ends what is left and joins the results in
data/pretraining/<preset>.safetensors, of which :mod:`tools.publish.weights` makes a release.
"""

import argparse
import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from enhancelib.data.envelopes import Tables, make_tables
from enhancelib.errors import ConfigError, EnhanceError
from enhancelib.model.checkpoints import checkpoint_sha256, read_checkpoint, write_checkpoint
from enhancelib.model.network import AudioUNet, ModelConfig, preset_config
from enhancelib.model.weights import find_weights
from enhancelib.provenance import commit
from enhancelib.train.energies import EnergyTrainer, EnergyTraining, insert
from enhancelib.train.run import train_model
from enhancelib.train.task import TrainingConfig
from tools.corpus.credits import EDITIONS
from tools.research.average import mean
from tools.research.items import COUNTS, ITEMS, make_items

ROOT = ITEMS.parent


@dataclass(frozen=True)
class Recipe:
    """The stages of a preset.

    Attributes:
        energies: settings of the second stage; its ``model`` is the network's shape.
        network: settings of the third.
        kept: share of the weights that the third stage began with in the mean that is published
            (Wortsman et al., "Robust fine-tuning of zero-shot models", arXiv:2109.01903). With 1
            there is no third stage.
        energies_kept: likewise of the published predictor of energies, where one was gone on from.
    """

    energies: EnergyTraining
    network: TrainingConfig
    kept: float = 0.0
    energies_kept: float = 0.0

    @property
    def stays(self) -> bool:
        """Whether the network stays as it was published."""
        return self.kept == 1

    @property
    def model(self) -> ModelConfig:
        """The network's shape."""
        return self.energies.model


def recipe(
    preset: str,
    energies: dict[str, float],
    *,
    epochs: int,
    kept: float = 0.0,
    energies_kept: float = 0.0,
    **fill: object,
) -> Recipe:
    """The recipe of a preset; ``fill`` gives the shape of its fill."""
    model = preset_config(preset).model_dump() | {"fill": fill, "dropout": 0.0}
    return Recipe(
        EnergyTraining(model=ModelConfig(**model), **energies),
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
        kept,
        energies_kept,
    )


LOSS = {
    **dict.fromkeys(("mse", "l1", "spectral", "envelope"), 0.0),
    **{"compressed_complex": 1.0, "dissimilarity": 1.0, "relative": 0.5, "gate": 0.5},
    "audible": 1.0,
}
"""What is lost is the fill's; the rest of the network is asked for what survived."""

TUNED = {
    **{"steps": 1_500, "learning_rate": 1e-3, "warmup": 50, "decay": 1.0, "average": 0.98},
    **{"dissimilarity": 20.0, "color_db": 4.0},
}
"""Settings of energies that go on from good ones."""

RECIPES = {
    "fullband-44k": recipe("fullband-44k", TUNED, epochs=6, kept=1.0, energies_kept=0.2),
    "seed-22k": recipe("seed-22k", {"steps": 5_000}, epochs=8, octaves=2, width=144),
}


def fill_of(preset: str, weights: Path) -> Path | None:
    """The predictor of these weights in a file of its own; ``None`` if its shape is another."""
    model = AudioUNet.load(weights)
    shape = RECIPES[preset].model.fill
    if model.core.fill is None or shape is None or model.config.fill != shape:
        return None
    path = ROOT / f"{preset}-fill.safetensors"
    if (
        not path.exists()
    ):  # weights that are published meanwhile do not change what a run began with
        facts = {"fill": shape.model_dump_json()}
        write_checkpoint(path, facts, model.core.fill.predictor.state_dict())
    return path


def energy_tables(preset: str) -> list[Tables]:
    """What the second stage learns from and is validated on, made where it is not there."""
    model, folder = RECIPES[preset].model, ROOT / "tables"
    return [make_tables(ITEMS / split, folder / f"{preset}-{split}", model) for split in COUNTS]


def teach_energies(preset: str, start: Path | None) -> Path:
    """Second stage, from this predictor on; its weights."""
    run = ROOT / f"{preset}-energies"
    trainer = EnergyTrainer(RECIPES[preset].energies, *energy_tables(preset), run, start_from=start)
    trainer.run()
    return run / "energies.safetensors"


def teach_network(preset: str, weights: Path, fill: Path, corpus: Path) -> Path:
    """Third stage, from these weights around this fill; its weights."""
    start = make_start(preset, weights, fill)
    train_model(
        ITEMS,
        ROOT / preset,
        RECIPES[preset].network,
        preset=preset,
        start_from=start,
        notes=corpus_notes(corpus, start),
    )
    return ROOT / preset / f"{preset}.safetensors"


def start_of(preset: str) -> Path:
    """Where the weights are that the third stage begins with."""
    return ROOT / f"{preset}-start.safetensors"


def make_start(preset: str, weights: Path, fill: Path) -> Path:
    """The network of these weights around this fill; once made, it stays."""
    start = start_of(preset)
    if not start.exists():
        facts = read_checkpoint(weights)[0] | {
            "weights_sha256": checkpoint_sha256(weights),
            "corpus_editions": editions_of(weights),
        }
        joined(RECIPES[preset].model, weights, fill).save(start, metadata=facts)
    return start


def joined(shape: ModelConfig, network: Path, fill: Path) -> AudioUNet:
    """A network of this shape, with the predictor of another file in its fill."""
    model = AudioUNet(**shape.model_dump())
    state = model.state_dict()
    for name, value in AudioUNet.load(network).state_dict().items():
        if ".fill." not in name:
            state[name] = value
    model.load_state_dict(state)
    return insert(fill, model)


def join(preset: str, network: Path, energies: Path, notes: dict[str, str] | None = None) -> Path:
    """Put what the second stage learnt into what the third did, each in a mean with its start.

    Args:
        preset: whose recipe it is.
        network: weights of the third stage, or its start where that is to stay.
        energies: those of the second.
        notes: what the result says of itself where ``network`` does not.
    """
    recipe, start = RECIPES[preset], start_of(preset)
    facts = (
        read_checkpoint(network)[0]
        | (notes or {})
        | {
            "network_sha256": checkpoint_sha256(network),
            "energies_sha256": checkpoint_sha256(energies),
            "kept": str(recipe.kept),
            "energies_kept": str(recipe.energies_kept),
        }
    )
    stages = json.loads(read_checkpoint(start)[0].get("stages", "[]"))
    facts["stages"] = json.dumps([*stages, stage_of(preset, facts["commit"])])
    model, before = joined(recipe.model, network, energies), AudioUNet.load(start).state_dict()
    state = mean(model.state_dict(), before, recipe.kept, fill=recipe.energies_kept)
    model.load_state_dict(state)
    return model.save(ROOT / f"{preset}.safetensors", metadata=facts, overwrite=True)


def stage_of(preset: str, code: str) -> str:
    """What the model card says of one run of this command."""
    recipe = RECIPES[preset]
    hours = recipe.energies.steps * recipe.energies.batch_size * recipe.energies.seconds / 3600
    done = f"`tools/research/pretrain.py {preset}`: energies {hours:,.0f} hours"
    if recipe.energies_kept:
        done += f" (the mean with {recipe.energies_kept:.0%} of those of before)"
    if recipe.stays:
        return f"{done} (code `{code}`); the rest as it was"
    steps = recipe.network.epochs * recipe.network.epoch_steps
    mean = f", then the mean with {recipe.kept:.0%} of the weights of before" if recipe.kept else ""
    return f"{done}, network {steps:,} steps on waveforms (code `{code}`){mean}"


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
    parser.add_argument("--start_from", type=Path, help="checkpoint, in place of the published one")
    parser.add_argument("--only", choices=("energies", "network"), help="this stage, no joining")
    arguments = parser.parse_args()
    preset, only = arguments.preset, arguments.only
    try:
        weights = arguments.start_from or find_weights("published", preset=preset)
        fill = fill_of(preset, weights)
        if RECIPES[preset].stays and only == "network":
            raise ConfigError(f"{preset}: its network stays as it is; leave out --only network")
        if fill is None and only == "network":
            raise ConfigError(f"{weights}: has another fill than the recipe; teach energies first")
        make_items(arguments.corpus)
        if only != "network":
            energies = teach_energies(preset, fill)
        if only is None and RECIPES[preset].stays:
            start = make_start(preset, weights, energies)
            notes = {"commit": commit(), **corpus_notes(arguments.corpus, start)}
            print(join(preset, start, energies, notes))
        elif only != "energies":
            network = teach_network(preset, weights, fill or energies, arguments.corpus)
            if only is None:
                print(join(preset, network, energies))
    except EnhanceError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
