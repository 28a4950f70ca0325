"""Curves, bars, intervals and points in one look; spectrograms come from beside.

The functions draw on the given axes, or make a figure of their own; every axis carries its unit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from enhancelib.errors import InputError
from enhancelib.show.inline import SideBySide
from enhancelib.show.spectrograms import (
    FLOOR_DB,
    level_db,
    spectrogram,
    spectrogram_difference,
    spectrogram_grid,
)
from enhancelib.show.style import (
    COLOURS,
    DIFFERENCE_MAP,
    HATCHES,
    INK,
    LEVEL_MAP,
    LINES,
    MARKERS,
    save_figure,
    styled,
    subplots,
    use_style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

__all__ = [
    "DIFFERENCE_MAP",
    "FLOOR_DB",
    "LEVEL_MAP",
    "SideBySide",
    "bars",
    "curves",
    "intervals",
    "level_db",
    "points",
    "save_figure",
    "slopes",
    "spectrogram",
    "spectrogram_difference",
    "spectrogram_grid",
    "subplots",
    "use_style",
]

_RESERVED = {"enhanced": 0, "untreated": 1, "lossy": 1, "lossless": 2}  # one look in all chapters


def _looks(labels: Sequence[str]) -> dict[str, int]:
    """Index of each label's colour, line, marker and hatch; known systems look alike everywhere."""
    taken = {_RESERVED[label] for label in labels if label in _RESERVED}
    free = [index for index in range(len(COLOURS)) if index not in taken] or [0]
    looks: dict[str, int] = {}
    for label in labels:
        others = sum(known not in _RESERVED for known in looks)
        looks[label] = _RESERVED.get(label, free[others % len(free)])
    return looks


