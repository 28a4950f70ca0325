# %% [markdown]
# # Does it help, does it ever harm?
#
# Published systems report the metric they win. This chapter reports all of them, each beside the
# value of the lossy audio that was *not* treated, piece by piece, also where there is nothing to
# repair and a system can only do damage.
#
# **You will hear** two recordings that one number calls equal and your ears do not, and then test
# pieces before and after enhancement, openly and blind. **You will see** two tables, for songs, recorded
# instruments, rendered music, singing and speech apart: does it do good, and does it do no harm. What the project promised at its beginning stands [apart](../history).

# %% [markdown]
# Every setting of the chapter stands in the next cell. It takes the published weights, or what the
# chapter before trained, and pieces of `input_dir` that the chapters before did not train on.

# %% tags=["parameters"]
input_dir: str = "data/excerpts"  # folder of lossless music that the pairs were made from
run_dir: str = "data/runs/default"  # where this run keeps what it makes
results_dir: str = "data/results"  # what `make results` measured
figures_dir: str = "figures"  # where figures are saved
weights: str = "published"  # or "run": those that chapter 02 trained; or a checkpoint
preset: str = "fullband-44k"  # whose checkpoint is evaluated
max_pieces: int = 3  # measure at most so many test pieces here; 0 measures all
excerpt_s: float = 3.0  # from the middle of each piece, in seconds
transparent: str = "lossless,sbc-53,aac-256,mp3-320"  # conditions with nothing to repair
damaged: str = "sbc-35,sbc-20,mp3-64,aac-64,aac-64+sbc-20,down-16000hz,noise-white-20db,old-recording"  # conditions with room
hearing_pieces: int = 1  # pieces that the models of hearing score here; 0 leaves them out
trials: int = 16  # of the blind test
seed: int = 0  # of the noise and of the intervals

# %% tags=["hide-input"]
import itertools
import os
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from scipy.signal import welch

import enhancelib as el

if Path.cwd().name == "notebooks":  # opened in JupyterLab
    os.chdir("..")

pd.set_option("display.max_colwidth", None)
pd.set_option("display.max_rows", None)
checkpoint = el.find_weights(weights, preset=preset, run_dir=run_dir)
sample_rate = el.AudioUNet.load(checkpoint).config.sample_rate
conditions = [*transparent.split(","), *damaged.split(",")]

# %% [markdown]
# ## One number hears little
#
# Take one piece, here a piano, and damage it twice: a weak Bluetooth link, and white noise that is
# *exactly as strong* as the codec's error. The signal-to-noise ratio cannot tell the two apart.
# Switch between them while they play.

# %%
held_out = [piece for piece in el.list_pieces(input_dir) if piece.split != "train"]
(piano,) = el.choose_pieces(held_out, 1, like="rendered_piano*")
original, _ = el.load(piano.path, sample_rate=sample_rate, duration_s=excerpt_s)
coded = el.degrade(original, "sbc-20", sample_rate=sample_rate)
level = el.score(coded, original, sample_rate=sample_rate, names=["snr"])["snr"]
noisy = el.degrade(original, f"noise-white-{level:.3f}db", sample_rate=sample_rate, seed=seed)
names = ["snr", "si_sdr", "lsd", "mfcc_distance", "centroid_distance"]
versions = {"Bluetooth, SBC bitpool 20": coded, "white noise": noisy}
pd.DataFrame(
    {
        name: el.score(wave, original, sample_rate=sample_rate, names=names)
        for name, wave in versions.items()
    }
).T.rename(columns=lambda name: f"{el.METRICS[name].title} ({el.METRICS[name].unit})").round(2)

# %%
title = f"{piano.path.stem}: equal SNR"
el.Player({"original": original, **versions}, sample_rate=sample_rate, title=title)

# %% [markdown]
# Noise of the same energy spreads over every band and moment, a codec hides its error where the
# music is loud. So no number stands alone below: waveform ratios (SNR, SI-SDR), spectral distances,
# and two models of hearing, ViSQOL and Zimtohrli, which predict the score a listener would give.

