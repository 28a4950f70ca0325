"""TensorFlow Lite files in 8 bits by ai-edge-quantizer; see :mod:`enhancelib.optimize.quantize`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import qtyping, quantizer
from ai_edge_quantizer.qtyping import TFLOperationName as Operation
from ai_edge_quantizer.recipe import AlgorithmName
from ai_edge_quantizer.recipe_manager import RecipeManager

from enhancelib.optimize.quantize.calibration import LayerRange, Node, spread

_KINDS = {
    "CONV_2D": "convolution",
    "DEPTHWISE_CONV_2D": "convolution",
    "CONCATENATION": "join",
    "RESHAPE": "copy",
    "TRANSPOSE": "copy",
    "PAD": "copy",
    "SLICE": "copy",
    "BROADCAST_TO": "copy",
}
_CONVOLUTIONS = (Operation.CONV_2D, Operation.DEPTHWISE_CONV_2D)
_OPERATORS = {code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}
_RELU = schema.ActivationFunctionType.RELU


def write_float16(source: Path, target: Path) -> None:
    """Convolutions' weights in 16 bits, everything computed in float32."""
    half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    cast = qtyping.OpQuantizationConfig(
        weight_tensor_config=half,
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )
    recipe = RecipeManager()
    for operation in _CONVOLUTIONS:
        recipe.add_quantization_config(
            regex=".*",
            operation_name=operation,
            op_config=cast,
            algorithm_key=AlgorithmName.FLOAT_CASTING,
        )
    _apply(recipe, source, target)


def write_weights(source: Path, target: Path) -> None:
    """Convolutions' weights in 8 bits, everything computed in float."""
    _apply(_weights_recipe(), source, target)


def write_dynamic(source: Path, target: Path) -> None:
    """Dense convolutions of the U-Net in 8 bits with ranges found in use; weights all in 8 bits."""
    recipe = _weights_recipe()
    blocks = ".*(CausalBlock|BandScale).*"  # operators are named after PyTorch's modules
    recipe.add_dynamic_config(regex=blocks, operation_name=Operation.CONV_2D, num_bits=8)
    _apply(recipe, source, target)


def write_static(source: Path, target: Path, layers: Sequence[LayerRange]) -> None:
    """Every operator in 8 bits (activations signed) whose tensors all have a known range."""
    tensors, operators = _graph(source)
    constants = {name for name, has_data in tensors.items() if has_data}
    ranges = spread(operators, layers, path=source)
    known = constants | set(ranges)
    recipe = _weights_recipe()
    for node in operators:
        if {*node.inputs, *node.outputs} <= known and not {*node.outputs} <= constants:
            recipe.add_static_config(
                regex=f"^{re.escape(node.outputs[0])};?$",
                operation_name=Operation.ALL_SUPPORTED,
                activation_num_bits=8,
                weight_num_bits=8,
            )
    statistics = {
        name: {
            "min": np.full((1, 1, 1, 1), low, np.float32),
            "max": np.full((1, 1, 1, 1), high, np.float32),
        }
        for name, (low, high) in ranges.items()
    }
    _apply(recipe, source, target, statistics)
    model = schema.ModelT.InitFromPackedBuf(target.read_bytes(), 0)
    _keep_states_as_inside(model)
    _write(model, target)


def _keep_states_as_inside(model: schema.ModelT) -> None:
    """Let a stream's states go in and out as the graph keeps them: 8 bits, channels last.

    The tool wants floats outside, the converter channels first. So each state is quantised and
    transposed when it comes in, and all that undone before it goes out, to come in again with the
    next frame. Those pairs are taken away.
    """
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    outputs = {entry.name: entry for entry in signature.outputs}
    for entering in signature.inputs:
        leaving = outputs.get(entering.name.replace(b"state_", b"state_out_"))
        while leaving is not None and _shed(model, entering, leaving):
            pass
    graph.inputs = np.array([entry.tensorIndex for entry in signature.inputs], np.int32)
    graph.outputs = np.array([entry.tensorIndex for entry in signature.outputs], np.int32)


