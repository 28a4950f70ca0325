"""The fill: given true energies it reaches the oracle, and what survived it leaves alone."""

import numpy as np
import pytest
import torch
from conftest import ROOT
from pydantic import ValidationError
from scipy.signal import butter, sosfilt
from small_network import FILLED, filled_network

from enhancelib import audio
from enhancelib.degrade.codecs import degrade
from enhancelib.enhance.modelfiles import open_stream
from enhancelib.enhance.streaming import RealTimeAudioEnhancer, enhance_wave
from enhancelib.errors import ConfigError
from enhancelib.evaluate.metrics import score
from enhancelib.model.fill import (
    LEVEL_FLOOR,
    LEVEL_FRAMES,
    NOISE_LENGTH,
    OVERLAP,
    FillConfig,
    Filler,
    FillHead,
    band_features,
    band_mean,
    limited,
    running_level,
)
from enhancelib.model.network import AudioUNet
from enhancelib.optimize import compression
from enhancelib.optimize.export import FORMATS
from enhancelib.show.parts import parts

RATE = 44100
CONFIG = FillConfig()
LOW = 64  # first bin that is filled at 44.1 kHz


@pytest.fixture(scope="module")
def pair():
    """Real music and what MP3 at 64 kbit/s leaves of it, mono (1, samples)."""
    path = ROOT / "data/excerpts/sonicpi_samples_loop_mika.flac"
    wave = audio.load(path, sample_rate=RATE, duration_s=5.0)[0].mean(0, keepdims=True)
    return wave, degrade(wave, "mp3-64", sample_rate=RATE)


@pytest.fixture(scope="module")
def transform():
    """A network for its transform alone."""
    return AudioUNet.from_preset("fullband-44k").eval()


def spectrum_of(transform, wave) -> torch.Tensor:
    return transform.analyze(torch.from_numpy(wave)[:, None])[:, :, :512] / transform.core.scale


def energies_of(spectrum) -> torch.Tensor:
    return band_mean(spectrum.square().sum(dim=1), 8)[:, LOW // 8 :]


def filled(spectrum, energies) -> torch.Tensor:
    return Filler(CONFIG, 512)(spectrum, energies, torch.zeros(len(spectrum), 1))[0]


# --- the oracle ----------------------------------------------------------------------------------


def oracle(original: np.ndarray, lossy: np.ndarray) -> np.ndarray:
    """By loops over bands of 16 bins: what survived, else noise and the band at half the frequency.

    The fill of the field's measurements: a bin was emptied if it lies 20 dB under the band's true
    mean power, and the emptied ones together get what the band lacks. NumPy only.
    """
    random = np.random.default_rng(0)
    window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024))

    def frames_of(wave):
        padded = np.pad(wave, (512, 1024))
        starts = range(0, len(padded) - 1023, 512)
        return np.fft.rfft([window * padded[start : start + 1024] for start in starts])

    true, result = frames_of(original), frames_of(lossy)
    for low in range(LOW, 512, 16):
        band, half = slice(low, low + 16), np.arange(low, low + 16) // 2
        for frame in range(len(result)):
            power = np.mean(np.abs(true[frame, band]) ** 2)
            own = np.abs(result[frame, band]) ** 2
            empty = own < power / 100
            sound = random.standard_normal(16) + 1j * random.standard_normal(16)
            sound = sound / np.sqrt(2)
            below = result[frame, half]
            sound = (sound + below / np.sqrt(np.mean(np.abs(below) ** 2) + 1e-20)) / np.sqrt(2)
            lacking = max(0.0, 16 * power - own[~empty].sum())
            has = np.sum(np.abs(sound[empty]) ** 2)
            if has > 0:
                result[frame, low + np.flatnonzero(empty)] = sound[empty] * np.sqrt(lacking / has)
    out = np.zeros(512 * (len(result) + 1))
    for frame, piece in enumerate(np.fft.irfft(result)):
        out[512 * frame : 512 * frame + 1024] += window * piece
    return out[512 : 512 + len(lossy)].astype(np.float32)


