"""Commands for who listens: ``enhancelib enhance | live``."""

import math
import os
import select
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

import enhancelib as el
from enhancelib.cli.console import beside, say
from enhancelib.cli.program import ModelPath, ModelType, Overwrite, Scheduler, app, examples
from enhancelib.errors import InputError, ModelError

Amount = Annotated[
    float, typer.Option("--amount", help="Of the enhancement, from 0 (none) to 1 (all of it).")
]


@app.command(
    epilog=examples(
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
    if os.path.isdir(source):
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
    epilog=examples(
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
