# %% [markdown]
# # 11 · Fast enough for a phone?
#
# To enhance music live, a phone must process each hop of sound in less time than the hop lasts. It
# does so on a battery and beside other apps. This chapter measures what the exported models need
# for that: time, memory, start-up and delay.
#
# **You will hear** a piece that went through the model in random chunks, as from a stream. **You
# will see** the time and memory of every file in its own runtime, and how many chunks come late on
# this machine.

# %% [markdown]
# Every setting of the chapter stands in the next cell. It times the files of the published weights,
# or those of your own in `run_dir/exports`, and writes what is missing there, so it also runs
# alone.

# %% tags=["parameters"]
input_dir: str = "data/excerpts"  # folder of music for the listening example
run_dir: str = "data/runs/default"  # where this run keeps what it makes
figures_dir: str = "figures"  # where figures are saved
results_dir: str = "data/results"  # what `make soak` measured
weights: str = "published"  # or "run": those that chapter 04 trained; or a checkpoint
preset: str = "fullband-44k"  # whose files are measured
formats: str = "onnx,tflite"  # of other weights than the published ones, separated by commas
seconds: float = 3.0  # length of the clip that is timed
repeats: int = 3  # how often it is timed; a slow file gets fewer
threads: str = "1"  # thread counts to try, separated by commas
demo_s: float = 4.0  # length of the streamed piece, in seconds
condition: str = "sbc-20"  # what happened to the streamed piece
devices_dir: str = "data/results/devices"  # what other devices have measured
seed: int = 0  # of the chunk sizes

# %% tags=["hide-input"]
import html
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

import enhancelib as el

if Path.cwd().name == "notebooks":  # opened in JupyterLab
    os.chdir("..")

checkpoint = el.find_weights(weights, preset=preset, run_dir=run_dir)

# %% [markdown]
# ## The files
#
# Each format comes twice. The *clip* file takes a whole waveform. The *stream* file takes the next
# spectral frame (with ONNX and TorchScript also several) and hands its memory back as tensors, so
# that no state hides inside a runtime. The published weights come with their files. For other
# weights, those that chapter 10 did not leave are written here. Beside them stand two ONNX files of
# the lighter network for 22.05 kHz.

# %% tags=["remove-stderr"]
suffixes = {"onnx": ".onnx", "tflite": ".tflite", "torchscript": ".pt"}
lighter = el.find_weights("published", preset="seed-22k")
origins = {lighter.stem: lighter, preset: checkpoint}
hashes = {name: el.checkpoint_sha256(path) for name, path in origins.items()}
published = checkpoint.parent == lighter.parent
folder = checkpoint.parent if published else Path(run_dir) / "exports"
facts = {"preset": preset, "checkpoint_sha256": hashes[preset]}
for kind, infix in {"clip": "", "stream": ".stream"}.items():
    wanted = [] if published else formats.split(",")
    missing = [f for f in wanted if not (folder / f"{preset}{infix}{suffixes[f]}").exists()]
    el.export_model(el.AudioUNet.load(checkpoint), folder, formats=missing, kinds=[kind], **facts)
files = sorted(p for p in folder.glob(f"{preset}.*") if p.suffix in suffixes.values())
files += [lighter.with_suffix(end) for end in (".onnx", ".stream.onnx") if preset != lighter.stem]
Markdown(f"{len(files)} files, {min(p.stat().st_size for p in files) / 1e6:.1f} MB and more.")

# %% [markdown]
# ## Time and memory
#
# Each file is opened by its own runtime in a process of its own, so the memory is its own too. The
# clip files get one call with the whole clip, and the stream files one call per hop, with windowing
# and Fourier transforms. The *real-time factor* is the time of computing per time of audio,
#
# $$\mathrm{RTF} = \frac{T_{\text{computing}}}{T_{\text{audio}}}.$$
#
# The column *CPU* has the processor time in place of the time that passed, added over all threads.
# On a busy machine it is the figure to trust.

