# %% [markdown]
# # 04 · Training, step by step
#
# The pairs of [chapter 01](01_data_synthesis) show, sample by sample, what a codec did. This
# chapter says what the two stages of training ask for and writes one step of each out in full. Then
# it trains a network and measures it on music that the network has never met.
#
# **You will see** the loss on one clip that is learnt by heart, in a short run, and in the long run
# behind the published weights. **You will hear** drums with four kinds of damage, a clip that is
# learnt by heart, and a piece of the test split before and after the network just trained.

# %% [markdown]
# Every setting of the chapter stands in the next cell. The pairs come from chapter 01; where its
# run is missing, they are made here from `input_dir`.

# %% tags=["parameters"]
input_dir: str = "data/excerpts"  # folder of lossless music that the pairs were made from
run_dir: str = "data/runs/default"  # where this run keeps what it makes
figures_dir: str = "figures"  # where figures are saved
results_dir: str = "data/results"  # tables that were measured once, at length
preset: str = "fullband-44k"  # or "seed-22k", for pairs at 22,050 Hz
start_from: str = "published"  # weights to go on from, or a checkpoint; empty: from scratch
base_channels: int = 32  # width of the network, if from scratch
depth: int = 4  # levels of the U-Net, if from scratch
blocks: int = 2  # residual blocks of each level, if from scratch
dilations: str = "1,2,4,8,16,32"  # in frames, of the blocks at the bottom, if from scratch
epochs: int = 2  # after each of them the validation split is measured
epoch_steps: int = 10  # steps of an epoch; 0: as many as there are pairs for
batch_size: int = 8  # segments per step
crop_seconds: float = 1.0  # length of a training segment
learning_rate: float = 3e-4  # peak of the schedule; from scratch 1e-3
least_improvement_percent: float = 5.0  # the run must beat untreated audio by this much
steps_by_heart: int = 30  # of each stage, on one clip
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
# The example is four seconds of a piece of the test split, through a codec.

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
# [Mask and gate](03_network) can be trained on the waveform itself, since most of it survived. The
# fill cannot: no network can know the phase of treble that is gone. A network that is trained on
# waveforms learns to leave such treble out, because silence is nearer to the truth than a wrong
# guess. What can be known is how strong the treble was. Codecs with spectral band replication
# {cite:p}`dietz2002` send just that, the energy of each band, and let the decoder invent the rest.
# Here nobody sends it, so it is predicted. That is why there are two stages: first the energies,
# then the network around them.

# %% [markdown]
# ### First the energies
#
# The energy of band $b$ in frame $t$, in units of the running level $L_t$ (the mean power of a bin
# over the last 1.5 seconds, so that quiet music is filled as loud music is), is
#
# $$e_{b,t} = \ln\Big(\frac{1}{8 L_t} \sum_{k \in b} |X_{k,t}|^2\Big).$$
#
# From all $e$ so far the *predictor* gives two numbers per band: a made-up energy $m$, and a doubt
# $a$ about the energy that it sees. The prediction $\hat{e} = e + \sigma(a)\,(m - e)$ lies between
# $e$ and $m$. The truth is $e^{*}$, the energy of the lossless signal. Many energies are possible,
# and which of them to aim at is a matter of taste: too weak sounds dull, too strong hisses. The
# *pinball loss* {cite:p}`koenker1978`
#
# $$\rho_q(e^{*} - \hat{e}) = \max\big(q\,(e^{*} - \hat{e}),\; (q - 1)\,(e^{*} - \hat{e})\big)$$
#
# turns that choice into a number $q$. The mean loss is least at the $q$-quantile: a share $q$ of
# all true energies lies below it. With $q = 0.5$ that is the median. Music is trained with the
# larger and voices with the smaller of these, since in a voice hiss is worse than dullness:

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

