# %% [markdown]
# # 10 · Smaller and faster, at what price?
#
# This chapter takes a trained network and writes it in the formats that phones run. Then it takes
# things away: bits from its numbers, numbers from its layers, channels from its levels. Each cut is
# measured on music that the network has never met.
#
# **You will hear** a piece through the full network and through its 8-bit version. **You will see**
# the size of every variant, how far its output strays, and which one to carry.

# %% [markdown]
# Every setting of the chapter stands in the next cell. It makes the published weights smaller, or
# those of chapter 04, and tests them on the pairs that chapter 01 left in `run_dir`.

# %% tags=["parameters"]
input_dir: str = "data/excerpts"  # folder of lossless music that the pairs were made from
run_dir: str = "data/runs/default"  # where this run keeps what it makes
figures_dir: str = "figures"  # where figures are saved
weights: str = "published"  # or "run": those that chapter 04 trained; or a checkpoint
preset: str = "fullband-44k"  # whose checkpoint is made smaller
formats: str = "onnx,tflite,torchscript"  # export these, separated by commas
export_anew: bool = False  # convert the published weights too, which come with their files
calibration_clips: int = 6  # training segments on which activations are measured
sparsities: str = "0.3,0.5,0.8"  # shares of weights or channels to remove
tuned_sparsities: str = "0.5"  # after which of these to fine-tune
tuning_steps: int = 8  # batches of fine-tuning
timing_repeats: int = 3  # how often a clip of 3 s is timed with every file
tuning_rate: float = 1e-3  # peak of its learning rate
qat_steps: int = 4  # batches of training with 8-bit arithmetic
qat_rate: float = 1e-5  # peak of its learning rate
batch_size: int = 8  # segments per batch
transparent: str = "lossless"  # conditions under which a variant can only do harm
damaged: str = "mp3-64"  # conditions with room to enhance
max_pieces: int = 2  # test pieces on which quality is measured; 0 takes all
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
# stays in PyTorch's world. A *clip* file takes a whole waveform, and a *stream* file takes the next
# frame. The table has the clip files. For TensorFlow Lite it has the stream file instead, since a
# clip file of that format takes music of one length only; [the next
# chapter](11_mobile_benchmarking) has both kinds of each. Every file runs real music in its own
# runtime and is compared with PyTorch. The error is in dB relative to the signal; for comparison,
# that of 16-bit audio is −98. (The tables further down use other music, and errors differ.) Converting
# takes up to a minute, so a file that lies beside the weights, and was made from them, is copied and
# compared; with `export_anew` it is written again.

# %% tags=["remove-stderr"]
model = el.AudioUNet.load(checkpoint)
sample_rate = model.config.sample_rate
exports = run / "exports"
kinds = {name: "stream" if name == "tflite" else "clip" for name in formats.split(",")}
if not {"onnx", "tflite"} & set(kinds):
    raise el.EnhanceError(f"formats={formats!r}: name onnx or tflite, which can be quantised")
facts = {"preset": preset, "checkpoint_sha256": el.checkpoint_sha256(checkpoint)}
for stale in exports.glob(f"{preset}.*"):  # of an earlier checkpoint, perhaps
    stale.unlink()
written = []
for name, kind in kinds.items():
    options = {"formats": [name], "kinds": [kind], "overwrite": True}
    ready = None if export_anew else checkpoint.parent
    written += el.export_model(model, exports, ready=ready, **options, **facts)


# %%
def show(results: list) -> pd.DataFrame:
    rows = [(each.path.name, each.bytes / 1e6, each.error_db) for each in results]
    table = pd.DataFrame(rows, columns=["file", "size (MB)", "error (dB)"]).set_index("file")
    return table.round({"size (MB)": 2, "error (dB)": 1})


show(written)

# %% [markdown]
# No file should stray far:

# %% tags=["remove-input"]
worst = max(written, key=lambda each: each.error_db)
Markdown(f"The largest error is that of `{worst.path.name}`: {worst.error_db:.0f} dB.")

