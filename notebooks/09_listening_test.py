# %% [markdown]
# # 09 · Listening test
#
# The numbers of [chapter 06](06_spectral_evaluation) predict what listeners would say. This page
# asks you. Begin with the [three-minute test](../listen); the tests here are longer and harder.
# They work in your browser, and nothing that you answer leaves your machine.
#
# **You will hear** music with the names of its versions first. Then you hear it blind: pairs to
# tell apart (ABX) and versions to rate (MUSHRA). **You will see** what such answers prove, first
# from simulated listeners, then from you.
#
# Use headphones in a quiet room. Choose a level that you would listen at for pleasure, and leave it
# there.

# %% [markdown]
# Every setting of the page stands in the next cell. The pieces come from `input_dir`, from outside
# the training split. Name a folder of your own to be tested on your music.

# %% tags=["parameters"]
input_dir: str = "data/excerpts"  # folder of lossless music that the pairs were made from
run_dir: str = "data/runs/default"  # where this run keeps what it makes
figures_dir: str = "figures"  # where figures are saved
answers_dir: str = "data/runs/default/answers"  # put the CSV files here that the tests below save
weights: str = "published"  # or "run": those that chapter 04 trained; or a checkpoint
preset: str = "fullband-44k"  # whose checkpoint enhances
condition: str = "mp3-64"  # what happened to the music; "sbc-20", a weak Bluetooth link, is harder
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
# The pieces are a song, if there is one, and then the largest file of each other source.

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


music = {piece.title: versions(piece.path) for piece in chosen}
first, waves = next(iter(music.items()))
what = el.condition_title(condition)
el.Player(waves, sample_rate=sample_rate, title=f"{first}: {what}")

# %% [markdown]
# ## Is there a difference?
#
# In each trial X is one of the two, drawn at random. There is no picture, and no score before the
# last trial. The first test asks whether enhancement changes anything that you can hear:

# %%
el.ABX(
    waves["lossy"],
    waves["enhanced"],
    sample_rate=sample_rate,
    trials=trials,
    names=("lossy", "enhanced"),
    title=f"{first}, {what}: lossy or enhanced",
)

# %% [markdown]
# The second test asks for the goal: can you tell the enhanced version from the original?

# %%
el.ABX(
    waves["lossless"],
    waves["enhanced"],
    sample_rate=sample_rate,
    trials=trials,
    names=("lossless", "enhanced"),
    title=f"{first}, {what}: lossless or enhanced",
)

# %% [markdown]
# ## How large is it?
#
# Rate each version against the open reference, from 0 to 100. The versions come in random order.
# The reference itself is among them, and so is a low *anchor* with everything over 3.5 kHz removed.
# There is one test for each piece. Save the answers of each. Enhancement need not win: some pieces
# get worse.

# %%
for piece, each in music.items():
    rated = {name: each[name] for name in ("lossy", "enhanced")}
    title = f"{piece}, {what}"
    display(el.MUSHRA(rated, each["lossless"], sample_rate=sample_rate, title=title))

# %% [markdown]
# ## How long a test must be
#
# A test that finds nothing proves little if it was short. The *sensitivity* d' says how well a
# listener tells two sounds apart: 0 is guessing, 1 takes some effort, 3 is plain. The curve is the
# smallest d' that a test of so many trials reveals in four of five runs.

# %% tags=["hide-input"]
counts = np.arange(5, 61)
reveals = [el.abx_result([True] * int(count)).detectable_d_prime for count in counts]
axes = el.plotting.curves(
    {"least d' revealed": (counts, reveals)}, x_label="Trials", y_label="Sensitivity d'"
)
axes.axvline(trials, color="#6e6e73", linestyle="--")
axes.set_title(f"dashed: the {trials} trials of the tests above", fontsize=10)
el.plotting.save_figure(axes.figure, "09_abx_power.svg", figures_dir=figures_dir)

# %% tags=["remove-input"]
least = el.abx_result([True] * trials).detectable_d_prime
longer = el.abx_result([True] * 4 * trials).detectable_d_prime
Markdown(f"{trials} trials reveal a d' of {least:.1f}, and four times as many reveal {longer:.1f}.")

