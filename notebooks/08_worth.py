# %% [markdown]
# # 08 · What it is worth
#
# What a gain in a score means is hard to say, so this chapter counts it in bits: at which bit rate
# does untreated audio score as high as enhanced audio? It also asks where the network should stand
# between a stream and a headphone.
#
# **You will hear** a guitar at every station on its way to a headphone, and enhanced at the end.
# **You will see** how many bits enhancement is worth in each codec, and what survives a radio link.

# %% [markdown]
# Every setting of the chapter stands in the next cell. `make results` measured the tables.

# %% tags=["parameters"]
input_dir: str = "data/excerpts"  # folder of lossless music
run_dir: str = "data/runs/default"  # where this run keeps what it makes
results_dir: str = "data/results"  # what `make results` measured
figures_dir: str = "figures"  # where figures are saved
weights: str = "published"  # or "run": those that chapter 04 trained; or a checkpoint
preset: str = "fullband-44k"  # whose checkpoint is evaluated
duration_s: float = 3.0  # of the piece that is heard, in seconds
seed: int = 0  # of the packets that are lost

# %% tags=["hide-input"]
import itertools
import os
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown

import enhancelib as el

if Path.cwd().name == "notebooks":  # opened in JupyterLab
    os.chdir("..")

# %% [markdown]
# ## What it is worth in bits
#
# How high does enhanced audio score, and at which bit rate does untreated audio score as high? The
# curves are means of ViSQOL (5 is best) over the pieces of a kind, with 95 % intervals over pieces.
# Bit rates are counted from the packets. Kinds with fewer than five pieces are in the tables only.

# %% tags=["hide-input"]
rates = pd.read_csv(Path(results_dir) / f"{preset}-rates.csv")
by_visqol = rates[rates["metric"] == "visqol"]
codecs, kinds = by_visqol["codec"].unique(), by_visqol["kind"].unique()
drawn = by_visqol.loc[by_visqol["pieces"] >= 5, "kind"].unique()

# %% tags=["hide-input"]
figure, axes = el.plotting.subplots(len(codecs), len(drawn), width=2.8 * len(drawn), height=2.2)
for ax, (codec, kind) in zip(np.ravel(axes), itertools.product(codecs, drawn), strict=True):
    part = by_visqol[(by_visqol["codec"] == codec) & (by_visqol["kind"] == kind)]
    curves = {
        label: (part["kbps"], part[name], part[f"{name}_low"], part[f"{name}_high"])
        for label, name in (("untreated", "untreated"), ("enhanced", "value"))
    }
    labels = {"x_label": "Bit rate (kbit/s)", "y_label": "ViSQOL"}
    el.plotting.curves(curves, **labels, ax=ax, title=f"{codec}, {kind}")
    ax.set_ylim(1, 5)
    if ax is not np.ravel(axes)[0]:  # one legend for all
        ax.get_legend().remove()
el.plotting.save_figure(figure, "08_bit_rates.svg", figures_dir=figures_dir)

# %% [markdown]
# The saving is a mean horizontal distance of the two curves, after Bjøntegaard. With the bit rates
# $R_u(q)$ and $R_e(q)$ at which untreated and enhanced audio have the score $q$, and the mean over
# all $q$ that both curves reach, it is
#
# $$1 - 10^{\,\overline{\log_{10} R_e(q) - \log_{10} R_u(q)}}.$$
#
# The table has it in percent, with its 95 % interval over pieces, by two models of hearing:


# %% tags=["hide-input"]
def span(value: float, low: float, high: float) -> str:
    texts = (f"{np.round(end) + 0.0:.0f}" for end in (value, low, high))  # no negative zero
    return "{} ({} to {})".format(*(text.replace("nan", "open") for text in texts))


ends = ["saving_percent", "low", "high"]
saved = rates.drop_duplicates(["kind", "codec", "metric"])
saved = saved.assign(shown=[span(*row) for row in saved[ends].to_numpy()])
titles = {name: el.METRICS[name].title for name in saved["metric"].unique()}
wide = saved.replace({"metric": titles})
wide = wide.pivot(index=["codec", "metric"], columns="kind", values="shown")
wide.reindex(columns=kinds).rename_axis(index=[None, None], columns=None)

