"""README and model card say what the results say, each kind of piece by itself."""

import re
import shutil
from pathlib import Path

import pandas
import pytest

import enhancelib as el
from enhancelib.errors import InputError
from enhancelib.model.weights import PRETRAINED
from tools.publish import card, findings, report
from tools.publish import weights as release

ROOT = Path(__file__).parents[2]
PRESET = "fullband-44k"


@pytest.fixture(scope="module")
def results():
    table = pandas.read_csv(ROOT / "data/results" / f"{PRESET}.csv")
    return table[table["system"].isin(["untreated", PRESET])]


def rows(values, metric="visqol"):
    """A table from {(piece, condition): (untreated, enhanced)}."""
    return pandas.DataFrame(
        [
            {"piece": piece, "condition": condition, "system": system, "metric": metric}
            | {"value": float(value)}
            for (piece, condition), pair in values.items()
            for system, value in zip(("untreated", "ours"), pair, strict=True)
        ]
    )


def test_the_blocks_of_the_readme_are_the_results(results):
    costs = pandas.read_csv(ROOT / "data/results" / f"{PRESET}-cost.csv")
    text = (ROOT / "README.md").read_text()
    assert report.update_readme(text, report.readme_blocks(PRESET, results, costs)) == text
    one = results[(results["condition"] == "mp3-64") & (results["metric"] == "visqol")]
    speech = dict(el.by_kind(one))["speech"].groupby("system")["value"].mean()
    (line,) = re.findall(r"^\| speech \| `mp3-64` \| (.*? → \d.\d\d)", text, re.MULTILINE)
    assert line == f"{speech['untreated']:.2f} → {speech[PRESET]:.2f}"


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRETRAINED.glob("*.safetensors")))
def test_the_published_card_is_the_results(preset):
    weights = el.find_weights("published", preset=preset)
    measured = pandas.read_csv(ROOT / "data/results" / f"{preset}.csv")
    assert weights.with_suffix(".md").read_text() == card.model_card(preset, weights, measured)


def test_only_what_stands_between_marks_is_replaced():
    text = "# T\n<!-- a -->\nold\n<!-- /a -->\n\n| `e` | f |\n<!-- b -->\n<!-- /b -->\nend\n"
    got = report.update_readme(text, {"a": ["1", "2"], "b": ["3"]})
    assert got == (
        "# T\n<!-- a -->\n1\n2\n<!-- /a -->\n\n| `e` | f |\n<!-- b -->\n3\n<!-- /b -->\nend\n"
    )
    assert report.update_readme(got, {"a": ["1", "2"], "b": ["3"]}) == got
    for wrong in ("# T\n", text + text, text.replace("/a", "/c")):
        with pytest.raises(InputError, match="not one pair each of"):
            report.update_readme(wrong, {"a": ["1"], "b": ["3"]})


def test_the_table_begins_with_what_happens_and_marks_what_got_worse():
    values = {
        ("song__a", "sbc-53"): (4.70, 4.70),
        ("song__a", "sbc-35"): (4.60, 4.61),
        ("song__a", "mp3-64"): (2.0, 3.0),
        ("song__a", "sbc-20"): (4.0, 2.5),
        ("speech__a", "mp3-64"): (2.0, 1.9),
    }
    lines = findings.table(rows(values), "ours", ("sbc-53", "sbc-35", "mp3-64", "sbc-20"))
    assert lines == [
        "| kind | condition | ViSQOL |",
        "|---|---|---|",
        "| song | `sbc-20` | 4.00 → 2.50 ▼ |",
        "| song | `mp3-64` | 2.00 → 3.00 |",
        "| song | `sbc-35`, `sbc-53` | ± 0.01 |",
        "| speech | `mp3-64` | 2.00 → 1.90 ▼ |",
    ]


