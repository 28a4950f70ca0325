# %% [markdown]
# # Does it help, does it ever harm?
#
# Published systems report the metric they win. This chapter reports all of them, each beside the
# value of the lossy audio that was *not* treated, piece by piece, also where there is nothing to
# repair and a system can only do damage.
#
# **You will hear** two recordings that one number calls equal and your ears do not, and then test
# pieces before and after enhancement. **You will see** three tables: does it do good, does it do no
# harm, and which of the promises this project began with are kept.

# %% [markdown]
# Every setting of the chapter stands in the next cell. It measures the published weights, or what
# the chapter before trained, on pieces that the first chapter kept for testing in `run_dir`.

# %% tags=["parameters"]
input_dir: str = "data/excerpts"  # folder of lossless music that the pairs were made from
run_dir: str = "data/runs/default"  # where this run keeps what it makes
results_dir: str = "data/results"  # what `tools/results.py` measured
figures_dir: str = "figures"  # where figures are saved
weights: str = "published"  # or "run": those that chapter 02 trained; or a checkpoint
preset: str = "fullband-44k"  # whose checkpoint is evaluated
max_pieces: int = 6  # measure at most so many test pieces; 0 measures all
excerpt_s: float = 4.0  # from the middle of each piece, in seconds
transparent: str = "lossless,sbc-53,aac-256,mp3-320"  # conditions with nothing to repair
damaged: str = "sbc-35,sbc-20,mp3-64,aac-64,aac-64+sbc-20,down-16000hz,noise-white-20db,old-recording"  # conditions with room
hearing_pieces: int = 3  # pieces that the slow models of hearing score; 0 leaves them out
seed: int = 0  # of the noise

# %% tags=["hide-input"]
import os
from pathlib import Path

import pandas as pd
from IPython.display import Markdown

import enhancelib as el

if Path.cwd().name == "notebooks":  # opened in JupyterLab
    os.chdir("..")

pd.set_option("display.max_colwidth", None)
checkpoint = el.find_weights(weights, preset=preset, run_dir=run_dir)
sample_rate = el.AudioUNet.load(checkpoint).config.sample_rate
conditions = [*transparent.split(","), *damaged.split(",")]

# %% [markdown]
# ## One number hears little
#
# Take one piece and damage it twice: a weak Bluetooth link, and white noise that is *exactly as
# strong* as the codec's error. The signal-to-noise ratio cannot tell the two apart. Switch between
# them while they play.

# %%
tests = el.read_manifest(Path(run_dir) / "pairs").query("split == 'test'")
longest = tests.drop_duplicates("lossless").groupby("piece", sort=True)["seconds"].sum().idxmax()
original, _ = el.load(Path(input_dir) / longest, sample_rate=sample_rate, duration_s=excerpt_s)
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
el.Player({"original": original, **versions}, sample_rate=sample_rate, title="Equal SNR")

# %% [markdown]
# Noise of the same energy spreads over every band and moment, a codec hides its error where the
# music is loud. So no number stands alone below: waveform ratios (SNR, SI-SDR), spectral distances,
# and two models of hearing, ViSQOL and Zimtohrli, which predict the score a listener would give.

# %% [markdown]
# ## Every piece, every condition, every metric
#
# The test pieces share no material with the training, nor with each other: of each group one piece
# is taken, and the sources take turns. Each piece is degraded as a whole under every condition,
# enhanced by the checkpoint, and compared with its original. A third system beside the untreated
# and the enhanced audio is an *oracle*: it looks at the original and turns every bin of the
# spectrogram up or down in the best possible way. What it cannot gain, no system gains that leaves
# the phase alone.

# %%
order = tests.sort_values("piece").drop_duplicates("group")
turn = order.groupby("source").cumcount()
chosen = list(order.iloc[turn.argsort(kind="stable")]["piece"])[: max_pieces or None]
pieces = {Path(name).stem: Path(input_dir) / name for name in chosen}
ours = checkpoint.name
settings = {
    "sample_rate": sample_rate,
    "excerpt_s": excerpt_s,
    "seed": seed,
    "cache_dir": Path(run_dir) / "evaluation",
    "command": "notebooks/03_spectral_evaluation.py",
}

