# %% [markdown]
# # 02 · A codec in 40 lines, and real ones
#
# A codec spends its bits where an error would be heard, as [the page on codecs](../theory/codecs)
# says. This chapter builds a codec in about 40 lines. You hear it fail in the ways that the page
# describes, and then turn the dial of real codecs.
#
# **You will hear** a song through a codec that you have read line by line, the noise before the
# stroke of a drum, and every real codec at several bit rates. **You will see** how many numbers a
# low bit rate leaves, and what a bit buys in each codec.

# %% [markdown]
# Every setting of the chapter stands in the next cell. It needs nothing from other chapters; name a
# folder of your own to hear your music coded.

# %% tags=["parameters"]
input_dir: str = "data/excerpts"  # folder of lossless music
run_dir: str = "data/runs/default"  # where this run keeps what it makes
figures_dir: str = "figures"  # where figures are saved
duration_s: float = 3.0  # from the beginning of each piece, in seconds
our_rates: str = "32,64,128"  # bit rates of our own codec in kbit/s, separated by commas
study_pieces: int = 2  # pieces on which every bit rate of every real codec is measured
dial_steps: int = 4  # bit rates of each real codec that can be heard
seed: int = 0  # of what a codec draws at random

# %% tags=["hide-input"]
import itertools
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown
from numpy.lib.stride_tricks import sliding_window_view

import enhancelib as el

if Path.cwd().name == "notebooks":  # opened in JupyterLab
    os.chdir("..")

rate = 44100  # of everything that is coded here, in Hz

# %% [markdown]
# ## Build one
#
# The music is cut into frames that overlap by half. Each frame of $2N$ samples $x_n$ becomes $N$
# numbers, the *modified discrete cosine transform*, with a window $w_n$ that rises and falls:
#
# $$X_k = \sqrt{\tfrac{2}{N}} \sum_{n=0}^{2N-1} w_n\, x_n \cos \varphi_{k,n}, \qquad
# w_n = \sin\tfrac{\pi (n + 1/2)}{2N},$$
#
# with the angles
#
# $$\varphi_{k,n} = \tfrac{\pi}{N} \big(n + \tfrac{1}{2} + \tfrac{N}{2}\big) \big(k + \tfrac{1}{2}\big).$$
#
# On the way back the overlapping frames are added up, and each corrects the errors of its
# neighbors. So there are as many numbers as samples, and nothing is lost yet. MP3 and AAC begin in
# the same way.


# %%
def cosines(half: int) -> np.ndarray:
    n, k = np.arange(2 * half)[:, None] + 0.5, np.arange(half) + 0.5
    window = np.sqrt(2 / half) * np.sin(np.pi * n / (2 * half))
    return window * np.cos(np.pi / half * (n + half / 2) * k)


def to_numbers(wave: np.ndarray, half: int) -> np.ndarray:
    padded = np.pad(wave, ((0, 0), (half, half + -wave.shape[1] % half)))
    return sliding_window_view(padded, 2 * half, axis=1)[:, ::half] @ cosines(half)


# %%
def to_samples(numbers: np.ndarray, samples: int) -> np.ndarray:
    channels, frames, half = numbers.shape
    pieces = numbers @ cosines(half).T
    total = np.zeros((channels, (frames + 1) * half))
    total[:, :-half] += pieces[..., :half].reshape(channels, -1)
    total[:, half:] += pieces[..., half:].reshape(channels, -1)
    return total[:, half : half + samples].astype(np.float32)


# %% [markdown]
# Now the loss. Neighboring numbers form bands. As in the ear, high bands are wider than low ones.
# The level $L_b$ of each band is sent in steps of 3 dB. It sets the step size $\Delta_b$ to which
# the numbers are rounded, with a coarseness $c$ for all bands:
#
# $$\Delta_b = c\, L_b^{0.6}, \qquad \hat{X}_k = \Delta_b\, \mathrm{round}(X_k / \Delta_b).$$
#
# Where the music is louder the step is larger, but not in proportion: the noise stays further and
# further below the music, which is a crude model of masking. What is rounded to zero is gone.
#
# How many bits does that take? Frequent values can have short codes. An ideal code spends
# $-\log_2 p$ bits on a value that occurs with frequency $p$, and that is counted here.


