# %% [markdown]
# # 07 · Does it harm?
#
# It is harder to leave alone what is fine than to repair what is not. This chapter looks where
# nothing was to be repaired, and judges by the worst piece instead of the mean. Then it plays
# failures.
#
# **You will see** under which codecs the worst piece of each kind is harmed. **You will hear**
# lossless music that went through the network, and a gallery of pieces that came out worse.

# %% [markdown]
# Every setting of the chapter stands in the next cell. `make results` measured the tables. With
# `measured="run"` they are those that [chapter 05](05_measuring) measured on a few pieces of your
# folder. The gallery always plays pieces that chapter 05 measured.

# %% tags=["parameters"]
input_dir: str = "data/excerpts"  # folder of lossless music
run_dir: str = "data/runs/default"  # where this run keeps what it makes
results_dir: str = "data/results"  # what `make results` measured
figures_dir: str = "figures"  # where figures are saved
weights: str = "published"  # or "run": those that chapter 04 trained; or a checkpoint
measured: str = "published"  # or "run": what chapter 05 measured in run_dir
preset: str = "fullband-44k"  # whose checkpoint is evaluated
excerpt_s: float = 3.0  # of the pieces that are heard, in seconds
failures: int = 4  # pieces of the gallery
seed: int = 0  # of the noise

# %% tags=["hide-input"]
import itertools
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
network = el.AudioUNet.load(checkpoint)
sample_rate = network.config.sample_rate

# %% [markdown]
# The tables of results, with a row for each piece, condition, system and metric:

# %% tags=["hide-input"]
of_run = Path(run_dir) / "results" / "05_measuring.csv"
if not of_run.exists():
    raise el.EnhanceError(f"{of_run}: not there; run chapter 05_measuring with this run_dir first")
file = of_run if measured == "run" else Path(results_dir) / f"{preset}.csv"
results = pd.read_csv(file)
parts = dict(el.by_kind(results))

# %% [markdown]
# ## Where nothing is to be repaired
#
# Lossless music and the best codecs leave nothing to repair. There the worst piece counts and not
# the mean: if it loses more than a tolerance, the system is harmful under that condition (✗). The
# *in-band SI-SDR* looks only at the set $S$ of those bins that came through the codec. With the
# spectrum $X$ of the original, $Y$ of the output, and the gain $\alpha$ that fits $X$ best to $Y$,
# it is
#
# $$10 \log_{10} \frac{\sum_S |\alpha X|^2}{\sum_S |Y - \alpha X|^2}\ \text{dB}.$$
#
# A loss of more than 0.1 dB counts as harm.

# %%
harm = pd.concat({kind: el.does_no_harm(part) for kind, part in parts.items()})
harm = harm.rename_axis(["kind", None]).reset_index("kind").reset_index(drop=True)
harm = harm[(harm["system"] == preset) | harm["system"].str.contains("int8")]
mine = harm[harm["system"] == preset]


# %% tags=["hide-input"]
def worst_of(metric: str) -> pd.DataFrame:
    rows = mine[mine["metric"] == metric]
    texts = rows["harmed"].map({True: "✗ ", False: "✓ "}) + rows["worst_delta"].map(
        "{:+.2f}".format
    )
    table = rows.assign(shown=texts).pivot(index="condition", columns="kind", values="shown")
    table = table.rename(index=el.condition_title)
    kinds = [kind for kind in parts if kind in table]
    return table[kinds].rename_axis(index=None, columns=None).astype(object).fillna("–")


worst_of("in_band_si_sdr")

# %% [markdown]
# The table above has the change in in-band SI-SDR of the worst piece, in dB. Values of 60 dB and
# more count as equal, so lossless music starts from 60: a loss of 20 dB there means an error that
# lies 40 dB under the music. This number does not say whether the error can be heard. The next
# table is by a model of hearing, or by levels where none was measured, with a tolerance of 0.02:

# %% tags=["hide-input"]
second = next(name for name in ("visqol", "zimtohrli", "lsd") if name in set(mine["metric"]))
worst_of(second)

# %% tags=["hide-input"]
by_kind = mine.groupby("kind", sort=False)["harmed"].agg(["sum", "size"])
checks = "; ".join(f"{kind} {row['sum']} of {row['size']}" for kind, row in by_kind.iterrows())
small = harm[harm["system"] != preset]
beside = (
    f" The file in 8 bits fails {int(small['harmed'].sum())} of {len(small)} checks."
    if len(small)
    else ""
)
Markdown(
    f"The second table is by {el.METRICS[second].title}. All measures of harm together, these checks "
    f"fail: {checks}.{beside} The figures are kept in `{file}`."
)

# %% [markdown]
# This file has each check with its piece by name:

# %%
el.Download(harm, "07_checks.csv")

# %% [markdown]
# ## Hear nothing happen
#
# A voice that lost nothing goes through the network. The output should be the input. The *error*
# button plays what was taken away or added.

# %%
pieces = el.list_pieces(input_dir)
held_out = [piece for piece in pieces if piece.split != "train"] or pieces
(voice,) = el.choose_pieces(held_out, 1, like="voice_*")
fine, _ = el.load(voice.path, sample_rate=sample_rate, duration_s=excerpt_s)
touched = el.enhance_wave(fine, checkpoint, sample_rate=sample_rate)
title = f"lossless: {voice.title}"
el.Player({"lossless": fine, "enhanced": touched}, sample_rate=sample_rate, title=title)

# %% tags=["remove-input"]
changed_db = 10 * np.log10(np.sum((touched - fine) ** 2) / np.sum(fine**2) + 1e-12)
Markdown(
    f"The change lies {-changed_db:.0f} dB under the voice, and the gate is "
    f"{el.parts(network, fine).gate.mean():.1%} open."
)

