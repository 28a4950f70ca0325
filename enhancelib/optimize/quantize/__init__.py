"""Quantise exported files after training: float32 in, smaller files of the same kind beside them.

From the mildest to the boldest:

- :func:`to_float16` stores the convolutions' weights in 16 bits (TensorFlow Lite only) and
  :func:`quantize_weights` in 8; both compute in float32.
- :func:`quantize_dynamic` computes the dense convolutions in 8 bits too and finds the range of
  their input anew each time.
- :func:`quantize_static` computes the whole U-Net in 8 bits, with ranges measured beforehand by
  :func:`enhancelib.optimize.quantize.calibration.calibrate` (Jacob et al., arXiv:1712.05877; a
  scale per channel of
  the weights: Krishnamoorthi, arXiv:1806.08342).

Each takes an ``.onnx`` or ``.tflite`` file; with that of a clip its streaming sibling likewise, so
that both stay one network. The Fourier transform and the arithmetic around the U-Net stay float.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from enhancelib.audio.reading import PathLike
from enhancelib.audio.waves import Wave
from enhancelib.enhance.modelfiles import open_model, stream_path
from enhancelib.errors import ModelError
from enhancelib.optimize.export import ExportResult, check_music, model_file
from enhancelib.optimize.footprint import deviation_db

if TYPE_CHECKING:
    from enhancelib.optimize.quantize.calibration import LayerRange

MAX_ERROR_DB = -10.0
"""Largest error of a quantised file, in dB below the signal: rules out broken ones."""

Writer = Callable[[Path, Path], None]
"""Reads one file and writes another."""


class Options(TypedDict, total=False):
    """What all functions here take, see :func:`quantize_weights`."""

    music: Sequence[Wave] | None
    reference: PathLike | None
    max_error_db: float
    output_dir: PathLike | None
    overwrite: bool


def to_float16(path: PathLike, **options: Unpack[Options]) -> list[ExportResult]:
    """Write ``<name>.float16.tflite``: weights in 16 bits, computed in float32.

    ONNX Runtime computes no float16 on CPUs, so there is no such ONNX file.

    Args:
        path: a float32 ``.tflite`` file.
        **options: as for :func:`quantize_weights`, and so are the result and the errors.
    """
    return _derive(path, "float16", _writers("write_float16", ".tflite"), **options)


def quantize_weights(path: PathLike, **options: Unpack[Options]) -> list[ExportResult]:
    """Write ``<name>.int8-weights.<suffix>``: weights in 8 bits per channel, computed in float.

    Args:
        path: a float32 ``.onnx`` or ``.tflite`` file; of a clip, the ``.stream`` sibling is treated
            likewise if it is there.
        **options: ``music``, waves (channels, samples) at the model's rate to measure the error on
            (default: :func:`enhancelib.optimize.export.check_music`); ``reference``, the
            model file that it is measured against (default: ``path``); ``max_error_db``, the
            largest error, in dB below the signal (default: :data:`MAX_ERROR_DB`); ``output_dir``,
            where the new files go (default: beside ``path``); ``overwrite``, whether existing files
            may be replaced (default: no).

    Returns:
        The new files, each with its error.

    Raises:
        ModelError: the file is missing, foreign or of another format; a new one exists
            already, or its error is too large: then it is not written.
    """
    return _derive(path, "int8-weights", _writers("write_weights"), **options)


def quantize_dynamic(path: PathLike, **options: Unpack[Options]) -> list[ExportResult]:
    """Write ``<name>.int8-dynamic.<suffix>``: dense convolutions in 8 bits, ranges found in use.

    Depthwise and grouped convolutions get 8-bit weights but compute in float: no runtime has fast
    kernels for them without ranges known beforehand.

    Args:
        path: as for :func:`quantize_weights`, and so are the options, the result and the errors.
        **options: as for :func:`quantize_weights`.
    """
    return _derive(path, "int8-dynamic", _writers("write_dynamic"), **options)


def quantize_static(
    path: PathLike,
    ranges: Sequence[LayerRange],
    *,
    variant: str = "int8",
    **options: Unpack[Options],
) -> list[ExportResult]:
    """Write ``<name>.int8.<suffix>``: the whole U-Net in 8 bits, with ranges known beforehand.

    Args:
        path: as for :func:`quantize_weights`, and so are the other options and the result.
        ranges: of the same network, from
            :func:`enhancelib.optimize.quantize.calibration.calibrate`.
        variant: middle part of the new files' names.
        **options: as for :func:`quantize_weights`.

    Raises:
        ModelError: as for :func:`quantize_weights`, or the ranges are those of another network.
    """
    return _derive(path, variant, _writers("write_static", layers=ranges), **options)


def variant_path(path: PathLike, variant: str) -> Path:
    """``x.onnx`` → ``x.<variant>.onnx``, ``x.stream.onnx`` → ``x.<variant>.stream.onnx``."""
    path = Path(path)
    stream = ".stream" if path.stem.endswith(".stream") else ""
    return path.with_name(f"{path.stem.removesuffix('.stream')}.{variant}{stream}{path.suffix}")


def _writers(name: str, *suffixes: str, **arguments: object) -> dict[str, Writer]:
    """By suffix, the function of this name in the module for the format; imported when called."""

    def write(module: str, source: Path, target: Path) -> None:
        if module == "onnx":
            from enhancelib.optimize.quantize import onnx

            writer = getattr(onnx, name)
        else:
            from enhancelib.optimize.quantize import tflite

            writer = getattr(tflite, name)
        writer(source, target, **arguments)

    return {
        suffix: functools.partial(write, suffix[1:]) for suffix in suffixes or (".onnx", ".tflite")
    }


def _derive(
    path: PathLike,
    variant: str,
    writers: dict[str, Writer],
    *,
    music: Sequence[Wave] | None = None,
    reference: PathLike | None = None,
    max_error_db: float = MAX_ERROR_DB,
    output_dir: PathLike | None = None,
    overwrite: bool = False,
) -> list[ExportResult]:
    """Write a variant of a file, and of a clip's streaming sibling; each is checked first."""
    path = Path(path)
    if path.suffix not in writers:
        raise ModelError(f"{path}: not quantised like this; pass a {' or '.join(writers)} file")
    given = open_model(path)
    checked_on = "given music"
    if music is None:
        music, checked_on = check_music(given.metadata.sample_rate)
    wanted = open_model(reference or path)
    sources = [path]
    if given.clip and stream_path(path).is_file():
        sources.append(stream_path(path))
    folder = path.parent if output_dir is None else Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    targets = [folder / variant_path(each, variant).name for each in sources]
    for target in targets:
        if target.exists() and not overwrite:
            raise ModelError(f"{target}: exists already; pass overwrite to replace it")
    results = []
    for source, target in zip(sources, targets, strict=True):
        with model_file(target) as partial:
            with _quiet():
                writers[path.suffix](source, partial)
            made = open_model(partial)
            error_db = deviation_db(made, wanted, music)
            if not error_db <= max_error_db:
                raise ModelError(
                    f"{target}: not written; its output deviates from float32 by {error_db:.1f} dB "
                    f"of the signal, more than {max_error_db:.1f} dB"
                )
        kind, size = "clip" if made.clip else "stream", target.stat().st_size
        results.append(ExportResult(target, made.model_type, kind, size, error_db, checked_on))
    return results


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the quantisers tell of their progress; errors arrive as exceptions."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    text = io.StringIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(text),
        contextlib.redirect_stderr(text),
    ):
        # Of LiteRT, on a debugging mode that ai-edge-quantizer uses on purpose.
        warnings.filterwarnings("ignore", "Warning: Enabling `experimental_preserve_all_tensors`")
        try:
            yield
        finally:
            logging.root.setLevel(level)