def test_with_true_energies_it_reaches_the_oracle(pair, transform):
    original, lossy = pair
    untouched = transform.analyze(torch.from_numpy(lossy)[:, None])[:, :, 512:]
    body = filled(spectrum_of(transform, lossy), energies_of(spectrum_of(transform, original)))
    spectrum = torch.cat([body * transform.core.scale, untouched], dim=2)
    ours = transform.synthesize(spectrum, lossy.shape[1])[0].numpy()
    systems = {"untreated": lossy, "oracle": oracle(original[0], lossy[0])[None], "fill": ours}
    names = ["visqol", "lsd", "in_band_si_sdr"]
    reached = {
        name: score(wave, original, sample_rate=RATE, names=names, untreated=lossy)
        for name, wave in systems.items()
    }
    assert reached["oracle"]["visqol"] > reached["untreated"]["visqol"] + 1.5
    assert reached["fill"]["visqol"] > reached["oracle"]["visqol"] - 0.05
    assert reached["fill"]["lsd"] < reached["oracle"]["lsd"] + 0.05
    assert reached["fill"]["in_band_si_sdr"] > reached["untreated"]["in_band_si_sdr"] - 0.65


# --- what it may do ------------------------------------------------------------------------------


def test_a_wave_that_was_filled_has_the_energies_asked_for(transform):
    """In the wave, not in the frames, of which half cancels where they overlap."""
    torch.manual_seed(0)
    wave = torch.randn(1, 1, 3 * RATE) * 0.1
    spectrum = transform.analyze(wave)[:, :, :512]
    energies = energies_of(spectrum).mean(dim=2, keepdim=True).expand(-1, -1, spectrum.shape[3])
    emptied = spectrum.clone()
    emptied[:, :, LOW:] *= 1e-5
    out = filled(emptied, energies)
    out = transform.synthesize(torch.cat([out, 0 * out[:, :, :1]], dim=2), wave.shape[2])
    reached = energies_of(transform.analyze(out)[:, :, :512]).mean(dim=2) / energies[:, :, 0]
    error_db = 10 * reached.log10()
    assert float(error_db.mean()) == pytest.approx(0, abs=0.3)
    assert float(error_db.abs().max()) < 1.0


def test_an_empty_band_gets_its_energy():
    """And nothing under the lowest bin is touched."""
    torch.manual_seed(0)
    spectrum = torch.randn(2, 2, 512, 7) * 0.1
    spectrum[:, :, LOW:] *= 1e-5
    energies = torch.rand(2, 56, 7) * 0.01 + 1e-4
    out = filled(spectrum, energies)
    assert torch.equal(out[:, :, :LOW], spectrum[:, :, :LOW])
    share = energies_of(out) / (OVERLAP * energies)
    assert float(share.min()) > 0.9  # the limit of the gain, where the sound is sparse
    assert float(share.max()) < 1.05  # and what little was there, in phase by chance
    assert float(share.mean()) == pytest.approx(1, abs=0.005)


def test_lossless_music_comes_back_bit_for_bit(pair, transform):
    spectrum = spectrum_of(transform, pair[0])
    own = energies_of(spectrum)
    assert torch.equal(filled(spectrum, own), spectrum)
    assert torch.equal(filled(spectrum, 1.9 * own), spectrum)  # nor by a guess 2.8 dB too high
    assert not torch.equal(filled(spectrum, 4 * own), spectrum)


def test_no_survivor_is_raised_and_no_band_beyond_what_was_predicted(pair, transform):
    """Music with bands emptied at random, and energies that are wrong by up to 10 dB."""
    torch.manual_seed(0)
    spectrum = spectrum_of(transform, pair[0])
    hole = torch.rand(1, 1, 512, spectrum.shape[3]) < 0.5
    damaged = spectrum * torch.where(hole, 1e-4, 1.0)
    wanted = energies_of(spectrum) * 10 ** (2 * torch.rand(energies_of(spectrum).shape) - 1)
    out = filled(damaged, wanted)
    power, before = out.square().sum(dim=1), damaged.square().sum(dim=1)
    mean = wanted.repeat_interleave(8, dim=1)
    survived = before[:, LOW:] > mean * 10**-1.7
    assert survived.any()
    assert float((power / before)[:, LOW:][survived].max()) <= 1.0 + 1e-5
    most = torch.maximum(OVERLAP * wanted, energies_of(damaged))
    # What lies 17 to 23 dB under the mean adds up with what is filled, in or out of phase.
    assert float((energies_of(out) / most).max()) < 1.5