def _shed(model: schema.ModelT, entering: schema.TensorMapT, leaving: schema.TensorMapT) -> bool:
    """Remove the operator behind an input and its inverse before an output, if that is what is."""
    graph = model.subgraphs[0]
    readers = [each for each in graph.operators if entering.tensorIndex in each.inputs]
    writers = [each for each in graph.operators if leaving.tensorIndex in each.outputs]
    shared = any(leaving.tensorIndex in each.inputs for each in graph.operators)
    if len(readers) != 1 or len(writers) != 1 or shared:
        return False
    first, last = readers[0], writers[0]
    kinds = [_kind(model, each) for each in (first, last)]
    if kinds == ["TRANSPOSE", "TRANSPOSE"]:
        there, back = (
            np.frombuffer(bytes(model.buffers[graph.tensors[each.inputs[1]].buffer].data), np.int32)
            for each in (first, last)
        )
        if not np.array_equal(there[back], np.arange(len(there))):
            return False
    elif kinds != ["QUANTIZE", "DEQUANTIZE"]:
        return False
    for entry, inside in ((entering, first.outputs[0]), (leaving, last.inputs[0])):
        outer, inner = graph.tensors[entry.tensorIndex], graph.tensors[inside]
        outer.name, inner.name = inner.name, outer.name
        entry.tensorIndex = int(inside)
    graph.operators.remove(first)
    graph.operators.remove(last)
    return True


def _kind(model: schema.ModelT, operator: schema.OperatorT) -> str:
    code = model.operatorCodes[operator.opcodeIndex]
    return _OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]


def _weights_recipe() -> RecipeManager:
    recipe = RecipeManager()
    for operation in _CONVOLUTIONS:
        recipe.add_weight_only_config(regex=".*", operation_name=operation, num_bits=8)
    return recipe


def _apply(
    recipe: RecipeManager, source: Path, target: Path, statistics: dict | None = None
) -> None:
    tool = quantizer.Quantizer(str(source), recipe.get_quantization_recipe())
    tool.quantize(statistics, enable_progress_report=False).export_model(str(target))
    _shorten_names(target)


class _SharingBuilder(flatbuffers.Builder):
    """Writes vectors of the same content once: a zero per channel and tensor takes 110 kB."""

    def __init__(self, size: int):
        super().__init__(size)
        self._places: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, values: np.ndarray) -> int:
        """Do as the base class does, and return where the vector stands."""
        content = values.dtype.str, values.tobytes()
        if content not in self._places:
            self._places[content] = super().CreateNumpyVector(values)
        return self._places[content]


def _shorten_names(path: Path) -> None:
    """Number the tensors inside the graph: their names tell PyTorch's call stack, 100 kB of it."""
    content = path.read_bytes()
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers:
        if buffer.offset > 1:  # the tool keeps large constants behind the flatbuffer
            data = content[buffer.offset : buffer.offset + buffer.size]
            buffer.data, buffer.offset, buffer.size = np.frombuffer(data, np.uint8), 0, 0
    graph = model.subgraphs[0]
    outside = {*graph.inputs, *graph.outputs}
    for index, tensor in enumerate(graph.tensors):
        if index not in outside:
            tensor.name = str(index)
    path.unlink()  # the tool had marked it executable
    _write(model, path)


def _write(model: schema.ModelT, path: Path) -> None:
    builder = _SharingBuilder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())


def _graph(path: Path) -> tuple[dict[str, bool], list[Node]]:
    """Tensors by name, each with whether it is a constant, and the operators in order."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    graph = model.subgraphs[0]
    names = [tensor.name.decode() for tensor in graph.tensors]
    filled = [model.buffers[tensor.buffer].data is not None for tensor in graph.tensors]
    operators = []
    for each in graph.operators:
        kind = _kind(model, each)
        activation = getattr(each.builtinOptions, "fusedActivationFunction", None)
        operators.append(
            Node(
                _KINDS.get(kind, ""),
                tuple(names[i] for i in each.inputs if i >= 0),
                tuple(names[i] for i in each.outputs),
                relu=activation == _RELU,
                shape=tuple(graph.tensors[each.inputs[1]].shape)
                if _KINDS.get(kind) == "convolution"
                else (),
            )
        )
    return dict(zip(names, filled, strict=True)), operators
