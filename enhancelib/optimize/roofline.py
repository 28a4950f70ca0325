"""Where the time of an ONNX file goes, operator by operator, and what this core could do at most.

The roofline model (Williams et al., Commun. ACM 52, 2009): a core multiplies no faster than its
arithmetic allows, nor faster than memory delivers what is to be multiplied. Both ceilings are
measured in ONNX Runtime itself: with one large matrix product, and with one large copy.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from enhancelib.audio.writing import PathLike
from enhancelib.enhance.modelfiles import open_model
from enhancelib.errors import ModelError

if TYPE_CHECKING:
    import onnxruntime
    import pandas

SIDE = 768
"""Rows and columns of the matrices that are multiplied to find the arithmetic ceiling."""
COPIED_BYTES = 64_000_000
"""More than caches hold."""
_WIDTHS = {"float": 4, "float16": 2, "int64": 8, "int32": 4, "uint8": 1, "int8": 1, "bool": 1}
_WEIGHTS_AT = {"Conv": 1, "FusedConv": 1, "QLinearConv": 3, "ConvInteger": 1}
"""Which input of a convolution its weights are."""
_KERNEL_TIME = "_kernel_time"


def operator_times(path: PathLike, *, seconds: float = 3.0, repeats: int = 5) -> pandas.DataFrame:
    """Time, work and traffic of each kind of operator of an ONNX file, on one thread.

    As ONNX Runtime profiles itself, which costs a few microseconds per operator: read shares.

    Args:
        path: a clip or a stream file.
        seconds: of audio per repeat.
        repeats: how often; the fastest run of every operator counts.

    Returns:
        A row per kind of operator, the slowest first, indexed by its name (dense and depthwise
        convolutions apart), with ``calls``, ``ms`` per second of audio, ``share`` of the sum,
        ``macs`` per second of audio, ``bytes`` read and written per second of audio,
        ``macs_per_byte`` and ``macs_per_second`` reached.

    Raises:
        ModelError: the file cannot be opened, or is none of ONNX.
    """
    import pandas

    backend = open_model(path, "onnx")
    rate, hop = backend.metadata.sample_rate, backend.metadata.hop_length
    if backend.clip:
        samples = round(seconds * rate)
        feeds = {"input": _noise(1, 1, samples)}
        audio_s = samples / rate
    else:
        states = backend.initial_state()
        feeds = {"spectrum": _noise(1, 1, hop + 1, 2)}
        feeds |= {f"state_{number}": state for number, state in enumerate(states)}
        audio_s = hop / rate
        repeats = max(repeats, round(repeats * seconds / audio_s / 10))
    events, weights = _profile(path, feeds, repeats)
    fastest: dict[str, tuple[float, dict]] = {}
    for event in events:
        name, took = event["name"].removesuffix(_KERNEL_TIME), event["dur"]
        if name not in fastest or took < fastest[name][0]:
            fastest[name] = took, event["args"]
    rows = [(*_work(facts, weights.get(name)), took) for name, (took, facts) in fastest.items()]
    table = pandas.DataFrame(rows, columns=["operator", "macs", "bytes", "us"])
    grouped = table.assign(calls=1).groupby("operator").sum()
    grouped[["macs", "bytes"]] /= audio_s
    grouped["ms"] = grouped.pop("us") / 1e3 / audio_s
    grouped["share"] = grouped["ms"] / grouped["ms"].sum()
    grouped["macs_per_byte"] = grouped["macs"] / grouped["bytes"]
    grouped["macs_per_second"] = grouped["macs"] / grouped["ms"] * 1e3
    return grouped.sort_values("ms", ascending=False)


def ceilings() -> dict[str, float]:
    """What one core does at most, in ONNX Runtime.

    Returns:
        ``float32`` and ``int8`` count multiplications with addition per second in one large
        product; ``memory`` counts bytes per second that a large copy reads and writes.
    """
    left = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32)
    steps = (20 * left).astype(np.int8)
    source = np.zeros(COPIED_BYTES, np.uint8)
    target = np.empty_like(source)
    float32 = _session(_product("MatMul", "FLOAT", "FLOAT", left))
    int8 = _session(_product("MatMulInteger", "UINT8", "INT32", steps))
    unsigned = steps.view(np.uint8)
    return {
        "float32": SIDE**3 / _fastest(lambda: float32.run(None, {"x": left})),
        "int8": SIDE**3 / _fastest(lambda: int8.run(None, {"x": unsigned})),
        "memory": 2 * COPIED_BYTES / _fastest(lambda: np.copyto(target, source)),
    }


def _fastest(call: Callable[[], object], *, budget_s: float = 0.5) -> float:
    """Shortest time of a call in seconds, within a budget."""
    took, began = [], time.perf_counter()
    while len(took) < 3 or time.perf_counter() - began < budget_s:
        before = time.perf_counter()
        call()
        took.append(time.perf_counter() - before)
    return min(took)


def _noise(*shape: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


def _session(
    model: str | bytes, *, profile: Path | None = None, optimised: Path | None = None
) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
        options.optimized_model_filepath = str(optimised)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _product(operator: str, left: str, result: str, weights: np.ndarray) -> bytes:
    """An ONNX graph that multiplies its input ``x`` by constant weights."""
    from onnx import TensorProto, helper, numpy_helper

    shape = list(weights.shape)
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", getattr(TensorProto, left), shape)],
        [helper.make_tensor_value_info("y", getattr(TensorProto, result), shape)],
        [numpy_helper.from_array(weights, "w")],
    )
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


def _profile(
    path: PathLike, feeds: dict[str, np.ndarray], repeats: int
) -> tuple[list[dict], dict[str, tuple[int, ...]]]:
    """ONNX Runtime's own events, one per operator and run but the first, and weights' shapes."""
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        session = _session(str(path), profile=Path(folder) / "profile", optimised=optimised)
        for _ in range(repeats + 1):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text())
        graph = onnx.load(optimised).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    weights = {
        node.name: shapes[node.input[_WEIGHTS_AT[node.op_type]]]
        for node in graph.node
        if node.op_type in _WEIGHTS_AT and node.input[_WEIGHTS_AT[node.op_type]] in shapes
    }
    kernels = [each for each in events if each["name"].endswith(_KERNEL_TIME)]
    if not kernels:
        raise ModelError(f"{path}: ONNX Runtime told nothing of its operators")
    return kernels[len(kernels) // (repeats + 1) :], weights


def _work(facts: dict, weights: tuple[int, ...] | None) -> tuple[str, float, float]:
    """Kind of an operator, its multiplications and the bytes of its tensors, by their shapes."""
    inputs = [_tensor(each) for each in facts.get("input_type_shape", [])]
    outputs = [_tensor(each) for each in facts.get("output_type_shape", [])]
    traffic = sum(_WIDTHS.get(kind, 4) * math.prod(shape) for kind, shape in inputs + outputs)
    name, macs = facts["op_name"], 0.0
    if weights is not None:
        macs = math.prod(outputs[0][1]) * math.prod(weights[1:])
        name += ", depthwise" if weights[1] == 1 and math.prod(weights[2:]) > 1 else ", dense"
    elif "MatMul" in name:
        macs = math.prod(inputs[0][1]) * outputs[0][1][-1]  # whichever way they were transposed
    return name, macs, traffic


def _tensor(entry: dict) -> tuple[str, list[int]]:
    ((kind, shape),) = entry.items()
    return kind, shape
