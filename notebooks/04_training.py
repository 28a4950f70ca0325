# %% [markdown]
# # 04 · Training, step by step
#
# The pairs of [chapter 01](01_data_synthesis) show, sample by sample, what a codec did. This chapter says
# what the two stages of training ask for, writes one step of each out in full, and then trains a network
# while you watch and measures it on music it has never met.
#
# **You will see** the loss fall three times: on one clip learnt by heart, in a short run, and in the long
# run behind the published weights. **You will hear** drums, harmed in ways that each term of the loss hears
# differently, a clip that is learnt by heart, and a piece of the test split: lossy, enhanced by the network
# just trained, and lossless.

# %% [markdown]
# Every setting of the chapter stands in the next cell. The pairs come from chapter 01; where its run is
# missing, they are made here from `input_dir`.

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
steps_by_heart: int = 80  # of each stage, on one clip
listen_to: str = "mp3-64"  # condition of the clips that are looked at and heard
seed: int = 0  # of weights, order, crops and augmentation

# %% tags=["hide-input"]
import json
import os
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown
from safetensors import safe_open
from torch.nn import functional

import enhancelib as el

if Path.cwd().name == "notebooks":  # opened in JupyterLab
    os.chdir("..")
el.plotting.use_style()

# %% [markdown]
# The examples are four seconds of a piece of the test split, through a codec, and what the published network
# has learnt.

# %%
published = el.find_weights("published", preset=preset)
network = el.AudioUNet.load(published)
rate = network.config.sample_rate
pieces = el.list_pieces(input_dir)
tests = [piece for piece in pieces if piece.split == "test"] or pieces
(heard_piece,) = el.choose_pieces(tests, 1, like="render_freedoom*")
lossless, _ = el.load(heard_piece.path, sample_rate=rate, duration_s=4)
lossy = el.degrade(lossless, listen_to, sample_rate=rate)

# %% [markdown]
# ## Two stages of training
#
# [Mask and gate](03_network) can be asked for the waveform itself, since most of it survived. The fill cannot: of
# treble that is gone, no network can know the phase, and a network that is paid for waveforms
# learns to leave it out, since silence is nearer to the truth than any wrong guess. What can be
# known is how strong it was. Ever since spectral band replication {cite:p}`dietz2002`, codecs have
# sent just that, the energy of each band, and let the decoder invent the rest; here nobody sends
# it, so it is predicted. The stages are therefore taught apart: first the energies, then the
# network around them.

# %% [markdown]
# ### First the energies
#
# The energy of band $b$ in frame $t$, in units of the running level $L_t$ (the mean power of a bin
# over the last 1.5 seconds, so that quiet music is filled as loud music is), is
#
# $$e_{b,t} = \ln\Big(\frac{1}{8 L_t} \sum_{k \in b} |X_{k,t}|^2\Big).$$
#
# From all $e$ so far the *predictor* gives two numbers per band, a made-up energy $m$ and a doubt
# $a$ in what it sees. The prediction $\hat{e} = e + \sigma(a)\,(m - e)$ lies between them. What it
# should have been is $e^{*}$, the energy of the lossless signal. Many energies are possible, and
# which to aim at is a matter of taste: too weak sounds dull, too strong hisses. The *pinball loss*
# {cite:p}`koenker1978`
#
# $$\rho_q(e^{*} - \hat{e}) = \max\big(q\,(e^{*} - \hat{e}),\; (q - 1)\,(e^{*} - \hat{e})\big)$$
#
# makes that a number: the mean loss is least at the $q$-quantile, the value that a share $q$ of all
# true energies lies under. At one half it is the median. Music is taught with $q = 0.55$, speech
# and singing with $0.15$, since in a voice hiss is worse than dullness.

# %%
quantiles = {"voices": 0.15, "music": 0.55}


def pinball(short: torch.Tensor, quantile: float) -> torch.Tensor:
    return torch.maximum(quantile * short, (quantile - 1) * short).mean()


# %% [markdown]
# As an example, take the band of eight bins that lost most, and let the guess be one number for all
# frames. What does each guess cost?

# %%
levels = []
for wave in (lossless, lossy):
    bins = network.analyze(torch.from_numpy(wave)[:, None])[:, :, :-1] / network.core.scale
    power = bins.square().sum(dim=1).mean(dim=0).unflatten(0, (-1, 8)).mean(dim=1)
    levels.append(10 * power.clamp(min=1e-11).log10())
