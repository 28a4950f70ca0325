# %% [markdown]
# # 10 · Smaller and faster, at what price?
#
# A network that fits a phone is one that was made to fit. This chapter takes a trained network,
# writes it in the formats that phones run, and then takes things away:
# bits from its numbers, numbers from its layers, channels from its levels. Each cut is measured on
# music the network has never met.
#
# **You will hear** a piece through the full network and through its 8-bit version. **You will
# see** what every variant weighs, how far its output strays, and which one is worth carrying.

# %% [markdown]
# Every setting of the chapter stands in the next cell. It makes the published weights smaller, or
# those of chapter 04, and tests them on pairs that chapter 01 left in `run_dir`.

# %% tags=["parameters"]
input_dir: str = "data/excerpts"  # folder of lossless music that the pairs were made from
run_dir: str = "data/runs/default"  # where this run keeps what it makes
figures_dir: str = "figures"  # where figures are saved
weights: str = "published"  # or "run": those that chapter 04 trained; or a checkpoint
preset: str = "fullband-44k"  # whose checkpoint is made smaller
formats: str = "onnx,tflite,torchscript"  # export these, separated by commas
calibration_clips: int = 18  # training segments on which activations are measured
sparsities: str = "0.3,0.5,0.7,0.9"  # shares of weights or channels to remove
tuned_sparsities: str = "0.5"  # after which of these to fine-tune
tuning_steps: int = 16  # batches of fine-tuning
timing_repeats: int = 5  # how often a clip of 3 s is timed with every file
tuning_rate: float = 1e-3  # peak of its learning rate
qat_steps: int = 12  # batches of training with 8-bit arithmetic
qat_rate: float = 1e-5  # peak of its learning rate
batch_size: int = 8  # segments per batch
transparent: str = "lossless"  # conditions under which a variant can only do harm
damaged: str = "sbc-20,mp3-64"  # conditions with room to enhance
max_pieces: int = 3  # test pieces on which quality is measured; 0 takes all
excerpt_s: float = 2.5  # from the middle of each piece, in seconds
metrics: str = "visqol,lsd,si_sdr,in_band_si_sdr"  # by which quality is judged
seed: int = 0  # of random pruning, order and noise

# %% tags=["hide-input"]
import os
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

import enhancelib as el

if Path.cwd().name == "notebooks":  # opened in JupyterLab
    os.chdir("..")

smaller = el.compression
run = Path(run_dir)
manifest = run / "pairs" / "manifest.csv"
if not manifest.exists():
    raise el.EnhanceError(f"{manifest}: not there; run chapter 01_data_synthesis with it first")
checkpoint = el.find_weights(weights, preset=preset, run_dir=run_dir)

# %% [markdown]
# ## Three formats
#
# *ONNX* runs nearly everywhere, *TensorFlow Lite* (now LiteRT) is made for phones, *TorchScript*
# stays in PyTorch's world. Each comes as a whole-clip file and as a *stream* file that takes the
# next frame (ONNX and TorchScript: or several) and hands its memory back. Every file is played
# through its own runtime on real music and compared with PyTorch before it may appear: the error is
# given in dB relative to the signal, and that of 16-bit audio is −98. (Other music further down gives
# slightly other errors.)

# %% tags=["remove-stderr"]
model = el.AudioUNet.load(checkpoint)
sample_rate = model.config.sample_rate
exports = run / "exports"
quantisable = [name for name in ("onnx", "tflite") if name in formats.split(",")]
if not quantisable:
    raise el.EnhanceError(f"formats={formats!r}: name onnx or tflite, which can be quantised")
written = el.export_model(
    model,
    exports,
    preset=preset,
    formats=formats.split(","),
    checkpoint_sha256=el.checkpoint_sha256(checkpoint),
    overwrite=True,
)