# %% tags=["remove-stderr"]
paths = [*files, checkpoint]
table = el.benchmark_files(
    paths,
    reference=f"{preset}.{'onnx' if 'onnx' in formats else formats.split(',')[0]}",
    seconds=seconds,
    threads=[int(count) for count in threads.split(",")],
    repeats=repeats,
)

# %% [markdown]
# A phone plays music as it comes, so the table has the streams, one frame per call, with the
# fewest threads: the median time of one call, and what the process needed. The file under the table
# has the clips too, every number of threads, percentiles, memory at rest, energy where the processor's
# own counters (RAPL) can be read, and the CPU time beside that of a reference file in the same turns.

# %% tags=["hide-input"]
measured = table[table["status"] == ""].reset_index(drop=True)
stale = measured["file"][measured["checkpoint_sha256"] != measured["preset"].map(hashes)]
if len(stale):
    raise el.EnhanceError(f"{folder / stale.iloc[0]}: of other weights; remove it and run again")
results = el.benchmark_results(table)
file = el.write_results(results, Path(run_dir) / "results" / "11_mobile_benchmarking.csv")

# %% tags=["hide-input"]
columns = {
    "latency_ms": "latency (ms)",
    "cpu_rtf": "CPU (s/s)",
    "startup_s": "start-up (s)",
    "peak_mb": "peak (MB)",
    "file_mb": "file (MB)",
}

# %% [markdown]
# These columns are shown:

# %% tags=["hide-input"]
fewest = measured[measured["threads"] == measured["threads"].min()]
shown = fewest[fewest["kind"] == "stream"].sort_values("file")
shown = shown.set_index("file")[list(columns)].rename(columns=columns)
display(
    shown.style.format(precision=3, na_rep="not measured"),
    el.Download(measured, "11_files.csv"),
)

# %% [markdown]
# To compare them with yours, you need to know where they were measured:

# %% tags=["remove-input"]
first = measured.iloc[0]
worst = measured["load"].max()
Markdown(
    f"Measured on {first['device']}, commit `{first['commit']}`, at a load of up to {worst:.1f}"
    + (": busy, so read the CPU columns. " if worst > 1.5 else ". ")
    + f"All {len(results)} values are in `{file}`."
)

# %% [markdown]
# A measurement depends on how busy the machine was. The published figures were measured apart and
# are kept with the results:

# %% tags=["remove-input"]
kept = pd.read_csv(Path(results_dir) / f"{preset}-cost.csv")
of_stream = kept[
    (kept["metric"] == "cpu_rtf") & kept["system"].str.contains(".stream.", regex=False)
]
told = "; ".join(f"`{row.system}` {row.value:.3f}" for row in of_stream.itertuples())
Markdown(
    f"The CPU time of the published streams, in seconds per second of audio and channel, is: {told} "
    f"(at a load of up to {of_stream['load'].max():.1f})."
)

# %% [markdown]
# Each call must finish within one hop. The bar is the median, and the whisker reaches to the
# slowest of a hundred calls.

# %% tags=["hide-input"]
streams = measured[(measured["kind"] == "stream") & measured["file"].str.startswith(preset)]
hop_ms = float((streams["latency_ms"] / streams["rtf"]).median())
axes = el.plotting.bars(
    {
        f"{row.file}, {row.threads} thread{'s' * (row.threads > 1)}": {
            "time": (row.latency_ms, row.latency_p10_ms, row.latency_p99_ms)
        }
        for row in streams.itertuples()
    },
    x_label="Time for one hop (ms)",
)
axes.axvline(hop_ms, color="#b3261e", linestyle="--")
axes.set_title(f"dashed: a hop lasts {hop_ms:.1f} ms", fontsize=10)
el.plotting.save_figure(axes.figure, "11_hop_time.svg", figures_dir=figures_dir)

# %% tags=["remove-input"]
in_time = (streams["latency_p99_ms"] < hop_ms).sum()
Markdown(
    f"In {in_time} of {len(streams)} rows even the slowest of a hundred calls ends within a hop of "
    f"{hop_ms:.1f} ms."
)

# %% [markdown]
# Memory is that of the whole process: Python, NumPy, the runtime and the model.

