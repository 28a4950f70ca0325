# %% [markdown]
# # 06 · Does it help?
#
# Papers tend to report the metrics on which their system does best. This chapter asks what the
# network gains where there was room to help. It uses two models of hearing and measures of samples
# and levels, each beside the value of the *untreated* lossy audio. [The next chapter](07_harm) asks
# for harm.
#
# **You will see** what each kind of music, singing and speech gains, and where in the spectrum.
# **You will hear** a song, a voice and a loop before and after.

# %% [markdown]
# Every setting of the chapter stands in the next cell. `make results` measured the numbers on a
# whole set of pieces. With `measured="run"` they are those that [chapter 05](05_measuring) measured
# on a few pieces of your folder.

# %% tags=["parameters"]
input_dir: str = "data/excerpts"  # folder of lossless music
run_dir: str = "data/runs/default"  # where this run keeps what it makes
results_dir: str = "data/results"  # what `make results` measured
figures_dir: str = "figures"  # where figures are saved
weights: str = "published"  # or "run": those that chapter 04 trained; or a checkpoint
measured: str = "published"  # or "run": what chapter 05 measured in run_dir
preset: str = "fullband-44k"  # whose checkpoint is evaluated
excerpt_s: float = 3.0  # of the pieces that are heard, in seconds
damaged: str = "sbc-35,sbc-20,mp3-64,aac-64,aac-64+sbc-20,down-16000hz,noise-white-20db,old-recording"  # conditions with room
seed: int = 0  # of the noise

# %% tags=["hide-input"]
import os
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown
from scipy.signal import welch

import enhancelib as el

if Path.cwd().name == "notebooks":  # opened in JupyterLab
    os.chdir("..")

checkpoint = el.find_weights(weights, preset=preset, run_dir=run_dir)
sample_rate = el.AudioUNet.load(checkpoint).config.sample_rate
conditions = damaged.split(",")

# %% [markdown]
# All figures come from one table, which has a row for each piece, condition, system and metric:

# %% tags=["remove-input"]
file = Path(results_dir) / f"{preset}.csv"
if measured == "run":
    file = Path(run_dir) / "results" / "05_measuring.csv"
if not file.exists():
    raise el.EnhanceError(f"{file}: not there; run chapter 05_measuring with this run_dir first")
results = pd.read_csv(file)
ours = results[results["system"].isin(["untreated", preset])]
parts = dict(el.by_kind(ours))
counts = {kind: part["piece"].nunique() for kind, part in parts.items()}

# %% tags=["remove-input"]
measured_on = {
    "test set": "On the test set (`data/testset.csv`; no weights were chosen by how they do on it, and "
    "`LOG.md` says what a look at it led to):",
    "development set": "On the development set (`data/devset.csv`), at which people looked while "
    "they chose the network and its training, so that it flatters a little:",
    "pieces of this run": "On pieces of this run:",
}[el.piece_set(results)]
Markdown(
    f"{measured_on} {', '.join(f'{number} {kind}' for kind, number in counts.items())} pieces, "
    f"{results['condition'].nunique()} conditions, "
    f"{results['system'].nunique()} systems, {results['metric'].nunique()} metrics: "
    f"{len(results):,} values in `{file}`, each with its commit, seed, device and load."
)

# %% [markdown]
# ## By a model of hearing
#
# Each piece is compared with itself. The table has the means of one measure over the pieces of each
# kind, untreated → enhanced. ▲ is better and ▼ is worse beyond chance, • is undecided. No mark
# stands where the pieces are too few for a verdict ([chapter 05](05_measuring) explains verdicts).

# %% tags=["remove-input"]
good = {kind: el.does_good(part) for kind, part in parts.items()}
good = pd.concat(good, names=["kind"]).reset_index("kind").reset_index(drop=True)
asked = [name for name in ("visqol", "zimtohrli", "lsd", "si_sdr") if name in set(good["metric"])]
Markdown(f"The measure is {el.METRICS[asked[0]].title} ({el.METRICS[asked[0]].unit}).")

# %% tags=["hide-input"]
marks = {"better": "\u00a0▲", "worse": "\u00a0▼", "open": "\u00a0•", "few": ""}
means = (
    good["untreated"].map("{:.2f}".format) + "\u00a0→\u00a0" + good["value"].map("{:.2f}".format)
)
shown = good.assign(shown=means + good["verdict"].map(marks)).query("metric == @asked[0]")
table = shown.pivot(index="condition", columns="kind", values="shown")
table = table.reindex(index=conditions, columns=list(parts)).rename(index=el.condition_title)
table.rename_axis(index=None, columns=None).astype(object).fillna("–")

# %% [markdown]
# A mean may also fall:

# %% tags=["remove-input"]
fallen = good[(good["metric"] == asked[0]) & good["condition"].isin(conditions)]
fallen = fallen[fallen["delta"] < -0.02].sort_values("delta")
told = "; ".join(
    f"{row.kind} under {el.condition_title(row.condition)} ({row.delta:+.2f})"
    for row in fallen.itertuples()
)
Markdown(f"The means that fall by more than 0.02 in this table are: {told or 'none'}.")

