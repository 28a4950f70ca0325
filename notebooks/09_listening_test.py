# %% [markdown]
# # 09 · Listening test
#
# The numbers of [chapter 06](06_spectral_evaluation) predict what listeners would say. This page asks
# you. It works in a browser without any server behind it: nothing you answer leaves your machine.
#
# **You will hear** music openly first, then blind: pairs to tell apart (ABX) and versions to rate
# (MUSHRA). **You will see** what such answers prove, from simulated listeners, and from you.
#
# Use headphones, in a quiet room, at a level you would listen at for pleasure, and leave it there.

# %% [markdown]
# Every setting of the page stands in the next cell. The pieces are of `input_dir`, of those that the
# chapters before did not train on; name a folder of your own to be tested on your music.

# %% tags=["parameters"]
input_dir: str = "data/excerpts"  # folder of lossless music that the pairs were made from
run_dir: str = "data/runs/default"  # where this run keeps what it makes
figures_dir: str = "figures"  # where figures are saved
answers_dir: str = "data/runs/default/answers"  # put the CSV files here that the tests below save
weights: str = "published"  # or "run": those that chapter 04 trained; or a checkpoint
preset: str = "fullband-44k"  # whose checkpoint enhances
condition: str = "sbc-20"  # what happened to the music: here, a weak Bluetooth link
max_pieces: int = 2  # pieces to rate
excerpt_s: float = 6.0  # from the beginning of each piece, in seconds
trials: int = 16  # of each ABX test
seed: int = 0  # of the simulated listeners

# %% tags=["hide-input"]
import os
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

import enhancelib as el

if Path.cwd().name == "notebooks":  # opened in JupyterLab
    os.chdir("..")

# %% [markdown]
# The pieces: a song, if there is one, and then the largest file of each other source.

# %% tags=["hide-input"]
checkpoint = el.find_weights(weights, preset=preset, run_dir=run_dir)
sample_rate = el.AudioUNet.load(checkpoint).config.sample_rate
pieces = el.list_pieces(input_dir)
held_out = [piece for piece in pieces if piece.split != "train"] or pieces
chosen = el.choose_pieces(held_out, max_pieces, like="song_*")

# %% [markdown]
# ## Get used to it
#
# A blind test measures ears that know what to listen for. Here is every version with its name.
# Attacks, cymbals and the end of a reverberation are the places to compare; loop one of them.


# %%
def versions(path: Path) -> dict[str, np.ndarray]:
    original, rate = el.load(path, sample_rate=sample_rate, duration_s=excerpt_s)
    lossy = el.degrade(original, condition, sample_rate=rate, seed=seed)
    enhanced = el.enhance_wave(lossy, checkpoint, sample_rate=rate)
    return {"lossless": original, "lossy": lossy, "enhanced": enhanced}


music = {piece.path.stem: versions(piece.path) for piece in chosen}
first, waves = next(iter(music.items()))
el.Player(waves, sample_rate=sample_rate, title=f"{first}, {condition}")

# %% [markdown]
# ## Is there a difference?
#
# In each trial X is one of the two, drawn at random. No picture is shown, and no score before the
# last trial. First: does enhancement change anything that you can hear?

# %%
el.ABX(
    waves["lossy"],
    waves["enhanced"],
    sample_rate=sample_rate,
    trials=trials,
    names=("lossy", "enhanced"),
    title=f"{first}, {condition}: lossy or enhanced",
)

# %% [markdown]
# Second, the goal: can you tell the enhanced version from the original?

# %%
el.ABX(
    waves["lossless"],
    waves["enhanced"],
    sample_rate=sample_rate,
    trials=trials,
    names=("lossless", "enhanced"),
    title=f"{first}, {condition}: lossless or enhanced",
)

# %% [markdown]
# ## How large is it?
#
# Rate each version against the open reference, from 0 to 100. Among them, in random order, are the
# reference itself and a low anchor (everything over 3.5 kHz removed). One test per piece; save
# each.

# %%
for piece, each in music.items():
    rated = {name: each[name] for name in ("lossy", "enhanced")}
    title = f"{piece}, {condition}"
    display(el.MUSHRA(rated, each["lossless"], sample_rate=sample_rate, title=title))

# %% [markdown]
# ## How long a test must be
#
# A test that finds nothing proves little if it was short. The curve is the smallest sensitivity
# (d') that a test of so many trials reveals in four of five runs: 1 is a difference that one hears
# with some effort, 3 is plain.

# %% tags=["hide-input"]
counts = np.arange(5, 61)
reveals = [el.abx_result([True] * int(count)).detectable_d_prime for count in counts]
axes = el.plotting.curves(
    {"least d' revealed": (counts, reveals)}, x_label="Trials", y_label="Sensitivity d'"
)
axes.axvline(trials, color="#6e6e73", linestyle="--")
axes.set_title(f"dashed: the {trials} trials of the tests above", fontsize=10)
el.plotting.save_figure(axes.figure, "09_abx_power.svg", figures_dir=figures_dir)

# %% [markdown]
# ## What answers are worth
#
# The cell reads every CSV file of a folder, as the tests save them: those of ABX have a column
# `answer`, those of MUSHRA a column `score`.


