# %% [markdown]
# # 07 · Does it harm?
#
# To leave alone what is fine is harder than to repair what is not. This chapter looks where nothing was to be
# repaired, and counts the worst piece instead of the mean. Then it plays failures.
#
# **You will see** under which codecs the worst piece of each kind is harmed. **You will hear** lossless
# music that went through the network, and a gallery of pieces that came out worse.

# %% [markdown]
# Every setting of the chapter stands in the next cell. The tables are those that `make results` measured; with
# `measured="run"` they are those that [chapter 05](05_measuring) measured on a few pieces of your folder. The
# gallery always plays pieces that chapter 05 measured.

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
# Lossless music and the best codecs leave nothing to repair. There the mean does not count, the
# worst piece does: if it loses more than a tolerance, the system is harmful under that condition (✗). The
# *in-band SI-SDR* looks only at those parts of the spectrogram that came through the codec; a loss of more
# than 0.1 dB there counts as harm.

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
    kinds = [kind for kind in parts if kind in table]
    return table[kinds].rename_axis(columns=None).astype(object).fillna("–")


worst_of("in_band_si_sdr")

# %% [markdown]
# That was the in-band SI-SDR of the worst piece, in dB. The same by a model of hearing, or by levels where
# none was measured, with a tolerance of 0.02:

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
    f"The second table is by {el.METRICS[second].title}. Over all measures of harm, checks that fail: "
    f"{checks}.{beside} The figures are kept in `{file}`."
)

# %% [markdown]
# Each check with its piece by name, as a file:

# %%
el.Download(harm, "07_checks.csv")

# %% [markdown]
# ## Hear nothing happen
#
# A voice that lost nothing goes through the network. What comes out should be what went in. The button for
# the error plays what was taken away or added.

# %%
pieces = el.list_pieces(input_dir)
held_out = [piece for piece in pieces if piece.split != "train"] or pieces
(voice,) = el.choose_pieces(held_out, 1, like="voice_*")
fine, _ = el.load(voice.path, sample_rate=sample_rate, duration_s=excerpt_s)
touched = el.enhance_wave(fine, checkpoint, sample_rate=sample_rate)
title = f"lossless: {voice.path.stem}"
el.Player({"lossless": fine, "enhanced": touched}, sample_rate=sample_rate, title=title)

# %% tags=["hide-input"]
changed_db = 10 * np.log10(np.sum((touched - fine) ** 2) / np.sum(fine**2) + 1e-12)
Markdown(
    f"The change lies {-changed_db:.0f} dB under the voice, and the gate is "
    f"{el.parts(network, fine).gate.mean():.1%} open."
)

# %% [markdown]
# ## A gallery of failures
#
# Of the pieces that [chapter 05](05_measuring) measured, each under the condition in which it loses most, by
# a model of hearing or, where none was measured, by levels. They are not typical; they show what can go
# wrong.

# %%
deltas = el.paired_deltas(pd.read_csv(of_run).query("system in ['untreated', @preset]"))
by = next(name for name in ("visqol", "zimtohrli", "lsd") if name in set(deltas["metric"]))
of_each = deltas[deltas["metric"] == by].sort_values("gain").drop_duplicates("piece")
lost = of_each.head(failures).reset_index(drop=True)
lost.index = [f"{place + 1}. {name}" for place, name in enumerate(lost["condition"])]

# %% [markdown]
# The middle of each piece, which is what was measured, goes through codec and network again:

# %%
paths = {piece.path.stem: piece.path for piece in pieces}
cases = {}
for row in lost.itertuples():
    whole, _ = el.load(paths[row.piece], sample_rate=sample_rate)
    start = max(0, (whole.shape[1] - round(excerpt_s * sample_rate)) // 2)
    lossless = whole[:, start : start + round(excerpt_s * sample_rate)]
    lossy = el.degrade(lossless, row.condition, sample_rate=sample_rate, seed=seed)
    enhanced = el.enhance_wave(lossy, checkpoint, sample_rate=sample_rate)
    cases[row.Index] = {"lossy": lossy, "enhanced": enhanced, "lossless": lossless}

# %% [markdown]
# What went wrong can often be read from the level of each range of frequencies against the original, in dB,
# lossy → enhanced: over zero it is too loud, under zero too weak.


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
    tab: [f"{before:+.1f} → {after:+.1f}" for before, after in (np.round(both, 1) + 0.0).T]
    for tab, both in levels.items()
}
pd.DataFrame.from_dict(cells, orient="index", columns=ranges)

# %% [markdown]
# And here they are, the worst first:


# %% tags=["hide-input"]
def reason(tab: str) -> str:
    row, (before, after) = lost.loc[tab], levels[tab]
    most = int(np.argmax(np.abs(np.subtract(after, before))))
    return (
        f"{el.METRICS[by].title} {row['untreated']:.2f} → {row['value']:.2f}. The level {ranges[most]} "
        f"moved most: it was off by {before[most]:+.1f} dB and is off by {after[most]:+.1f} dB."
    )


# %%
players = {
    tab: el.Player(each, sample_rate=sample_rate, title=f"{tab}: {lost.loc[tab, 'piece']}")
    for tab, each in cases.items()
}
el.Gallery(players, notes={tab: reason(tab) for tab in cases}, title="Failures")

# %% [markdown]
# The network has to guess what is codec and what is music: hiss, a bell or a room that fades can look like
# damage to it, and then it takes away what belongs there. What it fills in has the right level only as far as
# it could be predicted; where it is too strong one hears noise, where it is too weak the sound stays dull.

# %% [markdown]
# ## Take-away

# %% tags=["hide-input"]
excess = mine["worst_delta"].abs() / mine["tolerance"]
worst = mine.assign(excess=excess).sort_values(["harmed", "excess"]).iloc[-1]
Markdown(
    f"- Where nothing is to be repaired, {int(mine['harmed'].sum())} of {len(mine)} checks find harm; the worst "
    f"is `{worst['condition']}`, {el.METRICS[worst['metric']].title} {worst['worst_delta']:+.2f} on "
    f"`{worst['worst_piece']}`.\n"
    f"- A mean hides that: the worst piece is somebody's favourite record.\n"
    f"- Of the gallery, the largest loss is {el.METRICS[by].title} {lost['untreated'].iloc[0]:.2f} → "
    f"{lost['value'].iloc[0]:.2f}, `{lost['piece'].iloc[0]}` under `{lost['condition'].iloc[0]}`."
)

# %% [markdown]
# ## Exercises
#
# **1. Less of it.** `el.enhance_wave` has an `amount`. Take the first piece of the gallery with amounts of 0.25,
# 0.5 and 1 and score each by LSD and SI-SDR. Is half the enhancement half the harm?
#
# ```{dropdown} Solution
# The output is input + amount × change, so the error in the samples that were fine falls in proportion: 6 dB
# less harm for half the amount. The gain is not proportional: a treble that is filled at half the
# strength is 6 dB too weak.
# ```
#
# **2. By the mean.** Give the means of the first table instead of the worst pieces (`harm` has a column
# `delta`). Which ✗ would you no longer see?
#
# ```{dropdown} Solution
# Those where a single piece loses a little, such as speech under `aac-256`. Where a piece loses much, it pulls the
# mean over the tolerance too. But a mean never says whose record it was.
# ```
