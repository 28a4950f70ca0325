"""Checkpoints on disk: named tensors and facts about them, as ``.safetensors`` or ``.pth``."""

import hashlib
import json
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from enhancelib.atomic import replacing
from enhancelib.errors import ModelError


def write_checkpoint(
    path: str | Path,
    facts: dict[str, str],
    weights: Mapping[str, Tensor],
    *,
    overwrite: bool = False,
) -> Path:
    """Write a checkpoint; the file appears when it is complete.

    The same weights and facts make the same ``.safetensors`` file, byte for byte, so that its hash
    names them: a run tells by it whether it goes on from the same start.

    Args:
        path: of the file, ``.safetensors`` or ``.pth``.
        facts: kept beside the weights, as text.
        weights: tensors by name.
        overwrite: replace a file that is there.

    Raises:
        ModelError: the file exists and ``overwrite`` is not set, its suffix is another, or it
            cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".safetensors", ".pth"):
        raise ModelError(f"{path}: weights are saved as .safetensors or .pth")
    if path.exists() and not overwrite:
        raise ModelError(f"{path}: exists already; pass overwrite to replace it")
    weights = {name: value.contiguous() for name, value in weights.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, facts, weights)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{path}: cannot be written ({reason_of(error)}); free the disk or name another place"
        ) from None
    return path


def _write(path: Path, facts: dict[str, str], weights: dict[str, Tensor]) -> None:
    """Write beside ``path`` and rename; nothing is left of what failed half-way."""
    with replacing(path) as partial:
        if path.suffix == ".safetensors":
            from safetensors.torch import save_file

            save_file(weights, partial, metadata=facts)
            if len(facts) > 1:
                _sort_header(partial)
        else:
            torch.save({"metadata": facts, "state_dict": weights}, partial)


def _sort_header(path: Path) -> None:
    """Put the facts of a ``.safetensors`` file in order; its writer draws one anew every time."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= size:  # else the writer spells something in another way: leave it so
            file.seek(8)
            file.write(text.ljust(size))


def read_checkpoint(path: str | Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and weights of a ``.safetensors`` or ``.pth`` checkpoint.

    Raises:
        ModelError: the file is missing, damaged or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such model file; train one or name another with --model_path")
    if path.suffix not in (".safetensors", ".pth"):
        raise ModelError(f"{path}: is no checkpoint; name a .safetensors or .pth file")
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="pt") as file:
                names = list(file.keys())
                return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
        with warnings.catch_warnings():
            # A foreign pickle is refused below; torch's advice on its protocol helps nobody.
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            content = torch.load(path, map_location="cpu", weights_only=True)
        return content["metadata"], content["state_dict"]
    except Exception as error:  # every reader raises its own kinds for a damaged file
        raise ModelError(
            f"{path}: cannot be read as a checkpoint ({reason_of(error)}); take one of enhancelib "
            "train"
        ) from None


def reason_of(error: Exception) -> str:
    """Why a file cannot be read, in one line that is no advice to run what is in it."""
    if isinstance(error, pickle.UnpicklingError):  # PyTorch's advice is to run what is in the file
        return "it is damaged, or holds more than weights"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def checkpoint_sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal: names a checkpoint in results and exported files."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
