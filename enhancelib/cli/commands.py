"""The command line: ``enhancelib prepare | train | enhance | live | export | benchmark``.

Every command parses its flags, calls one library function and prints what came of it. Nothing heavy
is imported until a command runs, so ``--help`` answers at once.
"""

import csv
import math
import os
import select
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

import enhancelib as el
from enhancelib.checks import check_number
from enhancelib.cli.console import OneLineErrors, beside, say
from enhancelib.errors import InputError, ModelError

ModelType = StrEnum("ModelType", ["pytorch", "onnx", "tflite", "torchscript"])
ExportType = StrEnum("ExportType", ["onnx", "tflite", "torchscript"])
Processor = StrEnum("Processor", ["cpu", "cuda"])

ModelPath = Annotated[
    Path | None, typer.Option("--model_path", help="Model file [default: the published model].")
]
Scheduler = Annotated[
    str | None,
    typer.Option("--scheduler", help="Dask scheduler whose workers do it, e.g. tcp://host:8786."),
]
Amount = Annotated[
    float, typer.Option("--amount", help="Of the enhancement, from 0 (none) to 1 (all of it).")
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace what is there; an unfinished training goes on."),
]


app = typer.Typer(
    cls=OneLineErrors,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    # One rule gives every flag its second spelling: --input-dir is --input_dir.
    context_settings={"token_normalize_func": lambda token: token.replace("-", "_")},
)


def _examples(*commands: str) -> str:
    """The end of a help text; the first character keeps the lines as they are."""
    return "\n  ".join(["\b\nExamples:", *commands])


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"enhancelib {el.__version__}")
        raise typer.Exit