# %%
def bits_of(values: np.ndarray) -> float:
    counts = np.unique(values, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum())


# %%
def rounded(numbers: np.ndarray, coarseness: float) -> tuple[np.ndarray, float]:
    coded, bits, half = np.zeros_like(numbers), 0.0, numbers.shape[2]
    edges = [0, *np.unique(np.geomspace(4, half, 5 + half // 50).round().astype(int))]
    for low, high in itertools.pairwise(edges):
        band = numbers[..., low:high]
        level = np.sqrt(np.mean(band**2, axis=2, keepdims=True)) + 1e-5
        level = np.round(2 * np.log2(level))  # sent, in steps of 3 dB
        step = coarseness * 2 ** (0.3 * level)  # the level to the power 0.6
        whole = np.round(band / step)
        coded[..., low:high] = whole * step
        bits += bits_of(whole) + bits_of(np.diff(level, axis=1))
    return coded, bits


# %% [markdown]
# One dial is left, the coarseness of all steps. The next cell turns it until the bit rate is as
# wanted.


# %%
def our_codec(wave: np.ndarray, kbps: float, half: int = 1024) -> np.ndarray:
    numbers, low, high = to_numbers(wave, half), -16.0, 4.0
    for _ in range(12):
        middle = (low + high) / 2
        bits = rounded(numbers, 2**middle)[1]
        too_many = bits / wave.shape[1] * rate / 1000 > kbps
        low, high = (middle, high) if too_many else (low, middle)
    return to_samples(rounded(numbers, 2**high)[0], wave.shape[1])


# %% [markdown]
# That is the whole codec. Listen to what it does to a song.

# %%
pieces = el.list_pieces(input_dir)
(song,) = el.choose_pieces(pieces, 1, like="song_cpu*")
original, _ = el.load(song.path, sample_rate=rate, duration_s=duration_s)
exact = to_samples(to_numbers(original, 1024), original.shape[1])
assert np.abs(exact - original).max() < 1e-5  # without rounding nothing is lost
asked = [float(kbps) for kbps in our_rates.split(",")]
ours = {f"{kbps:g} kbit/s": our_codec(original, kbps) for kbps in asked}
el.Player({"original": original, **ours}, sample_rate=rate, title=f"{song.title}, our codec")

# %% [markdown]
# A *ceiling* forms where whole bands are rounded to zero, and *holes* where a band has numbers in
# one frame and none in the next:

# %% tags=["hide-input"]
figure = el.plotting.spectrogram_grid({"original": original, **ours}, sample_rate=rate)
el.plotting.save_figure(figure, "02_our_codec.png", figures_dir=figures_dir)

# %% tags=["remove-input"]
treble = int(8000 / (rate / 2) * 1024)  # the first number over 8 kHz
zero = {name: np.abs(to_numbers(wave, 1024)) < 1e-6 for name, wave in ours.items()}
said = [
    f"at {name} {each.mean():.0%} of all numbers are zero, and of those over 8 kHz "
    f"{each[..., treble:].mean():.0%}"
    for name, each in zero.items()
]
Markdown(f"Counted: {'; '.join(said)}.")

# %% [markdown]
# ### Noise before the stroke
#
# Rounding makes an error in the whole frame, also in the part before a drum stroke. That is
# *pre-echo*. Shorter frames keep the error nearer to the stroke, but they need more bits for tones
# and for the levels of their bands. Here are both, at the same bit rate.

# %%
(drums,) = el.choose_pieces(pieces, 1, like="drums_*")
struck, _ = el.load(drums.path, sample_rate=rate, duration_s=duration_s)
middle = asked[len(asked) // 2]
frames = {"frames of 46 ms": 1024, "frames of 6 ms": 128}
smeared = {name: our_codec(struck, middle, half) for name, half in frames.items()}
title = f"{drums.title} at {middle:g} kbit/s"
el.Player({"original": struck, **smeared}, sample_rate=rate, title=title)

# %% [markdown]
# Look for the stroke that rises most above what came before:

# %%
power = np.cumsum(np.mean(struck**2, axis=0))
places = np.arange(2048, struck.shape[1] - 2048)  # 1 ms after each place against 10 ms before it
rise = power[places + 44] - power[places] + 1e-4
at = int(places[(rise / (power[places] - power[places - 441] + 1e-4)).argmax()])
before, shown = slice(at - 441, at), slice(at - 1764, at + 882)

# %% [markdown]
# The three waveforms around it, with the stroke at 0 ms:

# %% tags=["hide-input"]
milliseconds = (np.arange(struck.shape[1])[shown] - at) / rate * 1000
lines = {"original": struck, **smeared}
curves = {name: (milliseconds, wave[0, shown]) for name, wave in lines.items()}
figure, rows = el.plotting.subplots(3, 1, height=1.5)
for ax, (name, line) in zip(rows, curves.items(), strict=True):
    labels = {"x_label": "Time (ms)" if ax is rows[-1] else "", "y_label": "Sample"}
    el.plotting.curves({name: line}, **labels, ax=ax, title=name)
el.plotting.save_figure(figure, "02_pre_echo", figures_dir=figures_dir)

# %% tags=["remove-input"]
noise_db = {
    name: 10 * np.log10(np.mean((wave - struck)[:, before] ** 2) + 1e-12)
    for name, wave in smeared.items()
}
long, short = noise_db.values()
Markdown(
    f"In the 10 ms before the stroke the error lies at {long:.0f} dBFS with long frames and at {short:.0f} dBFS with "
    f"short ones, which is {abs(long - short):.0f} dB {'less' if short < long else 'more'}. MP3 and AAC look for "
    f"strokes, and change to short frames where they find one."
)

# %% [markdown]
# ### How far from a real one?
#
# The same seconds through our codec and through real ones at the same bit rate, without
# enhancement. The signal-to-noise ratio compares samples, the log-spectral distance (LSD) compares
# levels.

# %%
same = {"our codec": our_codec(original, 64)}
for name in ("mp3-64", "aac-64", "opus-64"):
    same[name] = el.degrade(original, name, sample_rate=rate, seed=seed)
names = ["gain_matched_snr", "lsd"]
scores = {
    name: el.score(wave, original, sample_rate=rate, names=names) for name, wave in same.items()
}
pd.DataFrame(scores).T.set_axis(["SNR (dB)", "LSD (bel)"], axis="columns").round(2)

# %% tags=["remove-input"]
ahead = sum(
    scores["our codec"]["gain_matched_snr"] > each["gain_matched_snr"] for each in scores.values()
)
Markdown(
    f"By the SNR our codec is ahead of {ahead} of the 3 real ones. That says little: they spend their bits by "
    f"what the ear hears, and the SNR does not ask for that."
)

# %% [markdown]
# ## What a bit buys
#
# Two numbers measure the loss, each blind to what the other sees. The *signal-to-noise ratio* (SNR,
# here after matching the gain) compares samples: a change of phase ruins it. The *log-spectral
# distance* (LSD) compares levels over time and frequency: a missing treble costs most. Here is
# every real codec over its bit rates, the rates measured from the packets.

# %%
codecs = {
    "SBC": [f"sbc-{bitpool}" for bitpool in (10, 14, 20, 28, 35, 44, 53)],
    "MP3": [f"mp3-{kbps}" for kbps in (48, 64, 96, 128, 192, 256, 320)],
    "AAC": [f"aac-{kbps}" for kbps in (32, 48, 64, 96, 128, 192, 256)],
    "Opus": [f"opus-{kbps}" for kbps in (32, 48, 64, 96, 128, 192)],
    "aptX": ["aptx", "aptx-hd"],
}
if shutil.which("elc3") and shutil.which("dlc3"):  # Debian's liblc3-tools
    codecs["LC3"] = [f"lc3-{kbps}" for kbps in (64, 96, 128, 192, 256)]

# %% [markdown]
# Everything is coded at 44.1 kHz. For the network of 22.05 kHz, original and coded version are then
# resampled to that rate.


# %%
def study(condition: str, original) -> list[dict]:
    coded = el.degrade(original, condition, sample_rate=44100)
    kbps = el.encode(original, condition, sample_rate=44100).kbps
    rows = []
    for rate in (44100, 22050):
        both = [el.resample(wave, from_rate=44100, to_rate=rate) for wave in (coded, original)]
        values = el.score(*both, sample_rate=rate, names=["gain_matched_snr", "lsd"])
        rows.append({"condition": condition, "rate": rate, "kbps": kbps, **values})
    return rows


# %% [markdown]
# A few stereo pieces of one kind, from different sources, stand for the rest.

# %%
heads = {piece: len(el.load(piece.path, sample_rate=rate, duration_s=0.1)[0]) for piece in pieces}
stereo = [piece for piece, channels in heads.items() if channels == max(heads.values())]
kinds = el.kinds_of(piece.title for piece in stereo)
stereo = [piece for piece in stereo if kinds[piece.title] == kinds.mode()[0]]
studied = el.choose_pieces(stereo, study_pieces)
originals = [el.load(piece.path, sample_rate=rate, duration_s=duration_s)[0] for piece in studied]
rows = [row | {"codec": codec} for codec, names in codecs.items() for name in names
        for original in originals for row in study(name, original)]  # fmt: skip
bits = pd.DataFrame(rows).groupby(["rate", "codec", "condition"]).mean(numeric_only=True)
tables = Path(run_dir) / "results"
tables.mkdir(parents=True, exist_ok=True)
bits.to_csv(tables / "02_bit_rates.csv")

# %% [markdown]
# On the left is the full band. On the right is the same at half the sample rate, where the treble
# that the codecs gave up does not count.

# %% tags=["hide-input"]
axes_names = {"gain_matched_snr": "SNR (dB), higher is better", "lsd": "LSD, lower is better"}
figure, grid = el.plotting.subplots(2, 2, width=9, height=3.4)
for column, brought_to in enumerate((44100, 22050)):
    for line, (metric, label) in enumerate(axes_names.items()):
        curves = {}
        for codec, table in bits.loc[brought_to].groupby("codec", sort=False):
            ordered = table.sort_values("kbps")
            curves[codec] = (ordered["kbps"], ordered[metric])
        el.plotting.curves(
            curves, x_label="Bit rate (kbit/s)", y_label=label, ax=grid[line][column],
            title=f"{brought_to / 1000:g} kHz",
        )  # fmt: skip
el.plotting.save_figure(figure, "02_rate_distortion.svg", figures_dir=figures_dir)

# %% tags=["remove-input"]
best = bits.groupby("rate")["lsd"].mean()
Markdown(
    f"On average over all settings the LSD is {best[44100]:.1f} at the full rate and "
    f"{best[22050]:.1f} at half of it, {1 - best[22050] / best[44100]:.0%} less: so much is in the treble."
)

# %% [markdown]
# ## The dial
#
# The same song goes through each real codec at several bit rates. Choose a codec and let it play.
# Go from the right button to the left until you hear a difference, and back until it is gone.


# %%
def dial(codec: str) -> el.Player:
    table = bits.loc[44100, codec]["kbps"].sort_values()
    steps = np.linspace(0, len(table) - 1, min(dial_steps, len(table))).round().astype(int)
    waves = {
        f"{kbps:.0f} kbit/s": el.degrade(original, name, sample_rate=rate, seed=seed)
        for name, kbps in table.iloc[steps].items()
    }
    return el.Player(
        {**waves, "original": original}, sample_rate=rate, title=f"{song.title}: {codec}"
    )


el.Gallery({codec: dial(codec) for codec in codecs}, title="Codecs")

# %% [markdown]
# ## Take-away

# %% tags=["remove-input"]
near = (bits["lsd"] <= 0.4).groupby("rate").agg(["sum", "size"])
top = bits.loc[44100].groupby("codec")["lsd"].agg(["max", "min"])
said = "; ".join(f"{codec} {row['max']:.1f} to {row['min']:.1f}" for codec, row in top.iterrows())
Markdown(
    f"- A codec is a transform, a rule for step sizes and a count of bits. Its damage follows from what "
    f"is rounded to zero and from frames that are longer than an attack.\n"
    f"- The LSD at 44.1 kHz, from the lowest bit rate to the highest, is: {said}.\n"
    f"- At 22.05 kHz, {near['sum'][22050]} of {near['size'][22050]} settings are within 0.4 LSD of the "
    f"original, and {near['sum'][44100]} at 44.1 kHz.\n"
    f"- The measured rates are kept in `{tables / '02_bit_rates.csv'}`."
)

# %% [markdown]
# ## Quiz
#
# Three questions on this part of the book. Open an answer to see what is right or wrong about it.
#
# **1. A song is coded as MP3 at 64 kbit/s, and nothing over 11 kHz is left of it. Where did the
# treble go?**
#
# ```{dropdown} It is still in the file, but too quiet to be heard.
# No. The encoder wrote zeros there, and zeros take no bits. A player can make them as loud as it
# likes: they stay zeros.
# ```
#
# ```{dropdown} The encoder left it out, to spend its few bits on what is heard more.
# Yes. A coarser step everywhere would have been heard sooner than a missing top octave, so the
# encoder gives the top up.
# ```
#
# ```{dropdown} The decoder filters it away, to hide the noise of coding.
# No. A decoder plays what the file holds. What is missing was left out before the file was
# written.
# ```
#
# **2. Why does a codec with long frames smear the sound before the stroke of a drum?**
#
# ```{dropdown} A long frame takes longer to compute, so the stroke comes late.
# No. The delay is the same for the whole piece and moves nothing within it. What is heard is an
# error where there was silence.
# ```
#
# ```{dropdown} Long frames have too few bins for a stroke.
# No. They have more bins than short ones. Their bins are narrow in frequency and therefore wide
# in time.
# ```
#
# ```{dropdown} A long frame reaches back before the stroke, and the rounding error of its bins spreads over all of it.
# Yes. That is pre-echo: in the silence before the stroke nothing masks the error. Real codecs
# change to short frames there.
# ```
#
# **3. A stream of AAC at 256 kbit/s is coded again with SBC for the headphones. What is heard at
# the end?**
#
# ```{dropdown} The errors of both: the second codec adds its own to what the first has left.
# Yes. What the first codec removed stays removed, and the second adds its error.
# ```
#
# ```{dropdown} The better codec decides: AAC at 256 kbit/s.
# No. The second codec cannot know how good the first one was. It rounds whatever it is given.
# ```
#
# ```{dropdown} The second codec repairs what the first one lost.
# No. A codec only writes down what it gets, with fewer bits. It cannot give back what it never got.
# ```

# %% [markdown]
# ## Exercises
#
# **1. No model of hearing.** Give every band the same step: replace the exponent `0.3` by `0`. What
# becomes of the SNR at 64 kbit/s, and what of the sound?
#
# ```{dropdown} Solution
# The SNR rises, and the LSD gets worse. One step size for all numbers makes the energy of the error
# as small as the bits allow, and the SNR asks for nothing else. It sounds worse: the same noise
# lies under loud and quiet bands. The treble is quiet, so it is rounded to zero first, and the
# ceiling comes down.
# ```
#
# **2. The best frame.** Run `our_codec` on the song and on the drums with `half` of 128, 512, 1024
# and 4096 at 64 kbit/s. Which frame has the best SNR for each of them?
#
# ```{dropdown} Solution
# Frames of 512 or 1,024 are best for both: shorter ones need more bits for tones, longer ones for
# strokes, so the longest frame costs the drums more than the song. But the SNR does not ask when an
# error is heard: it counts noise before a stroke like noise after it, where the stroke hides it.
# ```