# %% [markdown]
# ## Every piece, every condition, every metric
#
# One call fills the matrix: each piece is degraded as a whole under every condition, enhanced by
# the checkpoint, and compared with its original. Below it runs on a few pieces of `input_dir`, so
# that you can put your own music in their place. They share no material with the training, nor with
# each other: of each group one piece is taken, and the sources take turns.
#
# A third system beside the untreated and the enhanced audio is an *oracle*: it looks at the
# original and turns every bin of the spectrogram up or down by the factor that suits it best. It is
# one mask, in frames of 1,024 samples, and leaves the phase alone: a yardstick rather than a limit,
# since other frames can gain a little more.

# %%
tests = [piece for piece in held_out if piece.split == "test"]
pieces = {piece.path.stem: piece.path for piece in el.choose_pieces(tests, max_pieces)}
settings = {
    "sample_rate": sample_rate,
    "excerpt_s": excerpt_s,
    "seed": seed,
    "cache_dir": Path(run_dir) / "evaluation",
    "command": "notebooks/03_spectral_evaluation.py",
}

# %% tags=["remove-stderr"]
systems = {preset: checkpoint, "oracle mask": el.oracle_mask}
tables = [el.evaluate(pieces, conditions, systems, **settings)]
if heard := dict(list(pieces.items())[:hearing_pieces]):
    hearing = {"metrics": ["visqol", "zimtohrli"], **settings}
    tables.append(el.evaluate(heard, conditions, {preset: checkpoint}, **hearing))
live = pd.concat(tables, ignore_index=True)
live_file = el.write_results(live, Path(run_dir) / "results" / "03_spectral_evaluation.csv")

# %% [markdown]
# For the published weights the same call has run on a whole set of pieces that stayed out of
# training, under every codec and operating point, untreated, through the weights and through each
# file exported from them. `make results` does that, and from here on the numbers are its; the next
# output says which set they are of. For other weights, they are those of the few pieces above.

# %%
file = Path(results_dir) / f"{preset}.csv" if weights == "published" else live_file
results = pd.read_csv(file)
parts = dict(el.by_kind(results))
cost_file = Path(results_dir) / f"{preset}-cost.csv"
costs = pd.read_csv(cost_file) if cost_file.exists() else pd.DataFrame(columns=results.columns)
per_hour = costs[costs["metric"] == "pairs_per_hour"]

# %%
measured_on = {
    "test set": "On the test set, which no choice was made on (`data/testset.csv`):",
    "development set": "On the development set (`data/devset.csv`), at which people looked while "
    "they chose the network and its training, so that it flatters a little:",
    "pieces of this run": "On pieces of this run:",
}[el.piece_set(results)]
rates = [f"{row.value:,.0f} by {el.METRICS[row.system].title}" for row in per_hour.itertuples()]
Markdown(
    f"{measured_on} {results['piece'].nunique()} pieces of the kinds {', '.join(parts)}, "
    f"{results['condition'].nunique()} conditions, "
    f"{results['system'].nunique()} systems, {results['metric'].nunique()} metrics: "
    f"{len(results):,} values in `{file}`, each with its commit, seed, device and load. "
    f"One process scores, in an hour, so many pairs of 6 s: {', '.join(rates) or 'not measured'}."
)

# %% [markdown]
# All metrics, means over the pieces of each kind, lossy → enhanced. For those marked ↓ lower is better,
# for ↑ higher, for ± what is nearer to zero. Means hide more than they show; what follows takes them
# apart. No mean is taken over two kinds: a network that helps drums may harm a voice.


# %%
def short(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.2g}"


arrows = {"lower": "↓", "higher": "↑", "zero": "±"}
titles = {
    name: f"{arrows[metric.better]} {metric.title} ({metric.unit})"
    for name, metric in el.METRICS.items()
    if name in set(results["metric"])
}


