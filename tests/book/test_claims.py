"""What README, the landing page and the page of limits claim is what the results say.

Of each kind of piece by itself. A sentence that praises or warns has a check here, so that it fails
with the results that refute it; one that has none is not to be written.
"""

import re
from pathlib import Path

import pandas
import pytest

import enhancelib as el
from enhancelib.evaluate.verdicts import TRANSPARENT
from tools.publish.findings import glance
from tools.publish.report import BLOCK

ROOT = Path(__file__).parents[2]
PRESET = "fullband-44k"
WEAK = ("sbc-20", "aac-64", "mp3-64")
LITTLE_LEFT = ("mp3-32", "mp3-40", "mp3-48")
NOISE = ("noise-white-10db", "noise-white-20db", "noise-pink-20db")
HEARING = ("visqol", "zimtohrli")
MUSIC = ("song", "recorded")


@pytest.fixture(scope="module")
def results():
    table = pandas.read_csv(ROOT / "data" / "results" / f"{PRESET}.csv")
    return table[table["system"].isin(["untreated", PRESET])]


def changes(results, metrics, conditions, kinds):
    """Means over the pieces of these kinds: by each metric, under each condition, in each kind."""
    chosen = results[results["metric"].isin(metrics) & results["condition"].isin(conditions)]
    parts = {kind: el.does_good(part)["delta"] for kind, part in el.by_kind(chosen)}
    assert parts.keys() >= set(kinds)
    return pandas.concat([parts[kind] for kind in kinds])


def weakly_coded_music_and_speech_gain(results):
    """Music under weak codecs by both models of hearing, speech by ViSQOL."""
    music = changes(results, HEARING, WEAK, MUSIC)
    speech = changes(results, ["visqol"], WEAK, ["speech"])
    return (music > 0.02).all() and (speech > 0.02).all()


def singing_gains_where_little_is_left(results):
    """By ViSQOL; where more is left, it loses."""
    little = changes(results, ["visqol"], LITTLE_LEFT, ["singing"])
    more = changes(results, ["visqol"], ["mp3-64"], ["singing"])
    return (little > 0.02).all() and (more < -0.02).all()


def every_kind_gains_under_noise(results):
    """Music and voices under noise that is plain to hear; of songs one model hears no gain."""
    others = changes(results, HEARING, NOISE, ("recorded", "singing", "speech"))
    songs = {metric: changes(results, [metric], NOISE, ["song"]) for metric in HEARING}
    sure = (others > 0.02).all() and (songs["visqol"] > 0.02).all()
    return sure and (songs["zimtohrli"] < -0.02).any()


def weakly_coded_music_comes_closer(results):
    """The spectrum of every kind of music is nearer to the original's under every weak codec."""
    return (changes(results, ["lsd"], WEAK, MUSIC) < -0.02).all()


def something_fine_is_changed(results):
    """Some check of some kind finds harm where nothing was to be repaired."""
    return any(el.does_no_harm(part)["harmed"].any() for _, part in el.by_kind(results))


CLAIMS = {
    r"brings (?:some of it back|music from MP3, AAC and Bluetooth closer)": (
        weakly_coded_music_comes_closer
    ),
    r"On average, music and speech gain after weak codecs": weakly_coded_music_and_speech_gain,
    r"By ViSQOL, singing gains under MP3 at 48 kbit/s and less, and loses at 64": (
        singing_gains_where_little_is_left
    ),
    r"Where strong noise was added, every kind gains by ViSQOL, and every kind but songs by Z": (
        every_kind_gains_under_noise
    ),
    r"What was fine does not always stay as it was": something_fine_is_changed,
}
DEFINITIONS = (
    r"^LSD is the log-spectral distance",
    r"▼ marks a mean that got worse by 0.02 or more .*, be it by chance\.$",
    r"^The network helps under a condition if the mean",
    r"It harms if one of the two falls in the same way",
)
"""Sentences with a telling word that tell no result."""
WORDS = (
    *(r"gain\w*", r"harm\w*", r"help\w*", r"stay\w*", r"los(?:e|es|t|ing)", r"f[ae]ll\w*"),
    *(r"rises?", r"rose", r"improv\w*", r"closer", r"better", r"worse"),
)
TELLING = re.compile(rf"\b(?:{'|'.join(WORDS)})\b")


def told():
    """Page and sentence: what README and the landing page open with, README's section on what was
    measured, what the other pages print bold.

    What is written from the results needs no check."""
    readme = (ROOT / "README.md").read_text()
    landing = (ROOT / "jupyter_book" / "index.md").read_text()
    for page, text in {"README.md": readme, "index.md": landing}.items():
        opening = text.split("# Enhancing lossy audio\n\n")[1].split("\n\n")[0]
        yield page, opening.replace("\n", " ")
    section = readme.split("## What it does, measured")[1].split("\n## ")[0]
    prose = BLOCK.sub("", section).replace("\n", " ").replace("*", "")
    for sentence in re.split(r"(?<=[.:]) +|  +", prose):
        if TELLING.search(sentence):
            yield "README.md", sentence
    for page in ("index.md", "guide/limits.md"):
        text = (ROOT / "jupyter_book" / page).read_text()
        text = text.split("## What it must not be used for")[0]
        for bold in re.findall(r"\*\*(.+?)\*\*", text, re.DOTALL):
            if TELLING.search(bold):
                yield page, bold


def test_every_sentence_that_praises_or_warns_has_a_check():
    sentences = list(told())
    assert {page for page, _ in sentences} >= {"README.md", "index.md"}
    for page, sentence in sentences:
        known = any(re.search(form, sentence) for form in (*CLAIMS, *DEFINITIONS))
        assert known, f"{page}: give this sentence a check: {sentence}"
    everything = " ".join(sentence for _, sentence in sentences)
    assert all(re.search(form, everything) for form in CLAIMS), "a check without its sentence"


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_results_do_not_refute_what_is_said(claim, results):
    assert CLAIMS[claim](results)


def test_readme_says_of_each_kind_what_the_results_say(results):
    blocks = {block[1]: block[2] for block in BLOCK.finditer((ROOT / "README.md").read_text())}
    assert blocks["glance"].splitlines() == glance(results, PRESET)


@pytest.mark.parametrize(
    "claim",
    [form for form, check in CLAIMS.items() if check is not something_fine_is_changed],
)
def test_a_claim_fails_where_the_numbers_are_turned_round(claim, results):
    turned = results.assign(
        system=results["system"].map({"untreated": PRESET, PRESET: "untreated"})
    )
    assert not CLAIMS[claim](turned)
    assert glance(turned, PRESET) != glance(results, PRESET)


def test_the_warning_fails_where_nothing_is_changed(results):
    fine = results[results["condition"].isin(TRANSPARENT)]
    untreated = fine[fine["system"] == "untreated"]
    same = pandas.concat([untreated, untreated.assign(system=PRESET)])
    assert not something_fine_is_changed(same)