# %% tags=["remove-input"]
first = saved[saved["metric"] == "visqol"]
sure, costs = first[first["low"] > 0], first[first["high"] < 0]
told = [
    "; ".join(f"{codec} ({', '.join(part['kind'])})" for codec, part in rows.groupby("codec"))
    for rows in (sure, costs)
]
Markdown(
    f"Bits are saved where the whole interval by ViSQOL lies above zero: {told[0] or 'nowhere'}. "
    f"Enhancement costs bits where it lies below zero: {told[1] or 'nowhere'}."
)

# %% [markdown]
# For Bluetooth the table goes point by point: at which bit rate, in kbit/s, does untreated SBC
# score like the enhanced one? The 95 % interval is in brackets. Its end is *open* where some draws
# of the pieces score higher than untreated SBC at any measured rate, and the rate is *above all*
# where even the mean does.

# %% tags=["hide-input"]
points = by_visqol[by_visqol["codec"] == "SBC"]
best = points.groupby("kind")["untreated"].max()
cells = []
for row in points.itertuples():
    sound = span(row.equals_kbps, row.equals_kbps_low, row.equals_kbps_high)
    if np.isnan(row.equals_kbps):
        sound = "above all" if row.value > best[row.kind] else "below all"
    cells.append(sound)
points = points.assign(shown=cells, rate=points["kbps"].round().astype(int))
points = points.pivot(index="rate", columns="kind", values="shown").reindex(columns=kinds)
points.rename_axis(index="SBC (kbit/s)", columns=None)

# %% [markdown]
# ## The way to a headphone
#
# Music that is streamed to a wireless headphone is coded twice, and then the radio may lose some of
# it. A headset conceals a lost packet by repeating what came before.

# %%
checkpoint = el.find_weights(weights, preset=preset, run_dir=run_dir)
pieces = el.list_pieces(input_dir)
(guitar,) = el.choose_pieces(pieces, 1, like="rendered_guitar*")
way = {
    "studio": "lossless",
    "after the stream": "aac-128",
    "after Bluetooth": "aac-128+sbc-35",
    "on a busy platform": "aac-128+sbc-35-loss-5pct",
}
played, _ = el.load(guitar.path, sample_rate=44100, duration_s=duration_s)
stations = {
    place: el.degrade(played, name, sample_rate=44100, seed=seed) for place, name in way.items()
}

# %% [markdown]
# Each box is one station. The number is the SNR against the studio.

# %% tags=["hide-input"]
figure, axes = el.plotting.subplots(width=9, height=1.7)
box = {"boxstyle": "round,pad=0.6", "facecolor": "#eef3f8", "edgecolor": "#3a6ea5"}
for at, (place, wave) in enumerate(stations.items()):
    snr = el.score(wave, played, sample_rate=44100, names=["gain_matched_snr"])["gain_matched_snr"]
    text = f"SNR {snr:.1f} dB" if at else "lossless"
    axes.text(at, 0, f"{place}\n{text}", ha="center", va="center", bbox=box)
for at, step in enumerate(["AAC, 128 kbit/s", "SBC, bitpool 35", "5 % of packets lost"]):
    axes.annotate("", (at + 0.64, 0), (at + 0.36, 0), arrowprops={"arrowstyle": "-|>", "lw": 1.6})
    axes.text(at + 0.5, 0.55, step, ha="center")
axes.set(xlim=(-0.5, len(way) - 0.5), ylim=(-1, 1))
axes.axis("off")
el.plotting.save_figure(figure, "08_bluetooth_way.svg", figures_dir=figures_dir)

# %% [markdown]
# Listen at each station, and to the last one after the network in the headphones:

# %%
rate = el.AudioUNet.load(checkpoint).config.sample_rate
arrived = el.resample(stations["on a busy platform"], from_rate=44100, to_rate=rate)
repaired = el.enhance_wave(arrived, checkpoint, sample_rate=rate)
repaired = el.resample(repaired, from_rate=rate, to_rate=44100)
samples = min(repaired.shape[1], played.shape[1])
heard = {**stations, "enhanced there": repaired}
heard = {place: wave[:, :samples] for place, wave in heard.items()}
title = f"{guitar.title} at every station"
el.Player(heard, sample_rate=44100, title=title, reference="studio")

# %% [markdown]
# ## Where in the chain?
#
# A phone decodes a stream and codes it again for Bluetooth. The network can stand on the phone,
# before the second codec, or in the headphones, behind it, or at both ends.
# `tools/measure/chain.py` measured what the listener hears with each of these, over strong links,
# weak links, and one that loses packets. The table has the means of ViSQOL over the pieces of each
# kind, with AAC at 128 kbit/s as the stream and the link named in each row. The row *lossless* has
# the sound on the phone, before any link:

