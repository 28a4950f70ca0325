"""A little more training: after pruning, and with 8-bit arithmetic in mind."""

import lightning
import pytest
import torch
from small_network import RATE, network

from enhancelib.data.pairs import PairDataset, prepare
from enhancelib.errors import ConfigError, ModelError
from enhancelib.model.losses import CombinedLoss
from enhancelib.model.network import AudioUNet
from enhancelib.optimize import compression
from enhancelib.optimize.pruning import prunable
from enhancelib.train.task import TrainingConfig


@pytest.fixture(scope="module")
def model() -> AudioUNet:
    return network()


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


def test_a_crop_that_is_too_short_for_the_loss_is_refused(model, manifest):
    short = FAST.model_copy(update={"crop_seconds": 0.05})
    with pytest.raises(ConfigError, match=r"crop_seconds: 0\.05 is too short for the loss"):
        compression.fine_tune(model, manifest, short, steps=1, progress=False)


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


def test_a_teacher_is_imitated(manifest, music):
    """The goal is the teacher's output, here the untreated input, not the original."""
    teacher, model = AudioUNet(**network().config.model_dump()).eval(), network()
    torch.nn.init.zeros_(model.core.head.weight)
    torch.nn.init.normal_(model.core.head.bias, std=0.3)
    settings = TrainingConfig(batch_size=4, crop_seconds=0.5, learning_rate=1e-2)
    tuned = compression.fine_tune(
        model, manifest, settings, steps=25, teacher=teacher, progress=False
    )
    before = compression.deviation_db(model, teacher, music)
    assert compression.deviation_db(tuned, teacher, music) < before - 3


def test_who_equals_the_teacher_has_nothing_to_learn(model, manifest, monkeypatch):
    """Not even the gate, whose usual goal comes from the original."""
    losses = []

    def look(_, task, loader):
        with torch.inference_mode():
            losses.append(float(task.eval().losses(next(iter(loader)))[0]))

    monkeypatch.setattr(lightning.Trainer, "fit", look)
    for teacher in (model, None):
        compression.fine_tune(model, manifest, FAST, steps=1, teacher=teacher, progress=False)
    assert losses[0] < 1e-5 < losses[1]


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


def test_ranges_of_another_network_are_refused(model, manifest, music):
    other = compression.calibrate(network(depth=3), music[:1])
    with pytest.raises(ModelError, match="ranges: measured on another network"):
        compression.quantization_aware_training(model, manifest, other, FAST, steps=1)
    known = compression.calibrate(model, music[:1])
    for fewer in ([], [layer for layer in known if not layer.name.endswith("depthwise")]):
        with pytest.raises(ModelError, match="ranges: measured on another network"):
            compression.quantization_aware_training(model, manifest, fewer, FAST, steps=1)


def test_no_steps_are_refused(model, manifest):
    with pytest.raises(ConfigError, match="steps: 0 is less than one"):
        compression.fine_tune(model, manifest, steps=0)