# %% [markdown]
# *ExecuTorch* is PyTorch's own runtime for phones. It needs packages of its own, so `make
# executorch` writes its stream files apart, in float and in 8 bits, and measures them against
# PyTorch:

# %% tags=["hide-input"]
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
    broken = ", ".join(f"`{name}`" for name in facts.index[facts["visqol_loss"] > 0.5])
    display(Markdown(f"Over half a point of ViSQOL is lost by {broken or 'none'}: do not use it."))
else:
    display(Markdown(f"`{apart}` is not there: run `make executorch`."))

# %% [markdown]
# ## Fewer bits
#
# A weight takes 32 bits. There are several ways to use fewer:
#
# - **float16**: every weight has 16 bits (TensorFlow Lite only).
# - **weights only**: weights have 8 bits in the file, and the arithmetic stays float. The file is
#   smaller; how much faster it is, a table below says.
# - **dynamic**: dense layers compute in 8 bits too, and the range of their input is measured each
#   time.
# - **static**: the whole U-Net computes in 8 bits, and every range is fixed beforehand.
#
# A number $x$ in the range from $-m$ to $m$ becomes a whole number of steps,
#
# $$\Delta = \frac{m}{127}, \qquad \hat{x} = \Delta\, \mathrm{round}(x / \Delta).$$
#
# PyTorch's own dynamic quantisation replaces linear layers only. This network consists of
# convolutions, so it would change nothing here.

# %% [markdown]
# The fixed ranges are measured on music. If a range is too narrow, loud passages are clipped. If it
# is too wide, quiet ones fall between two steps. The music comes from the *training* split under
# all conditions, a third of it once more at full scale. The errors are measured on the *test*
# split.

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


held_out = clips("test", 2)

# %% [markdown]
# Which music does it take, and how much? The network computes as if in 8 bits, with ranges from
# different sets of clips. The error is taken over all held-out clips, and over the same clips at
# full scale, which a set that is too quiet would clip. A range need not hold everything: the
# largest values are rare and lie far from all others. By default one value in 5,000 may lie above
# the range and one below. The last row makes room for them all, and pays with wider steps.

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
# Over the held-out clips as they are:

# %% tags=["remove-input"]
by_set = pd.DataFrame(errors).T["error (dB)"]
noise = by_set["noise instead of music"] - by_set["all conditions, some at full scale"]
Markdown(
    f"The smallest error is that of *{by_set.idxmin()}* ({by_set.min():.1f} dB), the largest that of "
    f"*{by_set.idxmax()}* ({by_set.max():.1f} dB). Ranges from noise change it by {noise:+.1f} dB here, beside "
    f"those that are taken: {len(held_out)} clips decide little."
)

# %% [markdown]
# The same ranges then serve every file, ONNX and TensorFlow Lite. In all of them
# the Fourier transforms, the arithmetic around the U-Net, its input and its output stay float:
# music spans 100 dB there, and 8 bits span 48. The static files join the exports, and the others go
# to a folder for comparison.

# %% tags=["remove-stderr"]
made = run / "compressed"
options = {"music": held_out, "overwrite": True}
quantized = []
for path in (each.path for each in written):
    if path.suffix in (".onnx", ".tflite"):
        quantized += smaller.quantize_weights(path, output_dir=made, **options)
        quantized += smaller.quantize_dynamic(path, output_dir=made, **options)
        quantized += smaller.quantize_static(path, ranges, **options)
    if path.suffix == ".tflite":
        quantized += smaller.to_float16(path, output_dir=made, **options)
show(quantized)

# %% tags=["remove-input"]
least, nearest = (min(quantized, key=lambda each: getattr(each, k)) for k in ("bytes", "error_db"))
Markdown(
    f"The smallest is `{least.path.name}` ({least.bytes / 1e6:.2f} MB, {least.error_db:.0f} dB). The "
    f"nearest to the full network is `{nearest.path.name}` ({nearest.error_db:.0f} dB)."
)

