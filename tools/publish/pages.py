"""Execute pages of the book that compute what they say, one after another in one kernel.

    python -m tools.publish.pages data/runs/pages jupyter_book/index.md jupyter_book/credits.md

Each page begins with no names and no figure of the page before; what that imported stays loaded,
which is most of the time that a kernel of its own would take. An executed page appears as
<folder>/<page>.ipynb when every cell of it ran. A failed one leaves <page>.failed.ipynb to look at.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tools.dev.run_chapter import ROOT, as_notebook, finished

BOOK = ROOT / "jupyter_book"
FRESH = """import sys
if "matplotlib.pyplot" in sys.modules:
    sys.modules["matplotlib.pyplot"].close("all")
%reset -f"""


def run_page(source: Path, output: Path, kernel: KernelManager) -> None:
    """Execute one page in a running kernel, from the repository root.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = as_notebook(source)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(FRESH))
    client = NotebookClient(notebook, km=kernel, timeout=None)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.unlink(missing_ok=True)
    failed = output.with_suffix(".failed.ipynb")
    failed.unlink(missing_ok=True)
    try:
        client.execute()
    except CellExecutionError:
        nbformat.write(notebook, failed)
        raise
    finally:
        if client.kc is not None:
            client.kc.stop_channels()
    del notebook.cells[0]
    nbformat.write(finished(notebook), output)


def run_pages(sources: list[Path], folder: Path) -> None:
    """Execute pages into a folder, which then has them as the book has."""
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # see run_chapter
    with tempfile.TemporaryDirectory() as sockets:
        kernel = KernelManager(kernel_name="python3", transport="ipc", ip=f"{sockets}/kernel")
        kernel.start_kernel(cwd=str(ROOT))
        try:
            for source in sources:
                page = source.resolve().relative_to(BOOK).with_suffix(".ipynb")
                print(f"== {page.with_suffix('')} ==", flush=True)
                run_page(source, folder / page, kernel)
        finally:
            kernel.shutdown_kernel(now=True)


def main() -> None:
    """Parse the command line, run, and turn a failed cell into its text and one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("sources", type=Path, nargs="+", metavar="PAGE")
    args = parser.parse_args()
    for source in args.sources:
        if not source.resolve().is_relative_to(BOOK) or not source.is_file():
            sys.exit(f"error: {source}: no page of {BOOK.name}/; name one")
    try:
        run_pages(args.sources, args.folder)
    except CellExecutionError as error:
        print(error, file=sys.stderr)
        sys.exit(f"error: a page failed in the cell above; kept in {args.folder} as .failed.ipynb")


if __name__ == "__main__":
    main()
