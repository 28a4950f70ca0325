# %% [markdown]
# # Making lossy audio that tells the truth
#
# A network learns to repair the damage it is shown. If the damage is simulated, it repairs
# simulations. So this chapter sends lossless music through the encoders that phones and headphones
# really use, and keeps both versions, aligned to the sample.
#
# **You will hear** a song as a streaming service, a Bluetooth link and a noisy recording would give
# it to you. **You will see** what each of them takes away, what that costs in bits, and where
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
max_files: int = 0  # take at most so many files; 0 takes all
conditions: str = "lossless,sbc-53,sbc-20,aac-64,mp3-64,mp3-128,aac-64+sbc-20,down-16000hz,noise-white-20db"  # separated by commas
study_pieces: int = 3  # pieces on which every bit rate of every codec is measured
seed: int = 0  # of the noise

# %% tags=["hide-input"]
import os
import shutil
from pathlib import Path

import ipywidgets
import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown, display

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
# one album) form a group, and a group lies in one split as a whole: nothing that is heard in
# training comes back in the test. (One exception: the eight strums are of one guitar, split by
# chord.)

# %%
segments = pairs.drop_duplicates("lossless")
segments.pivot_table(
    index="source", columns="split", values="seconds", aggfunc="sum", fill_value=0, margins=True
).round(1).rename_axis(columns="seconds of music")

# %% [markdown]
# ## What each condition takes away
#
# A song serves as the example: its beginning, under every condition. Two other pieces follow further
# down. Each has its author and its licence.

# %%
made = set(pairs["piece"])  # with `max_files`, not every piece of the folder
pieces = [piece for piece in el.list_pieces(input_dir) if piece.name in made]
(song,) = el.choose_pieces(pieces, 1, like="song_*")
(guitar,) = el.choose_pieces(pieces, 1, like="rendered_guitar*")
(other_song,) = el.choose_pieces(pieces, 1, like="song_cpu*")
rows = [(piece.path.stem, piece.source, piece.licence) for piece in (song, guitar, other_song)]
pd.DataFrame(rows, columns=["piece", "source", "licence"]).set_index("piece")

# %%
segment = pairs[(pairs["piece"] == song.name) & (pairs["start_s"] == 0)]
waves = {"original": el.load(segment["lossless"].iloc[0])[0]}
for row in segment[segment["condition"] != "lossless"].itertuples():
    waves[row.condition] = el.load(row.lossy)[0]

# %% [markdown]
# A spectrogram shows level over time (left to right) and frequency (bottom to top). Look for a
# ceiling above which everything is gone, for holes that open and close, and for noise that fills
# the gaps.

# %%
figure = el.plotting.spectrogram_grid(waves, sample_rate=sample_rate, columns=3)
el.plotting.save_figure(figure, "01_spectrograms.png", figures_dir=figures_dir)

# %% [markdown]
# Now listen. Headphones help. Switch while it plays: the loudness is matched, so what changes is
# the sound itself. Cymbals and the attack of notes give a codec away first.

# %%
el.Player(waves, sample_rate=sample_rate, title=f"{song.path.stem}, {len(waves)} versions")

# %% [markdown]
# The ceiling can be measured: the *bandwidth* is the highest frequency at which the long-term
# spectrum is within 70 dB of its maximum. Streaming codecs draw it lower with every bit they save;
# Bluetooth's SBC has no fixed ceiling, but lets the top bands starve when bits are short; its noise
# up there counts as well, so that what went through it can seem to reach higher than the original.

# %%
ceilings = {name: {"bandwidth": el.bandwidth_hz(wave, sample_rate=sample_rate) / 1000}
            for name, wave in waves.items()}  # fmt: skip
axes = el.plotting.bars(ceilings, x_label="Bandwidth (kHz)")
el.plotting.save_figure(axes.figure, "01_bandwidth.svg", figures_dir=figures_dir)

# %% [markdown]
# ## What of it can be heard
#
# A codec does not avoid errors, it hides them: under loud sounds the ear does not notice quiet ones
# of neighbouring pitch. The *noise-to-mask ratio* compares the error, in every critical band, with
# what the music hides there. Under 0 dB the error is hidden; above, a trained ear may hear it. It
# shows where a restoration has work to do.

# %%
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

# %% [markdown]
# ## What a bit buys
#
# Two numbers measure the loss, each blind to what the other sees. The *signal-to-noise ratio* (SNR,
# here after matching the gain) compares samples: a change of phase ruins it. The *log-spectral
# distance* (LSD) compares levels over time and frequency: a missing treble costs most. Here is
# every codec over its bit rates, the rates measured from the packets.