# %% [markdown]
# ## Training with 8 bits in mind
#
# A network can learn to live with rounding. In *quantisation-aware training* every forward pass is
# rounded as the 8-bit file will round it, while the gradient passes as if nothing had happened. The
# target is not the original music but the output of the float network, so that training undoes only
# what rounding changed. The result is an ordinary checkpoint, which is exported and quantised like
# any other.

# %% tags=["remove-stderr"]
settings = {"batch_size": batch_size, "crop_seconds": 0.6, "warmup": 0.2, "seed": seed}
careful_steps = el.TrainingConfig(learning_rate=qat_rate, **settings)
aware = smaller.quantization_aware_training(model, manifest, ranges, careful_steps, steps=qat_steps)
_ = aware.save(made / f"{preset}.qat.safetensors", overwrite=True, metadata={"preset": preset})

# %% tags=["remove-input"]
stray = {}
for name, network in {"before": model, "after": aware}.items():
    with smaller.rounding(network, ranges):
        stray[name] = smaller.deviation_db(network, checkpoint, held_out)
Markdown(
    f"Computed in 8 bits, the network has an error of {stray['before']:.1f} dB before and of "
    f"{stray['after']:.1f} dB after {qat_steps} batches of such training. A few batches only show how "
    f"it is done; `make smaller` trains for longer."
)

# %% [markdown]
# ## Fewer weights
#
# *Unstructured* pruning sets single weights to zero: the smallest of each layer or, as a control,
# random ones. *Structured* pruning removes whole channels, level by level. Where the smallest went,
# fine-tuning lets the rest of the network take over: here for a few batches, in `make smaller` for
# some minutes. Again the full network is the teacher.

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
    if method == "magnitude" and str(sparsity) in tuned_sparsities.split(","):
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
# runtime multiplies by them as before, since it has no way to skip a single weight. Only a
# compressed download gets smaller. Removed channels are gone: from the file, from the memory and
# from the work.

# %% tags=["remove-stderr"]
kept = {}
for state, networks in (("", pruned), ("-tuned", tuned)):
    for (kind, method, sparsity), network in networks.items():
        name = f"{preset}.{kind}-{method}-{sparsity}{state}.safetensors"
        kept[name] = network.save(made / name, overwrite=True, metadata={"preset": preset})
origin = {"music": held_out, "seed": seed, "command": "notebooks/10_edge_optimization.py"}
files = [each.path for each in (*written, *quantized) if each.kind == kinds[each.format]]
sizes = smaller.measure_files([checkpoint, *files, *kept.values()], reference=checkpoint, **origin)

# %%
footprint = sizes.pivot(index="system", columns="metric", values="value")
footprint.loc[checkpoint.name, "error"] = np.nan  # against itself
networks = footprint.loc[[checkpoint.name, *kept], ["size", "size_gzip", "parameters", "macs"]]
networks.columns = ["file (MB)", "gzipped (MB)", "parameters", "million multiplications (1/s)"]
networks["million multiplications (1/s)"] /= 1e6
names = {name: name.removeprefix(f"{preset}.").removesuffix(".safetensors") for name in kept}
short = networks.filter(regex="^(?!.*-random-)", axis="index").rename(index=names)
short.style.format(precision=2).format("{:,.0f}", subset=["parameters", short.columns[-1]])

# %% [markdown]
# (Random cuts save as much, and are left out here.) So the two kinds of cut differ in what they save:

# %% tags=["remove-input"]
zeros, cut = (networks.filter(like=f".{kind}-", axis="index") for kind in ("weights", "channels"))
Markdown(
    f"With zeros no file is under {zeros['file (MB)'].min():.2f} MB, or under "
    f"{zeros['gzipped (MB)'].min():.2f} MB gzipped. With channels removed the smallest has "
    f"{cut['file (MB)'].min():.2f} MB without any packing."
)

