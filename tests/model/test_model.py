"""The network: identity at the start, causal, one set of layers for clip and stream."""

import pickle
import re
import resource
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

from enhancelib.enhance.modelfiles import open_stream
from enhancelib.errors import ConfigError, ModelError
from enhancelib.model.blocks import CausalBlock
from enhancelib.model.checkpoints import checkpoint_sha256, read_checkpoint
from enhancelib.model.network import PRESETS, AudioUNet, preset_config
from enhancelib.show.parts import parts


@pytest.fixture(scope="module", params=list(PRESETS))
def model(request) -> AudioUNet:
    """A preset whose head is not zero and whose norms have seen data, so it changes the audio."""
    torch.manual_seed(0)
    model = AudioUNet.from_preset(request.param)
    for layer in (model.core.head, model.core.gate_context):
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.02)
    for _ in range(20):
        model(0.1 * torch.randn(4, 1, 10_000))
    return model.eval()


def noise(*shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("preset", list(PRESETS))
def test_an_untrained_network_is_the_identity(preset):
    wave = noise(2, 1, 30_001)
    with torch.no_grad():
        out = AudioUNet.from_preset(preset).eval()(wave)
    torch.testing.assert_close(out, wave, atol=2e-6, rtol=0)


@pytest.mark.parametrize("samples", [1, 2, 255, 256, 511, 512, 513, 1023, 1024, 1025, 5000])
def test_any_length_comes_back(model, samples):
    with torch.no_grad():
        assert model(noise(1, 1, samples)).shape == (1, 1, samples)


def test_the_transform_is_a_windowed_fft(model):
    """Against numpy's FFT of frames cut by hand."""
    wave, hop = noise(1, 1, 4000), model.config.hop_length
    length = model.config.frame_length
    padded = np.pad(wave[0, 0].numpy(), (hop, 3 * hop))
    window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length))
    spectrum = model.analyze(wave)[0].numpy()
    for frame in (0, 1, spectrum.shape[2] - 1):
        expected = np.fft.rfft(window * padded[frame * hop : frame * hop + length])
        np.testing.assert_allclose(spectrum[0, :, frame], expected.real, atol=2e-5)
        np.testing.assert_allclose(spectrum[1, :, frame], expected.imag, atol=2e-5)


def test_frame_by_frame_equals_the_clip(model):
    spectrum = model.analyze(noise(2, 1, 20_000))
    states = model.initial_state(2)
    with torch.no_grad():
        clip, _ = model.core(spectrum, states)
        frames, wanted = (each.permute(0, 3, 2, 1) for each in (spectrum, clip))
        tolerance = 1e-4 * float(clip.abs().max())
        for frame in range(frames.shape[1]):
            out, *states = model.step(frames[:, frame : frame + 1], *states)
            torch.testing.assert_close(out[:, 0], wanted[:, frame], atol=tolerance, rtol=0)
        first, *states = model.step(frames[:, :5], *model.initial_state(2))
        rest, *_ = model.step(frames[:, 5:], *states)
        torch.testing.assert_close(torch.cat([first, rest], 1), wanted, atol=tolerance, rtol=0)
    assert float((clip - spectrum).abs().max()) > 0.1  # the comparison is of something


def test_the_future_does_not_reach_back(model):
    """A change at sample n alters nothing more than one frame, the latency, before it."""
    wave = noise(1, 1, 30_000)
    changed, at = wave.clone(), 20_000
    changed[..., at:] = 0.5 * noise(1, 1, 10_000).flip(2)
    with torch.no_grad():
        difference = (model(wave) - model(changed)).abs()[0, 0]
    first = int(torch.nonzero(difference > 1e-6)[0])
    assert at - model.latency_samples <= first <= at


def test_silence_stays_silent(model):
    with torch.no_grad():
        assert float(model(torch.zeros(1, 1, 10_000)).abs().max()) < 1e-6


