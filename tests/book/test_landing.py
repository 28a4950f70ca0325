"""The landing page as code: it works for any kinds of pieces and for a network with a fill."""

import ast
import functools
import re
import shutil

import pandas
import pytest
from conftest import ROOT

import enhancelib as el

PRESET = "fullband-44k"
KINDS = ("song", "recorded", "singing", "speech")
PIECES_OF_A_KIND = 2


def cells(page: str) -> list[str]:
    """The Python of a page's cells."""
    text = (ROOT / "jupyter_book" / page).read_text()
    found = re.findall(r"^```\{code-cell\}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(r"\A:tags:.*\n", "", cell) for cell in found]


def outputs(page: str) -> list:
    """Run the cells one after the other; what each shows, the value of its last expression."""
    names, shown = {}, []
    for cell in cells(page):
        tree = ast.parse(cell)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, page, "exec"), names)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), page, "eval"), names))
    return [each for each in shown if each is not None]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder in which a few of the measured pieces bear names of the test set, kind by kind."""
    data = tmp_path / "data"
    for name in ("results", "testset"):
        (data / name).mkdir(parents=True)
    (data / "excerpts").symlink_to(ROOT / "data" / "excerpts")
    for name in ("devset.csv", "testset.csv"):
        shutil.copy(ROOT / "data" / name, data)
    measured = pandas.read_csv(ROOT / f"data/results/{PRESET}.csv")
    measured = measured[measured["metric"] == "visqol"]
    sources = iter(measured["piece"].unique())
    listed = pandas.read_csv(data / "testset.csv")
    parts = []
    for kind in KINDS:
        for path in listed.loc[listed["kind"] == kind, "path"].head(PIECES_OF_A_KIND):
            source = next(sources)
            (sound,) = (ROOT / "data").glob(f"*set/{source}.flac")
            shutil.copy(sound, data / path)
            name = path.removeprefix("testset/").removesuffix(".flac")
            parts.append(measured[measured["piece"] == source].assign(piece=name))
    pandas.concat(parts).to_csv(data / f"results/{PRESET}.csv", index=False)
    shutil.copy(ROOT / f"data/results/{PRESET}-cost.csv", data / "results")
    monkeypatch.chdir(tmp_path)
    return data


def test_other_kinds_and_a_network_with_a_fill_do_not_break_the_page(elsewhere, monkeypatch):
    filled = el.AudioUNet(base_channels=4, depth=2, fill={"width": 6, "dilations": (1,)}).eval()
    monkeypatch.setattr(el.AudioUNet, "from_pretrained", lambda preset: filled)
    monkeypatch.setattr(el, "load", functools.partial(el.load, duration_s=3.0))
    gallery, cards, charts, counts, said, explained, pictures, sources = outputs("index.md")

    results = pandas.read_csv(elsewhere / f"results/{PRESET}.csv")
    deltas = el.paired_deltas(results[results["system"].isin(["untreated", PRESET])])
    worst = deltas.loc[deltas["delta"].idxmin()]
    assert f"{worst['piece']}, by" in gallery.html()
    assert f"{el.condition_title(worst['condition'])}, the greatest loss" in gallery.html()
    assert cards.data.count("{grid-item-card}") == 4
    assert f"\N{MINUS SIGN}{abs(worst['delta']):.2f}" in cards.data

    weak = deltas[deltas["condition"] == "mp3-64"]
    kinds = {"song": "songs", "recorded": "recorded instruments"}
    for kind, part in el.by_kind(weak):
        change = f"{part['delta'].mean():+.2f}".replace("-", "\N{MINUS SIGN}")
        assert change in cards.data, kind
        rises = (part["delta"] > 0.02).sum()
        assert counts.loc[kinds.get(kind, kind), "MP3 64"].startswith(f"{rises} of 2 rise")
    assert charts._repr_html_().count('role="img"') == len(KINDS)
    assert "No weights were chosen" in said.data

    assert "What the fill adds" in pictures._repr_html_()
    assert pictures._repr_html_().count('role="img"') == 5
    assert "The *fill* adds noise" in explained.data
    assert len(sources.data.splitlines()) == 2 + 4
