"""No page, chapter or tool takes a mean over two kinds of pieces.

Functions that summarize results refuse pieces of two kinds (`tests/evaluate/test_kinds.py`); what
README and the card say is held apart by `test_report.py`. Here: nobody pools them by hand.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHAPTERS = ("05_measuring.py", "06_spectral_evaluation.py", "07_harm.py")
PLACES = (
    *sorted(ROOT.glob("notebooks/*.py")),
    *(path for path in sorted(ROOT.glob("jupyter_book/**/*.md")) if "_build" not in path.parts),
    *sorted(ROOT.glob("tools/publish/*.py")),
    *sorted(ROOT.glob("tools/measure/**/*.py")),
)
POOLED = re.compile(r"!= .speech.\W|startswith\(\(?.speech|~speech|isin\(VOICES\)|over the music\b")
"""How music used to be told from speech, and how a mean over all of it was called."""
RESULTS = re.compile(r"results/\{(?:PRESET|preset)\}\.csv|f\"\{preset\}\.csv\"")


def code(path: Path) -> str:
    """The Python of a file."""
    text = path.read_text()
    if path.suffix == ".md":
        text = "\n".join(re.findall(r"^```\{code-cell\}\n(.*?)^```$", text, re.M | re.S))
    return text


def test_there_is_something_to_look_at():
    reading = [path.name for path in PLACES if RESULTS.search(code(path))]
    assert {"index.md", "limits.md", "history.md", *CHAPTERS} <= set(reading)


@pytest.mark.parametrize("path", PLACES, ids=lambda path: path.name)
def test_kinds_are_not_told_apart_by_hand(path):
    text = path.read_text()
    if path.name != "chain.py":  # it measures no speech, and means of its rows are by kind
        assert not POOLED.search(text)
    if RESULTS.search(code(path)) and re.search(r"\.mean\(|summarize\(|does_\w+\(", code(path)):
        assert "by_kind(" in text


def test_the_look_finds_what_it_looks_for():
    before = (
        'speech = results["piece"].str.startswith(("speech", "voice"))\nmusic = results[~speech]'
    )
    assert POOLED.search(before)
    assert POOLED.search("mean over the music, and")
