# %% [markdown]
# # 05 · Measuring
#
# Each number hears one thing and misses the rest. [The pages before](../theory/measures) say what
# each measure asks. This chapter computes two measures by hand, plays two sounds that one of them
# calls equal, measures a few pieces, and asks when a difference counts.
#
# **You will hear** a piano that is damaged in two ways, with equal scores and different sounds.
# **You will see** every piece before and after enhancement, and how a handful of pieces leads to a
# verdict.

# %% [markdown]
# Every setting of the chapter stands in the next cell. It takes the published weights, or those
# that chapter 04 trained, and pieces of `input_dir` that are not in the training split. With
# `measured="run"` the next two chapters read what is measured here.

# %% tags=["parameters"]
input_dir: str = "data/excerpts"  # folder of lossless music
run_dir: str = "data/runs/default"  # where this run keeps what it makes
results_dir: str = "data/results"  # what `make results` measured
figures_dir: str = "figures"  # where figures are saved
weights: str = "published"  # or "run": those that chapter 04 trained; or a checkpoint
preset: str = "fullband-44k"  # whose checkpoint is measured
max_pieces: int = 5  # measure at most so many test pieces; 0 measures all
excerpt_s: float = 3.0  # from the middle of each piece, in seconds
transparent: str = "lossless,sbc-53,aac-256,mp3-320"  # conditions with nothing to repair
damaged: str = "sbc-20,mp3-64,aac-64,aac-64+sbc-20,down-16000hz,noise-white-20db,old-recording"  # conditions with room
metrics: str = "zimtohrli,lsd,si_sdr,in_band_si_sdr,snr,stereo_image_change,level_difference"  # what is measured; visqol is slow
judged: str = "mp3-64"  # condition for which a verdict is worked out
seed: int = 0  # of the noise and of the draws

# %% tags=["hide-input"]
import itertools
import os
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
from IPython.display import Markdown
from scipy.stats import rankdata

import enhancelib as el

if Path.cwd().name == "notebooks":  # opened in JupyterLab
    os.chdir("..")

checkpoint = el.find_weights(weights, preset=preset, run_dir=run_dir)
sample_rate = el.AudioUNet.load(checkpoint).config.sample_rate
conditions = [*transparent.split(","), *damaged.split(",")]

# %% [markdown]
# ## Two numbers by hand
#
# The *signal-to-noise ratio* (SNR) compares samples. With the original $x$ and what became of it,
# $y$, it is
#
# $$\mathrm{SNR} = 10 \log_{10} \frac{\sum_n x_n^2}{\sum_n (y_n - x_n)^2}\ \text{dB}.$$
#
# The *log-spectral distance* (LSD) compares levels. With the spectra $X_{k,t}$ and $Y_{k,t}$ of $K$
# bins in each of $T$ frames it is
#
# $$\mathrm{LSD} = \frac{1}{T} \sum_t \sqrt{\frac{1}{K} \sum_k D_{k,t}^2}\ \text{bel}, \qquad
# D_{k,t} = \log_{10} \frac{|Y_{k,t}|^2}{|X_{k,t}|^2},$$
#
# where powers under $10^{-8}$ count as $10^{-8}$.


# %%
def snr_by_hand(y: np.ndarray, x: np.ndarray) -> float:
    return 10 * np.log10(np.sum(x**2) / np.sum((y - x) ** 2))


def lsd_by_hand(y: np.ndarray, x: np.ndarray) -> float:
    powers = (np.abs(librosa.stft(wave, n_fft=2048, hop_length=512)) ** 2 for wave in (y, x))
    got, true = (np.log10(np.maximum(power, 1e-8)) for power in powers)
    return np.sqrt(np.mean((got - true) ** 2, axis=-2)).mean()


# %% [markdown]
# ## One number hears little
#
# Take one piece, here a piano, and damage it twice: a weak Bluetooth link, and white noise that is
# *exactly as strong* as the codec's error. The signal-to-noise ratio cannot tell the two apart.
# Switch between them while they play.

# %%
pieces = el.list_pieces(input_dir)
held_out = [piece for piece in pieces if piece.split != "train"] or pieces
(piano,) = el.choose_pieces(held_out, 1, like="rendered_piano*")
original, _ = el.load(piano.path, sample_rate=sample_rate, duration_s=excerpt_s)
coded = el.degrade(original, "sbc-20", sample_rate=sample_rate)
level = snr_by_hand(coded, original)
noisy = el.degrade(original, f"noise-white-{level:.3f}db", sample_rate=sample_rate, seed=seed)
versions = {"Bluetooth, SBC bitpool 20": coded, "white noise": noisy}
title = f"{piano.title}: equal SNR"
el.Player({"original": original, **versions}, sample_rate=sample_rate, title=title)

