"""Benchmark rows are complete, plausible, and honest about what was not measured."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest
from conftest import PATIENCE_S

from enhancelib.errors import ConfigError, InputError, ModelError
from enhancelib.evaluate import stopwatch
from enhancelib.evaluate.benchmark import benchmark_file, benchmark_files, benchmark_results
from enhancelib.evaluate.stopwatch import UNITS
from enhancelib.model.weights import PRETRAINED
from enhancelib.provenance import RESULT_COLUMNS, write_results

ENERGY = "energy_j_per_s"
QUICK = {"seconds": 0.5, "repeats": 3}


@pytest.fixture(scope="module")
def table(small_exports):
    folder, _ = small_exports
    files = ["small.onnx", "small.stream.onnx", "small.stream.tflite", "small.tflite"]
    paths = [folder / name for name in files]
    return benchmark_files(paths, reference="small.onnx", progress=False, **QUICK)


def test_rows_are_complete_and_plausible(table, small_exports):
    assert list(table["file"]) == [
        "small.onnx",
        "small.stream.onnx",
        "small.stream.tflite",
        "small.tflite",
    ]
    assert list(table["kind"]) == ["clip", "stream", "stream", "clip"]
    assert set(table["status"]) == {""}
    assert set(table["preset"]) == {"small"}
    measured = table[[name for name in UNITS if name != "energy_j_per_s"]]
    assert np.isfinite(measured.to_numpy(float)).all()
    assert (measured > 0).all(axis=None)
    assert (table["latency_p10_ms"] <= table["latency_ms"]).all()
    assert (table["latency_ms"] <= table["latency_p99_ms"]).all()
    assert (table["peak_mb"] >= table["resident_mb"] * 0.999).all()
    assert (table["resident_mb"] < 200).all()  # no PyTorch in these processes
    for row in table.to_dict("records"):
        assert row["file_mb"] * 1e6 == (small_exports[0] / row["file"]).stat().st_size
        seconds = {"small.onnx": 0.5, "small.tflite": 3.0}.get(row["file"], 64 / 22050)
        assert row["rtf"] == pytest.approx(row["latency_ms"] / 1000 / seconds, rel=1e-6)
        assert row["cpu_rtf"] == pytest.approx(row["cpu_ms"] / 1000 / seconds, rel=1e-6)
    assert table["runtime"].str.startswith(("onnxruntime ", "ai-edge-litert ")).all()


def test_ratios_compare_with_the_reference_of_the_same_kind(table):
    rows = table.set_index("file")
    assert rows.loc["small.onnx", "ratio"] == rows.loc["small.stream.onnx", "ratio"] == 1
    for name, base in (
        ("small.tflite", "small.onnx"),
        ("small.stream.tflite", "small.stream.onnx"),
    ):
        wanted = rows.loc[name, "kernels_per_s"] / rows.loc[base, "kernels_per_s"]
        assert rows.loc[name, "ratio"] == pytest.approx(wanted)


def test_results_have_the_columns_of_results(table, tmp_path):
    results = benchmark_results(table)
    assert list(results.columns) == list(RESULT_COLUMNS)
    assert set(results["condition"]) == {"clip, 1 thread", "stream, 1 thread"}
    value = results.query("system == 'small.onnx' and metric == 'latency_ms'")["value"]
    assert value.tolist() == [table["latency_ms"][0]]
    assert results["value"].notna().all()
    write_results(results, tmp_path / "05.csv")


def test_a_checkpoint_runs_both_ways_with_threads(small_exports):
    path = small_exports[0] / "small.safetensors"
    table = benchmark_files([path], threads=(2,), seconds=0.2, repeats=2, progress=False)
    assert list(table["kind"]) == ["clip", "stream"]
    assert list(table["threads"]) == [2, 2]
    assert set(table["format"]) == {"pytorch"}
    assert (table["ratio"] == 1).all()
    assert (table["checkpoint_sha256"].str.len() == 64).all()


def test_latency_follows_the_clock():
    """A call that sleeps 20 ms takes 20 ms of the clock, but not of the CPU.

    In a process of its own: threads left behind by other runtimes spin, and would be counted, as
    those of the kernel between two calls must not be.
    """
    code = """
