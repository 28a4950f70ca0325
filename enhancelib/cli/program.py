"""The program ``enhancelib``: what its commands share, and what it says before any of them.

A command parses its flags, calls one library function and prints what came of it. Nothing heavy is
imported until one runs, so ``--help`` answers at once.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import enhancelib as el
from enhancelib.cli.console import OneLineErrors

ModelType = StrEnum("ModelType", ["pytorch", "onnx", "tflite", "torchscript"])

ModelPath = Annotated[
    Path | None, typer.Option("--model_path", help="Model file [default: the published model].")
]
Scheduler = Annotated[
    str | None,
    typer.Option("--scheduler", help="Dask scheduler whose workers do it, e.g. tcp://host:8786."),
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


def examples(*commands: str) -> str:
    """The end of a help text; its first character keeps the lines as they are."""
    return "\n  ".join(["\b\nExamples:", *commands])


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"enhancelib {el.__version__}")
        raise typer.Exit


@app.callback(
    epilog=examples(
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