def test_the_gain_of_a_single_emptied_bin_is_limited():
    spectrum = torch.zeros(1, 2, 512, 1)
    spectrum[:, :, 256:] = 0.1
    spectrum[:, :, 300] = 1e-6
    energies = 16 * energies_of(spectrum)
    out = filled(spectrum, energies)
    gained = out.square().sum(dim=1)[0, 300, 0] / (OVERLAP * energies[0, (300 - LOW) // 8, 0])
    assert float(gained) < 8 * 4  # of eight bins' energy on a quarter of them, a noise's peak


def test_silence_stays_silent_and_gradients_finite():
    spectrum = torch.zeros(1, 2, 512, 3, requires_grad=True)
    energies = torch.zeros(1, 56, 3, requires_grad=True)
    out = filled(spectrum, energies)
    assert float(out.detach().abs().max()) == 0
    out.square().sum().backward()
    assert torch.isfinite(spectrum.grad).all()
    assert torch.isfinite(energies.grad).all()
    torch.manual_seed(0)
    spectrum = torch.randn(1, 2, 512, 3).requires_grad_()
    energies = torch.rand(1, 56, 3).requires_grad_()
    out = filled(spectrum * 1e-3, energies)
    out[:, :, LOW:].square().sum().backward()
    for each in (spectrum, energies):
        assert torch.isfinite(each.grad).all()
    assert float(energies.grad.min()) > 0  # more energy asked for, more comes out


def test_the_noise_is_noise_and_the_same_everywhere():
    filler = Filler(CONFIG, 512)
    noise, after = filler._noise(torch.zeros(1, 1), NOISE_LENGTH + 2)
    assert float(after) == 2
    assert torch.equal(noise[..., :2], noise[..., NOISE_LENGTH:])  # it comes round
    assert float(noise.square().sum(dim=1).mean()) == pytest.approx(1, abs=0.005)
    assert float(noise.mean().abs()) < 0.02
    values = noise[0].double()
    for step in (1, 2, 5):  # neighbours in time and in frequency have nothing in common
        assert float((values[..., step:] * values[..., :-step]).mean().abs()) < 0.01
        assert float((values[:, step:] * values[:, :-step]).mean().abs()) < 0.01
    later, _ = filler._noise(torch.full((1, 1), 7.0), 5)
    assert torch.equal(later, noise[..., 7:12])
    # Generated by no library that may change its mind: these are to stay.
    np.testing.assert_allclose(filler.noise[:3].flatten().numpy(), FIRST_NOISE, rtol=1e-6)


FIRST_NOISE = [-0.22394696, 1.1709344, -0.21281341, 0.053009786, 1.7282983, 1.6584842]


def test_the_running_level_is_the_mean_of_what_was_heard():
    torch.manual_seed(0)
    power = torch.rand(1, 1, 400) * 1e-3
    power[..., 100:150] = 0  # silence does not count
    start = torch.zeros(1, 2, LEVEL_FRAMES - 1)
    level, _ = running_level(power, start)
    for frame in (0, 1, 99, 120, 160, 399):
        window = power[0, 0, max(0, frame - LEVEL_FRAMES + 1) : frame + 1]
        expected = window[window > LEVEL_FLOOR].double().mean()
        assert float(level[0, 0, frame]) == pytest.approx(float(expected), rel=1e-5)
    first, state = running_level(power[..., :77], start)
    rest, _ = running_level(power[..., 77:], state)
    torch.testing.assert_close(torch.cat([first, rest], dim=2), level, rtol=1e-5, atol=0)
    assert float(running_level(0 * power, start)[0].max()) == pytest.approx(LEVEL_FLOOR)


def test_features_of_known_bands():
    power = torch.tensor([1e-2, 1e-4] * 4).reshape(1, 8, 1)
    features = band_features(power, torch.full((1, 1, 1), 1e-2), 4)
    arithmetic, geometric = np.log((1 + 1e-2) / 2), np.log(1e-1)
    expected = torch.tensor([arithmetic, arithmetic, geometric, geometric]).reshape(1, 4, 1)
    torch.testing.assert_close(features, expected.float(), atol=1e-5, rtol=0)


def test_a_correction_is_limited():
    """6 dB for a bin; a hole gets at most a hundredth of its band's mean power."""
    spectrum = torch.ones(1, 2, 8, 1)
    spectrum[:, :, 3] = 0
    mean = 2 * 7 / 8
    for size in (0.5, 100.0):
        out = spectrum + limited(torch.full_like(spectrum, size), spectrum, 8)
        power = out.square().sum(dim=1)[0, :, 0]
        ratio = power[[0, 1, 2, 4, 5, 6, 7]] / 2
        torch.testing.assert_close(ratio, torch.full((7,), min(2.0, 1 + size) ** 2))
        assert float(power[3]) == pytest.approx(0.01 * mean, rel=1e-5)


# --- the network ---------------------------------------------------------------------------------


def test_an_untrained_network_with_a_fill_is_the_identity(pair):
    model = AudioUNet(fill={}).eval()
    wave = torch.from_numpy(np.stack(pair))  # lossless and lossy
    with torch.no_grad():
        torch.testing.assert_close(model(wave), wave, atol=2e-6, rtol=0)
    assert model.core.fill.predictor.head.bias.shape == (2 * 56,)
    assert sum(p.numel() for p in model.core.fill.parameters()) < 800_000


@pytest.fixture(scope="module")
def small(small_model):
    return small_model


@pytest.mark.parametrize("level_db", [-20.0, -40.0])
def test_quiet_music_is_treated_as_loud_music(small, pair, level_db):
    """Every third of the spectrum comes back at the same level, scaled."""
    model = filled_network(fill={"width": 33})
    wave = torch.from_numpy(pair[1][:, None, : 2 * RATE])
    gain = 10 ** (level_db / 20)
    with torch.no_grad():
        loud, quiet = model(wave), model(gain * wave) / gain
        before, after = (model.analyze(w)[0, :, :512] for w in (loud, quiet))
    assert float((loud - wave).abs().max()) > 0.01
    energies = [x.square().sum(dim=(0, 2)).reshape(16, 32).sum(dim=1) for x in (before, after)]
    difference_db = 10 * (energies[1] / energies[0]).log10()
    assert float(difference_db.abs().max()) < 0.1


def test_lossless_music_keeps_loudness_and_peak_where_energies_are_its_own(pair):
    """A network that predicts no more than is there, whatever else it has learnt."""
    model = AudioUNet(fill={}).eval()
    for name, values in model.core.fill.named_parameters():
        if "head" not in name:
            torch.nn.init.normal_(values, 0, 0.1)
    wave = torch.from_numpy(pair[0][None])
    with torch.no_grad():
        out = model(wave)
    for measure in (lambda x: x.abs().max(), lambda x: x.square().mean().sqrt()):
        assert abs(20 * float((measure(out) / measure(wave)).log10())) < 0.1


def test_every_parameter_of_the_fill_learns(pair):
    model = AudioUNet(**FILLED)
    torch.nn.init.normal_(model.core.fill.predictor.head.weight, std=0.3)
    wave = torch.from_numpy(pair[1][None, :, :40_000])
    lost = model.core.fill.predictor.bands - model.core.fill.predictor.first
    with torch.no_grad():
        model.core.fill.predictor.head.bias[:lost] = -2.0
        model.core.fill.predictor.head.bias[lost : 2 * lost] = 1.0
    model(wave).square().mean().backward()
    for name, parameter in model.core.fill.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert float(parameter.grad.abs().sum()) > 0, name


def test_a_half_open_gate_halves_the_energy():
    head = FillHead(FillConfig(width=8, dilations=(1,)), 512)
    outputs = head.predictor.bands - head.predictor.first
    with torch.no_grad():  # -9 dB, whatever comes in
        head.predictor.head.bias.copy_(torch.tensor([-2.0, 20.0]).repeat_interleave(outputs))
    spectrum = torch.randn(1, 2, 512, 20, generator=torch.Generator().manual_seed(0))
    spectrum[:, :, head.filler.lowest :] = 0
    level = torch.ones(1, 1, 20)
    states = [torch.zeros(1, *shape) for shape in head.state_shapes()[1:]]

    def filled(gate: float) -> torch.Tensor:
        out, _ = head(spectrum, spectrum, level, states, torch.full((1, 32, 20), gate))
        return out[:, :, head.filler.lowest :]

    whole = filled(1.0).detach()
    assert float(whole.square().mean()) > 0.1
    torch.testing.assert_close(filled(0.5).detach(), 0.5**0.5 * whole)


def test_where_the_gate_is_shut_nothing_is_filled(small, pair):
    """Band by band: an open one is filled as without a gate, the others come back as they were."""
    wave = torch.from_numpy(pair[1][None, :, :30_000])
    bias, context = small.core.gate.bias, small.core.gate_context.weight
    before = bias.detach().clone(), context.detach().clone()
    bins = small.config.hop_length // small.config.bands
    with torch.no_grad():
        context.zero_()
        spectrum = small.analyze(wave)

        def changed(logits: torch.Tensor) -> torch.Tensor:
            bias.copy_(logits)
            out, _ = small.core(spectrum, small.initial_state(1))
            return (out - spectrum).abs().amax(dim=(0, 1, 3))[: small.config.hop_length]

        shut = torch.full_like(bias, -1e4)
        one = shut.clone()
        one[4] = 1e4
        nothing, all_bands, only = changed(shut), changed(-shut), changed(one)
        bias.copy_(before[0])
        context.copy_(before[1])
    rounding = 1e-5
    assert float(nothing.max()) < rounding
    assert float(all_bands[16:].min()) > 100 * rounding
    open_bins = slice(4 * bins, 5 * bins)
    assert float(only[open_bins].min()) > 100 * rounding
    only[open_bins] = 0
    assert float(only.max()) < rounding


def test_checkpoints_keep_the_fill(small, tmp_path):
    path = small.save(tmp_path / "filled.safetensors")
    again = AudioUNet.load(path)
    assert again.config == small.config
    wave = 0.1 * torch.randn(1, 1, 5000)
    with torch.no_grad():
        assert torch.equal(again(wave), small(wave))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"fill": {"octaves": 7}}, "octaves"),
        ({"fill": {"band_bins": 48}}, "do not divide 512"),
        ({"fill": {"width": 0}}, "width"),
        ({"fill": {"width": 96}}, "width 96 is that of a level"),
        ({"fill": {"depth": 3}}, r"fill\.depth"),
        ({"bands": 128, "fill": {}}, "64 bands of 8 bins do not share 128 gates evenly"),
        ({"fill": {"band_bins": 32}}, "16 bands of 32 bins do not share 32 gates evenly"),
    ],
)
def test_impossible_fills_are_refused_by_name(settings, named):
    with pytest.raises(ConfigError, match=named):
        AudioUNet(**settings)
    with pytest.raises(ValidationError):
        FillConfig(octaves=0)