# %% tags=["hide-input"]
measured_at_ear = Path(results_dir) / f"{preset}-chain.csv"
if measured_at_ear.exists():
    chain = pd.read_csv(measured_at_ear)
else:  # of this preset; the flagship's are there
    chain = pd.read_csv(Path(results_dir) / "fullband-44k-chain.csv")
of_chain = chain["preset"].dropna().iloc[0]
flagship = el.checkpoint_sha256(el.find_weights("published", preset=of_chain))
at_ear = dict(el.by_kind(chain[chain["metric"] == "visqol"]))
keys = {"index": "condition", "columns": "system", "values": "value", "sort": False}
tables = {kind: part.pivot_table(**keys) for kind, part in at_ear.items()}
places = ["untreated", "phone", "headphones", "both"]
stream = pd.concat(tables)[places].filter(like="aac-128+", axis="index")
stream = stream.rename(index=lambda name: el.condition_title(name.split("+", 1)[1]), level=1)
stream.round(2).rename_axis(index=[None, "link"], columns=None)

# %% tags=["remove-input"]
measured = ", ".join(f"{kind} {part['piece'].nunique()}" for kind, part in at_ear.items())
Markdown(f"Pieces: {measured}. {el.provenance.weights_note(chain, flagship)}")

# %% [markdown]
# The figure shows the difference from no enhancement, with 95 % intervals over pieces. What the
# phone adds has to pass the Bluetooth codec. What the headphones add need not. Again kinds with fewer
# than five pieces are left out.

# %% tags=["hide-input"]
where = {kind: el.summarize(part) for kind, part in at_ear.items()}
enough = [kind for kind, part in at_ear.items() if part["piece"].nunique() >= 5] or list(where)


def two_lines(name: str) -> str:
    title = "no stream, " * name.startswith("lossless+") + el.condition_title(name)
    return title.replace(", then ", ",\n")


# %% tags=["hide-input"]
figure, axes = el.plotting.subplots(columns=len(enough), width=2 + 2.9 * len(enough), height=9)
for ax, kind in zip(np.ravel(axes), enough, strict=True):
    spans = where[kind].set_index("system")[["condition", "delta", "low", "high"]]
    groups = {
        two_lines(name): dict(part.iloc[:, 1:].T.items())
        for name, part in spans.groupby("condition", sort=False)
        if not name.endswith("+lossless")
    }
    el.plotting.intervals(groups, x_label="", ax=ax, title=kind)
    ax.get_legend().remove()
    ax.label_outer()