def test_channels_do_not_mix(model):
    wave = noise(2, 1, 9000)
    with torch.no_grad():
        both = model(wave)
        torch.testing.assert_close(both[:1], model(wave[:1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("preset", list(PRESETS))
def test_size_of_the_presets(preset, tmp_path):
    model = AudioUNet.from_preset(preset)
    assert 500_000 <= model.num_parameters <= 2_000_000
    assert model.save(tmp_path / "model.safetensors").stat().st_size < 10_000_000
    assert model.latency_samples / model.config.sample_rate < 0.025


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_checkpoints_come_back_equal(model, tmp_path, suffix):
    path = model.save(tmp_path / f"model{suffix}", metadata={"note": "kept"})
    again = AudioUNet.load(path)
    assert again.config == model.config
    assert not again.training
    assert read_checkpoint(path)[0]["note"] == "kept"
    wave = noise(1, 1, 3000)
    with torch.no_grad():
        assert torch.equal(again(wave), model(wave))
    with pytest.raises(ModelError, match="exists already"):
        model.save(path)
    assert len(checkpoint_sha256(path)) == 64


def test_the_same_weights_and_facts_are_the_same_file(tmp_path):
    """A run that goes on knows what it started from by this hash; facts in no order would lose it.

    The library that writes the file draws an order of the facts anew every time.
    """
    model = AudioUNet(base_channels=4, depth=2)
    facts = {f"fact {number}": f'"é\n\x7f {number}' for number in range(8)}
    paths = [
        model.save(tmp_path / f"{turn}.safetensors", metadata=dict(order))
        for turn, order in enumerate([facts.items(), reversed(facts.items()), facts.items()])
    ]
    assert len(set(map(checkpoint_sha256, paths))) == 1
    read, weights = read_checkpoint(paths[0])
    assert read == facts | {"config": model.config.model_dump_json()}
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


def test_what_is_kept_beside_the_weights_does_not_change_their_configuration(tmp_path):
    model = AudioUNet(base_channels=4, depth=2)
    other = AudioUNet(base_channels=4, depth=3).config.model_dump_json()
    path = model.save(tmp_path / "model.safetensors", metadata={"config": other, "note": "kept"})
    assert AudioUNet.load(path).config == model.config
    assert read_checkpoint(path)[0]["note"] == "kept"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_checkpoint_that_cannot_be_written_leaves_nothing(model, tmp_path, suffix):
    """A limit on the size of files stands in for a full disk: writing fails half-way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(ModelError, match=rf"model\{suffix}: cannot be written") as caught:
            model.save(tmp_path / f"model{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_another_suffix_leaves_no_folder(model, tmp_path):
    with pytest.raises(ModelError, match=r"are saved as \.safetensors or \.pth"):
        model.save(tmp_path / "new" / "model.h5")
    assert not list(tmp_path.iterdir())


def test_a_shut_gate_gives_back_the_input_and_an_open_one_the_correction(model):
    """Whatever the correction: shut is the transform and its inverse, no more."""
    wave, bias = noise(1, 1, 20_000), model.core.gate.bias
    before = bias.detach().clone()
    ungated = AudioUNet(**model.config.model_dump() | {"gated": False}).eval()
    missing, extra = ungated.load_state_dict(model.state_dict(), strict=False)
    assert not missing
    assert {name.split(".")[1] for name in extra} == {"gate", "gate_context"}
    with torch.no_grad():
        corrected = ungated(wave)
        assert float((corrected - wave).abs().max()) > 1e-3
        for logit, expected in ((-40.0, wave), (40.0, corrected)):
            bias.fill_(logit)
            out, logits = model.with_gate(wave)
            torch.testing.assert_close(out, expected, atol=2e-6, rtol=0)
            assert logits.shape == (1, model.config.bands, model.analyze(wave).shape[3])
            seen = parts(model, wave[:, 0].numpy())
            assert (seen.gate == float(logit > 0)).all()
            np.testing.assert_array_equal(seen.corrected, seen.enhanced)
            np.testing.assert_array_equal(seen.enhanced, out[:, 0].numpy())
        bias.copy_(before)


@pytest.mark.parametrize("dilation", [1, 5])
def test_a_block_without_bands_trains_as_the_convolution_does(dilation):
    """While it learns on a CPU, it takes three products in place of PyTorch's convolution."""
    torch.manual_seed(0)
    block = CausalBlock(6, dilation, height=1).double()
    x = torch.randn(2, 6, 1, 20, dtype=torch.float64, requires_grad=True)
    state = torch.randn(2, 6, 1, block.history, dtype=torch.float64)
    norms = block.depthwise_norm, block.pointwise_norm
    for norm in norms:
        norm.momentum = 0.0
        norm.eval()
    learnt, gradients = [], []
    for training in (True, False):
        block.training = training
        out, left = block(x, state)
        learnt.append(out)
        gradients.append(torch.autograd.grad(out.sin().sum(), (x, block.depthwise.weight)))
        assert torch.equal(left, torch.cat([state, x], dim=3)[..., -block.history :])
    torch.testing.assert_close(*learnt)
    for pair in zip(*gradients, strict=True):
        torch.testing.assert_close(*pair)


def test_a_network_without_a_gate_has_none_to_show():
    assert parts(AudioUNet(base_channels=8, depth=2, gated=False), np.zeros((1, 2048))).gate is None


def test_the_gate_works_band_by_band(model):
    """With one band open, only its bins change."""
    wave, bias = noise(1, 1, 20_000), model.core.gate.bias
    before, width = bias.detach().clone(), model.config.hop_length // model.config.bands
    with torch.no_grad():
        bias.fill_(-40.0)
        bias[3] = 40.0
        spectrum = model.analyze(wave)
        changed, _ = model.core(spectrum, model.initial_state(1))
        bias.copy_(before)
    bins = (changed - spectrum).abs().amax(dim=(0, 1, 3)) > 1e-6
    assert bins[3 * width : 4 * width].all()
    assert int(bins.sum()) == width


def test_every_parameter_learns():
    model = AudioUNet(base_channels=8, depth=2)
    torch.nn.init.normal_(model.core.head.weight, std=0.1)
    model(noise(2, 1, 8000)).square().mean().backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in model.parameters())


def test_custom_model_of_the_seed():
    model = AudioUNet(base_channels=64, depth=5, dropout=0.2)
    assert len(model.config.channels) == 5
    assert model(noise(1, 1, 2048)).shape == (1, 1, 2048)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"dept": 3}, "dept"),
        ({"depth": 40}, "depth"),
        ({"dropout": 1.5}, "dropout"),
        ({"bands": 24}, "bands"),
        ({"dilations": (1, 0)}, "dilations"),
        ({"hop_length": 256}, "hop_length"),
        ({"sample_rate": 5}, "sample_rate"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings, named):
    with pytest.raises(ConfigError, match=named):
        AudioUNet(**settings)