# %%
names = ["snr", "lsd", "si_sdr", "mfcc_distance"]
scores = {
    name: el.score(wave, original, sample_rate=sample_rate, names=names)
    for name, wave in versions.items()
}
for name, wave in versions.items():  # by hand and by the library: the same
    np.testing.assert_allclose(scores[name]["snr"], snr_by_hand(wave, original), atol=1e-3)
    np.testing.assert_allclose(scores[name]["lsd"], lsd_by_hand(wave, original), atol=1e-3)
heads = {name: f"{el.METRICS[name].title} ({el.METRICS[name].unit})" for name in names}
pd.DataFrame(scores).T.rename(columns=heads).round(2)

# %% [markdown]
# White noise spreads over every band and moment, while a codec hides its error where the music is
# loud. So no number stands alone in this book. It uses waveform ratios (SNR, SI-SDR), spectral
# distances, and two models of hearing, ViSQOL and Zimtohrli, which predict the score that a
# listener would give.

# %% [markdown]
# ## Every piece, every condition, every metric
#
# One call fills the matrix: each piece is degraded as a whole under every condition, enhanced by
# the checkpoint, and compared with its original. It runs on a few pieces of `input_dir`, and you
# can put your own music in their place. The pieces share no material with the training or with each
# other: one piece of each group is taken, and the sources take turns.
#
# The third system, beside the untreated and the enhanced audio, is an *oracle*. It looks at the
# original, multiplies every bin of the spectrogram by the best factor, and keeps the phase. It is
# one mask in frames of one length, so it is a yardstick and no limit: other frames can gain a
# little more.

# %% tags=["remove-stderr"]
tests = [piece for piece in held_out if piece.split == "test"] or held_out
chosen = el.choose_pieces(tests, max_pieces)
live = el.evaluate(
    {piece.title: piece.path for piece in chosen},
    conditions,
    {preset: checkpoint, "oracle mask": el.oracle_mask},
    metrics=metrics.split(","),
    sample_rate=sample_rate,
    excerpt_s=excerpt_s,
    seed=seed,
    cache_dir=Path(run_dir) / "evaluation",
    command="notebooks/05_measuring.py",
)
live_file = el.write_results(live, Path(run_dir) / "results" / "05_measuring.csv")

# %% [markdown]
# Here is one of the pieces, untreated → enhanced. For metrics marked ↓ lower is better, for ↑
# higher.

# %% tags=["hide-input"]
arrows = {"lower": "↓", "higher": "↑", "zero": "±"}
shown = [
    name for name in ("zimtohrli", "lsd", "si_sdr", "in_band_si_sdr") if name in set(live["metric"])
]
heads = {name: f"{arrows[el.METRICS[name].better]} {el.METRICS[name].title}" for name in shown}
one = live[live["piece"] == chosen[0].title]
cells = one.pivot(index=["condition", "metric"], columns="system", values="value")
texts = cells.map("{:.2f}".format)
texts = texts["untreated"] + "\u00a0→\u00a0" + texts[preset]
table = texts.unstack().reindex(index=conditions, columns=shown).rename(columns=heads)
table = table.rename(index=el.condition_title)
table.rename_axis(index=chosen[0].title, columns=None).astype(object).fillna("–")

# %% tags=["remove-input"]
lsd = live[live["metric"] == "lsd"].pivot(
    index=["piece", "condition"], columns="system", values="value"
)
closer = (lsd[preset] < lsd["untreated"]).groupby("condition").sum().reindex(conditions)
told = "; ".join(f"{el.condition_title(name)}: {count}" for name, count in closer.items())
Markdown(
    f"{len(chosen)} pieces, {len(conditions)} conditions, {live['metric'].nunique()} metrics: "
    f"{len(live):,} values in `{live_file}`, each with its commit, seed, device and load. The "
    f"number of pieces, of {len(chosen)}, that come closer to the original in LSD: {told}."
)

# %% [markdown]
# ## When does a difference count?
#
# Pieces differ more than systems do, so a piece is compared with itself. The *paired difference* of
# one piece is enhanced minus untreated. What does a handful of differences prove? The figure shows
# one condition of the table that `make results` measured once, at length. Each line is a piece, and
# each group is a kind. No mean is taken over two kinds, since a network that helps drums may harm a
# voice.

