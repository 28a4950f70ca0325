"""Keep every chapter's .ipynb equal to its .py: same cells, no outputs, ids that do not wander.

python -m tools.dev.pair            write the .ipynb (or take over a newer, edited .ipynb first)
python -m tools.dev.pair --check    change nothing; exit 1 and name what differs
"""

import hashlib
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat

ROOT = Path(__file__).resolve().parents[2]


def cells(notebook: nbformat.NotebookNode) -> list[tuple]:
    """What a chapter consists of: type, source and tags of each cell."""
    return [(c.cell_type, c.source, c.metadata.get("tags", [])) for c in notebook.cells]


def paired(source: Path) -> str:
    """The text of the .ipynb that belongs to a py:percent file."""
    notebook = jupytext.read(source)
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {
                "display_name": "Python 3 (ipykernel)",
                "language": "python",
                "name": "python3",
            },
            "jupytext": {"formats": "ipynb,py:percent"},
        }
    )
    used: set[str] = set()
    for cell in notebook.cells:
        name = stem = hashlib.sha256(cell.source.encode()).hexdigest()[:8]
        while name in used:  # two cells with the same text
            name += stem[0]
        used.add(name)
        cell.id = name
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def update(source: Path) -> None:
    """Write the pair; where the .ipynb is newer and has other cells, it is the one that counts."""
    notebook = source.with_suffix(".ipynb")
    if notebook.exists() and notebook.stat().st_mtime > source.stat().st_mtime:
        edited = cells(nbformat.read(notebook, as_version=4)) != cells(jupytext.read(source))
        if edited:
            subprocess.run(["jupytext", "--quiet", "--to", "py:percent", notebook], check=True)
    text = paired(source)
    if not notebook.exists() or notebook.read_text() != text:
        notebook.write_text(text)
        print(f"wrote {notebook.relative_to(ROOT)}")


def main() -> None:
    """Go through the chapters."""
    sources = sorted((ROOT / "notebooks").glob("[0-9]*.py"))
    if "--check" not in sys.argv:
        for source in sources:
            update(source)
        return
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        if notebook.with_suffix(".py") not in sources:
            sys.exit(f"error: {notebook.relative_to(ROOT)} has no .py of its name")
    for source in sources:
        notebook = source.with_suffix(".ipynb")
        if not notebook.exists() or notebook.read_text() != paired(source):
            sys.exit(f"error: {notebook.relative_to(ROOT)} is not its .py's pair: make notebooks")


if __name__ == "__main__":
    main()
