"""The stages of pretraining: what one leaves, the next goes on from."""

import json

import pytest
import torch

from enhancelib.data.envelopes import make_tables
from enhancelib.model.checkpoints import checkpoint_sha256, read_checkpoint
from enhancelib.model.network import AudioUNet, preset_config
from enhancelib.model.weights import find_weights
from enhancelib.train.energies import EnergyTrainer
from tools.research import pretrain

PREFIX = "core.fill.predictor."


@pytest.mark.parametrize("preset", pretrain.RECIPES)
def test_what_both_stages_learnt_is_joined(preset, few_items, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "ROOT", tmp_path)
    config = pretrain.RECIPES[preset].energies
    quick = config.model_copy(update={"steps": 2, "batch_size": 2, "seconds": 0.5})
    tables = make_tables(few_items, tmp_path / "tables", config.model, progress=False)
    run = tmp_path / "energies"
    published = find_weights("published", preset=preset)
    start = pretrain.fill_of(preset, published)
    EnergyTrainer(quick, tables, tables, run, start_from=start).run()
    energies = run / "energies.safetensors"

    begun = AudioUNet.load(pretrain.make_start(preset, published, start))
    network = AudioUNet(**begun.config.model_dump())
    network.save(tmp_path / "network.safetensors", metadata={"commit": "c0ffee"})

    path = pretrain.join(preset, tmp_path / "network.safetensors", energies)
    facts, weights = read_checkpoint(path)
    assert facts["energies_sha256"] == checkpoint_sha256(energies)
    assert facts["network_sha256"] == checkpoint_sha256(tmp_path / "network.safetensors")
    *earlier, last = json.loads(facts["stages"])
    assert earlier == json.loads(read_checkpoint(published)[0].get("stages", "[]"))
    assert f"{preset}`" in last
    assert "c0ffee" in last
    recipe, taught = pretrain.RECIPES[preset], read_checkpoint(energies)[1]
    kept, energies_kept = recipe.kept, recipe.energies_kept
    assert f"{kept:.0%}" in last or kept in (0, 1)
    assert f"{energies_kept:.0%} of those" in last or energies_kept == 0
    assert ("steps on waveforms" in last) == (kept != 1)
    old, new = begun.state_dict(), network.state_dict()
    for name, value in weights.items():
        if PREFIX in name:
            learnt = taught[name.removeprefix(PREFIX)]
            if value.is_floating_point():
                learnt = energies_kept * old[name] + (1 - energies_kept) * learnt
            torch.testing.assert_close(value, learnt)
        elif value.is_floating_point():
            torch.testing.assert_close(value, kept * old[name] + (1 - kept) * new[name])
    assert AudioUNet.load(path).config.fill == config.model.fill


@pytest.mark.parametrize("preset", pretrain.RECIPES)
def test_the_energies_go_on_from_the_published_fill(preset, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "ROOT", tmp_path)
    _, fill = read_checkpoint(pretrain.fill_of(preset, find_weights("published", preset=preset)))
    whole = AudioUNet.from_pretrained(preset).state_dict()
    assert fill.keys() == {name.removeprefix(PREFIX) for name in whole if PREFIX in name}
    for name, value in fill.items():
        assert torch.equal(value, whole[PREFIX + name]), name
    path = tmp_path / f"{preset}-fill.safetensors"
    before = path.read_bytes()
    other = AudioUNet(**AudioUNet.from_pretrained(preset).config.model_dump())
    other.save(tmp_path / "new.safetensors")
    assert (
        pretrain.fill_of(preset, tmp_path / "new.safetensors") == path
    )  # what it began with stays
    assert path.read_bytes() == before


def test_a_fill_of_another_shape_is_not_lent(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pretrain, "ROOT", tmp_path)
    monkeypatch.setattr(pretrain, "make_items", lambda corpus: None)
    other = pretrain.recipe("seed-22k", {"steps": 1}, epochs=1, octaves=1, width=48)
    monkeypatch.setitem(pretrain.RECIPES, "seed-22k", other)
    published = find_weights("published", preset="seed-22k")
    assert pretrain.fill_of("seed-22k", published) is None
    monkeypatch.setattr("sys.argv", ["pretrain", "seed-22k", "--only", "network"])
    with pytest.raises(SystemExit, match=r"has another fill than the recipe"):
        pretrain.main()
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_stays_is_the_published_one_around_new_energies(
    few_items, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(pretrain, "ROOT", tmp_path)
    monkeypatch.setattr(pretrain, "ITEMS", tmp_path / "items")
    monkeypatch.setattr(pretrain, "make_items", lambda corpus: None)
    preset = "fullband-44k"
    tuned = pretrain.TUNED | {"steps": 2, "batch_size": 2, "seconds": 0.5}
    monkeypatch.setitem(
        pretrain.RECIPES, preset, pretrain.recipe(preset, tuned, epochs=1, kept=1.0)
    )
    for split in pretrain.COUNTS:
        (tmp_path / "items").mkdir(exist_ok=True)
        (tmp_path / "items" / split).symlink_to(few_items)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "manifest.csv").write_text("path,source\na,mma\n")
    command = ["pretrain", preset, "--corpus", str(corpus)]
    monkeypatch.setattr("sys.argv", command)
    pretrain.main()
    facts, weights = read_checkpoint(tmp_path / f"{preset}.safetensors")
    before, published = read_checkpoint(find_weights("published", preset=preset))
    changed = {name for name in weights if not torch.equal(weights[name], published[name])}
    assert changed
    assert all(PREFIX in name for name in changed)
    assert facts["training_config"] == before["training_config"]
    assert facts["corpus_sources"] == '["mma"]'
    *earlier, last = json.loads(facts["stages"])
    assert earlier == json.loads(before["stages"])
    assert facts["commit"] in last
    monkeypatch.setattr("sys.argv", [*command, "--only", "network"])
    with pytest.raises(SystemExit, match="its network stays as it is"):
        pretrain.main()


def test_every_recipe_is_of_the_geometry_of_its_preset():
    for preset, recipe in pretrain.RECIPES.items():
        geometry = preset_config(preset)
        shared = geometry.model_dump(exclude={"fill", "dropout"})
        assert recipe.model.model_dump(exclude={"fill", "dropout"}) == shared
        recipe.network.check_crop(geometry.sample_rate)
