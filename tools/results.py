"""Measure the published weights on the test set; write data/results and the model card.

    python tools/results.py --preset fullband-44k

Every piece of data/testset.csv, under every condition that data/bars.csv names, through the weights
and untreated: data/results/PRESET.csv has every value, PRESET-bars.csv what was to be reached and
what was. What was measured before is kept in data/runs/results, so a stopped run goes on.
"""

import argparse
import csv
import hashlib
import json
import operator
import sys
from pathlib import Path

import numpy as np
import pandas
from pretrain import DRAWS

import enhancelib as el
from enhancelib.errors import EnhanceError
from enhancelib.model import preset_config, read_checkpoint
from enhancelib.provenance import provenance

RESULTS = Path("data/results")
METRICS = ("lsd", "lsd_hf", "lsd_lf", "si_sdr", "in_band_si_sdr", "snr", "mrstft", "mfcc_distance")
METRICS += ("centroid_distance", "rolloff_distance")
HEARING = ("visqol", "zimtohrli")
RATES = {
    "SBC": [f"sbc-{bitpool}" for bitpool in (10, 20, 28, 35, 44, 53)],
    "MP3": [f"mp3-{kbps}" for kbps in (48, 64, 96, 128, 192, 256)],
    "AAC": [f"aac-{kbps}" for kbps in (48, 64, 96, 128, 192)],
    "Opus": [f"opus-{kbps}" for kbps in (32, 48, 64, 96, 128)],
}
HARMFUL = 0.1
"""Loss in ViSQOL that the model card counts as harm."""
SIGNS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}


def test_set() -> pandas.DataFrame:
    """The rows of data/testset.csv, each checked against its hash."""
    table = pandas.read_csv("data/testset.csv")
    for row in table.itertuples():
        path = Path("data") / row.path
        if hashlib.sha256(path.read_bytes()).hexdigest() != row.sha256:
            sys.exit(f"error: {path} is not the file of data/testset.csv; check it out again")
    return table


def check(results: pandas.DataFrame, bars: list[dict], kinds: pandas.Series) -> pandas.DataFrame:
    """One row per bar, condition and kind of piece: what was reached, and if it is enough."""
    table = results.pivot_table(
        index=["condition", "metric", "piece"],
        columns="system",
        values="value",
        aggfunc="first",
    )
    system = next(name for name in table.columns if name != "untreated")
    rows = []
    for bar in bars:
        for condition in bar["conditions"].split():
            values = table.loc[condition, bar["metric"]].dropna()
            for kind, part in values.groupby(kinds.reindex(values.index)):
                if bar.get("kinds") and kind not in bar["kinds"].split():
                    continue
                each, reached = reach(bar["statistic"], part[system], part["untreated"])
                worst = each.idxmin() if bar["sign"].startswith(">") else each.idxmax()
                rows.append(
                    {
                        "condition": condition,
                        "kind": kind,
                        "metric": bar["metric"],
                        "untreated": round(float(part["untreated"].mean()), 3),
                        "enhanced": round(float(part[system].mean()), 3),
                        "statistic": bar["statistic"],
                        "reached": round(reached, 3),
                        "bar": f"{bar['sign']} {bar['limit']}",
                        "met": SIGNS[bar["sign"]](reached, float(bar["limit"])),
                        "worst_piece": worst,
                        "worst": round(float(each[worst]), 3),
                        "pieces": len(part),
                    }
                )
    return pandas.DataFrame(rows)


def reach(
    statistic: str, enhanced: pandas.Series, untreated: pandas.Series
) -> tuple[pandas.Series, float]:
    """What a statistic looks at in each piece, and what it makes of all of them."""
    if statistic == "mean ratio":
        return enhanced / untreated, float(enhanced.mean() / untreated.mean())
    each = enhanced - untreated if "delta" in statistic else enhanced
    return each, float(each.min() if statistic.startswith("least") else each.mean())


def rate_table(results: pandas.DataFrame, pieces: dict[str, Path]) -> pandas.DataFrame:
    """Per codec and condition: mean bit rate of the packets, qualities, the equal bit rate."""
    tables = []
    for codec, names in RATES.items():
        kbps = {}
        for name in names:
            rates = []
            for path in pieces.values():
                wave, rate = el.load(path, sample_rate=44100)
                rates.append(el.encode(wave, name, sample_rate=rate).kbps)
            kbps[name] = float(np.mean(rates))
        for metric in HEARING:
            saving = el.bitrate_saving(results, kbps, metric=metric).iloc[0]
            table = el.equal_rates(results, kbps, metric=metric).assign(codec=codec, metric=metric)
            facts = {key: saving[key] for key in ("saving_percent", "low", "high")}
            tables.append(table.assign(**facts))
    return pandas.concat(tables).round(3)


CARD = Path(__file__).with_name("model_card.md")