missing = (levels[0] - levels[1]).mean(dim=1)
band = int(missing.argmax())
band_khz = (band + 0.5) * rate / 2000 / len(missing)
true_db = levels[0][band]

# %% [markdown]
# Each guess has its mean cost over all frames:

# %% tags=["hide-input"]
guesses = torch.linspace(float(true_db.min()), float(true_db.max()), 200)
costs = {
    name: np.array([pinball(true_db - guess, q) for guess in guesses])
    for name, q in quantiles.items()
}
lines = {f"{name}, q = {quantiles[name]}": (guesses, each) for name, each in costs.items()}
labels = {"x_label": "Guess (dBFS)", "y_label": "Mean pinball loss (dB)"}
axes = el.plotting.curves(lines, **labels)
el.plotting.save_figure(axes.figure, "04_pinball", figures_dir=figures_dir)

# %% tags=["hide-input"]
cheapest = {name: guesses[int(each.argmin())] for name, each in costs.items()}
under = {name: float((true_db <= guess).float().mean()) for name, guess in cheapest.items()}
said = [
    f"for {name} it is {guess:.0f} dBFS, and {under[name]:.0%} of the true levels lie under it"
    for name, guess in cheapest.items()
]
Markdown(f"At {band_khz:.1f} kHz the cheapest guess differs: {'; '.join(said)}.")

# %% [markdown]
# A predictor's guess is another one in every frame, but the choice is the same. Two things are
# added to the loss. The differences $e_{b,t} - e_{b,t-1}$ are compared too, since the likeliest
# energy of each frame alone is too smooth in time, and treble predicted for music that never had
# any costs extra. Bands that the codec left alone count a tenth. No waveform is needed for any of
# this: the stage learns from tables of energies, a hundred times cheaper a step than from waves, so
# hundreds of hours of music fit into an evening.

# %% [markdown]
# ### Then the network on waveforms
#
# The predictor is frozen now, and mask, residual and gate learn around it. Their loss is a sum of
# terms that compare waves. How much each of them weighs, in the short run of this chapter (the
# library's default) and in the training of the published network:

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
with safe_open(published, framework="pt") as file:
    facts = file.metadata()
weights = {"this run": config.loss.model_dump()}
weights["published"] = json.loads(facts.get("training_config", "{}")).get("loss", {})
table = pd.DataFrame(weights).fillna(0.0).rename_axis("term")
table[(table > 0).any(axis=1)].style.format("{:g}")

# %% [markdown]
# *MSE* and *L1* compare samples, and are content once the loud low notes are right. The *spectral*
# term compares levels on a logarithmic scale, at two frame lengths, and so hears the quiet treble.
# The *envelope* compares the energy in bands as wide as the ear's, *dissimilarity* the shape of
# their rise and fall. *Compressed complex* compares the bins themselves, phase and all, after their
# magnitudes were raised to the power 0.3 {cite:p}`braun2020`, so that the loud does not drown the
# quiet:
#
# $$\ell = \overline{\big|\,X |X|^{-0.7} - Y |Y|^{-0.7}\,\big|^2}.$$
#
# Each of them would gladly repaint what was fine. *Relative* therefore counts by how many decades
# the error has grown where the codec had left the music intact: it is zero for a network that
# changes nothing, and growth weighs more than gain. *Gate* is the cross-entropy between the gate
# and what it should be, known in training: open where the input differs from the original and that
# can be heard, shut elsewhere. *Audible* is no term: it says how far the gate stays shut, too,
# where the original's band is too weak to be heard.

# %% [markdown]
# ### What each term hears
#
# Some music, drums if there are any, harmed in four ways. *No treble*: everything over 8 kHz is
# gone, and that is what the network would be given. *New treble*: what is missing is put back at
# its level, but with phases drawn at random, as good as a network can guess. *Noise*: white, 30 dB
# under the music. *Late*: by 20 samples, half a millisecond. Listen first, and put them in your
# order.

