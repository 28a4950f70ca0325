"""Drawings of the network: every level is there, by name, and nothing lies on anything else."""

from itertools import combinations

import matplotlib.pyplot as plt
import pytest
from matplotlib.patches import FancyBboxPatch

import enhancelib as el
from enhancelib.model.network import PRESETS, ModelConfig

CONFIGS = {
    **PRESETS,
    "flat": ModelConfig(depth=2, bands=8, gated=False),
    "deep": ModelConfig(depth=6),
    "filled": ModelConfig(fill={}),
    "filled and flat": ModelConfig(depth=2, fill={}),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_u_net_names_every_level_once_each_way_without_overlaps(config):
    ax = el.diagrams.u_net(config)
    words = [text.get_text() for text in ax.texts]
    for level in range(config.depth):
        size = f"{config.bands >> level} bands × {config.channels[level]}"
        ways = 2 if level < config.depth - 1 else 1
        assert sum(word.startswith(f"{size}\n") for word in words) == ways
    assert any("gate" in word for word in words) == config.gated
    assert any("noise" in word for word in words) == (config.fill is not None)
    # What the bottom sees: each block reaches 2 * dilation frames further back.
    seconds = sum(2 * d for d in config.dilations) * config.hop_length / config.sample_rate
    assert any(f"look back {seconds:.1f} s" in word for word in words)
    ax.figure.canvas.draw()
    boxes = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    frames = [box.get_window_extent() for box in boxes]
    assert not [pair for pair in combinations(frames, 2) if pair[0].overlaps(pair[1])]
    page = ax.figure.bbox
    assert all(page.contains(*corner) for frame in frames for corner in frame.corners())
    plt.close(ax.figure)
