"""Means of checkpoints: between two networks, with the energies of one."""

import json

import pytest
import torch

from enhancelib.model.checkpoints import checkpoint_sha256, read_checkpoint
from enhancelib.model.network import AudioUNet
from tools.research import average

SHAPE = {"base_channels": 4, "depth": 2, "bands": 8, "fill": {"octaves": 1, "width": 34}}


@pytest.fixture
def two(tmp_path):
    paths = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        path = tmp_path / f"{seed}.safetensors"
        facts = {"stages": json.dumps([f"stage {seed}"]), "commit": f"c{seed}"}
        paths.append(AudioUNet(**SHAPE).save(path, metadata=facts))
    return paths


def test_a_mean_lies_between_two_networks_and_keeps_the_energies_of_the_first(two, tmp_path):
    path = average.average(*two, tmp_path / "mean.safetensors", 0.25)
    (_, these), (_, those), (facts, mean) = map(read_checkpoint, (*two, path))
    moved = 0
    for name, value in mean.items():
        if ".fill." in name or not value.is_floating_point():
            assert torch.equal(value, these[name]), name
        else:
            torch.testing.assert_close(value, 0.75 * these[name] + 0.25 * those[name])
            moved += not torch.equal(value, these[name])
    assert moved > 10
    first, last = json.loads(facts["stages"])
    assert first == "stage 1"
    assert "25%" in last
    assert checkpoint_sha256(two[1])[:12] in last
    assert facts["commit"] == "c1"


def test_a_mean_is_refused_in_one_line(two, tmp_path, monkeypatch, capsys):
    other = AudioUNet(**SHAPE | {"base_channels": 10}).save(tmp_path / "other.safetensors")
    out = tmp_path / "mean.safetensors"
    command = ["average", str(two[0]), str(other), str(out), "--share", "0.5"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit, match=r"error: .*other.safetensors: a network of another shape"):
        average.main()
    monkeypatch.setattr("sys.argv", [*command[:2], str(two[1]), str(two[0]), "--share", "0.5"])
    with pytest.raises(SystemExit, match="exists"):
        average.main()
    monkeypatch.setattr("sys.argv", [*command[:-1], "1.5"])
    with pytest.raises(SystemExit):
        average.main()
    assert "--share: 1.5 is not between 0 and 1" in capsys.readouterr().err
    assert not out.exists()
