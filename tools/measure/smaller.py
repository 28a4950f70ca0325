"""Make the published weights smaller in every way and measure it.

    python -m tools.measure smaller --preset fullband-44k                       every row
    python -m tools.measure smaller --only fullband-44k.int8.onnx               the rows of one file

Every variant is made in data/runs/smaller, timed in a process of its own, and evaluated on pieces
of data/devset.csv; data/results/PRESET-smaller.csv has the rows. What was made or measured before
is kept, so a stopped run goes on. :mod:`tools.publish.weights` puts the ones to
carry into the package.
"""

import argparse
import re
import shutil
import sys
import tempfile
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas

import enhancelib as el
from enhancelib.atomic import replacing
from enhancelib.errors import ConfigError, EnhanceError
from enhancelib.model.checkpoints import checkpoint_sha256, read_checkpoint
from enhancelib.model.network import AudioUNet
from enhancelib.optimize import compression
from enhancelib.provenance import RESULT_COLUMNS, code_digest
from enhancelib.train.run import train_model
from tools.measure.tables import RESULTS, all_measured, check_commit, read_table, write_table

ROOT = Path("data/runs/smaller")
EXCERPTS = Path("data/excerpts")
PAIRS = (Path("data/pretraining/items"), Path("data/runs/default/pairs/manifest.csv"))
"""What pruned networks are tuned on: the first that is there."""
PER_KIND = 2
"""Pieces of each kind that are measured, unless more are asked for."""
STEPS = 300
"""Batches of tuning, unless more are asked for."""
CALIBRATION_CONDITIONS = (
    *("lossless", "sbc-53", "sbc-20", "aac-128", "aac-64", "mp3-128", "mp3-64"),
    *("down-16000hz", "noise-white-20db", "clip-6db"),
)
CONDITIONS = (
    *("lossless", "sbc-53", "aac-256", "mp3-128"),
    *("sbc-20", "aac-64", "mp3-64", "down-16000hz", "noise-white-20db"),
)
EXCERPT_S = 5.0
"""What is heard of each piece, from its middle."""
METRICS = ("visqol", "lsd", "si_sdr", "in_band_si_sdr")
SHARES, TUNED = ("0.3", "0.5", "0.7"), ("magnitude", "0.5")
ALL_SHARES = tuple(f"0.{tenth}" for tenth in range(1, 10))
PRUNED = re.compile(
    r"(weights|channels)-(magnitude|random)-(half|0\.\d+)(-tuned|-trained)?\.safetensors"
)
TIMES = {"cpu_rtf": "1", "latency_ms": "ms", "peak_mb": "MB"}


def calibration_music(sample_rate: int, *, every: int = 1) -> list[np.ndarray]:
    """Every n-th excerpt through a real codec, mono, a third of them once more at full scale."""
    waves = []
    for number, file in enumerate(el.find_audio(EXCERPTS)[::every]):
        wave, _ = el.load(file, sample_rate=sample_rate, duration_s=3.0)
        condition = CALIBRATION_CONDITIONS[number % len(CALIBRATION_CONDITIONS)]
        lossy = el.degrade(wave[:2], condition, sample_rate=sample_rate)
        waves.append(lossy.mean(axis=0, keepdims=True))
    return waves + [wave / max(1e-6, np.abs(wave).max()) for wave in waves[::3]]


def makers_digest() -> str:
    """Digest of the code that makes files, so that what older code made is not taken for ours."""
    return code_digest("enhancelib.optimize.compression", "enhancelib.optimize.export")