# %%
def means(part: pd.DataFrame) -> pd.DataFrame:
    table = part.groupby(["metric", "condition", "system"], sort=False)["value"].mean().unstack()
    cells = (table["untreated"].map(short) + " → " + table[preset].map(short)).unstack()
    return cells.reindex(index=titles, columns=conditions).rename(index=titles)


# %% [markdown]
# The means over the pieces of each kind, untreated → enhanced:

# %% tags=["hide-output"]
pd.concat({kind: means(part) for kind, part in parts.items()}).astype(object).fillna("–")

# %% [markdown]
# ## Does it do good?
#
# Where there is room, the difference to the untreated audio is taken piece by piece, since pieces
# differ more than systems do. In brackets is where the mean lies with 95 % confidence (Student's t
# over pieces). ▲ better, ▼ worse, • open, and no mark with too few pieces for a verdict.

# %%
ours = results[results["system"].isin(["untreated", preset])]
good = {kind: el.does_good(part) for kind, part in el.by_kind(ours)}
good = pd.concat(good, names=["kind"]).reset_index("kind").reset_index(drop=True)
marks = {"better": " ▲", "worse": " ▼", "open": " •", "few": ""}
interval = good["low"].map("{:+.2f}".format) + ", " + good["high"].map("{:+.2f}".format)
shown = good["delta"].map("{:+.2f}".format) + " [" + interval + "]" + good["verdict"].map(marks)
headings = {name: titles.get(name, name) for name in ("visqol", "zimtohrli", "lsd", "si_sdr")}

# %%
keys = {"index": ["condition", "kind"], "columns": "metric", "values": "shown"}
table = good.assign(shown=shown).pivot(**keys)
rows = pd.MultiIndex.from_product([damaged.split(","), parts])
columns = [name for name in headings if name in table]
table.reindex(index=rows, columns=columns).rename(columns=headings).astype(object).fillna("–")

# %% [markdown]
# Under all conditions, with the number of pieces, *p* (the chance of such a difference if there were
# none, Wilcoxon's exact signed-rank test) and the worst piece by name. Of so many rows, one in twenty
# would have a *p* under 0.05 by chance. `p_holm` is corrected for that, and the verdict follows it.

# %% tags=["hide-output"]
full = good.drop(columns=["system", "unit"]).set_index(["kind", "condition", "metric"])
digits = {"untreated": 2, "value": 2, "p": 4, "p_holm": 4}
full.round(digits | dict.fromkeys(["delta", "low", "high", "worst_delta"], 3))

# %% [markdown]
# The same as a picture, for the log-spectral distance (left of zero is better) and the SI-SDR
# (right of zero is better). A system that invents missing treble improves the first and pays with
# the second: an invented band has the right level and, at best, a random phase.

# %%
summary = {kind: el.summarize(part) for kind, part in el.by_kind(ours)}
summary = pd.concat(summary, names=["kind"]).reset_index("kind").reset_index(drop=True)
bounds = summary[["low", "high"]].apply(lambda bound: bound.fillna(summary["delta"]))
summary = summary.assign(**bounds)  # one piece alone has no interval

# %%
rows = len(conditions) * (1 + len(parts))
figure, axes = el.plotting.subplots(columns=2, width=9, height=0.9 + 0.17 * rows)
for ax, name in zip(axes.flat, ["lsd", "si_sdr"], strict=True):
    rows = summary[summary["metric"] == name].set_index(["condition", "kind"])
    groups = {
        condition: {row.Index: (row.delta, row.low, row.high) for row in part.itertuples()}
        for condition in damaged.split(",")
        if len(part := rows.loc[condition] if condition in rows.index else rows.iloc[:0])
    }
    metric = el.METRICS[name]
    label = f"{metric.title}: enhanced - untreated ({metric.unit})"
    el.plotting.intervals(groups, x_label=label, ax=ax)
if legend := axes.flat[0].get_legend():  # the other panel has it
    legend.remove()
