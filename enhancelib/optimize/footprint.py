"""What a model file costs and how far its output strays: size, work, deviation."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from enhancelib.audio.reading import PathLike
from enhancelib.audio.waves import Wave
from enhancelib.enhance.backends import Backend
from enhancelib.enhance.modelfiles import as_backend
from enhancelib.enhance.streaming import enhance_wave
from enhancelib.errors import InputError
from enhancelib.model.network import AudioUNet
from enhancelib.provenance import RESULT_COLUMNS, result_row

if TYPE_CHECKING:
    import pandas

UNITS = {
    "size": "MB",
    "size_gzip": "MB",
    "error": "dB",
    "parameters": "1",
    "zeros": "1",
    "macs": "1/s",
}
"""What :func:`measure_files` measures, each with its unit; the last three of checkpoints only."""


def measure_files(
    paths: Sequence[PathLike],
    *,
    reference: PathLike,
    music: Sequence[Wave],
    seed: int = 0,
    command: str = "enhancelib.optimize.compression.measure_files",
) -> pandas.DataFrame:
    """Size of model files and how far their output strays from the reference's.

    Args:
        paths: model files, of any format.
        reference: the model file they were made from.
        music: waves (channels, samples) at the model's rate.
        seed: of whatever was random in making the files, for the column of that name.
        command: what a reader runs to measure this again.

    Returns:
        A row per file and measure, with the columns of
        :data:`enhancelib.provenance.RESULT_COLUMNS`. Measures are ``size`` and ``size_gzip``
        (10^6 bytes), ``error`` (:func:`deviation_db`), and of checkpoints ``parameters``,
        ``zeros`` (share of them) and ``macs`` (:func:`macs_per_second`).
    """
    import pandas

    origin = as_backend(reference)
    wanted = _outputs(origin, _cut(music, origin))
    rows = []
    for path in map(Path, paths):
        backend = as_backend(path)
        cut = _cut(music, backend, origin)
        whole = backend.clip_samples is None
        goals = wanted if whole else _outputs(origin, cut)
        values = {
            "size": path.stat().st_size / 1e6,
            "size_gzip": compressed_bytes(path) / 1e6,
            "error": _error_db(backend, goals, cut),
        }
        if backend.model_type == "pytorch":
            values |= _of_network(AudioUNet.load(path))
        rows += [
            result_row(
                path.name,
                name,
                value,
                UNITS[name],
                piece="all",
                condition="all",
                preset=backend.metadata.preset,
                checkpoint_sha256=backend.metadata.checkpoint_sha256,
                seed=seed,
                command=command,
            )
            for name, value in values.items()
        ]
    return pandas.DataFrame(rows, columns=RESULT_COLUMNS)


def _of_network(model: AudioUNet) -> dict[str, float]:
    zeros = sum(int((parameter == 0).sum()) for parameter in model.parameters())
    return {
        "parameters": model.num_parameters,
        "zeros": zeros / model.num_parameters,
        "macs": macs_per_second(model),
    }


def deviation_db(
    estimate: Backend | PathLike | AudioUNet,
    reference: Backend | PathLike | AudioUNet,
    music: Sequence[Wave],
) -> float:
    """Power of the difference between two models' outputs, in dB below the second one's.

    Where one of them takes clips of a fixed length only, longer music is cut to it.

    Args:
        estimate: a model file, an opened one, or a network.
        reference: the same.
        music: waves (channels, samples) at their rate; the powers are summed over all of it.

    Raises:
        InputError: there is no music.
    """
    if not len(music):
        raise InputError("music: nothing to compare the models on; pass a few seconds of it")
    other, origin = as_backend(estimate), as_backend(reference)
    cut = _cut(music, other, origin)
    return _error_db(other, _outputs(origin, cut), cut)


def _cut(music: Sequence[Wave], *models: Backend) -> list[Wave]:
    """The waves, no longer than what each of the models takes.

    What one hears and another does not would count as a difference, for half a frame before it.
    """
    most = min((m.clip_samples for m in models if m.clip_samples is not None), default=None)
    return [wave[:, :most] for wave in music]


def _outputs(model: Backend, music: Sequence[Wave]) -> list[Wave]:
    return [enhance_wave(wave, model, sample_rate=model.metadata.sample_rate) for wave in music]


def _error_db(model: Backend, wanted: Sequence[Wave], music: Sequence[Wave]) -> float:
    error = signal = 0.0
    for got, goal in zip(_outputs(model, music), wanted, strict=True):
        goal = goal.astype(np.float64)
        error += float(np.sum(np.square(got - goal)))
        signal += float(np.sum(np.square(goal)))
    return 10 * float(np.log10(max(error, 1e-30) / max(signal, 1e-30)))


def macs_per_second(model: AudioUNet) -> float:
    """Multiplications with addition that the network needs for a second of audio, per channel.

    All of it: Fourier transforms and convolutions, as PyTorch counts them.
    """
    training = model.training
    model.eval()  # what a pass in training leaves in batch norm is no business of ours
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.zeros(1, 1, model.config.sample_rate))
    finally:
        model.train(training)
    return counter.get_total_flops() / 2


def compressed_bytes(path: PathLike) -> int:
    """Size of a file after gzip: what zeros save on the way to a device, not on it."""
    return len(gzip.compress(Path(path).read_bytes(), compresslevel=9, mtime=0))