# %% tags=["remove-input"]
cheapest = {name: guesses[int(each.argmin())] for name, each in costs.items()}
under = {name: float((true_db <= guess).float().mean()) for name, guess in cheapest.items()}
said = [
    f"for {name} it is {guess:.0f} dBFS, and {under[name]:.0%} of the true levels lie under it"
    for name, guess in cheapest.items()
]
Markdown(f"At {band_khz:.1f} kHz the cheapest guess differs: {'; '.join(said)}.")

# %% [markdown]
# A predictor makes a new guess in every frame, but the choice is the same. Two things are added to
# the loss. The differences $e_{b,t} - e_{b,t-1}$ are compared too, since the likeliest energy of
# each frame alone is too smooth in time. And treble that is predicted for music that never had any
# costs extra. Bands that the codec left alone count a tenth. None of this needs a waveform: the
# stage learns from tables of energies, which makes a step far cheaper, so that hundreds of hours of
# music fit into an evening.

# %% [markdown]
# ### Then the network on waveforms
#
# Now the predictor is frozen, and mask, residual and gate learn around it. Their loss is a sum of
# terms that compare waves. The table has the weight of each term, in the short run of this chapter
# (the library's default) and in the training of the published network:

# %% tags=["hide-input"]
size = {"base_channels": base_channels, "depth": depth, "blocks": blocks}
size["dilations"] = [int(frames) for frames in dilations.split(",")]
length = {"epochs": epochs, "epoch_steps": epoch_steps or None}
batch = {"batch_size": batch_size, "crop_seconds": crop_seconds}
config = el.TrainingConfig(**size, **length, **batch, learning_rate=learning_rate, seed=seed)
with safe_open(published, framework="pt") as file:
    facts = file.metadata()
weights = {"this run": config.loss.model_dump()}
weights["published"] = json.loads(facts.get("training_config", "{}")).get("loss", {})
table = pd.DataFrame(weights).fillna(0.0).rename_axis("term")
table[(table > 0).any(axis=1)].style.format("{:g}")

# %% [markdown]
# With the original $x$, the output $y$ and their spectra $X$ and $Y$, and a bar for the mean:
#
# - *MSE*, $\overline{(y - x)^2}$, and *L1*, $\overline{|y - x|}$, compare samples. They are small
#   once the loud low notes are right.
# - *Spectral*, $\overline{\big|\log_{10} |Y|^2 - \log_{10} |X|^2\big|}$ at two frame lengths,
#   compares levels and so hears the quiet treble.
# - *Envelope* compares the energy in bands as wide as the ear's. *Dissimilarity* compares how that
#   energy rises and falls.
# - *Compressed complex*, $\overline{\big|\,Y |Y|^{-0.7} - X |X|^{-0.7}\,\big|^2}$, compares the
#   bins themselves, with their phases. Every magnitude is raised to the power 0.3
#   {cite:p}`braun2020`, so that loud bins do not drown quiet ones.
#
# None of these terms keeps the network from changing what was fine. Two more do:
#
# - *Relative* measures by what factor the error grew where the codec had left the music intact, on
#   a logarithmic scale. It is zero for a network that changes nothing, and an error that grows
#   costs more than an error that shrinks earns.
# - *Gate* is the cross-entropy $-\overline{g^{*} \log g + (1 - g^{*}) \log (1 - g)}$ between the
#   gate $g$ and what it should be. That is known in training: open ($g^{*} = 1$) where the input
#   differs audibly from the original, shut elsewhere.
#
# *Audible* in the table is a setting of the gate term and has no loss of its own. It says how
# strongly the gate is also told to stay shut where the original's band is too weak to be heard.

# %% [markdown]
# ### What each term hears
#
# Here is some music, drums if there are any, with four kinds of damage:
#
# - *no treble*: everything over 8 kHz is gone. That is what the network would be given.
# - *new treble*: what is missing is put back at its level, but with random phases, as good as a
#   network can guess. Frames with random phases cancel each other in part where they overlap. With
#   these frames a quarter of the power is left, so the bins are doubled.
# - *noise*: white noise is added, 30 dB under the music.
# - *late*: the music comes 20 samples late, half a millisecond.
#
# Listen first, and put them in your order.