# %% [markdown]
# ## What answers are worth
#
# The next cell reads the CSV files that the tests save. Files of ABX have a column `answer`, and
# files of MUSHRA have a column `score`. With $k$ right answers of $n$, an ABX test has
#
# $$p = 2^{-n} \sum_{i=k}^{n} \binom{n}{i},$$
#
# the exact share of guessers who do as well or better.


# %%
def evaluate_answers(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    files = {path: set(pd.read_csv(path, nrows=1)) for path in sorted(folder.glob("*.csv"))}
    told = {path.stem: el.abx_result(path) for path, names in files.items() if "answer" in names}
    heads = {"hits": "hits", "trials": "trials", "p_value": "p", "d_prime": "d'"}
    heads["detectable_d_prime"] = "least d' revealed"
    abx = pd.DataFrame({n: {heads[c]: getattr(r, c) for c in heads} for n, r in told.items()}).T
    rated = [path for path, names in files.items() if "score" in names]
    result = el.mushra_result(rated) if rated else None
    scores = (
        pd.DataFrame(result.scores, index=["mean", "low", "high"]).T if result else pd.DataFrame()
    )
    scores.attrs["excluded"] = result.excluded if result else ()
    return abx.round(3), scores.round(1)


# %% [markdown]
# Try it on listeners who do not exist. **All answers in this section are simulated.** Three
# *guessers* toss a coin. Three *golden ears* hear the difference in 95 of 100 trials. On a panel of
# nine, eight rate as one would expect, and one rates at random. Their files look like yours.

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
# On average a guesser reaches p ≤ 0.05 in at most one of twenty tests. Golden ears reach it in
# nearly every test that is long enough. An infinite d' means that every answer was right; an
# infinite least d' means that the test is too short to reveal anything.

# %%
abx, ratings = evaluate_answers(simulated)
abx.sort_index()

# %% [markdown]
# A listener who rates the hidden reference under 90 in more than 15 % of the pieces is left out
# (BS.1534-3). The intervals are at 95 % over the listeners that remain, and each of them counts
# once.

# %%
display(ratings)
left_out = ", ".join(ratings.attrs["excluded"]) or "nobody"
Markdown(f"Of these simulated listeners, {left_out} was left out.")

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
# - A p-value says how likely a guesser does as well. It does not say how large the difference is. A
#   large p-value does not prove that there is no difference: look at the d' that the test could
#   have revealed.
# - Ratings mean little without a hidden reference and an anchor, since listeners use a scale in
#   different ways.
# - One listener does not speak for others. Ask more people, on other music, and put all files in
#   one folder.

# %% [markdown]
# ## Exercises
#
# **1. How many trials?** Take the ABX test with sixteen trials, then with eight. Read in
# {numref}`fig-09-abx-power` what each could have revealed. How many trials would you ask for before
# you say that there is no difference?
#
# ```{dropdown} Solution
# Eight trials reveal only a plain difference, and sixteen reveal a smaller one. No number of trials
# shows that there is none. Choose the least d' that would matter to you, and read from the curve
# how many trials reveal it.
# ```
#
# **2. A guesser on the panel.** Copy one of your MUSHRA files, give every stimulus a random rating,
# and run the page again. Is the guesser left out? What becomes of the intervals if you give the
# hidden reference 100 in it each time?
#
# ```{dropdown} Solution
# A random rating of the hidden reference is nearly always under 90, so the guesser is left out.
# With 100 for the reference the guesser stays, and the intervals of all other versions become
# wider. The rule finds those who do not hear the reference, but not all who guess.
# ```
#
# **3. Your ears.** Save the answers of both ABX tests and give each file to `el.abx_result`. If a
# test shows nothing: how small a difference could one of this length have shown at all? How many
# trials would half that difference need?
#
# ```{dropdown} Solution
# `el.abx_result("answers.csv").detectable_d_prime` is the least difference that the test reveals in
# four of five runs. Half of it takes about four times as many trials, as {numref}`fig-09-abx-power`
# shows.
# ```
