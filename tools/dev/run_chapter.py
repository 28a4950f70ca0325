"""Execute one chapter: py:percent in, executed notebook out, progress and log on the console.

    python -m tools.dev.run_chapter notebooks/01_data_synthesis.py out.ipynb -p seed 3

Parameters come from notebooks/profiles/<profile>.yaml (`all:` for every chapter, then the chapter's
own), then from -p. A name that the chapter's parameters cell lacks is an error. The output appears
only when every cell ran; a failed run leaves `<output>.failed.ipynb` to look at.
"""

import argparse
import logging
import os
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
import papermill
import yaml
from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[2]
PROFILES = ROOT / "notebooks" / "profiles"


class ParameterError(ValueError):
    """A profile or -p names something that is not there."""


def profile_parameters(profile: Path, chapter: str) -> dict:
    """The parameters that a profile file sets for one chapter."""
    try:
        table = yaml.safe_load(profile.read_text()) or {}
    except FileNotFoundError:
        legal = ", ".join(sorted(p.stem for p in profile.parent.glob("*.yaml")))
        raise ParameterError(f"no profile {profile.stem!r}: use one of {legal}") from None
    return {**(table.get("all") or {}), **(table.get(chapter) or {})}


def check_parameters(notebook: Path, chapter: str, given: dict) -> None:
    """Refuse a parameter that the chapter does not have (papermill itself would only warn)."""
    known = papermill.inspect_notebook(notebook)
    if unknown := sorted(set(given) - set(known)):
        raise ParameterError(
            f"{chapter} has no parameter {unknown[0]!r}: it has {', '.join(known)}"
        )


def as_notebook(source: Path) -> NotebookNode:
    """A chapter or a page as a notebook that runs in this environment's kernel."""
    notebook = jupytext.read(source)
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
    }
    return notebook


def finished(executed: NotebookNode) -> NotebookNode:
    """The same notebook, without what no reader of it needs."""
    CoalesceStreamsPreprocessor().preprocess(executed, {})  # of a progress bar, its last state
    for noise in ("widgets", "papermill"):  # widget state would ship all audio twice; machine paths
        executed.metadata.pop(noise, None)
    return executed


def run_chapter(source: Path, output: Path, given: dict) -> None:
    """Execute `source` from the repository root into `output`, which appears only on success."""
    if output.resolve() == source.resolve():
        raise ParameterError(f"{output}: is the source; name another file for what is executed")
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_suffix(".failed.ipynb")
    nbformat.write(as_notebook(source), unfinished)
    try:
        check_parameters(unfinished, source.stem, given)
    except ParameterError:
        unfinished.unlink()  # nothing of it has run
        raise
    output.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as sockets:
        # Sockets in a private folder: no open port, nor the kernel's warning about one.
        private = Config(KernelManager={"transport": "ipc", "ip": f"{sockets}/kernel"})
        executed = papermill.execute_notebook(
            *(unfinished, unfinished, given),
            cwd=ROOT,
            log_output=True,
            progress_bar=True,
            request_save_on_cell_execute=False,  # twice a cell, with all sound so far
            config=private,
        )
    nbformat.write(finished(executed), output)
    unfinished.unlink()


def main() -> None:
    """Parse the command line, run, and turn every foreseeable failure into one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--profile", default="default", help="a file of notebooks/profiles")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    args = parser.parse_args()
    # The kernel is this environment's own, whatever kernels the user has installed elsewhere.
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        given = profile_parameters(PROFILES / f"{args.profile}.yaml", args.source.stem)
        given |= {name: yaml.safe_load(value) for name, value in args.p}
        run_chapter(args.source, args.output, given)
    except (ParameterError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    except PapermillExecutionError as error:
        print(error, file=sys.stderr)
        sys.exit(
            f"error: {args.source} failed in the cell above; kept as "
            f"{args.output.with_suffix('.failed.ipynb')}"
        )


if __name__ == "__main__":
    main()