# %%
(drums,) = el.choose_pieces(pieces, 1, like="drums_*")
music = el.load(drums.path, sample_rate=rate, duration_s=5)[0].mean(axis=0, keepdims=True)
cut = el.degrade(music, "down-16000hz", sample_rate=rate)
spectrum = librosa.stft(music)
phases = np.exp(2j * np.pi * np.random.default_rng(seed).random(spectrum.shape))
gone = librosa.fft_frequencies(sr=rate, n_fft=2048)[:, None] > 8000
new = cut + librosa.istft(np.where(gone, 2 * spectrum * phases, 0), length=music.shape[1])
harmed = {
    "no treble": cut,
    "new treble": new.astype(np.float32),
    "noise": el.degrade(music, "noise-white-30db", sample_rate=rate),
    "late": np.pad(music, ((0, 0), (20, 0)))[:, :-20],
}
el.Player({"lossless": music, **harmed}, sample_rate=rate, title=drums.title)

# %% [markdown]
# The table has the value of each term before weighting. Zero is perfect. *Relative* is positive
# where music that had survived came out worse than *no treble* left it.

# %%
every_term = config.loss.model_copy(update={"compressed_complex": 1.0})
loss = el.losses.CombinedLoss(every_term, sample_rate=rate)
waves = {name: torch.from_numpy(wave)[:, None] for name, wave in harmed.items()}
reference, given = torch.from_numpy(music)[:, None], waves["no treble"]
heard = {name: loss.terms(wave, reference, given) for name, wave in waves.items()}
terms = pd.DataFrame(heard).map(float)
terms.rename_axis("term").style.format("{:.2g}")

# %% tags=["remove-input"]
better = terms.index[terms["new treble"] < 0.9 * terms["no treble"]]
worst = terms.index[terms.idxmax(axis=1) == "late"]
Markdown(
    f"The new treble is clearly nearer to the music than no treble for {', '.join(better)}, and for "
    f"no other term. The delay, which nobody hears, is the worst of the four for {', '.join(worst)}. "
    f"No term alone would teach the network the right thing."
)

# %% [markdown]
# ## One step of each stage, written out
#
# `el.train_model`, used further down, draws pairs, varies them and writes a log. Its core is short.
# A small *student* with a fill learns one clip by heart, a second and a bit of the piece above. It
# knows nothing yet: an untrained network changes nothing and fills nothing.

# %%
torch.manual_seed(seed)
shape = el.AudioUNet.from_preset(preset).config.model_dump()
shape |= {"base_channels": base_channels, "depth": depth, "dropout": 0.0}
widest = max(el.AudioUNet(**shape).config.channels)
fill = {"width": max(208, widest + 16)}  # no level of the network may be as wide
student = el.AudioUNet(**shape | {"fill": fill}).train()
predictor = student.core.fill.predictor
part = slice(rate, rate + int(1.3 * rate))  # under 1.5 s, over which the level is taken
clip, original = (torch.from_numpy(wave[:1, part])[:, None] for wave in (lossy, lossless))

# %% [markdown]
# **First stage.** The input is the energies $e$ of the lossy clip and the means of its log powers
# in each band, which tell noise from tones. The output should be the energies of the lossless clip.
# All are in units of the level so far.


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
# **Second stage.** It takes three functions: the compressed error of two waves at one frame length,
# the error of the gate, and the step that puts them together. The longer *relative* and
# *dissimilarity* come from the library.


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
# The step itself computes the output, the loss and its gradient, and moves every weight a little
# way down the slope.


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
# Both stages run one after the other, always on the same clip. Every network that works can learn
# one clip. If the loss does not fall here, something is wrong in the code, and no hours of training
# will mend it.

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