el.plotting.save_figure(figure, "03_deltas.svg", figures_dir=figures_dir)

# %% [markdown]
# ## Does it do no harm?
#
# The same where nothing is left to repair, on every kind. Here the mean does not count, the
# worst piece does: if it loses more than the tolerance at the head of the column, the system is
# harmful under that condition (✗). *In-band SI-SDR* looks only at those parts of the spectrogram that came
# through the codec. The 8-bit file, where there is one, has to pass as well.

# %%
harm = pd.concat({kind: el.does_no_harm(part) for kind, part in parts.items()})
harm = harm.rename_axis(["kind", None]).reset_index("kind").reset_index(drop=True)
harm = harm[(harm["system"] == preset) | harm["system"].str.contains("int8")]
worst = harm["worst_delta"].map("{:+.3f}".format)
named = "✗ " + worst + " (" + harm["worst_piece"] + ")"
harm = harm.assign(shown=named.where(harm["harmed"], "✓ " + worst))
harm["head"] = [
    f"{el.METRICS[row.metric].title}, {row.tolerance:g} {row.unit}" for row in harm.itertuples()
]
table = harm.pivot(index=["kind", "system", "condition"], columns="head", values="shown")
table.reindex(columns=harm["head"].unique()).astype(object).fillna("–")

# %% [markdown]
# ## Others, on noise
#
# No package that brings its weights restores coded music. There are denoisers, made for speech.
# Here are those that could be installed, each on its own ground and on ours: mean gain over the
# untreated audio. Systems whose authors publish sounds stand [on a page of their own](../beside).

# %%
peers_file = Path(results_dir) / f"{preset}-denoisers.csv"
table = pd.DataFrame({"not measured yet": ["python -m tools.measure peers.denoisers"]})
if peers_file.exists():
    rows = pd.read_csv(peers_file)
    of_peers = el.checkpoint_sha256(el.find_weights("published", preset=preset))
    display(Markdown(el.provenance.weights_note(rows, of_peers)))
    peers = {kind: el.paired_deltas(part) for kind, part in el.by_kind(rows)}
    peers = pd.concat(peers, names=["kind"]).reset_index("kind")
    names = {name: el.METRICS[name].title for name in ("snr", "si_sdr", "visqol", "zimtohrli")}
    peers = peers[peers["metric"].isin(names)].replace({"metric": names})
    keys = {"index": ["kind", "condition"], "columns": ["metric", "system"]}
    table = peers.pivot_table(values="delta", sort=False, **keys).round(2)
table.astype(object).fillna("–")

# %% [markdown]
# ## What it is worth in bits
#
# How good does enhanced audio sound, and at which bit rate does untreated audio sound as good? The
# curves are means of ViSQOL (5 is best) over the pieces of a kind in the same set, with 95 % intervals
# over pieces; bit rates are those of the packets.

# %%
rates = pd.read_csv(Path(results_dir) / f"{preset}-rates.csv")
by_visqol = rates[rates["metric"] == "visqol"]
codecs, kinds = by_visqol["codec"].unique(), by_visqol["kind"].unique()
figure, axes = el.plotting.subplots(len(codecs), len(kinds), width=3.4 * len(kinds), height=2.6)
for ax, (codec, kind) in zip(np.ravel(axes), itertools.product(codecs, kinds), strict=True):
    part = by_visqol[(by_visqol["codec"] == codec) & (by_visqol["kind"] == kind)]
    curves = {
        label: (part["kbps"], part[name], part[f"{name}_low"], part[f"{name}_high"])
        for label, name in (("untreated", "untreated"), ("enhanced", "value"))
    }
    labels = {"x_label": "Bit rate (kbit/s)", "y_label": "ViSQOL"}
    el.plotting.curves(curves, **labels, ax=ax, title=f"{codec}, {kind}")
el.plotting.save_figure(figure, "03_bit_rates.svg", figures_dir=figures_dir)