# %% tags=["hide-input"]
published = pd.read_csv(Path(results_dir) / f"{preset}.csv")
of_visqol = published[(published["metric"] == "visqol") & (published["condition"] == judged)]
pairs = {}
for kind, part in el.by_kind(of_visqol):
    pairs[kind] = part.pivot(index="piece", columns="system", values="value")[["untreated", preset]]
what = el.condition_title(judged)
lines = {kind: table.to_numpy() for kind, table in pairs.items()}
axes = el.plotting.slopes(lines, y_label="ViSQOL (1 to 5)", title=f"{what}: untreated → enhanced")
el.plotting.save_figure(axes.figure, "05_pairs", figures_dir=figures_dir)

# %% tags=["remove-input"]
rising = [
    f"{(table[preset] > table['untreated']).sum()} of {len(table)} {kind}"
    for kind, table in pairs.items()
]
Markdown(f"Pieces that rise under {what}: {', '.join(rising)}.")

# %% [markdown]
# Take the kind with the most pieces. *Student's interval* says how far its mean difference $\bar d$
# over $n$ pieces can be trusted:
#
# $$\bar d \pm t\, s / \sqrt n,$$
#
# with the spread $s$ of the differences and a factor $t$ from Student's distribution. *Wilcoxon's
# test* ranks the differences by size. It asks how often the ranks would favor one side as strongly
# if the sign of each difference were random. With few pieces that can be counted over all $2^n$
# ways to give signs.

# %%
kind = max(pairs, key=lambda name: len(pairs[name]))
differences = (pairs[kind][preset] - pairs[kind]["untreated"]).to_numpy()[:15]
moved = differences[differences != 0]
ranks = rankdata(np.abs(moved))
signs = np.array(list(itertools.product([-1, 1], repeat=len(moved))))
as_far = np.abs(signs @ ranks) >= abs(np.sign(moved) @ ranks) - 1e-9
draws = np.random.default_rng(seed).choice(differences, (4000, len(differences))).mean(axis=1)
part = dict(el.by_kind(of_visqol))[kind]
row = el.summarize(part[part["system"].isin(["untreated", preset])]).iloc[0]
if len(differences) == row["pieces"]:  # the library counts the same
    np.testing.assert_allclose(as_far.mean(), row["p"], atol=1e-6)

# %% tags=["remove-input"]
low, high = np.quantile(draws, [0.025, 0.975])
Markdown(
    f"Of {len(differences)} pieces of the kind *{kind}*, {np.sum(moved > 0)} rise and "
    f"{np.sum(moved < 0)} fall. The mean difference is {differences.mean():+.2f}, with Student's 95 % "
    f"interval from {row['low']:+.2f} to {row['high']:+.2f}. Of {len(signs):,} ways to give signs, "
    f"{as_far.sum():,} lean as far: p = {as_far.mean():.4f}. Drawing the pieces again and again "
    f"(*bootstrap*) gives an interval from {low:+.2f} to {high:+.2f}. With so few pieces it is too "
    f"narrow, so the book uses Student's."
)

# %% [markdown]
# Many comparisons find something by chance: of twenty without any difference, one on average has a
# p under 0.05. So Holm's method makes each p of a table larger, by more if the table compares more.
# A verdict stands only where that corrected p is at most 0.05. Where so few pieces could not reach
# a verdict at all, the tables say nothing.

# %% [markdown]
# ## Take-away
#
# - A number answers one question. Read at least two that ask different ones, and listen.
# - A piece is compared with itself, kinds stay apart, and the worst piece is named.
# - A difference without an interval and without the number of comparisons is an anecdote.

# %% [markdown]
# ## Exercises
#
# **1. Late.** Delay the piano by one sample and measure SNR and LSD by hand. Which of the two hears
# it?
#
# ```{dropdown} Solution
# `late = np.pad(original, ((0, 0), (1, 0)))[:, :-1]`. The SNR falls as low as under a weak codec,
# since every sample is compared with its neighbor, while the LSD stays near zero. Nobody hears the
# delay.
# ```
#
# **2. How many pieces?** With $n$ pieces that all gain, what is the least p of the test? How many
# pieces does a table of 100 comparisons need before one of them can get a verdict?
#
# ```{dropdown} Solution
# Of all $2^n$ ways to give signs, two lean as far: all plus and all minus. So $p = 2^{1-n}$. Holm's
# method multiplies the smallest p of 100 by 100, so $100 \cdot 2^{1-n} \le 0.05$, which takes 12
# pieces.
# ```