# %% tags=["remove-input"]
beat = torch.from_numpy(el.degrade(music, listen_to, sample_rate=rate)[:, part])[:, None]
with torch.no_grad():
    foreign = [of_waves(each, reference[:, :, part], beat) for each in (beat, student.eval()(beat))]
Markdown(
    f"In {steps_by_heart} steps the loss of the energies fell from {first[0]:.1f} to {first[-1]:.1f} dB, "
    f"and that of the network from {second[0]:.2f} to {second[-1]:.2f}; the untreated clip has "
    f"{alone:.2f}. (A loss under zero is possible, since *relative* rewards an error made smaller.) To "
    f"know one clip by heart is not to understand music: on the drums, which it has never met, the "
    f"student has a loss of {float(foreign[1]):.2f}, and without it they have {float(foreign[0]):.2f}."
)

# %% [markdown]
# Here is how that sounds. At step 0 the fill is there already, since its energies were learnt
# first. Mask and gate come with the steps.

# %%
coded = el.condition_title(listen_to)
by_heart = {"lossless": original[:, 0].numpy(), coded: clip[:, 0].numpy(), **learnt}
el.Player(by_heart, sample_rate=rate, title=f"{heard_piece.title}, learnt by heart")

# %% [markdown]
# ## The run
#
# Now the second stage draws from all training pairs. *AdamW* takes the steps. Their size rises over
# the first part of the run and then falls along half a cosine. Each segment is cut at random, made
# louder or softer, inverted or not, played a little faster or slower, and made brighter or duller,
# always both sides alike. Some inputs get noise on top. After every epoch the validation split is
# measured, and the best state is kept. A run that is interrupted goes on where it stopped.
#
# The run begins from the published weights, as you would to fit them to your own music. A run from
# scratch (`start_from` empty) learns within minutes to fill an empty treble, but not what is best
# left alone. The fill is not trained here.

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

# %% tags=["remove-input"]
ends = by_epoch["loss"].iloc[[0, -1]].tolist()
Markdown(
    f"Validation went from {ends[0]:.3f} after the first epoch to {ends[1]:.3f} after the last, with "
    f"{by_epoch['untreated'].mean():.3f} for the untreated audio; epoch {result.best_epoch} was kept."
)

# %% [markdown]
# ## On music it has never met
#
# The test split played no part, neither in the steps nor in the choice of the best epoch. The
# figure has its loss, condition by condition, beside that of the audio as it was.

# %% tags=["remove-stderr"]
held_out = el.held_out_loss(result.weights, manifest).set_index("condition")

# %% tags=["hide-input"]
axes = el.plotting.bars(
    {
        el.condition_title(name): {"untreated": row["untreated"], "enhanced": row["loss"]}
        for name, row in held_out.iterrows()
    },
    x_label="Held-out loss (lower is better)",
)
el.plotting.save_figure(axes.figure, "04_held_out", figures_dir=figures_dir)

# %% [markdown]
# Over all conditions and kinds of pieces together, as in training (what this means for each kind of
# music, later chapters measure):

# %% tags=["hide-input"]
improvement = 100 * (1 - held_out["loss"].mean() / held_out["untreated"].mean())
worst = held_out["loss"].sub(held_out["untreated"]).idxmax()
chosen_by = 100 * (1 - result.best_loss / result.untreated_loss)
Markdown(
    f"Over all conditions the held-out loss is **{improvement:.1f} % under that of the untreated "
    f"audio** (the chapter asks for {least_improvement_percent:g} %). On the validation split, by "
    f"which the epoch was chosen, it is {chosen_by:.1f} %. With so few pieces, single pieces dominate "
    f"both figures: expect other values on your music. The least favorable condition is {el.condition_title(worst)}, "
    f"with {held_out.loc[worst, 'untreated']:.2f} untreated and {held_out.loc[worst, 'loss']:.2f} "
    f"enhanced."
)

# %% [markdown]
# If the run does not beat doing nothing, the chapter stops here.

