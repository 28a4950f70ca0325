# %% [markdown]
# # Training a small network to undo the loss
#
# The pairs of the first chapter show, sample by sample, what a codec did. This chapter builds the
# network, says what it is asked for (the loss), trains it while you watch, and measures it on music
# it has never met.
#
# **You will see** the loss fall, for each kind of damage on its own. **You will hear** drums, harmed
# in ways that each term of the loss hears differently, and a piece of the test split: lossy, enhanced
# by the network just trained, and lossless.

# %% [markdown]
# Every setting of the chapter stands in the next cell. The pairs come from the first chapter; where
# its run is missing, they are made here from `input_dir`.

# %% tags=["parameters"]
input_dir: str = "data/excerpts"  # folder of lossless music that the pairs were made from
run_dir: str = "data/runs/default"  # where this run keeps what it makes
figures_dir: str = "figures"  # where figures are saved
results_dir: str = "data/results"  # tables that were measured once, at length
preset: str = "fullband-44k"  # or "seed-22k", for pairs at 22,050 Hz
start_from: str = "published"  # weights to go on from, or a checkpoint; empty: from scratch
base_channels: int = 32  # width of the network, if from scratch
depth: int = 4  # levels of the U-Net, if from scratch
epochs: int = 2  # passes over the training pairs
batch_size: int = 8  # segments per step
crop_seconds: float = 1.5  # length of a training segment
learning_rate: float = 3e-4  # peak of the schedule; from scratch 1e-3
least_improvement_percent: float = 5.0  # the run must beat untreated audio by this much
listen_to: str = "mp3-64"  # condition of the clip at the end
seed: int = 0  # of weights, order, crops and augmentation

# %% tags=["hide-input"]
import os
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown

import enhancelib as el

if Path.cwd().name == "notebooks":  # opened in JupyterLab
    os.chdir("..")

# %% [markdown]
# ## The network
#
# A waveform is cut into frames of 23 milliseconds and transformed to a spectrum. Neighbouring
# frequencies form bands; a U-Net halves the number of bands level by level and doubles it again,
# with a direct path across at every level. Its convolutions are *depthwise-separable*: one small
# filter per channel, then a mix of the channels at each point, an eighth of the work of a full
# convolution or less. All of them look back in time, never ahead, so the same layers can run live.

# %%
model = el.AudioUNet(
    **el.AudioUNet.from_preset(preset).config.model_dump()
    | {"base_channels": base_channels, "depth": depth}
)
axes = el.diagrams.u_net(model.config)
el.plotting.save_figure(axes.figure, "02_network", figures_dir=figures_dir)

# %% [markdown]
# At the very end the network says, for every frequency of every frame, by what complex number to
# multiply it (what survived is corrected) and what to add to it (what was lost is filled in). Both
# start at "change nothing": an untrained network is a wire. A *gate* for each band and frame scales
# the two. It is told, in training, where the input really differs from the original, and that it
# must shut where the difference cannot be heard; shut all the way, the network is a wire again.

# %%
latency_ms = 1000 * model.latency_samples / model.config.sample_rate
Markdown(
    f"The network has **{model.num_parameters:,} parameters** "
    f"({4 * model.num_parameters / 1e6:.1f} MB in single precision) and delays a live signal by "
    f"{model.latency_samples} samples ({latency_ms:.1f} ms)."
)

# %% [markdown]
# ## The loss
#
# The seed of this project asked for three terms. *MSE* and *L1* compare samples, and are content
# once the loud low notes are right. The *spectral* term compares levels on a logarithmic scale, at
# two frame lengths, and so hears the quiet treble. On its own it would gladly repaint what was
# fine; a fourth term, *relative*, therefore counts by how many decades the error has grown where
# the codec had left the music intact. It is zero for a wire, and growth weighs more than gain. The
# *envelope* compares the energy in bands as wide as the ear's, *dissimilarity* the shape of their
# rise and fall, and *gate* is the cross-entropy between the gate and what it should be.

# %%
config = el.TrainingConfig(
    base_channels=base_channels,
    depth=depth,
    epochs=epochs,
    batch_size=batch_size,
    crop_seconds=crop_seconds,
    learning_rate=learning_rate,
    seed=seed,
)
pd.Series(config.loss.model_dump(), name="weight").to_frame()