# %% [markdown]
# The mean horizontal distance of the two curves (Bjøntegaard) is the share of bits that enhancement
# saves at equal quality, in percent with its 95 % interval over pieces, by two models of hearing.


# %%
def span(value: float, low: float, high: float) -> str:
    texts = (f"{np.round(end) + 0.0:.0f}" for end in (value, low, high))  # no negative zero
    return "{} ({} to {})".format(*(text.replace("nan", "open") for text in texts))


ends = ["saving_percent", "low", "high"]
saved = rates.drop_duplicates(["kind", "codec", "metric"])
saved = saved.assign(shown=[span(*row) for row in saved[ends].to_numpy()])
wide = saved.pivot(index=["codec", "metric"], columns="kind", values="shown")
wide.reindex(columns=kinds)

# %% [markdown]
# For Bluetooth, point by point: at which bit rate does untreated SBC sound like the enhanced one? In
# brackets the 95 % interval; its end is open where some of the pieces drawn sound better than untreated
# SBC at any rate measured.

# %%
points = by_visqol[by_visqol["codec"] == "SBC"]
best = points.groupby("kind")["untreated"].max()
cells = []
for row in points.itertuples():
    sound = span(row.equals_kbps, row.equals_kbps_low, row.equals_kbps_high)
    if np.isnan(row.equals_kbps):
        sound = "better than any" if row.value > best[row.kind] else "worse than any"
    cells.append(f"{sound}; ViSQOL {row.untreated:.2f} → {row.value:.2f}")
points = points.assign(shown=cells, rate=points["kbps"].round().astype(int))
points.pivot(index="rate", columns="kind", values="shown").reindex(columns=kinds).rename_axis(
    "SBC (kbit/s)"
)

# %% [markdown]
# ## Where in the chain?
#
# A phone decodes a stream and codes it again for Bluetooth. The network can stand on the phone,
# before the second codec, in the headphones, behind it, or at both ends. `tools/measure/chain.py` measured
# all four at the ear, over strong links, weak ones, and one that loses packets; `+lossless` is the
# stream on the phone, before Bluetooth. ViSQOL, means over every other piece of each kind, so that
# the levels differ from those above:

# %%
measured_at_ear = Path(results_dir) / f"{preset}-chain.csv"
if measured_at_ear.exists():
    chain = pd.read_csv(measured_at_ear)
else:  # of this preset; the flagship's are there
    chain = pd.read_csv(Path(results_dir) / "fullband-44k-chain.csv")
of_chain = chain["preset"].dropna().iloc[0]
flagship = el.checkpoint_sha256(el.find_weights("published", preset=of_chain))
display(Markdown(el.provenance.weights_note(chain, flagship)))
heard = dict(el.by_kind(chain[chain["metric"] == "visqol"]))
keys = {"index": "condition", "columns": "system", "values": "value", "sort": False}
at_ear = {kind: part.pivot_table(**keys) for kind, part in heard.items()}
places = ["untreated", "phone", "headphones", "both"]
pd.concat(at_ear)[places].round(2).rename_axis(columns=of_chain)

# %% [markdown]
# The differences to no enhancement at all, with 95 % intervals over pieces. What the phone adds
# has to pass the Bluetooth codec; what the headphones add need not.

# %%
where = {kind: el.summarize(part) for kind, part in heard.items()}
figure, axes = el.plotting.subplots(columns=len(where), width=4.6 * len(where), height=9)
for ax, (kind, rows) in zip(np.ravel(axes), where.items(), strict=True):
    over_air = rows[~rows["condition"].str.endswith("+lossless")]
    groups = {
        condition: {row.system: (row.delta, row.low, row.high) for row in part.itertuples()}
        for condition, part in over_air.groupby("condition", sort=False)
    }
    label = "ViSQOL: difference to no enhancement"
    el.plotting.intervals(groups, x_label=label, ax=ax, title=kind)
    ax.get_legend().remove()
