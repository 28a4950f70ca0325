"""One plotting style for every figure: readable on light and dark pages, and printed in grey.

A figure is an opaque white card, so it reads the same on a dark page, in README and on paper.
Series differ in colour (Okabe and Ito's palette for the colour-blind), in line, in marker and in
hatch, so any one of them may be lost. Level maps rise in lightness with the level.
The functions draw on the given axes, or make a figure of their own; every axis carries its unit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from enhancelib.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

LEVEL_MAP = "magma"
DIFFERENCE_MAP = "cividis"  # blue, grey, yellow with rising lightness: the sign survives grey print
FLOOR_DB = -100.0
_INK = "#1d1d1f"
_GRID = "#d9d9de"
_COLOURS = ("#0072b2", "#e69f00", "#1d1d1f", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
_LINES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---", "++")
_RESERVED = {"enhanced": 0, "untreated": 1, "lossy": 1, "lossless": 2}  # one look in all chapters

STYLE: dict[str, object] = {
    "figure.facecolor": "white",
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "savefig.dpi": 160,
    "svg.hashsalt": "enhancelib",
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": "#6e6e73",
    "axes.labelcolor": _INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.prop_cycle": mpl.cycler(color=_COLOURS) + mpl.cycler(linestyle=_LINES),
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "hatch.linewidth": 0.6,
    "image.cmap": LEVEL_MAP,
}


@contextlib.contextmanager
def _styled() -> Iterator[None]:
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


@_styled()
def subplots(rows: int = 1, columns: int = 1, *, width: float = 7.2, height: float = 3.2):
    """Return ``(figure, axes)`` in the house style, as :func:`matplotlib.pyplot.subplots` does.

    Args:
        rows: Rows of axes.
        columns: Columns of axes.
        width: Width of the figure in inches.
        height: Height of one row in inches.
    """
    return plt.subplots(rows, columns, figsize=(width, height * rows))


def level_db(
    wave: np.ndarray, *, frame_length: int = 2048, hop_length: int = 512, floor_db: float = FLOOR_DB
) -> np.ndarray:
    """Short-time level in dB relative to a full-scale sine, shape (frequencies, frames).

    Periodic Hann window, frames centred on multiples of the hop, the ends mirrored; the power is
    the mean over channels, so opposite phases do not cancel.

    Args:
        wave: float (channels, samples) in [-1, 1].
        frame_length: Samples of one frame.
        hop_length: Samples from frame to frame.
        floor_db: Levels below are raised to this.

    Raises:
        InputError: The array is not (channels, samples) with at least one sample, or not finite.
    """
    wave = np.asarray(wave, dtype=np.float32)
    if wave.ndim != 2 or wave.size == 0:
        raise InputError(f"a plot needs a wave of shape (channels, samples), got {wave.shape}")
    if not np.isfinite(wave).all():
        raise InputError("a plot needs finite samples: the wave holds NaN or infinity")
    window = np.hanning(frame_length + 1)[:-1].astype(np.float32)
    half = frame_length // 2
    mirrored = "reflect" if wave.shape[1] > half else "constant"
    padded = np.pad(wave, ((0, 0), (half, half)), mode=mirrored)
    frames = np.lib.stride_tricks.sliding_window_view(padded, frame_length, axis=1)
    spectrum = np.fft.rfft(frames[:, ::hop_length] * window, axis=2) * (2.0 / window.sum())
    power = np.mean(np.abs(spectrum) ** 2, axis=0).T
    return 10 * np.log10(np.maximum(power, 10 ** (floor_db / 10)))


@_styled()
def spectrogram(
    wave: np.ndarray,
    *,
    sample_rate: int,
    ax: Axes | None = None,
    title: str = "",
    max_hz: float | None = None,
    floor_db: float = FLOOR_DB,
) -> AxesImage:
    """Draw the level of a wave over time and frequency; returns the image (for a colour bar).

    Args:
        wave: float (channels, samples) in [-1, 1].
        sample_rate: In Hz.
        ax: Axes to draw on; a new figure with a colour bar where None.
        title: Title of the axes.
        max_hz: Highest frequency shown; half the sample rate where None.
        floor_db: Lowest level shown, in dBFS.
    """
    level = level_db(wave, floor_db=floor_db)
    return _draw_level(
        level, np.shape(wave)[1], sample_rate, ax, title, max_hz, (floor_db, 0.0), LEVEL_MAP
    )


@_styled()
def spectrogram_difference(
    estimate: np.ndarray,
    reference: np.ndarray,
    *,
    sample_rate: int,
    ax: Axes | None = None,
    title: str = "",
    max_hz: float | None = None,
    range_db: float = 30.0,
    floor_db: float = FLOOR_DB,
) -> AxesImage:
    """Draw level of the estimate minus level of the reference, in dB: light is added, dark is lost.

    Args:
        estimate: float (channels, samples).
        reference: The same shape.
        sample_rate: In Hz.
        ax: Axes to draw on; a new figure with a colour bar where None.
        title: Title of the axes.
        max_hz: Highest frequency shown; half the sample rate where None.
        range_db: The scale runs from minus to plus this.
        floor_db: Levels below, in either wave, count as this.

    Raises:
        InputError: The two waves differ in shape.
    """
    if np.shape(estimate) != np.shape(reference):
        shapes = f"{np.shape(estimate)} and {np.shape(reference)}"
        raise InputError(f"a difference needs two waves of one shape, got {shapes}")
    level = level_db(estimate, floor_db=floor_db) - level_db(reference, floor_db=floor_db)
    limits = (-range_db, range_db)
    samples = np.shape(estimate)[1]
    return _draw_level(level, samples, sample_rate, ax, title, max_hz, limits, DIFFERENCE_MAP)


def _draw_level(level, samples, sample_rate, ax, title, max_hz, limits, colours) -> AxesImage:
    own_figure = ax is None
    if own_figure:
        _, ax = subplots()
    extent = (0.0, samples / sample_rate, 0.0, sample_rate / 2000)
    image = ax.imshow(
        level,
        origin="lower",
        aspect="auto",
        extent=extent,
        vmin=limits[0],
        vmax=limits[1],
        cmap=colours,
        interpolation="antialiased",
    )
    ax.grid(False)
    ax.set(xlabel="Time (s)", ylabel="Frequency (kHz)", title=title)
    ax.set_ylim(0, (max_hz or sample_rate / 2) / 1000)
    if own_figure:
        _level_bar(ax.figure, image, [ax], difference=colours == DIFFERENCE_MAP)
    return image


def _level_bar(figure: Figure, image: AxesImage, axes: Iterable[Axes], *, difference: bool) -> None:
    label = "Level difference (dB)" if difference else "Level (dBFS)"
    bar = figure.colorbar(image, ax=list(axes), label=label, pad=0.015, aspect=30)
    bar.outline.set_visible(False)


@_styled()
def spectrogram_grid(
    waves: Mapping[str, np.ndarray],
    *,
    sample_rate: int,
    columns: int | None = None,
    max_hz: float | None = None,
    floor_db: float = FLOOR_DB,
) -> Figure:
    """Draw named waves side by side on one level scale.

    Args:
        waves: Title to wave, each float (channels, samples) in [-1, 1].
        sample_rate: In Hz, of all of them.
        columns: Spectrograms in a row; two or three, as they fit, where None.
        max_hz: Highest frequency shown; half the sample rate where None.
        floor_db: Lowest level shown, in dBFS.

    Raises:
        InputError: There is no wave.
    """
    if not waves:
        raise InputError("a grid of spectrograms needs at least one wave")
    columns = min(columns or (2 if len(waves) == 4 else 3), len(waves))
    rows = -(-len(waves) // columns)
    size = (8.4, 2.5 * rows + 0.3)
    figure, grid = plt.subplots(
        rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False
    )
    for axes, (title, wave) in zip(grid.flat, waves.items(), strict=False):
        image = spectrogram(
            wave, sample_rate=sample_rate, ax=axes, title=title, max_hz=max_hz, floor_db=floor_db
        )
        axes.label_outer()
    for axes in grid.flat[len(waves) :]:
        axes.set_visible(False)
    for axes in grid.flat[max(0, len(waves) - columns) : len(waves)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("Time (s)")
    _level_bar(figure, image, grid.flat, difference=False)
    return figure


def _looks(labels: Sequence[str]) -> dict[str, int]:
    """Index of each label's colour, line, marker and hatch; known systems look alike everywhere."""
    taken = {_RESERVED[label] for label in labels if label in _RESERVED}
    free = [index for index in range(len(_COLOURS)) if index not in taken] or [0]
    looks: dict[str, int] = {}
    for label in labels:
        others = sum(known not in _RESERVED for known in looks)
        looks[label] = _RESERVED.get(label, free[others % len(free)])
    return looks