# %% [markdown]
# The figure shows how far the output strays from that of the full network, by how much was removed.
# The dashed line is an untrained network, which changes nothing. A variant on that line has
# forgotten everything.

# %% tags=["hide-input"]
strayed = {}
for name in kept:
    kind, method, tail = name.removeprefix(f"{preset}.").removesuffix(".safetensors").split("-", 2)
    sparsity, _, state = tail.partition("-")
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
# How near each way comes at its best:

# %% tags=["remove-input"]
least = {name: min(zip(error, share, strict=True)) for name, (share, error) in strayed.items()}
told = "; ".join(f"{name} {error:.0f} dB at {share:.0%}" for name, (error, share) in least.items())
Markdown(f"The least error is: {told}. The dashed line lies at {nothing:.0f} dB.")

# %% [markdown]
# ## What it does to the music
#
# An output may stray and still be as good. So the variants go through the matrix of [chapter
# 05](05_measuring): test pieces under real codecs are compared with the original.

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
    {piece.title: piece.path for piece in tests},
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
# Then they are timed on three seconds of audio, on one thread, each file in a process of its own. The
# figure is the CPU time, since it can be trusted on a busy machine. Streams do somewhat more: they
# make and join the frames one by one. [The next chapter](11_mobile_benchmarking) says more.

# %% tags=["remove-stderr"]
times = pd.DataFrame([el.benchmark_file(path, repeats=timing_repeats) for path in systems.values()])
measured = pd.concat([sizes, el.benchmark_results(times), quality])
file = el.write_results(measured, run / "results" / "10_edge_optimization.csv")

# %% [markdown]
# Of each variant, *kept* is the smallest share of the full network's gain that is left, in ViSQOL or
# in log-spectral distance (LSD), under a condition with room to enhance.

# %%
summary = smaller.losses(quality, reference=checkpoint.name)
summary = summary.join(footprint[["size", "macs", "error"]])
summary = summary.join(times.set_index("file")[["cpu_rtf", "peak_mb"]])

# %% tags=["hide-input"]
heads = {
    "size": "file (MB)",
    "macs": "multiplications per second",
    "cpu_rtf": "CPU (s/s)",
    "peak_mb": "memory (MB)",
    "error": "error (dB)",
    "visqol_loss": "ViSQOL lost",
    "lsd_loss": "LSD lost",
    "si_sdr_loss": "SI-SDR lost (dB)",
    "in_band_si_sdr_loss": "in-band lost (dB)",
    "kept": "kept",
}

# %% [markdown]
# The table is sorted by size, the smallest first. The file below it has more columns: a *loss* is the
# difference from the full network, as the mean over the pieces of a kind, for the kind and the
# condition where it is largest; positive is worse. *In-band* looks only at what the codec left.

# %% tags=["hide-input"]
heads = {name: head for name, head in heads.items() if name in summary}
table = summary.sort_values("size")[list(heads)].set_axis(list(heads.values()), axis="columns")
digits = {
    "file (MB)": "{:.2f}",
    "error (dB)": "{:.1f}",
    "CPU (s/s)": "{:.3f}",
    "kept": "{:.0%}",
}
shown = table[[head for head in digits if head in table]]
shown = shown.rename(index=lambda name: name.removeprefix(f"{preset}.")).rename_axis(None)
display(shown.style.format(digits, na_rep="–"), el.Download(table.reset_index(), "10_variants.csv"))

# %% [markdown]
# The figure shows size against error for the files that differ in bits alone. Files on the dotted
# line are optimal: no other is both smaller and more accurate.

