"""Write a network to ONNX, TensorFlow Lite and TorchScript, and check every file before it appears.

Each format gives two files: ``<preset>.<suffix>`` takes a whole clip, ``input`` → ``output``
(1, 1, samples); ``<preset>.stream.<suffix>`` takes the next frames (any number at a time; in
TensorFlow Lite one) with explicit state, ``spectrum``, ``state_0`` … → ``spectrum_out``,
``state_out_0`` …. All carry the metadata of
:class:`enhancelib.metadata.Metadata`. A file is run in its own runtime on real music and
compared with PyTorch; one that deviates is not written.
"""

from __future__ import annotations

import contextlib
import importlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from enhancelib.atomic import replacing
from enhancelib.audio.reading import PathLike, load
from enhancelib.audio.waves import Wave, fit_length
from enhancelib.audio.writing import find_audio
from enhancelib.enhance.frames import FrameEngine
from enhancelib.enhance.modelfiles import SUFFIXES, open_model
from enhancelib.errors import ConfigError, ModelError
from enhancelib.metadata import Metadata, describe
from enhancelib.model.network import AudioUNet
from enhancelib.optimize.stamps import STAMPS, graph_names, quiet_exporters

if TYPE_CHECKING:
    pass

FORMATS = ("onnx", "tflite", "torchscript")
KINDS = ("clip", "stream")
OPSET = 20
"""ONNX operator set; ONNX Runtime knows it since 1.17, on phones and in browsers too."""

CLIP_SECONDS = 3.0
"""Length of the clip that a whole-clip TFLite file takes: its shapes are fixed."""

MAX_ERROR_DB = -80.0
"""Largest error of a float32 file, in dB below the signal; 16-bit audio ends at -98 dB."""


@dataclass(frozen=True)
class ExportResult:
    """One exported file.

    Attributes:
        path: where it is.
        format: ``"onnx"``, ``"tflite"`` or ``"torchscript"``.
        kind: ``"clip"`` or ``"stream"``.
        bytes: size of the file.
        error_db: power of the difference from PyTorch, in dB below the output's; lower is better.
        checked_on: what was played through both.
    """

    path: Path
    format: str
    kind: str
    bytes: int
    error_db: float
    checked_on: str