# %% tags=["hide-input"]
light = measured.drop_duplicates("file")
axes = el.plotting.bars(
    {row.file: {"resident": row.resident_mb, "peak": row.peak_mb} for row in light.itertuples()},
    x_label="Memory of the process (MB)",
)
axes.axvline(100, color="#b3261e", linestyle="--")
axes.set_title("dashed: 100 MB", fontsize=10)
el.plotting.save_figure(axes.figure, "11_memory.svg", figures_dir=figures_dir)

# %% tags=["remove-input"]
peaks = light.groupby("format")["peak_mb"].mean().sort_values()
told = ", ".join(f"{name} {value:.0f} MB" for name, value in peaks.items())
Markdown(f"The mean peak depends most on the runtime: {told}.")

# %% [markdown]
# ## Beside others
#
# Two packaged real-time enhancers are denoisers of speech. They do another task, but they too have
# to keep up with sound. `make peers` runs them and the published files in turn, on one thread, three
# times, and keeps the fastest. A wider band is more work, so the cost is also given per kHz of
# bandwidth. *Times cheaper* compares with the cheapest of the others, so a file under 1 is dearer.
# The *spectral core* is the network alone, without Fourier
# transforms.


# %%
def measured_apart(name: str, command: str) -> pd.DataFrame | Markdown:
    path = Path(results_dir) / f"{preset}-{name}.csv"
    if not path.exists():
        return Markdown(f"`{path}` is not there: run `{command}`.")
    rows = pd.read_csv(path)
    index = ["system", "condition"]
    return rows.pivot_table(index=index, columns="metric", values="value", sort=False).round(5)


others = measured_apart("peers", "make peers")
if isinstance(others, pd.DataFrame):
    others = others.drop(columns="rtf").reset_index("condition").rename_axis(columns=None)
    others["condition"] = others["condition"].str.split(",").str[0]  # the rest is said above
    heads = {"condition": "kind", "cpu_rtf": "CPU (s/s)", "cpu_rtf_per_khz": "per kHz"}
    display(others.rename(columns=heads | {"ratio": "times cheaper"}).round(4))
else:
    display(others)

# %% tags=["remove-input"]
said = ""
if isinstance(others, pd.DataFrame):
    streams = others["ratio"].filter(like=".stream.")
    costly = ", ".join(f"`{name}`" for name in streams.index[streams < 1]) or "none"
    said = (
        f"Per kHz of bandwidth `{streams.idxmax()}` streams at {1 / streams.max():.0%} of the cost "
    )
    said += f"of the cheapest denoiser. Streams that cost more than it does: {costly}."
Markdown(said)

# %% [markdown]
# ## On a phone's processor
#
# No phone was at hand, but an emulator was. `make arm` runs the published files with ONNX Runtime
# and LiteRT for ARM, instruction by instruction. *Difference* compares the output with this
# machine's, and *error* with PyTorch's, both in dB relative to the signal. *Instructions* are in
# millions per second of audio and channel, for streams with one frame per call. The real-time
# factor is an **estimate**: it assumes how many instructions a core finishes per cycle.

# %% tags=["hide-input"]
on_arm = measured_apart("arm", "make arm")
if isinstance(on_arm, pd.DataFrame):
    on_arm = on_arm.reset_index()
    on_arm["processor"] = on_arm["condition"].str.extract("(?i)(cortex-a[0-9]+)")[0].str.title()
    assumed = on_arm["condition"][on_arm["condition"].str.startswith("estimate")].unique()
    on_arm = on_arm.groupby(["system", "processor"], sort=False).first().drop(columns="condition")
    on_arm["instructions"] /= 1e6
    display(on_arm.style.format(precision=2), Markdown("; ".join(assumed)))
else:
    display(on_arm)

# %% tags=["remove-input"]
said = ""
if isinstance(on_arm, pd.DataFrame):
    streams = on_arm["rtf"].unstack("processor").filter(like=".stream.", axis="index")
    for processor, factors in streams.items():
        ready = ", ".join(f"`{name}`" for name in factors.index[factors < 0.5]) or "none"
        said += (
            f"- {processor}: streams that keep up with both channels of a stereo song: {ready}.\n"
        )
