"""Judge what was measured and say it: scorecard, model card, README, the report card.

    python -m tools.publish.report --preset fullband-44k

Reads data/results/PRESET*.csv (of ``tools.measure``) and data/scorecard.csv; measures nothing.
Writes PRESET-scorecard.csv, the model card beside the weights and, for the preset that README
speaks of, what stands in README between marks and figures/report_card.png.
"""

import argparse
import math
import re
import sys
from pathlib import Path

import pandas

import enhancelib as el
from enhancelib.atomic import write_text
from enhancelib.errors import EnhanceError, InputError
from enhancelib.evaluate.statistics import t_interval
from enhancelib.model.weights import DEFAULT_PRESET
from enhancelib.provenance import UNTREATED, provenance
from tools.measure.results import DEVSET, RATES, TESTSET, command
from tools.measure.tables import RESULTS, check_commit, check_rows, write_table
from tools.publish.card import HOW_USED, model_card, set_of
from tools.publish.findings import FEW, SHOWN, glance, heads, table
from tools.publish.scorecard import judge

README = Path("README.md")
FIGURE = Path("figures/report_card.png")
BLOCK = re.compile(r"<!-- (\w+) -->\n(.*?)<!-- /\1 -->", re.DOTALL)
"""Marks of README, ``<!-- name -->`` to ``<!-- /name -->``: what is between is written here."""


def readme_blocks(
    preset: str, results: pandas.DataFrame, costs: pandas.DataFrame
) -> dict[str, list[str]]:
    """The lines of README that tell results, by the name of their marks."""
    used_on = set_of(results)
    measured_on = (
        f"The published network ({size_and_speed(preset, costs)}) on the {used_on}; pieces: "
        f"{heads(results)}. {HOW_USED[used_on]}"
    )
    return {
        "glance": glance(results, preset),
        "measured": [measured_on],
        "table": table(results, preset, FEW),
    }


def update_readme(text: str, blocks: dict[str, list[str]]) -> str:
    """README with these lines between their marks.

    Raises:
        InputError: marks are missing, stand twice, or nobody writes what is between them.
    """
    there = [block[1] for block in BLOCK.finditer(text)]
    if sorted(there) != sorted(blocks):
        raise InputError(f"{README}: marks {there}, not one pair each of {sorted(blocks)}")

    def block(found: re.Match) -> str:
        return "\n".join([f"<!-- {found[1]} -->", *blocks[found[1]], f"<!-- /{found[1]} -->"])

    return BLOCK.sub(block, text)


def report_card(
    preset: str, results: pandas.DataFrame, rates: pandas.DataFrame, costs: pandas.DataFrame
) -> None:
    """One picture: how each kind sounds by condition, what it saves in bits, what it costs."""
    heard = results[results["metric"] == "visqol"]
    sounds = dict(el.by_kind(heard[heard["system"].isin([UNTREATED, preset])]))
    panels = len(sounds) + 1
    columns = 2 if panels in (2, 4) else 3
    rows = -(-panels // columns)
    figure, axes = el.plotting.subplots(rows, columns, width=4.4 * columns, height=4.6)
    axes = axes.flatten()
    for ax, (kind, part) in zip(axes, sounds.items(), strict=False):
        groups = {name: mean_intervals(part, name, preset) for name in SHOWN}
        title = f"{kind}, {part['piece'].nunique()} pieces"
        el.plotting.bars(groups, x_label="ViSQOL, 1 to 4.73", ax=ax, title=title)
        ax.set_xlim(1, 4.85)
        ax.get_legend().remove()
    axes[0].legend(loc="upper left", bbox_to_anchor=(-0.1, -0.14), ncols=2)
    saved = rates[rates["metric"] == "visqol"].drop_duplicates(["kind", "codec"])
    bits: dict[str, dict[str, tuple[float, float, float]]] = {codec: {} for codec in RATES}
    for row in saved.itertuples():
        bits[row.codec][row.kind] = closed(row.saving_percent, row.low, row.high)
    last = axes[len(sounds)]
    el.plotting.intervals(
        bits, x_label="Bits saved at equal ViSQOL (%)", ax=last, title="What it is worth"
    )
    last.legend(loc="upper left", bbox_to_anchor=(-0.1, -0.14), ncols=3)
    for ax in axes[panels:]:
        ax.set_axis_off()
    figure.suptitle(
        f"{preset}: {size_and_speed(preset, costs)}; measured on the {el.piece_set(results)}",
        fontsize=11,
    )
    el.plotting.save_figure(figure, FIGURE.name, figures_dir=FIGURE.parent)


def closed(value: float, low: float, high: float) -> tuple[float, float, float]:
    """An interval to draw: an end that is open (NaN) is drawn at the value."""
    return value, value if low != low else low, value if high != high else high


def mean_intervals(
    part: pandas.DataFrame, condition: str, preset: str
) -> dict[str, tuple[float, float, float]]:
    """Mean over pieces and its interval (Student's), untreated and enhanced.

    The interval of two pieces is wider than the scale: then only the mean is given.
    """
    found = {}
    for label, system in (("untreated", UNTREATED), ("enhanced", preset)):
        chosen = (part["condition"] == condition) & (part["system"] == system)
        values = part.loc[chosen, "value"].to_numpy()
        low, high = t_interval(values) if len(values) > 2 else (math.nan, math.nan)
        found[label] = closed(float(values.mean()), float(low), float(high))
    return found


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
        weights = el.find_weights("published", preset=preset)
        files = [RESULTS / f"{preset}{part}.csv" for part in ("", "-rates", "-cost")]
        results, rates, costs = tables = [pandas.read_csv(file) for file in files]
        for each, file in zip(tables, files, strict=True):
            check_rows(each, file)
        file = RESULTS / f"{preset}-scorecard.csv"
        check_commit(file)
        pieces = DEVSET if el.piece_set(results) == "development set" else TESTSET
        facts = {"checkpoint_sha256": el.checkpoint_sha256(weights)}
        facts |= provenance(command(preset, pieces))
        card = judge(preset, results, rates, costs).assign(**facts)
        write_table(card, file)
        write_text(weights.with_suffix(".md"), model_card(preset, weights, results))
        if preset == DEFAULT_PRESET:
            blocks = readme_blocks(preset, results, costs)
            write_text(README, update_readme(README.read_text(), blocks))
            report_card(preset, results, rates, costs)
    except FileNotFoundError as error:
        sys.exit(f"error: {error.filename}: not there; run make results PRESET={preset}")
    except EnhanceError as error:
        sys.exit(f"error: {error}")
    print(f"{file}: {int(card['met'].fillna(False).sum())} of {len(card)} rows are met")


if __name__ == "__main__":
    main()