# %%
(drums,) = el.choose_pieces(pieces, 1, like="drums_*")
music = el.load(drums.path, sample_rate=rate, duration_s=5)[0].mean(axis=0, keepdims=True)
cut = el.degrade(music, "down-16000hz", sample_rate=rate)
spectrum = librosa.stft(music)
phases = np.exp(2j * np.pi * np.random.default_rng(seed).random(spectrum.shape))
gone = librosa.fft_frequencies(sr=rate, n_fft=2048)[:, None] > 8000
new = cut + librosa.istft(np.where(gone, spectrum * phases, 0), length=music.shape[1])
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
every_term = config.loss.model_copy(update={"compressed_complex": 1.0})
loss = el.losses.CombinedLoss(every_term, sample_rate=rate)
waves = {name: torch.from_numpy(wave)[:, None] for name, wave in harmed.items()}
reference, given = torch.from_numpy(music)[:, None], waves["no treble"]
heard = {name: loss.terms(wave, reference, given) for name, wave in waves.items()}
terms = pd.DataFrame(heard).map(float)
terms.rename_axis("term").style.format("{:.2g}")

# %% tags=["hide-input"]
better = terms.index[terms["new treble"] < 0.9 * terms["no treble"]]
worst = terms.index[terms.idxmax(axis=1) == "late"]
Markdown(
    f"The new treble is clearly nearer to the music for {', '.join(better)}, and for no other term. "
    f"The delay, which nobody hears, is the worst of the four for {', '.join(worst)}. Each term "
    f"alone would teach the network something odd."
)

# %% [markdown]
# ## One step of each stage, written out
#
# `el.train_model`, used further down, draws pairs, varies them and keeps books. The core of it is
# short. A small *student* with a fill is to learn one clip by heart, a second and a bit of the
# piece above. It knows nothing yet: untrained, the network changes nothing and fills nothing.

# %%
torch.manual_seed(seed)
shape = el.AudioUNet.from_preset(preset).config.model_dump()
shape |= {"base_channels": base_channels, "depth": depth, "dropout": 0.0, "fill": {}}
student = el.AudioUNet(**shape).train()
predictor = student.core.fill.predictor
part = slice(rate, rate + int(1.3 * rate))  # under 1.5 s, over which the level is taken
clip, original = (torch.from_numpy(wave[:1, part])[:, None] for wave in (lossy, lossless))

# %% [markdown]
# **First stage.** What goes in are the energies $e$ of the lossy clip and the means of its log
# powers in each band, which tell noise from tones; what should come out are the energies of the
# lossless clip, all in units of the level so far.


# %%
def logs_of_bands(clip: torch.Tensor, original: torch.Tensor) -> tuple[torch.Tensor, ...]:
    power, wanted = (student.analyze(wave)[:, :, :-1].square().sum(1) for wave in (clip, original))
    mean = power.mean(dim=1, keepdim=True)
    level = (mean.cumsum(dim=2) / torch.arange(1, mean.shape[2] + 1)).clamp(min=1e-8)
    in_bands = [(each / level).unflatten(1, (-1, 8)) for each in (power, wanted)]
    own, target = (each.mean(dim=2).clamp(min=1e-9).log() for each in in_bands)  # over -90 dB
    shades = in_bands[0].clamp(min=1e-9).log().mean(dim=2)
    return torch.cat([own, shades], dim=1), target[:, predictor.first :]


# %%
def energy_step(features, target, optimizer) -> float:
    energies, _ = predictor(features, predictor.initial_state())
    level = pinball(target - energies, quantiles["music"])
    change = (target.diff(dim=2) - energies.diff(dim=2)).abs().mean()
    optimizer.zero_grad()
    (level + 0.3 * change).backward()  # the gradient with respect to every weight
    optimizer.step()  # and a small step against it
    return level.item() * 10 / np.log(10)  # in dB


# %% [markdown]
# **Second stage.** Three functions: the compressed error of two waves at one frame length, the
# error of the gate, and the step that puts them together. Relative and dissimilarity, which are
# longer, are the library's.