# %% [markdown]
# This file has every condition and measure, with the number of pieces, the interval, *p*, and the
# worst piece by name:

# %%
el.Download(good.drop(columns=["system"]), "06_gains.csv")

# %% [markdown]
# ## By levels and by samples
#
# The figure shows the differences in log-spectral distance (left of zero is better) and in SI-SDR
# (right of zero is better). A system that invents missing treble improves the first and worsens the
# second, since an invented band has a random phase. Kinds with fewer than five pieces are left out,
# if there are others: their intervals would be wider than the figure.

# %% tags=["hide-input"]
titles = [el.condition_title(condition) for condition in conditions]
enough = [kind for kind, number in counts.items() if number >= 5] or list(counts)
drawn = good[good["condition"].isin(conditions) & good["kind"].isin(enough)]
drawn = drawn.assign(  # one piece alone has no interval
    title=drawn["condition"].map(el.condition_title),
    **{name: drawn[name].fillna(drawn["delta"]) for name in ("low", "high")},
)
height = 0.9 + 0.17 * len(conditions) * (1 + len(enough))

# %% tags=["hide-input"]
figure, axes = el.plotting.subplots(columns=2, width=9, height=height)
for ax, name in zip(axes.flat, ["lsd", "si_sdr"], strict=True):
    rows = drawn[drawn["metric"] == name].set_index(["title", "kind"])
    groups = {
        title: {row.Index: (row.delta, row.low, row.high) for row in rows.loc[title].itertuples()}
        for title in titles
        if title in rows.index
    }
    label = f"{el.METRICS[name].title}: difference ({el.METRICS[name].unit})"
    el.plotting.intervals(groups, x_label=label, ax=ax)
    ax.set_xlim(np.array([-1.6, 1.6]) * rows["delta"].abs().max())
if legend := axes.flat[0].get_legend():  # the other panel has it
    legend.remove()
axes.flat[1].tick_params(labelleft=False)
el.plotting.save_figure(figure, "06_deltas.svg", figures_dir=figures_dir)

# %% [markdown]
# Counted over the rows of the figure:

# %% tags=["remove-input"]
nearer, further = (
    drawn[drawn["metric"] == name]["delta"].lt(0).agg(["sum", "size"]) for name in ("lsd", "si_sdr")
)
Markdown(
    f"The mean LSD gets better in {nearer['sum']} of {nearer['size']} rows, and the mean SI-SDR gets "
    f"worse in {further['sum']} of {further['size']}."
)

# %% [markdown]
# ## See it
#
# Here is a song, under the condition in which songs gain most in log-spectral distance. (Where no
# song was measured, the kind that stands first in the table decides.)

# %%
pieces = el.list_pieces(input_dir)
held_out = [piece for piece in pieces if piece.split != "train"] or pieces
(song,) = el.choose_pieces(held_out, 1, like="song_*")
(voice,) = el.choose_pieces(held_out, 1, like="voice_*")
(loop,) = el.choose_pieces(held_out, 1, like="*_loop_*")
of_first = good[(good["metric"] == "lsd") & (good["kind"] == next(iter(parts)))]
gains = of_first[of_first["condition"].isin(conditions)].set_index("condition")
condition = gains["delta"].idxmin()


# %%
def three(piece) -> dict[str, np.ndarray]:
    lossless, _ = el.load(piece.path, sample_rate=sample_rate, duration_s=excerpt_s)
    lossy = el.degrade(lossless, condition, sample_rate=sample_rate, seed=seed)
    enhanced = el.enhance_wave(lossy, checkpoint, sample_rate=sample_rate)
    return {"lossless": lossless, "lossy": lossy, "enhanced": enhanced}


waves = three(song)

# %% [markdown]
# The first figure shows all three versions. The network adds something where the second one is
# empty. The second figure shows what the enhancement changed (left), and what still separates it
# from the original (right):

# %% tags=["hide-input"]
figure = el.plotting.spectrogram_grid(waves, sample_rate=sample_rate, columns=3)
el.plotting.save_figure(figure, "06_spectrograms.png", figures_dir=figures_dir)

# %% tags=["hide-input"]
figure, axes = el.plotting.subplots(columns=2, width=8.4, height=3)
for ax, (title, pair) in zip(
    axes.flat,
    {
        f"enhanced − {name}": (waves["enhanced"], waves[name]) for name in ("lossy", "lossless")
    }.items(),
    strict=True,
):
    image = el.plotting.spectrogram_difference(*pair, sample_rate=sample_rate, ax=ax, title=title)
figure.colorbar(image, ax=list(axes.flat), label="Level difference (dB)")
el.plotting.save_figure(figure, "06_differences.png", figures_dir=figures_dir)

# %% [markdown]
# The last figure looks at the same song by frequency, a third of an octave at a time. The left
# panel has the power of the error, compared with that of the music: over 0 dB, it would be better
# to play nothing. The right panel has the level, compared with that of the music: under 0 dB it is
# too weak. Invented treble repairs the right side only, since the level does not ask for the phase.


