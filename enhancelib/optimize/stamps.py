"""Write what a model is into its exported file, and mend the graph on the way."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from enhancelib.metadata import METADATA_NAME, Metadata
from enhancelib.model.network import AudioUNet

if TYPE_CHECKING:
    from onnx import GraphProto


def graph_names(kind: str, states: int) -> tuple[list[str], list[str]]:
    """Names of the inputs and of the outputs, in order."""
    if kind == "clip":
        return ["input"], ["output"]
    return (
        ["spectrum", *(f"state_{i}" for i in range(states))],
        ["spectrum_out", *(f"state_out_{i}" for i in range(states))],
    )


def _stamp_onnx(path: Path, metadata: Metadata, model: AudioUNet) -> None:
    """Add metadata, drop the exporter's notes (source paths), fix shapes, run ``onnx.checker``."""
    import onnx

    graph_file = onnx.load(path)
    for node in graph_file.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*graph_file.graph.input, *graph_file.graph.output, *graph_file.graph.value_info):
        del value.metadata_props[:]
    del graph_file.graph.metadata_props[:]
    _fix_reshapes(graph_file.graph)
    onnx.helper.set_model_props(graph_file, metadata.as_strings())
    onnx.checker.check_model(graph_file, full_check=True)
    onnx.save(graph_file, path)


def _fix_reshapes(graph: GraphProto) -> None:
    """Say in constants what shape each reshaping gives; the exporter computes it at every call.

    A free length that stays in its place is 0 in ONNX, and one that moves is -1. What computed the
    shapes goes.
    """
    from onnx import numpy_helper

    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    known = {table.name for table in graph.initializer}
    for node in graph.node:
        ends = (*node.input[:1], *node.output)
        if node.op_type != "Reshape" or node.input[1] in known or not shapes.keys() >= set(ends):
            continue
        before, after = (shapes[name] for name in ends)
        wanted = [
            size if isinstance(size, int) else 0 if before[i : i + 1] == [size] else -1
            for i, size in enumerate(after)
        ]
        if wanted.count(-1) < 2:
            name = f"shape_of_{node.output[0]}"
            graph.initializer.append(numpy_helper.from_array(np.array(wanted, np.int64), name))
            node.input[1] = name
            del node.attribute[:]  # `allowzero`, which takes a 0 at its word
    used = {value.name for value in graph.output}
    for node in reversed(list(graph.node)):
        if used.intersection(node.output):
            used.update(node.input)
        else:
            graph.node.remove(node)
    for entries in (graph.initializer, graph.value_info):
        for entry in [entry for entry in entries if entry.name not in used]:
            entries.remove(entry)


def _stamp_tflite(path: Path, metadata: Metadata, model: AudioUNet) -> None:
    """Add a metadata buffer and give inputs and outputs their shared names."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    content = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    signature, tensors = content.signatureDefs[0], content.subgraphs[0].tensors
    kind = "clip" if len(signature.inputs) == 1 else "stream"
    names = graph_names(kind, len(signature.inputs) - 1)
    for entries, new in zip((signature.inputs, signature.outputs), names, strict=True):
        for entry in entries:
            name = new[int(entry.name.decode().rpartition("_")[2])]
            entry.name = tensors[entry.tensorIndex].name = name
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(json.dumps(metadata.as_strings()).encode(), np.uint8)
    entry = schema.MetadataT()
    entry.name, entry.buffer = METADATA_NAME, len(content.buffers)
    content.buffers.append(buffer)
    content.metadata = [*(content.metadata or []), entry]
    builder = flatbuffers.Builder(path.stat().st_size)
    builder.Finish(content.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def _stamp_torchscript(path: Path, metadata: Metadata, model: AudioUNet) -> None:
    """Add the metadata, and the shapes of the states, which the archive does not tell."""
    shapes = [list(state.shape) for state in model.initial_state()]
    facts = metadata.as_strings() | {"state_shapes": json.dumps(shapes)}
    with quiet_exporters():
        module = torch.jit.load(str(path))
        path.write_bytes(module.save_to_buffer(_extra_files={METADATA_NAME: json.dumps(facts)}))


@contextlib.contextmanager
def quiet_exporters() -> Iterator[None]:
    """Silence what the exporters say of themselves; warnings by their exact beginning only."""
    # torchvision, torchao's GPU kernels and triton, none of them used here, are not installed.
    names = ("torch.onnx._internal.exporter._registration", "torchao", "torch.utils._pytree")
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in names}
    for logger in levels:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # TorchScript's successor is announced.
        for function in ("trace", "trace_method", "freeze", "save", "load"):
            warnings.filterwarnings("ignore", rf"`torch\.jit\.{function}` is deprecated")
        # Between PyTorch's own parts: torch.export copies trees by an older call.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        try:
            yield
        finally:
            for logger, level in levels.items():
                logger.setLevel(level)


STAMPS = {".onnx": _stamp_onnx, ".tflite": _stamp_tflite, ".pt": _stamp_torchscript}