class Maker:
    """Makes any variant of a checkpoint by its name, once.

    Args:
        preset: first part of every name.
        weights: the checkpoint.
        steps: batches of tuning after pruning, and of 8-bit training.
    """

    def __init__(self, preset: str, weights: Path, *, steps: int):
        self.preset, self.weights, self.steps = preset, weights, steps
        self.sha256 = checkpoint_sha256(weights)
        tuned = f"-{steps}-steps" * (steps != STEPS)
        self.folder = ROOT / f"{preset}-{self.sha256[:12]}-{makers_digest()[:12]}{tuned}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.model = AudioUNet.load(weights)

    @cached_property
    def ranges(self) -> list:
        """Ranges of the activations, on :func:`calibration_music`."""
        return compression.calibrate(self.model, calibration_music(self.model.config.sample_rate))

    @cached_property
    def manifest(self) -> Path:
        """The manifest of the pairs to tune on."""
        found = next((path for path in PAIRS if path.exists()), None)
        if found is None:
            raise ConfigError(f"{PAIRS[-1]}: no pairs to tune on; run chapter 01 or make pretrain")
        return found

    def make(self, name: str) -> Path:
        """The file of this name, made if it is not there yet.

        Raises:
            ConfigError: no such variant.
        """
        path = self.folder / name
        if path.exists():
            return path
        variant = name.removeprefix(f"{self.preset}.")
        if variant == "safetensors":
            with replacing(path) as partial:
                shutil.copyfile(self.weights, partial)
        elif pruned := PRUNED.fullmatch(variant):
            facts = {"preset": self.preset}
            self._pruned(*pruned.groups()).save(path, metadata=facts)
        else:
            self._file(variant)
        if not path.exists():
            raise ConfigError(f"{name}: no such variant; one of {', '.join(names(self.preset))}")
        return path

    def _pruned(self, kind: str, method: str, share: str, further: str | None) -> AudioUNet:
        if further:
            start = self.make(f"{self.preset}.{kind}-{method}-{share}.safetensors")
            if further == "-trained":
                return self._trained_on(start, self.folder / f"{kind}-{method}-{share}")
            rough = AudioUNet.load(start)
            settings = el.TrainingConfig(
                batch_size=8, crop_seconds=1.0, learning_rate=1e-3, dropout=0.0, warmup=0.1
            )
            return compression.fine_tune(
                rough, self.manifest, settings, steps=self.steps, keep_zeros=kind == "weights"
            )
        if share == "half":
            return self._half_of_the_work(method)
        cut = {"weights": compression.prune, "channels": compression.prune_channels}[kind]
        return cut(self.model, float(share), method=method)

    def _trained_on(self, start: Path, run: Path) -> AudioUNet:
        """After as much training as the full network's last stage had; a run may be resumed."""
        recipe = read_checkpoint(self.weights)[0]["training_config"]
        settings = el.TrainingConfig.model_validate_json(recipe)
        done = train_model(self.manifest, run, settings, preset=self.preset, start_from=start)
        return AudioUNet.load(done.weights)

    def _half_of_the_work(self, method: str) -> AudioUNet:
        """Without so many channels that half of the multiplications are left."""
        least = compression.macs_per_second(self.model) / 2
        for percent in range(10, 90):
            pruned = compression.prune_channels(self.model, percent / 100, method=method)
            if compression.macs_per_second(pruned) <= least:
                return pruned
        raise ConfigError(f"{self.weights}: its work cannot be halved by removing channels")

    def _file(self, variant: str) -> None:
        """Exported files come in families: clip and stream."""
        way, suffix = variant.rpartition(".")[::2]
        formats = {"onnx": "onnx", "tflite": "tflite", "pt": "torchscript"}
        float32 = self.folder / f"{self.preset}.{suffix}"
        if suffix in formats and not float32.exists():
            el.export_model(
                self.model,
                self.folder,
                preset=self.preset,
                formats=[formats[suffix]],
                checkpoint_sha256=self.sha256,
                ready=self.weights.parent,
                overwrite=True,
            )
        ways = {
            "int8-weights": compression.quantize_weights,
            "int8-dynamic": compression.quantize_dynamic,
            "float16": compression.to_float16,
        }
        if way == "int8":
            compression.quantize_static(float32, self.ranges, overwrite=True)
        elif way == "int8-qat":
            self._trained(float32)
        elif way in ways:
            ways[way](float32, overwrite=True)

    def _trained(self, float32: Path) -> None:
        """8 bits after training with 8 bits in mind."""
        settings = el.TrainingConfig(
            batch_size=8, crop_seconds=1.0, learning_rate=1e-5, dropout=0.0, warmup=0.2
        )
        aware = compression.quantization_aware_training(
            self.model, self.manifest, self.ranges, settings, steps=self.steps
        )
        with tempfile.TemporaryDirectory() as folder:
            (written,) = el.export_model(
                aware, folder, preset=self.preset, formats=["onnx"], kinds=["clip"]
            )
            compression.quantize_static(
                written.path,
                self.ranges,
                variant="int8-qat",
                reference=float32,
                output_dir=self.folder,
                overwrite=True,
            )


def names(preset: str, *, every_share: bool = False) -> list[str]:
    """All variants: the checkpoint first, then formats, bits, weights."""
    made = ["safetensors", "onnx", "tflite", "pt", "float16.tflite"]
    made += [f"int8{way}.{suffix}" for way in ("-weights", "-dynamic", "") for suffix in
             ("onnx", "tflite")]  # fmt: skip
    made += ["int8-qat.onnx"]
    made += [
        f"{kind}-{method}-{share}{tuned}.safetensors"
        for kind in ("weights", "channels")
        for method in ("magnitude", "random")
        for share in (ALL_SHARES if every_share else SHARES if method == "magnitude" else ("0.5",))
        for tuned in (("", "-tuned") if every_share or (method, share) == TUNED else ("",))
    ]
    made += [f"channels-magnitude-half{way}.safetensors" for way in ("", "-tuned")]
    made += ["channels-magnitude-half-trained.safetensors"] * every_share  # takes an evening
    return [f"{preset}.{each}" for each in made]


