# %% [markdown]
# # 01 · What is lost
#
# A network learns to repair the damage it is shown. If the damage is simulated, it repairs
# simulations. So this chapter sends lossless music through the encoders that phones and headphones
# really use, and keeps both versions, aligned to the sample.
#
# **You will hear** a song as a streaming service, a Bluetooth link and a noisy recording would give
# it to you. **You will see** what each of them takes away, which losses can be heard, and where
# there is room to put something back.

# %% [markdown]
# Every setting of the chapter stands in the next cell. To use your own music, point `input_dir` at
# a folder of WAV, FLAC or MP3 files (folders inside it, and the layout of MUSDB18-HQ, are
# understood).

# %% tags=["parameters"]
input_dir: str = "data/excerpts"  # folder of lossless music
run_dir: str = "data/runs/default"  # where this run keeps what it makes
figures_dir: str = "figures"  # where figures are saved
sample_rate: int = 44100  # of the pairs, in Hz
duration_s: float = 3.0  # length of a segment, in seconds
max_files: int = 12  # take at most so many files, of all kinds; 0 takes all
conditions: str = "lossless,sbc-53,sbc-20,aac-64,mp3-64,mp3-128,aac-64+sbc-20,down-16000hz,noise-white-20db"  # separated by commas
seed: int = 0  # of the noise

# %% tags=["hide-input"]
import os
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown

import enhancelib as el

if Path.cwd().name == "notebooks":  # opened in JupyterLab
    os.chdir("..")

# %% [markdown]
# ## Pairs
#
# `el.prepare` degrades every piece as a whole, so that each codec runs as it does in a player, and
# then cuts it into segments. A condition is named by what happens: `sbc-53` is Bluetooth's SBC at
# its usual best setting (bitpool 53), `aac-64+sbc-20` is a stream at 64 kbit/s played over a poor
# Bluetooth link, `down-16000hz` keeps what a 16 kHz recording can hold. Run it again and it makes
# only what is missing.

# %% tags=["remove-stderr"]
manifest = el.prepare(
    input_dir,
    Path(run_dir) / "pairs",
    sample_rate=sample_rate,
    duration_s=duration_s,
    max_files=max_files or None,
    conditions=conditions.split(","),
    seed=seed,
    overwrite=True,  # pairs of other settings, if any, are made anew
)
pairs = el.read_manifest(manifest)

# %% [markdown]
# The manifest has one row per pair. Pieces that share material (takes of one instrument, tracks of
# one album) form a *group*. A group is not divided between training and test, so that nothing heard
# in training comes back in the test. There is one exception: the eight strums are played on one
# guitar, and each chord is a group.

# %%
segments = pairs.drop_duplicates("lossless")
segments.pivot_table(
    index="source", columns="split", values="seconds", aggfunc="sum", fill_value=0, margins=True
).round(1).rename_axis(columns="seconds of music")

# %% [markdown]
# ## What each condition takes away
#
# A song serves as the example: its beginning, under every condition.

# %% tags=["remove-input"]
made = set(pairs["piece"])  # with `max_files`, not every piece of the folder
pieces = [piece for piece in el.list_pieces(input_dir) if piece.name in made]
(song,) = el.choose_pieces(pieces, 1, like="song_*")
Markdown(f"The example is `{song.title}` ({song.source}, licence {song.licence}).")

# %%
segment = pairs[(pairs["piece"] == song.name) & (pairs["start_s"] == 0)]
waves = {"original": el.load(segment["lossless"].iloc[0])[0]}
for row in segment[segment["condition"] != "lossless"].itertuples():
    waves[el.condition_title(row.condition)] = el.load(row.lossy)[0]

# %% [markdown]
# A spectrogram shows level over time (left to right) and frequency (bottom to top). Look for a
# ceiling above which everything is gone, for holes that open and close, and for noise that fills
# the gaps:

# %% tags=["hide-input"]
figure = el.plotting.spectrogram_grid(waves, sample_rate=sample_rate, columns=3)
el.plotting.save_figure(figure, "01_spectrograms.png", figures_dir=figures_dir)