# %%
def compressed_error(enhanced, original, length: int) -> torch.Tensor:
    options = {"hop_length": length // 2, "window": torch.hann_window(length)}
    true, found = (
        torch.stft(wave[:, 0], length, return_complex=True, **options)
        for wave in (original, enhanced)
    )
    floor = (1e-9 * true.abs().square().amax(dim=1, keepdim=True)).clamp(min=1e-12)
    true, found = (bins * (bins.abs().square() + floor) ** -0.35 for bins in (true, found))
    return (true - found).abs().square().mean()


# %%
def gate_error(logits, clip, original) -> torch.Tensor:
    was, true = (student.analyze(wave)[:, :, :-1] for wave in (clip, original))
    error, signal = (
        bins.square().sum(1).unflatten(1, (student.config.bands, -1)).sum(2)
        for bins in (was - true, true)
    )
    error_db = 10 * (error / (signal + 1e-6)).clamp(min=1e-9).log10()
    wanted = ((error_db + 60) / 20).clamp(0, 1)  # open where the error is over -40 dB
    return functional.binary_cross_entropy_with_logits(logits, wanted)


# %% [markdown]
# The step itself: forward, loss, backward, and a move of every weight a little way down the slope.


# %%
def of_waves(enhanced, original, clip) -> torch.Tensor:
    error = sum(compressed_error(enhanced, original, length) for length in (512, 2048)) / 2
    shape = el.losses.dissimilarity(enhanced, original, sample_rate=rate)
    return error + shape + 0.5 * el.losses.relative_error(enhanced, original, clip)


def network_step(clip, original, optimizer) -> float:
    enhanced, logits = student.with_gate(clip)
    loss = of_waves(enhanced, original, clip)
    optimizer.zero_grad()
    (loss + 0.2 * gate_error(logits, clip, original)).backward()
    torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)  # no step may be too large
    optimizer.step()
    return loss.item()


# %% [markdown]
# ### By heart
#
# Both stages, one after the other, always the same clip. A sound network must manage that: if the
# loss does not fall here, something is wrong in the code, and no hours of training will mend it.

