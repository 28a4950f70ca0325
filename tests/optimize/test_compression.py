"""Fewer bits: ranges of activations, and the real quantisers on a small network and real music."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from small_network import RATE, error_db, network, run

from enhancelib.enhance.backends import Backend
from enhancelib.enhance.modelfiles import open_model, stream_path
from enhancelib.enhance.streaming import enhance_wave
from enhancelib.errors import InputError, ModelError
from enhancelib.metadata import tflite_metadata
from enhancelib.model.network import AudioUNet
from enhancelib.optimize import compression
from enhancelib.optimize.export import export_model
from enhancelib.optimize.qat import rounding
from enhancelib.optimize.quantize.calibration import CLIPPED, LayerRange, Node, spread


@pytest.fixture(scope="module")
def model() -> AudioUNet:
    """Pruned, so that all that follows is known to work on a pruned network too."""
    return compression.prune_channels(network(base_channels=12), 0.3, round_to=4)


@pytest.fixture(scope="module")
def exported(model, music, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    export_model(model, folder, preset="small", formats=("onnx", "tflite"), music=music[:1])
    return folder


# --- calibration ---


def test_ranges_follow_the_network_and_hold_what_passed(model, ranges, music):
    assert (ranges[0].name, ranges[-1].name) == ("core.embedding", "core.gate")
    assert len(ranges) == sum(hasattr(module, "groups") for module in model.modules())
    for layer in ranges:
        assert tuple(model.get_submodule(layer.name).weight.shape) == layer.shape
    depthwise, pointwise = ranges[1], ranges[2]
    assert depthwise.name == "core.encoder.0.depthwise"
    assert pointwise.input == (0.0, max(0.0, depthwise.output[1]))  # a ReLU lies between
    whole = compression.calibrate(model, music[:4], clipped=0)
    louder = compression.calibrate(model, [*music[:4], 4 * music[0]], clipped=0)
    for layer, more, most in zip(ranges, whole, louder, strict=True):
        assert most.input[0] <= more.input[0] <= layer.input[0] <= 0
        assert most.input[1] >= more.input[1] >= layer.input[1] >= 0
    assert any(most.input != more.input for more, most in zip(whole, louder, strict=True))


def test_few_values_lie_outside_a_range(model, ranges, music):
    whole = compression.calibrate(model, music[:4], clipped=0)
    passed = {layer.name: [] for layer in ranges}
    hooks = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda module, inputs, name=name: passed[name].append(inputs[0].flatten().numpy())
        )
        for name in passed
    ]
    for wave in music[:4]:
        run(model, wave)
    for hook in hooks:
        hook.remove()
    above = []
    for layer, widest in zip(ranges, whole, strict=True):
        values = np.concatenate(passed[layer.name])
        assert widest.input == (min(0, values.min()), max(0, values.max()))
        above.append(np.mean(values > layer.input[1]))
        assert above[-1] < 5 * CLIPPED
        assert np.mean(values < layer.input[0]) < 5 * CLIPPED
    assert CLIPPED / 3 < np.median(above) < 3 * CLIPPED


def test_calibration_needs_music(model):
    with pytest.raises(InputError, match="music: nothing"):
        compression.calibrate(model, [])


def test_ranges_spread_through_copies_joins_and_relus():
    layers = [
        LayerRange("embedding", (1,), (-9.0, 9.0), (-9.0, 9.0)),
        LayerRange("a", (1,), (-1.0, 2.0), (-3.0, 4.0)),
        LayerRange("head", (1,), (-8.0, 8.0), (-8.0, 8.0)),
    ]
    nodes = [
        Node("convolution", ("in",), ("e",)),
        Node("relu", ("e",), ("e+",)),
        Node("copy", ("e+",), ("x",)),
        Node("join", ("state", "x"), ("window",)),
        Node("convolution", ("window",), ("y",)),
        Node("relu", ("y",), ("y+",)),
        Node("add", ("x", "y+"), ("sum",)),
        Node("copy", ("sum",), ("h",)),
        Node("convolution", ("h",), ("out",)),
    ]
    assert spread(nodes, layers, path="f") == {
        **dict.fromkeys(("window", "state", "x", "e+"), (-1.0, 2.0)),
        "y": (-3.0, 4.0),
        "y+": (0.0, 4.0),
    }
    with pytest.raises(ModelError, match="3 convolutions, the calibrated network 2"):
        spread(nodes, layers[:2], path="f")


def test_branches_are_told_apart_by_the_shape_of_their_weights():
    layers = [
        LayerRange("gate_context", (8, 96, 1), (-9.0, 9.0), (-9.0, 9.0)),
        LayerRange("up", (16, 24, 1, 1), (-1.0, 2.0), (-3.0, 4.0)),
    ]
    nodes = [
        Node("convolution", ("x",), ("y",), shape=(16, 1, 1, 24)),
        Node("convolution", ("z",), ("g",), shape=(8, 1, 1, 96)),
    ]
    assert spread(nodes, layers, path="f") == {"x": (-1.0, 2.0), "y": (-3.0, 4.0)}
    foreign = [nodes[0], Node("convolution", ("z",), ("g",), shape=(8, 1, 1, 97))]
    with pytest.raises(ModelError, match="export that network again"):
        spread(foreign, layers, path="f")


# --- quantisation of exported files ---


@pytest.fixture(scope="module")
def quantized(exported, ranges, music):
    """Every variant of both formats: (suffix, variant) → results for clip and stream."""
    made = {}
    for suffix in (".onnx", ".tflite"):
        path, options = exported / f"small{suffix}", {"music": music}
        made[suffix, "int8-weights"] = compression.quantize_weights(path, **options)
        made[suffix, "int8-dynamic"] = compression.quantize_dynamic(path, **options)
        made[suffix, "int8"] = compression.quantize_static(path, ranges, **options)
    made[".tflite", "float16"] = compression.to_float16(exported / "small.tflite", **options)
    return made


VARIANTS = [
    (suffix, variant, least, most)
    for suffix in (".onnx", ".tflite")
    for variant, least, most in (
        ("int8-weights", -40, -70),
        ("int8-dynamic", -35, -70),
        ("int8", -30, -60),
    )
] + [(".tflite", "float16", -60, -100)]


@pytest.mark.parametrize(("suffix", "variant", "least", "most"), VARIANTS)
def test_variants_are_smaller_and_close(
    quantized, exported, model, music, suffix, variant, least, most
):
    clip, stream = quantized[suffix, variant]
    assert clip.path == exported / f"small.{variant}{suffix}"
    assert stream.path == exported / f"small.{variant}.stream{suffix}"
    for result in (clip, stream):
        original = exported / result.path.name.replace(f".{variant}", "")
        assert result.bytes == result.path.stat().st_size < 0.8 * original.stat().st_size
        assert open_model(result.path).metadata == open_model(original).metadata
        errors = [
            error_db(enhance_wave(wave, result.path, sample_rate=RATE), run(model, wave))
            for wave in music
        ]
        assert most < max(errors) < least  # close, yet not the float file under another name
        assert min(errors) - 1 < result.error_db < max(errors) + 1
    assert abs(clip.error_db - stream.error_db) < 3


def stored_weights(path) -> list[np.ndarray]:
    """What the file holds for the weights of each convolution, behind whatever restores them."""
    graph = onnx.load(path).graph
    makers = {name: node for node in graph.node for name in node.output}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    stored = []
    for node in graph.node:
        if node.op_type in ("Conv", "ConvInteger"):
            name = node.input[1]
            while name in makers:
                name = makers[name].input[0]
            stored.append(numpy_helper.to_array(tensors[name]))
    return sorted(stored, key=np.shape)  # the order of branches is the exporter's own


def test_weights_are_stored_in_8_bits_and_transforms_stay_float(quantized, exported, ranges):
    tables = (16, 32), (32, 18), (18, 32), (32, 16)
    for (suffix, _), results in quantized.items():
        if suffix == ".onnx":
            weights = stored_weights(results[0].path)
            assert [weight.shape for weight in weights] == sorted(layer.shape for layer in ranges)
            assert {weight.dtype for weight in weights} == {np.dtype(np.int8)}
            tensors = onnx.load(results[0].path).graph.initializer
            found = {tuple(t.dims): t.data_type for t in tensors if tuple(t.dims) in tables}
            assert found == dict.fromkeys(tables, onnx.TensorProto.FLOAT)


def test_static_onnx_computes_convolutions_in_integers_but_the_outer_ones(
    quantized, ranges, tmp_path
):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    for result in quantized[".onnx", "int8"]:
        onnxruntime.InferenceSession(result.path, options, providers=["CPUExecutionProvider"])
        kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
        floats = [kind for kind in kinds if kind in ("Conv", "FusedConv")]
        assert len(floats) == sum(layer.stays_float for layer in ranges) == 4
        assert kinds.count("QLinearConv") == len(ranges) - 4


def test_int8_weights_are_the_nearest_steps(quantized, exported, ranges):
    """Against the float file: each weight is off by half a step of its channel at most."""
    before = stored_weights(exported / "small.onnx")
    for variant in ("int8-weights", "int8"):
        after = stored_weights(quantized[".onnx", variant][0].path)
        for weight, steps in zip(before, after, strict=True):
            step = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True) / 127
            assert np.abs(steps).max() == 127
            assert np.all(np.abs(steps * step - weight) <= 0.501 * step)


def test_metadata_of_tflite_is_there_once(quantized):
    for result in quantized[".tflite", "int8"]:
        assert tflite_metadata(result.path.read_bytes())["preset"] == "small"


def test_a_quantised_stream_keeps_its_states_in_8_bits(quantized, exported, model, music):
    """A quarter of the memory; silence still comes out as silence of the first frame on."""
    stream = open_model(quantized[".tflite", "int8"][1].path)
    whole = open_model(stream_path(exported / "small.tflite"))
    states = stream.initial_state(2)
    before = whole.initial_state(2)
    assert [state.size for state in states] == [state.size for state in before]
    # The least work is to keep channels last; the converter does so where a transpose stood.
    channels_last = [(n, b, f, c) for n, c, b, f in (state.shape for state in before)]
    shapes = [state.shape for state in states]
    for shape, last, whole_state in zip(shapes, channels_last, before, strict=True):
        assert shape in (last, whole_state.shape)
    assert sum(map(tuple.__eq__, shapes, channels_last)) >= len(shapes) / 2
    assert {state.dtype for state in states} == {np.dtype(np.int8)}
    assert len({int(state.flat[0]) for state in states}) > 1  # zero is another step in each
    first = enhance_wave(music[0][:, :128], stream, sample_rate=RATE)
    assert error_db(first, run(model, music[0][:, :128])) < -25
    spectrum = np.zeros((2, 3, model.config.bins, 2), np.float32)
    assert np.abs(stream.step(spectrum, states)[0]).max() < 1e-6


def test_narrow_ranges_clip(exported, quantized, model, music):
    """Ranges are used as given: those of near-silence ruin loud music."""
    quiet = compression.calibrate(model, [1e-6 * music[0]])
    with pytest.raises(ModelError, match=r"small\.quiet\.onnx: not written; its output deviates"):
        compression.quantize_static(
            exported / "small.onnx",
            quiet,
            variant="quiet",
            music=music,
            max_error_db=quantized[".onnx", "int8"][0].error_db + 3,
        )
    assert not list(exported.glob("*quiet*"))
    assert not list(exported.glob(".partial*"))


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_a_stream_alone_becomes_what_it_becomes_beside_its_clip(
    suffix, exported, quantized, ranges, music, tmp_path
):
    path = stream_path(exported / f"small{suffix}")
    (alone,) = compression.quantize_static(path, ranges, music=music, output_dir=tmp_path)
    _, beside = quantized[suffix, "int8"]
    assert (alone.path.name, alone.kind) == (beside.path.name, "stream")
    assert alone.path.read_bytes() == beside.path.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [alone.path.name]


def test_what_cannot_be_quantised_is_refused(exported, model, ranges, music, tmp_path):
    path = exported / "small.onnx"
    quantize_weights, quantize_static = compression.quantize_weights, compression.quantize_static
    with pytest.raises(ModelError, match=r"int8-weights\.onnx: exists already"):
        quantize_weights(
            quantize_weights(path, music=music, overwrite=True)[0].path.with_name("small.onnx")
        )
    with pytest.raises(ModelError, match=r"no such model file"):
        quantize_weights(tmp_path / "absent.onnx")
    with pytest.raises(ModelError, match=r"small\.onnx: not quantised like this; pass a \.tflite"):
        compression.to_float16(path)
    saved = model.save(tmp_path / "small.safetensors")
    with pytest.raises(ModelError, match=r"pass a \.onnx or \.tflite file"):
        quantize_weights(saved)
    other = compression.calibrate(network(depth=3), music[:1])
    for suffix in (".onnx", ".tflite"):
        with pytest.raises(ModelError, match="export that network again"):
            quantize_static(exported / f"small{suffix}", other, variant="other")


def test_deviation_of_a_known_error(exported, music):
    reference = open_model(exported / "small.onnx")

    class Louder(Backend):
        clip, metadata = True, reference.metadata

        def run_clip(self, wave):
            return 1.1 * reference.run_clip(wave)

    assert compression.deviation_db(Louder(), reference, music) == pytest.approx(-20, abs=0.01)


def test_a_file_of_one_length_is_not_charged_for_what_it_does_not_hear(exported, music):
    reference = open_model(exported / "small.onnx")

    class Cut(Backend):
        clip, metadata, clip_samples = True, reference.metadata, 10_000
        run_clip = staticmethod(reference.run_clip)

    assert min(wave.shape[1] for wave in music) > Cut.clip_samples
    for pair in ((Cut(), reference), (reference, Cut())):
        assert compression.deviation_db(*pair, music) < -200


def test_rounding_acts_like_the_quantised_file(model, ranges, music, exported, quantized):
    """It deviates as much as the file does, and is gone afterwards.

    Without VNNI, x86 processors add two products of 8 bits in 16 bits, which saturates: there the
    file deviates more (ONNX Runtime, "Quantize ONNX models", on U8S8).
    """
    wanted = [run(model, wave) for wave in music]
    with rounding(model, ranges):
        rounded = [run(model, wave) for wave in music]
        weight = model.core.encoder[0].pointwise.weight.detach()
        steps = weight / (weight.abs().amax(dim=(1, 2, 3), keepdim=True) / 127)
        assert torch.allclose(steps, steps.round(), atol=1e-3)
    file = quantized[".onnx", "int8"][0]
    flags = torch.cpu.get_capabilities()
    saturates = flags["architecture"] == "x86_64" and not (
        flags["avx512_vnni"] or flags["avx_vnni"]
    )
    emulated = error_db(np.concatenate(rounded, 1), np.concatenate(wanted, 1))
    assert file.error_db - (8 if saturates else 3) < emulated < file.error_db + 3
    for wave, before in zip(music, wanted, strict=True):
        np.testing.assert_array_equal(run(model, wave), before)
