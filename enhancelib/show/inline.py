"""Figures that are part of a page: in its colours, light or dark, and in full size on a phone.

A saved figure is an opaque card: a dark page shows it as a bright patch, and a phone shrinks it
until its letters cannot be read. Small figures within the page wrap instead.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt

from enhancelib.show.style import GRID, INK, SOFT_INK, styled

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

_NOT_HERE = re.compile(r"<metadata>.*?</metadata>|<style.*?</style>|font-family:[^;]*;", re.S)
"""Not taken from a figure's SVG: who made it, rules for the whole page, and its font."""
_PNG = re.compile(r"data:image/png;base64,([^\"]+)")
_OF_THE_PAGE = {
    INK: "currentColor",
    SOFT_INK: "currentColor",
    f"stroke: {GRID}": "stroke: currentColor; stroke-opacity: 0.18",
}
"""Colour of a figure → what a page puts in its place."""
_STYLE = "max-width: 100%; height: auto; stroke-linejoin: round"


class SideBySide:
    """Figures in a row, which wraps where the page is narrow; each closes as it is taken in.

    Args:
        figures: what a figure shows, in words for those who cannot see it, to the figure; at most
            3.4 inches wide, so that a phone shows it in full size.
    """

    def __init__(self, figures: Mapping[str, Figure]) -> None:
        self._pictures = [_svg(figure, alt) for alt, figure in figures.items()]

    def _repr_html_(self) -> str:
        layout = "display: flex; flex-wrap: wrap; gap: 1rem 1.5rem"
        return f'<div class="el-figures" style="{layout}">\n{"".join(self._pictures)}</div>'


class Download:
    """A link by which a page hands out a table as CSV; the table is in the page itself.

    For tables that are too long or too wide to be read on a page.

    Args:
        table: what the file holds; its index is left out.
        name: name of the file, with its suffix.
    """

    def __init__(self, table: pandas.DataFrame, name: str) -> None:
        self._data = table.to_csv(index=False).encode()
        self._name, self._rows = name, len(table)

    def _repr_html_(self) -> str:
        data = base64.b64encode(self._data).decode("ascii")
        name = escape(self._name)
        text = f"{name} ({self._rows:,} rows, {max(1, len(self._data) // 1000)} kB)"
        return f'<a download="{name}" href="data:text/csv;base64,{data}">{text}</a>'

    def __repr__(self) -> str:
        return f"Download({self._name}, {self._rows} rows)"


@styled()
def _svg(figure: Figure, alt: str) -> str:
    """A figure as an SVG element with a name, its text as text and its pixels as WebP."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    drawn = _NOT_HERE.sub("", text[text.index("<svg") :])
    drawn = re.sub(r'<g id="[^"]*"', "<g", drawn)
    prefix = "f" + hashlib.sha256(drawn.encode()).hexdigest()[:8]
    drawn = re.sub(r'( id="|url\(#|href="#)', rf"\1{prefix}-", drawn)
    for colour, own in _OF_THE_PAGE.items():
        drawn = drawn.replace(colour, own)
    drawn = _PNG.sub(_as_webp, drawn)
    opening = f'<svg role="img" aria-label="{escape(alt)}" style="{_STYLE}"'
    return drawn.replace("<svg", opening, 1) + "\n"


def _as_webp(found: re.Match) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    image = Image.open(io.BytesIO(base64.b64decode(found[1])))
    image.convert("RGB").save(buffer, "WEBP", quality=80, method=6)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