@styled()
def curves(
    lines: Mapping[str, Sequence],
    *,
    x_label: str,
    y_label: str,
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draw named curves, each ``(x, y)`` or ``(x, y, low, high)`` with a shaded interval.

    Args:
        lines: label to equally long sequences.
        x_label: text of the x axis, with its unit.
        y_label: text of the y axis, with its unit.
        ax: axes to draw on; a new figure where None.
        title: title of the axes.
    """
    ax = ax or subplots()[1]
    looks = _looks(list(lines))
    for label, (x, y, *interval) in lines.items():
        look = looks[label]
        marker = MARKERS[look] if len(x) <= 30 else ""
        ax.plot(x, y, color=COLOURS[look], linestyle=LINES[look], marker=marker, label=label)
        if interval:
            ax.fill_between(x, *interval, color=COLOURS[look], alpha=0.18, linewidth=0)
    ax.set(xlabel=x_label, ylabel=y_label, title=title)
    if len(lines) > 1:
        ax.legend()
    return ax


@styled()
def bars(
    groups: Mapping[str, Mapping[str, float | Sequence[float]]],
    *,
    x_label: str,
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draw horizontal bars, grouped: ``{group: {series: value or (value, low, high)}}``.

    Args:
        groups: group to series to value; every group may lack some series.
        x_label: text of the value axis, with its unit.
        ax: axes to draw on; a new figure, as high as the bars need, where None.
        title: title of the axes.
    """

    def draw(
        ax: Axes, name: str, look: int, rows: np.ndarray, triples: np.ndarray, step: float
    ) -> None:
        ax.barh(
            rows,
            triples[:, 0],
            height=step * 0.92,
            xerr=_error_lengths(triples),
            error_kw={"ecolor": INK, "elinewidth": 1.1, "capsize": 2},
            color=COLOURS[look],
            hatch=HATCHES[look],
            edgecolor="white",
            linewidth=0.5,
            label=name,
        )

    return _rows_of_groups(groups, draw, x_label=x_label, ax=ax, title=title, share=0.84)


@styled()
def intervals(
    groups: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    x_label: str,
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draw points with intervals and a line at zero: ``{group: {series: (value, low, high)}}``.

    The plot for paired differences: an interval clear of the zero line is a difference.

    Args:
        groups: group to series to value and bounds; every group may lack some series.
        x_label: text of the value axis, with its unit.
        ax: axes to draw on; a new figure, as high as the rows need, where None.
        title: title of the axes.
    """

    def draw(
        ax: Axes, name: str, look: int, rows: np.ndarray, triples: np.ndarray, step: float
    ) -> None:
        ax.errorbar(
            triples[:, 0],
            rows,
            xerr=_error_lengths(triples),
            fmt=MARKERS[look],
            color=COLOURS[look],
            elinewidth=1.6,
            capsize=3,
            label=name,
        )

    ax = _rows_of_groups(groups, draw, x_label=x_label, ax=ax, title=title, share=0.7)
    ax.axvline(0, color="#6e6e73", linewidth=1.2, zorder=1)
    return ax


def _rows_of_groups(
    groups: Mapping[str, Mapping[str, float | Sequence[float]]],
    draw: Callable[..., None],
    *,
    x_label: str,
    ax: Axes | None,
    title: str,
    share: float,
) -> Axes:
    """A row per group and in it, side by side on ``share`` of its height, what each series has."""
    series = list(dict.fromkeys(name for group in groups.values() for name in group))
    ax = ax or subplots(height=0.9 + len(groups) * (0.16 + 0.2 * len(series)))[1]
    looks, step = _looks(series), share / max(1, len(series))
    for rank, name in enumerate(series):
        places = [place for place, group in enumerate(groups.values()) if name in group]
        triples = np.array([_triple(group[name]) for group in groups.values() if name in group])
        rows = np.array(places) + (rank - (len(series) - 1) / 2) * step
        draw(ax, name, looks[name], rows, triples, step)
    _name_rows(ax, list(groups), x_label, title)
    if len(series) > 1:
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


@styled()
def slopes(
    pairs: Mapping[str, Sequence[tuple[float, float]]],
    *,
    y_label: str,
    ax: Axes | None = None,
    title: str = "",
    least: float = 0.02,
) -> Axes:
    """Draw a line from each value to what became of it: ``{label: [(before, after), …]}``.

    What falls is dashed and of another colour, above what rises or stays.

    Args:
        pairs: label of a group to its pairs; groups stand side by side.
        y_label: text of the y axis, with its unit.
        ax: axes to draw on; a new figure where None.
        title: title of the axes.
        least: a fall of no more than this counts as none.
    """
    ax = ax or subplots()[1]
    for place, group in enumerate(pairs.values()):
        for before, after in group:
            look = _RESERVED["untreated" if after < before - least else "enhanced"]
            line: dict[str, Any] = {"color": COLOURS[look], "linestyle": LINES[look]}
            line |= {"marker": MARKERS[look], "markersize": 3.5, "zorder": 2 + look}
            ax.plot([place - 0.28, place + 0.28], [before, after], linewidth=1.3, **line)
    ax.set_xticks(range(len(pairs)), list(pairs))
    ax.tick_params(axis="x", length=0)
    ax.grid(False, axis="x")
    ax.set(xlim=(-0.5, len(pairs) - 0.5), ylabel=y_label, title=title)
    return ax


@styled()
def points(
    places: Mapping[str, tuple[float, float]],
    *,
    x_label: str,
    y_label: str,
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draw named points ``{label: (x, y)}``, each with its label beside it, above other labels.

    Args:
        places: label to coordinates.
        x_label: text of the x axis, with its unit.
        y_label: text of the y axis, with its unit.
        ax: axes to draw on; a new figure where None.
        title: title of the axes.
    """
    ax = ax or subplots()[1]
    labels = []
    for index, (label, (x, y)) in enumerate(places.items()):
        look = index % len(COLOURS)
        ax.plot(x, y, MARKERS[look], color=COLOURS[look], markersize=7)
        beside, unit = (7, 3), "offset points"
        labels.append(ax.annotate(label, (x, y), xytext=beside, textcoords=unit, fontsize=9))
    ax.set(xlabel=x_label, ylabel=y_label, title=title)
    ax.margins(x=0.18, y=0.15)
    _stack(labels)
    return ax


def _stack(labels: Sequence[Annotation]) -> None:
    """Raise labels that would cover another one, from the lowest point up."""
    taken: list[Bbox] = []
    for label in sorted(labels, key=lambda each: each.xy[1]):
        figure = label.get_figure(root=True)
        assert figure is not None
        figure.draw_without_rendering()
        while any(label.get_window_extent().overlaps(box) for box in taken):
            right, up = label.get_position()
            label.set_position((right, up + 1))
        taken.append(label.get_window_extent())


def _triple(value: float | Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = np.broadcast_to(value, 3)
    return float(low), float(middle), float(high)


def _error_lengths(triples: np.ndarray) -> np.ndarray | None:
    lengths = np.stack([triples[:, 0] - triples[:, 1], triples[:, 2] - triples[:, 0]])
    if (lengths < 0).any():
        raise InputError("an interval needs low <= value <= high, in the order (value, low, high)")
    return lengths if lengths.any() else None


def _name_rows(ax: Axes, names: list[str], x_label: str, title: str) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(False, axis="y")
    ax.set(xlabel=x_label, title=title)