Markdown(said)

# %% [markdown]
# ## Music as it arrives
#
# `RealTimeAudioEnhancer` takes chunks of any size and returns as many samples as it got, with a
# fixed delay. Here it gets a piece over a poor Bluetooth link, cut at random.

# %%
backend_file = next(p for p in files if p.name.startswith(f"{preset}.stream"))
enhancer = el.RealTimeAudioEnhancer(backend_file)
(piece,) = el.choose_pieces(el.list_pieces(input_dir), 1, like="recorded_*")
original, rate = el.load(piece.path, sample_rate=enhancer.sample_rate, duration_s=demo_s)
lossy = el.degrade(original, condition, sample_rate=rate)
cuts = np.cumsum(np.random.default_rng(seed).integers(1, 5000, size=lossy.shape[1]))
chunks = np.split(lossy, cuts[cuts < lossy.shape[1]], axis=1)
parts = [enhancer.process_audio_chunk(chunk) for chunk in chunks]
load = enhancer.counters.load
streamed = np.concatenate([*parts, enhancer.flush()], axis=1)[:, enhancer.latency_samples :]

# %% [markdown]
# Whatever the chunks, the stream must give the samples of the clip. The delay can be checked with
# an impulse: send one sample of full scale, and see where it comes out.

# %%
whole = el.enhance_wave(lossy, checkpoint, sample_rate=rate)
difference_db = 10 * np.log10(np.sum((streamed - whole) ** 2) / np.sum(whole**2))
impulse = np.zeros(2 * enhancer.latency_samples, np.float32)
impulse[0] = 1.0
enhancer.reset()
arrival = int(np.argmax(np.abs(enhancer.process_audio_chunk(impulse))))
assert difference_db < -80, difference_db
assert arrival == enhancer.latency_samples, arrival

# %% [markdown]
# Both hold, or the cell above would have stopped the chapter:

# %% tags=["remove-input"]
sizes = [chunk.shape[1] for chunk in chunks]
latency_ms = 1000 * enhancer.latency_samples / rate
Markdown(
    f"The piece came in {len(chunks)} chunks of {min(sizes)} to {max(sizes)} samples. Stream and clip "
    f"differ by {difference_db:.0f} dB. The delay is one frame less one sample: the impulse arrived "
    f"after {arrival} samples, which is {latency_ms:.1f} ms. "
    f"Two channels took {load:.3f} s per second of audio. Long chunks hold many frames, which go through "
    "in one call."
)

# %% [markdown]
# Switch between the versions while the piece plays:

# %%
el.Player(
    {"original": original, el.condition_title(condition): lossy, "enhanced, streamed": streamed},
    sample_rate=rate,
    title=f"{piece.title}: in chunks",
)

# %% [markdown]
# ## Behind a worker thread
#
# An audio callback must never wait. `start_processing()` puts the model behind a thread and two
# queues. A chunk that is not ready in time passes through untreated, with a cross-fade, and is
# counted. The next cell plays the same piece at the pace of the clock, in chunks of one hop, and
# turns a bypass on and off.