# %% tags=["hide-input"]
bits = summary.loc[[path.name for path in files if path.suffix != ".pt"]]
suffixes = sorted({Path(name).suffix for name in bits.index})
figure, panels = el.plotting.subplots(columns=len(suffixes), width=4.6 * len(suffixes), height=3.8)
for ax, suffix in zip(np.ravel(panels), suffixes, strict=True):
    rows = bits[bits.index.str.endswith(suffix)].sort_values(["size", "error"])
    short = rows.index.str.replace(rf"^{preset}|(\.stream)?{suffix}$", "", regex=True)
    spots = rows.assign(name=short.str.lstrip(".").where(short != "", "float32")).groupby(
        [rows["size"].round(1), rows["error"].round()], sort=False
    )  # names that would cover each other share a label
    places = {" / ".join(spot["name"]): tuple(spot.iloc[0][["size", "error"]]) for _, spot in spots}
    el.plotting.points(places, ax=ax, title=suffix, x_label="File (MB)", y_label="Error (dB)")
    front = rows[rows["error"] < rows["error"].cummin().shift(fill_value=np.inf)]
    ax.plot(front["size"], front["error"], color="#6e6e73", linestyle=":", zorder=0)
el.plotting.save_figure(figure, "10_pareto.svg", figures_dir=figures_dir)

# %% [markdown]
# ## The one to carry
#
# Which file should a phone carry? The choice follows a rule. The file must be *careful*: under
# every condition it loses less than 0.1 dB of in-band SI-SDR and less than 0.02 of ViSQOL, and it
# keeps at least 95 % of the gain. Of the careful files it is the one with the smallest product of
# size and CPU time. Products within a tenth of each other count as equal, and then the file that
# was made first is chosen. If no file is careful, it is the one that keeps most of the gain.

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
# The figure names the files that no other beats in size, time and losses together. The one to carry
# has a red ring, and the rest is gray.

# %% tags=["remove-input"]
Markdown(
    f"The one to carry is **`{best}`**; {summary['careful'].sum()} of {len(summary)} files are careful. "
    f"ONNX was measured as a clip here and TensorFlow Lite as a stream; [the guide to phones](../guide/phone) "
    f"compares streams."
)

# %% [markdown]
# A few pieces decide little. The same table for the published weights, with more pieces and more
# conditions, is measured apart (`make smaller`) and kept in `data/results`:

# %% tags=["remove-input"]
whole = Path("data/results") / f"{preset}-smaller.csv"
published = pd.read_csv(whole) if whole.exists() else pd.DataFrame({"checkpoint_sha256": []})
current = el.checkpoint_sha256(checkpoint) in set(published["checkpoint_sha256"])
Markdown(
    "These are the 15 files that keep most. `half` has so many channels removed that half of the "
    "*multiplications* is left, `0.5` has half of the *channels* removed, and `tuned` was fine-tuned for "
    "some minutes."
    if current
    else f"`{whole}` is of other weights than these: run `make smaller`."
)

# %% tags=["remove-input"]
if current:
    columns = {"size": "file (MB)", "cpu_rtf": "CPU (s/s)", "visqol_loss": "ViSQOL lost"}
    columns |= {"in_band_si_sdr_loss": "in-band lost (dB)", "kept": "kept"}
    judged = smaller.losses(published, reference=f"{preset}.safetensors")
    for name in ("size", "cpu_rtf"):
        judged[name] = published[published["metric"] == name].groupby("system")["value"].first()
    judged["careful"] = smaller.careful(judged)
    big = judged.nlargest(15, "kept").sort_values("size")[[*columns, "careful"]]
    big["careful"] = big["careful"].map({True: "✓", False: "✗"})
    big = big.rename(columns=columns, index=lambda name: name.removeprefix(f"{preset}."))
    display(big.style.format(precision=3).format("{:.0%}", subset="kept", na_rep="–"))

# %% [markdown]
# The package carries the file whose activations are in 8 bits too, since of all that need no further
# training it takes the least time. What does the rule say to it?

