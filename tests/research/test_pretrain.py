"""The stages of pretraining: what one leaves, the next goes on from."""

import pytest
import torch

from enhancelib.data.envelopes import make_tables
from enhancelib.model.checkpoints import read_checkpoint
from enhancelib.model.network import AudioUNet, preset_config
from enhancelib.train.energies import EnergyTrainer
from tools.research import pretrain


@pytest.mark.parametrize("preset", pretrain.RECIPES)
def test_the_network_starts_as_published_with_the_fill_that_was_taught(
    preset, few_items, tmp_path, monkeypatch
):
    monkeypatch.setattr(pretrain, "ROOT", tmp_path)
    config = pretrain.RECIPES[preset].energies
    quick = config.model_copy(update={"steps": 2, "batch_size": 2, "seconds": 0.5})
    tables = make_tables(few_items, tmp_path / "tables", config.model, progress=False)
    run = tmp_path / "energies"
    EnergyTrainer(quick, tables, tables, run).run()

    path = pretrain.start_of(preset, run)
    facts, weights = read_checkpoint(path)
    assert len(facts["energies_sha256"]) == len(facts["weights_sha256"]) == 64
    _, taught = read_checkpoint(run / "energies.safetensors")
    published = AudioUNet.from_pretrained(preset).state_dict()
    prefix = "core.fill.predictor."
    for name, value in weights.items():
        source = taught[name.removeprefix(prefix)] if prefix in name else published[name]
        assert torch.equal(value, source), name
    assert AudioUNet.load(path).config.fill == config.model.fill


def test_every_recipe_is_of_the_geometry_of_its_preset():
    for preset, recipe in pretrain.RECIPES.items():
        geometry = preset_config(preset)
        shared = geometry.model_dump(exclude={"fill", "dropout"})
        assert recipe.model.model_dump(exclude={"fill", "dropout"}) == shared
        recipe.network.check_crop(geometry.sample_rate)