class StreamStep(nn.Module):
    """:meth:`~enhancelib.model.network.AudioUNet.step` as a module with named outputs."""

    def __init__(self, model: AudioUNet):
        super().__init__()
        self.model = model

    def forward(self, spectrum: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """See :meth:`enhancelib.model.network.AudioUNet.step`."""
        return self.model.step(spectrum, *states)


def export_model(
    model: AudioUNet,
    output_dir: PathLike,
    *,
    preset: str,
    formats: Sequence[str] = FORMATS,
    kinds: Sequence[str] = KINDS,
    checkpoint_sha256: str = "",
    licence: str = "MIT",
    music: Sequence[Wave] | None = None,
    max_error_db: float = MAX_ERROR_DB,
    ready: PathLike | None = None,
    overwrite: bool = False,
) -> list[ExportResult]:
    """Write clip and stream file of every format, each checked in its own runtime.

    Args:
        model: the network; is put in evaluation mode.
        output_dir: folder to write to; made if missing.
        preset: first part of the file names, and the name in the metadata.
        formats: which of :data:`FORMATS`.
        kinds: which of :data:`KINDS`.
        checkpoint_sha256: of the checkpoint that the model was read from.
        licence: of the weights.
        music: waves at the model's rate to compare on; ``None`` takes :func:`check_music`.
        max_error_db: largest deviation from PyTorch, in dB below the signal.
        ready: folder that may hold the files of this very checkpoint already, as published weights
            have them beside them. Such a file is copied and checked, not converted again.
        overwrite: whether existing files may be replaced.

    Raises:
        ConfigError: an unknown format or kind.
        ModelError: a file exists already, or what converts to a format is not installed: then
            nothing is written; or a file deviates from PyTorch; that one is not written.
    """
    for names, known in ((formats, FORMATS), (kinds, KINDS)):
        if unknown := [name for name in names if name not in known]:
            raise ConfigError(f"export: {unknown[0]!r} is none of {', '.join(known)}")
    folder = Path(output_dir)
    targets = [
        (name, kind, folder / f"{preset}{'.stream' * (kind == 'stream')}{SUFFIXES[name][0]}")
        for name in formats
        for kind in kinds
    ]
    for _, _, path in targets:
        if path.exists() and not overwrite:
            raise ModelError(f"{path}: exists already; pass overwrite to replace it")
    metadata = describe(model, preset=preset, checkpoint_sha256=checkpoint_sha256, licence=licence)
    made = {
        path: Path(ready) / path.name
        for _, _, path in targets
        if ready is not None and _is_of(Path(ready) / path.name, metadata)
    }
    _check_converters([name for name, _, path in targets if path not in made])
    folder.mkdir(parents=True, exist_ok=True)
    model.eval()
    results = []
    for name, kind, path in targets:
        with model_file(path) as partial:
            if path in made:
                shutil.copyfile(made[path], partial)
                result = _checked(partial, path, model, metadata, music, max_error_db)
            else:
                _WRITERS[name](model, kind, partial)
                result = seal(
                    partial, path, model, metadata, music=music, max_error_db=max_error_db
                )
            results.append(result)
    return results


def _is_of(path: Path, metadata: Metadata) -> bool:
    """Whether there is a file that says of itself what a new one would."""
    known = bool(metadata.checkpoint_sha256)
    return known and path.is_file() and open_model(path).metadata == metadata


def _check_converters(formats: Sequence[str]) -> None:
    """Refuse a format whose converter cannot be imported, before anything is written."""
    for name in formats:
        try:
            with quiet_exporters():
                importlib.import_module(_CONVERTERS[name])
        except ModuleNotFoundError as error:
            raise ModelError(
                f"{name}: cannot be written without {error.name}; in the repository, "
                f"`pip install --no-deps -r requirements.lock`, or leave {name} out"
            ) from None


@contextlib.contextmanager
def model_file(path: Path) -> Iterator[Path]:
    """:func:`enhancelib.atomic.replacing` for a model.

    Raises:
        ModelError: nothing can be written there.
    """
    try:
        with replacing(path) as partial:
            yield partial
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be written ({error.strerror or error}); free the disk or name another "
            "place"
        ) from None


def seal(
    partial: Path,
    path: Path,
    model: AudioUNet,
    metadata: Metadata,
    *,
    music: Sequence[Wave] | None = None,
    max_error_db: float = MAX_ERROR_DB,
) -> ExportResult:
    """Put the metadata into a freshly written file and check it.

    Args:
        partial: the file, in any format, clip or stream, with the suffix of ``path``.
        path: its final name.
        model: the network it was made from.
        metadata: what the file is to say of itself.
        music: waves to compare on; ``None`` takes :func:`check_music`.
        max_error_db: largest deviation from PyTorch, in dB below the signal.

    Raises:
        ModelError: the file deviates more, gives NaN, or cannot be opened.
    """
    STAMPS[path.suffix](partial, metadata, model)
    return _checked(partial, path, model, metadata, music, max_error_db)


def _checked(
    partial: Path,
    path: Path,
    model: AudioUNet,
    metadata: Metadata,
    music: Sequence[Wave] | None,
    max_error_db: float,
) -> ExportResult:
    """Hold a finished file against PyTorch; see :func:`seal`."""
    checked_on = "given music"
    if music is None:
        music, checked_on = check_music(metadata.sample_rate)
    error_db = compare(partial, model, music)
    if not error_db <= max_error_db:
        raise ModelError(
            f"{path}: not written; its output deviates from PyTorch by {error_db:.1f} dB of the "
            f"signal, more than {max_error_db:.1f} dB"
        )
    backend = open_model(partial)
    return ExportResult(
        path=path,
        format=backend.model_type,
        kind="clip" if backend.clip else "stream",
        bytes=partial.stat().st_size,
        error_db=error_db,
        checked_on=checked_on,
    )