# %% [markdown]
# Now listen. Headphones help. Switch while it plays: the loudness is matched, so what changes is
# the sound itself. Cymbals and the attack of notes give a codec away first.

# %%
el.Player(waves, sample_rate=sample_rate, title=f"{song.title}, {len(waves)} versions")

# %% [markdown]
# The ceiling can be measured: the *bandwidth* is the highest frequency at which the long-term
# spectrum is within 70 dB of its maximum. Streaming codecs lower the ceiling as the bit rate falls.
# Bluetooth's SBC has no fixed ceiling: it starves the top bands instead, and its noise there counts
# as bandwidth.

# %% tags=["hide-input"]
ceilings = {name: {"bandwidth": el.bandwidth_hz(wave, sample_rate=sample_rate) / 1000}
            for name, wave in waves.items()}  # fmt: skip
axes = el.plotting.bars(ceilings, x_label="Bandwidth (kHz)")
el.plotting.save_figure(axes.figure, "01_bandwidth.svg", figures_dir=figures_dir)

# %% tags=["remove-input"]
heights = {name: each["bandwidth"] for name, each in ceilings.items()}
lowest = min(heights, key=heights.get)
Markdown(
    f"The original reaches {heights['original']:.1f} kHz. The lowest ceiling, "
    f"{heights[lowest]:.1f} kHz, belongs to: {lowest}."
)

# %% [markdown]
# ## Which losses can be heard
#
# A codec does not avoid errors, it hides them: under loud sounds the ear does not notice quiet ones
# of neighboring pitch. The *noise-to-mask ratio* compares the error in every critical band with
# what the music hides there. With the energy $E_b$ of the error in band $b$ and the energy $M_b$
# that the music hides, it is
#
# $$\mathrm{NMR}_b = 10 \log_{10} \frac{E_b}{M_b}\ \text{dB}.$$
#
# Under 0 dB the error is hidden. Above, a trained ear may hear it: there a restoration has work to
# do.

# %% tags=["hide-input"]
ratios = {
    name: el.noise_to_mask(wave, waves["original"], sample_rate=sample_rate)
    for name, wave in list(waves.items())[1:]
}
centers = next(iter(ratios.values()))[0]
figure, axes = el.plotting.subplots(width=8.4, height=0.8 + 0.32 * len(ratios))
colors = {"cmap": el.plotting.DIFFERENCE_MAP, "vmin": -30, "vmax": 30, "aspect": "auto"}
image = axes.imshow([ratio for _, ratio in ratios.values()], **colors)
ticks = [abs(centers - hertz).argmin() for hertz in (100, 300, 1000, 3000, 10000)]
axes.set(xlabel="Frequency (kHz)", xticks=ticks, xticklabels=[0.1, 0.3, 1, 3, 10])
axes.set(yticks=range(len(ratios)), yticklabels=ratios)
axes.grid(visible=False)
figure.colorbar(image, label="Noise to mask (dB)")
el.plotting.save_figure(figure, "01_noise_to_mask.svg", figures_dir=figures_dir)

# %% tags=["remove-input"]
heard = {name: np.mean(ratio > 0) for name, (_, ratio) in ratios.items()}
loudest, quietest = max(heard, key=heard.get), min(heard, key=heard.get)
Markdown(
    f"Under *{loudest}* the error stands out in {heard[loudest]:.0%} of the bands, under "
    f"*{quietest}* in {heard[quietest]:.0%}."
)

# %% [markdown]
# ## Where there is room
#
# How much of this could be undone? An *oracle* knows the original. It multiplies every bin of the
# lossy spectrum by the best factor and keeps the lossy phase. What even the oracle cannot restore
# is out of reach for such a mask. (Frames of another length gain a little more or less.)


# %%
def room_for(row) -> dict:
    lossy, lossless = el.load(row.lossy)[0], el.load(row.lossless)[0]
    best = el.oracle_mask(lossy, sample_rate=sample_rate, reference=lossless)
    names = ["gain_matched_snr", "lsd"]
    before, after = (
        el.score(wave, lossless, sample_rate=sample_rate, names=names) for wave in (lossy, best)
    )
    untreated, oracle = before["gain_matched_snr"], after["gain_matched_snr"]
    values = {"SNR": untreated, "oracle": oracle, "LSD": before["lsd"]}
    return {"piece": row.piece, "condition": el.condition_title(row.condition), **values}


