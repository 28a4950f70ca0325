"""Smaller networks: the real quantisers, pruning and retraining, on real music."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch_pruning
from onnx import numpy_helper

from enhancelib import audio, compression
from enhancelib.backends import Backend, tflite_metadata
from enhancelib.calibration import LayerRange, Node, spread
from enhancelib.codecs import degrade
from enhancelib.data import PairDataset, prepare
from enhancelib.errors import ConfigError, InputError, ModelError
from enhancelib.export import export_model
from enhancelib.losses import CombinedLoss
from enhancelib.model import AudioUNet
from enhancelib.modelfiles import as_backend, open_model, stream_path
from enhancelib.pruning import _wiring, prunable
from enhancelib.restoration import TrainingConfig
from enhancelib.retraining import rounding
from enhancelib.streaming import enhance_wave

RATE = 16000
SMALL = {"base_channels": 8, "depth": 2, "sample_rate": RATE}
SMALL |= {"frame_length": 256, "hop_length": 128, "bands": 8, "blocks": 1, "dilations": (1, 2)}


def network(seed: int = 0, **changes) -> AudioUNet:
    """A small network that changes the audio: its head is not zero, its norms are not trivial."""
    torch.manual_seed(seed)
    model = AudioUNet(**{**SMALL, **changes}).eval()
    torch.nn.init.normal_(model.core.head.weight, std=0.2)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2.0)
    return model


@pytest.fixture(scope="module")
def model() -> AudioUNet:
    """Pruned, so that all that follows is known to work on a pruned network too."""
    return compression.prune_channels(network(base_channels=12), 0.3, round_to=4)


@pytest.fixture(scope="module")
def music(root) -> list[np.ndarray]:
    """Real music through a real codec, two seconds each, mono."""
    waves = []
    for file in audio.find_audio(root / "data/excerpts")[::8]:
        wave, _ = audio.load(file, sample_rate=RATE, duration_s=2.0)
        waves.append(degrade(wave[:1], "mp3-64", sample_rate=RATE))
    return waves


@pytest.fixture(scope="module")
def ranges(model, music):
    return compression.calibrate(model, music[:4])


@pytest.fixture(scope="module")
def exported(model, music, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    export_model(model, folder, preset="small", formats=("onnx", "tflite"), music=music[:1])
    return folder


@pytest.fixture(scope="module")
def manifest(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    return prepare(
        root / "data/excerpts",
        folder / "pairs",
        sample_rate=RATE,
        duration_s=1.0,
        max_files=6,
        conditions=["mp3-64"],
        n_jobs=1,
    )


def run(model: AudioUNet, wave: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.from_numpy(wave)[:, None])[:, 0].numpy()


def error_db(estimate: np.ndarray, reference: np.ndarray) -> float:
    return 10 * float(np.log10(np.square(estimate - reference).sum() / np.square(reference).sum()))


# --- calibration ---


def test_ranges_follow_the_network_and_hold_what_passed(model, ranges, music):
    assert (ranges[0].name, ranges[-1].name) == ("core.embedding", "core.head")
    assert len(ranges) == sum(hasattr(module, "groups") for module in model.modules())
    for layer in ranges:
        assert tuple(model.get_submodule(layer.name).weight.shape) == layer.shape
    depthwise, pointwise = ranges[1], ranges[2]
    assert depthwise.name == "core.encoder.0.depthwise"
    assert pointwise.input == (0.0, max(0.0, depthwise.output[1]))  # a ReLU lies between
    louder = compression.calibrate(model, [*music[:4], 4 * music[0]])
    for layer, more in zip(ranges, louder, strict=True):
        assert more.input[0] <= layer.input[0] <= layer.input[1] <= more.input[1]
    assert any(more.input != layer.input for layer, more in zip(ranges, louder, strict=True))


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


# --- quantisation of exported files ---


@pytest.fixture(scope="module")
def quantised(exported, ranges, music):
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
    quantised, exported, model, music, suffix, variant, least, most
):
    clip, stream = quantised[suffix, variant]
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
    return stored


def test_weights_are_stored_in_8_bits_and_transforms_stay_float(quantised, exported, ranges):
    tables = (16, 32), (32, 18), (18, 32), (32, 16)
    for (suffix, _), results in quantised.items():
        if suffix == ".onnx":
            weights = stored_weights(results[0].path)
            assert [weight.shape for weight in weights] == [layer.shape for layer in ranges]
            assert {weight.dtype for weight in weights} == {np.dtype(np.int8)}
            tensors = onnx.load(results[0].path).graph.initializer
            found = {tuple(t.dims): t.data_type for t in tensors if tuple(t.dims) in tables}
            assert found == dict.fromkeys(tables, onnx.TensorProto.FLOAT)


def test_static_onnx_computes_convolutions_in_integers_but_first_and_last(
    quantised, ranges, tmp_path
):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    for result in quantised[".onnx", "int8"]:
        onnxruntime.InferenceSession(result.path, options, providers=["CPUExecutionProvider"])
        kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
        floats = [kind for kind in kinds if kind in ("Conv", "FusedConv")]
        assert len(floats) == 2
        assert kinds.count("QLinearConv") == len(ranges) - 2


def test_int8_weights_are_the_nearest_steps(quantised, exported, ranges):
    """Against the float file: each weight is off by half a step of its channel at most."""
    before = stored_weights(exported / "small.onnx")
    for variant in ("int8-weights", "int8"):
        after = stored_weights(quantised[".onnx", variant][0].path)
        for weight, steps in zip(before, after, strict=True):
            step = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True) / 127
            assert np.abs(steps).max() == 127
            assert np.all(np.abs(steps * step - weight) <= 0.501 * step)


def test_metadata_of_tflite_is_there_once(quantised):
    for result in quantised[".tflite", "int8"]:
        assert tflite_metadata(result.path.read_bytes())["preset"] == "small"


def test_narrow_ranges_clip(exported, quantised, model, music):
    """Ranges are used as given: those of near-silence ruin loud music."""
    quiet = compression.calibrate(model, [1e-6 * music[0]])
    with pytest.raises(ModelError, match=r"small\.quiet\.onnx: not written; its output deviates"):
        compression.quantize_static(
            exported / "small.onnx",
            quiet,
            variant="quiet",
            music=music,
            max_error_db=quantised[".onnx", "int8"][0].error_db + 6,
        )
    assert not list(exported.glob("*quiet*"))
    assert not list(exported.glob(".partial*"))


def test_what_cannot_be_quantised_is_refused(exported, model, ranges, music, tmp_path):
    path = exported / "small.onnx"
    quantize_weights, quantize_static = compression.quantize_weights, compression.quantize_static
    with pytest.raises(ModelError, match=r"int8-weights\.onnx: exists already"):
        quantize_weights(
            quantize_weights(path, music=music, overwrite=True)[0].path.with_name("small.onnx")
        )
    with pytest.raises(ModelError, match=r"stream\.onnx: pass the whole-clip file"):
        quantize_weights(stream_path(path))
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


def test_pytorchs_dynamic_quantisation_finds_no_layer_of_ours(model):
    quantised, layers = compression.quantize_pytorch(model)
    assert layers == 0
    wave = torch.randn(1, 1, 2000)
    torch.testing.assert_close(quantised(wave), model(wave))
    linear = torch.nn.Sequential(torch.nn.Linear(64, 64))
    assert compression.quantize_pytorch(linear)[1] == 1


def test_deviation_of_a_known_error(exported, music):
    reference = open_model(exported / "small.onnx")

    class Louder(Backend):
        clip, metadata = True, reference.metadata

        def run_clip(self, wave):
            return 1.1 * reference.run_clip(wave)

    assert compression.deviation_db(Louder(), reference, music) == pytest.approx(-20, abs=0.01)


# --- pruning ---


@pytest.mark.parametrize("method", ["magnitude", "random"])
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9])
def test_pruning_zeroes_exactly_the_share(model, method, sparsity):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pruned = compression.prune(model, sparsity, method=method, seed=3)
    for layer, original in zip(prunable(pruned), prunable(model), strict=True):
        gone = layer.weight == 0
        assert int(gone.sum()) == round(sparsity * layer.weight.numel())
        assert torch.equal(layer.weight[~gone], original.weight[~gone])
        smallest = original.weight[gone].abs().max() <= original.weight[~gone].abs().min()
        assert bool(smallest) == (method == "magnitude")
    assert pruned.config == model.config
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    again = compression.prune(model, sparsity, method=method, seed=3)
    assert all(
        torch.equal(a, b) for a, b in zip(again.parameters(), pruned.parameters(), strict=True)
    )


def test_zeros_save_only_when_compressed(model, tmp_path):
    dense = model.save(tmp_path / "dense.safetensors")
    sparse = compression.prune(model, 0.9).save(tmp_path / "sparse.safetensors")
    assert sparse.stat().st_size == dense.stat().st_size
    assert compression.compressed_bytes(sparse) < 0.5 * compression.compressed_bytes(dense)


def without_channels(model: AudioUNet, kept: list[torch.Tensor]) -> AudioUNet:
    """The network in its full width, the other channels held at zero wherever they are made."""
    masked = AudioUNet(**model.config.model_dump()).eval()
    masked.load_state_dict(model.state_dict())
    core, depth = masked.core, model.config.depth
    masks = [torch.zeros(width) for width in model.config.channels]
    for mask, channels in zip(masks, kept, strict=True):
        mask[channels] = 1
    norms = [(core.embedding_norm, masks[0].repeat(model.config.bands))]
    norms += [(down.norm, masks[level + 1]) for level, down in enumerate(core.down)]
    norms += [(up.norm, masks[depth - 2 - step]) for step, up in enumerate(core.up)]
    for block in (*core.encoder, *core.bottom, *core.decoder):
        mask = next(m for m in masks if len(m) == block.pointwise.out_channels)
        norms.append((block.pointwise_norm, mask))
    for norm, mask in norms:
        norm.weight.data *= mask
        norm.bias.data *= mask
    # What a removed channel's depthwise filter makes of zeros must not reach the others either.
    for block in (*core.encoder, *core.bottom, *core.decoder):
        mask = next(m for m in masks if len(m) == block.pointwise.out_channels)
        block.pointwise.weight.data *= mask[None, :, None, None]
    return masked


@pytest.mark.parametrize("method", ["magnitude", "random"])
def test_removing_channels_equals_holding_them_at_zero(method, music):
    model = network(depth=3)
    narrow = compression.prune_channels(model, 0.5, method=method, round_to=2, seed=1)
    assert narrow.config.channels == (8, 12, 16)
    assert narrow.num_parameters < 0.5 * model.num_parameters
    kept = []
    for wide, small in (  # where each level's channels are made, found again by their values
        (
            model.core.encoder[0].depthwise_norm.running_var,
            narrow.core.encoder[0].depthwise_norm.running_var,
        ),
        (
            model.core.encoder[1].depthwise_norm.running_var,
            narrow.core.encoder[1].depthwise_norm.running_var,
        ),
        (
            model.core.bottom[0].depthwise_norm.running_var,
            narrow.core.bottom[0].depthwise_norm.running_var,
        ),
    ):
        kept.append(torch.isin(wide, small).nonzero()[:, 0])
    expected = run(without_channels(model, kept), music[0])
    np.testing.assert_allclose(run(narrow, music[0]), expected, atol=1e-6)
    assert error_db(run(model, music[0]), expected) > -60  # it does make a difference


def test_a_narrowed_network_is_an_ordinary_one(model, music, tmp_path):
    narrow = compression.prune_channels(model, 0.4, round_to=4)
    loaded = AudioUNet.load(narrow.save(tmp_path / "narrow.safetensors"))
    assert loaded.config == narrow.config
    wanted = run(narrow, music[0])
    np.testing.assert_array_equal(run(loaded, music[0]), wanted)
    streamed = enhance_wave(music[0], frame_by_frame(loaded), sample_rate=RATE)
    np.testing.assert_allclose(streamed, wanted, atol=2e-6)


def frame_by_frame(model: AudioUNet) -> Backend:
    """Open a network so that it is run frame by frame."""
    backend = as_backend(model)
    backend.clip = False
    return backend


def test_channels_with_the_largest_weights_stay(music):
    """A channel made large wherever it occurs is kept; one made small goes."""
    model = network()
    core = model.core
    for block in (*core.encoder, *core.decoder):
        for part, axis in ((block.depthwise, 0), (block.pointwise, 0), (block.pointwise, 1)):
            part.weight.data.select(axis, 3).mul_(10)
            part.weight.data.select(axis, 5).mul_(0.01)
        block.depthwise_norm.running_var[[3, 5]] = torch.tensor([1.0, 2.0])
    narrow = compression.prune_channels(model, 0.25, round_to=1)
    wide = core.encoder[0].depthwise.weight[:, 0]
    left = narrow.core.encoder[0].depthwise.weight[:, 0]
    assert len(left) == 12
    assert any(torch.equal(row, wide[3]) for row in left)
    assert not any(torch.equal(row, wide[5]) for row in left)


@pytest.mark.filterwarnings("ignore:Maximum recursive depth reached!")  # on the outermost level
def test_levels_are_wired_as_torch_pruning_finds_them():
    """An independent trace of which layers share channels, for the levels without a reshape."""
    model = network(depth=3)
    graph = torch_pruning.DependencyGraph().build_dependency(
        model, example_inputs=torch.randn(1, 1, 4000)
    )
    for level, start in ((1, model.core.down[0].convolution), (2, model.core.down[1].convolution)):
        group = graph.get_pruning_group(start, torch_pruning.prune_conv_out_channels, idxs=[0])
        theirs = {item.dep.target.name.split(" ")[0] for item in group}
        ours = set()
        for name, norm, outputs, inputs in _wiring(model.config):
            if level in (outputs, inputs):
                ours.add(f"core.{name}")
            if outputs == level:
                ours.add(f"core.{norm}")
        assert {name for name in theirs if name.startswith("core.")} == ours


def test_multiplications_counted_by_hand(model):
    config, frames = model.config, RATE // 128 + 1
    expected = 0
    levels = {"embedding": 1, "head": 1}
    for name, module in model.core.named_modules():
        if hasattr(module, "groups"):
            wide = module.weight.shape[0]
            if name in levels:
                bands = 1
            elif name.startswith("up"):
                bands = config.bands // 2
            else:
                bands = config.bands if wide == config.channels[0] else config.bands // 2
            expected += module.weight.numel() * bands * frames
    fourier = model.fourier
    for table, rows in (
        (fourier.rows_forward, fourier.columns),
        (fourier.columns_forward, fourier.rows),
        (fourier.columns_inverse, fourier.rows),
        (fourier.rows_inverse, fourier.columns),
    ):
        expected += table.numel() * rows * frames
    assert compression.macs_per_second(model) == expected


@pytest.mark.parametrize("function", [compression.prune, compression.prune_channels])
def test_impossible_pruning_is_refused(model, function):
    for sparsity in (0, 1, -0.1, float("nan")):
        with pytest.raises(ConfigError, match=r"sparsity: .* is not between 0 and 1"):
            function(model, sparsity)
    with pytest.raises(ConfigError, match="method: 'best' is neither"):
        function(model, 0.5, method="best")


def test_impossible_rounding_is_refused(model):
    with pytest.raises(ConfigError, match="round_to: 0 is less than one"):
        compression.prune_channels(model, 0.5, round_to=0)


# --- retraining ---

FAST = TrainingConfig(batch_size=2, crop_seconds=0.5, learning_rate=1e-3)


def test_fine_tuning_keeps_zeros_and_moves_the_rest(model, manifest):
    pruned = compression.prune(model, 0.5)
    tuned = compression.fine_tune(pruned, manifest, FAST, steps=2, keep_zeros=True, progress=False)
    for before, after in zip(prunable(pruned), prunable(tuned), strict=True):
        assert torch.equal(before.weight == 0, after.weight == 0)
        assert not torch.equal(before.weight, after.weight)
    free = compression.fine_tune(pruned, manifest, FAST, steps=2, progress=False)
    zeros = sum(int((layer.weight == 0).sum()) for layer in prunable(free))
    assert zeros < 0.05 * sum(layer.weight.numel() for layer in prunable(free))


def test_fine_tuning_repairs(manifest):
    """A network that a random bias has thrown off finds most of the way back."""
    model = network()
    torch.nn.init.zeros_(model.core.head.weight)
    torch.nn.init.normal_(model.core.head.bias, std=0.3)
    pairs = PairDataset(manifest, "train")
    untreated, reference = (torch.stack(side) for side in zip(*pairs, strict=True))

    def loss(network: AudioUNet) -> float:
        with torch.inference_mode():
            return float(CombinedLoss()(network(untreated), reference, untreated))

    settings = TrainingConfig(batch_size=4, crop_seconds=0.5, learning_rate=1e-2)
    tuned = compression.fine_tune(model, manifest, settings, steps=25, progress=False)
    assert loss(tuned) < 0.6 * loss(model)


def test_training_in_8_bits_gives_an_ordinary_network(model, manifest, ranges):
    tuned = compression.quantization_aware_training(
        model, manifest, ranges, FAST, steps=2, progress=False
    )
    assert tuned.state_dict().keys() == model.state_dict().keys()
    for name, before in model.state_dict().items():
        after = tuned.state_dict()[name]
        moves = "running" not in name and "tracked" not in name
        assert torch.equal(before, after) != moves, name
    again = compression.quantization_aware_training(
        model, manifest, ranges, FAST, steps=2, progress=False
    )
    assert all(
        torch.equal(a, b) for a, b in zip(again.parameters(), tuned.parameters(), strict=True)
    )


def test_rounding_acts_like_the_quantised_file(model, ranges, music, exported, quantised):
    """It deviates as much as the file does, and is gone afterwards."""
    wanted = [run(model, wave) for wave in music]
    with rounding(model, ranges):
        rounded = [run(model, wave) for wave in music]
        weight = model.core.encoder[0].pointwise.weight.detach()
        steps = weight / (weight.abs().amax(dim=(1, 2, 3), keepdim=True) / 127)
        assert torch.allclose(steps, steps.round(), atol=1e-3)
    file = quantised[".onnx", "int8"][0]
    assert error_db(np.concatenate(rounded, 1), np.concatenate(wanted, 1)) == pytest.approx(
        file.error_db, abs=3
    )
    for wave, before in zip(music, wanted, strict=True):
        np.testing.assert_array_equal(run(model, wave), before)


def test_ranges_of_another_network_are_refused(model, manifest, music):
    other = compression.calibrate(network(depth=3), music[:1])
    with pytest.raises(ModelError, match="ranges: measured on another network"):
        compression.quantization_aware_training(model, manifest, other, FAST, steps=1)


def test_no_steps_are_refused(model, manifest):
    with pytest.raises(ConfigError, match="steps: 0 is less than one"):
        compression.fine_tune(model, manifest, steps=0)