import json, time
from enhancelib.evaluate import stopwatch
print(json.dumps(stopwatch.timed(lambda: time.sleep(0.02), audio_s=2.0, repeats=8, between=1)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    measures = json.loads(done.stdout.splitlines()[-1])
    assert measures["latency_ms"] >= 19.5  # more on a busy machine
    assert measures["rtf"] == pytest.approx(measures["latency_ms"] / 2000)
    assert measures["cpu_ms"] < 0.25 * measures["latency_ms"]  # which other work only lengthens


def test_one_call_is_timed_by_the_clock_and_by_its_own_thread():
    """Waiting for the work of another thread takes time, but no processor time of this one."""

    def wait():
        other = threading.Thread(target=lambda: sum(i * i for i in range(1_000_000)))
        other.start()
        other.join()
        time.sleep(0.02)

    wall_s, cpu_s = stopwatch.timed_once(wait)
    assert wall_s >= 0.0195
    assert cpu_s < 0.25 * wall_s  # which other work only lengthens


def test_memory_is_that_of_the_process_named():
    """40 MB that a process fills are its own, resident, and in its peak; psutil says the same.

    In a process of its own: threads left behind by other runtimes allocate when they like.
    """
    filled = """
import mmap, sys
from enhancelib.evaluate import stopwatch
before_mb = stopwatch.own_memory_mb()
held = mmap.mmap(-1, 40 * 10**6, flags=mmap.MAP_PRIVATE)
held.write(b"x" * len(held))
print(stopwatch.own_memory_mb() - before_mb, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", filled], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        own_mb = float(child.stdout.readline())
        measured = stopwatch.memory(child.pid)
        truth_mb = psutil.Process(child.pid).memory_info().rss / 1e6
        child.stdin.close()
    assert measured["resident_mb"] == pytest.approx(truth_mb, abs=0.5)
    assert own_mb == pytest.approx(40, abs=2)
    assert 40 < measured["resident_mb"] <= measured["peak_mb"] < 160


def test_energy_comes_from_the_packages_counters(tmp_path, monkeypatch):
    """Of two packages, one of which starts over; not of a package's parts, which it contains."""
    monkeypatch.setattr(stopwatch, "RAPL", tmp_path)
    assert math.isnan(stopwatch.timed(lambda: None, audio_s=1, repeats=2, between=1)[ENERGY])
    counters = []
    for name, kind, value in [
        ("intel-rapl:0", "package-0", 1_000_000),
        ("intel-rapl:1", "package-1", 9_900_000),
        ("intel-rapl:0:0", "core", 0),
    ]:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "name").write_text(f"{kind}\n")
        (folder / "max_energy_range_uj").write_text("10000000\n")
        (folder / "energy_uj").write_text(f"{value}\n")
        counters.append(folder / "energy_uj")

    def call():
        for counter in counters:
            counter.write_text(str((int(counter.read_text()) + 500_000) % 10_000_000))

    measures = stopwatch.timed(call, audio_s=2.0, repeats=4, between=1)
    assert measures[ENERGY] == pytest.approx(2 * 0.25)


def test_cuda_row_says_that_it_was_not_measured(small_exports):
    """The row of a machine without a CUDA device; with one, it is measured."""
    row = benchmark_file(small_exports[0] / "small.safetensors", device="cuda", **QUICK)
    if row["status"]:
        assert row["status"] == "not measured: no CUDA device here"
        assert math.isnan(row["latency_ms"])
    else:
        assert row["latency_ms"] > 0
    row = benchmark_file(small_exports[0] / "small.onnx", device="cuda", **QUICK)
    assert row["status"].startswith("not measured")
    assert math.isnan(row["latency_ms"])


def test_a_clip_shorter_than_a_hop_is_timed_as_one_hop(small_exports):
    row = benchmark_file(small_exports[0] / "small.stream.onnx", seconds=0.01, repeats=1)
    assert row["latency_ms"] > 0


def test_bad_files_and_arguments(small_exports, tmp_path):
    folder, _ = small_exports
    with pytest.raises(ModelError, match=r"none\.onnx"):
        benchmark_file(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="cannot be run as a stream"):
        benchmark_file(folder / "small.onnx", kind="stream")
    with pytest.raises(ConfigError, match="tpu"):
        benchmark_file(folder / "small.onnx", device="tpu")
    with pytest.raises(ConfigError, match="kind"):
        benchmark_file(folder / "small.onnx", kind="batch")
    with pytest.raises(ConfigError, match="threads: 0"):
        benchmark_file(folder / "small.onnx", threads=0)
    with pytest.raises(InputError, match="no model files"):
        benchmark_files([tmp_path])
    with pytest.raises(InputError, match="other"):
        benchmark_files([folder], reference="other.onnx")
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    table = benchmark_files([bad], progress=False)
    assert "bad.onnx" in table["status"][0]
    assert benchmark_results(table).empty


def test_the_process_of_one_file_prints_one_row(small_exports):
    task = {
        "path": str(small_exports[0] / "small.onnx"),
        "kind": "clip",
        "seconds": 0.1,
        "threads": 1,
        "repeats": 1,
        "device": "cpu",
        "began": time.time(),
    }
    done = subprocess.run(
        [sys.executable, "-m", "enhancelib.evaluate.benchmark", json.dumps(task)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert json.loads(done.stdout)["format"] == "onnx"


@pytest.mark.parametrize("threads", [100_000, 0, -1, 1.5])
def test_impossible_threads_are_refused_before_anything_is_measured(small_exports, threads):
    file = small_exports[0] / "small.stream.onnx"
    with pytest.raises(ConfigError, match=rf"^threads: {threads} is not a whole number between 1"):
        benchmark_files([file], threads=[1, threads], progress=False)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_measuring_process_ends_with_the_command(number):
    """Which would go on for many minutes more."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "enhancelib", "benchmark", "--seconds", "300"),
            *("--model_path", PRETRAINED / "fullband-44k.stream.onnx"),
        ],
        stderr=subprocess.DEVNULL,
    )
    main, deadline = psutil.Process(process.pid), time.monotonic() + PATIENCE_S
    while not main.children(recursive=True) and time.monotonic() < deadline:
        time.sleep(0.05)
    (child,) = main.children(recursive=True)
    time.sleep(1)  # it has begun
    process.send_signal(number)
    assert process.wait(timeout=PATIENCE_S) == (143 if number == signal.SIGTERM else -number)
    assert psutil.wait_procs([child], timeout=PATIENCE_S)[1] == []