# %%
codecs = {
    "SBC": [f"sbc-{bitpool}" for bitpool in (10, 14, 20, 28, 35, 44, 53)],
    "MP3": [f"mp3-{kbps}" for kbps in (48, 64, 96, 128, 192, 256, 320)],
    "AAC": [f"aac-{kbps}" for kbps in (32, 48, 64, 96, 128, 192, 256)],
    "Opus": [f"opus-{kbps}" for kbps in (32, 48, 64, 96, 128, 192)],
    "aptX": ["aptx", "aptx-hd"],
}
if shutil.which("elc3") and shutil.which("dlc3"):  # Debian's liblc3-tools
    codecs["LC3"] = [f"lc3-{kbps}" for kbps in (64, 96, 128, 192, 256)]

# %% [markdown]
# Everything is coded at 44.1 kHz. For the network of 22.05 kHz both sides are then brought to that
# rate, as it would receive them.


# %%
def study(condition: str, original) -> list[dict]:
    coded = el.degrade(original, condition, sample_rate=44100)
    kbps = el.encode(original, condition, sample_rate=44100).kbps
    rows = []
    for rate in (44100, 22050):
        both = [el.resample(wave, from_rate=44100, to_rate=rate) for wave in (coded, original)]
        values = el.score(*both, sample_rate=rate, names=["gain_matched_snr", "lsd"])
        rows.append({"condition": condition, "rate": rate, "kbps": kbps, **values})
    return rows


# %% [markdown]
# A few stereo pieces from different sources stand for the rest.

# %%
stereo = set(pairs.loc[pairs["channels"] == pairs["channels"].max(), "piece"])
studied = el.choose_pieces([piece for piece in pieces if piece.name in stereo], study_pieces)
originals = [el.load(piece.path, sample_rate=44100, duration_s=duration_s)[0] for piece in studied]
rows = [row | {"codec": codec} for codec, names in codecs.items() for name in names
        for original in originals for row in study(name, original)]  # fmt: skip
bits = pd.DataFrame(rows).groupby(["rate", "codec", "condition"]).mean(numeric_only=True)

# %% [markdown]
# Left: full band. Right: what is left of the loss at half the rate, where the treble that the
# codecs gave up is not asked for.

# %%
axes_names = {"gain_matched_snr": "SNR (dB), higher is better", "lsd": "LSD, lower is better"}
figure, grid = el.plotting.subplots(2, 2, width=9, height=3.4)
for column, rate in enumerate((44100, 22050)):
    for line, (metric, label) in enumerate(axes_names.items()):
        curves = {}
        for codec, table in bits.loc[rate].groupby("codec", sort=False):
            ordered = table.sort_values("kbps")
            curves[codec] = (ordered["kbps"], ordered[metric])
        el.plotting.curves(
            curves, x_label="Bit rate (kbit/s)", y_label=label, ax=grid[line][column],
            title=f"{rate / 1000:g} kHz",
        )  # fmt: skip
el.plotting.save_figure(figure, "01_rate_distortion.svg", figures_dir=figures_dir)

# %% [markdown]
# ## Where there is room
#
# How much of this could be undone? An *oracle* knows the original and turns every bin of the lossy
# spectrum up or down as well as can be, and leaves the phase alone. It is one mask, of one
# short-time Fourier transform with one window; other frames gain a little more or less. What it cannot
# bring back is not there to be turned up.


# %%
def room_for(row) -> dict:
    lossy, lossless = el.load(row.lossy)[0], el.load(row.lossless)[0]
    best = el.oracle_mask(lossy, sample_rate=sample_rate, reference=lossless)
    names = ["gain_matched_snr", "lsd"]
    before, after = (
        el.score(wave, lossless, sample_rate=sample_rate, names=names) for wave in (lossy, best)
    )
    untreated, oracle = before["gain_matched_snr"], after["gain_matched_snr"]
    return {"condition": row.condition, "SNR": untreated, "oracle": oracle, "LSD": before["lsd"]}


# %%
held_out = pairs[pairs["split"] != "train"] if pairs["split"].nunique() > 1 else pairs
first = held_out[(held_out["start_s"] == 0) & (held_out["condition"] != "lossless")]
loss = pd.DataFrame([room_for(row) for row in first.itertuples()])
spans = loss.groupby("condition", sort=False)
spans.agg(["mean", "min", "max"]).round(2)

# %% [markdown]
# Pieces differ widely, so the mean says little; the gain of the oracle, piece by piece, says more.
# Noise leaves most room, because it only adds. A missing treble leaves none for a mask: it must be
# invented. Between them lie the codecs.

# %%
room = (loss["oracle"] - loss["SNR"]).groupby(loss["condition"], sort=False)
axes = el.plotting.intervals(
    {
        name: {"room": (gain.median(), gain.quantile(0.1), gain.quantile(0.9))}
        for name, gain in room
    },
    x_label="SNR that an oracle gains (dB): median, 10th and 90th percentile of the pieces",
)
el.plotting.save_figure(axes.figure, "01_room.svg", figures_dir=figures_dir)

# %% [markdown]
# ## The way to a headphone
#
# Music that is streamed to a wireless headphone is coded twice, and then the radio may lose some of
# it. A headset conceals a lost packet by repeating what came before.