# %% tags=["hide-input"]
edges = 125 * 2 ** (np.arange(0, int(3 * np.log2(sample_rate / 250)) + 1) / 3)  # in Hz
middles_khz = np.sqrt(edges[1:] * edges[:-1]) / 1000


def by_frequency(estimate: np.ndarray, reference: np.ndarray) -> np.ndarray:
    waves = (estimate - reference, estimate, reference)
    hertz, _ = welch(reference[0], fs=sample_rate, nperseg=8192)
    spectra = (welch(wave, fs=sample_rate, nperseg=8192)[1].mean(axis=0) + 1e-13 for wave in waves)
    third = np.digitize(hertz, edges) - 1
    error, got, true = (
        np.array([power[third == n].sum() for n in range(len(middles_khz))]) for power in spectra
    )
    return 10 * np.log10(np.stack([error, got]) / true)


errors = {
    "untreated": by_frequency(waves["lossy"], waves["lossless"]),
    "enhanced": by_frequency(waves["enhanced"], waves["lossless"]),
}

# %% tags=["hide-input"]
figure, axes = el.plotting.subplots(columns=2, width=9, height=3)
what = el.condition_title(condition)
labels = ("Error against the music (dB)", "Level against the music (dB)")
for side, (ax, label) in enumerate(zip(axes.flat, labels, strict=True)):
    curves = {name: (middles_khz, each[side]) for name, each in errors.items()}
    el.plotting.curves(curves, x_label="Frequency (kHz)", y_label=label, ax=ax, title=what)
    ax.axhline(0, color="#6e6e73", linestyle="--", linewidth=1)
    ax.set_xscale("log")
    ax.set_xticks([0.125, 0.5, 2, 8], ["0.125", "0.5", "2", "8"])
    ax.minorticks_off()
el.plotting.save_figure(figure, "06_error_by_frequency.svg", figures_dir=figures_dir)

# %% [markdown]
# What it gains at the top has a price further down:

# %% tags=["remove-input"]
treble, bass = middles_khz > 8, middles_khz < 4
told = ", ".join(f"{each[1][treble].mean():+.1f} dB {name}" for name, each in errors.items())
left = ", ".join(f"{each[0][bass].mean():.0f} dB {name}" for name, each in errors.items())
Markdown(
    f"Over 8 kHz the level of this song, against the original's, is {told} on average. Under 4 kHz the "
    f"error, against the music, is {left}."
)

# %% [markdown]
# ## Hear it
#
# Loudness is matched, and one playhead runs through all three versions. The song, a voice and a
# loop went through the same condition. [The listening test](09_listening_test) plays others blind.

# %%
heard = {"A song": waves, "A voice": three(voice), "A loop": three(loop)}
names = {"A song": song, "A voice": voice, "A loop": loop}
players = {
    tab: el.Player(each, sample_rate=sample_rate, title=f"{names[tab].title}: {what}")
    for tab, each in heard.items()
}
el.Gallery(players, title="Pieces before and after")

# %% [markdown]
# ## Take-away

# %% tags=["remove-input"]
lsd = gains.loc[condition]
count = good.groupby("kind")["verdict"].value_counts().unstack(fill_value=0)
count = count.reindex(index=list(parts), columns=["better", "worse", "open", "few"], fill_value=0)
judged = count[count["few"] == 0]
verdicts = "".join(
    f"- Of {row.sum()} comparisons on {kind} pieces, {row['better']} are better, {row['worse']} worse "
    f"and {row['open']} undecided.\n"
    for kind, row in judged.iterrows()
)
few = ", ".join(kind for kind in count.index if kind not in judged.index)

# %% tags=["remove-input"]
Markdown(
    f"{verdicts}- Too few pieces for any verdict: {few or 'of no kind'}.\n"
    f"- The largest gain in log-spectral distance ({next(iter(parts))}) is under "
    f"{el.condition_title(condition)}: {lsd['untreated']:.2f} → {lsd['value']:.2f} bel.\n"
    f"- The sounds of this chapter went through `{checkpoint.name}` ({weights}), and its figures are "
    f"kept in `{file}`."
)

# %% [markdown]
# ## Exercises
#
# **1. A codec that invents.** Add `opus-32` to `damaged`. Opus fills its own treble with noise of
# the right level. Predict the signs of the differences in LSD and in SI-SDR, then look at
# {numref}`fig-06-deltas`, and explain with it what {numref}`fig-08-bit-rates` shows for Opus.
#
# ```{dropdown} Solution
# The levels are nearly right already, so LSD falls far less than under a codec that leaves the
# treble empty, and SI-SDR hardly moves. Where a codec invents its treble itself, enhancement is
# worth few bits or none.
# ```
#
# **2. Pieces of your own.** Run [chapter 05](05_measuring) with `input_dir` set to your music, then
# this one with `measured="run"`. Which marks does the table show, and why so few?
#
# ```{dropdown} Solution
# With fewer than a dozen pieces of a kind, no comparison of so large a table can get a verdict,
# however much the pieces gain. So the table has means but no marks.
# ```
