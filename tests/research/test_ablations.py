"""The comparison of variants: each changes one thing, trains on its budget, and is summed up."""

import dataclasses

import numpy as np
import pandas
import pytest
import soundfile
import torch

from enhancelib.errors import ConfigError, InputError
from enhancelib.model.network import AudioUNet
from enhancelib.optimize.footprint import macs_per_second
from tools.measure import tables
from tools.research import ablate, clips, pretrain

NETWORKS = {name: v for name, v in ablate.VARIANTS.items() if isinstance(v, ablate.Network)}
ENERGIES = {name: v for name, v in ablate.VARIANTS.items() if isinstance(v, ablate.Energies)}


@pytest.fixture
def items(few_items, tmp_path, monkeypatch):
    """Items in both splits, where ablations look for them; runs go elsewhere."""
    folder = tmp_path / "items"
    folder.mkdir()
    for split in pretrain.COUNTS:
        (folder / split).symlink_to(few_items)
    for module in (ablate, pretrain):
        monkeypatch.setattr(module, "ITEMS", folder)
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(ablate, "RUNS", tmp_path / "runs")


def test_every_variant_begins_as_a_wire():
    wave = 0.1 * torch.randn(1, 1, 9000, generator=torch.Generator().manual_seed(0))
    for name, variant in NETWORKS.items():
        model = variant.untrained().eval()
        assert (model(wave) - wave).abs().max() < 1e-5, name
        assert variant.start_from is None or variant.start_from in NETWORKS


@pytest.mark.parametrize(("variants", "base"), [(NETWORKS, "baseline"), (ENERGIES, "energies")])
def test_a_variant_changes_what_it_names_and_nothing_else(variants, base):
    recipe = variants[base].config().model_dump()
    for name, variant in variants.items():
        config = variant.config().model_dump()
        changed = {key for key, value in config.items() if value != recipe[key]}
        if fill := getattr(variant, "fill", {}):
            assert changed == {"model"}, name
            wanted = recipe["model"] | {"fill": recipe["model"]["fill"] | fill}
            assert config["model"] == wanted, name
            continue
        assert changed == set(variant.training), name
        for key, value in variant.training.items():
            wanted = recipe[key] | value if isinstance(value, dict) else value
            assert config[key] == wanted, name


def test_no_two_variants_are_the_same():
    asked = [dataclasses.replace(variant, question="") for variant in ablate.VARIANTS.values()]
    assert all(one != other for at, one in enumerate(asked) for other in asked[:at])


def test_the_frame_network_costs_what_its_rival_does():
    costs = [macs_per_second(NETWORKS[name].untrained()) for name in ("no-fill", "frame-net")]
    assert costs[1] == pytest.approx(costs[0], rel=0.1)


def test_a_network_learns_around_the_published_fill(items):
    small = {"base_channels": 8, "depth": 2, "bands": 16}
    trained = {}
    for name in ("baseline", "adversarial"):
        variant = dataclasses.replace(NETWORKS[name], model=small)
        model, steps = variant.train(name, seconds=1.0)
        assert 1 <= steps < 200
        trained[name] = torch.load(ablate.RUNS / f"{name}.pt", weights_only=True)["weights"]
        again = AudioUNet(**model.config.model_dump())
        again.load_state_dict(trained[name])
        assert all(map(torch.equal, model.parameters(), again.parameters()))
    published = AudioUNet.from_pretrained(ablate.PRESET).state_dict()
    one, other = trained.values()
    assert one.keys() == other.keys()
    for key, value in one.items():
        if ".fill." in key:
            assert torch.equal(value, published[key]), key
            assert torch.equal(other[key], published[key]), key
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_who_goes_on_from_another_needs_it_of_this_commit_budget_and_seed(items, monkeypatch):
    variant = NETWORKS["adversarial"]
    with pytest.raises(ConfigError, match=r"baseline\.pt: not there, .* name baseline too"):
        variant.start(1.0)
    ablate.RUNS.mkdir()
    weights = {"bias": torch.ones(1)}
    torch.save({"weights": weights, **ablate._made(1.0, 0)}, ablate.RUNS / "baseline.pt")
    assert variant.start(1.0).keys() == weights.keys()
    for other in ((2.0, 0), (1.0, 1)):
        with pytest.raises(ConfigError, match="not of this commit, budget and seed"):
            variant.start(*other)
    monkeypatch.setattr(ablate, "commit", lambda: "decade")
    with pytest.raises(ConfigError, match="not of this commit, budget and seed"):
        variant.start(1.0)


@pytest.mark.parametrize("name", ["baseline", "energies"])
def test_another_seed_begins_with_other_weights_and_draws(name, items):
    variant = ablate.VARIANTS[name]
    quick = {"batch_size": 2}
    if name == "baseline":
        variant = dataclasses.replace(
            variant, model={"base_channels": 8, "depth": 2, "bands": 16}, training=quick
        )
    else:
        variant = dataclasses.replace(variant, training=quick | {"seconds": 0.5})
    seeds = [variant.config(seed).seed for seed in (0, 1)]
    assert seeds == [0, 1]
    models = [variant.train(name, seconds=0.2, seed=seed)[0].state_dict() for seed in seeds]
    moved = [key for key in models[0] if not torch.equal(models[0][key], models[1][key])]
    learnt = [key for key in moved if key.endswith("weight")]
    assert len(learnt) > 5
    assert all((".fill." in key) == (name == "energies") for key in learnt)


