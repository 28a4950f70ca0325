"""Find and open model files: which runtime a file needs, its streaming sibling, the default model.

Shared file names: ``<preset>.onnx``, ``.tflite`` or ``.pt`` takes a whole clip,
``<preset>.stream.onnx`` … one frame with explicit state; ``<preset>.safetensors`` is a checkpoint
and does both.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

from enhancelib.checks import check_threads
from enhancelib.enhance.backends import (
    Backend,
    LiteRTBackend,
    OnnxBackend,
    PyTorchBackend,
    TorchScriptBackend,
)
from enhancelib.errors import ModelError, installs
from enhancelib.metadata import describe
from enhancelib.model.weights import DEFAULT_PRESET, PRETRAINED

PathLike = str | os.PathLike

SUFFIXES = {
    "pytorch": (".safetensors", ".pth"),
    "onnx": (".onnx",),
    "tflite": (".tflite",),
    "torchscript": (".pt",),
}
"""Suffixes of each model type; the first is the one that is written."""

DEFAULT_ORDER = ("onnx", "tflite", "pytorch", "torchscript")
"""Which type is taken where none is named: the first of these that is there."""

_BACKENDS: dict[str, Callable[[Path, int | None], Backend]] = {
    "pytorch": lambda path, threads: PyTorchBackend.open(path, threads=threads),
    "onnx": lambda path, threads: OnnxBackend(path, threads=threads or 1),
    "tflite": lambda path, threads: LiteRTBackend(path, threads=threads or 1),
    "torchscript": lambda path, threads: TorchScriptBackend(path, threads=threads),
}


def as_backend(model: Backend | PathLike | None) -> Backend:
    """Return ``model`` opened: a backend, an ``AudioUNet``, a file's path or ``None``, the default.

    Raises:
        ModelError: as :func:`open_model`, or ``model`` is something else.
    """
    if isinstance(model, Backend):
        return model
    if model is None or isinstance(model, str | os.PathLike):
        return open_model(model)
    if not hasattr(model, "initial_state"):
        raise ModelError(f"model: {type(model).__name__} is no model; give a path or an AudioUNet")
    from enhancelib.model.network import PRESETS

    names = [name for name, config in PRESETS.items() if config == model.config]
    return PyTorchBackend(model, describe(model, preset=names[0] if names else "custom"), path=None)


def open_model(
    path: PathLike | None = None, model_type: str | None = None, *, threads: int | None = None
) -> Backend:
    """Open a model file in its runtime.

    Args:
        path: ``.safetensors`` or ``.pth`` (PyTorch), ``.onnx`` (ONNX Runtime), ``.tflite``
            (LiteRT), ``.pt`` (TorchScript); ``None`` takes :func:`default_model`.
        model_type: ``"pytorch"``, ``"onnx"``, ``"tflite"`` or ``"torchscript"``; ``None`` goes by
            the suffix.
        threads: of the runtime; ``None``: one, but PyTorch, whose count is that of the whole
            process, is left alone.

    Raises:
        ModelError: the file is missing, damaged, foreign or of another type, or its runtime is not
            installed.
        InputError: ``threads`` is impossible.
    """
    threads = check_threads(threads)
    path = default_model(model_type) if path is None else Path(path)
    kind = _type_of(path, model_type)
    if not path.is_file():
        raise ModelError(f"{path}: no such model file; export one or name another")
    try:
        return _BACKENDS[kind](path, threads)
    except ModuleNotFoundError as error:
        extra = "train" if error.name == "torch" else "optimize"
        raise ModelError(f"{path}: its runtime is not installed; {installs(extra)}") from None


def open_stream(
    path: PathLike | None = None, model_type: str | None = None, *, threads: int | None = None
) -> Backend:
    """Open a model that can stream: the file itself, or its ``.stream`` sibling.

    Raises:
        ModelError: as :func:`open_model`, or the file holds a whole-clip graph and has no sibling.
    """
    backend = open_model(path, model_type, threads=threads)
    if backend.stream:
        return backend
    assert backend.path is not None  # what lies in memory can stream
    sibling = stream_path(backend.path)
    if not sibling.is_file():
        raise ModelError(
            f"{backend.path}: takes whole clips only, and {sibling} to stream with is not there; "
            "export it beside"
        )
    return open_model(sibling, model_type, threads=threads)


def default_model(model_type: str | None = None, *, preset: str = DEFAULT_PRESET) -> Path:
    """Return the model to use when none is named: the published one.

    Raises:
        ModelError: there is none (of this type).
    """
    kinds = DEFAULT_ORDER if model_type is None else (_known(model_type),)
    for kind in kinds:
        middles = ("",) if kind == "pytorch" else (".stream", ".int8.stream")
        for middle, suffix in itertools.product(middles, SUFFIXES[kind]):
            path = PRETRAINED / f"{preset}{middle}{suffix}"
            if path.is_file():
                return path
    wanted = f" of type {model_type}" if model_type else ""
    raise ModelError(f"{preset}: no model{wanted} came with this package; name one")


def stream_path(path: Path) -> Path:
    """``x.onnx`` → ``x.stream.onnx``."""
    return path.with_name(f"{path.stem}.stream{path.suffix}")


def _known(model_type: str) -> str:
    if model_type not in SUFFIXES:
        raise ModelError(f"{model_type!r} is no model type; choose one of {', '.join(SUFFIXES)}")
    return model_type


def _type_of(path: Path, model_type: str | None) -> str:
    kinds = {suffix: kind for kind, suffixes in SUFFIXES.items() for suffix in suffixes}
    by_suffix = kinds.get(path.suffix.lower())
    if model_type is None:
        if by_suffix is None:
            raise ModelError(f"{path}: not a model file; its suffix is none of {', '.join(kinds)}")
        return by_suffix
    if by_suffix not in (None, _known(model_type)):
        raise ModelError(f"{path}: is a {by_suffix} file, not {model_type}; drop model_type")
    return model_type
