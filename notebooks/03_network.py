# %% [markdown]
# # 03 · The network
#
# What survived a codec can be corrected, and what the codec left out has to be replaced. The
# network corrects with a *mask* and replaces with a *fill*, and a *gate* decides where it does
# anything at all. [The page on the network](../theory/network) says why it is built this way. This
# chapter opens the published network and looks at one clip and one frame inside it.
#
# **You will see** mask, gate and fill at work, and how far the gate opens for several codecs. **You
# will hear** the clip on its way: as it comes in, after the mask, and as it goes out.

# %% [markdown]
# Every setting of the chapter stands in the next cell. It opens the published weights. Name another
# checkpoint or a folder of your own to look at those.

# %% tags=["parameters"]
input_dir: str = "data/excerpts"  # folder of lossless music
run_dir: str = "data/runs/default"  # where this run keeps what it makes
figures_dir: str = "figures"  # where figures are saved
weights: str = "published"  # or a checkpoint, such as one of your own training
preset: str = "fullband-44k"  # or "seed-22k"
listen_to: str = "mp3-64"  # condition of the clip
codecs: str = "lossless,sbc-53,aac-128,mp3-64,sbc-20"  # for which the gate is shown
seed: int = 0  # of what a condition draws at random

# %% tags=["hide-input"]
import os
from pathlib import Path

import numpy as np
import torch
from IPython.display import Markdown

import enhancelib as el

if Path.cwd().name == "notebooks":  # opened in JupyterLab
    os.chdir("..")
el.plotting.use_style()

# %% [markdown]
# ## The network
#
# A waveform is cut into short frames, and each is transformed to a spectrum. Neighboring
# frequencies form bands. A U-Net halves the number of bands level by level and doubles it again,
# with a direct path across at every level. All of its layers look back in time, never ahead, so
# the same layers can run live.

# %% tags=["hide-input"]
checkpoint = el.find_weights(weights, preset=preset, run_dir=run_dir)
network = el.AudioUNet.load(checkpoint)
rate = network.config.sample_rate
axes = el.diagrams.u_net(network.config)
el.plotting.save_figure(axes.figure, "03_network", figures_dir=figures_dir)

# %% [markdown]
# The bin $X_{k,t}$ is frequency $k$ of frame $t$. The *mask* $M$, a complex number, corrects what
# survived in it. A *gate* $g$ between 0 and 1, one for each band and frame, scales the correction.
# Where a codec emptied a bin, there is nothing to multiply. There the *fill* $F$ writes noise, as
# strong as the network believes the music to have been:
#
# $$Y_{k,t} = X_{k,t} + g\,(M_{k,t} X_{k,t} + R_{k,t}) + F_{k,t}.$$
#
# The *residual* $R$ is a small number that is added to the bin. In a network with a fill, mask and
# residual together raise no bin by more than 6 dB, except bins that are nearly empty. The gate also
# scales the energy of the fill, so a shut gate passes the input unchanged.

# %% tags=["remove-input"]
fill = network.core.fill  # None in a network without
in_fill = sum(weight.numel() for weight in fill.parameters()) if fill else 0
latency_ms = 1000 * network.latency_samples / rate
parted = f"{in_fill:,} of them in its fill" if fill else "and no fill"
Markdown(
    f"The network has **{network.num_parameters:,} parameters**, {parted} "
    f"({4 * network.num_parameters / 1e6:.1f} MB in single precision), and delays a live signal by "
    f"{network.latency_samples:,} samples ({latency_ms:.1f} ms)."
)

# %% [markdown]
# ## What it does to a clip
#
# Four seconds of a piece of the test split go through the codec and then through the network.
# `el.parts` keeps what lies on the way: the wave after the mask, the wave after the fill, and how
# far the gate was open.

# %%
pieces = el.list_pieces(input_dir)
tests = [piece for piece in pieces if piece.split == "test"] or pieces
(heard_piece,) = el.choose_pieces(tests, 1, like="render_freedoom*")
lossless, _ = el.load(heard_piece.path, sample_rate=rate, duration_s=4)
lossy = el.degrade(lossless, listen_to, sample_rate=rate, seed=seed)
seen = el.parts(network, lossy)


