"""Measure model files: latency, real-time factor, memory, start-up and energy.

A fresh process per file keeps memory honest and start-up real. On a machine that does other things
too, milliseconds on the clock cannot be compared between files. So CPU time is given beside them,
and between the repeats a fixed matrix product (the *kernel*) is timed: files are compared by their
CPU time in units of the kernel.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from enhancelib.audio.reading import PathLike
from enhancelib.checks import check_number, check_threads
from enhancelib.enhance.backends import Backend
from enhancelib.enhance.frames import FrameEngine
from enhancelib.enhance.modelfiles import SUFFIXES, open_model
from enhancelib.errors import ConfigError, EnhanceError, InputError, ModelError
from enhancelib.evaluate.stopwatch import UNITS, memory, timed
from enhancelib.signals import end_with_parent

if TYPE_CHECKING:
    import pandas


def benchmark_file(
    path: PathLike,
    *,
    kind: str | None = None,
    seconds: float = 3.0,
    threads: int = 1,
    repeats: int = 30,
    device: str = "cpu",
) -> dict[str, str | float]:
    """Measure one model file in a process of its own.

    Args:
        path: a model file of any type.
        kind: ``"clip"``: one call with the whole clip; ``"stream"``: one call per hop, the engine's
            transforms included. ``None`` goes by the name; a checkpoint is run as a clip.
        seconds: length of the clip.
        threads: of the runtime.
        repeats: how often the clip is run.
        device: ``"cpu"`` or ``"cuda"`` (checkpoints only).

    Returns:
        ``file``, ``format``, ``kind``, ``preset``, ``runtime``, ``threads``, ``processor``,
        ``status`` (empty if all went well), the measures of :data:`UNITS`, ``checkpoint_sha256``
        and the columns of :func:`enhancelib.provenance.provenance` (on a GPU, ``device`` is the
        GPU). ``latency_ms`` is the median of one call; ``rtf`` that per second of audio;
        ``cpu_rtf`` the CPU time of all threads per second of audio, and ``kernels_per_s`` the same
        in units of the kernel; NaN stands for what was not measured.

    Raises:
        ModelError: the file cannot be opened.
        ConfigError: an argument is impossible.
    """
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"device: {device!r} is neither cpu nor cuda")
    if kind not in (None, "clip", "stream"):
        raise ConfigError(f"kind: {kind!r} is neither clip nor stream")
    seconds = check_number(seconds, "seconds", low=0.01, high=3600, error=ConfigError)
    repeats = check_number(repeats, "repeats", low=1, whole=True, error=ConfigError)
    threads = check_threads(threads, error=ConfigError)
    path = Path(path)
    task = {
        "path": str(path),
        "kind": kind or ("stream" if ".stream." in path.name else "clip"),
        "seconds": seconds,
        "threads": threads,
        "repeats": repeats,
        "device": device,
        "began": time.time(),
        "parent": os.getpid(),
    }
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    done = subprocess.run(
        [sys.executable, "-m", "enhancelib.evaluate.benchmark", json.dumps(task)],
        env=os.environ | dict.fromkeys(names, str(threads)),
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        row = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        reason = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        raise ModelError(f"{path}: its process died ({reason})") from None
    if "error" in row:
        raise ModelError(row["error"])
    from enhancelib.provenance import provenance

    shown = path.name if path.is_absolute() else path.as_posix()
    command = f"enhancelib benchmark --model_path {shown} --threads {threads}"
    return provenance(command + f" --device {device}" * (device != "cpu")) | row


def benchmark_files(
    paths: Sequence[PathLike],
    *,
    reference: str | None = None,
    seconds: float = 3.0,
    threads: Sequence[int] = (1,),
    repeats: int = 30,
    device: str = "cpu",
    progress: bool = True,
) -> pandas.DataFrame:
    """Measure model files, one process each.

    Args:
        paths: model files, or folders of them; checkpoints are run as clip and as stream.
        reference: file name that the others are compared with; ``None`` takes the first.
        seconds: length of the clip.
        threads: thread counts to try.
        repeats: how often each clip is run.
        device: ``"cpu"`` or ``"cuda"``.
        progress: whether to show a bar.

    Returns:
        A table of the rows of :func:`benchmark_file`, with ``ratio``, the CPU time per second of
        audio, in units of the kernel, relative to the reference's of the same kind and thread
        count. A file that cannot be measured has its reason in ``status``.

    Raises:
        InputError: no model file there, or none called ``reference``.
        ConfigError: an argument is impossible.
    """
    import pandas
    from tqdm import tqdm

    found = [entry for path in paths for entry in _model_files(Path(path))]
    if device != "cpu":  # a frame at a time would time the way to the device and back
        found = [(path, kind) for path, kind in found if kind == "clip"]
    shown = ", ".join(str(path) for path in paths)
    if not found:
        raise InputError(f"{shown}: no model files; export some first")
    if reference is not None and reference not in {path.name for path, _ in found}:
        raise InputError(f"{shown}: no model file is called {reference!r}")
    counts = [check_threads(count, error=ConfigError) for count in threads]
    tasks = [(path, kind, count) for path, kind in found for count in counts]
    rows = []
    for path, kind, count in tqdm(tasks, desc="Benchmark", unit="file", disable=not progress):
        options = {"kind": kind, "threads": count}
        try:
            row = benchmark_file(path, seconds=seconds, repeats=repeats, device=device, **options)
        except ModelError as error:
            row = {"file": path.name, **options, "status": str(error)}
        rows.append(row)
    table = pandas.DataFrame(rows)
    table["ratio"] = _ratios(table, reference)
    return table


def benchmark_results(table: pandas.DataFrame) -> pandas.DataFrame:
    """One row per measured value, in the columns of :data:`enhancelib.provenance.RESULT_COLUMNS`.

    The system is the file's name; the condition says how it was run (``stream, 1 thread``).
    """
    import pandas

    from enhancelib.provenance import RESULT_COLUMNS, result_row

    shared = ("preset", "checkpoint_sha256", "command")
    moment = ("commit", "device", "load", "utc")
    rows = [
        result_row(
            row["file"],
            metric,
            row[metric],
            unit,
            condition=_condition(row),
            facts={name: row[name] for name in moment},
            **{name: row[name] for name in shared},
        )
        for row in table[table["status"] == ""].to_dict("records")
        for metric, unit in UNITS.items()
        if not math.isnan(row[metric])
    ]
    return pandas.DataFrame(rows, columns=list(RESULT_COLUMNS))


def _condition(row: dict) -> str:
    """How a file was run: ``stream, 2 threads``, or ``clip, cuda``."""
    if row["processor"] != "cpu":
        return f"{row['kind']}, {row['processor']}"
    return f"{row['kind']}, {row['threads']} thread{'s' * (row['threads'] > 1)}"


def _model_files(path: Path) -> Iterator[tuple[Path, str]]:
    """Model files under ``path``, each with the kinds that it can be run as."""
    if path.is_dir():
        for entry in sorted(path.iterdir()):
            if entry.is_file() and not entry.name.startswith("."):
                yield from _model_files(entry)
    elif path.suffix in SUFFIXES["pytorch"]:
        yield from ((path, "clip"), (path, "stream"))
    elif any(path.suffix in suffixes for suffixes in SUFFIXES.values()):
        yield path, "stream" if ".stream." in path.name else "clip"


def _ratios(table: pandas.DataFrame, reference: str | None) -> list[float]:
    """CPU time per second of audio, in kernels, relative to the reference's."""
    if "kernels_per_s" not in table:
        return [math.nan] * len(table)
    stem = Path(reference or table["file"][0]).name.replace(".stream.", ".")
    of_reference = table[table["file"].str.replace(".stream.", ".", regex=False) == stem]
    base = {
        (row["kind"], row["threads"]): row["kernels_per_s"]
        for row in of_reference.to_dict("records")
    }
    return [
        row["kernels_per_s"] / base.get((row["kind"], row["threads"]), math.nan)
        for row in table.to_dict("records")
    ]