# %%
def show(results: list) -> pd.DataFrame:
    rows = [(each.path.name, each.bytes / 1e6, each.error_db) for each in results]
    table = pd.DataFrame(rows, columns=["file", "size (MB)", "error (dB)"]).set_index("file")
    return table.round({"size (MB)": 2, "error (dB)": 1})


show(written)

# %% [markdown]
# *ExecuTorch* is PyTorch's own runtime for phones. It needs packages of its own, so `make executorch`
# writes its streaming files apart, in float and in 8 bits (here torchao quantises: it knows
# convolutions once a graph is exported for a backend), and measures them against PyTorch:

# %%
apart = Path("data/results") / f"{preset}-executorch.csv"
if apart.exists():
    rows = pd.read_csv(apart)
    now = el.checkpoint_sha256(el.find_weights("published", preset=preset))
    display(Markdown(el.provenance.weights_note(rows, now)))
    facts = rows[rows["metric"].isin(["size", "error", "cpu_rtf"])]
    facts = facts.pivot_table(index="system", columns="metric", values="value")
    heads = {"size": "file (MB)", "error": "error (dB)", "cpu_rtf": "CPU (s/s)"}
    heads |= {"visqol_loss": "ViSQOL lost", "lsd_loss": "LSD lost (bel)"}
    facts = facts.join(smaller.losses(rows, reference="pytorch"))
    display(facts[[name for name in heads if name in facts]].rename(columns=heads).round(3))
else:
    display(Markdown(f"`{apart}` is not there: run `make executorch`."))

# %% [markdown]
# ## Fewer bits
#
# A weight takes 32 bits. Three ways to spend 8 instead, or 16:
#
# - **weights only**: 8 bits in the file, float arithmetic. Smaller, hardly faster.
# - **dynamic**: dense layers compute in 8 bits too; the range of what goes in is found anew each
#   time.
# - **static**: the whole U-Net computes in 8 bits, every range fixed beforehand.
#
# Most tutorials show a fourth: PyTorch's own dynamic quantisation. It replaces linear layers, and this
# network consists of convolutions, so it would change nothing here.

# %% [markdown]
# Fixed ranges have to come from somewhere: from music. Eight bits divide a range into 256 steps. If
# the range is too narrow, loud passages are clipped; if it is too wide, quiet ones fall between two
# steps. The music is taken from the *training* split, under all conditions, a third of it once more
# at full scale; the errors below are measured on the *test* split.

# %%
pairs = el.read_manifest(manifest)


def clips(split: str, count: int, only: str = "") -> list[np.ndarray]:
    chosen = pairs[pairs["split"] == split].sample(frac=1, random_state=seed)
    chosen = chosen[chosen["condition"] == only] if only else chosen
    turn = chosen.groupby("condition").cumcount()
    files = chosen.iloc[turn.argsort(kind="stable")]["lossy"].head(count)
    return [el.load(file)[0].mean(axis=0, keepdims=True) for file in files]


def with_full_scale(waves: list[np.ndarray]) -> list[np.ndarray]:
    return waves + [wave / max(1e-6, np.abs(wave).max()) for wave in waves[::3]]


held_out = clips("test", 6)

# %% [markdown]
# Which music, and how much? The network computes as if in 8 bits, with ranges from different sets of
# clips. The error counts over all held-out clips, and over the same clips at full scale: a set that
# is too quiet clips those. A range need not hold everything: the largest values are rare and lie far
# from all others. By default one value in 5,000 may lie above it, and one below; the last row makes
# room for them all. Its steps are wider, which most clips pay for, and nothing is clipped, which the
# loudest may gain by.

# %%
silent_rooms = np.random.default_rng(seed).standard_normal((calibration_clips, 1, 3 * sample_rate))
sets = {
    "noise instead of music": list(0.1 * silent_rooms.astype(np.float32)),
    "one clip": clips("train", 1),
    "lossless clips only": clips("train", calibration_clips, only="lossless"),
    "all conditions": clips("train", calibration_clips),
    "all conditions, some at full scale": with_full_scale(clips("train", calibration_clips)),
}
measured = {name: smaller.calibrate(model, music) for name, music in sets.items()}
ranges = measured["all conditions, some at full scale"]
held = smaller.calibrate(model, sets["all conditions, some at full scale"], clipped=0)
measured["the same, nothing clipped"] = held

