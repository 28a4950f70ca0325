"""Spectrograms: level over time and frequency, alone, as a difference, and side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

import matplotlib.pyplot as plt
import numpy as np

from enhancelib.audio.waves import hann_window, short_time_spectra
from enhancelib.errors import InputError
from enhancelib.show.style import DIFFERENCE_MAP, LEVEL_MAP, styled, subplots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


FLOOR_DB = -100.0


def level_db(
    wave: np.ndarray, *, frame_length: int = 2048, hop_length: int = 512, floor_db: float = FLOOR_DB
) -> np.ndarray:
    """Short-time level in dB relative to a full-scale sine, shape (frequencies, frames).

    Periodic Hann window, frames centred on multiples of the hop, the ends mirrored; the power is
    the mean over channels, so opposite phases do not cancel.

    Args:
        wave: float (channels, samples) in [-1, 1].
        frame_length: samples of one frame.
        hop_length: samples from frame to frame.
        floor_db: levels below are raised to this.

    Raises:
        InputError: the array is not (channels, samples) with at least one sample, or not finite.
    """
    wave = np.asarray(wave, dtype=np.float32)
    if wave.ndim != 2 or wave.size == 0:
        raise InputError(f"a plot needs a wave of shape (channels, samples), got {wave.shape}")
    if not np.isfinite(wave).all():
        raise InputError("a plot needs finite samples: the wave holds NaN or infinity")
    window = hann_window(frame_length).astype(np.float32)
    half = frame_length // 2
    mirrored: Literal["reflect", "constant"] = "reflect" if wave.shape[1] > half else "constant"
    padded = np.pad(wave, ((0, 0), (half, half)), mode=mirrored)
    spectrum = short_time_spectra(padded, window, hop_length) * (2.0 / window.sum())
    power = np.mean(np.abs(spectrum) ** 2, axis=0).T
    return 10 * np.log10(np.maximum(power, 10 ** (floor_db / 10)))


@styled()
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
        sample_rate: in Hz.
        ax: axes to draw on; a new figure with a colour bar where None.
        title: title of the axes.
        max_hz: highest frequency shown; half the sample rate where None.
        floor_db: lowest level shown, in dBFS.
    """
    level = level_db(wave, floor_db=floor_db)
    return _draw_level(
        level, np.shape(wave)[1], sample_rate, ax, title, max_hz, (floor_db, 0.0), LEVEL_MAP
    )


@styled()
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
        reference: the same shape.
        sample_rate: in Hz.
        ax: axes to draw on; a new figure with a colour bar where None.
        title: title of the axes.
        max_hz: highest frequency shown; half the sample rate where None.
        range_db: the scale runs from minus to plus this.
        floor_db: levels below, in either wave, count as this.

    Raises:
        InputError: the two waves differ in shape.
    """
    if np.shape(estimate) != np.shape(reference):
        shapes = f"{np.shape(estimate)} and {np.shape(reference)}"
        raise InputError(f"a difference needs two waves of one shape, got {shapes}")
    level = level_db(estimate, floor_db=floor_db) - level_db(reference, floor_db=floor_db)
    limits = (-range_db, range_db)
    samples = np.shape(estimate)[1]
    return _draw_level(level, samples, sample_rate, ax, title, max_hz, limits, DIFFERENCE_MAP)


def _draw_level(level, samples, sample_rate, ax, title, max_hz, limits, colors) -> AxesImage:
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
        cmap=colors,
        interpolation="antialiased",
    )
    ax.grid(False)
    ax.set(xlabel="Time (s)", ylabel="Frequency (kHz)", title=title)
    ax.set_ylim(0, (max_hz or sample_rate / 2) / 1000)
    if own_figure:
        _level_bar(ax.figure, image, [ax], difference=colors == DIFFERENCE_MAP)
    return image


def _level_bar(figure: Figure, image: AxesImage, axes: Iterable[Axes], *, difference: bool) -> None:
    label = "Level difference (dB)" if difference else "Level (dBFS)"
    bar = figure.colorbar(image, ax=list(axes), label=label, pad=0.015, aspect=30)
    bar.outline.set_visible(False)


@styled()
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
        waves: title to wave, each float (channels, samples) in [-1, 1].
        sample_rate: in Hz, of all of them.
        columns: spectrograms in a row; two or three, as they fit, where None.
        max_hz: highest frequency shown; half the sample rate where None.
        floor_db: lowest level shown, in dBFS.

    Raises:
        InputError: there is no wave.
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
        heading = textwrap.fill(title, 72 // columns)  # it must not run into its neighbor's
        image = spectrogram(
            wave, sample_rate=sample_rate, ax=axes, title=heading, max_hz=max_hz, floor_db=floor_db
        )
        axes.label_outer()
    for axes in grid.flat[len(waves) :]:
        axes.set_visible(False)
    for axes in grid.flat[max(0, len(waves) - columns) : len(waves)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("Time (s)")
    _level_bar(figure, image, grid.flat, difference=False)
    return figure
