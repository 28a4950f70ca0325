"""Operators' work is that of the network, and no operator beats the roof."""

import numpy as np
import pytest
from small_network import network

from enhancelib.errors import ModelError
from enhancelib.optimize.export import export_model
from enhancelib.optimize.footprint import macs_per_second
from enhancelib.optimize.roofline import _work, ceilings, operator_times


@pytest.fixture(scope="module")
def model():
    """Of widths that the runtime need not fill up to whole vectors."""
    return network(widths=(16, 32))


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    export_model(model, folder, preset="small", formats=["onnx"])
    return folder


def test_the_work_is_that_of_the_network(model, exported):
    """Multiplications, counted from what the runtime tells, are those that PyTorch counts."""
    table = operator_times(exported / "small.onnx", seconds=1.0, repeats=2)
    assert table["macs"].sum() == pytest.approx(macs_per_second(model), rel=0.03)  # spare frames
    assert table["share"].sum() == pytest.approx(1)
    assert (table["ms"] > 0).all()
    assert table["ms"].is_monotonic_decreasing
    frame = operator_times(exported / "small.stream.onnx", seconds=1.0, repeats=2)
    transforms = table.loc[table.index.str.contains("MatMul"), "macs"].sum()
    assert transforms > 0
    assert frame["macs"].sum() == pytest.approx(table["macs"].sum() - transforms, rel=0.03)


def test_convolutions_are_counted_by_hand():
    """3 x 3 over 5 x 7 places, 8 channels from 4; then depthwise; then a quantised one."""
    facts = {
        "op_name": "Conv",
        "input_type_shape": [{"float": [1, 4, 7, 9]}, {"float": [8, 4, 3, 3]}],
        "output_type_shape": [{"float": [1, 8, 5, 7]}],
    }
    name, macs, traffic = _work(facts, (8, 4, 3, 3))
    assert (name, macs) == ("Conv, dense", 8 * 4 * 9 * 5 * 7)
    assert traffic == 4 * (4 * 7 * 9 + 8 * 4 * 9 + 8 * 5 * 7)
    name, macs, _ = _work(facts | {"op_name": "QLinearConv"}, (8, 1, 3, 3))
    assert (name, macs) == ("QLinearConv, depthwise", 8 * 9 * 5 * 7)
    name, macs, _ = _work(facts | {"op_name": "Relu"}, None)
    assert (name, macs) == ("Relu", 0)


def test_no_operator_beats_the_roof(exported):
    roof = ceilings()
    assert set(roof) == {"float32", "int8", "memory"}
    assert all(np.isfinite(value) and value > 1e8 for value in roof.values())
    table = operator_times(exported / "small.onnx", seconds=1.0, repeats=2)
    assert (table["macs_per_second"] < 3 * roof["float32"]).all()  # a busy machine errs


def test_only_onnx_files_tell(tmp_path):
    with pytest.raises(ModelError, match="is a tflite file"):
        operator_times(tmp_path / "small.tflite")
    with pytest.raises(ModelError, match="no such model file"):
        operator_times(tmp_path / "none.onnx")