def test_without_gates_any_bands_go_with_a_fill():
    settings = {"base_channels": 4, "depth": 2, "bands": 128, "gated": False, "fill": {}}
    wave = 0.1 * torch.randn(1, 1, 3000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert (AudioUNet(**settings).eval()(wave) - wave).abs().max() < 1e-5


# --- every runtime -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exports(small_exports):
    return small_exports


def test_every_format_is_exact(exports):
    _, results = exports
    assert len(results) == 2 * len(FORMATS)
    for result in results:
        assert result.error_db < -110


@pytest.mark.parametrize(
    "name", ["small.safetensors", *(f"small.stream.{s}" for s in ("onnx", "tflite", "pt"))]
)
@pytest.mark.parametrize("chunks", [[1000], [37, 500, 64]])
def test_a_stream_is_the_clip(exports, small, name, chunks):
    path = ROOT / "data/excerpts/sonicpi_samples_loop_mika.flac"
    wave = audio.load(path, sample_rate=22050, duration_s=0.7)[0][:2]
    wave = degrade(wave, "mp3-64", sample_rate=22050)
    wanted = enhance_wave(wave, small, sample_rate=22050)
    assert np.abs(wanted - wave).max() > 0.01  # the comparison is of something
    enhancer = RealTimeAudioEnhancer(open_stream(exports[0] / name))
    out, at, turn = [], 0, 0
    while at < wave.shape[1]:
        size = chunks[turn % len(chunks)]
        out.append(enhancer.process_audio_chunk(wave[:, at : at + size]))
        at, turn = at + size, turn + 1
    out = np.concatenate([*out, enhancer.flush()], axis=1)[:, enhancer.latency_samples :]
    np.testing.assert_allclose(out, wanted, atol=1e-5)


@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
def test_it_bears_8_bits(exports, small, suffix, music, tmp_path):
    """The convolutions of both networks in 8 bits; the fill itself stays float."""
    music = [audio.resample(wave, from_rate=16000, to_rate=22050) for wave in music[:3]]
    ranges = compression.calibrate(small, music)
    assert any("fill.predictor.blocks" in layer.name for layer in ranges)
    path = exports[0] / f"small.{suffix}"
    results = compression.quantize_static(path, ranges, music=music, output_dir=tmp_path)
    assert [result.kind for result in results] == ["clip", "stream"]
    for result in results:
        assert result.error_db < -45


def test_what_the_fill_adds_is_told_apart():
    """Nothing under the lowest band that it may fill, and the outcome is that of the network."""
    model = filled_network(**FILLED)
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 8000))
    dull = sosfilt(butter(8, 0.3, output="sos"), noise).astype(np.float32)
    seen = parts(model, dull)
    with torch.no_grad():
        expected = model(torch.from_numpy(dull)[:, None])[:, 0].numpy()
    np.testing.assert_array_equal(seen.enhanced, expected)
    added = model.analyze(torch.from_numpy(seen.enhanced - seen.corrected)[:, None])
    power = added.square().sum(dim=1).mean(dim=(0, 2))
    lowest = model.config.hop_length >> model.config.fill.octaves
    assert power[lowest + 2 :].mean() > 100 * power[: lowest - 2].mean()  # the window leaks
    assert seen.gate.shape == (2, model.config.bands, added.shape[3])