# %% tags=["hide-input"]
if improvement < least_improvement_percent:
    raise RuntimeError(f"{improvement:.1f} % under untreated: train longer (epochs={epochs})")

# %% [markdown]
# ## The long run
#
# The weights that come with this package had far more music and far more time. Their file says how
# they were trained:

# %% tags=["remove-input"]
logs = {"network": published.with_suffix(".csv")}
logs["energies"] = published.with_name(f"{published.stem}-energies.csv")
logs = {name: pd.read_csv(path) for name, path in logs.items() if path.exists()}
history = logs["network"].query("split == 'validation'")
done = json.loads(facts.get("stages", "[]"))
done = done or [f"{history['step'].max():,} steps of `tools/research/pretrain.py` on waveforms"]
Markdown("\n".join(f"{place + 1}. {stage}" for place, stage in enumerate(done)))

# %% [markdown]
# Two logs were written while they were trained, for a few conditions each. The log of the network
# has its validation loss as a share of that of the untreated audio. The log of the energies, where
# there is one, says by how many decibels the prediction misses a band that was emptied. The curves
# jump where a new stage began with another loss or other music, so compare values within a stage
# only. A share over 100 % is no harm by itself: every loss of waveforms takes the fill for an
# error. [Models of hearing](06_spectral_evaluation) and listeners say whether it is one.

# %% tags=["hide-input"]
share = history.assign(value=100 * history["loss"] / history["untreated"])
tables = {"network": share.pivot_table(index="step", columns="condition", values="value")}
if "energies" in logs:
    tables["energies"] = logs["energies"].pivot_table(
        index="hours_seen", columns="condition", values="error_db"
    )
families = {"aac": "AAC", "mp3": "MP3", "sbc": "SBC", "down": "sampled down"}
chosen = ("aac-64", "mp3-64", "sbc-20", "down-16000hz")
titles = families | {name: el.condition_title(name) for name in chosen}
tables = {
    name: table[[each for each in titles if each in table]].rename(columns=titles)
    for name, table in tables.items()
}

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

# %% tags=["remove-input"]
ends = {
    name: table.apply(lambda each: each.dropna().iloc[[0, -1]].tolist())
    for name, table in tables.items()
}
units = {"network": "%", "energies": "dB"}
said = []
for name, table in ends.items():
    risen = [f"{each} {a:.1f} to {b:.1f} {units[name]}" for each, (a, b) in table.items() if b > a]
    said += [
        f"In the log of the {name}, {table.shape[1] - len(risen)} of {table.shape[1]} conditions end "
        f"lower than they began" + f" (not so {'; '.join(risen)})" * bool(risen)
    ]
Markdown(f"{'. '.join(said)}.")

# %% [markdown]
# The next table has the published weights on the test pairs of this run, beside the network trained
# above and by the same loss. The loss is very strict on `lossless` input: *relative* compares an
# error with a floor of -60 dB on a logarithmic scale, and growth counts three times, so even a
# change that nobody hears costs much. [Chapter 07](07_harm) says what such a change is in ViSQOL
# and dB.

# %% tags=["remove-stderr"]
same_loss = Path(run_dir) / "published_by_this_loss.safetensors"
network.save(same_loss, overwrite=True, metadata={"training_config": config.model_dump_json()})
both = held_out[["untreated", "loss"]].rename(columns={"loss": "this run"})
both["published"] = el.held_out_loss(same_loss, manifest).set_index("condition")["loss"]
both.rename(index=el.condition_title).style.format(precision=3)

# %% tags=["remove-input"]
ahead = both.index[both["published"] < both["this run"]]
behind = both["published"] - both["this run"]
Markdown(
    f"On average over all conditions untreated audio has {both['untreated'].mean():.3f}, this run "
    f"{both['this run'].mean():.3f} and the published network {both['published'].mean():.3f}, which "
    f"is ahead in {len(ahead)} of {len(both)} conditions. It is furthest behind under "
    f"{el.condition_title(behind.idxmax())} ({behind.max():+.3f})."
)

