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
VOICES = ("singing", "speech")


@pytest.fixture(scope="module")
def results():
    table = pandas.read_csv(ROOT / "data" / "results" / f"{PRESET}.csv")
    return table[table["system"].isin(["untreated", PRESET])]


def parts(results, *, voices):
    return [part for kind, part in el.by_kind(results) if (kind in VOICES) == voices]


def gains_on_the_mean(results, metrics, conditions, *, voices):
    """By every one of these metrics, under every condition, in every kind of music or of voices."""
    chosen = results[results["metric"].isin(metrics) & results["condition"].isin(conditions)]
    return all((el.does_good(part)["delta"] > 0.02).all() for part in parts(chosen, voices=voices))


def weakly_coded_music_gains(results):
    """Music under weak codecs, by both models of hearing."""
    return gains_on_the_mean(results, HEARING, WEAK, voices=False)


def voices_of_which_little_is_left_gain(results):
    """Speech and singing under every condition that leaves little, by ViSQOL."""
    return gains_on_the_mean(results, ["visqol"], LITTLE_LEFT, voices=True)


def every_kind_gains_under_noise(results):
    """Music and voices under noise that is plain to hear, by ViSQOL."""
    return all(
        gains_on_the_mean(results, ["visqol"], NOISE, voices=voices) for voices in (True, False)
    )


def weakly_coded_music_comes_closer(results):
    """The spectrum of every kind of music is nearer to the original's under every weak codec."""
    spectra = results[(results["metric"] == "lsd") & results["condition"].isin(WEAK)]
    return all((el.does_good(part)["delta"] < -0.02).all() for part in parts(spectra, voices=False))


def something_fine_is_changed(results):
    """Some check of some kind finds harm where nothing was to be repaired."""
    return any(el.does_no_harm(part)["harmed"].any() for _, part in el.by_kind(results))


CLAIMS = {
    r"brings (?:some of it back|music from MP3, AAC and Bluetooth closer)": (
        weakly_coded_music_comes_closer
    ),
    r"On average, music gains after weak codecs": weakly_coded_music_gains,
    r"voices, spoken and sung, gain under MP3 at 48 kbit/s and less": (
        voices_of_which_little_is_left_gain
    ),
    r"every kind gains under strong noise": every_kind_gains_under_noise,
    r"What was fine does not always stay as it was": something_fine_is_changed,
}
DEFINITIONS = (
    r"^LSD is the log-spectral distance",
    r"▼ marks a mean that got worse, be it by chance:$",
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
