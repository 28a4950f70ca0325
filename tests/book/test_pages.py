"""Pages that compute what they say run in one kernel, each as if it were alone."""

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from tools.publish import pages

HEAD = "---\nkernelspec:\n  name: python3\n  display_name: Python 3\n---\n\n"


def page(folder, name, code):
    path = folder / f"{name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEAD}# {name}\n\n```{{code-cell}} ipython3\n{code}\n```\n")
    return path


@pytest.fixture
def book(tmp_path, monkeypatch):
    folder = tmp_path / "book"
    monkeypatch.setattr(pages, "BOOK", folder)
    return folder


def test_a_page_sees_nothing_of_the_page_before(book, tmp_path, root):
    first = page(
        book, "first", "import os, matplotlib.pyplot as plt\nplt.figure()\nleft = os.getcwd()\nleft"
    )
    second = page(
        book,
        "guide/second",
        "names = sorted(n for n in globals() if not n.startswith('_'))\n"
        "import matplotlib.pyplot as plt\n"
        "names, plt.get_fignums()",
    )
    pages.run_pages([first, second], tmp_path / "out")
    written = tmp_path / "out" / "guide" / "second.ipynb"
    *_, last = nbformat.read(written, as_version=4).cells
    names, figures = eval(last.outputs[0]["data"]["text/plain"])
    assert not {"os", "left", "plt", "sys"} & {*names}
    assert figures == []
    *_, cell = nbformat.read(tmp_path / "out" / "first.ipynb", as_version=4).cells
    texts = [output["data"]["text/plain"] for output in cell.outputs]
    assert repr(str(root)) in texts
    assert all(pages.FRESH not in cell.source for cell in nbformat.read(written, 4).cells)


def test_a_failed_page_is_kept_under_another_name(book, tmp_path, monkeypatch, capsys):
    good, bad = page(book, "good", "1"), page(book, "bad", "1 / 0")
    out = tmp_path / "out"
    out.mkdir()
    (out / "bad.ipynb").write_text("an earlier run")
    monkeypatch.setattr("sys.argv", ["pages", str(out), str(good), str(bad)])
    with pytest.raises(SystemExit, match="error: a page failed in the cell above"):
        pages.main()
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == ["bad.failed.ipynb", "good.ipynb"]
    with pytest.raises(CellExecutionError):
        pages.run_pages([bad], out)


def test_what_is_no_page_is_refused_before_anything_runs(book, tmp_path, monkeypatch):
    other = page(tmp_path, "other", "1")
    for path in (other, book / "missing.md"):
        monkeypatch.setattr("sys.argv", ["pages", str(tmp_path / "out"), str(path)])
        with pytest.raises(SystemExit, match=f"error: {path}: no page of"):
            pages.main()
    assert not (tmp_path / "out").exists()
