"""Single cells of chapters: hostile names of devices, and one export format alone."""

import ast
from pathlib import Path
from types import SimpleNamespace

import jupytext
import numpy as np
import pandas
import pytest
from conftest import ROOT
from IPython.display import Markdown

import enhancelib as el
from enhancelib.model.weights import PRETRAINED

SOURCES = sorted((ROOT / "notebooks").glob("[0-9]*.py"))


def cell_with(text: str) -> str:
    """The one code cell of all chapters that holds this text, whichever chapter it is in."""
    cells = [cell for source in SOURCES for cell in jupytext.read(source).cells]
    (found,) = [cell.source for cell in cells if cell.cell_type == "code" and text in cell.source]
    return found


def shown(code: str, scope: dict):
    """Run a cell and return what it shows: the value of its last line, if that is no statement."""
    body = ast.parse(code).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), scope)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), scope) if last else None


@pytest.mark.parametrize("text", ["hops = ", "played = "])
def test_what_a_contributed_table_names_is_escaped_on_the_page(text):
    """Reading refuses markup; should it ever let some pass, the page holds no tag of it."""
    hostile = {
        "device": "<script>alert(1)</script>",
        "load": "<b>0.5</b>",
        "system": "<img src=x onerror=alert(2)>",
        "condition": "browser, played <iframe>",
    }
    metrics = ["latency_ms", "latency_p99_ms", "rtf", "rtf_ahead", "wasm_mb"]
    metrics += ["slowdown", "play_blocks", "play_late", "play_stalled", "play_clock"]
    devices = pandas.DataFrame([{**hostile, "metric": name, "value": 1.5} for name in metrics])
    scope = {"devices": devices, "names": {name: name for name in hostile}}
    page = shown(cell_with(text), scope)._repr_html_()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "1.5" in page
    for tag in ("<script", "<img", "<iframe", "<b>"):
        assert tag not in page


@pytest.mark.parametrize("formats", ["onnx", "tflite", "tflite,torchscript", "onnx,tflite"])
def test_one_format_alone_is_heard_weighed_and_summed_up(formats, tmp_path):
    """The cells that took ONNX for granted find only the files that these formats leave."""
    names = {"onnx": "small.{}onnx", "tflite": "small.{}stream.tflite"}
    made = [name for name in names if name in formats.split(",")]
    files = [names[name].format(kind) for name in made for kind in ("", "int8.")]
    rows = ["small.safetensors", *files]
    table = pandas.DataFrame({"size": 4.0, "size_gzip": 3.0, "error": -30.0, "macs": 1e6}, rows)
    table.loc[[name for name in files if "int8" in name], "size"] = 1.0
    scope = {"el": el, "pd": pandas, "np": np, "Path": Path, "Markdown": Markdown}
    scope |= {"formats": formats, "preset": "small", "exports": tmp_path, "made": tmp_path}
    scope |= {"footprint": table, "summary": table.assign(cpu_rtf=0.5, kept=0.9)}
    scope |= {"checkpoint": tmp_path / "small.safetensors", "tuned_names": [], "tuning_steps": 1}
    scope |= {"best": files[-1], "file": "results.csv"}
    others = [f"small.int8-weights.{made[0]}"]
    written = [SimpleNamespace(path=tmp_path / name) for name in (*others, *files)]
    scope["quantized"] = [each for each in written if ".int8" in each.path.name]
    heard = [line for line in cell_with("int8 = next").splitlines() if line.startswith("int8 =")]
    exec(heard[0], scope)
    assert scope["int8"].name in files
    shown(cell_with("static = int8.name"), scope)
    text = shown(cell_with("8 bits throughout make"), scope).data
    assert f"make `{files[0]}` 25% of its size (1.00 MB)" in text


@pytest.mark.parametrize("preset", ["fullband-44k", "seed-22k"])
def test_both_logs_of_the_published_weights_have_curves(preset):
    """Logs name conditions or families of them, as the recipe of the time did."""
    logs = {
        "network": pandas.read_csv(PRETRAINED / f"{preset}.csv"),
        "energies": pandas.read_csv(PRETRAINED / f"{preset}-energies.csv"),
    }
    history = logs["network"].query("split == 'validation'")
    scope = {"el": el, "pd": pandas, "logs": logs, "history": history}
    exec(cell_with("titles = families"), scope)
    for name, table in scope["tables"].items():
        assert "MP3" in " ".join(table), name
        assert len(table.columns) >= 3, name