# %% tags=["hide-input"]
def gate_map(gate: np.ndarray, ax):
    ax.set(xlabel="Time (s)", title="gate")
    ax.grid(False)
    extent = (0, lossy.shape[1] / rate, 0, rate / 2000)
    look = {"origin": "lower", "aspect": "auto", "cmap": "magma", "vmin": 0, "vmax": 1}
    return ax.imshow(gate.mean(axis=0), extent=extent, **look)


def with_scale(image, label: str) -> None:
    bar = image.figure.colorbar(image, ax=image.axes, label=label, pad=0.02)
    bar.outline.set_visible(False)


levels = {
    (0, 0): ("comes in", lossy),
    (1, 1): ("what the fill adds", seen.enhanced - seen.corrected),
    (2, 0): ("goes out", seen.enhanced),
    (2, 1): ("lossless", lossless),
}


# %% [markdown]
# The first four of the six pictures show the parts. A light color means loud, open, or louder than
# before.

# %% tags=["hide-input"]
figure, grid = el.plotting.subplots(3, 2, width=8.4, height=2.3)
options = {"sample_rate": rate}
for place, (title, wave) in levels.items():
    image = el.plotting.spectrogram(wave, ax=grid[place], title=title, **options)
    with_scale(image, "Level (dBFS)")
with_scale(gate_map(seen.gate, grid[0, 1]), "Open (0 to 1)")
grid[1, 1].set_ylabel("")
grid[2, 1].set_ylabel("")
options |= {"ax": grid[1, 0], "title": "what the mask changes", "range_db": 3}
with_scale(el.plotting.spectrogram_difference(seen.corrected, lossy, **options), "Change (dB)")
el.plotting.save_figure(figure, "03_parts.png", figures_dir=figures_dir)


# %% [markdown]
# Here are the same parts to hear. *After the mask* and *enhanced* differ by what the fill wrote.

# %%
coded = el.condition_title(listen_to)
way = {"lossless": lossless, coded: lossy, "after the mask": seen.corrected}
way["enhanced"] = seen.enhanced
el.Player(way, sample_rate=rate, title=f"{heard_piece.title}: {coded}")

# %% [markdown]
# How strong is each change, compared with the music, and how much nearer does it bring the clip?


# %%
def decibels(wave: np.ndarray) -> float:
    return 10 * np.log10(np.mean(np.square(wave, dtype=np.float64)) + 1e-20)


music_db = decibels(lossy)
mask_db = decibels(seen.corrected - lossy) - music_db
fill_db = decibels(seen.enhanced - seen.corrected) - music_db
stages = {
    "as it comes in": lossy,
    "after the mask": seen.corrected,
    "as it goes out": seen.enhanced,
}
lsd = {
    name: el.score(wave, lossless, sample_rate=rate, names=["lsd"])["lsd"]
    for name, wave in stages.items()
}

# %% tags=["remove-input"]
added = f"the fill adds noise {-fill_db:.0f} dB under it" if fill else "this network has no fill"
distances = ", ".join(f"{value:.2f} bel {name}" for name, value in lsd.items())
Markdown(
    f"The gate is {seen.gate.mean():.0%} open over these seconds. What the mask changes lies "
    f"{-mask_db:.0f} dB under the music, and {added}. The log-spectral distance to the lossless "
    f"clip, 0 where all levels are right, is {distances}."
)


# %% [markdown]
# ### One frame of it
#
# Now look at one frame, the one in which the codec left the levels furthest below the original's.
# Eight neighboring bins are taken together, since the fill works in bands of eight.


# %%
def band_levels(wave: np.ndarray) -> np.ndarray:
    """In dB, of eight bins together: (bands, frames), as the network's own frames have them."""
    bins = network.analyze(torch.from_numpy(wave)[:, None])[:, :, :-1] / network.core.scale
    power = bins.square().sum(dim=1).mean(dim=0).unflatten(0, (-1, 8)).mean(dim=1)
    return 10 * power.clamp(min=1e-11).log10().numpy()


# %% [markdown]
# The upper panel shows the levels on the way through the network, the lower one how far the gate
# was open:

