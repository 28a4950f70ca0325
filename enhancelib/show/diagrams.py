"""Draw the network as it is configured, in the style of :mod:`enhancelib.show.plotting`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.patches import FancyBboxPatch

from enhancelib.show.plotting import subplots

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from enhancelib.model.network import ModelConfig

_FILLS = {"data": "#f5f5f7", "work": "#cfe5f4", "memory": "#fbe6c0"}
_WIDTH, _HEIGHT = 1.45, 0.6
_STEP = 1.15
"""Sideways distance from one level of the U to the next; the distance downwards is 1."""


def u_net(config: ModelConfig) -> Axes:
    """The way of a spectrum through the U-Net: down, along the bottom, up, and out by the gate.

    A fill, where there is one, has a row of its own above.

    Args:
        config: of an :class:`~enhancelib.model.network.AudioUNet`.
    """
    depth, filled = config.depth, config.fill is not None
    end = _STEP * (2 * depth - 2)  # where the way up arrives
    out, top, bottom = end + 2.4, 1.2, 1.0 - depth
    _, ax = subplots(width=9.5, height=0.8 * (depth + 1.2 + filled))
    ax.set_axis_off()
    ax.set(xlim=(-0.8, out + 0.8), ylim=(bottom - 0.4, top + filled + 0.4))
    size = [f"{config.bands >> i} bands × {config.channels[i]}" for i in range(depth)]
    blocks = f"{config.blocks} block{'s' * (config.blocks > 1)}"

    spectrum = _box(ax, (0, top), f"spectrum\n{config.bins} bins × 2", "data")
    levels = range(depth - 1)
    down = [_box(ax, (_STEP * i, -i), f"{size[i]}\n{blocks}", "work") for i in levels]
    up = [_box(ax, (end - _STEP * i, -i), f"{size[i]}\n{blocks}", "work") for i in levels]
    memory = f"{size[-1]}\n{_memory(config.dilations, config)}"
    deepest = _box(ax, (end / 2, bottom), memory, "memory", width=2.6)
    limit = ", limited" if filled else ""
    change = _box(ax, (out, 0), f"bin × mask\n+ residual{limit}", "work")
    name = "corrected" if filled else "enhanced"
    corrected = _box(ax, (out, top), f"{name}\n{config.bins} bins × 2", "data")

    _arrow(ax, spectrum, down[0], "a vector per band")
    for lower, upper in zip([*down[1:], deepest], down, strict=True):
        _arrow(ax, upper, lower)
    for lower, upper in zip([*up[1:], deepest], up, strict=True):
        _arrow(ax, lower, upper)
    for left, right in zip(down, up, strict=True):
        _arrow(ax, left, right, "added" if left is down[0] else "", dashed=True)
    _arrow(ax, up[0], change, "head")
    _arrow(ax, spectrum, corrected, "as it came", dashed=True)
    if config.gated:
        gate = _box(ax, (out, bottom), "gate, 0 to 1\nper band", "memory")
        _arrow(ax, up[0], gate, "now")
        _arrow(ax, deepest, gate, "so far")
        _arrow(ax, gate, change, "scales")
    _arrow(ax, change, corrected, "added")
    if filled:
        _fill(ax, config, spectrum, corrected, top + 1)
    return ax


def _fill(
    ax: Axes, config: ModelConfig, spectrum: FancyBboxPatch, corrected: FancyBboxPatch, y: float
) -> None:
    """Draw the row of the fill: spectrum, energies of bands, noise, enhanced spectrum."""
    assert config.fill is not None
    out = corrected.get_x() + corrected.get_width() / 2
    bands = config.hop_length // config.fill.band_bins
    bands -= bands >> config.fill.octaves
    text = f"energies of {bands} bands\n{_memory(config.fill.dilations, config)}"
    energies = _box(ax, (0.55, y), text, "memory", width=2.6)
    noise = _box(ax, (out - 1.95, y), "noise × gate\nwhere emptied", "work")
    enhanced = _box(ax, (out, y), f"enhanced\n{config.bins} bins × 2", "data")
    _arrow(ax, spectrum, energies)
    _arrow(ax, energies, noise)
    _arrow(ax, noise, enhanced, "fill")
    _arrow(ax, corrected, enhanced)


def _memory(dilations: Sequence[int], config: ModelConfig) -> str:
    """Say how far back blocks of these dilations look, in seconds."""
    past_s = 2 * sum(dilations) * config.hop_length / config.sample_rate
    return f"{len(dilations)} blocks that look back {past_s:.1f} s"


def _box(
    ax: Axes, center: tuple[float, float], text: str, kind: str, *, width: float = _WIDTH
) -> FancyBboxPatch:
    x, y = center
    box = FancyBboxPatch(
        (x - width / 2, y - _HEIGHT / 2),
        width,
        _HEIGHT,
        boxstyle="round,pad=0,rounding_size=0.08",
        facecolor=_FILLS[kind],
        edgecolor="#1d1d1f",
        linewidth=0.9,
        zorder=2,
    )
    ax.add_patch(box)
    ax.text(x, y, text, ha="center", va="center", fontsize=8, zorder=3)
    return box


def _arrow(
    ax: Axes, first: FancyBboxPatch, last: FancyBboxPatch, text: str = "", *, dashed: bool = False
) -> None:
    """Draw an arrow from the edge of one box to that of another, a word beside its middle."""
    (x0, y0), (x1, y1) = (
        (box.get_x() + box.get_width() / 2, box.get_y() + box.get_height() / 2)
        for box in (first, last)
    )
    line = {"arrowstyle": "-|>", "color": "#6e6e73", "linestyle": "--" if dashed else "-"}
    ends = {"patchA": first, "patchB": last, "shrinkA": 2, "shrinkB": 2}
    ax.annotate("", xy=(x1, y1), xytext=(x0, y0), arrowprops=line | ends)
    if not text:
        return
    level = y0 == y1
    ax.text(
        (x0 + x1) / 2 + 0.1 * (not level),
        (y0 + y1) / 2 + 0.06 * level,
        text,
        ha="center" if level else "left",
        va="bottom" if level else "center",
        fontsize=8,
        style="italic",
    )