# %%
loud = [wave / max(1e-6, np.abs(wave).max()) for wave in held_out]
errors = {}
for name, layers in measured.items():
    with smaller.rounding(model, layers):
        heard = (smaller.deviation_db(model, checkpoint, each) for each in (held_out, loud))
        errors[name] = dict(zip(("error (dB)", "error at full scale (dB)"), heard, strict=True))
pd.DataFrame(errors).T.round(1)

# %% [markdown]
# The same ranges then serve every file, ONNX and TensorFlow Lite, clip and stream. What stays float
# in all of them: the Fourier transforms, the arithmetic around the U-Net, and what goes into its
# first layer and out of its last. Music spans 100 dB there, 8 bits span 48. The static files join
# the exports, the others go to a folder for comparison.

# %% tags=["remove-stderr"]
made = run / "compressed"
options = {"music": held_out, "overwrite": True}
quantized = []
for path in (each.path for each in written if each.kind == "clip"):
    if path.suffix in (".onnx", ".tflite"):
        quantized += smaller.quantize_weights(path, output_dir=made, **options)
        quantized += smaller.quantize_dynamic(path, output_dir=made, **options)
        quantized += smaller.quantize_static(path, ranges, **options)
    if path.suffix == ".tflite":
        quantized += smaller.to_float16(path, output_dir=made, **options)
show(quantized)

# %% [markdown]
# ## Training with 8 bits in mind
#
# Rounding is a disturbance like any other, and a network can learn to live with it: in
# *quantisation-aware training* every forward pass is rounded as the 8-bit file will round it, while
# the gradient passes as if nothing had happened. The goal is not the original music but the output
# of the network as it was, in float; so nothing changes but what rounding had changed. The result
# is an ordinary checkpoint.

# %% tags=["remove-stderr"]
settings = {"batch_size": batch_size, "crop_seconds": 0.6, "warmup": 0.2, "seed": seed}
careful_steps = el.TrainingConfig(learning_rate=qat_rate, **settings)
aware = smaller.quantization_aware_training(model, manifest, ranges, careful_steps, steps=qat_steps)
aware.save(made / f"{preset}.qat.safetensors", overwrite=True, metadata={"preset": preset})
el.export_model(aware, made, preset=preset, formats=["onnx"], kinds=["clip"], overwrite=True)
trained = smaller.quantize_static(
    made / f"{preset}.onnx", ranges, variant="int8-qat", reference=checkpoint, **options
)
show(trained)

# %% [markdown]
# ## Fewer weights
#
# *Unstructured* pruning sets single weights to zero, the smallest ones of each layer or, to see
# whether the choice matters, any. *Structured* pruning removes whole channels, level by level. A
# short fine-tuning lets the rest of the network take over; again the full network is the teacher.

# %%
pruned = {}
for sparsity in (float(share) for share in sparsities.split(",")):
    for method in ("magnitude", "random"):
        pruned["weights", method, sparsity] = smaller.prune(
            model, sparsity, method=method, seed=seed
        )
        pruned["channels", method, sparsity] = smaller.prune_channels(
            model, sparsity, method=method, seed=seed
        )

# %% tags=["remove-stderr"]
bold_steps = el.TrainingConfig(learning_rate=tuning_rate, **settings)
tuned = {}
for (kind, method, sparsity), network in pruned.items():
    if str(sparsity) in tuned_sparsities.split(","):
        tuned[kind, method, sparsity] = smaller.fine_tune(
            network,
            manifest,
            bold_steps,
            steps=tuning_steps,
            teacher=model,
            keep_zeros=kind == "weights",
        )

