# %% [markdown]
# # Making lossy audio that tells the truth
#
# A network learns to repair the damage it is shown. If the damage is simulated, it repairs
# simulations. So this chapter sends lossless music through the encoders that phones and headphones
# really use, and keeps both versions, aligned to the sample.
#
# **You will hear** one piece as a streaming service, a Bluetooth link and a noisy recording would
# give it to you. **You will see** what each of them takes away, and where there is room to put
# something back.

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
conditions: str = "lossless,sbc-53,sbc-20,aac-64,mp3-64,mp3-128,aac-64+sbc-20,down-16000hz,noise-white-20db"  # separated by commas  # noqa: E501
seed: int = 0  # of the noise

# %%
from pathlib import Path

import pandas as pd
from IPython.display import Markdown

import enhancelib as el

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
# The manifest has one row per pair. Pieces that share material (strings of one guitar, tracks of
# one album) form a group, and a group lies in one split as a whole: nothing that is heard in
# training comes back in the test.

# %%
segments = pairs.drop_duplicates("lossless")
segments.pivot_table(
    index="source", columns="split", values="seconds", aggfunc="sum", fill_value=0, margins=True
).round(1).rename_axis(columns="seconds of music")

# %% [markdown]
# ## What each condition takes away
#
# The longest test piece serves as the example: one segment of it, under every condition.

# %%
test = pairs[pairs["split"] == "test"] if "test" in set(pairs["split"]) else pairs
piece = test.groupby("piece", sort=True)["seconds"].sum().idxmax()
segment = test[(test["piece"] == piece) & (test["start_s"] == 0)]
waves = {row.condition: el.load(row.lossy)[0] for row in segment.itertuples()}
waves = {"original": el.load(segment["lossless"].iloc[0])[0], **waves}
waves.pop("lossless", None)
Markdown(f"The example is `{piece}` ({segment['licence'].iloc[0]}).")

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
el.Player(waves, sample_rate=sample_rate, title=f"One piece, {len(waves)} versions")

# %% [markdown]
# ## How much is lost
#
# Two numbers, each blind to what the other sees. The *signal-to-noise ratio* (SNR, in dB) compares
# samples: high is good, and a shift or a change of phase ruins it. The *log-spectral distance*
# (LSD) compares levels over time and frequency: low is good, and a missing treble costs most. One
# segment of every piece is measured.


# %%
def measure(row) -> dict:
    lossy, lossless = el.load(row.lossy)[0], el.load(row.lossless)[0]
    values = el.score(lossy, lossless, sample_rate=sample_rate, names=["gain_matched_snr", "lsd"])
    return {"condition": row.condition, "piece": row.piece, **values}


first = pairs[(pairs["start_s"] == 0) & (pairs["condition"] != "lossless")]
loss = pd.DataFrame([measure(row) for row in first.itertuples()])
spans = loss.groupby("condition", sort=False)[["gain_matched_snr", "lsd"]]
spans.agg(["mean", "min", "max"]).round(2)

# %% [markdown]
# Drawn as a map, the conditions fall apart into kinds: a codec at a low rate loses on both axes,
# noise loses on both though it removes nothing, and a lower sample rate keeps every sample below
# its ceiling but leaves the top empty.

# %%
places = loss.groupby("condition", sort=False)[["gain_matched_snr", "lsd"]].mean()
axes = el.plotting.points(
    {name: (row.gain_matched_snr, row.lsd) for name, row in places.iterrows()},
    x_label="SNR, gain matched (dB), higher is better",
    y_label="Log-spectral distance, lower is better",
)
el.plotting.save_figure(axes.figure, "01_loss.svg", figures_dir=figures_dir)

# %% [markdown]
# ## Take-away

# %%
hardest, easiest = places["lsd"].idxmax(), places["lsd"].idxmin()
spread = loss[loss["condition"] == hardest]["gain_matched_snr"]
Markdown(
    f"- {segments['piece'].nunique()} pieces, {segments['seconds'].sum() / 60:.1f} minutes of "
    f"music, became {len(pairs)} pairs under {pairs['condition'].nunique()} conditions.\n"
    f"- `{easiest}` is almost transparent (LSD {places['lsd'][easiest]:.2f}): here a network can "
    f"mostly do harm. `{hardest}` loses most (LSD {places['lsd'][hardest]:.2f}).\n"
    f"- Pieces differ more than codecs do: the SNR of `{hardest}` runs from {spread.min():.0f} to "
    f"{spread.max():.0f} dB. So later chapters compare *each piece with itself*.\n"
    f"- The pairs are in `{Path(run_dir) / 'pairs'}`; the next chapter trains on them."
)
