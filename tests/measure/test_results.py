"""The tools behind `make results`: what they measure, how they judge it, what they write."""

import csv
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np
import pandas
import pytest

import enhancelib as el
from enhancelib.errors import ConfigError, InputError, ModelError
from enhancelib.model.network import PRESETS
from enhancelib.model.weights import PRETRAINED
from enhancelib.provenance import RESULT_COLUMNS
from tools.measure import cost, results
from tools.measure.peers import denoisers
from tools.publish import report

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "data" / "results"
PRESET = "fullband-44k"
MEASURED = sorted(path.stem for path in RESULTS.glob("*k.csv"))


@pytest.fixture(scope="module")
def tools():
    """The modules by name."""
    return {"results": results, "report": report, "cost": cost, "denoisers": denoisers}


@pytest.fixture(scope="module")
def kinds(tools):
    return tools["report"].all_kinds()


# --- measured ------------------------------------------------------------------------------------


def test_the_smoke_effort_measures_everything_that_lies_beside_the_weights(make, tmp_path_factory):
    """Two pieces, two conditions."""
    folder = tmp_path_factory.mktemp("results")
    assert make("results", "PROFILE=smoke", f"RUN={folder}").returncode == 0
    again = pandas.read_csv(folder / "results" / f"{PRESET}.csv")
    assert tuple(again.columns) == RESULT_COLUMNS
    assert {f"{PRESET}.onnx", "untreated", "oracle mask", PRESET} <= set(again["system"])
    assert set(again["metric"]) == set(el.METRICS)
    assert again["value"].notna().all()


@pytest.mark.xfail(
    strict=True,
    reason="measured before every piece had noise of its own and the in-band SI-SDR left out "
    "emptied bins: remove this mark when make results has run",
)
def test_a_sample_of_published_rows_comes_out_again(tools):
    """Four cells, other ones after each publication, by every metric, untreated and enhanced.

    They are measured on the set they are of, with the weights they name: nothing new is seen of it.
    """
    published = pandas.read_csv(RESULTS / f"{PRESET}.csv", keep_default_na=False, na_values=[""])
    published = published[published["system"].isin(["untreated", PRESET])]
    weights = el.find_weights("published", preset=PRESET)
    assert set(published["checkpoint_sha256"].dropna()) == {el.checkpoint_sha256(weights)}
    sets = pandas.concat(
        [tools["results"].read_set(ROOT / "data" / f"{name}set.csv") for name in ("test", "dev")]
    ).set_index("piece")["path"]
    cells = published[["piece", "condition"]].drop_duplicates()
    seed = zlib.crc32(published["utc"].max().encode())
    again = [
        el.evaluate(
            {piece: ROOT / "data" / sets[piece]},
            [condition],
            {PRESET: weights},
            metrics=list(published["metric"].unique()),
            n_jobs=1,
        )
        for piece, condition in cells.sample(4, random_state=seed).itertuples(index=False)
    ]
    keys = ["piece", "condition", "system", "metric"]
    both = pandas.concat(again).merge(published, on=keys, suffixes=("", "_published"))
    assert len(both) == 4 * 2 * published["metric"].nunique()
    # Far under the signal, an error is rounding: 60 dB is all that any bar asks.
    pairs = both[["value", "value_published"]].where(
        both["unit"] != "dB", both[["value", "value_published"]].clip(upper=60)
    )
    np.testing.assert_allclose(pairs["value"], pairs["value_published"], rtol=0.01, atol=0.01)


def test_files_of_other_weights_are_refused(tools, tmp_path):
    for name in (f"{PRESET}.safetensors", f"{PRESET}.onnx"):
        shutil.copy(PRETRAINED / name, tmp_path / name)
    weights = tmp_path / f"{PRESET}.safetensors"
    assert [path.name for path in tools["results"].exported_files(weights)] == [f"{PRESET}.onnx"]
    el.AudioUNet(base_channels=4, depth=2).save(weights, overwrite=True)
    with pytest.raises(ModelError, match=r"k\.onnx: exported from other weights"):
        tools["results"].exported_files(weights)


