"""Train the published weights of a preset on the free corpus; run it again to go on.

    python tools/pretrain.py fullband-44k

Pairs, run and log are kept in data/pretraining. ``--publish`` copies the best weights and their log
into enhancelib/pretrained and exports them to ONNX and TensorFlow Lite, in float and in 8 bits.
"""

import argparse
import csv
import shutil
import sys
from pathlib import Path

import pandas
import smaller

from enhancelib import audio, data
from enhancelib.catalogue import list_pieces, take
from enhancelib.checkpoints import checkpoint_sha256
from enhancelib.errors import EnhanceError, InputError
from enhancelib.export import export_model
from enhancelib.model import AudioUNet, preset_config
from enhancelib.restoration import TrainingConfig
from enhancelib.training import train_model
from enhancelib.weights import PRETRAINED, find_weights

ROOT = Path("data/pretraining")
DRAWS = 2
"""Random conditions per segment of the training split."""
CLIPS, CLIP_S = 14, 3.0
"""The validation split is too long to be heard every epoch: a clip from each of some pieces."""
VALIDATION = (
    *("lossless", "sbc-53", "aac-256", "mp3-320"),  # transparent
    *("sbc-35", "aac-128", "mp3-128", "sbc-20", "aac-64", "mp3-64", "mp3-40", "aac-64+sbc-20"),
    *("down-16000hz", "noise-white-20db", "noise-pink-10db", "old-recording", "clip-6db"),
)
KINDS = {"song": 4, "band": 2, "singing": 3, "speech": 3}
CONDITIONS = {"noise": 2, "clip": 3, "old": 4}
"""Kinds of pieces and first parts of conditions whose pairs are seen several times per epoch."""
SHARED = {
    "dropout": 0.0,
    "batch_size": 8,
    "epoch_steps": 400,  # a few minutes: then validation, and a state to go on from
    "crop_seconds": 2.0,
    "learning_rate": 1e-3,
    "augmentation": {"noise_probability": 0.2},
}
RECIPES = {
    "fullband-44k": TrainingConfig(epochs=20, **SHARED),
    "seed-22k": TrainingConfig(epochs=5, **SHARED),
}
STARTS = {"seed-22k": "fullband-44k"}
"""From scratch, a network at 22,050 Hz stays at doing nothing: LOG.md."""


def lower_bands(source: Path, preset: str, target: Path) -> Path:
    """The start of a preset at half the rate: what a trained network knows of its lower bands.

    Bins of 43 Hz and hops of 11.6 ms are the same at both rates, so only the layers that have
    weights of their own for each band differ.
    """
    trained, wanted = AudioUNet.load(source).state_dict(), AudioUNet.from_preset(preset)
    lower = wanted.config.bands
    weights = {}
    for name, blank in wanted.state_dict().items():
        value = trained[name]
        if name == "core.gate_context.weight":  # from channels and bands of the lowest level
            bands = lower >> (wanted.config.depth - 1)
            value = value[:lower].unflatten(1, (-1, 2 * bands))[:, :, :bands].flatten(1, 2)
        elif value.shape != blank.shape:  # band after band
            value = value[: len(blank)]
        weights[name] = value.clone()
    wanted.load_state_dict(weights)
    return wanted.save(target, metadata={"start": checkpoint_sha256(source)}, overwrite=True)