# %%
held_out = pairs[pairs["split"] != "train"] if pairs["split"].nunique() > 1 else pairs
first = held_out[(held_out["start_s"] == 0) & (held_out["condition"] != "lossless")]
everything = pd.DataFrame([room_for(row) for row in first.itertuples()])
kind, loss = max(el.by_kind(everything), key=lambda part: len(part[1]))

# %% [markdown]
# Kinds of pieces are never averaged together. So the table and the figure have only the kind of
# which the most pieces were held out.

# %% tags=["remove-input"]
Markdown(f"Here this is *{kind}*, with {loss['piece'].nunique()} pieces.")

# %%
spans = loss.drop(columns="piece").groupby("condition", sort=False)
spans.agg(["mean", "min", "max"]).round(2)

# %% [markdown]
# Pieces differ widely, so the mean says little. The gain of the oracle, piece by piece, says more.
# Noise leaves most room, because it only adds. A missing treble leaves none for a mask: it must be
# invented. The codecs lie between them.

# %% tags=["hide-input"]
room = (loss["oracle"] - loss["SNR"]).groupby(loss["condition"], sort=False)
axes = el.plotting.intervals(
    {name: {"room": (gain.median(), gain.min(), gain.max())} for name, gain in room},
    x_label="SNR that an oracle gains (dB): median, least and most of the pieces",
)
el.plotting.save_figure(axes.figure, "01_room.svg", figures_dir=figures_dir)

# %% [markdown]
# ## Take-away

# %%
mean, gains = spans.mean(), room.median()
hardest, easiest = mean["LSD"].idxmax(), mean["LSD"].idxmin()
spread = loss[loss["condition"] == hardest]["SNR"]

# %% tags=["remove-input"]
Markdown(
    f"- {segments['piece'].nunique()} pieces, {segments['seconds'].sum() / 60:.1f} minutes of "
    f"music, became {len(pairs)} pairs, kept in `{Path(run_dir) / 'pairs'}`: [chapter 04](04_training) "
    f"trains on them.\n"
    f"- The closest to transparent: {easiest} (LSD {mean['LSD'][easiest]:.2f}): here a network "
    f"can mostly do harm. The most is lost under: {hardest} (LSD {mean['LSD'][hardest]:.2f}).\n"
    f"- The oracle gains {gains.max():.1f} dB of SNR in the median of its best condition "
    f"({gains.idxmax()}) and {gains.min():.1f} dB in that of its worst ({gains.idxmin()}). A "
    f"system that gains much more must do something other than change levels.\n"
    f"- Pieces differ widely under one and the same condition: the SNR of {hardest} runs from "
    f"{spread.min():.0f} to {spread.max():.0f} dB. So later chapters compare *each piece with itself*."
)

# %% [markdown]
# ## Exercises
#
# **1. Your own chain.** Point `input_dir` at an album you know and set `conditions` to what your
# music goes through: the codec of your stream, then that of your headphones, joined by `+`. Before
# you run it, write down where you expect the ceiling; then look at {numref}`fig-01-bandwidth`.
#
# ```{dropdown} Solution
# For a stream at 128 kbit/s and ordinary Bluetooth, `conditions="lossless,aac-128,aac-128+sbc-53"`.
# The first codec sets the ceiling. The second one cannot raise it, but it adds noise of its own at
# every frequency that it codes, and the measure of bandwidth may count that noise.
# ```
#
# **2. The color of noise.** Replace `noise-white-20db` by `noise-pink-20db`. The signal-to-noise
# ratio stays as it was. Which of the two leaves the oracle more room, and which is heard less? Look
# at {numref}`fig-01-room` and {numref}`fig-01-noise-to-mask` before you listen.
#
# ```{dropdown} Solution
# White noise leaves the oracle more room: most of it lies in the treble, where the music is weak,
# and there the oracle turns the bins down. Pink noise lies where the music is, so less of it can be
# taken away without taking music. For the same reason pink noise is masked better and is heard
# less.
# ```