np.ravel(axes)[len(enough) // 2].set_xlabel("difference in ViSQOL")
figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
el.plotting.save_figure(figure, "08_chain.svg", figures_dir=figures_dir)

# %% [markdown]
# Over a link, and with every kind counted:

# %% tags=["remove-input"]
over_air = pd.concat(where, names=["kind"]).reset_index("kind")
over_air = over_air[~over_air["condition"].str.endswith("+lossless")]
names = {"phone": "on the phone", "headphones": "in the headphones", "both": "at both ends"}
falls = over_air[over_air["delta"] < -0.02].sort_values("delta").groupby("kind", sort=False)
told = "; ".join(
    f"{kind} in {len(part)} of {(over_air['kind'] == kind).sum()} cases, most by "
    f"{-part['delta'].iloc[0]:.2f} under {el.condition_title(part['condition'].iloc[0])}, enhanced "
    f"{names[part['system'].iloc[0]]}"
    for kind, part in falls
)
Markdown(f"The mean falls by more than 0.02 for: {told or 'no kind'}.")

# %% [markdown]
# How much of what the phone gains survives the link? The table has the gain at the ear, as a share
# of the gain before Bluetooth, for streams where there was one:


# %%
def surviving(rows: pd.DataFrame) -> pd.DataFrame:
    gain = rows[rows["system"] == "phone"].set_index("condition")["delta"]
    ends = pd.MultiIndex.from_tuples([tuple(name.split("+", 1)) for name in gain.index])
    pairs = gain.set_axis(ends).unstack(sort=False)
    before = pairs["lossless"] if "lossless" in pairs else pd.Series(np.nan, index=pairs.index)
    share = pairs.drop(columns="lossless", errors="ignore").div(before, axis=0)
    return share[before > 0.05].map("{:.0%}".format)


survives = pd.concat({kind: surviving(rows) for kind, rows in where.items()})
survives = survives.rename(index=el.condition_title, level=1).rename(columns=el.condition_title)
survives = survives.rename_axis(index=[None, "stream"], columns="link").stack(future_stack=True)
survives.unstack("stream", sort=False).rename_axis(columns=None).astype(object).fillna("–")

# %% [markdown]
# ## Take-away

# %% tags=["remove-input"]
most = first.loc[first["saving_percent"].idxmax()]
ahead = over_air.sort_values("delta").groupby(["kind", "condition"])["system"].last()
wins = ahead.groupby("kind").value_counts().unstack(fill_value=0).reindex(index=list(where))
said = "".join(
    f"- {kind.capitalize()}: of {row.sum()} pairs of stream and link the best place is "
    + ", ".join(f"{place} for {row[name]}" for name, place in names.items() if row.get(name))
    + ".\n"
    for kind, row in wins.iterrows()
)
Markdown(
    f"- By ViSQOL enhancement is worth most for {most['codec']} and {most['kind']} pieces: "
    f"{most['saving_percent']:.0f} % of the bits.\n{said}"
    f"- What the phone adds has to pass the codec of the link. Headphones meet both losses at once."
)

# %% [markdown]
# ## Quiz
#
# Three questions on this part of the book. Open an answer to see what is right or wrong about it.
#
# **1. Enhanced music has a better ViSQOL than untreated music, and a worse SI-SDR. Is one of them
# wrong?**
#
# ```{dropdown} No: they ask different questions.
# Yes. SI-SDR asks how near the samples are, and ViSQOL asks how alike the two would sound. A fill
# helps the ear and never the samples.
# ```
#
# ```{dropdown} ViSQOL must be wrong: SI-SDR compares every sample.
# No. That is just why SI-SDR falls: invented treble has other samples than the treble that was
# lost, even where it sounds the same.
# ```
#
# ```{dropdown} SI-SDR must be wrong: it was made for speech.
# No. It compares any two signals. It does not ask whether anyone hears the difference.
# ```
#
# **2. A mean over ten pieces rises by 0.3. What else do you want to know before you call it
# better?**
#
# ```{dropdown} Nothing: ten pieces are enough.
# No. One piece that gains 3 and nine that gain nothing have this mean too.
# ```
#
# ```{dropdown} How many pieces fell, how far the worst one fell, and how likely chance alone would do this.
# Yes. The worst piece is somebody's favorite record, and an exact test says how often ten signs
# fall like this by chance.
# ```
#
# ```{dropdown} The mean over twenty other metrics.
# No. With twenty metrics one of them rises by chance. Choose before you look, or correct for how
# many you looked at.
# ```
#
# **3. When can enhanced audio over Bluetooth match the lossless original?**
#
# ```{dropdown} Whenever the network is large enough.
# No. What a codec removed is not in the signal any more. A larger network guesses better, but it
# still guesses.
# ```
#
# ```{dropdown} Never.
# No. Equal samples are out of reach, but listeners compare sounds, not samples. Whether they hear
# a difference is for a blind test to say.
# ```
#
# ```{dropdown} Where what is left of the difference is no longer heard: with good codecs, and on many pieces.
# Yes. A codec that is nearly transparent leaves little to repair. With a poor one, the result can
# be pleasant and yet easy to tell from the original.
# ```

# %% [markdown]
# ## Exercises
#
# **1. From kbit/s to battery.** A radio needs about the same energy for each bit. Take the saving
# for SBC, and the processor time of a stream from [chapter 11](11_mobile_benchmarking). What else
# would you have to know to say whether enhancement saves battery?
#
# ```{dropdown} Solution
# You need the energy of one bit on the air and that of one second of the processor. The saving is a
# share of the radio's energy, and the cost is a share of the processor's. Neither energy was
# measured here, so the question stays open.
# ```
#
# **2. A second repair.** In the table of places, *both* enhances on the phone and once more in the
# headphones. How much does the second repair add to the first, and what could explain that?
#
# ```{dropdown} Solution
# Hardly anything. A likely reason, which was not measured: the first network has filled what was
# empty, and the codec of the link takes that for music and keeps it. So the second network finds
# little that is missing.
# ```
