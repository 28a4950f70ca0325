"""Commands for who makes models: ``enhancelib prepare | train | export | benchmark``."""

import csv
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import enhancelib as el
from enhancelib.checks import check_number
from enhancelib.cli.console import say
from enhancelib.cli.program import ModelPath, Overwrite, Scheduler, app, examples
from enhancelib.errors import InputError, ModelError

ExportType = StrEnum("ExportType", ["onnx", "tflite", "torchscript"])
Processor = StrEnum("Processor", ["cpu", "cuda"])


@app.command(
    epilog=examples(
        "enhancelib prepare --input_dir my_music --output_dir processed_data --max_files 100"
    )
)
def prepare(
    input_dir: Annotated[Path, typer.Option("--input_dir", help="Folder of lossless music.")],
    output_dir: Annotated[Path, typer.Option("--output_dir", help="Folder for the pairs.")],
    sample_rate: Annotated[int, typer.Option("--sample_rate", help="Of the pairs, in Hz.")] = 44100,
    duration: Annotated[float, typer.Option("--duration", help="Of a segment, in s.")] = 3.0,
    max_files: Annotated[
        int | None, typer.Option("--max_files", help="Take at most so many files.")
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option("--condition", help="Degrade like this (repeatable), e.g. sbc-20, mp3-64."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the noise in noisy conditions.")] = 0,
    scheduler: Scheduler = None,
    overwrite: Overwrite = False,
) -> None:
    """Make pairs of lossless and lossy audio to train on.

    Music is cut into segments and sent through real codecs and other conditions. An interrupted run
    goes on where it was. Files that cannot be used are skipped and listed.
    """
    check_number(seed, "seed", high=2**63 - 1)
    manifest = el.prepare(
        input_dir,
        output_dir,
        sample_rate=sample_rate,
        duration_s=duration,
        max_files=max_files,
        conditions=condition,
        seed=seed,
        scheduler=scheduler,
        overwrite=overwrite,
    )
    with open(manifest, newline="", encoding="utf-8") as file:
        say(f"{sum(1 for _ in csv.reader(file)) - 1} pairs in {manifest}")


@app.command(
    epilog=examples(
        "enhancelib train --input_dir my_music --output_dir processed_data --config config.json"
    )
)
def train(
    input_dir: Annotated[
        Path | None,
        typer.Option(
            "--input_dir", help="Folder of lossless music [default: the pairs already prepared]."
        ),
    ] = None,
    output_dir: Annotated[Path, typer.Option("--output_dir", help="Folder of the pairs.")] = Path(
        "processed_data"
    ),
    checkpoint_dir: Annotated[
        Path, typer.Option("--checkpoint_dir", help="Folder for checkpoints and log.")
    ] = Path("checkpoints"),
    config: Annotated[
        Path | None, typer.Option("--config", help="JSON file of settings [default: none].")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Prepare pairs where that is to do, and train on them.

    Writes checkpoint_epoch_N_best.pth. A run that was stopped goes on where it was. The config file
    may set base_channels, depth, dropout, batch_size, epochs, learning_rate, use_wandb and more.
    """
    from enhancelib.train import main as run

    result = run(input_dir, output_dir, checkpoint_dir, config, overwrite=overwrite)
    say(
        f"{result.checkpoint}: validation loss {result.best_loss:.4f}, "
        f"untreated {result.untreated_loss:.4f}"
    )


@app.command(
    epilog=examples(
        "enhancelib export --output_dir exports",
        "enhancelib export --model_path my.pth --output_dir exports --model_type onnx",
    )
)
def export(
    output_dir: Annotated[Path, typer.Option("--output_dir", help="Folder for the files.")],
    model_path: ModelPath = None,
    model_type: Annotated[
        list[ExportType] | None,
        typer.Option("--model_type", help="Which to write (repeatable) [default: all]."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a checkpoint as ONNX, TFLite and TorchScript.

    Each file is compared with PyTorch before it is kept. Of each format there are two files:
    NAME.onnx takes a whole clip, NAME.stream.onnx the next frames.
    """
    from enhancelib.enhance.modelfiles import default_model
    from enhancelib.model.checkpoints import checkpoint_sha256, read_checkpoint

    checkpoint = model_path or default_model("pytorch")
    facts, _ = read_checkpoint(checkpoint)
    results = el.export_model(
        el.AudioUNet.load(checkpoint),
        output_dir,
        preset=facts.get("preset", checkpoint.stem),
        formats=model_type or tuple(ExportType),
        checkpoint_sha256=checkpoint_sha256(checkpoint),
        licence=facts.get("licence", "MIT"),
        overwrite=overwrite,
    )
    for file in results:
        say(f"{file.path}: {file.bytes / 1e6:.2f} MB, error {file.error_db:.0f} dB")


@app.command(epilog=examples("enhancelib benchmark --model_path exports --threads 1 --threads 2"))
def benchmark(
    model_path: Annotated[
        list[Path] | None,
        typer.Option(
            "--model_path",
            help="Model file or folder of them (repeatable) [default: the published model].",
        ),
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option("--threads", help="Of the runtime (repeatable) [default: 1]."),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="Length of the clip.")] = 3.0,
    device: Annotated[
        Processor, typer.Option("--device", help="Where; cuda runs checkpoints only.")
    ] = Processor.cpu,
    output_path: Annotated[
        Path | None, typer.Option("--output_path", help="CSV for the results [default: none].")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure latency, speed and memory of model files.

    Each runs in a process of its own. rtf is the time taken per second of audio. The ratio compares
    CPU times with the first file's; unlike milliseconds it bears a busy machine.
    """
    from enhancelib.enhance.modelfiles import default_model
    from enhancelib.evaluate.benchmark import benchmark_results

    if output_path and output_path.exists() and not overwrite:
        raise InputError(f"{output_path}: exists; pass --overwrite or choose another name")
    paths = model_path or [default_model("pytorch" if device == "cuda" else None)]
    table = el.benchmark_files(paths, seconds=seconds, threads=threads or [1], device=device)
    measured, skipped = table[table["status"] == ""], table[table["status"] != ""]
    for row in skipped.itertuples():
        say(f"skipped: {row.file}, {row.kind}: {row.status}", err=True)
    if measured.empty:
        raise ModelError(f"none of {len(table)} runs could be measured, see above")
    columns = ["file", "kind", "threads", "latency_ms", "rtf", "ratio", "peak_mb", "file_mb"]
    say(measured[columns].to_string(index=False, float_format="{:.3g}".format))
    if output_path:
        el.write_results(benchmark_results(table), output_path)