# %% [markdown]
# ## What each choice is worth
#
# For each row of the next two tables, a part of the recipe was taught once more from scratch, with
# one thing changed. Every row had 400 seconds of one processor core, so a costlier step means fewer
# steps; the published weights took hours. Where a row begins with what an earlier row had learnt,
# it had half of that time, and is compared with the row *for half as long again*.
#
# The first row has ViSQOL under five conditions that take much, on clips of the corpus's validation
# pieces; all others have their change against it. A dot is a change no larger than what another
# seed of the first row makes in its worst kind. The last column is the largest loss of in-band
# SI-SDR on a clip of which a codec had taken nothing that is heard.
# (`tools/research/ablate.py` makes the tables; `data/results/ablations.csv` has more columns.)

# %%
ablations = pd.read_csv(Path(results_dir) / "ablations.csv")
reseeded = pd.read_csv(Path(results_dir) / "ablations-seed-1.csv")
rivals = {"adversarial": "baseline-longer"}  # else the first row


def per_kind(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    wide = rows.pivot(index="variant", columns="kind", values=metric)
    return wide.loc[rows["variant"].unique(), rows["kind"].unique()]


# %% [markdown]
# `told` gives the ViSQOL of each row of a part, the changes, and how far another seed moves the
# first row; `worth` makes the table.


# %%
def told(part: str) -> tuple[pd.DataFrame, pd.DataFrame, float]:
    values = per_kind(ablations[ablations["part"] == part], "visqol_weak")
    first = values.index[0]
    against = values.loc[[rivals.get(name, first) for name in values.index]]
    other = per_kind(reseeded[reseeded["part"] == part], "visqol_weak")
    chance = (other.loc[first] - values.loc[first]).abs().max()
    return values, (values - against.to_numpy()).drop(index=first), chance


# %%
def worth(part: str) -> pd.DataFrame:
    values, change, chance = told(part)
    cells = change.map("{:+.2f}".format).where(change.abs() > chance, "·")
    table = pd.concat([values.iloc[:1].map("{:.2f}".format), cells])
    rows = ablations[ablations["part"] == part]
    worst = per_kind(rows, "in_band_si_sdr_transparent_worst_delta").min(axis=1)
    table["worst loss (dB)"] = worst.map("{:.1f}".format)
    return table.rename(index=rows.set_index("variant")["question"].to_dict()).rename_axis(None)


# %% [markdown]
# First the *network*, around the published fill:

# %%
worth("network")

# %% [markdown]
# Then the *energies* of the fill, learnt for the published network:

# %%
worth("energies")

# %% tags=["remove-input"]
said = []
for part in ("network", "energies"):
    _, change, chance = told(part)
    questions = worth(part).index[1:]
    said.append(f"\n- *{part.capitalize()}*: another seed moves a kind by up to {chance:.2f}.")
    for word, clear in (("rises", change > chance), ("falls", change < -chance)):
        rows = ", ".join(f"*{name}*" for name in questions[clear.all(axis=1)])
        said.append(f"In every kind, and by more than that, ViSQOL {word} with {rows or 'no row'}.")
noise = ablations.query("part == 'network'")["snr_noisy_delta"].abs().max()
Markdown(
    f"{' '.join(said)}\n- No row says anything on noise: in 400 seconds none learns to remove it "
    f"(the SNR of noisy clips changes by {noise:.2f} dB at most). One more seed is a small sample."
)

# %% [markdown]
# ## Listen
#
# The four seconds from above go through the network of this run and through the published one.

# %%
enhanced = el.enhance_wave(lossy, result.weights, sample_rate=rate)
best = el.enhance_wave(lossy, published, sample_rate=rate)
clips = {"lossless": lossless, coded: lossy, "this run": enhanced, "published": best}
el.Player(clips, sample_rate=rate, title=f"{heard_piece.title}: {coded}")

# %% [markdown]
# The same four clips as spectrograms:

# %% tags=["hide-input"]
figure = el.plotting.spectrogram_grid(clips, sample_rate=rate)
el.plotting.save_figure(figure, "04_spectrograms.png", figures_dir=figures_dir)

# %% tags=["remove-input"]
options = {"sample_rate": rate, "names": ["lsd", "snr"]}
scores = {name: el.score(wave, lossless, **options) for name, wave in clips.items()}
said = [
    f"{name} {each['lsd']:.2f} bel and {each['snr']:.1f} dB"
    for name, each in scores.items()
    if name != "lossless"
]
Markdown(
    f"The log-spectral distance and the signal-to-noise ratio of this clip are: {'; '.join(said)}. "
    f"New treble lowers the first and costs some of the second, since its phase is a guess."
)

# %% [markdown]
# ## Provenance
#
# The checkpoint stores what a reader needs to make the same run again. These are the essentials (a
# commit that ends in `-dirty` had changes that were not committed):

# %% tags=["nbval-ignore-output"]
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
# - What survived can be corrected, and that is learnt from waves. What is gone can only be
#   replaced, and all that can be learnt of it is how strong it was.
# - A network that starts by changing nothing, and is rewarded for change only where change helps,
#   can learn several kinds of damage at once.
# - It is harder to leave alone what is fine than to repair what is not. Compare the networks at
#   `lossless` and `sbc-53` under *The long run*, where any change is harm.
# - To train longer on your own music, run `enhancelib train --input_dir your/music --output_dir
#   pairs --checkpoint_dir checkpoints --config config.json`. Once the pairs are there, several
#   processes or machines share the work with `torchrun --nproc-per-node 2 -m enhancelib train …`,
#   or with `srun` in a SLURM job.

# %% [markdown]
# ## Quiz
#
# Three questions on this part of the book. Open an answer to see what is right or wrong about it.
#
# **1. A network is trained on waveforms alone. What does it do where the treble is gone?**
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
# Yes. The network has begun to learn its pieces by heart, and what it learns now is of no use on
# other pieces.
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
# Set `quantiles["bold"] = 0.9` before the figure. The least value moves to the right, to a level
# above nine tenths of the true ones. A predictor that is trained with it would nearly always fill
# in too much. Between the words of a voice, where the true treble is weak, one would hear hiss.
# ```
#
# **2. Why not one stage?** Leave out `student.core.fill.freeze()` and the first stage. What becomes
# of the fill, and why?
#
# ```{dropdown} Solution
# It stays empty. Noise of the right level has an error of twice the energy of the true treble,
# silence has an error of once that energy. So a loss of waves rewards silence. Only *dissimilarity*
# and the other terms of levels ask for treble, and they are outvoted.
# ```
#
# **3. From scratch.** Run the chapter with `start_from=""`, `epochs=9`, `epoch_steps=0`,
# `learning_rate=1e-3` and `least_improvement_percent=-1000`, so that it does not stop early. Which
# conditions gain within minutes, and what becomes of `lossless`? Why is doing nothing the hardest
# lesson?
#
# ```{dropdown} Solution
# Conditions without treble gain first: nearly any treble is nearer in level than none. `lossless`
# gets worse, since what is learnt for the others is applied to it too, until the gate has learnt to
# tell them apart. The gate loss shows the right answer in training only. At work the gate has to
# hear from the input alone which kind of sound it is.
# ```
#
# **4. What a term is for.** Give the configuration `loss={"relative": 0.0}` and train again from
# the published weights. Compare the last table under *The long run*: which conditions gain, and
# which lose? Then do the same with `envelope`.
#
# ```{dropdown} Solution
# Without *relative*, the best codecs lose: no term protects any more what had survived (compare
# the last column of *No relative error?* under *What each choice is worth*).
# Without *envelope*, treble comes out too weak, since the spectral term alone wants the median of
# each bin.
# ```
