"""The model card: what weights are, whose music taught them, what they do, kind by kind."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pandas

import enhancelib as el
from enhancelib.errors import InputError
from enhancelib.model.checkpoints import read_checkpoint
from tools.corpus import credits
from tools.measure.results import DEVSET, TESTSET
from tools.publish.findings import glance, heads, table

CARD = Path(__file__).with_name("model_card.md")
HOW_USED = {
    "test set": "No weights were chosen by how they do on these pieces: `LOG.md` counts how often "
    "they were measured, and says what that led to.",
    "development set": "They stayed out of training, but results on them were looked at while this "
    "network and its training were chosen, so expect less on other music.",
}
TRAINED_ON = {
    "1": "the training split of the first edition of the free corpus (MIDI, drum kits, words and "
    "speech), each segment under 2 conditions drawn at random",
    "2": "the training split of the second edition of the free corpus (songs, games' music, MIDI, "
    "synthesizers, drum kits, voices and instruments), mixed and degraded item by item",
}
"""Edition of the corpus → what the model card says of it."""
HARMFUL = 0.1
"""Loss in ViSQOL that counts as harm."""


def model_card(preset: str, weights: Path, results: pandas.DataFrame) -> str:
    """The model card: every figure from the results or from the weights' own metadata."""
    facts, _ = read_checkpoint(weights)
    model = el.AudioUNet.load(weights)
    return CARD.read_text().format(
        preset=preset,
        parameters=model.num_parameters,
        rate=model.config.sample_rate,
        sha256=el.checkpoint_sha256(weights),
        trained_on=", then ".join(
            TRAINED_ON[edition] for edition in facts.get("corpus_editions", "1").split()
        ),
        sources=source_tables(facts),
        recipe=recipe(facts, weights.with_suffix(".csv")),
        logs=", ".join(f"`{path.name}`" for path in sorted(weights.parent.glob(f"{preset}*.csv"))),
        latency=model.latency_samples,
        set=set_of(results),
        file=DEVSET if set_of(results) == "development set" else TESTSET,
        kinds=heads(results),
        how_used=HOW_USED[set_of(results)],
        glance="\n".join(glance(results, preset)),
        table="\n".join(table(results, preset)),
        limits="\n".join(limits(results, preset)),
    )


def set_of(results: pandas.DataFrame) -> str:
    """The set of pieces that results were measured on, a key of :data:`HOW_USED`.

    Raises:
        InputError: they are not all of one of the project's sets.
    """
    name = el.piece_set(results)
    if name not in HOW_USED:
        raise InputError(
            f"results: of pieces that are not all in {DEVSET} or {TESTSET}; make results anew"
        )
    return name


def recipe(facts: dict[str, str], log: Path) -> str:
    """How a checkpoint was made: the stages that it names, or what the recipe's command did.

    Args:
        facts: the checkpoint's metadata. ``stages`` is a list, as JSON, of what was done by hand.
        log: of the run.
    """
    if "stages" in facts:
        return "; ".join(json.loads(facts["stages"]))
    steps, seed = pandas.read_csv(log)["step"].max(), json.loads(facts["training_config"])["seed"]
    commit = facts.get("commit", "unknown")
    return f"`tools/research/pretrain.py`, {steps:,} steps, seed {seed}, code `{commit}`"


def limits(results: pandas.DataFrame, preset: str) -> list[str]:
    """List items, one per kind: in how many cases a piece loses, and which loses most."""
    chosen = results[results["system"].isin(["untreated", preset])]
    lines = []
    for kind, part in el.by_kind(chosen[chosen["metric"] == "visqol"]):
        pairs = el.paired_deltas(part)
        worst = pairs.loc[pairs["gain"].idxmin()]
        lines.append(
            f"- **{kind}**: ViSQOL falls by over {HARMFUL} in "
            f"{int((pairs['gain'] < -HARMFUL).sum())} of {len(pairs)} cases; the lowest change is "
            f"{worst['gain']:+.2f}, on `{worst['piece']}` under `{worst['condition']}`."
        )
    return lines


def makers_of(facts: dict[str, str]) -> list[dict[str, str]]:
    """Rows of the credits of what a checkpoint has learnt from, each with its ``edition``.

    Args:
        facts: the checkpoint's metadata. Where it names its ``corpus_sources``, only those of the
            last edition are listed, with what played them.
    """
    editions = facts.get("corpus_editions", "1").split()
    tables = {edition: credits.read(edition) for edition in editions}
    if "corpus_sources" in facts:
        used = credits.used_in(tables[editions[-1]], json.loads(facts["corpus_sources"]))
        tables[editions[-1]] = used
    return [{**row, "edition": edition} for edition, rows in tables.items() for row in rows]


def source_tables(facts: dict[str, str]) -> str:
    """Who made the music that a checkpoint has learnt from, a table for each edition of the corpus.

    Args:
        facts: the checkpoint's metadata, see :func:`makers_of`.
    """
    columns = ("kind", "author", "licence", "package", "split")
    parts = []
    for edition, rows in itertools.groupby(makers_of(facts), key=lambda row: row["edition"]):
        lines = dict.fromkeys(
            "| " + " | ".join(row[name] for name in columns) + " |" for row in rows
        )
        head = ["| kind | author | licence | from | split |", "|---|---|---|---|---|"]
        parts.append("\n".join([f"Edition {edition} of the corpus:", "", *head, *lines]))
    return "\n\n".join(parts)