@app.callback(
    epilog=_examples(
        "enhancelib enhance song.mp3",
        "enhancelib enhance --input_path song.mp3 --output_path song_enhanced.wav",
        "enhancelib enhance --input_path album --output_path album_enhanced",
        "enhancelib train --input_dir my_music --output_dir processed_data",
    )
)
def _enhancelib(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Enhance lossy audio (MP3, AAC, Bluetooth's SBC …) towards the lossless original.

    Every flag may be written with hyphens too: --input-path.
    """


@app.command(
    epilog=_examples(
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
    epilog=_examples(
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
    epilog=_examples(
        "enhancelib enhance song.mp3",
        "enhancelib enhance --input_path song.mp3 --output_path song_enhanced.wav",
        "enhancelib enhance --input_path album --output_path album_enhanced",
    )
)
def enhance(
    song: Annotated[
        Path | None, typer.Argument(help="Audio file or folder.", show_default=False)
    ] = None,
    input_path: Annotated[
        Path | None, typer.Option("--input_path", help="The same by name.", show_default=False)
    ] = None,
    output_path: Annotated[
        Path | None,
        typer.Option(
            "--output_path",
            help="File to write, or folder for a folder [default: beside it, song_enhanced.flac "
            "or album_enhanced].",
        ),
    ] = None,
    model_path: ModelPath = None,
    model_type: Annotated[
        ModelType | None, typer.Option("--model_type", help="Runtime [default: by its suffix].")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option("--format", help="Write this in a folder, e.g. flac [default: as it was]."),
    ] = None,
    sample_rate: Annotated[
        int | None,
        typer.Option(
            "--sample_rate",
            help="Of the output, in Hz; a higher one makes room for treble [default: as it was].",
        ),
    ] = None,
    limit: Annotated[
        bool, typer.Option("--limit", help="Turn down what would exceed full scale.")
    ] = False,
    amount: Amount = 1.0,
    scheduler: Scheduler = None,
    overwrite: Overwrite = False,
) -> None:
    """Enhance a file, or every audio file of a folder.

    Names, channels and length stay, and the sample rate unless one is given. In a folder, lossy
    files become FLAC, what cannot be read is skipped and reported, and an interrupted run goes on
    where it was.
    """
    source = song or input_path
    if source is None or (song and input_path):
        raise InputError("enhance: name one audio file or folder: enhancelib enhance song.mp3")
    output_path = output_path or beside(source, format or "flac")
    options: dict[str, Any] = {"model": model_path, "model_type": model_type, "format": format}
    options |= {"limit": limit, "overwrite": overwrite}
    options |= {"sample_rate": sample_rate, "amount": amount}
    if source.is_dir():
        report = el.enhance_folder(source, output_path, **options, scheduler=scheduler)
        notes = [note for file in report.done for note in file.notes]
        notes += [f"skipped: {reason}" for _, reason in report.skipped]
        notes += [f"left as it was, since nothing was lost: {path}" for path in report.unchanged]
        summary = f"{output_path}: {report.summary()}"
    elif scheduler:
        raise InputError(f"{source}: a scheduler works on folders; leave --scheduler out")
    else:
        file = el.enhance_file(source, output_path, **options, progress=True)
        notes, summary = file.notes, f"{file.path}: {file.seconds:.1f} s enhanced"
    for note in notes:
        say(note, err=True)
    say(summary)


@app.command(
    epilog=_examples(
        "enhancelib live --list",
        "enhancelib live --input_device pulse --output_device pulse",
    )
)
def live(
    show_devices: Annotated[
        bool, typer.Option("--list", help="List the sound devices, and end.")
    ] = False,
    input_device: Annotated[
        str | None,
        typer.Option("--input_device", help="Number or part of a name [default: the system's]."),
    ] = None,
    output_device: Annotated[
        str | None,
        typer.Option("--output_device", help="Number or part of a name [default: the system's]."),
    ] = None,
    model_path: ModelPath = None,
    model_type: Annotated[
        ModelType | None, typer.Option("--model_type", help="Runtime [default: by its suffix].")
    ] = None,
    block_size: Annotated[int, typer.Option("--block_size", help="Samples per call.")] = 512,
    queue_delay: Annotated[
        int | None,
        typer.Option(
            "--queue_delay", help="Samples the model may lag [default: two blocks, at least 1024]."
        ),
    ] = None,
    device_latency: Annotated[
        float, typer.Option("--device_latency", help="To ask each device for, in ms.")
    ] = 100.0,
    amount: Amount = 1.0,
    seconds: Annotated[
        float | None, typer.Option("--seconds", help="End after so long [default: at Ctrl-C].")
    ] = None,
) -> None:
    """Enhance what one sound device hears and play it on another.

    Shows levels, delay and load. Enter switches to the untreated sound and back, at the same delay;
    Ctrl-C ends.
    """
    if show_devices:
        say(el.sound_devices())
        return
    options: dict[str, Any] = {"block_size": block_size, "queue_delay_samples": queue_delay}
    options |= {"amount": amount, "device_latency_ms": device_latency}
    options |= {"input_device": _device(input_device), "output_device": _device(output_device)}
    with el.LiveEnhancer(model_path, model_type, **options) as stream:
        status = _watch(stream, math.inf if seconds is None else seconds)
    if status.failure:
        raise ModelError(f"the model failed, and the rest was passed through ({status.failure})")
    say(
        f"{status.seconds:.1f} s enhanced, delay {status.latency_ms:.0f} ms (of the devices "
        f"{status.device_ms:.0f}), load {status.load:.1%}, {status.late_chunks} late, "
        f"{status.dropouts} dropouts".replace("%", " %")
    )
    if status.late_chunks or status.dropouts:
        typer.echo("a larger --device_latency or --queue_delay leaves more time", err=True)


def _device(name: str | None) -> int | str | None:
    return int(name) if name and name.isdigit() else name


def _watch(stream, seconds: float):
    """Draw the status ten times a second until the time is over or Ctrl-C; return the last one."""
    enhancer, status = stream.enhancer, stream.status
    shown, keys = sys.stderr.isatty(), [sys.stdin] if sys.stdin else []
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            status = stream.status
            if shown:
                typer.echo(f"\r{_status_line(status, enhancer.bypass)}", nl=False, err=True)
            if select.select(keys, [], [], min(0.1, max(0.0, end - time.monotonic())))[0]:
                typed = os.read(sys.stdin.fileno(), 1024)
                enhancer.bypass ^= bool(typed.count(b"\n") % 2)
                keys = keys if typed else []
    except KeyboardInterrupt:
        pass
    if shown:
        typer.echo(err=True)
    return status


def _status_line(status, bypass: bool) -> str:
    """What fits into 80 columns."""
    levels = [
        f"{name} {'#' * round((max(-60.0, level) + 60) / 10):6} {max(-99.0, level):4.0f} dB"
        for name, level in (("in", status.input_dbfs), ("out", status.output_dbfs))
    ]
    counts = f"{status.late_chunks} late {status.dropouts} lost"
    sound = "model failed" if status.failure else "untreated" if bypass else "enhanced "
    return f"{'  '.join(levels)}  {status.latency_ms:.0f} ms {status.load:4.0%} {counts} {sound}"


@app.command(
    epilog=_examples(
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


@app.command(epilog=_examples("enhancelib benchmark --model_path exports --threads 1 --threads 2"))
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