# %% tags=["hide-input"]
named = {"untreated": lossy} | ({"corrected": seen.corrected} if fill else {})
named["enhanced"] = seen.enhanced
bands = {name: band_levels(wave) for name, wave in {"lossless": lossless, **named}.items()}
missing = bands["lossless"] - bands["untreated"]
frame = int(missing.clip(min=0).mean(axis=0).argmax())
khz = (np.arange(len(missing)) + 0.5) * rate / 2000 / len(missing)
figure, (top, below) = el.plotting.subplots(2, 1, height=2.4)
lines = {name: (khz, each[:, frame]) for name, each in bands.items()}
el.plotting.curves(lines, x_label="", y_label="Level (dBFS)", ax=top)
shown_gate = seen.gate.mean(axis=0)[:, frame].repeat(len(khz) // seen.gate.shape[1])
el.plotting.curves(
    {"gate": (khz, shown_gate)}, x_label="Frequency (kHz)", y_label="Gate (0 to 1)", ax=below
)
below.set_ylim(-0.05, 1.05)
el.plotting.save_figure(figure, "03_frame", figures_dir=figures_dir)

# %% tags=["remove-input"]
lost = missing[:, frame] > 10
off = {name: np.abs(bands["lossless"] - bands[name])[lost, frame] for name in named}
errors = ", ".join(f"{each.mean():.0f} dB {name}" for name, each in off.items() if len(each))
Markdown(
    f"The frame begins {frame * network.config.hop_length / rate:.2f} s into the clip. The codec left "
    f"{lost.sum()} of its {len(lost)} bands more than 10 dB too weak. On average their levels are "
    f"wrong by {errors or 'nothing'}."
)

# %% [markdown]
# ## The gate at work
#
# The next figure shows how far the gate opens over frequency when the same piece comes through
# several codecs. For lossless music, and for what sounds like it, the gate should stay shut.

# %% tags=["hide-input"]
centres_khz = (np.arange(network.config.bands) + 0.5) * rate / 2000 / network.config.bands
opened = {}
for name in codecs.split(","):
    heard = el.degrade(lossless, name, sample_rate=rate, seed=seed)
    opened[el.condition_title(name)] = (
        centres_khz,
        100 * el.parts(network, heard).gate.mean(axis=(0, 2)),
    )
axes = el.plotting.curves(opened, x_label="Frequency (kHz)", y_label="Gate open (%)")
el.plotting.save_figure(axes.figure, "03_gate", figures_dir=figures_dir)

# %% tags=["remove-input"]
said = [f"{np.mean(gate):.0f} % for {name}" for name, (_, gate) in opened.items()]
Markdown(f"On average over the bands the gate is open by {', '.join(said)}.")

# %% [markdown]
# ## Take-away

# %% tags=["remove-input"]
widest, narrowest = (pick(opened, key=lambda name: np.mean(opened[name][1])) for pick in (max, min))
Markdown(
    f"- The mask corrects what survived, the fill replaces what is gone, the gate decides where.\n"
    f"- Of these conditions {widest} opens the gate most and {narrowest} least.\n"
    f"- What is filled in has the right strength at best, and never the right phase: on this clip the "
    f"LSD went from {lsd['as it comes in']:.2f} to {lsd['as it goes out']:.2f} bel.\n"
    f"- All layers look back only, so the output is {latency_ms:.1f} ms late and no more."
)

# %% [markdown]
# ## Exercises
#
# **1. The wrong kind of sound.** Set `listen_to="noise-white-20db"`. What do gate and fill do, and
# what does the mask?
#
# ```{dropdown} Solution
# Noise fills every bin, so there is nothing for the fill to do. The gate opens where the noise is
# louder than what the music would have there, and the mask turns those bins down.
# ```
#
# **2. A fixed gate.** The correction is $g\,(MX + R)$. Which value of $g$ leaves the music
# untouched, and what would be lost if the gate were always open?
#
# ```{dropdown} Solution
# With $g = 0$ the output is the input, since the fill is scaled by the gate too. With $g = 1$
# everywhere the network would change lossless music as well. The row without the gate in the table
# of choices in [chapter 04](04_training) shows the price.
# ```