# %% tags=["remove-stderr"]
cheap = el.evaluate(
    pieces, conditions, {ours: checkpoint, "oracle mask": el.oracle_mask}, **settings
)

# %% [markdown]
# The models of hearing cost more than all the other metrics together, so they judge a few pieces,
# which the table of results names.

# %% tags=["remove-stderr"]
heard = dict(list(pieces.items())[:hearing_pieces])
results = cheap
if heard:
    hearing = el.evaluate(
        heard, conditions, {ours: checkpoint}, metrics=["visqol", "zimtohrli"], **settings
    )
    results = pd.concat([cheap, hearing], ignore_index=True)
file = el.write_results(results, Path(run_dir) / "results" / "03_spectral_evaluation.csv")
Markdown(
    f"{len(pieces)} pieces, {len(conditions)} conditions, {results['metric'].nunique()} metrics: "
    f"{len(results)} values in `{file}`, each with its commit, seed, device and load."
)

# %% [markdown]
# All metrics, mean over the pieces, lossy → enhanced. For those marked ↓ lower is better, for ↑
# higher.


# %%
def short(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.2g}"


means = results.groupby(["metric", "condition", "system"], sort=False)["value"].mean().unstack()
cells = means["untreated"].map(short) + " → " + means[ours].map(short)
arrows = {"lower": "↓", "higher": "↑"}
titles = {
    name: f"{arrows[metric.better]} {metric.title} ({metric.unit})"
    for name, metric in el.METRICS.items()
    if name in set(results["metric"])
}
cells.unstack()[conditions].reindex(titles).rename(index=titles)

# %% [markdown]
# ## Does it do good?
#
# Where there is room, the difference to the untreated audio is taken piece by piece, since pieces
# differ more than systems do. The interval is where the mean lies with 95 % confidence (bootstrap
# over pieces), *p* the chance of such a difference if there were none (Wilcoxon). A verdict needs
# at least six pieces. The worst piece is named.

# %%
good = el.does_good(results, seed=seed).query("system == @ours")
shown = good.drop(columns=["system", "unit"]).set_index(["condition", "metric"])
shown = shown.reindex(damaged.split(","), level="condition")
shown.round({"untreated": 2, "value": 2, "delta": 3, "low": 3, "high": 3, "p": 3, "worst_delta": 3})

# %% [markdown]
# The same as a picture, for the log-spectral distance (left of zero is better) and the SI-SDR
# (right of zero is better). A system that invents missing treble improves the first and pays with
# the second: an invented band has the right level and, at best, a random phase.

# %%
summary = el.summarise(results, seed=seed).query("system == @ours")
bounds = summary[["low", "high"]].apply(lambda bound: bound.fillna(summary["delta"]))
summary = summary.assign(**bounds)  # one piece alone has no interval
figure, axes = el.plotting.subplots(columns=2, width=9, height=0.9 + 0.3 * len(conditions))
for ax, name in zip(axes.flat, ["lsd", "si_sdr"], strict=True):
    rows = summary[summary["metric"] == name].set_index("condition").reindex(damaged.split(","))
    groups = {
        condition: {"enhanced": tuple(row[["delta", "low", "high"]])}
        for condition, row in rows.iterrows()
    }
    metric = el.METRICS[name]
    label = f"{metric.title}: enhanced - untreated ({metric.unit})"
    el.plotting.intervals(groups, x_label=label, ax=ax)
el.plotting.save_figure(figure, "03_deltas.svg", figures_dir=figures_dir)

# %% [markdown]
# ## Does it do no harm?
#
# The same metrics where nothing is left to repair. Here the mean does not count, the worst piece
# does: if it loses more than the tolerance, the system is harmful under that condition. *In-band
# SI-SDR* looks only at those parts of the spectrogram that came through the codec.

# %%
harm = el.does_no_harm(results).query("system == @ours")
shown = harm.drop(columns=["system"]).set_index(["condition", "metric"])
shown = shown.reindex(transparent.split(","), level="condition")
shown.round({"untreated": 2, "delta": 3, "worst_delta": 3})

