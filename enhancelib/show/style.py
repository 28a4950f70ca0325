"""One look for every figure: readable on light and dark pages, and printed in grey.

A figure is an opaque white card, so it reads the same on a dark page, in README and on paper.
Series differ in colour (Okabe and Ito's palette for the colour-blind), in line, in marker and in
hatch, so any one of them may be lost. Level maps rise in lightness with the level.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt

from enhancelib.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


LEVEL_MAP = "magma"


DIFFERENCE_MAP = "cividis"  # blue, grey, yellow with rising lightness: the sign survives grey print


INK = "#1d1d1f"


SOFT_INK = "#6e6e73"


GRID = "#d9d9de"


COLOURS = ("#0072b2", "#e69f00", "#1d1d1f", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")


LINES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))


MARKERS = ("o", "s", "^", "D", "v", "P", "X")


HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---", "++")


STYLE: dict[str, object] = {
    "figure.facecolor": "white",
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "savefig.dpi": 160,
    "svg.hashsalt": "enhancelib",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": SOFT_INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.prop_cycle": plt.cycler(color=COLOURS) + plt.cycler(linestyle=LINES),
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "hatch.linewidth": 0.6,
    "image.cmap": LEVEL_MAP,
}


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """The house style for a while, touching its own settings only.

    ``mpl.rc_context`` would put back *all* of them, also "interactive", which the first figure of a
    notebook switches on: no later figure would be shown.
    """
    before = {name: mpl.rcParams[name] for name in STYLE}
    mpl.rcParams.update(STYLE)
    try:
        yield
    finally:
        mpl.rcParams.update(before)


def use_style() -> None:
    """Make the house style the default of this session, for plots drawn by hand."""
    mpl.rcParams.update(STYLE)


@styled()
def subplots(rows: int = 1, columns: int = 1, *, width: float = 7.2, height: float = 3.2):
    """Return ``(figure, axes)`` in the house style, as :func:`matplotlib.pyplot.subplots` does.

    Args:
        rows: rows of axes.
        columns: columns of axes.
        width: width of the figure in inches.
        height: height of one row in inches.
    """
    return plt.subplots(rows, columns, figsize=(width, height * rows))


@styled()
def save_figure(fig: Figure, name: str, *, figures_dir: str | Path = "figures") -> None:
    """Write a figure as ``figures_dir/name``; the suffix chooses, .svg where there is none.

    Use ``.png`` for spectrograms. The same figure gives the same bytes on every run.

    Args:
        fig: the figure.
        name: file name: chapter number, underscore, what it shows.
        figures_dir: folder, made where missing.

    Raises:
        InputError: the suffix is neither .svg nor .png.
    """
    path = Path(figures_dir) / (name if Path(name).suffix else f"{name}.svg")
    if path.suffix not in {".svg", ".png"}:
        raise InputError(f"{path}: figures are saved as .svg or .png")
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    fig.savefig(path, metadata=metadata, bbox_inches="tight", pad_inches=0.12)