def test_the_matrix_has_every_condition_that_a_bar_names(tools):
    with (ROOT / "data" / "bars.csv").open(newline="") as file:
        bars = list(csv.DictReader(file))
    heard = [bar for bar in bars if bar["statistic"] != "cost"]
    named = {name for bar in heard for name in bar["conditions"].split()} - {"*"}
    assert named <= set(tools["results"].CONDITIONS)
    assert set(el.standard_conditions()) <= set(tools["results"].CONDITIONS) | {"opus-64"}
    assert {bar["metric"] for bar in heard} <= set(el.METRICS)
    assert {preset for bar in bars for preset in bar["presets"].split()} == set(PRESETS)
    assert len(tools["results"].CONDITIONS) == len(set(tools["results"].CONDITIONS))


def test_the_core_on_its_own_takes_less_time_than_the_whole(tools, small_model):
    core_s = tools["cost"].core_seconds(small_model, 5)
    assert 0 < core_s < 3


def test_a_peer_runs_in_its_own_environment_and_its_delay_is_taken_out(
    tools, tmp_path, monkeypatch
):
    monkeypatch.setattr(tools["denoisers"], "ENVIRONMENTS", tmp_path)
    (tmp_path / "late" / "bin").mkdir(parents=True)
    (tmp_path / "late" / "bin" / "python").symlink_to(sys.executable)
    late = "sys.stdout.buffer.write((0.5 * np.pad(samples, (960, 0))).tobytes())"
    peer = tools["denoisers"].Peer("late", "late==1", late.replace("0.5", "np.float32(0.5)"))
    speech, _ = el.load(ROOT / "data" / "devset" / "speech_00.flac", sample_rate=48000)
    aligned = peer.aligned(speech[0])
    assert aligned.delay == 960
    np.testing.assert_array_equal(aligned.denoise(speech[0]), 0.5 * speech[0])
    wave = el.resample(speech, from_rate=48000, to_rate=44100)
    assert el.score(aligned(wave, sample_rate=44100), wave, sample_rate=44100)["si_sdr"] > 40


# --- judged --------------------------------------------------------------------------------------


BAR = {"conditions": "c", "metric": "visqol", "sign": ">="}
KINDS = pandas.Series({"a": "recorded", "b": "recorded"})


@pytest.fixture
def few():
    """Two pieces: one gains 1, the other loses 0.1."""
    rows = [
        {"piece": piece, "condition": "c", "system": system, "metric": "visqol", "value": value}
        for piece, system, value in (
            ("a", "untreated", 3.0),
            ("a", "ours", 4.0),
            ("b", "untreated", 3.0),
            ("b", "ours", 2.9),
        )
    ]
    return pandas.DataFrame(rows)


@pytest.mark.parametrize(
    ("bar", "met", "reached", "worst_piece"),
    [
        ({"statistic": "mean delta", "limit": "0.4"}, True, 0.45, "b"),
        ({"statistic": "mean delta", "limit": "0.5"}, False, 0.45, "b"),
        ({"statistic": "least delta", "limit": "0"}, False, -0.1, "b"),
        ({"statistic": "mean", "limit": "3.4"}, True, 3.45, "b"),
        ({"statistic": "mean", "limit": "2.5", "sign": "<="}, False, 3.45, "a"),
        ({"statistic": "most", "limit": "4", "sign": "<="}, True, 4.0, "a"),
        ({"statistic": "mean ratio", "limit": "1.2", "sign": "<="}, True, 1.15, "a"),
    ],
)
def test_bars_judge_mean_and_worst_piece(tools, few, bar, met, reached, worst_piece):
    (row,) = tools["report"].judge(few, [BAR | bar], KINDS, ["ours"]).itertuples()
    assert (row.met, row.worst_piece) == (met, worst_piece)
    assert row.reached == pytest.approx(reached)


def test_bars_are_for_a_kind_of_piece_and_a_range_of_the_untreated(tools, few):
    judge, bar = tools["report"].judge, BAR | {"statistic": "mean delta", "limit": "0"}
    apart = judge(few, [bar], pandas.Series({"a": "recorded", "b": "speech"}), ["ours"])
    assert dict(zip(apart["kind"], apart["met"], strict=True)) == {
        "recorded": True,
        "speech": False,
    }
    assert judge(few, [bar | {"kinds": "speech"}], KINDS, ["ours"]).empty
    assert judge(few, [bar | {"untreated_from": "3.5"}], KINDS, ["ours"]).empty
    assert judge(few, [bar | {"untreated_to": "3"}], KINDS, ["ours"]).empty
    inside = bar | {"untreated_from": "2.5", "untreated_to": "3.5", "conditions": "*"}
    assert list(judge(few, [inside], KINDS, ["ours"])["condition"]) == ["c"]