def make_pairs(corpus: Path, folder: Path) -> Path:
    """Pairs of the corpus's training split and of some validation clips; their joint manifest."""
    originals = never_coded(corpus, folder.with_name("originals"))
    data.prepare(
        originals,
        folder / "train",
        conditions=[f"random-{draw + 1}" for draw in range(DRAWS)],
        splits=["train"],
    )
    clips = ROOT / "clips"
    if not clips.exists():
        cut_clips(originals, clips)
    data.prepare(clips, folder / "validation", conditions=VALIDATION, duration_s=CLIP_S)
    rows = []
    for part in ("train", "validation"):
        with (folder / part / "manifest.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                places = {side: f"{part}/{row[side]}" for side in ("lossless", "lossy")}
                times = 1 if part == "validation" else repeats(row)
                rows += [{**row, **places, "split": part}] * times
    joint = folder / "manifest.csv"
    partial = joint.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    if joint.exists() and joint.read_bytes() == partial.read_bytes():
        partial.unlink()  # what goes by the manifest's time stays valid
    else:
        partial.replace(joint)
    return joint


def repeats(row: dict[str, str]) -> int:
    """How often a training pair is seen per epoch: more often where there are few of its kind."""
    kind, condition = row["piece"].split("/")[1], row["condition"].split("-")[0]
    return KINDS.get(kind, 1) * CONDITIONS.get(condition, 1)


def never_coded(corpus: Path, folder: Path) -> Path:
    """A folder of links to the pieces of the corpus that no codec has changed; with a manifest.

    What was coded once is no original: whoever trains on it must leave out what lies above its
    ``trusted_hz``, and the loss used here cannot.

    Raises:
        InputError: there is no manifest of the corpus.
    """
    manifest = corpus / "manifest.csv"
    if not manifest.is_file():
        raise InputError(f"{manifest} is missing: make corpus first")
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if not int(row["once_lossy"])]
    partial = folder.with_name(f".partial-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    for row in rows:
        link = partial / row["path"]
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((corpus / row["path"]).resolve())
    with (partial / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    shutil.rmtree(folder, ignore_errors=True)
    return partial.rename(folder)


def cut_clips(corpus: Path, folder: Path) -> None:
    """The middle of some validation pieces."""
    partial = folder.with_name(f".partial-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    pieces = [piece for piece in list_pieces(corpus) if piece.split == "validation"]
    for piece in take(pieces, CLIPS):
        wave, rate = audio.load(piece.path)
        samples = round(CLIP_S * rate)
        start = max(0, (wave.shape[1] - samples) // 2)
        path = partial / "validation" / piece.path.name
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.save(path, wave[:, start : start + samples], sample_rate=rate, subtype="PCM_24")
    partial.rename(folder)


def publish(preset: str, runs: list[Path]) -> None:
    """Copy the last run's weights into the package, join the logs, export for other runtimes."""
    PRETRAINED.mkdir(exist_ok=True)
    weights = PRETRAINED / f"{preset}.safetensors"
    shutil.copyfile(runs[-1] / weights.name, weights)
    logs: list[pandas.DataFrame] = []
    for run in runs:
        log = pandas.read_csv(run / "log.csv")
        if logs:  # one run started from the weights of the one before
            for column in ("epoch", "step"):
                log[column] += logs[-1][column].max() + (column == "epoch")
        logs.append(log)
    pandas.concat(logs).round(6).to_csv(weights.with_suffix(".csv"), index=False)
    options = {"preset": preset, "checkpoint_sha256": checkpoint_sha256(weights), "overwrite": True}
    model = AudioUNet.load(weights)
    export_model(model, PRETRAINED, formats=["onnx"], **options)
    export_model(model, PRETRAINED, formats=["tflite"], kinds=["stream"], **options)
    smaller.publish(preset)
    print(f"{weights}: {options['checkpoint_sha256']}; measure it: tools/results.py")


def main() -> None:
    """Parse the command line, prepare, train, publish."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", choices=RECIPES)
    parser.add_argument("--corpus", type=Path, default=Path("data/corpus"))
    parser.add_argument("--publish", action="store_true", help="copy the best weights and stop")
    parser.add_argument("--start_from", type=Path, help="checkpoint to go on from")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument(
        "--run", type=Path, nargs="+", help="folder of the run; to publish, of every stage in order"
    )
    arguments = parser.parse_args()
    runs = arguments.run or [ROOT / arguments.preset]
    try:
        if arguments.publish:
            publish(arguments.preset, runs)
            return
        recipe = RECIPES[arguments.preset]
        start = arguments.start_from
        if start is None and arguments.preset in STARTS:
            start = ROOT / f"{arguments.preset}-start.safetensors"
            lower_bands(
                find_weights("published", preset=STARTS[arguments.preset]), arguments.preset, start
            )
        train_model(
            make_pairs(arguments.corpus, ROOT / "pairs"),
            runs[-1],
            recipe.model_copy(update={"epochs": arguments.epochs or recipe.epochs}),
            preset=arguments.preset,
            sample_rate=preset_config(arguments.preset).sample_rate,
            start_from=start,
        )
    except EnhanceError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
