"""The comparison of variants: each begins as a wire, trains on its budget, and is summed up."""

import dataclasses

import numpy as np
import pandas
import pytest
import soundfile
import torch

from enhancelib.data.pairs import prepare
from enhancelib.model.network import AudioUNet, ModelConfig, preset_config
from enhancelib.optimize.footprint import macs_per_second
from tools.research import ablate


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("music")
    random = np.random.default_rng(0)
    for index in range(14):
        soundfile.write(folder / f"noise{index}.flac", random.normal(0, 0.1, (44_100, 2)), 44_100)
    output = tmp_path_factory.mktemp("run") / "pairs"
    return prepare(folder, output, duration_s=1.0, conditions=["down-16000hz"], n_jobs=1)


def test_every_variant_begins_as_a_wire():
    wave = 0.1 * torch.randn(1, 1, 9000, generator=torch.Generator().manual_seed(0))
    for name, variant in ablate.VARIANTS.items():
        geometry = preset_config(ablate.PRESET).model_dump() | variant.model
        model = variant.make(ModelConfig(**geometry)).eval()
        assert (model(wave) - wave).abs().max() < 1e-5, name
        assert variant.start_from is None or variant.start_from in ablate.VARIANTS


def test_a_variant_changes_what_it_names_and_nothing_else():
    recipe = ablate.training_config(ablate.VARIANTS["baseline"]).model_dump()
    for name, variant in ablate.VARIANTS.items():
        config = ablate.training_config(variant).model_dump()
        changed = {key for key, value in config.items() if value != recipe[key]}
        assert changed == set(variant.training), name
        for key, value in variant.training.items():
            wanted = recipe[key] | value if isinstance(value, dict) else value
            assert config[key] == wanted, name


def test_the_frame_network_costs_what_the_published_one_does():
    config = preset_config(ablate.PRESET)
    costs = [macs_per_second(make(config)) for make in (ablate.network, ablate.frame_network)]
    assert costs[1] == pytest.approx(costs[0], rel=0.1)


def test_training_ends_with_its_budget_and_tuning_goes_on_from_it(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(ablate, "RUNS", tmp_path)
    small = {"base_channels": 8, "depth": 2, "bands": 16}
    trained = {}
    for name in ("baseline", "adversarial"):
        variant = dataclasses.replace(ablate.VARIANTS[name], model=small)
        model, steps = ablate.train(name, variant, manifest, seconds=1.0)
        assert 1 <= steps < 200
        trained[name] = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        again = AudioUNet(**model.config.model_dump() | small)
        again.load_state_dict(trained[name])
        assert all(map(torch.equal, model.parameters(), again.parameters()))
    assert trained["baseline"].keys() == trained["adversarial"].keys()
    assert any(
        not torch.equal(trained["baseline"][key], trained["adversarial"][key])
        for key in trained["baseline"]
    )


def test_the_summary_names_means_and_worst_clips():
    conditions = [name for group in ablate.GROUPS.values() for name in group]
    index = pandas.MultiIndex.from_product([conditions, ["a", "b"]], names=["condition", "piece"])
    columns = [*ablate.METRICS, "visqol"]
    untreated = pandas.DataFrame(3.0, index=index, columns=columns)
    values = untreated.copy()
    values.loc[("mp3-64", "b"), "visqol"] = 2.5
    values.loc[("sbc-53", "a"), "in_band_si_sdr"] = 1.0
    values.loc["noise-white-20db", "snr"] = 7.0
    row = ablate.summary(values, untreated)
    assert row["visqol_weak"] == pytest.approx(3 - 0.5 / 10)
    assert row["visqol_weak_worst_delta"] == -0.5
    assert row["in_band_si_sdr_transparent_worst_delta"] == -2.0
    assert row["snr_noisy_delta"] == 2.0
    assert row["lsd_lossless"] == 3.0