@_styled()
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
        lines: Label to equally long sequences.
        x_label: Text of the x axis, with its unit.
        y_label: Text of the y axis, with its unit.
        ax: Axes to draw on; a new figure where None.
        title: Title of the axes.
    """
    ax = ax or subplots()[1]
    looks = _looks(list(lines))
    for label, (x, y, *interval) in lines.items():
        look = looks[label]
        marker = _MARKERS[look] if len(x) <= 30 else ""
        ax.plot(x, y, color=_COLOURS[look], linestyle=_LINES[look], marker=marker, label=label)
        if interval:
            ax.fill_between(x, *interval, color=_COLOURS[look], alpha=0.18, linewidth=0)
    ax.set(xlabel=x_label, ylabel=y_label, title=title)
    if len(lines) > 1:
        ax.legend()
    return ax


@_styled()
def bars(
    groups: Mapping[str, Mapping[str, float | Sequence[float]]],
    *,
    x_label: str,
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draw horizontal bars, grouped: ``{group: {series: value or (value, low, high)}}``.

    Args:
        groups: Group to series to value; every group may lack some series.
        x_label: Text of the value axis, with its unit.
        ax: Axes to draw on; a new figure, as high as the bars need, where None.
        title: Title of the axes.
    """

    def draw(
        ax: Axes, name: str, look: int, rows: np.ndarray, triples: np.ndarray, step: float
    ) -> None:
        ax.barh(
            rows,
            triples[:, 0],
            height=step * 0.92,
            xerr=_error_lengths(triples),
            error_kw={"ecolor": _INK, "elinewidth": 1.1, "capsize": 2},
            color=_COLOURS[look],
            hatch=_HATCHES[look],
            edgecolor="white",
            linewidth=0.5,
            label=name,
        )

    return _rows_of_groups(groups, draw, x_label=x_label, ax=ax, title=title, share=0.84)