# ---------------------------------------------------------------- in the process of one file


def _measure(task: dict) -> dict[str, str | float]:
    """Open the file, run it, and return its row."""
    path, kind = Path(task["path"]), task["kind"]
    row = {
        "file": path.name,
        "format": "",
        "kind": kind,
        "preset": "",
        "runtime": "",
        "threads": task["threads"],
        "processor": task["device"],
        "checkpoint_sha256": "",
        "status": "",
        **dict.fromkeys(UNITS, math.nan),
        "file_mb": path.stat().st_size / 1e6 if path.is_file() else math.nan,
    }
    if task["device"] == "cuda":
        return row | _measure_cuda(path, task)
    backend = open_model(path, threads=task["threads"])
    facts = backend.metadata
    samples = round(task["seconds"] * facts.sample_rate)
    if kind == "clip" and backend.clip_samples is not None:
        samples = backend.clip_samples
    wave = _test_signal(samples, facts.sample_rate)
    if kind == "clip":
        call, audio_s, calls = _clip_call(backend, wave), samples / facts.sample_rate, 1
    else:
        call, audio_s = _stream_call(backend, wave), facts.hop_length / facts.sample_rate
        calls = max(1, samples // facts.hop_length)
    call()
    startup_s = time.time() - task["began"]
    measures = timed(call, audio_s=audio_s, repeats=task["repeats"] * calls, between=calls)
    return row | {
        "format": backend.model_type,
        "preset": facts.preset,
        "runtime": _runtime(backend.model_type),
        "checkpoint_sha256": facts.checkpoint_sha256,
        "startup_s": startup_s,
        **measures,
        **memory(),
    }


def _test_signal(samples: int, sample_rate: int) -> np.ndarray:
    """A chord with noise, (1, samples): what it is does not change the time it takes."""
    time_s = np.arange(samples) / sample_rate
    noise = np.random.default_rng(0).standard_normal(samples)
    return (0.2 * np.sin(2 * np.pi * 440 * time_s) + 0.02 * noise).astype(np.float32)[None]


def _clip_call(backend: Backend, wave: np.ndarray) -> Callable[[], object]:
    if not backend.clip:
        raise ModelError(f"{backend.path}: cannot be run as a clip; it holds the streaming step")
    return lambda: backend.run_clip(wave)


def _stream_call(backend: Backend, wave: np.ndarray) -> Callable[[], object]:
    """The next hop through the engine, over and over."""
    if not backend.stream:
        raise ModelError(f"{backend.path}: cannot be run as a stream; it takes whole clips")
    engine, hop = FrameEngine(backend, 1), backend.metadata.hop_length
    wave = np.pad(wave, ((0, 0), (0, max(0, hop - wave.shape[1]))))  # one at least
    hops = [wave[:, at : at + hop] for at in range(0, wave.shape[1] - hop + 1, hop)]
    turn = iter(range(sys.maxsize))
    return lambda: engine.push(hops[next(turn) % len(hops)])


def _runtime(model_type: str) -> str:
    """Name and version of the runtime."""
    from importlib.metadata import version

    names = {"onnx": "onnxruntime", "tflite": "ai-edge-litert"}
    name = names.get(model_type, "torch")
    return f"{name} {version(name)}"


def _measure_cuda(path: Path, task: dict) -> dict[str, str | float]:
    """Run a checkpoint on the first CUDA device, or say why not."""
    if path.suffix not in SUFFIXES["pytorch"] or task["kind"] != "clip":
        return {"status": "not measured: on a GPU only checkpoints are run, as clips"}
    import torch

    if not torch.cuda.is_available():
        return {"status": "not measured: no CUDA device here"}
    from enhancelib.enhance.backends import PyTorchBackend
    from enhancelib.model.network import AudioUNet

    facts = PyTorchBackend.open(path).metadata
    model = AudioUNet.load(path).to("cuda")
    rate = model.config.sample_rate
    wave = torch.from_numpy(_test_signal(round(task["seconds"] * rate), rate))[None].to("cuda")

    def call() -> None:
        with torch.inference_mode():
            model(wave)
        torch.cuda.synchronize()

    call()
    startup_s = time.time() - task["began"]
    measures = timed(call, audio_s=task["seconds"], repeats=task["repeats"], between=1)
    return {
        "format": "pytorch",
        "preset": facts.preset,
        "runtime": f"{_runtime('pytorch')} on CUDA",
        "checkpoint_sha256": facts.checkpoint_sha256,
        "device": torch.cuda.get_device_name(),
        "startup_s": startup_s,
        "peak_mb": torch.cuda.max_memory_allocated() / 1e6,
        **measures,
    }


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    end_with_parent(given.get("parent", os.getppid()))
    try:
        print(json.dumps(_measure(given)))
    except EnhanceError as error:
        print(json.dumps({"error": str(error)}))
