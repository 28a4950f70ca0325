"""Fewer weights: zeros, channels, what they cost and save."""

import numpy as np
import pytest
import torch
import torch_pruning
from small_network import FILLED, RATE, error_db, network, run

from enhancelib.enhance.backends import Backend
from enhancelib.enhance.modelfiles import as_backend
from enhancelib.enhance.streaming import enhance_wave
from enhancelib.errors import ConfigError, InputError
from enhancelib.model.network import AudioUNet
from enhancelib.optimize import compression
from enhancelib.optimize.pruning import _wiring, prunable
from enhancelib.provenance import RESULT_COLUMNS


@pytest.fixture(scope="module")
def model() -> AudioUNet:
    return network()


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
        if level == model.config.depth - 1:
            ours.add("core.gate_context")
        assert {name for name in theirs if name.startswith("core.")} == ours


def test_multiplications_counted_by_hand(model):
    config, frames = model.config, RATE // 128 + 1
    expected = 0
    levels = {"embedding", "head", "gate", "gate_context"}
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


def test_counting_leaves_a_network_in_training_as_it_was():
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    compression.macs_per_second(model)
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


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


# --- what files cost ---


def test_files_are_measured(model, music, tmp_path):
    saved = model.save(tmp_path / "dense.safetensors", metadata={"preset": "small"})
    sparse = compression.prune(model, 0.5).save(tmp_path / "sparse.safetensors")
    table = compression.measure_files(
        [saved, sparse], reference=saved, music=music[:2], seed=7, command="make results"
    )
    assert tuple(table.columns) == RESULT_COLUMNS
    assert set(table["seed"]) == {7}
    assert set(table["command"]) == {"make results"}
    values = table.pivot(index="system", columns="metric", values="value")
    dense, zeroed = values.loc["dense.safetensors"], values.loc["sparse.safetensors"]
    assert dense["size"] == saved.stat().st_size / 1e6
    assert zeroed["size_gzip"] < 0.8 * dense["size_gzip"]
    assert dense["error"] < -200 < -60 < zeroed["error"] < 10
    assert dense["parameters"] == sum(value.numel() for value in model.parameters())
    pruned = sum(layer.weight.numel() for layer in prunable(model))
    added = (zeroed["zeros"] - dense["zeros"]) * dense["parameters"]
    assert added == pytest.approx(0.5 * pruned, abs=8)
    assert dense["macs"] == compression.macs_per_second(model)


def test_a_comparison_needs_music(model):
    with pytest.raises(InputError, match="music: nothing to compare"):
        compression.deviation_db(model, model, [])


def test_no_level_gets_the_width_of_the_fill():
    """Which the layers of an exported graph are told apart by."""
    model = AudioUNet(**FILLED | {"base_channels": 8})
    levels, fill = model.config.channels, model.config.fill.width
    nearest = [2 * round(width * 0.4 / 2) for width in levels]
    assert fill in nearest
    cut = compression.prune_channels(model, 0.6, round_to=2).config
    assert cut.channels == tuple(fill - 2 if width == fill else width for width in nearest)
    # At the least width there is nothing narrower.
    tight = AudioUNet(**FILLED | {"fill": FILLED["fill"] | {"width": 4}, "base_channels": 8})
    assert compression.prune_channels(tight, 0.9, round_to=4).config.channels == (8, 8)