ax.legend(loc="upper right", bbox_to_anchor=(1, -0.06), ncols=3)
el.plotting.save_figure(figure, "03_chain.svg", figures_dir=figures_dir)

# %% [markdown]
# How much of what the phone gains survives the link? Its gain at the ear, as a share of its gain
# before Bluetooth, for streams where there was one:


# %%
def surviving(rows: pd.DataFrame) -> pd.DataFrame:
    gain = rows[rows["system"] == "phone"].set_index("condition")["delta"]
    ends = pd.MultiIndex.from_tuples([tuple(name.split("+", 1)) for name in gain.index])
    pairs = gain.set_axis(ends).unstack(sort=False)
    before = pairs["lossless"] if "lossless" in pairs else pd.Series(np.nan, index=pairs.index)
    share = pairs.drop(columns="lossless", errors="ignore").div(before, axis=0)
    return share[before > 0.05].map("{:.0%}".format)


survives = pd.concat({kind: surviving(rows) for kind, rows in where.items()})
survives.rename_axis(index=["kind", "stream"], columns="link")

# %% [markdown]
# ## See it
#
# A song under the condition with the largest gain in log-spectral distance, of the kind that is named
# first above. Below: what the enhancement changed, and what still separates it from the original.

# %%
(song,) = el.choose_pieces(held_out, 1, like="song_*")
(voice,) = el.choose_pieces(held_out, 1, like="voice_*")
(loop,) = el.choose_pieces(held_out, 1, like="*_loop_*")
of_first = summary[(summary["metric"] == "lsd") & (summary["kind"] == next(iter(parts)))]
gains = of_first[of_first["condition"].isin(damaged.split(","))]
condition = gains.set_index("condition")["delta"].idxmin()


# %%
def three(piece) -> dict[str, np.ndarray]:
    lossless, _ = el.load(piece.path, sample_rate=sample_rate, duration_s=excerpt_s)
    lossy = el.degrade(lossless, condition, sample_rate=sample_rate, seed=seed)
    enhanced = el.enhance_wave(lossy, checkpoint, sample_rate=sample_rate)
    return {"lossless": lossless, "lossy": lossy, "enhanced": enhanced}


waves = three(song)

# %% [markdown]
# The picture shows all three versions; what the network adds stands where the second one is empty.

# %%
figure = el.plotting.spectrogram_grid(waves, sample_rate=sample_rate, columns=3)
el.plotting.save_figure(figure, "03_spectrograms.png", figures_dir=figures_dir)

# %%
figure, axes = el.plotting.subplots(columns=2, width=8.4, height=3)
for ax, (title, pair) in zip(
    axes.flat,
    {
        f"enhanced - {name}": (waves["enhanced"], waves[name]) for name in ("lossy", "lossless")
    }.items(),
    strict=True,
):
    image = el.plotting.spectrogram_difference(*pair, sample_rate=sample_rate, ax=ax, title=title)
figure.colorbar(image, ax=list(axes.flat), label="Level difference (dB)")
el.plotting.save_figure(figure, "03_differences.png", figures_dir=figures_dir)

# %% [markdown]
# Frequency by frequency, of the same song. On the left the error of the waveform
# against the music itself: over 0 dB, it would be better to play nothing. On the right the error
# of the level, which does not ask for the phase. Invented treble repairs the right side only.


# %%
def by_frequency(estimate: np.ndarray, reference: np.ndarray) -> np.ndarray:
    options = {"fs": sample_rate, "nperseg": 2048}
    error, got, true = (
        welch(wave, **options)[1].mean(axis=0) + 1e-12
        for wave in (estimate - reference, estimate, reference)
    )
    return np.stack([10 * np.log10(error / true), np.abs(10 * np.log10(got / true))])


errors = {
    "untreated": by_frequency(waves["lossy"], waves["lossless"]),
    "enhanced": by_frequency(waves["enhanced"], waves["lossless"]),
}