# %% [markdown]
# ## What was promised
#
# The README this project started from claimed results without saying on what audio. Each claim is
# checked per condition: our figure, and ✓ or ✗. A claim that the lossy audio meets before anything
# is done to it is worth nothing; it carries a dot. Centroid, rolloff and chroma count a pause like
# any other moment, so that a trace of noise in it weighs as much as a change in the loudest chord.

# %%
claims = el.seed_claims(results).query("system == @ours")
mark = claims["met"].map({True: " ✓", False: " ✗"})
early = claims["why"].str.startswith("met before").map({True: " ·", False: ""})
claims = claims.assign(shown=claims["figure"].map(short) + mark + early)
claims.pivot(index="claim", columns="condition", values="shown").loc[
    claims["claim"].unique(), [name for name in conditions if name in set(claims["condition"])]
]

# %% [markdown]
# Why a claim is not met, where it is not: "out of reach" means that even the oracle, which knows
# the original, stays below it.

# %%
missed = claims[~claims["met"]]
missed.groupby(["claim", "why"], sort=False)["condition"].agg(", ".join).to_frame("conditions")

# %% [markdown]
# ## The bars
#
# Before the published weights were trained, a test set was fixed (`data/testset.csv`: rendered
# music, recorded instruments, speech) and so was what they had to reach on it (`data/bars.csv`).
# `python tools/results.py` measures that; here are its results, missed ones included. *least delta*
# means that the worst piece counts.

# %%
measured = pd.read_csv(Path(results_dir) / f"{preset}-bars.csv")
held = int(measured["met"].sum())
shown = measured.assign(met=measured["met"].map({True: "✓", False: "✗"}))
columns = ["untreated", "enhanced", "statistic", "reached", "bar", "met", "worst_piece", "worst"]
shown.set_index(["condition", "metric", "kind"])[columns].round(3)

# %%
Markdown(
    f"**{held} of {len(measured)} hold.** Commit `{measured['commit'].iloc[0]}`, "
    f"{measured['device'].iloc[0]}."
)

# %% [markdown]
# ## What it is worth in bits
#
# How good does enhanced audio sound, and at which bit rate does untreated audio sound as good? The
# curves are means of ViSQOL (5 is best) over the music of the same test set; bit rates are those of
# the packets.

# %%
rates = pd.read_csv(Path(results_dir) / f"{preset}-rates.csv")
heard_rates = rates[rates["metric"] == "visqol"]
figure, axes = el.plotting.subplots(2, 2, width=9, height=3)
for ax, (codec, table) in zip(axes.flat, heard_rates.groupby("codec", sort=False), strict=True):
    curves = {
        "untreated": (table["kbps"], table["untreated"]),
        "enhanced": (table["kbps"], table["value"]),
    }
    labels = {"x_label": "Bit rate (kbit/s)", "y_label": "ViSQOL"}
    el.plotting.curves(curves, **labels, ax=ax, title=codec)
el.plotting.save_figure(figure, "03_bit_rates.svg", figures_dir=figures_dir)

# %% [markdown]
# The mean horizontal distance of the two curves (Bjøntegaard) is the share of bits that enhancement
# saves at equal quality, with its 95 % interval over pieces, by two models of hearing.

# %%
saved = rates.drop_duplicates(["codec", "metric"]).set_index(["codec", "metric"])
saved = saved[["saving_percent", "low", "high"]].rename(columns={"saving_percent": "saved (%)"})
saved.round(0)

# %% [markdown]
# For Bluetooth, point by point: what SBC sounds like with enhancement, as a bit rate without it. A
# dash means better than any untreated rate of the table.

# %%
bluetooth = heard_rates[heard_rates["codec"] == "SBC"].set_index("condition")
bluetooth = bluetooth[["kbps", "untreated", "value", "equals_kbps"]]
bluetooth.columns = ["kbit/s", "ViSQOL untreated", "enhanced", "sounds like (kbit/s)"]
bluetooth.style.format(precision=2, na_rep="–").format("{:.0f}", subset=["kbit/s"], na_rep="–")

# %% [markdown]
# ## Where in the chain?
#
# A phone decodes a stream and codes it again for Bluetooth. The network can stand on the phone,
# before the second codec, in the headphones, behind it, or at both ends. `python tools/chain.py`
# measured all four at the ear. ViSQOL, means over the pieces:

# %%
chain = pd.read_csv(Path(results_dir) / f"{preset}-chain.csv")
at_ear = chain[chain["metric"] == "visqol"].pivot_table(
    index="condition", columns="system", values="value", sort=False
)
at_ear[["untreated", "phone", "headphones", "both"]].round(2)

# %% [markdown]
# The differences to no enhancement at all, with 95 % intervals over pieces. What the phone adds
# has to pass the Bluetooth codec; what the headphones add need not.

# %%
where = el.summarise(chain[chain["metric"] == "visqol"], seed=seed)
groups = {
    condition: {row.system: (row.delta, row.low, row.high) for row in part.itertuples()}
    for condition, part in where.groupby("condition", sort=False)
}
axes = el.plotting.intervals(groups, x_label="ViSQOL: difference to no enhancement")
el.plotting.save_figure(axes.figure, "03_chain.svg", figures_dir=figures_dir)

# %% [markdown]
# ## See it
#
# One test piece under the condition with the largest gain in log-spectral distance. Below: what
# the enhancement changed, and what still separates it from the original.

# %%
gains = summary[(summary["metric"] == "lsd") & ~summary["condition"].isin(transparent.split(","))]
condition = gains.set_index("condition")["delta"].idxmin()
lossy = el.degrade(original, condition, sample_rate=sample_rate, seed=seed)
enhanced = el.enhance_wave(lossy, checkpoint, sample_rate=sample_rate)
waves = {"lossless": original, "lossy": lossy, "enhanced": enhanced}
figure = el.plotting.spectrogram_grid(waves, sample_rate=sample_rate, columns=3)
el.plotting.save_figure(figure, "03_spectrograms.png", figures_dir=figures_dir)

# %%
figure, axes = el.plotting.subplots(columns=2, width=8.4, height=3)
for ax, (title, pair) in zip(
    axes.flat,
    {"enhanced - lossy": (enhanced, lossy), "enhanced - lossless": (enhanced, original)}.items(),
    strict=True,
):
    image = el.plotting.spectrogram_difference(*pair, sample_rate=sample_rate, ax=ax, title=title)
figure.colorbar(image, ax=list(axes.flat), label="Level difference (dB)")
el.plotting.save_figure(figure, "03_differences.png", figures_dir=figures_dir)

# %% [markdown]
# ## Hear it
#
# Loudness is matched, and one playhead runs through all three. Then try it blind.

# %%
el.Player(waves, sample_rate=sample_rate, title=f"{condition}: {Path(longest).stem}")

# %% [markdown]
# In each trial X is either the original or the enhanced version, drawn at random: which one? Save
# the answers as CSV; `el.abx_result("answers.csv")` tells how likely a guesser does as well, and
# how small a difference the test could have shown.

# %%
el.ABX(
    original,
    enhanced,
    sample_rate=sample_rate,
    trials=16,
    names=("lossless", "enhanced"),
    title=f"{condition}, enhanced, against the original",
)

# %% [markdown]
# ## Take-away

# %%
lsd = gains.set_index("condition").loc[condition]
room = summary[~summary["condition"].isin(transparent.split(","))]
count = {name: int((room["verdict"] == name).sum()) for name in ("better", "worse", "open", "few")}
worst = harm.assign(excess=harm["worst_delta"].abs() / harm["tolerance"])
worst = worst.sort_values(["harmed", "excess"]).iloc[-1]
earned = int((claims["why"] == "met by the enhancement").sum())

# %%
Markdown(
    f"- The largest gain in log-spectral distance is under `{condition}`: "
    f"{lsd['untreated']:.2f} → {lsd['value']:.2f}.\n"
    f"- Of {len(room)} comparisons where there is room, {count['better']} are better, "
    f"{count['worse']} worse, {count['open'] + count['few']} without a verdict.\n"
    f"- Without room, {int(harm['harmed'].sum())} of {len(harm)} checks find harm; the worst is "
    f"`{worst['condition']}`, {el.METRICS[worst['metric']].title} {worst['worst_delta']:+.3f} "
    f"{worst['unit']} on `{worst['worst_piece']}`.\n"
    f"- Of {len(claims)} promises (claim × condition), {int(claims['met'].sum())} hold, "
    f"{earned} of them thanks to the enhancement.\n"
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