# %% [markdown]
# Single weights that became zero are still there. Their file is as large as before, and a dense
# runtime multiplies by them as before: its convolutions load sixteen weights at once and have no way
# to skip one. Only a compressed download gets smaller. Removed channels are gone for good: from the
# file, from the memory, from the work.

# %% tags=["remove-stderr"]
kept = {}
for state, networks in (("", pruned), ("-tuned", tuned)):
    for (kind, method, sparsity), network in networks.items():
        name = f"{preset}.{kind}-{method}-{sparsity}{state}.safetensors"
        kept[name] = network.save(made / name, overwrite=True, metadata={"preset": preset})
origin = {"music": held_out, "seed": seed, "command": "notebooks/10_edge_optimization.py"}
files = [each.path for each in (*written, *quantized, *trained) if each.kind == "clip"]
sizes = smaller.measure_files([checkpoint, *files, *kept.values()], reference=checkpoint, **origin)

# %%
footprint = sizes.pivot(index="system", columns="metric", values="value")
footprint.loc[checkpoint.name, "error"] = np.nan  # against itself
networks = footprint.loc[[checkpoint.name, *kept], ["size", "size_gzip", "parameters", "macs"]]
networks.columns = ["file (MB)", "gzipped (MB)", "parameters", "multiplications per second"]
networks.style.format(precision=2).format("{:,.0f}", subset="parameters").format(
    "{:.3g}", subset="multiplications per second"
)

# %% [markdown]
# How far the output strays from that of the full network, by how much was removed. The dashed line
# is an untrained network, which passes everything through: whoever reaches it has forgotten all.

# %%
strayed = {}
for name in kept:
    kind, method, tail = name.removeprefix(f"{preset}.").removesuffix(".safetensors").split("-", 2)
    sparsity, _, state = tail.partition("-")
    if state and method == "random":
        continue
    line = strayed.setdefault(f"{kind}, {method}{', ' * bool(state)}{state}", ([], []))
    line[0].append(float(sparsity))
    line[1].append(footprint["error"][name])

# %% tags=["hide-input"]
untrained = el.AudioUNet(**model.config.model_dump())
nothing = smaller.deviation_db(untrained, checkpoint, held_out)
axes = el.plotting.curves(
    strayed, x_label="Share removed", y_label="Error (dB, relative to the signal)"
)
axes.axhline(nothing, color="#b3261e", linestyle="--")
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
el.plotting.save_figure(axes.figure, "10_sparsity.svg", figures_dir=figures_dir)

# %% [markdown]
# ## What it does to the music
#
# An output may stray and still be as good. So the variants go through the matrix of [chapter
# 05](05_measuring): test pieces, real codecs, compared with the original.

# %% tags=["remove-stderr"]
pieces = el.list_pieces(input_dir)
tests = el.choose_pieces((piece for piece in pieces if piece.split == "test"), max_pieces)
unheard = [piece for piece in pieces if piece.split != "train"]
(game,) = el.choose_pieces(unheard, 1, like="render_freedoom1_D_E1*")
tuned_names = [name for name in kept if "-tuned" in name]
in_doubt = [kept[name] for name in kept if name in tuned_names or "magnitude-0.5" in name]
systems = {path.name: path for path in (checkpoint, *files, *in_doubt)}

# %% tags=["remove-stderr"]
quality = el.evaluate(
    {piece.path.stem: piece.path for piece in tests},
    [*transparent.split(","), *damaged.split(",")],
    systems,
    metrics=metrics.split(","),
    sample_rate=sample_rate,
    excerpt_s=excerpt_s,
    seed=seed,
    cache_dir=run / "evaluation",
    command=origin["command"],
)

# %% [markdown]
# And through the clock: three seconds of audio, one thread, each file in a process and a runtime of
# its own. The CPU time is the figure to trust on a busy machine; [the next chapter](11_mobile_benchmarking) says more.