def test_bars_of_cost_look_at_one_file_on_one_thread(tools):
    columns = ["system", "condition", "metric", "value"]
    rows = [
        ("p.onnx", "clip, 1 thread", "rtf", 0.008),
        ("p.onnx", "clip, 2 threads", "rtf", 0.1),
        ("p.onnx", "core, 1 thread", "rtf", 0.007),
        ("p.stream.onnx", "stream, 1 thread", "delay_ms", 23.2),
    ]
    bars = [
        {"bar": name, "conditions": name, "metric": metric, "sign": "<=", "limit": limit}
        for name, metric, limit in (
            ("clip", "rtf", "0.009"),
            ("core", "rtf", "0.006"),
            ("stream", "delay_ms", "25"),
        )
    ]
    table = tools["report"].judge_cost(pandas.DataFrame(rows, columns=columns), bars, "p")
    assert list(table["met"]) == [True, False, True]


# --- said ----------------------------------------------------------------------------------------


def test_the_table_of_the_readme_is_the_results(tools, kinds):
    results = pandas.read_csv(RESULTS / f"{PRESET}.csv")
    lines = tools["report"].readme_lines(results, PRESET, kinds)
    assert len(lines) > 10
    readme = (ROOT / "README.md").read_text()
    assert [line for line in readme.split("\n") if line.startswith("| `") and "→" in line] == lines
    one = results[(results["condition"] == "mp3-64") & (results["metric"] == "visqol")]
    speech = one[one["piece"].str.startswith("speech")].groupby("system")["value"].mean()
    (line,) = [line for line in lines if "`mp3-64`" in line]
    assert line.endswith(f"| {speech['untreated']:.2f} → {speech[PRESET]:.2f} |")


def test_only_the_table_of_the_readme_is_replaced(tools):
    text = "# T\n| a | b |\n|---|---|\n| `c` | 1 → 2 |\n| `d` | 3 → 4 |\n\n| `e` | f |\n"
    update, row = tools["report"].update_readme, tools["report"].ROW
    got = update(text, ["| `c` | 1 → 9 |"], row)
    assert got == "# T\n| a | b |\n|---|---|\n| `c` | 1 → 9 |\n\n| `e` | f |\n"
    for wrong in ("# T\n", text + text):
        with pytest.raises(InputError, match="not one block of lines like"):
            update(wrong, ["| `c` | 1 → 9 |"], row)


def test_rows_of_one_system_replace_its_older_ones(tools, tmp_path):
    def rows(system, value, sha256="a"):
        facts = dict.fromkeys(RESULT_COLUMNS, "x") | {"system": system, "value": value}
        return pandas.DataFrame([facts | {"checkpoint_sha256": sha256}])

    file = tmp_path / "p.csv"
    joined = tools["results"].joined
    with pytest.raises(ConfigError, match=r"p\.csv: not there; measure everything once"):
        joined(rows("b", 2.0), file)
    el.write_results(pandas.concat([rows("untreated", 0.1), rows("b", 1.0)]), file)
    table = joined(rows("b", 2.0), file)
    assert dict(zip(table["system"], table["value"], strict=True)) == {"untreated": 0.1, "b": 2.0}
    with pytest.raises(ConfigError, match="of other weights"):
        joined(rows("b", 2.0, sha256="other"), file)


@pytest.mark.parametrize("preset", MEASURED)
def test_the_published_bars_are_the_judgement_of_the_published_results(tools, kinds, preset):
    published = pandas.read_csv(RESULTS / f"{preset}-bars.csv")
    results, costs = (pandas.read_csv(RESULTS / f"{preset}{part}.csv") for part in ("", "-cost"))
    again = tools["report"].all_bars(preset, results, costs, kinds)
    assert len(published) == len(again)
    assert list(published["met"]) == list(again["met"])
    assert "the stereo image stays" in set(published["bar"])