# %%
way = {
    "studio": "lossless",
    "after the stream": "aac-128",
    "after Bluetooth": "aac-128+sbc-35",
    "on a busy platform": "aac-128+sbc-35-loss-5pct",
}
played, _ = el.load(guitar.path, sample_rate=44100, duration_s=duration_s)
heard = {
    place: el.degrade(played, name, sample_rate=44100, seed=seed) for place, name in way.items()
}

# %% [markdown]
# Each box is a place where you can listen; in it stands how far the sound has come from the studio.

# %%
figure, axes = el.plotting.subplots(width=9, height=1.7)
box = {"boxstyle": "round,pad=0.6", "facecolor": "#eef3f8", "edgecolor": "#3a6ea5"}
for at, (place, wave) in enumerate(heard.items()):
    snr = el.score(wave, played, sample_rate=44100, names=["gain_matched_snr"])["gain_matched_snr"]
    text = f"SNR {snr:.1f} dB" if at else "lossless"
    axes.text(at, 0, f"{place}\n{text}", ha="center", va="center", bbox=box)
for at, step in enumerate(["AAC, 128 kbit/s", "SBC, bitpool 35", "5 % of packets lost"]):
    axes.annotate("", (at + 0.64, 0), (at + 0.36, 0), arrowprops={"arrowstyle": "-|>", "lw": 1.6})
    axes.text(at + 0.5, 0.55, step, ha="center")
axes.set(xlim=(-0.5, len(way) - 0.5), ylim=(-1, 1))
axes.axis("off")
el.plotting.save_figure(figure, "01_bluetooth_way.svg", figures_dir=figures_dir)

# %%
el.Player(heard, sample_rate=44100, title=f"{guitar.path.stem} at every station")

# %% [markdown]
# ## Explore
#
# In a running notebook, pick a codec and a step of its bit rate: you see and hear at once what it
# does to another song. The published page has no kernel, so it plays a choice made in advance.


# %%
example, _ = el.load(other_song.path, sample_rate=44100, duration_s=duration_s)


def explore(codec: str, step: int) -> None:
    name = codecs[codec][min(step, len(codecs[codec]) - 1)]
    coded = el.degrade(example, name, sample_rate=44100)
    el.plotting.spectrogram(coded, sample_rate=44100, title=name)
    plt.show()
    display(el.Player({"original": example, name: coded}, sample_rate=44100, title=name))


# %%
explorer = ipywidgets.interactive(explore, codec=list(codecs), step=(0, 6))
middling = {codec: names[len(names) // 2 - 1] for codec, names in codecs.items()}
choices = {codec: el.degrade(example, name, sample_rate=44100) for codec, name in middling.items()}
page = el.Player(
    {"original": example, **choices},
    sample_rate=44100,
    title=f"{other_song.path.stem}: codecs at middling rates",
)
display({**explorer._repr_mimebundle_(), "text/html": page.html()}, raw=True)

# %% [markdown]
# ## Take-away

# %%
mean, gains = spans.mean(), room.median()
hardest, easiest = mean["LSD"].idxmax(), mean["LSD"].idxmin()
spread = loss[loss["condition"] == hardest]["SNR"]
at_half = bits.loc[22050]["lsd"]
done = (at_half <= 0.4).sum()

# %%
Markdown(
    f"- {segments['piece'].nunique()} pieces, {segments['seconds'].sum() / 60:.1f} minutes of "
    f"music, became {len(pairs)} pairs, kept in `{Path(run_dir) / 'pairs'}`: the next chapter "
    f"trains on them.\n"
    f"- `{easiest}` is the closest to transparent (LSD {mean['LSD'][easiest]:.2f}): here a network "
    f"can mostly do harm. `{hardest}` loses most (LSD {mean['LSD'][hardest]:.2f}).\n"
    f"- An oracle gains {gains.max():.1f} dB of SNR in the median of its best condition "
    f"(`{gains.idxmax()}`) and {gains.min():.1f} dB in that of its worst (`{gains.idxmin()}`). A claim of much more needs an explanation.\n"
    f"- At 22.05 kHz, {done} of {len(at_half)} settings are within 0.4 LSD of the original.\n"
    f"- Pieces differ more than codecs do: the SNR of `{hardest}` runs from {spread.min():.0f} to "
    f"{spread.max():.0f} dB. So later chapters compare *each piece with itself*."
)

# %% [markdown]
# ## Exercises
#
# **1. Your own chain.** Point `input_dir` at an album you know and set `conditions` to what your music
# goes through: the codec of your stream, then that of your headphones, joined by `+`. Before you run
# it, write down where you expect the ceiling; then look at {numref}`fig-01-bandwidth`.
#
# **2. The colour of noise.** Replace `noise-white-20db` by `noise-pink-20db`. The signal-to-noise ratio
# stays as it was. Which of the two leaves the oracle more room, and which is heard less? Look at
# {numref}`fig-01-room` and {numref}`fig-01-noise-to-mask` before you listen.