# %%
frequency_khz = np.fft.rfftfreq(2048, 1000 / sample_rate)
figure, axes = el.plotting.subplots(columns=2, width=9, height=3)
labels = ("Error against the music (dB)", "Error of the level (dB)")
for side, (ax, label) in enumerate(zip(axes.flat, labels, strict=True)):
    curves = {name: (frequency_khz, each[side]) for name, each in errors.items()}
    el.plotting.curves(curves, x_label="Frequency (kHz)", y_label=label, ax=ax, title=condition)
axes.flat[0].axhline(0, color="#6e6e73", linestyle="--", linewidth=1)
el.plotting.save_figure(figure, "03_error_by_frequency.svg", figures_dir=figures_dir)

# %% [markdown]
# ## Hear it
#
# Loudness is matched, and one playhead runs through all three. Then try it blind, on other music.

# %%
el.Player(waves, sample_rate=sample_rate, title=f"{condition}: {song.path.stem}")

# %% [markdown]
# In each trial X is either the original or the enhanced version, drawn at random: which one? Save
# the answers as CSV; `el.abx_result("answers.csv")` tells how likely a guesser does as well, and
# how small a difference the test could have shown.

# %%
spoken = three(voice)
el.ABX(
    spoken["lossless"],
    spoken["enhanced"],
    sample_rate=sample_rate,
    trials=trials,
    names=("lossless", "enhanced"),
    title=f"{condition}: {voice.path.stem}, enhanced, against the original",
)

# %% [markdown]
# The other question is not whether there is a difference, but how large it is. Rate each version
# against the open reference, in the manner of BS.1534 (MUSHRA). Among them are the original once
# more and a low-passed anchor; at least one should get 100.

# %%
looped = three(loop)
el.MUSHRA(
    {name: looped[name] for name in ("lossy", "enhanced")},
    looped["lossless"],
    sample_rate=sample_rate,
    title=f"{condition}: {loop.path.stem}",
)

# %% [markdown]
# More pieces to rate, and what answers are worth: [the listening test](03_listening_test).

# %% [markdown]
# ## Take-away

# %%
lsd = gains.set_index("condition").loc[condition]
order = ["better", "worse", "open", "few"]
count = good.groupby("kind")["verdict"].value_counts().unstack(fill_value=0)
count = count.reindex(index=list(parts), columns=order, fill_value=0)
verdicts = "; ".join(
    f"{row.Index} {row.better} better, {row.worse} worse, {row.open + row.few} without a verdict"
    for row in count.itertuples()
)
mine = harm[harm["system"] == preset]
excess = mine["worst_delta"].abs() / mine["tolerance"]
worst = mine.assign(excess=excess).sort_values(["harmed", "excess"]).iloc[-1]

# %%
Markdown(
    f"- The largest gain in log-spectral distance ({next(iter(parts))}) is under `{condition}`: "
    f"{lsd['untreated']:.2f} → {lsd['value']:.2f}.\n"
    f"- Comparisons where there is room, by kind: {verdicts}.\n"
    f"- Without room, {int(mine['harmed'].sum())} of {len(mine)} checks find harm; the worst is "
    f"`{worst['condition']}`, {el.METRICS[worst['metric']].title} {worst['worst_delta']:+.3f} "
    f"on `{worst['worst_piece']}`.\n"
    f"- These figures are those of `{checkpoint.name}` ({weights}); they are kept in `{file}`."
)

# %% [markdown]
# ## Exercises
#
# **1. Your ears.** Take the blind test above, save the answers, and give them to `el.abx_result`. If the
# test shows nothing: how small a difference could one of this length have shown at all? How many
# trials would half that difference need?
#
# **2. A codec that invents.** Add `opus-32` to `damaged`. Opus fills its own treble with noise of the
# right level. Predict the signs of the differences in LSD and in SI-SDR, then look at
# {numref}`fig-03-deltas`, and explain with it what {numref}`fig-03-bit-rates` shows for Opus.