# %% tags=["remove-stderr"]
times = pd.DataFrame(
    [el.benchmark_file(path, kind="clip", repeats=timing_repeats) for path in systems.values()]
)
measured = pd.concat([sizes, el.benchmark_results(times), quality])
file = el.write_results(measured, run / "results" / "10_edge_optimization.csv")

# %% [markdown]
# One row per variant. Losses are against the full network, as means over the pieces of a kind, for the
# kind and the condition where they are largest; positive is worse. *In-band* SI-SDR looks only at what the codec
# left intact. *Kept* is the least share of the full network's gain that is left, in ViSQOL or in
# log-spectral distance (LSD), under a condition with room to enhance.

# %%
summary = smaller.losses(quality, reference=checkpoint.name)
summary = summary.join(footprint[["size", "macs", "error"]])
summary = summary.join(times.set_index("file")[["latency_ms", "cpu_rtf", "peak_mb"]])

# %%
heads = {
    "size": "file (MB)",
    "macs": "multiplications per second",
    "latency_ms": "3 s take (ms)",
    "peak_mb": "memory (MB)",
    "error": "error (dB)",
    "visqol_loss": "ViSQOL lost",
    "lsd_loss": "LSD lost",
    "si_sdr_loss": "SI-SDR lost (dB)",
    "in_band_si_sdr_loss": "in-band lost (dB)",
    "kept": "kept",
}

# %% [markdown]
# By size, the smallest first; the file below has all columns.

# %% tags=["hide-input"]
heads = {name: head for name, head in heads.items() if name in summary}
table = summary.sort_values("size")[list(heads)].set_axis(list(heads.values()), axis="columns")
digits = {
    "file (MB)": "{:.2f}",
    "error (dB)": "{:.1f}",
    "3 s take (ms)": "{:.1f}",
    "kept": "{:.0%}",
}
shown = table[[head for head in digits if head in table]]
shown = shown.rename(index=lambda name: name.removeprefix(f"{preset}.")).rename_axis(None)
display(shown.style.format(digits, na_rep="–"), el.Download(table.reset_index(), "10_variants.csv"))

# %% [markdown]
# Size against error, for what bits alone can do, in each format. A file is worth a look if no other
# is both smaller and closer: these lie on the dotted line.

# %% tags=["hide-input"]
bits = summary.loc[[path.name for path in files if path.suffix != ".pt"]]
suffixes = sorted({Path(name).suffix for name in bits.index})
figure, panels = el.plotting.subplots(columns=len(suffixes), width=4.6 * len(suffixes), height=3.8)
for ax, suffix in zip(np.ravel(panels), suffixes, strict=True):
    rows = bits[bits.index.str.endswith(suffix)].sort_values(["size", "error"])
    short = rows.index.str.removeprefix(preset).str.removesuffix(suffix).str.lstrip(".")
    spots = rows.assign(name=short.where(short != "", "float32")).groupby(
        [rows["size"].round(1), rows["error"].round()], sort=False
    )  # names that would cover each other share a label
    places = {" / ".join(spot["name"]): tuple(spot.iloc[0][["size", "error"]]) for _, spot in spots}
    labels = {"x_label": "File (MB)", "y_label": "Error (dB, relative to the signal)"}
    el.plotting.points(places, ax=ax, title=suffix, **labels)
    front = rows[rows["error"] < rows["error"].cummin().shift(fill_value=np.inf)]
    ax.plot(front["size"], front["error"], color="#6e6e73", linestyle=":", zorder=0)
el.plotting.save_figure(figure, "10_pareto.svg", figures_dir=figures_dir)

# %% [markdown]
# ## The one to carry
#
# Size against CPU time, for all that can be carried. A file is worth a look if no other is at least as
# good in size, time and losses. The one to carry is chosen by rule. It must be *careful*: under every
# condition it loses less than 0.1 dB of in-band SI-SDR and less than 0.02 of ViSQOL, and it keeps at
# least 95 % of the gain. Among those it is the one with the least product of size and CPU time
# (products within a tenth are alike: then the first that was made above); if there is none, the one
# that keeps most.

