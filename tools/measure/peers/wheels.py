"""Packages that are measured beside ours, in folders of their own: not part of the environment."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from enhancelib.atomic import replacing_folder
from enhancelib.errors import ModelError


def install(folder: Path, pins: Iterable[str]) -> None:
    """Install wheels into a folder, without what they depend on; again only if the pins changed.

    Raises:
        ModelError: pip cannot.
    """
    wanted, note = "\n".join(pins), folder / "pins.txt"
    if note.exists() and note.read_text() == wanted:
        return
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
    with replacing_folder(folder) as partial:
        done = subprocess.run(
            [*command, "--only-binary=:all:", "--target", partial, *wanted.split("\n")],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
            raise ModelError(f"{folder}: {wanted.split()[0]} cannot be installed; {last}")
        (partial / note.name).write_text(wanted)