# %%
def evaluate_answers(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    files = {path: set(pd.read_csv(path, nrows=1)) for path in sorted(folder.glob("*.csv"))}
    told = {path.stem: el.abx_result(path) for path, names in files.items() if "answer" in names}
    columns = ("hits", "trials", "p_value", "d_prime", "detectable_d_prime")
    abx = pd.DataFrame({name: {c: getattr(r, c) for c in columns} for name, r in told.items()}).T
    rated = [path for path, names in files.items() if "score" in names]
    result = el.mushra_result(rated) if rated else None
    scores = (
        pd.DataFrame(result.scores, index=["mean", "low", "high"]).T if result else pd.DataFrame()
    )
    scores.attrs["excluded"] = result.excluded if result else ()
    return abx.round(3), scores.round(1)


# %% [markdown]
# Try it on listeners who do not exist. **All answers in this section are simulated**: three
# *guessers*, who toss a coin; three *golden ears*, who hear the difference in 95 of 100 trials; and
# a panel of eight who rate as one would expect, and one who rates at random. Their files look like
# yours.

# %%
random = np.random.default_rng(seed)
simulated = Path(run_dir) / "simulated_answers"
simulated.mkdir(parents=True, exist_ok=True)
for kind, share in {"guesser": 0.5, "golden ear": 0.95}.items():
    for listener in range(1, 4):
        x = random.choice(["A", "B"], trials)
        right = random.random(trials) < share
        answer = np.where(right, x, np.where(x == "A", "B", "A"))
        rows = pd.DataFrame({"trial": range(1, trials + 1), "x": x, "answer": answer})
        rows.to_csv(simulated / f"simulated {kind} {listener}.csv", index=False)

# %%
opinion = {"reference": 98, "enhanced": 75, "lossy": 55, "low anchor": 20}
for listener in range(1, 10):
    scores = {name: random.normal(mean, 3, max_pieces) for name, mean in opinion.items()}
    if listener == 9:
        scores = {name: random.uniform(0, 80, max_pieces) for name in opinion}
    rows = [
        {"session": f"simulated {listener}", "title": f"piece {n}", "system": name, "score": score}
        for name, each in scores.items()
        for n, score in enumerate(each.clip(0, 100).round())
    ]
    pd.DataFrame(rows).to_csv(simulated / f"simulated rating {listener}.csv", index=False)

# %% [markdown]
# A guesser reaches p ≤ 0.05 in at most one of twenty tests; golden ears reach it in every test that is
# long enough. An infinite d' means that every answer was right, or that the test is too short.

# %%
abx, ratings = evaluate_answers(simulated)
abx.sort_index()

# %% [markdown]
# Of the panel, whoever rates the hidden reference under 90 in more than 15 % of the pieces is left
# out (BS.1534-3). The interval is one at 95 % over the listeners that remain, each of whom counts once.

# %%
display(ratings)
left_out = ", ".join(ratings.attrs["excluded"]) or "nobody"
Markdown(f"Simulated. Left out: {left_out}.")

# %% [markdown]
# ## Your answers
#
# Put the CSV files you saved into `answers_dir` (in JupyterLab: drag them into that folder) and run
# the page again.

# %%
yours = evaluate_answers(Path(answers_dir))
for table in yours:
    if len(table):
        display(table)
read = sum(len(table) for table in yours)
Markdown("" if read else f"No answers in `{answers_dir}` yet.")

# %% [markdown]
# ## Take-away
#
# - A p-value says how likely a guesser does as well. It does not say how large the difference is,
#   and a large one is no proof that there is none: look at the d' that the test could have revealed.
# - Ratings without a hidden reference and an anchor are opinions about opinions.
# - One listener is one listener. Ask others, on other music, and put all files in one folder.

# %% [markdown]
# ## Exercises
#
# **1. How many trials?** Take the ABX test with sixteen trials, then with eight. Read in
# {numref}`fig-09-abx-power` what each could have revealed. How many trials would you ask for before
# you say that there is no difference?
#
# ```{dropdown} Solution
# Eight trials reveal only a difference that is plain, sixteen one that is smaller. No number of trials shows that
# there is none: choose the least d' that would matter to you, and take as many trials as the curve asks
# for it.
# ```
#
# **2. A guesser on the panel.** Copy one of your MUSHRA files, give every stimulus a random rating, and
# run the page again. Is the guesser left out? What becomes of the intervals if you give the hidden
# reference 100 in it each time?
#
# ```{dropdown} Solution
# A random rating of the hidden reference is nearly always under 90, so the guesser is left out. With 100 for the
# reference the guesser stays, and the intervals of all other versions become wider. The rule finds those
# who do not hear the reference, not all who guess.
# ```
#
# **3. Your ears.** Save the answers of both ABX tests and give each file to `el.abx_result`. If a test shows
# nothing: how small a difference could one of this length have shown at all? How many trials would half
# that difference need?
#
# ```{dropdown} Solution
# `el.abx_result("answers.csv").detectable_d_prime` is the least difference that the test reveals in four of five
# runs. To halve it, the number of trials has to be about four times as large, as {numref}`fig-09-abx-power`
# shows.
# ```