# %%
losing = [name for name in ("in_band_si_sdr_loss", "visqol_loss") if name in summary]
summary["careful"] = smaller.careful(summary)
summary["front"] = smaller.on_front(summary[["size", "cpu_rtf", *losing]])
best = smaller.sweet_spot(summary)

# %% tags=["hide-input"]
named = summary["front"] | (summary.index == best)
front, rest = summary[named], summary[~named]
axes = el.plotting.points(
    {
        name.removeprefix(f"{preset}."): (row["size"], 1000 * row["cpu_rtf"])
        for name, row in front.iterrows()
    },
    x_label="File (MB)",
    y_label="CPU time per second of audio (ms)",
)
axes.scatter(rest["size"], 1000 * rest["cpu_rtf"], color="#6e6e73", s=12, zorder=0)
spot = summary["size"][best], 1000 * summary["cpu_rtf"][best]
axes.scatter(*spot, s=180, facecolors="none", edgecolors="#b3261e")
el.plotting.save_figure(axes.figure, "10_sweet_spot.svg", figures_dir=figures_dir)

# %% [markdown]
# Named are those that no other beats and the one to carry, which has a red ring; grey is the rest:

# %% tags=["hide-input"]
Markdown(f"**`{best}`**, one of {summary['careful'].sum()} of {len(summary)} that are careful.")

# %% [markdown]
# A few pieces decide little. The same table for the published weights, with more pieces and more
# conditions, is measured apart (`make smaller`) and kept in `data/results`. Of it, the 15 files that keep most. There, `channels-…-half`
# is without as many channels as make half of the *multiplications*, and `0.5` without half of the
# *channels*; `tuned` for some minutes, `trained` for as many epochs as an evening has:

# %%
columns = {"size": "file (MB)", "cpu_rtf": "CPU (s/s)", "visqol_loss": "ViSQOL lost"}
columns |= {"in_band_si_sdr_loss": "in-band lost (dB)", "kept": "kept"}

# %%
whole = Path("data/results") / f"{preset}-smaller.csv"
published = pd.read_csv(whole) if whole.exists() else pd.DataFrame({"checkpoint_sha256": []})
mine = el.checkpoint_sha256(checkpoint)
if mine in set(published["checkpoint_sha256"]):
    big = smaller.losses(published, reference=f"{preset}.safetensors")
    for name in ("size", "cpu_rtf"):
        big[name] = published[published["metric"] == name].groupby("system")["value"].first()
    big["careful"] = smaller.careful(big).map({True: "✓", False: "✗"})
    big = big.nlargest(15, "kept").sort_values("size")[[*columns, "careful"]]
    big = big.rename(columns=columns, index=lambda name: name.removeprefix(f"{preset}."))
    shown = big.style.format(precision=3).format("{:.0%}", subset="kept", na_rep="–")
else:
    shown = Markdown(f"`{whole}` is of other weights than these: run `make smaller`.")
display(shown)

# %% [markdown]
# ## Hear it
#
# A piece that is not of the training split, lossy, through the full network, through 8 bits, and the
# original.

# %%
lossless, _ = el.load(game.path, sample_rate=sample_rate, duration_s=2 * excerpt_s)
condition = damaged.split(",")[-1]
lossy = el.degrade(lossless, condition, sample_rate=sample_rate, seed=seed)
int8 = exports / f"{preset}.int8.{quantisable[0]}"
el.Player(
    {
        "lossy": lossy,
        "float32": el.enhance_wave(lossy, model, sample_rate=sample_rate),
        "int8": el.enhance_wave(lossy, int8, sample_rate=sample_rate),
        "lossless": lossless,
    },
    sample_rate=sample_rate,
    title=f"{condition}: {game.path.stem}",
)

# %% [markdown]
# ## Take-away