# %% [markdown]
# ### What each term hears
#
# Some music, drums if there are any, harmed in four ways. *No treble*: everything over 8 kHz is gone, and that is what the
# network would be given. *New treble*: what is missing is put back at its level, but with phases
# drawn at random, as good as a network can guess. *Noise*: white, 30 dB under the music. *Late*: by
# 20 samples, half a millisecond. Listen first, and put them in your order.

# %%
rate = model.config.sample_rate
(drums,) = el.choose_pieces(el.list_pieces(input_dir), 1, like="drums_*")
music = el.load(drums.path, sample_rate=rate, duration_s=5)[0].mean(axis=0, keepdims=True)
cut = el.degrade(music, "down-16000hz", sample_rate=rate)
spectrum = librosa.stft(music)
phases = np.exp(2j * np.pi * np.random.default_rng(seed).random(spectrum.shape))
lost = librosa.fft_frequencies(sr=rate, n_fft=2048)[:, None] > 8000
new = cut + librosa.istft(np.where(lost, spectrum * phases, 0), length=music.shape[1])
harmed = {
    "no treble": cut,
    "new treble": new.astype(np.float32),
    "noise": el.degrade(music, "noise-white-30db", sample_rate=rate),
    "late": np.pad(music, ((0, 0), (20, 0)))[:, :-20],
}
el.Player({"lossless": music, **harmed}, sample_rate=rate, title=drums.path.stem)

# %% [markdown]
# And this is what the terms make of them, before weighting; zero is perfect, and *relative* is
# positive where music that had survived came out worse than *no treble* left it:

# %%
loss = el.losses.CombinedLoss(config.loss, sample_rate=rate)
waves = {name: torch.from_numpy(wave)[:, None] for name, wave in harmed.items()}
reference, given = torch.from_numpy(music)[:, None], waves["no treble"]
heard = {name: loss.terms(wave, reference, given) for name, wave in waves.items()}
terms = pd.DataFrame(heard).map(float)
terms.rename_axis("term").style.format("{:.2g}")

# %% [markdown]
# The terms of samples, *mse* and *l1*, find the new treble no better than none, and a delay that
# nobody hears worst of all. The three of levels and shapes are content with the delay and want the
# treble. Only *relative* stands up for what was fine: to it, noise and delay are harm, and new
# treble is next to none. Each of them on its own would teach the network something odd.

# %% [markdown]
# ## The run
#
# *AdamW* takes the steps; their size rises over the first part of the run and then falls along half
# a cosine. Each segment is cut at random, made louder or softer, turned upside down or not, played
# a little faster or slower, and given another colour, brighter or duller, always both sides alike;
# some inputs get noise on top. After every pass over the pairs, the validation split is measured,
# and the best state is kept. A run that is interrupted goes on where it stopped.
#
# The run does not begin from nothing, but from the published weights, as you would to fit them to
# your own music. From scratch (`start_from` empty), minutes are enough to fill an empty treble but
# not to learn what is best left alone.

# %% tags=["remove-stderr"]
manifest = Path(run_dir) / "pairs" / "manifest.csv"
if not manifest.exists():
    manifest = el.prepare(input_dir, manifest.parent, sample_rate=model.config.sample_rate)
result = el.train_model(
    manifest,
    Path(run_dir) / "checkpoint",
    config,
    preset=preset,
    start_from=el.find_weights(start_from, preset=preset) if start_from else None,
    overwrite=True,
)

# %% [markdown]
# The dashed level is the loss of the untreated audio: below it, the network helps. Training and
# validation are not comparable in height: training meets other music, with noise added and levels
# changed.

# %%
log = pd.read_csv(result.log)
validation = log[log["split"] == "validation"]
by_epoch = validation.groupby("epoch")[["loss", "untreated"]].mean()
training = log[log["split"] == "train"].set_index("epoch")["loss"]
axes = el.plotting.curves(
    {
        "untreated": (by_epoch.index, by_epoch["untreated"]),
        "validation": (by_epoch.index, by_epoch["loss"]),
        "training": (training.index, training),
    },
    x_label="Epoch",
    y_label="Loss",
)
el.plotting.save_figure(axes.figure, "02_curves", figures_dir=figures_dir)

# %% [markdown]
# ## On music it has never met
#
# The test split played no part, neither in the steps nor in the choice of the best epoch. Its loss,
# condition by condition, beside that of the audio as it was:

# %% tags=["remove-stderr"]
held_out = el.held_out_loss(result.weights, manifest).set_index("condition")
change = 100 * (held_out["loss"] / held_out["untreated"] - 1)
held_out["change %"] = change.replace(np.inf, np.nan)  # nothing had been lost
held_out.style.format(precision=2, na_rep="–")

# %%
axes = el.plotting.bars(
    {
        name: {"untreated": row["untreated"], "enhanced": row["loss"]}
        for name, row in held_out.iterrows()
    },
    x_label="Held-out loss (lower is better)",
)
el.plotting.save_figure(axes.figure, "02_held_out", figures_dir=figures_dir)

# %% [markdown]
# Over all conditions, and against what the run promised:

# %%
improvement = 100 * (1 - held_out["loss"].mean() / held_out["untreated"].mean())
worst = held_out["loss"].sub(held_out["untreated"]).idxmax()
chosen_by = 100 * (1 - result.best_loss / result.untreated_loss)
Markdown(
    f"Over all conditions the held-out loss is **{improvement:.1f} % under that of the untreated "
    f"audio** (at least {least_improvement_percent:g} % is asked for); on the validation split, by "
    f"which the epoch was chosen, {chosen_by:.1f} %. Of so few pieces each has its say: neither is "
    f"the figure of another collection. The least favourable "
    f"condition is `{worst}`: {held_out.loc[worst, 'untreated']:.2f} untreated, "
    f"{held_out.loc[worst, 'loss']:.2f} enhanced."
)

# %% [markdown]
# A run that does not beat doing nothing is not worth going on with, so the chapter stops here then.

# %%
if improvement < least_improvement_percent:
    raise RuntimeError(f"{improvement:.1f} % under untreated: train longer (epochs={epochs})")

# %% [markdown]
# ## The published weights
#
# The weights that come with this package began from scratch, with more music (the first edition of the
# free corpus, all of it other than what is tested here) and more time: three hours on two cores. (`seed-22k`, for half
# the sample rate, began as their lower bands.) Their validation loss, as written down while they
# were trained, for a few kinds of damage. Where the curves jump, training went on with another
# loss, by which the untreated audio scores differently too: each side counts by itself.

# %%
published = el.find_weights("published", preset=preset)
history = pd.read_csv(published.with_suffix(".csv")).query("split == 'validation'")
share = history.assign(share=100 * history["loss"] / history["untreated"])
share = share.pivot_table(index="step", columns="condition", values="share")
shown = [name for name in ("aac-64", "mp3-64", "sbc-20", "down-16000hz") if name in share]
axes = el.plotting.curves(
    {name: (share.index, share[name]) for name in shown},
    x_label="Steps",
    y_label="Loss, % of untreated",
)
el.plotting.save_figure(axes.figure, "02_published", figures_dir=figures_dir)

# %% [markdown]
# And on the test pairs of this run, beside the network trained above. What is `lossless` is judged
# without mercy here: the loss counts the decades between an error and a floor of -60 dB, three times
# over, so a change that nobody hears costs much. [The next chapter](03_spectral_evaluation) says what
# it amounts to in ViSQOL and dB.

# %% tags=["remove-stderr"]
both = held_out[["untreated", "loss"]].rename(columns={"loss": "this run"})
both["published"] = el.held_out_loss(published, manifest).set_index("condition")["loss"]
both.style.format(precision=2)

# %% [markdown]
# ## What each choice is worth
#
# The same recipe cut short, from scratch, and what becomes of it when one thing is changed. Every
# row had the same processor time, far less than the published weights, so that a costlier step
# means fewer of them; one seed each. Measured on the validation clips (`tools/research/ablate.py` makes the
# table, `data/results/ablations.csv` holds more columns). Over the *weak* conditions a low LSD and a
# high ViSQOL are wanted; of the rest, no more than was there: the last column is the worst loss of
# in-band SI-SDR on a clip where nothing was to be gained.

# %%
ablations = pd.read_csv(Path(results_dir) / "ablations.csv").set_index("variant")
shown = {
    "question": "question",
    "steps": "steps",
    "million_macs_per_s": "MMAC/s",
    "lsd_weak": "LSD, weak (bel)",
    "visqol_weak": "ViSQOL, weak",
    "snr_noisy_delta": "SNR gain, noise (dB)",
    "visqol_lossless_worst_delta": "ViSQOL, lossless, worst",
    "in_band_si_sdr_transparent_worst_delta": "worst harm (dB)",
}
table = ablations.astype({"steps": "Int64"})[list(shown)].rename(columns=shown)
table.style.format(precision=2, na_rep="–", thousands=",")