def test_energies_learn_for_the_published_network(items):
    quick = {"batch_size": 2, "seconds": 0.5}
    variant = dataclasses.replace(ENERGIES["narrow-energies"], training=quick)
    model, steps = variant.train("narrow-energies", seconds=1.0)
    assert 1 <= steps < 400
    assert model.config.fill.width == variant.fill["width"]
    published = AudioUNet.from_pretrained(ablate.PRESET).state_dict()
    for key, value in model.state_dict().items():
        if ".fill.predictor." not in key:
            assert torch.equal(value, published[key]), key
    assert model.core.fill.predictor.head.weight.abs().max() > 0  # zero when untrained


def frame(value):
    index = pandas.MultiIndex.from_product(
        [["recorded", "singing"], sum(clips.GROUPS.values(), ()), ["a", "b"]],
        names=["kind", "condition", "piece"],
    )
    return pandas.DataFrame(value, index=index, columns=[*clips.METRICS, "visqol"]).sort_index()


def test_the_summary_names_means_and_worst_clips_of_each_kind():
    untreated = frame(3.0)
    values = untreated.copy()
    values.loc[("singing", "mp3-64", "b"), "visqol"] = 2.5
    values.loc[("recorded", "sbc-53", "a"), "in_band_si_sdr"] = 1.0
    values.loc[("recorded", "lossless", "b"), "snr"] = 2.0
    values.loc[("singing", "noise-white-20db"), "snr"] = 7.0
    # Nothing was emptied in one clip: the mean is that of the others.
    values.loc[("singing", "aac-64", "a"), "band_energy_error"] = np.nan
    values.loc[("singing", "aac-64", "b"), "band_energy_error"] = 12.0
    table = clips.summary(values, untreated)
    assert list(table.index) == ["recorded", "singing"]
    wanted = {
        "clips": (2, 2),
        "visqol_weak": (3, 3 - 0.5 / 10),
        "visqol_weak_worst_delta": (0, -0.5),
        "lsd_weak": (3, 3),
        "band_energy_error_weak": (3, (8 * 3 + 12) / 9),
        "band_energy_bias_weak": (3, 3),
        "in_band_si_sdr_weak_delta": (0, 0),
        "lsd_middle": (3, 3),
        "snr_noisy_delta": (0, 2),
        "in_band_si_sdr_transparent_worst_delta": (-2, 0),
        "visqol_lossless_worst_delta": (0, 0),
        "snr_lossless_worst": (2, 3),
    }
    assert list(table) == list(wanted)
    for name, figures in wanted.items():
        assert tuple(table[name]) == pytest.approx(figures), name


def test_clips_are_of_validation_pieces_that_were_never_coded(tmp_path, monkeypatch):
    corpus, random = tmp_path / "corpus", np.random.default_rng(0)
    corpus.mkdir()
    rows = []
    for kind, split, coded in [
        *[("band", "validation", 0)] * 3,
        *[("instrument", "validation", 0)] * 3,
        ("song", "validation", 1),
        ("singing", "train", 0),
        ("signal", "validation", 0),
        ("speech", "validation", 0),
    ]:
        name = f"{kind}{len(rows)}.flac"
        soundfile.write(corpus / name, random.normal(0, 0.1, (50_000, 2)), 44_100)
        rows.append((name, kind, f"source{len(rows)}", "me", "CC0", name, split, coded))
    columns = ["path", "kind", "source", "author", "licence", "group", "split", "once_lossy"]
    pandas.DataFrame(rows, columns=columns).to_csv(corpus / "manifest.csv", index=False)
    monkeypatch.setattr(clips, "CORPUS", corpus)
    groups = {"weak": ("down-16000hz",), "lossless": ("lossless",)}
    monkeypatch.setattr(clips, "GROUPS", groups)
    manifest = clips.validation_clips(tmp_path / "runs")
    values = clips.measure(lambda wave: 2 * wave, manifest, sample_rate=44_100)
    pieces = values.reset_index().groupby("kind")["piece"].nunique()
    assert pieces.to_dict() == {"recorded": clips.PER_KIND, "speech": 1}
    # Twice the original: the error is as large as the music.
    assert values.xs("lossless", level="condition")["snr"].to_numpy() == pytest.approx(0, abs=1e-3)
    monkeypatch.setattr(clips, "CORPUS", tmp_path / "nowhere")
    with pytest.raises(InputError, match="make corpus first"):
        clips.validation_clips(tmp_path / "runs")


def test_rows_take_the_place_of_older_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    monkeypatch.setattr(ablate, "RUNS", tmp_path / "runs")
    path = tmp_path / "ablations.csv"

    def rows(variant, steps, commit="c0ffee"):
        facts = {"variant": variant, "commit": commit, "lsd_weak": 1.23456}
        facts |= {"steps": steps, "parameters": 1_093_237} if variant != "untreated" else {}
        return pandas.DataFrame([{"kind": kind, **facts} for kind in ("speech", "song")])

    for variant, steps in [("energies", 1), ("baseline", 2), ("untreated", 3), ("energies", 4)]:
        ablate.write(rows(variant, steps), path)
    table = pandas.read_csv(path)
    assert list(table["variant"].unique()) == ["untreated", "baseline", "energies"]
    assert table["steps"].fillna(0).unique().tolist() == [0, 2, 4]
    assert "1093237" in path.read_text()
    assert list(table["kind"]) == ["song", "speech"] * 3
    assert set(table["lsd_weak"]) == {1.235}
    with pytest.raises(InputError, match="rows of 2 commits"):
        ablate.write(rows("narrow", 5, commit="decade"), path)
    assert pandas.read_csv(path).equals(table)
