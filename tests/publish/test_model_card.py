"""The model card: whose music a network has learnt from, by what its weights say."""

import json

import pytest

from enhancelib.errors import ConfigError
from enhancelib.model.checkpoints import read_checkpoint
from tools.corpus import credits
from tools.publish import card
from tools.research import pretrain


def rows_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ") and "licence" not in line]
    return [line.strip("| ").split(" | ") for line in lines]


def test_the_published_cards_name_everybody_of_the_editions_they_learnt_from(published):
    facts, _ = read_checkpoint(published)
    editions = facts.get("corpus_editions", "1").split()  # the first weights said nothing
    text = published.with_suffix(".md").read_text()
    for edition, words in card.TRAINED_ON.items():
        assert (words in text) == (edition in editions)
    assert card.source_tables(facts) in text
    listed = {row[1] for row in rows_of(card.source_tables(facts))}
    assert listed >= {row["author"] for row in credits.read("1")}


def test_the_card_tells_what_was_done_by_hand(published):
    facts, _ = read_checkpoint(published)
    log = published.with_suffix(".csv")
    by_command = {key: facts[key] for key in ("training_config", "commit")}
    text = card.recipe(by_command, log)
    assert "pretrain.py" in text
    assert facts["commit"] in text
    assert card.recipe(by_command | {"stages": '["a GPU, 85 hours", "a CPU"]'}, log) == (
        "a GPU, 85 hours; a CPU"
    )


def test_a_network_that_learnt_from_both_lists_only_the_sources_it_heard():
    facts = {"corpus_editions": "1 2", "corpus_sources": json.dumps(["mma", "lmms-oglsdl"])}
    first, second = card.source_tables(facts).split("Edition 2 of the corpus:")
    assert {row[1] for row in rows_of(first)} == {row["author"] for row in credits.read("1")}
    listed = [(row[0], row[1]) for row in rows_of(second)]
    assert ("song", "Ümit (oglsdl)") in listed
    assert ("rendered", "Bob van der Poel") in listed
    kinds = [kind for kind, _ in listed]
    assert sorted(set(kinds)) == ["patches", "rendered", "song", "soundfont"]  # no room, no cabinet
    facts["corpus_sources"] = json.dumps(["mma", "kathleen"])
    assert {"room", "cabinets", "speech"} <= {row[0] for row in rows_of(card.source_tables(facts))}


def test_the_card_has_words_for_every_edition():
    assert set(card.TRAINED_ON) == set(credits.EDITIONS)
    with pytest.raises(ConfigError, match="no edition '3' of the corpus: there are 1, 2"):
        card.source_tables({"corpus_editions": "3"})


def test_pretraining_notes_what_it_was_taught_by(published, tmp_path):
    (tmp_path / "manifest.csv").write_text("path,source\na,mma\nb,openmsx\nc,mma\n")
    notes = pretrain.corpus_notes(tmp_path, published)
    assert notes == {"corpus_editions": "1 2", "corpus_sources": '["mma", "openmsx"]'}
    assert rows_of(card.source_tables(notes))


@pytest.fixture(params=["fullband-44k", "seed-22k"])
def published(request):
    import enhancelib as el

    return el.find_weights("published", preset=request.param)
