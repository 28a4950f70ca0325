"""The command line: ``enhancelib prepare | train | enhance | export | benchmark``.

Every command parses its flags, calls one library function and prints what came of it. Nothing heavy
is imported until a command runs, so ``--help`` answers at once.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

import enhancelib as el
from enhancelib.errors import EnhanceError, InputError, ModelError

ModelType = StrEnum("ModelType", {n: n for n in ("pytorch", "onnx", "tflite", "torchscript")})
ExportType = StrEnum("ExportType", {n: n for n in ("onnx", "tflite", "torchscript")})

ModelPath = Annotated[
    Path | None, typer.Option("--model_path", help="Model file [default: the published model].")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there already.")]


class _OneLineErrors(TyperGroup):
    """Prints an :class:`EnhanceError` as ``error: <message>`` and exits with 1, no traceback."""

    def invoke(self, ctx: typer.Context) -> object:
        try:
            return super().invoke(ctx)
        except EnhanceError as error:
            message = str(error)
        except OSError as error:
            if error.filename is None:
                raise
            message = f"{error.filename}: {error.strerror}; check the path and its permissions"
        typer.echo(f"error: {message}", err=True)
        raise typer.Exit(1)


app = typer.Typer(
    cls=_OneLineErrors,
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
    overwrite: Overwrite = False,
) -> None:
    """Make pairs of lossless and lossy audio to train on.

    Music is cut into segments and sent through real codecs and other conditions. An interrupted run
    goes on where it was. Files that cannot be used are skipped and listed.
    """
    manifest = el.prepare(
        input_dir,
        output_dir,
        sample_rate=sample_rate,
        duration_s=duration,
        max_files=max_files,
        conditions=condition,
        seed=seed,
        overwrite=overwrite,
    )
    typer.echo(f"{len(el.read_manifest(manifest))} pairs in {manifest}")


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
    typer.echo(
        f"{result.checkpoint}: validation loss {result.best_loss:.4f}, "
        f"untreated {result.untreated_loss:.4f}"
    )


@app.command(
    epilog=_examples(
        "enhancelib enhance --input_path song.mp3 --output_path song_enhanced.wav",
        "enhancelib enhance --input_path album --output_path album_enhanced",
    )
)
def enhance(
    input_path: Annotated[Path, typer.Option("--input_path", help="Audio file or folder.")],
    output_path: Annotated[
        Path, typer.Option("--output_path", help="File to write, or folder for a folder.")
    ],
    model_path: ModelPath = None,
    model_type: Annotated[
        ModelType | None, typer.Option("--model_type", help="Runtime [default: by its suffix].")
    ] = None,
    limit: Annotated[
        bool, typer.Option("--limit", help="Turn down what would exceed full scale.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Enhance a file, or every audio file of a folder.

    Names, sample rate, channels and length stay. In a folder, lossy files become FLAC, what cannot
    be read is skipped and reported, and an interrupted run goes on where it was.
    """
    options = {"model": model_path, "model_type": model_type, "limit": limit}
    if input_path.is_dir():
        report = el.enhance_folder(input_path, output_path, **options, overwrite=overwrite)
        notes = [note for file in report.done for note in file.notes]
        notes += [f"skipped: {reason}" for _, reason in report.skipped]
        summary = (
            f"{output_path}: {len(report.done)} enhanced, {len(report.resumed)} done earlier, "
            f"{len(report.skipped)} skipped"
        )
    else:
        file = el.enhance_file(input_path, output_path, **options, overwrite=overwrite)
        notes, summary = file.notes, f"{file.path}: {file.seconds:.1f} s enhanced"
    for note in notes:
        typer.echo(note, err=True)
    typer.echo(summary)


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
    NAME.onnx takes a whole clip, NAME.stream.onnx one frame.
    """
    from enhancelib.model import checkpoint_sha256, read_checkpoint
    from enhancelib.modelfiles import default_model

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
        typer.echo(f"{file.path}: {file.bytes / 1e6:.2f} MB, error {file.error_db:.0f} dB")


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
    output_path: Annotated[
        Path | None, typer.Option("--output_path", help="CSV for the results [default: none].")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure latency, speed and memory of model files.

    Each runs in a process of its own. rtf is the time taken per second of audio. The ratio compares
    CPU times with the first file's; unlike milliseconds it bears a busy machine.
    """
    from enhancelib.benchmark import benchmark_results
    from enhancelib.modelfiles import default_model

    if output_path and output_path.exists() and not overwrite:
        raise InputError(f"{output_path}: exists; pass --overwrite or choose another name")
    paths = model_path or [default_model()]
    table = el.benchmark_files(paths, seconds=seconds, threads=threads or [1])
    for row in table[table["status"] != ""].itertuples():
        typer.echo(f"skipped: {row.status}", err=True)
    measured = table[table["status"] == ""]
    if measured.empty:
        raise ModelError(f"none of {len(table)} runs could be measured; name a file of ours")
    columns = ["file", "kind", "threads", "latency_ms", "rtf", "ratio", "peak_mb", "file_mb"]
    typer.echo(measured[columns].to_string(index=False, float_format="{:.3g}".format))
    if output_path:
        el.write_results(benchmark_results(table), output_path)
