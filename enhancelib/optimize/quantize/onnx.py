"""Quantise ONNX files with onnxruntime.quantization; see :mod:`enhancelib.optimize.quantize`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationMethod,
    QuantType,
    quantize_dynamic,
)
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process

from enhancelib.optimize.quantize.calibration import LayerRange, Node, spread

_KINDS = {
    "Conv": "convolution",
    "Relu": "relu",
    "Concat": "join",
    "Reshape": "copy",
    "Transpose": "copy",
    "Squeeze": "copy",
    "Unsqueeze": "copy",
    "Expand": "copy",
    "Slice": "copy",
}

UNIFORM = 512
"""Constants of so many equal elements are not stored."""


def write_weights(source: Path, target: Path) -> None:
    """Convolutions' weights in 8 bits, everything computed in float."""
    content = onnx.load(source)
    _store_weights_in_8_bits(content)
    _save(content, source, target)


def write_dynamic(source: Path, target: Path) -> None:
    """Dense convolutions in 8 bits with ranges found in use; all other weights stored in 8 bits."""
    prepared = _prepared(source)
    dense = [node.name for node in _convolutions(prepared) if _groups(node) == 1]
    quantize_dynamic(
        prepared, target, nodes_to_quantize=dense, per_channel=True, weight_type=QuantType.QInt8
    )
    content = onnx.load(target)
    _store_weights_in_8_bits(content)
    _save(content, source, target)


def write_static(source: Path, target: Path, layers: Sequence[LayerRange]) -> None:
    """Every operator in 8 bits (QDQ, activations unsigned) whose tensors all have a known range."""
    prepared = _prepared(source)
    constants = {tensor.name: tuple(tensor.dims) for tensor in prepared.graph.initializer}
    nodes = [
        Node(
            _KINDS.get(node.op_type, ""),
            tuple(node.input),
            tuple(node.output),
            shape=constants.get(node.input[1], ()) if node.op_type == "Conv" else (),
        )
        for node in prepared.graph.node
    ]
    ranges = spread(nodes, layers, path=source)
    known = set(constants) | set(ranges)
    body = [node for node in prepared.graph.node if {*node.input, *node.output} <= known]
    quantizer = QDQQuantizer(
        prepared,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(
            CalibrationMethod.MinMax,
            {name: tuple(map(np.float32, ends)) for name, ends in ranges.items()},
        ),
        nodes_to_quantize=[node.name for node in body],
        nodes_to_exclude=[],
        op_types_to_quantize=sorted({node.op_type for node in body}),
        extra_options={},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    content = quantizer.model.model
    _store_weights_in_8_bits(content)
    _save(content, source, target)


def _prepared(path: Path) -> onnx.ModelProto:
    """The graph with its shapes inferred, as the quantiser wants it."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / path.name
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        return onnx.load(prepared)


def _save(content: onnx.ModelProto, source: Path, target: Path) -> None:
    """Write, checked, with the metadata of the source; without long names and notes on shapes."""
    del content.graph.value_info[:]
    _generate_uniform_constants(content.graph)
    _shorten_names(content.graph)
    facts = onnx.load(source, load_external_data=False).metadata_props
    helper.set_model_props(content, {entry.key: entry.value for entry in facts})
    onnx.checker.check_model(content, full_check=True)
    onnx.save(content, target)


def _shorten_names(graph: onnx.GraphProto) -> None:
    """Number the nodes and the tensors between them: their names take 60 kB."""
    outside = {value.name for value in (*graph.input, *graph.output)}
    numbers: dict[str, str] = {"": ""} | {name: name for name in outside}
    for tensor in graph.initializer:
        tensor.name = numbers.setdefault(tensor.name, f"{len(numbers):x}")
    for index, node in enumerate(graph.node):
        node.name = f"{index:x}"
        for names in (node.input, node.output):
            names[:] = [numbers.setdefault(name, f"{len(numbers):x}") for name in names]


def _generate_uniform_constants(graph: onnx.GraphProto) -> None:
    """Have large constants of one value, a clip's first states, made when the file is loaded."""
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.size < UNIFORM or (values != values.flat[0]).any():
            continue
        shape, value = f"{tensor.name}_shape", numpy_helper.from_array(values.flat[:1])
        node = helper.make_node("ConstantOfShape", [shape], [tensor.name], value=value)
        node.name = f"{tensor.name}_made"
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(np.int64(values.shape), shape))
        graph.node.insert(0, node)


def _convolutions(content: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in content.graph.node if node.op_type == "Conv"]


def _groups(node: onnx.NodeProto) -> int:
    return next((entry.i for entry in node.attribute if entry.name == "group"), 1)


def _store_weights_in_8_bits(content: onnx.ModelProto) -> None:
    """Replace float weights of convolutions by int8 steps times a scale per output channel.

    As Cast and Mul, which ONNX Runtime computes once when it loads the file; a DequantizeLinear
    would be computed again on every frame.
    """
    graph = content.graph
    weights = {each.name: each for each in graph.initializer if each.data_type == TensorProto.FLOAT}
    for name in sorted({node.input[1] for node in _convolutions(content)} & set(weights)):
        values = numpy_helper.to_array(weights[name])
        scale = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True) / 127
        scale = np.maximum(scale, 1e-12).astype(np.float32)
        steps = np.rint(values / scale).astype(np.int8)
        graph.initializer.remove(weights[name])
        graph.initializer.append(numpy_helper.from_array(steps, f"{name}_int8"))
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
        cast = helper.make_node("Cast", [f"{name}_int8"], [f"{name}_steps"], to=TensorProto.FLOAT)
        product = helper.make_node("Mul", [f"{name}_steps", f"{name}_scale"], [name])
        cast.name, product.name = f"{name}_cast", f"{name}_product"
        graph.node.insert(0, product)
        graph.node.insert(0, cast)