@pytest.mark.parametrize(
    ("before", "after", "cell"),
    [
        (-30, -2, "-30.00 → -2.00"),
        (-1, 2, "-1.00 → +2.00 ▼"),
        (2, -1, "+2.00 → -1.00"),
        (0, -1, "+0.00 → -1.00 ▼"),
    ],
)
def test_the_level_of_treble_has_a_sign_and_too_much_is_worse_too(before, after, cell):
    both = pandas.concat(
        [
            rows({("song__a", "mp3-64"): (before, after)}, "treble_level_difference"),
            rows({("song__a", "mp3-64"): (3, 4)}),
        ]
    )
    assert findings.table(both, "ours")[-1] == f"| song | `mp3-64` | 3.00 → 4.00 | {cell} |"


def test_no_word_and_no_number_of_one_kind_depends_on_another(results):
    """Speech at its worst everywhere: what is said of music stays as it was."""
    is_speech = results["piece"].map(el.kinds_of(results["piece"])) == "speech"
    worse = results.assign(value=results["value"].where(~is_speech, -5.0))
    for say in (card.limits, findings.table):
        told, again = say(results, PRESET), say(worse, PRESET)
        assert told != again
        kept = [line for line in told if "speech" not in line]
        assert len(kept) >= 2
        assert kept == [line for line in again if "speech" not in line]
    for told, again in zip(
        findings.glance(results, PRESET), findings.glance(worse, PRESET), strict=True
    ):
        assert told.partition("speech")[0] == again.partition("speech")[0]


def heard(values, count):
    """Both models of hearing, of so many pieces that differ by next to nothing."""
    pieces = {
        (f"{kind}__{number}", condition): (before, after + 0.001 * number)
        for (kind, condition), (before, after) in values.items()
        for number in range(count)
    }
    return pandas.concat([rows(pieces), rows(pieces, "zimtohrli")])


@pytest.mark.parametrize(("count", "sure"), [(2, 0), (3, 1)])
def test_two_pieces_that_agree_are_not_sure(count, sure):
    """Student's interval of two equal gains has no width, and would hold nothing but them."""
    values = {("song", "mp3-64"): (2.0, 3.0), ("song", "mp3-32"): (3.0, 2.0)}
    values |= {("song", "sbc-20"): (3.0, 3.0), ("song", "lossless"): (4.0, 4.0)}
    helps, left, harms, _ = findings.glance(heard(values, count), "ours")
    assert f": song {sure}" in helps
    assert ("(2 pieces are too few to be sure of anything)" in left) == (count == 2)
    assert harms.startswith(f"- **It harms**: song {sure}")


def test_kinds_that_met_other_conditions_are_counted_by_themselves():
    values = {("song", "mp3-64"): (2.0, 3.0), ("song", "mp3-32"): (2.0, 3.0)}
    values |= {("speech", "mp3-64"): (2.0, 3.0)}
    values |= {("song", "lossless"): (4.0, 4.0), ("speech", "lossless"): (4.0, 4.0)}
    helps, *_ = findings.glance(heard(values, 3), "ours")
    assert "counted over 1 to 2 conditions" in helps


def test_results_that_say_nothing_are_refused_in_a_line(results):
    renamed = results.replace({"piece": {results["piece"].iloc[0]: "somebody's"}})
    with pytest.raises(InputError, match=r"not all in .*devset.csv or .*testset.csv"):
        card.set_of(renamed)
    with pytest.raises(InputError, match="nothing can be judged"):
        findings.glance(results[results["condition"] == "lossless"], PRESET)


def test_a_release_that_lacks_something_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(release, "PRETRAINED", tmp_path / "package")
    monkeypatch.setattr(release, "ROOT", tmp_path / "run")
    (tmp_path / "run").mkdir()
    shutil.copy(PRETRAINED / "seed-22k.safetensors", tmp_path / "run")
    with pytest.raises(InputError, match=r"log\.csv: is missing; make pretrain writes it"):
        release.publish("seed-22k")
    assert not any((tmp_path / "package").iterdir())
