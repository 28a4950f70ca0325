"""Judge what was measured and say it: bars, model card, README's table, the report card.

    python -m tools.publish.report --preset fullband-44k

Reads data/results/PRESET*.csv (of ``tools.measure``) and data/bars.csv; measures nothing. Writes
PRESET-bars.csv, the model card beside the weights and, for the preset that README speaks of, its
table, its sentences on each kind of piece and figures/report_card.png.
"""

import argparse
import csv
import json
import operator
import re
import sys
from pathlib import Path

import numpy as np
import pandas

import enhancelib as el
from enhancelib.atomic import write_text
from enhancelib.errors import EnhanceError, InputError
from enhancelib.evaluate.statistics import t_interval
from enhancelib.model.checkpoints import read_checkpoint
from enhancelib.model.weights import DEFAULT_PRESET
from enhancelib.provenance import provenance
from tools.corpus import credits
from tools.measure.results import DEVSET, RATES, TESTSET, VOICES, command, read_set
from tools.measure.tables import RESULTS, check_commit, check_rows, write_table
from tools.publish.findings import findings

BARS = Path("data/bars.csv")
CARD = Path(__file__).with_name("model_card.md")
README = Path("README.md")
FIGURE = Path("figures/report_card.png")
HOW_USED = {
    "test set": "Nothing was chosen on these pieces: `LOG.md` counts how often they were measured.",
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
"""Loss in ViSQOL that the model card counts as harm."""
SIGNS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
SHOWN = ("lossless", "sbc-53", "aac-256", "mp3-320", "sbc-35", "aac-128", "mp3-128", "sbc-20")
SHOWN += ("aac-64", "mp3-64", "aac-64+sbc-20", "down-16000hz", "noise-white-20db")
"""Conditions of README's table and of the report card."""
ROW, FINDING = re.compile(r"\| `.* → "), re.compile(r"- \*\*\w+\*\* \(\d+ pieces\)")
"""What lines of README's table look like, and its sentences on each kind of piece."""
COLUMNS = (("visqol", "music"), ("lsd", "music"), ("in_band_si_sdr", "music"), ("visqol", "speech"))


# --- bars ----------------------------------------------------------------------------------------


def judge(
    results: pandas.DataFrame, bars: list[dict], kinds: pandas.Series, systems: list[str]
) -> pandas.DataFrame:
    """One row per system, bar, condition and kind of piece: what was reached, and if it is enough.

    A bar that has ``untreated_from`` or ``untreated_to`` holds where the untreated mean lies there.
    """
    table = results.pivot_table(
        index=["condition", "metric", "piece"], columns="system", values="value", aggfunc="first"
    )
    rows = []
    for system in systems:
        for bar in bars:
            names = bar["conditions"].split()
            names = list(results["condition"].unique()) if names == ["*"] else names
            for condition in names:
                values = table.loc[condition, bar["metric"]][["untreated", system]].dropna()
                for kind, part in values.groupby(kinds.reindex(values.index)):
                    if applies(bar, kind, part["untreated"].mean()):
                        facts = {"system": system, "condition": condition, "kind": kind}
                        rows.append(facts | verdict(bar, part[system], part["untreated"]))
    return pandas.DataFrame(rows)


def applies(bar: dict, kind: str, untreated: float) -> bool:
    """Whether a bar is meant for this kind of piece, at this mean of the untreated audio."""
    kinds, low, high = (bar.get(key) for key in ("kinds", "untreated_from", "untreated_to"))
    return (
        (not kinds or kind in kinds.split())
        and (not low or untreated >= float(low))
        and (not high or untreated < float(high))
    )


def verdict(bar: dict, enhanced: pandas.Series, untreated: pandas.Series) -> dict:
    """What was reached on some pieces, and the piece that is worst."""
    each, reached = reach(bar["statistic"], enhanced, untreated)
    worst = each.idxmin() if bar["sign"].startswith(">") else each.idxmax()
    return {
        "bar": bar.get("bar", ""),
        "metric": bar["metric"],
        "untreated": round(float(untreated.mean()), 3),
        "enhanced": round(float(enhanced.mean()), 3),
        "statistic": bar["statistic"],
        "reached": round(reached, 3),
        "limit": f"{bar['sign']} {bar['limit']}",
        "met": SIGNS[bar["sign"]](reached, float(bar["limit"])),
        "worst_piece": worst,
        "worst": round(float(each[worst]), 3),
        "pieces": len(enhanced),
    }


def reach(
    statistic: str, enhanced: pandas.Series, untreated: pandas.Series
) -> tuple[pandas.Series, float]:
    """What a statistic looks at in each piece, and what it makes of all of them."""
    if statistic == "mean ratio":
        return enhanced / untreated, float(enhanced.mean() / untreated.mean())
    each = enhanced - untreated if "delta" in statistic else enhanced
    take = {"least": each.min, "most": each.max, "mean": each.mean}[statistic.split()[0]]
    return each, float(take())


def judge_cost(costs: pandas.DataFrame, bars: list[dict], preset: str) -> pandas.DataFrame:
    """One row per bar on time: of the ONNX files, on one thread."""
    rows = []
    for bar in bars:
        file = f"{preset}.stream.onnx" if bar["conditions"] == "stream" else f"{preset}.onnx"
        chosen = costs[
            (costs["system"] == file)
            & (costs["metric"] == bar["metric"])
            & (costs["condition"] == f"{bar['conditions']}, 1 thread")
        ]
        (value,) = chosen["value"]
        rows.append(
            {
                "system": preset,
                "condition": bar["conditions"],
                "kind": "cost",
                "bar": bar["bar"],
                "metric": bar["metric"],
                "statistic": "cost",
                "reached": round(value, 5),
                "limit": f"{bar['sign']} {bar['limit']}",
                "met": SIGNS[bar["sign"]](value, float(bar["limit"])),
            }
        )
    return pandas.DataFrame(rows)


def all_bars(
    preset: str, results: pandas.DataFrame, costs: pandas.DataFrame, kinds: pandas.Series
) -> pandas.DataFrame:
    """Every bar of a preset, for the weights and for their 8-bit file if there is one."""
    with BARS.open(newline="") as file:
        bars = [bar for bar in csv.DictReader(file) if preset in bar["presets"].split()]
    timed = [bar for bar in bars if bar["statistic"] == "cost"]
    heard = [bar for bar in bars if bar not in timed]
    systems = [preset, f"{preset}.int8.onnx"]
    systems = [name for name in systems if name in set(results["system"])]
    tables = [judge(results, heard, kinds, systems), judge_cost(costs, timed, preset)]
    return pandas.concat(tables, ignore_index=True)


# --- what is said --------------------------------------------------------------------------------


def model_card(
    preset: str, weights: Path, results: pandas.DataFrame, bars: pandas.DataFrame, kinds
) -> str:
    """The model card: every figure from the results or from the weights' own metadata."""
    facts, _ = read_checkpoint(weights)
    config = json.loads(facts["training_config"])
    model = el.AudioUNet.load(weights)
    log = pandas.read_csv(weights.with_suffix(".csv"))
    titles = {"lsd": "LSD", "in_band_si_sdr": "in-band SI-SDR (dB)", "visqol": "ViSQOL"}
    lines = [
        "| condition | " + " | ".join(titles.values()) + " |",
        "|---" * (1 + len(titles)) + "|",
    ]
    chosen = results[results["metric"].isin(titles) & results["system"].isin(["untreated", preset])]
    means = chosen.groupby(["condition", "metric", "system"], sort=False)["value"].mean()
    for condition, row in means.unstack(["metric", "system"], sort=False).dropna().iterrows():
        cells = [f"{row[name, 'untreated']:.2f} → {row[name, preset]:.2f}" for name in titles]
        lines.append(f"| `{condition}` | " + " | ".join(cells) + " |")
    deltas = el.paired_deltas(results[results["system"].isin(["untreated", preset])])
    deltas = deltas[deltas["metric"] == "visqol"].assign(kind=lambda t: t["piece"].map(kinds))
    limits = []
    for kind, pairs in deltas.groupby("kind"):
        judged = bars[(bars["kind"] == kind) & (bars["system"] == preset)]
        worst = pairs.loc[pairs["gain"].idxmin()]
        limits.append(
            f"- **{kind}**: {int(judged['met'].sum())} of {len(judged)} bars are reached. ViSQOL "
            f"falls by over {HARMFUL} in {int((pairs['gain'] < -HARMFUL).sum())} of {len(pairs)} "
            f"cases, most on `{worst['piece']}` under `{worst['condition']}` "
            f"({worst['gain']:+.2f})."
        )
    return CARD.read_text().format(
        preset=preset,
        parameters=model.num_parameters,
        rate=model.config.sample_rate,
        sha256=el.checkpoint_sha256(weights),
        trained_on=", then ".join(
            TRAINED_ON[edition] for edition in facts.get("corpus_editions", "1").split()
        ),
        sources=source_tables(facts),
        steps=int(log["step"].max()),
        seed=config["seed"],
        commit=facts.get("commit", "unknown"),
        latency=model.latency_samples,
        pieces=results["piece"].nunique(),
        set=el.piece_set(results),
        file=DEVSET if el.piece_set(results) == "development set" else TESTSET,
        kinds=", ".join(kinds.reindex(results["piece"].unique()).unique()),
        how_used=HOW_USED[el.piece_set(results)],
        table="\n".join(lines),
        limits="\n".join(limits),
    )


def source_tables(facts: dict[str, str]) -> str:
    """Who made the music that a checkpoint has learnt from, a table for each edition of the corpus.

    Args:
        facts: the checkpoint's metadata. Where it names its ``corpus_sources``, only those of the
            last edition are listed, with what played them.
    """
    editions = facts.get("corpus_editions", "1").split()
    parts = []
    for edition in editions:
        rows = credits.read(edition)
        if edition == editions[-1] and "corpus_sources" in facts:
            rows = credits.used_in(rows, json.loads(facts["corpus_sources"]))
        columns = ("kind", "author", "licence", "package", "split")
        lines = dict.fromkeys(
            "| " + " | ".join(row[name] for name in columns) + " |" for row in rows
        )
        head = ["| kind | author | licence | from | split |", "|---|---|---|---|---|"]
        parts.append("\n".join([f"Edition {edition} of the corpus:", "", *head, *lines]))
    return "\n\n".join(parts)


def all_kinds() -> pandas.Series:
    """The kind of every piece of both sets, by its name."""
    sets = pandas.concat([read_set(TESTSET), read_set(DEVSET)])
    return sets.set_index("piece")["kind"]


def by_kind(results: pandas.DataFrame, kinds: pandas.Series) -> pandas.DataFrame:
    """The results with a column ``kind``: music or speech."""
    kind = results["piece"].map(kinds)
    return results.assign(kind=kind.isin(VOICES).map({True: "speech", False: "music"}))


def readme_lines(results: pandas.DataFrame, preset: str, kinds: pandas.Series) -> list[str]:
    """The rows of README's table: untreated → enhanced, means."""
    means = (
        by_kind(results, kinds).groupby(["condition", "metric", "kind", "system"])["value"].mean()
    )
    lines = []
    for condition in SHOWN:
        cells = [
            " → ".join(f"{means[condition, *column, name]:.2f}" for name in ("untreated", preset))
            for column in COLUMNS
        ]
        lines.append(f"| `{condition}` | " + " | ".join(cells) + " |")
    return lines


def update_readme(text: str, lines: list[str], form: re.Pattern) -> str:
    """README with these lines in place of the only block of lines of the same form.

    Raises:
        InputError: there is no such block, or more than one.
    """
    old = text.split("\n")
    rows = [n for n, line in enumerate(old) if form.match(line)]
    if not rows or rows != list(range(rows[0], rows[-1] + 1)):
        raise InputError(f"{README}: not one block of lines like {lines[0]!r}; write one there")
    return "\n".join([*old[: rows[0]], *lines, *old[rows[-1] + 1 :]])


def report_card(
    preset: str,
    results: pandas.DataFrame,
    rates: pandas.DataFrame,
    costs: pandas.DataFrame,
    bars: pandas.DataFrame,
    kinds: pandas.Series,
) -> None:
    """One picture: how it sounds by condition, what it saves in bits, what it costs."""
    heard = by_kind(results, kinds).query("metric == 'visqol'")
    sides = {"untreated": "untreated", preset: "enhanced"}
    sounds = {
        kind: {
            name: {label: mean_interval(part, name, system) for system, label in sides.items()}
            for name in SHOWN
        }
        for kind, part in heard.groupby("kind")
    }
    saved = rates.drop_duplicates(["codec", "metric"]).set_index(["codec", "metric"])
    bits = {
        codec: {
            el.METRICS[metric].title: tuple(
                saved.loc[(codec, metric), ["saving_percent", "low", "high"]].astype(float)
            )
            for metric in ("visqol", "zimtohrli")
        }
        for codec in RATES
    }
    figure, axes = el.plotting.subplots(columns=3, width=13, height=5.8)
    for ax, (kind, groups) in zip(axes, sounds.items(), strict=False):
        count = heard.loc[heard["kind"] == kind, "piece"].nunique()
        title = f"How {kind} sounds, {count} pieces"
        el.plotting.bars(groups, x_label="ViSQOL, 1 to 4.73", ax=ax, title=title)
        ax.set_xlim(1, 4.85)
        ax.get_legend().remove()
    axes[1].set_yticks([])
    axes[0].legend(loc="upper left", bbox_to_anchor=(-0.1, -0.08), ncols=2)
    label = "Bits saved at equal quality (%)"
    el.plotting.intervals(bits, x_label=label, ax=axes[2], title="What it is worth on music")
    axes[2].legend(loc="upper left", bbox_to_anchor=(-0.1, -0.08), ncols=2)
    own = bars[bars["system"] == preset]
    figure.suptitle(
        f"{preset}: {size_and_speed(preset, costs)}; "
        f"{int(own['met'].sum())} of {len(own)} bars reached on the {el.piece_set(results)}",
        fontsize=11,
    )
    el.plotting.save_figure(figure, FIGURE.name, figures_dir=FIGURE.parent)


def mean_interval(
    table: pandas.DataFrame, condition: str, system: str
) -> tuple[float, float, float]:
    """Mean over pieces and its interval (Student's)."""
    chosen = (table["condition"] == condition) & (table["system"] == system)
    values = table.loc[chosen, "value"].to_numpy()
    low, high = t_interval(values)
    return float(values.mean()), float(low), float(high)


def size_and_speed(preset: str, costs: pandas.DataFrame) -> str:
    """Parameters, bytes, processor time and delay in one line."""
    value = costs.groupby(["system", "metric"])["value"].first()
    clip, stream = f"{preset}.onnx", f"{preset}.stream.onnx"
    parts = [
        f"{value[f'{preset}.safetensors', 'parameters'] / 1e6:.2f} M parameters",
        f"{value[clip, 'file_mb']:.1f} MB",
        f"{value[stream, 'cpu_rtf']:.1%} of a core per channel, live",
        f"{value[stream, 'delay_ms']:.0f} ms delay",
    ]
    if (int8 := f"{preset}.int8.onnx") in value.index.get_level_values(0):
        parts.insert(2, f"{value[int8, 'file_mb']:.1f} MB in 8 bits")
    return ", ".join(parts)


def main() -> None:
    """Judge, then write everything that is said."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default=DEFAULT_PRESET)
    preset = parser.parse_args().preset
    try:
        kinds = all_kinds()
        weights = el.find_weights("published", preset=preset)
        files = [RESULTS / f"{preset}{part}.csv" for part in ("", "-rates", "-cost")]
        results, rates, costs = tables = [pandas.read_csv(file) for file in files]
        for table, file in zip(tables, files, strict=True):
            check_rows(table, file)
        file = RESULTS / f"{preset}-bars.csv"
        check_commit(file)
        bars = all_bars(preset, results, costs, kinds)
        table = DEVSET if el.piece_set(results) == "development set" else TESTSET
        facts = provenance(command(preset, table))
        write_table(bars.assign(**facts), file)
        card = model_card(preset, weights, results, bars, kinds)
        write_text(weights.with_suffix(".md"), card)
        if preset == DEFAULT_PRESET:
            text = update_readme(README.read_text(), readme_lines(results, preset, kinds), ROW)
            text = update_readme(text, findings(results, preset, kinds), FINDING)
            write_text(README, text)
            report_card(preset, results, rates, costs, bars, kinds)
    except FileNotFoundError as error:
        sys.exit(f"error: {error.filename}: not there; run make results PRESET={preset}")
    except EnhanceError as error:
        sys.exit(f"error: {error}")
    for system, part in bars.groupby("system", sort=False):
        print(f"{system}: {int(np.sum(part['met']))} of {len(part)} bars hold ({file})")


if __name__ == "__main__":
    main()