# %% tags=["remove-input"]
if current:
    carried, ruled = judged.loc[f"{preset}.int8.onnx"], judged.loc[smaller.sweet_spot(judged)]
    verdict = "careful" if carried["careful"] else "not careful"
    display(Markdown(
        f"`{carried.name}` is {verdict}: on its worst kind of pieces it loses "
        f"{carried['in_band_si_sdr_loss']:.2f} dB in band and {carried['visqol_loss']:.3f} of ViSQOL, "
        f"and where it keeps least of the gain, {carried['kept']:.0%} is left. "
        f"The rule names `{ruled.name}`, which takes {ruled['cpu_rtf'] / carried['cpu_rtf']:.1f} times "
        f"its time and {ruled['size'] / carried['size']:.1f} times its room."
    ))  # fmt: skip

# %% [markdown]
# ## Hear it
#
# Here is a piece from outside the training split, through the full network and through 8 bits:

# %%
lossless, _ = el.load(game.path, sample_rate=sample_rate, duration_s=2 * excerpt_s)
condition = damaged.split(",")[-1]
lossy = el.degrade(lossless, condition, sample_rate=sample_rate, seed=seed)
int8 = next(each.path for each in quantized if ".int8." in each.path.name)
el.Player(
    {
        "lossless": lossless,
        "lossy": lossy,
        "float32": el.enhance_wave(lossy, model, sample_rate=sample_rate),
        "int8": el.enhance_wave(lossy, int8, sample_rate=sample_rate),
    },
    sample_rate=sample_rate,
    title=f"{game.title}: {el.condition_title(condition)}",
)

# %% [markdown]
# ## Take-away

# %% tags=["hide-input"]
static = int8.name
full = static.replace(".int8", "")
small = footprint["size"][static] / footprint["size"][full]
quicker = summary["cpu_rtf"][static] / summary["cpu_rtf"][full]
work = footprint["macs"] / footprint["macs"][checkpoint.name]
tuned_rows = summary.loc[tuned_names].dropna(subset="kept")  # where there was no room: no share
narrow = [name for name in tuned_rows.index if "channels-magnitude" in name]
untuned = summary["kept"].reindex([name.replace("-tuned", "") for name in narrow])
lines = [
    f"- `{name}` needs {work[name]:.0%} of the multiplications. It keeps "
    f"{summary['kept'][name]:.0%} of the gain after {tuning_steps} batches of fine-tuning"
    + (f", and {before:.0%} without." if before == before else ".")
    for name, before in zip(narrow, untuned, strict=True)
]

# %% tags=["hide-input"]
Markdown(
    f"- 8 bits throughout make `{full}` {small:.0%} of its size "
    f"({footprint['size'][static]:.2f} MB) and take {quicker:.0%} of its CPU time, at an error of "
    f"{footprint['error'][static]:.0f} dB.\n"
    + "\n".join(lines)
    + f"\n- By the rule above, the one to carry is `{best}` ({summary['size'][best]:.2f} MB).\n"
    "- Zeros save nothing until a file is compressed. Removed channels save everywhere.\n"
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
# No. The licence says nothing about it. The rounding error on real music is the reason.
# ```
#
# ```{dropdown} The steps are to fit the values that occur when the network is at work.
# Yes. Too wide a range wastes steps, and too narrow a range clips. Only music of the kind that will
# be played tells how wide it should be.
# ```

# %% [markdown]
# ## Exercises
#
# **1. Too little music.** Set `calibration_clips=1`. Which files change, and which do not use
# calibration at all? Find the piece on which the error grows most and listen to it.
#
# ```{dropdown} Solution
# Only the static files change (`int8`): their ranges come from the clips. Files with 8 bits for the
# weights only, dynamic ones and those in 16 bits have no fixed ranges. The error grows most on a
# piece that is much louder, or has much more treble, than the one clip: its largest values are cut.
# ```
#
# **2. Two cuts at once.** Remove half of the channels, fine-tune, export, and quantise that. Is the
# error the sum of both errors, less, or more? Is the file the product of both savings? Place it in
# {numref}`fig-10-pareto`.
#
# ```{dropdown} Solution
# Two independent errors add as powers, and in dB the larger one decides: here that of the missing
# channels. The size is nearly the product of both savings, and a little more, since tables and
# names in the file are not quantised.
# ```