# %% [markdown]
# Two wishes pull at the network. What is paid only for repair, or has met no noise and little else
# than MP3 and AAC, repairs more: without the gate, without the relative term, or with those two
# codecs alone the weak conditions gain, and what was fine, or had survived, pays for it. A basis of
# its own to learn finds the levels best and harms most. A ConvNet over whole frames repairs less for
# as many multiplications; a tenth of the music or half the frame is worse at both. The worst harm is
# large in every row: leaving alone what is fine is the lesson that takes the hours.

# %% [markdown]
# ## Listen
#
# Four seconds of a test piece, degraded and enhanced.

# %%
tests = [piece for piece in el.list_pieces(input_dir) if piece.split == "test"]
(heard_piece,) = el.choose_pieces(tests, 1, like="render_freedoom*")
lossless, _ = el.load(heard_piece.path, sample_rate=rate, duration_s=4)
lossy = el.degrade(lossless, listen_to, sample_rate=rate)
enhanced = el.enhance_wave(lossy, result.weights, sample_rate=rate)
best = el.enhance_wave(lossy, published, sample_rate=rate)
clips = {"lossless": lossless, listen_to: lossy, "this run": enhanced, "published": best}
el.Player(clips, sample_rate=rate, title=f"{listen_to}: {heard_piece.path.stem}")

# %%
figure = el.plotting.spectrogram_grid(clips, sample_rate=rate)
el.plotting.save_figure(figure, "02_spectrograms.png", figures_dir=figures_dir)

# %% [markdown]
# ## The gate at work
#
# How far the published network's gate opens over frequency, for the same piece through several
# codecs. For lossless music, and for what sounds like it, it is to stay shut. Where a codec can be
# heard, it opens: over the whole band, since a codec short of bits damages more than the treble.

# %%
network = el.AudioUNet.from_pretrained(preset)
centres_khz = (np.arange(network.config.bands) + 0.5) * rate / 2000 / network.config.bands
opened = {}
for name in ("lossless", "sbc-53", "aac-128", "mp3-64", "sbc-20"):
    heard = el.degrade(lossless, name, sample_rate=rate)
    opened[name] = (centres_khz, 100 * el.parts(network, heard).gate.mean(axis=(0, 2)))
axes = el.plotting.curves(opened, x_label="Frequency (kHz)", y_label="Gate open (%)")
el.plotting.save_figure(axes.figure, "02_gate", figures_dir=figures_dir)

# %% [markdown]
# ## The run's papers
#
# What a reader needs to make the same run again is stored inside the checkpoint; the essentials:

# %%
run = {
    "weights": result.weights.as_posix(),
    "best epoch": result.best_epoch,
    "validation loss": round(result.best_loss, 4),
    "seed": seed,
}
pd.Series(run | el.provenance.provenance("make book"), name="run").to_frame()

# %% [markdown]
# ## Take-away
#
# - A network that starts as a wire and is paid for change only where change helps can learn
#   several kinds of damage at once.
# - To leave alone what is fine is harder than to repair what is not: compare the networks at
#   `lossless` and `sbc-53` under *The published weights*, where any change is harm.
# - To train on your own music, longer: `enhancelib train --input_dir your/music --output_dir pairs
#   --checkpoint_dir checkpoints --config config.json`; on several processes or machines, once the
#   pairs are there, by `torchrun --nproc-per-node 2 -m enhancelib train …`, or `srun` in a SLURM job.

# %% [markdown]
# ## Exercises
#
# **1. From scratch.** Run the chapter with `start_from=""`, `epochs=9` and `learning_rate=1e-3`, and
# `least_improvement_percent=-1000`, so that it does not stop at what you will see. Which conditions
# gain within minutes, and what becomes of `lossless`? Why is doing nothing the hardest lesson?
#
# **2. What a term is for.** Give the configuration `loss={"relative": 0.0}` and train again from the
# published weights. Compare the table under *The published weights*: which conditions win, and who
# pays? Then do the same with `envelope`.
