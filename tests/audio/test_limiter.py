"""The true-peak limiter: never over full scale by others' meters, and nothing to what fits."""

import numpy as np
import pytest
from conftest import ROOT

from enhancelib import audio
from enhancelib.audio.limiter import TruePeakLimiter
from enhancelib.audio.loudness import true_peak_db
from enhancelib.degrade.codecs import degrade

RATE = 44100


def limited(wave: np.ndarray, chunk: int = 512) -> np.ndarray:
    """All of a wave, aligned with it."""
    limiter = TruePeakLimiter(len(wave), sample_rate=RATE)
    late = np.pad(wave, ((0, 0), (0, limiter.latency_samples)))
    pieces = [limiter.process(late[:, at : at + chunk]) for at in range(0, late.shape[1], chunk)]
    return np.concatenate(pieces, axis=1)[:, limiter.latency_samples :]


# The interpolating filter that the standard prints, one row per phase (ITU-R BS.1770-4, annex 2);
# the other two phases are these reversed.
PRINTED = [
    [0.0017089843750, 0.0109863281250, -0.0196533203125, 0.0332031250000,
     -0.0594482421875, 0.1373291015625, 0.9721679687500, -0.1022949218750,
     0.0476074218750, -0.0266113281250, 0.0148925781250, -0.0083007812500],
    [-0.0291748046875, 0.0292968750000, -0.0517578125000, 0.0891113281250,
     -0.1665039062500, 0.4650878906250, 0.7797851562500, -0.2003173828125,
     0.1015625000000, -0.0582275390625, 0.0330810546875, -0.0189208984375],
]  # fmt: skip


def printed_peak_db(wave: np.ndarray) -> float:
    """True peak by the standard's own filter."""
    phases = [*PRINTED, *(phase[::-1] for phase in PRINTED)]
    peaks = [np.abs(np.convolve(channel, phase)).max() for channel in wave for phase in phases]
    return 20 * np.log10(max(peaks))


def faded(wave: np.ndarray) -> np.ndarray:
    """Without an edge, which would ring in a meter."""
    ramp = np.minimum(1, np.arange(wave.shape[1]) / 500)
    return (wave * ramp * ramp[::-1]).astype(np.float32)


def to_20_khz(wave: np.ndarray) -> np.ndarray:
    """Without what lies above."""
    spectrum = np.fft.rfft(wave)
    spectrum[:, np.fft.rfftfreq(wave.shape[1], 1 / RATE) > 20_000] = 0
    return np.fft.irfft(spectrum, wave.shape[1])


def too_loud() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    time = np.arange(RATE) / RATE
    path = ROOT / "data/excerpts/sonicpi_samples_loop_mika.flac"
    song = audio.load(path, sample_rate=RATE, duration_s=4.0)[0]
    clicks = np.zeros((1, RATE))
    clicks[0, 3000::7919] = 4.0
    waves = {
        "music": 4 * degrade(song, "mp3-64", sample_rate=RATE),
        "noise": rng.normal(0, 0.5, (2, RATE)),
        "noise to 20 kHz": to_20_khz(rng.normal(0, 0.5, (2, RATE))),
        "between samples": 1.2 * np.sin(np.pi / 2 * np.arange(RATE) + np.pi / 4)[None],
        "high": 2 * np.sin(2 * np.pi * 15_000 * time)[None],
        "square": 1.5 * np.sign(np.sin(2 * np.pi * 220 * time))[None],
        "clicks": clicks,
        "bursts": 3 * np.sin(2 * np.pi * 1000 * time)[None] * (time % 0.25 < 0.1),
    }
    return {name: faded(wave) for name, wave in waves.items()}


@pytest.mark.parametrize("name", too_loud())
def test_nothing_passes_full_scale_between_samples_either(name):
    wave = too_loud()[name]
    assert true_peak_db(wave) > 0.5
    out = limited(wave)
    assert printed_peak_db(out) <= 0.1  # its ripple makes sines up to 0.22 dB louder
    # A steeper filter hears what lies above 20 kHz as well, which the limiter's hears in part.
    assert true_peak_db(out) <= (1 if name == "noise" else 0)
    assert np.abs(out).max() <= 1
    # No more is taken away than the highest peak asks for.
    assert true_peak_db(out) > -1


def test_what_fits_comes_back_bit_for_bit():
    wave = too_loud()["music"]
    wave = wave * np.float32(10 ** (-(true_peak_db(wave) + 0.1) / 20))
    assert true_peak_db(wave) == pytest.approx(-0.1, abs=1e-3)
    assert limited(wave).tobytes() == wave.tobytes()


def test_far_from_a_peak_every_bit_stays():
    wave = np.full((1, 3 * RATE), 0.25, np.float32)
    wave[0, RATE] = 2.0
    out = limited(wave)
    ahead = TruePeakLimiter(1, sample_rate=RATE).latency_samples + 20
    assert out[:, : RATE - ahead].tobytes() == wave[:, : RATE - ahead].tobytes()
    assert out[:, 2 * RATE :].tobytes() == wave[:, 2 * RATE :].tobytes()
    assert 0.9 < out[0, RATE] <= 1
    assert out[0, RATE + 100] < 0.2  # recovers slowly


@pytest.mark.parametrize("chunk", [1, 37, 5000])
def test_chunks_do_not_matter_and_channels_share_the_gain(chunk):
    wave = too_loud()["noise"][:, :6000] * np.float32([[1], [0.1]])
    out = limited(wave, chunk)
    np.testing.assert_allclose(out, limited(wave, 512), atol=1e-6)
    gains = out[:, 1000:4000] / wave[:, 1000:4000]
    assert gains.min() < 0.9
    np.testing.assert_allclose(gains[1], gains[0], rtol=1e-5)


def test_the_delay_is_stated_and_short():
    limiter = TruePeakLimiter(1, sample_rate=RATE)
    click = np.zeros((1, 500), np.float32)
    click[0, 0] = 0.5
    assert int(np.argmax(limiter.process(click))) == limiter.latency_samples
    assert limiter.latency_samples / RATE < 0.002