# %%
full, static = f"{preset}.{quantisable[0]}", f"{preset}.int8.{quantisable[0]}"
small = footprint["size"][static] / footprint["size"][full]
quicker = summary["cpu_rtf"][static] / summary["cpu_rtf"][full]
work = footprint["macs"] / footprint["macs"][checkpoint.name]
tuned_rows = summary.loc[tuned_names].dropna(subset="kept")  # where there was no room: no share
narrow = [name for name in tuned_rows.index if "channels-magnitude" in name]
lines = [
    f"- `{name}` needs {work[name]:.0%} of the multiplications and keeps "
    f"{summary['kept'][name]:.0%} of the gain after {tuning_steps} batches of fine-tuning."
    for name in narrow
]

# %% tags=["hide-input"]
Markdown(
    f"- 8 bits throughout make `{full}` {small:.0%} of its size "
    f"({footprint['size'][static]:.2f} MB) and take {quicker:.0%} of its CPU time, at an error of "
    f"{footprint['error'][static]:.0f} dB.\n"
    + "\n".join(lines)
    + f"\n- By the rule above, the one to carry is `{best}` ({summary['size'][best]:.2f} MB).\n"
    "- Zeros save nothing until a file is compressed; removed channels save everywhere.\n"
    f"- All figures are kept in `{file}`."
)

# %% [markdown]
# ## Quiz
#
# Three questions on this part of the book. Open an answer to see what is right or wrong about it.
#
# **1. What does a weight of 8 bits lose against one of 32?**
#
# ```{dropdown} The loud notes.
# No. Weights do not hold notes. Each one is rounded to the nearest of 255 steps, so the output
# has a little noise.
# ```
#
# ```{dropdown} The distance to the nearest of 255 steps, at most half a step.
# Yes. With one scale per channel the steps fit the weights, and the error stays far under what
# the codec did.
# ```
#
# ```{dropdown} Three quarters of the speed.
# No. The file has a quarter of the size. Whether it is faster depends on the processor and the
# runtime, which is why it is measured.
# ```
#
# **2. A network has half of its weights set to zero. How much faster is it?**
#
# ```{dropdown} Not at all, unless whole channels go or the runtime knows how to skip zeros.
# Yes. Removing channels makes the matrices smaller, and that is what every runtime can use.
# ```
#
# ```{dropdown} Twice as fast.
# No. An ordinary runtime multiplies by zero as slowly as by any other number.
# ```
#
# ```{dropdown} Slower, since zeros have to be stored.
# No. They are stored either way. A packed file can even be smaller.
# ```
#
# **3. Why are the ranges of an 8-bit network measured on music and not on noise?**
#
# ```{dropdown} Noise would damage the network.
# No. Nothing is changed while ranges are measured. They would only be the ranges of noise.
# ```
#
# ```{dropdown} The licence asks for it.
# No. The licence does not care. What cares is the rounding error on real music.
# ```
#
# ```{dropdown} The steps are to fit the values that occur when the network is at work.
# Yes. Too wide a range wastes steps, too narrow a one clips. Only music of the kind that will be
# played tells how wide it is.
# ```

# %% [markdown]
# ## Exercises
#
# **1. Too little music.** Set `calibration_clips=1`. Which files change, and which do not know about
# calibration at all? Find the piece on which the error grows most and listen to it.
#
# ```{dropdown} Solution
# Only the static files change (`int8` and `int8-qat`): their ranges come from the clips. Files with 8 bits for
# the weights only, dynamic ones and those in 16 bits have no fixed ranges. The error grows most on a piece
# that is much louder, or has much more treble, than the one clip: its largest values are cut.
# ```
#
# **2. Two cuts at once.** Remove half of the channels, fine-tune, export, and quantise that. Is the error
# the sum of both errors, less, or more? Is the file the product of both savings? Place it in
# {numref}`fig-10-pareto`.
#
# ```{dropdown} Solution
# Two errors that know nothing of each other add as powers, and in dB the larger one decides: here that of
# the missing channels. The file is nearly the product of both savings, a little more, since tables and names
# in it are not quantised.
# ```