def measure(
    maker: Maker, chosen: list[str], *, per_kind: int, jobs: int | None
) -> pandas.DataFrame:
    """Rows of the chosen variants: footprint, times, quality."""
    rate = maker.model.config.sample_rate
    reference = maker.make(f"{maker.preset}.safetensors")
    paths = [maker.make(name) for name in dict.fromkeys([reference.name, *chosen])]
    command = "python -m tools.measure smaller --preset {preset} --only {name}"
    command += f" --per_kind {per_kind}" * (per_kind != PER_KIND)
    command += f" --steps {maker.steps}" * (maker.steps != STEPS)
    tests = pandas.read_csv("data/devset.csv").groupby("kind").head(per_kind)
    pieces = {Path(path).stem: Path("data") / path for path in tests["path"]}
    music = [el.load(path, sample_rate=rate, duration_s=3.0)[0] for path in pieces.values()]
    footprint = compression.measure_files(paths, reference=reference, music=music[:6])
    timed = all_measured(el.benchmark_files(paths, repeats=10, progress=False))
    timed = timed[timed["metric"].isin(TIMES) & timed["condition"].str.startswith("clip")]
    quality = el.evaluate(
        pieces,
        CONDITIONS,
        {path.name: path for path in paths},
        metrics=METRICS,
        sample_rate=rate,
        excerpt_s=EXCERPT_S,
        cache_dir=ROOT / "evaluation",
        n_jobs=jobs,
    )
    table = pandas.concat([footprint, timed, quality])[list(RESULT_COLUMNS)]
    table["value"] = table["value"].astype(float).round(6)
    table["command"] = [
        command.format(preset=maker.preset, name=reference.name if name == "untreated" else name)
        for name in table["system"]
    ]
    table.loc[table["system"] != "untreated", "checkpoint_sha256"] = maker.sha256
    return table


def summary(results: pandas.DataFrame, reference: str) -> pandas.DataFrame:
    """One row per variant: what it costs, what it loses, whether nothing else is better."""
    table = compression.losses(results, reference=reference)
    for metric in ("size", "macs", *TIMES, "error"):
        part = results[results["metric"] == metric]
        table[metric] = part.groupby("system")["value"].first()
    table["careful"] = compression.careful(table)
    table["front"] = compression.on_front(
        table[["size", "cpu_rtf", "in_band_si_sdr_loss", "visqol_loss"]]
    )
    return table


def main() -> None:
    """Parse the command line, make, measure and sum up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="fullband-44k")
    parser.add_argument("--weights", default="published", help="published, run, or a checkpoint")
    parser.add_argument("--only", nargs="+", help="these variants [default: all]")
    parser.add_argument("--full", action="store_true", help="every sparsity, tuned and trained")
    parser.add_argument("--per_kind", type=int, default=PER_KIND, help="pieces of each kind")
    parser.add_argument("--steps", type=int, default=STEPS, help="batches of tuning")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    path = arguments.output / f"{arguments.preset}-smaller.csv"
    try:
        check_commit(path, joined=bool(arguments.only))
        weights = el.find_weights(
            arguments.weights, preset=arguments.preset, run_dir="data/runs/default"
        )
        maker = Maker(arguments.preset, weights, steps=arguments.steps)
        chosen = arguments.only or names(arguments.preset, every_share=arguments.full)
        table = measure(maker, chosen, per_kind=arguments.per_kind, jobs=arguments.jobs)
        if arguments.only and path.exists():
            before = read_table(path)
            same = before["checkpoint_sha256"].isin([maker.sha256]) | (
                before["system"] == "untreated"
            )
            kept = before[same & ~before["system"].isin(table["system"])]
            table = pandas.concat([table, kept])
        order = {name: at for at, name in enumerate(names(arguments.preset, every_share=True), 1)}
        table = table.iloc[table["system"].map(order).fillna(0).argsort(kind="stable")]
        write_table(table, path)
        result = summary(table, f"{arguments.preset}.safetensors")
        with pandas.option_context("display.width", 250, "display.max_columns", 30):
            print(result.round(4).to_string())
        print(f"to carry: {compression.sweet_spot(result)}; in {path}")
    except EnhanceError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