def compare(path: PathLike, model: AudioUNet, music: Sequence[Wave]) -> float:
    """Run a file in its own runtime and the network in PyTorch; silence must stay finite.

    Returns:
        Power of the difference in dB below that of PyTorch's output, over all of the music.
    """
    backend = open_model(path)
    error = signal = 0.0
    for wave in [*music, np.zeros_like(music[0])]:
        mono = wave[:1, : backend.clip_samples]
        with torch.inference_mode():
            wanted = model(torch.from_numpy(mono)[None])[0].numpy()
        if backend.clip:
            got = backend.run_clip(mono)
        else:
            engine = FrameEngine(backend, 1)
            got = np.concatenate([engine.push(mono), engine.finish()], axis=1)
        error += float(np.sum(np.square(got - wanted, dtype=np.float64)))
        signal += float(np.sum(np.square(wanted, dtype=np.float64)))
    return 10 * float(np.log10(max(error, 1e-30) / signal))


def check_music(sample_rate: int, *, folder: PathLike = "data/excerpts") -> tuple[list[Wave], str]:
    """Return mono clips of :data:`CLIP_SECONDS` to compare on, and what they are.

    They are excerpts of real music from ``folder``; where it is not there (outside the repository)
    a chord with noise stands in.
    """
    samples = round(CLIP_SECONDS * sample_rate)
    if not Path(folder).is_dir():
        time = np.arange(samples) / sample_rate
        chord = sum(np.sin(2 * np.pi * pitch * time) for pitch in (110, 277.2, 659.3, 3136))
        noise = np.random.default_rng(0).standard_normal(samples)
        return [(0.1 * chord + 0.02 * noise).astype(np.float32)[None]], "synthetic chord"
    files = find_audio(folder)
    files = files[:: max(1, len(files) // 3)][:3]
    waves = [load(file, sample_rate=sample_rate, duration_s=CLIP_SECONDS)[0] for file in files]
    clips = [fit_length(wave.mean(axis=0, keepdims=True), samples) for wave in waves]
    return clips, f"{len(clips)} excerpts"


def _example(
    model: AudioUNet, kind: str, *, channels: int, frames: int = 1
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The module to export and inputs to trace it with."""
    generator = torch.Generator().manual_seed(0)
    if kind == "clip":
        samples = round(CLIP_SECONDS * model.config.sample_rate)
        return model, (0.1 * torch.randn(channels, 1, samples, generator=generator),)
    spectrum = torch.randn(channels, frames, model.config.bins, 2, generator=generator)
    return StreamStep(model).eval(), (spectrum, *model.initial_state(channels))


def _write_onnx(model: AudioUNet, kind: str, path: Path) -> None:
    """Export through ``torch.export``; a clip's length, or channels and frames, stay free."""
    module, inputs = _example(model, kind, channels=1 if kind == "clip" else 2, frames=3)
    names_in, names_out = graph_names(kind, len(inputs) - 1)
    free = torch.export.Dim.DYNAMIC
    states = tuple({0: free} for _ in inputs[1:])
    shapes = ({2: free},) if kind == "clip" else ({0: free, 1: free}, states)
    with quiet_exporters():
        program = torch.onnx.export(
            module,
            inputs,
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=names_in,
            output_names=names_out,
            opset_version=OPSET,
            verbose=False,
        )
    program.save(path, external_data=False)


def _write_tflite(model: AudioUNet, kind: str, path: Path) -> None:
    """Convert with litert-torch; shapes are fixed: one channel, a frame or :data:`CLIP_SECONDS`."""
    module, inputs = _example(model, kind, channels=1)
    with quiet_exporters():
        import litert_torch
        from litert_torch import progress

        progress.config.show_progress = False
        content = litert_torch.convert(module, inputs).model_content()
    path.write_bytes(content)  # its own writer ends the process on a full disk


def _write_torchscript(model: AudioUNet, kind: str, path: Path) -> None:
    """Trace and freeze; length, channels and frames stay free."""
    module, inputs = _example(model, kind, channels=2, frames=3)
    with quiet_exporters(), torch.inference_mode():
        traced = torch.jit.trace(module, inputs, check_trace=False)
        path.write_bytes(torch.jit.freeze(traced).save_to_buffer())


_CONVERTERS = {"onnx": "onnxscript", "tflite": "litert_torch", "torchscript": "torch"}
_WRITERS = {"onnx": _write_onnx, "tflite": _write_tflite, "torchscript": _write_torchscript}