# %% [markdown]
# ## A gallery of failures
#
# The gallery has pieces that [chapter 05](05_measuring) measured, each under the condition in which
# it loses most by a model of hearing (or by levels, where no such model was used). A piece that loses
# no more than 0.02 is left out, unless all do. They are not typical. They show what can go wrong.

# %%
deltas = el.paired_deltas(pd.read_csv(of_run).query("system in ['untreated', @preset]"))
by = next(name for name in ("visqol", "zimtohrli", "lsd") if name in set(deltas["metric"]))
of_each = deltas[deltas["metric"] == by].sort_values("gain").drop_duplicates("piece")
losing = max(1, (of_each["gain"] < -0.02).sum())
lost = of_each.head(min(failures, losing)).reset_index(drop=True)
lost.index = [f"{n}. {el.condition_title(name)}" for n, name in enumerate(lost["condition"], 1)]

# %% [markdown]
# The middle of each piece, which is what was measured, goes through codec and network again:

# %%
paths = {piece.title: piece.path for piece in pieces}
cases = {}
for row in lost.itertuples():
    whole, _ = el.load(paths[row.piece], sample_rate=sample_rate)
    start = max(0, (whole.shape[1] - round(excerpt_s * sample_rate)) // 2)
    lossless = whole[:, start : start + round(excerpt_s * sample_rate)]
    lossy = el.degrade(lossless, row.condition, sample_rate=sample_rate, seed=seed)
    enhanced = el.enhance_wave(lossy, checkpoint, sample_rate=sample_rate)
    cases[row.Index] = {"lossless": lossless, "lossy": lossy, "enhanced": enhanced}

# %% [markdown]
# The level of each range of frequencies, against the original, often shows what went wrong. It is
# given in dB, lossy → enhanced: over zero is too loud, under zero too weak.


# %%
def off_by(wave: np.ndarray, reference: np.ndarray) -> list[float]:
    spectra = (welch(each, fs=sample_rate, nperseg=2048) for each in (wave, reference))
    (hertz, got), (_, true) = ((each, power.mean(axis=0) + 1e-13) for each, power in spectra)
    levels = []
    for low, high in itertools.pairwise((50, 1000, 4000, 10000, 20000)):
        part = (hertz >= low) & (hertz < high)
        levels.append(10 * np.log10(got[part].sum() / true[part].sum()))
    return levels


ranges = ["under 1 kHz", "1 to 4 kHz", "4 to 10 kHz", "over 10 kHz"]
levels = {
    tab: [off_by(each[version], each["lossless"]) for version in ("lossy", "enhanced")]
    for tab, each in cases.items()
}

# %% tags=["hide-input"]
cells = {
    tab: [
        f"{before:+.1f}\u00a0→\u00a0{after:+.1f}" for before, after in (np.round(both, 1) + 0.0).T
    ]
    for tab, both in levels.items()
}
pd.DataFrame.from_dict(cells, orient="index", columns=ranges)

# %% [markdown]
# Here they are, the worst first:


# %% tags=["hide-input"]
def reason(tab: str) -> str:
    row, (before, after) = lost.loc[tab], levels[tab]
    most = int(np.argmax(np.abs(np.subtract(after, before))))
    was, now = (f"{each[most]:+.1f} dB".replace("-", "−") for each in (before, after))
    return (
        f"{el.METRICS[by].title} {row['untreated']:.2f} → {row['value']:.2f}. The level {ranges[most]} "
        f"moved most, from {was} of the original's to {now}."
    )


# %%
players = {
    tab: el.Player(each, sample_rate=sample_rate, title=f"{tab}: {lost.loc[tab, 'piece']}")
    for tab, each in cases.items()
}
el.Gallery(players, notes={tab: reason(tab) for tab in cases}, title="Failures")

# %% [markdown]
# The network has to guess what is codec and what is music. To it, hiss, a bell or a fading room can
# look like damage, and then it takes away what belongs there. The fill has the right level only as
# far as the level can be predicted. Where it is too strong one hears noise, and where it is too
# weak the sound stays dull.

# %% [markdown]
# ## Take-away

# %% tags=["remove-input"]
excess = mine["worst_delta"].abs() / mine["tolerance"]
worst = mine.assign(excess=excess).sort_values(["harmed", "excess"]).iloc[-1]
Markdown(
    f"- Where nothing is to be repaired, {int(mine['harmed'].sum())} of {len(mine)} checks find harm; the worst "
    f"is `{worst['condition']}`, {el.METRICS[worst['metric']].title} {worst['worst_delta']:+.2f} on "
    f"`{worst['worst_piece']}`.\n"
    f"- A mean hides that: the worst piece is somebody's favorite record.\n"
    f"- The largest loss in the gallery is that of `{lost['piece'].iloc[0]}` under "
    f"`{lost['condition'].iloc[0]}`: {el.METRICS[by].title} {lost['untreated'].iloc[0]:.2f} → "
    f"{lost['value'].iloc[0]:.2f}."
)

# %% [markdown]
# ## Exercises
#
# **1. Less of it.** `el.enhance_wave` has an `amount`. Take the first piece of the gallery with
# amounts of 0.25, 0.5 and 1 and score each by LSD and SI-SDR. Is half the enhancement half the
# harm?
#
# ```{dropdown} Solution
# The output is input + amount × change. So half the amount makes half the error, 6 dB less, where
# the music was fine. The gain is not proportional: a treble that is filled at half the strength is
# 6 dB too weak.
# ```
#
# **2. By the mean.** Make the first table of means instead of worst pieces (`harm` has a column
# `delta`). Which ✗ would you no longer see?
#
# ```{dropdown} Solution
# You would miss those where a single piece loses a little. A piece that loses much pulls the mean
# over the tolerance too, but the mean does not say which piece it was.
# ```
