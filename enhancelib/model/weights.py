"""Where weights are found: those that come with this package, those of a run of the book."""

import os
from pathlib import Path

from enhancelib.errors import ModelError

PRETRAINED = Path(__file__).parents[1] / "pretrained"
"""The published weights, and the files exported from them."""
DEFAULT_PRESET = "fullband-44k"


def find_weights(
    which: str | os.PathLike,
    *,
    preset: str = DEFAULT_PRESET,
    run_dir: str | os.PathLike | None = None,
) -> Path:
    """Return the checkpoint to work on.

    Args:
        which: ``"published"``, the one that comes with this package; ``"run"``, the one that the
            training chapter left in ``run_dir``; or the path of another.
        preset: name of the network whose published weights are wanted.
        run_dir: folder of a run of the book; ``"run"`` needs it.

    Raises:
        ModelError: there is none, or ``"run"`` was asked for without ``run_dir``.
    """
    if which == "published":
        path = PRETRAINED / f"{preset}.safetensors"
        remedy = "none are published for this preset; take those of a run"
    elif which == "run":
        if run_dir is None:
            raise ModelError("run_dir: name the folder of the run whose weights are meant")
        path = Path(run_dir) / "checkpoint" / f"{preset}.safetensors"
        remedy = "run chapter 04_training with this run_dir first"
    else:
        path, remedy = Path(which), "name a checkpoint, or one of published and run"
    if not path.is_file():
        raise ModelError(f"{path}: no such weights; {remedy}")
    return path