def test_unknown_preset_names_the_known():
    with pytest.raises(ConfigError, match="fullband-44k"):
        preset_config("hifi")


def write_foreign(path):
    torch.save({"metadata": {"config": "{}"}, "state_dict": {"weight": torch.zeros(3)}}, path)


def write_pickle(path):
    path.write_bytes(pickle.dumps({"run": print}))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: None,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a model" * 100),
        write_foreign,
        write_pickle,
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_foreign_files_are_refused_in_one_line(tmp_path, write, suffix):
    path = tmp_path / f"model{suffix}"
    write(path)
    with pytest.raises(ModelError) as caught:
        AudioUNet.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


class Hostile:
    """Leaves a mark when it is unpickled by a reader that runs what is in a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("form", ["pickle", "torch", "weights"])
@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_a_hostile_file_is_refused_and_not_run(tmp_path, form, suffix):
    path, mark = tmp_path / f"model{suffix}", tmp_path / "mark"
    content = {"metadata": {}, "state_dict": {"weight": Hostile(mark)}}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(Hostile(mark) if form == "torch" else content, path)
    readers = [open_stream, *[AudioUNet.load, read_checkpoint] * (suffix == ".pth")]
    for read in readers:
        with pytest.raises(ModelError) as caught:
            read(path)
        said = str(caught.value)
        assert str(path) in said
        assert "\n" not in said
        assert "weights_only" not in said
        assert "trust" not in said
    assert not mark.exists()
    torch.load(path, weights_only=False) if form != "pickle" else pickle.loads(path.read_bytes())
    assert mark.exists()  # it would have been


def test_nothing_of_ours_advises_to_run_what_is_in_a_file():
    tracked = subprocess.run(
        ["git", "ls-files", "--", ":!tests", ":!data", ":!CHANGELOG.md", ":!LOG.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    texts = [ROOT / name for name in tracked if name.endswith((".py", ".md", ".ipynb", ".yml"))]
    assert len(texts) > 100
    unsafe = re.compile(r"weights_only\s*=\s*False")
    assert not [path for path in texts if unsafe.search(path.read_text(encoding="utf-8"))]


def test_what_is_no_checkpoint_is_told_by_its_name(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("no model")
    with pytest.raises(ModelError, match=r"name a \.safetensors or \.pth file"):
        AudioUNet.load(path)


def test_truncated_checkpoint_is_refused(tmp_path):
    path = AudioUNet(base_channels=4, depth=2).save(tmp_path / "model.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be read"):
        AudioUNet.load(path)