def card(preset: str, weights: Path, results: pandas.DataFrame, verdict: pandas.DataFrame) -> str:
    """The model card: every figure from the results or from the weights' own metadata."""
    facts, _ = read_checkpoint(weights)
    config = json.loads(facts["training_config"])
    model = el.AudioUNet.load(weights)
    log = pandas.read_csv(weights.with_suffix(".csv"))
    means = results.groupby(["condition", "metric", "system"], sort=False)["value"].mean()
    titles = {"lsd": "LSD", "in_band_si_sdr": "in-band SI-SDR (dB)", "visqol": "ViSQOL"}
    lines = [
        "| condition | " + " | ".join(titles.values()) + " |",
        "|---" * (1 + len(titles)) + "|",
    ]
    for condition in results["condition"].unique():
        cells = [
            f"{means[condition, metric, 'untreated']:.2f} → {means[condition, metric, preset]:.2f}"
            for metric in titles
        ]
        lines.append(f"| `{condition}` | " + " | ".join(cells) + " |")
    deltas = el.paired_deltas(results)
    hurt = deltas[(deltas["metric"] == "visqol") & (deltas["gain"] < -HARMFUL)]
    kinds = test_set().assign(piece=lambda table: table["path"].map(lambda path: Path(path).stem))
    limits = []
    for kind, part in verdict.groupby("kind", sort=False):
        named = kinds.loc[kinds["kind"] == kind, "piece"]
        pairs = deltas[(deltas["metric"] == "visqol") & deltas["piece"].isin(named)]
        lost = hurt[hurt["piece"].isin(named)]
        worst = pairs.loc[pairs["gain"].idxmin()]
        limits.append(
            f"- **{kind}**: {int(part['met'].sum())} of {len(part)} bars are reached. ViSQOL falls "
            f"by over {HARMFUL} in {len(lost)} of {len(pairs)} cases, most on `{worst['piece']}` "
            f"under `{worst['condition']}` ({worst['gain']:+.2f})."
        )
    manifest = pandas.read_csv("data/corpus/manifest.csv")
    return CARD.read_text().format(
        preset=preset,
        parameters=model.num_parameters,
        rate=model.config.sample_rate,
        sha256=el.checkpoint_sha256(weights),
        hours=manifest.loc[manifest["split"] == "train", "duration_s"].sum() / 3600,
        draws=DRAWS,
        steps=int(log["step"].max()),
        seed=config["seed"],
        commit=facts.get("commit", "unknown"),
        latency=model.latency_samples,
        pieces=results["piece"].nunique(),
        table="\n".join(lines),
        limits="\n".join(limits),
    )


def main() -> None:
    """Measure, then judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="fullband-44k")
    parser.add_argument("--weights", default="published", help="published, run, or a checkpoint")
    parser.add_argument(
        "--rates", action="store_true", help="curves over bit rates instead, on music"
    )
    parser.add_argument("--every", type=int, default=1, help="only every n-th piece, for a look")
    parser.add_argument("--without_hearing", action="store_true", help="no ViSQOL, no Zimtohrli")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--jobs", type=int)
    arguments = parser.parse_args()
    tests = test_set().iloc[:: arguments.every]
    if arguments.rates:
        tests = tests[tests["kind"] != "speech"]
    names = tests["path"].map(lambda path: Path(path).stem)
    with Path("data/bars.csv").open(newline="") as file:
        bars = [bar for bar in csv.DictReader(file) if arguments.preset in bar["presets"].split()]
    metrics = METRICS if arguments.without_hearing else METRICS + HEARING
    bars = [bar for bar in bars if bar["metric"] in metrics]
    conditions = list(dict.fromkeys(" ".join(bar["conditions"] for bar in bars).split()))
    if arguments.rates:
        metrics, conditions = HEARING, [name for names in RATES.values() for name in names]
    pieces = {name: Path("data") / path for name, path in zip(names, tests["path"], strict=True)}
    try:
        weights = el.find_weights(arguments.weights, preset=arguments.preset)
        results = el.evaluate(
            pieces,
            conditions,
            {arguments.preset: weights},
            metrics=metrics,
            sample_rate=preset_config(arguments.preset).sample_rate,
            cache_dir="data/runs/results",
            n_jobs=arguments.jobs,
            command=f"python tools/results.py --preset {arguments.preset}",
        )
    except EnhanceError as error:
        sys.exit(f"error: {error}")
    results["value"] = results["value"].astype(float).round(6)
    if arguments.rates:
        table = rate_table(results, pieces).assign(**provenance("tools/results.py --rates"))
        table.to_csv(arguments.output / f"{arguments.preset}-rates.csv", index=False)
        print(table.iloc[:, :11].to_string(index=False))
        return
    verdict = check(results, bars, pandas.Series(tests["kind"].to_numpy(), index=names.to_numpy()))
    if arguments.every == 1 and not arguments.without_hearing:
        arguments.output.mkdir(parents=True, exist_ok=True)
        el.write_results(results, arguments.output / f"{arguments.preset}.csv")
        facts = provenance("tools/results.py")
        verdict.assign(**facts).to_csv(
            arguments.output / f"{arguments.preset}-bars.csv", index=False
        )
        if arguments.weights == "published":
            text = card(arguments.preset, weights, results, verdict)
            weights.with_suffix(".md").write_text(text)
    with pandas.option_context("display.width", 200, "display.max_rows", 500):
        print(verdict.drop(columns=["pieces"]).to_string(index=False))
    print(f"{int(np.sum(verdict['met']))} of {len(verdict)} hold")


if __name__ == "__main__":
    main()