@_styled()
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
        groups: Group to series to value and bounds; every group may lack some series.
        x_label: Text of the value axis, with its unit.
        ax: Axes to draw on; a new figure, as high as the rows need, where None.
        title: Title of the axes.
    """

    def draw(
        ax: Axes, name: str, look: int, rows: np.ndarray, triples: np.ndarray, step: float
    ) -> None:
        ax.errorbar(
            triples[:, 0],
            rows,
            xerr=_error_lengths(triples),
            fmt=_MARKERS[look],
            color=_COLOURS[look],
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


@_styled()
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
        places: Label to coordinates.
        x_label: Text of the x axis, with its unit.
        y_label: Text of the y axis, with its unit.
        ax: Axes to draw on; a new figure where None.
        title: Title of the axes.
    """
    ax = ax or subplots()[1]
    labels = []
    for index, (label, (x, y)) in enumerate(places.items()):
        look = index % len(_COLOURS)
        ax.plot(x, y, _MARKERS[look], color=_COLOURS[look], markersize=7)
        beside = {"xytext": (7, 3), "textcoords": "offset points", "fontsize": 9}
        labels.append(ax.annotate(label, (x, y), **beside))
    ax.set(xlabel=x_label, ylabel=y_label, title=title)
    ax.margins(x=0.18, y=0.15)
    _stack(labels)
    return ax


def _stack(labels: Sequence[Annotation]) -> None:
    """Raise labels that would cover another one, from the lowest point up."""
    taken: list[Bbox] = []
    for label in sorted(labels, key=lambda each: each.xy[1]):
        label.figure.draw_without_rendering()
        while any(label.get_window_extent().overlaps(box) for box in taken):
            right, up = label.get_position()
            label.set_position((right, up + 1))
        taken.append(label.get_window_extent())


def _triple(value: float | Sequence[float]) -> tuple[float, float, float]:
    return tuple(value) if np.ndim(value) else (value, value, value)


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


@_styled()
def save_figure(fig: Figure, name: str, *, figures_dir: str | Path = "figures") -> None:
    """Write a figure as ``figures_dir/name``; the suffix chooses, .svg where there is none.

    Use ``.png`` for spectrograms. The same figure gives the same bytes on every run.

    Args:
        fig: The figure.
        name: File name: chapter number, underscore, what it shows.
        figures_dir: Folder, made where missing.

    Raises:
        InputError: The suffix is neither .svg nor .png.
    """
    path = Path(figures_dir) / (name if Path(name).suffix else f"{name}.svg")
    if path.suffix not in {".svg", ".png"}:
        raise InputError(f"{path}: figures are saved as .svg or .png")
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    fig.savefig(path, metadata=metadata, bbox_inches="tight", pad_inches=0.12)