# %%
pace = enhancer.latency_samples // 2 + 1
with el.RealTimeAudioEnhancer(backend_file, max_wait_s=0) as enhancer:
    enhancer.start_processing()
    began = time.perf_counter()
    for at in range(0, min(lossy.shape[1], 2 * rate) - pace + 1, pace):
        time.sleep(max(0.0, began + at / rate - time.perf_counter()))
        enhancer.bypass = (at // (rate // 2)) % 2 == 1
        enhancer.process_audio_chunk(lossy[:, at : at + pace])
    counters, delay = enhancer.counters, enhancer.latency_samples
Markdown(
    f"Of {counters.chunks} chunks {counters.late_chunks} came late. The model worked for "
    f"{counters.load:.1%} of the time. With the queue the delay is {delay} samples or "
    f"{1000 * delay / rate:.1f} ms."
)

# %% [markdown]
# ## Other devices
#
# The page [](../device/index) times the stream files in the browser of whatever device opens it.
# What readers send is shown here. A *stand-in* is a computer whose browser gets only part of a
# core; a fixed computation confirms how much slower it is. A browser is slower than the runtimes
# above. *Working ahead* is the real-time factor with
# eight hops in one call, as the page plays a file. The table is for two channels.

# %% tags=["hide-input"]
devices = el.device_results(devices_dir)  # readers send them: what they name is escaped below
devices["load"] = devices["load"].map("{:.1f}".format).replace("nan", "not told")

# %% tags=["hide-input"]
names = {"device": "device", "system": "file"}
columns = {"rtf": "real-time factor", "rtf_ahead": "working ahead", "wasm_mb": "memory (MB)"}
mono = devices["condition"].str.contains("1 channel")
hops = devices[devices["metric"].isin(columns) & ~mono]
shown = hops.pivot_table(index=list(names), columns="metric", values="value")[list(columns)]
shown = shown.rename(columns=columns).rename_axis(index=names, columns=None)
shown.style.format(precision=2).format_index(escape="html")

# %% [markdown]
# Which of them are fast enough?

# %% tags=["remove-input"]
share = shown.groupby("device", sort=False).agg(lambda factors: (factors < 1).mean())
Markdown(
    "A factor under 1 keeps up with the music. The share of the files that do:\n\n"
    + "\n".join(
        f"- {html.escape(device)}: {row['real-time factor']:.0%}, ahead {row['working ahead']:.0%}"
        for device, row in share.iterrows()
    )
)

# %% [markdown]
# This file has all runs of all devices:

# %%
el.Download(devices, "11_devices.csv")

# %% [markdown]
# On our own machine, at full speed and slowed down, a clip was also played to its end. A *late*
# block was played untreated. The *clock* has the seconds of sound per second that passed, so a
# value under 1 means that playback itself fell behind. A browser that is too slow for both channels
# enhances the middle of the stereo image only.

# %% tags=["hide-input"]
played = devices[devices["condition"].str.startswith("browser, played")]
columns = {
    "slowdown": "slowdown of the processor",
    "play_blocks": "blocks played",
    "play_late": "late",
    "play_stalled": "silent",
    "play_clock": "clock",
}
shown = played.pivot_table(index=["device", "load"], columns="metric", values="value")
shown = shown.reindex(columns=list(columns)).rename(columns=columns).rename_axis(columns=None)
shown.style.format("{:.4g}", na_rep="none").format_index(escape="html")

# %% [markdown]
# ## For hours
#
# What holds for seconds need not hold for an evening. `make soak` streams an hour of music through
# the published files, and plays five minutes of it into a real sound server, where `enhancelib
# live` listens. Its rows are in `data/results/streaming.csv`.

# %% tags=["hide-input"]
soak = pd.read_csv(Path(results_dir) / "streaming.csv")
measures = ["chunk_p50_ms", "chunk_p99_ms", "chunk_p99_share", "startup_s", "growth_mb", "peak_mb"]
hours = soak[soak["condition"].str.startswith("chunks of")]
hours = hours.pivot(index=["system", "piece"], columns="metric", values="value")
heads = ["median (ms)", "slowest of 100 (ms)", "share", "start-up (s)", "growth (MB)", "peak (MB)"]
hours[measures].set_axis(heads, axis="columns").style.format(precision=3)

# %% [markdown]
# *Share* is the time of the slowest in a hundred chunks, as a share of how long a chunk lasts. The
# limit that was set is 0.2, on one thread of an idle machine. *Growth* is the memory that the
# process gained from the first minute to the last.

# %% tags=["remove-input"]
over = hours[hours["chunk_p99_share"] >= 0.2].index.get_level_values("system")
now = el.checkpoint_sha256(el.find_weights("published"))
Markdown(
    f"The files over the limit are: {', '.join(over) or 'none'} (at a load of up to "
    f"{soak['load'].max():.1f}). "
    f"{el.provenance.weights_note(soak[soak['preset'] == 'fullband-44k'], now)}"
)

# %% [markdown]
# The five minutes through the sound server gave:

# %% tags=["remove-input"]
live = soak[soak["condition"].str.startswith("live")].set_index("metric")
value = live["value"]
Markdown(
    f"It took {value['latency_ms']:.0f} ms from player to loudspeaker, with {value['dropouts']:.0f} "
    f"drop-outs and {value['late_chunks']:.0f} late chunks. The model worked for {value['load']:.1%} of "
    f"the time, and the process had {value['resident_mb']:.0f} MB. In its worst second the output differs "
    f"from the offline run by {value['difference_db']:.0f} dB ({live['piece'].iloc[0]}, "
    f"{live['device'].iloc[0]}, at a load of {live['load'].max():.1f})."
)

# %% [markdown]
# ## Take-away

# %% tags=["remove-input"]
phone = measured[(measured["kind"] == "stream") & measured["format"].isin(["onnx", "tflite"])]
best = phone.loc[phone["cpu_rtf"].idxmin()]
Markdown(
    f"- `{best['file']}` is the cheapest way to stream: {best['cpu_rtf']:.3f} s of CPU per second "
    f"and channel, {best['resident_mb']:.0f} MB, ready after {best['startup_s']:.1f} s.\n"
    f"- Whatever the chunks, a stream gives the samples of the clip, {latency_ms:.1f} ms later.\n"
    "- A late chunk makes no gap: it passes through untreated and is counted."
)

# %% [markdown]
# ## Quiz
#
# Three questions on this part of the book. Open an answer to see what is right or wrong about it.
#
# **1. A network has a real-time factor of 0.3. What does that mean?**
#
# ```{dropdown} It computes a second of music in 0.3 seconds.
# Yes. So 70 % of the time is left for other work, as long as the processor keeps its clock and
# nothing else needs it.
# ```
#
# ```{dropdown} Its delay is 0.3 seconds.
# No. The delay comes from the frames it has to wait for, and would be the same on a processor of
# infinite speed.
# ```
#
# ```{dropdown} It can run three tenths of all phones.
# No. The factor belongs to one processor. A phone of half the speed has twice the factor.
# ```
#
# **2. Which number decides whether the sound drops out?**
#
# ```{dropdown} The mean time per frame.
# No. A mean hides the one frame in a hundred that comes too late, and that one is heard.
# ```
#
# ```{dropdown} The number of parameters.
# No. It tells the size of the file. Two networks of equal size can differ in speed by a factor of
# ten.
# ```
#
# ```{dropdown} The slowest frames, against the time that the buffers give them.
# Yes. Sound drops out when a frame is later than the buffer can bridge. So look at the 99th
# percentile and the longest frame.
# ```
#
# **3. Why can a causal network run live where another one cannot?**
#
# ```{dropdown} It is smaller.
# No. A causal network can be as large as one likes. It only may not look ahead.
# ```
#
# ```{dropdown} It needs no later sound than the frame it is about to give out.
# Yes. One that looks a second ahead has to wait for that second, however fast the processor is.
# ```
#
# ```{dropdown} It keeps no state.
# No. It keeps a state on purpose: it can only judge by what it heard before.
# ```

# %% [markdown]
# ## Exercises
#
# **1. More threads.** Run the chapter with `threads="1,2,4"`. Which files get faster by the clock,
# and which by the CPU column? What does the difference cost on a battery?
#
# ```{dropdown} Solution
# By the clock the clip files get faster, as long as there are idle cores. A stream with one frame
# per call has too little work to divide. The CPU column gets better for none: threads that wait for
# each other cost time, and a battery pays for all of them.
# ```
#
# **2. A bad day.** In the cell with the worker thread, send chunks of 64 samples and keep the
# machine busy (compile something). How many chunks are late? Raise `queue_delay_samples` until none
# is late. What is the price?
#
# ```{dropdown} Solution
# The busier the machine, the longer the worker waits for its turn. Each wait that is longer than
# the queue is a late chunk. A queue as long as the longest wait has none. The price is delay, one
# millisecond for every 44 samples.
# ```