# %%
features, target = logs_of_bands(clip, original)
optimizer = torch.optim.AdamW(predictor.parameters(), lr=2e-3)
first = [energy_step(features, target, optimizer) for _ in range(steps_by_heart)]
student.core.fill.freeze()
rest = [weight for weight in student.parameters() if weight.requires_grad]
optimizer = torch.optim.AdamW(rest, lr=2e-3)
second, learnt = [], {}
for step in range(steps_by_heart + 1):
    if step in (0, steps_by_heart // 8, steps_by_heart):
        learnt[f"step {step}"] = student(clip).detach()[:, 0].numpy()
    if step < steps_by_heart:
        second.append(network_step(clip, original, optimizer))

# %% [markdown]
# Both losses, step by step:

# %% tags=["hide-input"]
figure, (left, right) = el.plotting.subplots(columns=2, width=8.4, height=2.8)
steps = np.arange(steps_by_heart)
labels = {"x_label": "Step", "y_label": "Pinball loss (dB)"}
el.plotting.curves({"energies": (steps, first)}, **labels, ax=left, title="energies")
alone = float(of_waves(clip, original, clip))
lines = {"untreated": (steps, np.full(len(steps), alone)), "student": (steps, second)}
el.plotting.curves(lines, x_label="Step", y_label="Loss", ax=right, title="network")
el.plotting.save_figure(figure, "04_by_heart", figures_dir=figures_dir)

# %%
beat = torch.from_numpy(el.degrade(music, listen_to, sample_rate=rate)[:, part])[:, None]
with torch.no_grad():
    foreign = [of_waves(each, reference[:, :, part], beat) for each in (beat, student.eval()(beat))]
Markdown(
    f"In {steps_by_heart} steps the loss of the energies fell from {first[0]:.1f} to {first[-1]:.1f} dB, "
    f"and that of the network from {second[0]:.2f} to {second[-1]:.2f}; the untreated clip has "
    f"{alone:.2f} (under zero, *relative* pays for an error made smaller). By heart is not yet "
    f"understood: of the drums, which it has never met, the student makes "
    f"{float(foreign[1]):.2f}, where untreated they have {float(foreign[0]):.2f}."
)

# %% [markdown]
# And what that sounds like. At step 0 the fill is there already, since its energies were learnt first; mask
# and gate come with the steps.

# %%
by_heart = {"lossless": original[:, 0].numpy(), listen_to: clip[:, 0].numpy(), **learnt}
el.Player(by_heart, sample_rate=rate, title=f"{heard_piece.path.stem}, learnt by heart")

# %% [markdown]
# ## The run
#
# The same on all training pairs. *AdamW* takes the steps; their size rises over the first part of
# the run and then falls along half a cosine. Each segment is cut at random, made louder or softer,
# turned upside down or not, played a little faster or slower, and given another colour, brighter or
# duller, always both sides alike; some inputs get noise on top. After every pass over the pairs,
# the validation split is measured, and the best state is kept. A run that is interrupted goes on
# where it stopped.
#
# The run does not begin from nothing, but from the published weights, as you would to fit them to
# your own music. From scratch (`start_from` empty), minutes are enough to fill an empty treble but
# not to learn what is best left alone. A fill stays as it was taught.

# %% tags=["remove-stderr"]
manifest = Path(run_dir) / "pairs" / "manifest.csv"
if not manifest.exists():
    manifest = el.prepare(input_dir, manifest.parent, sample_rate=rate)
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

# %% tags=["hide-input"]
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
axes.set_xticks(by_epoch.index[:: -(-len(by_epoch) // 10)])
el.plotting.save_figure(axes.figure, "04_curves", figures_dir=figures_dir)

# %% tags=["hide-input"]
ends = by_epoch["loss"].iloc[[0, -1]].tolist()
Markdown(
    f"Validation went from {ends[0]:.3f} after the first epoch to {ends[1]:.3f} after the last, with "
    f"{by_epoch['untreated'].mean():.3f} for the untreated audio; epoch {result.best_epoch} was kept."
)

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

# %% tags=["hide-input"]
axes = el.plotting.bars(
    {
        name: {"untreated": row["untreated"], "enhanced": row["loss"]}
        for name, row in held_out.iterrows()
    },
    x_label="Held-out loss (lower is better)",
)
el.plotting.save_figure(axes.figure, "04_held_out", figures_dir=figures_dir)

# %% [markdown]
# Over all conditions, and against what is asked of the run:

# %% tags=["hide-input"]
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
# ## The long run
#
# The weights that come with this package had far more music and far more time. How they came to be
# is written into their file:

# %% tags=["hide-input"]
logs = {"network": published.with_suffix(".csv")}
logs["energies"] = published.with_name(f"{published.stem}-energies.csv")
logs = {name: pd.read_csv(path) for name, path in logs.items() if path.exists()}
history = logs["network"].query("split == 'validation'")
done = json.loads(facts.get("stages", "[]"))
done = done or [f"{history['step'].max():,} steps of `tools/research/pretrain.py` on waveforms"]
Markdown("\n".join(f"{place + 1}. {stage}" for place, stage in enumerate(done)))

# %% [markdown]
# And what was written down while they were trained, for a few kinds of damage. Of the network:
# its validation loss as a share of that of the untreated audio. Of the energies, where there is a
# log of them: by how many decibels the prediction misses a band that was emptied. Where the curves
# jump, training went on with another loss or other music. In a log of a network with a fill a share
# over 100 % is not harm by itself, since a fill is an error to every loss of waveforms: whether it
# is, [models of hearing](06_spectral_evaluation) and listeners have to say.

# %%
share = history.assign(value=100 * history["loss"] / history["untreated"])
tables = {"network": share.pivot_table(index="step", columns="condition", values="value")}
if "energies" in logs:
    tables["energies"] = logs["energies"].pivot_table(
        index="hours_seen", columns="condition", values="error_db"
    )
chosen = ("aac-64", "mp3-64", "sbc-20", "down-16000hz")
tables = {name: table[[each for each in chosen if each in table]] for name, table in tables.items()}

# %% [markdown]
# Each condition has a curve of its own:

# %% tags=["hide-input"]
names = {"network": ("Step", "Loss, % of untreated"), "energies": ("Hours heard", "Error (dB)")}
columns = len(tables)
figure, row = el.plotting.subplots(columns=columns, width=4.2 * max(columns, 2), height=3.0)
for ax, (name, table) in zip(np.atleast_1d(row), tables.items(), strict=True):
    x_label, y_label = names[name]
    lines = {each: (table.index, table[each]) for each in table}
    el.plotting.curves(lines, x_label=x_label, y_label=y_label, ax=ax, title=name)
el.plotting.save_figure(figure, "04_published", figures_dir=figures_dir)

# %% tags=["hide-input"]
ends = {
    name: table.apply(lambda each: each.dropna().iloc[[0, -1]].tolist())
    for name, table in tables.items()
}
units = {"network": "%", "energies": "dB"}
said = [
    f"{name}: "
    + ", ".join(f"`{each}` {a:.1f} to {b:.1f} {units[name]}" for each, (a, b) in table.items())
    for name, table in ends.items()
]
Markdown(f"From the first entry to the last, {'; '.join(said)}.")

# %% [markdown]
# The published weights on the test pairs of this run, beside the network trained above and by the
# same loss. What is `lossless` is judged without mercy here: the loss counts the decades between an
# error and a floor of -60 dB, three times over, so a change that nobody hears costs much. [Chapter
# 07](07_harm) says what it amounts to in ViSQOL and dB.

# %% tags=["remove-stderr"]
same_loss = Path(run_dir) / "published_by_this_loss.safetensors"
network.save(same_loss, overwrite=True, metadata={"training_config": config.model_dump_json()})
both = held_out[["untreated", "loss"]].rename(columns={"loss": "this run"})
both["published"] = el.held_out_loss(same_loss, manifest).set_index("condition")["loss"]
both.style.format(precision=2)

# %% tags=["hide-input"]
ahead = both.index[both["published"] < both["this run"]]
Markdown(
    f"On the mean of all conditions untreated audio has {both['untreated'].mean():.2f}, this run "
    f"{both['this run'].mean():.2f} and the published network {both['published'].mean():.2f}, which "
    f"is ahead in {len(ahead)} of {len(both)} conditions."
)

# %% [markdown]
# ## What each choice is worth
#
# The recipe of the first edition cut short, from scratch and without a fill, and what becomes of it
# when one thing is changed. Every row had the same processor time, far less than the published
# weights, so that a costlier step means fewer of them; one seed each. Measured on the validation
# clips (`tools/research/ablate.py` makes the table, `data/results/ablations.csv` holds more
# columns). Over the *weak* conditions a low LSD and a high ViSQOL are wanted; of the rest, no more
# than was there: the last column is the worst loss of in-band SI-SDR on a clip where nothing was to
# be gained.

# %%
ablations = pd.read_csv(Path(results_dir) / "ablations.csv").set_index("variant")
shown = {
    "question": "question",
    "lsd_weak": "LSD, weak (bel)",
    "visqol_weak": "ViSQOL, weak",
    "snr_noisy_delta": "SNR gain (dB)",
    "in_band_si_sdr_transparent_worst_delta": "worst harm (dB)",
}
table = ablations[list(shown)].rename(columns=shown)
table["question"] = table["question"].fillna(table.index.to_series())
table.set_index("question").style.format(precision=2, na_rep="–")

# %% [markdown]
# Two wishes pull at the network. What is paid only for repair, or has met no noise and little else
# than MP3 and AAC, repairs more: without the gate, without the relative term, or with those two
# codecs alone the weak conditions gain, and what was fine, or had survived, pays for it. A basis of
# its own to learn finds the levels best and harms most. A ConvNet over whole frames repairs less
# for as many multiplications; a tenth of the music or half the frame is worse at both. The worst
# harm is large in every row: leaving alone what is fine is the lesson that takes the hours.

# %% [markdown]
# ## Listen
#
# The four seconds from above, through the network of this run and through the published one.

# %%
enhanced = el.enhance_wave(lossy, result.weights, sample_rate=rate)
best = el.enhance_wave(lossy, published, sample_rate=rate)
clips = {"lossless": lossless, listen_to: lossy, "this run": enhanced, "published": best}
el.Player(clips, sample_rate=rate, title=f"{listen_to}: {heard_piece.path.stem}")

# %% [markdown]
# The same four clips as spectrograms:

# %% tags=["hide-input"]
figure = el.plotting.spectrogram_grid(clips, sample_rate=rate)
el.plotting.save_figure(figure, "04_spectrograms.png", figures_dir=figures_dir)

# %% tags=["hide-input"]
options = {"sample_rate": rate, "names": ["lsd", "snr"]}
scores = {name: el.score(wave, lossless, **options) for name, wave in clips.items()}
said = [
    f"{name} {each['lsd']:.2f} bel and {each['snr']:.1f} dB"
    for name, each in scores.items()
    if name != "lossless"
]
Markdown(
    f"Log-spectral distance and signal-to-noise ratio of this clip: {'; '.join(said)}. New treble "
    f"lowers the first and costs some of the second, since its phase is a guess."
)

# %% [markdown]
# ## Provenance
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
# - What survived can be corrected, and is learnt from waves. What is gone can only be replaced, and
#   all that can be learnt of it is how strong it was.
# - A network that starts as a wire and is paid for change only where change helps can learn
#   several kinds of damage at once.
# - To leave alone what is fine is harder than to repair what is not: compare the networks at
#   `lossless` and `sbc-53` under *The long run*, where any change is harm.
# - To train on your own music, longer: `enhancelib train --input_dir your/music --output_dir pairs
#   --checkpoint_dir checkpoints --config config.json`; on several processes or machines, once the
#   pairs are there, by `torchrun --nproc-per-node 2 -m enhancelib train …`, or `srun` in a SLURM job.

# %% [markdown]
# ## Quiz
#
# Three questions on this part of the book. Open an answer to see what is right or wrong about it.
#
# **1. A network is paid for waveforms alone. What does it do where the treble is gone?**
#
# ```{dropdown} It learns the missing phase from enough music.
# No. The phase of what is gone is not written anywhere in the input, and two recordings with the
# same bass can have any treble.
# ```
#
# ```{dropdown} It fills in noise of the right level.
# No. That would sound nearer, but to a loss of waveforms it is twice as far away as silence.
# ```
#
# ```{dropdown} It leaves the treble out.
# Yes. A guess of the right level and a wrong phase has twice the error of silence, so silence is
# the cheaper answer. This is why the fill learns energies instead.
# ```
#
# **2. The pinball loss is used with a quantile of 0.15 for voices. What does that make of the
# predicted treble?**
#
# ```{dropdown} It is rather too weak than too strong.
# Yes. Only 15 % of all true energies lie under such a prediction. In a voice, hiss between the
# words is worse than dullness.
# ```
#
# ```{dropdown} It has 15 % of the energy of the original.
# No. A quantile speaks of how often the truth lies under the prediction, not of a share of its
# energy.
# ```
#
# ```{dropdown} It is wrong in 15 % of all frames.
# No. Hardly any frame is met exactly. The quantile says on which side of the truth the prediction
# lies.
# ```
#
# **3. The loss on the training music falls, the loss on the validation music rises. What do you
# do?**
#
# ```{dropdown} Train on: what counts is the training loss.
# No. It says how well the network knows this music by heart. Nobody will play this music to it.
# ```
#
# ```{dropdown} Keep the weights from before the rise, or bring more and other music.
# Yes. The network has begun to learn its pieces by heart, and what it learns now is of no use to
# others.
# ```
#
# ```{dropdown} Choose the weights on the test set instead.
# No. A set on which something was chosen is a validation set by that very act, and nothing is
# left to test on.
# ```

# %% [markdown]
# ## Exercises
#
# **1. Another quantile.** Draw the pinball loss for $q = 0.9$ into the figure. Where is its least
# value, and what would a network taught with it do to a quiet recording of a voice?
#
# ```{dropdown} Solution
# Set `quantiles["bold"] = 0.9` before the figure. The least value moves to the right, to the level
# that nine tenths of the true ones lie under. A predictor taught so would nearly always fill in too
# much: between the words of a voice, where the true treble is weak, one would hear hiss.
# ```
#
# **2. Why not one stage?** Leave out `student.core.fill.freeze()` and the first stage. What becomes
# of the fill, and why?
#
# ```{dropdown} Solution
# It stays empty. Noise of the right level has, against the true treble, an error of twice its
# energy, silence one of once its energy; a loss of waves pays the network for silence. Only
# *dissimilarity* and the other terms of levels ask for treble, and they are outvoted.
# ```
#
# **3. From scratch.** Run the chapter with `start_from=""`, `epochs=9` and `learning_rate=1e-3`,
# and
# `least_improvement_percent=-1000`, so that it does not stop at what you will see. Which conditions
# gain within minutes, and what becomes of `lossless`? Why is doing nothing the hardest lesson?
#
# ```{dropdown} Solution
# Conditions without treble gain first: nearly any treble is nearer in level than none. `lossless`
# gets worse, since whatever is learnt for the others leaks into it until the gate has learnt to
# tell them apart, and it can only do that by what it hears, never by being told.
# ```
#
# **4. What a term is for.** Give the configuration `loss={"relative": 0.0}` and train again from
# the published weights. Compare the last table under *The long run*: which conditions win, and who
# pays? Then do the same with `envelope`.
#
# ```{dropdown} Solution
# Without *relative*, weak codecs gain a little and the best ones pay: nothing stands up any more
# for what had survived (compare the row *no relative term* under *What each choice is worth*).
# Without *envelope*, treble comes out too weak, since the spectral term alone wants the median of
# each bin.
# ```
