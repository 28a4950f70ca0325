"""The codecs against independent encoders, their standards' tables, and themselves."""

import hashlib
import shutil
import struct
import subprocess

import numpy as np
import pytest
import soundfile

from enhancelib import audio
from enhancelib.degrade import lc3
from enhancelib.degrade.encoders import (
    CODECS,
    check_legal,
    coding_rate,
    decode_stream,
    encode_adaptive,
    encode_stream,
    mono_setting,
)
from enhancelib.errors import InputError

needs_sbcenc = pytest.mark.skipif(
    shutil.which("sbcenc") is None, reason="BlueZ's sbcenc (Debian: sbc-tools) is not installed"
)
needs_lc3 = pytest.mark.skipif(
    not lc3.available() or shutil.which("elc3") is None,
    reason="Google's LC3 (Debian: liblc3-tools) is not installed",
)
CODECS_HERE = [name for name in CODECS if name != "lc3" or lc3.available()]


def fixed_signal(samples: int, channels: int) -> np.ndarray:
    """16-bit (channels, samples): a sweep and noise from a congruential generator."""
    state, noise = 12345, np.empty(samples * channels)
    for index in range(samples * channels):
        state = (1103515245 * state + 12345) % 2**31
        noise[index] = (state >> 16) / 2**15 - 0.5
    time = np.arange(samples)
    sweeps = [np.sin(2 * np.pi * time**2 * (c + 1) / samples / 16) for c in range(channels)]
    mixed = 0.3 * np.array(sweeps) + 0.3 * noise.reshape(channels, samples)
    return np.rint(mixed * 32767).astype(np.int16)


def as_wave(samples: np.ndarray) -> np.ndarray:
    return (samples / 32768).astype(np.float32)


def usual_setting(name: str, rate: int, channels: int) -> int | None:
    legal = CODECS[name].settings(rate, channels)
    wanted = {"sbc": 53, "aac": 64 * channels * rate // 44100}.get(
        name, legal[-1] if legal else None
    )
    return wanted


def lag(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Delay of ``estimate`` in samples by the peak of the cross-correlation, interpolated."""
    size = 1 << (2 * len(reference) - 1).bit_length()
    spectrum = np.conj(np.fft.rfft(reference, size)) * np.fft.rfft(estimate, size)
    correlation = np.fft.irfft(spectrum)
    peak = int(np.argmax(correlation))
    left, top, right = correlation[[peak - 1, peak, (peak + 1) % size]]
    return (peak if peak < size // 2 else peak - size) + 0.5 * (left - right) / (
        left - 2 * top + right
    )


# ---------------------------------------------------------------- against independent encoders

# SHA-256 of what BlueZ's sbcenc 2.0 writes for fixed_signal(5120, channels) at 44.1 kHz with
# -s 8 -B 16 -b <bitpool> (and -j for two channels); `-m` at 16 kHz for mSBC, 4800 samples.
SBCENC_SHA256 = {
    ("sbc", 2, 53): "60cc2d8d299649dc70e89ac7c305e5e293d54677dcae9b2ab6bef02c4057ea81",
    ("sbc", 2, 51): "dfc69705272c66da7fd7c23137f3fedea52d56f862cc392789f439b52472d3a0",
    ("sbc", 2, 35): "f33403d2c59b1d6fa1198c4061e49902b34cc2f7d264fca306537d8b12429930",
    ("sbc", 2, 20): "55267d3a9609f6d2f1748f44a85a2fda4543c7876b1b7841d1d43b82798af238",
    ("sbc", 2, 2): "307adfdd3719e9bd70d7305af0b4707e9a5045c22eb61bd66e5df02523047cd1",
    ("sbc", 2, 86): "fa25958ef06e41a570b9490bfaaa850fe27c943354f01b36f6af655799fbe795",
    ("sbc", 1, 31): "cafc8594bcc61d4314596398802de233962cf33b9699b2a6403aefff572473bf",
    ("sbc", 1, 19): "603af41e609b67f2acc04e3d61bd00ecc70c352fc1504d599a038a6a01894b4d",
    ("msbc", 1, None): "4ed9d602f2732ab20ec288d0bbd0b59cfd391b11935bb5fbd56a47d2f0098da0",
}


def bluez(signal: np.ndarray, rate: int, arguments: list[str], folder) -> bytes:
    path = folder / "signal.au"
    soundfile.write(path, signal.T, rate, format="AU", subtype="PCM_16")
    return subprocess.run(["sbcenc", *arguments, str(path)], capture_output=True, check=True).stdout


@pytest.mark.parametrize(("name", "channels", "bitpool"), list(SBCENC_SHA256))
def test_sbc_packets_are_those_of_bluez(name, channels, bitpool):
    frames, rate, frame = (40, 44100, 128) if name == "sbc" else (40, 16000, 120)
    signal = fixed_signal(frames * frame, channels)
    stream = encode_stream(CODECS[name], as_wave(signal), sample_rate=rate, setting=bitpool)
    whole = b"".join(stream.packets[:frames])
    assert hashlib.sha256(whole).hexdigest() == SBCENC_SHA256[name, channels, bitpool]


@needs_sbcenc
@pytest.mark.parametrize("rate", CODECS["sbc"].rates)
@pytest.mark.parametrize("channels", [1, 2])
def test_sbc_packets_equal_a_fresh_run_of_sbcenc(rate, channels, tmp_path):
    signal = fixed_signal(128 * 24, channels)
    legal = CODECS["sbc"].settings(rate, channels)
    for bitpool in (legal[0], 10, 19, 35, 53 if channels == 2 else 31, legal[-1]):
        joint = ["-j"] if channels == 2 else []
        expected = bluez(signal, rate, ["-s8", "-B16", f"-b{bitpool}", *joint], tmp_path)
        stream = encode_stream(CODECS["sbc"], as_wave(signal), sample_rate=rate, setting=bitpool)
        assert len(expected) == 24 * len(stream.packets[0])
        assert b"".join(stream.packets)[: len(expected)] == expected


@needs_sbcenc
@pytest.mark.parametrize(("channels", "bitpool"), [(2, 53), (2, 20), (1, 31)])
def test_sbc_decodes_as_sbcdec_does(channels, bitpool, tmp_path):
    signal = fixed_signal(128 * 24, channels)
    stream = encode_stream(CODECS["sbc"], as_wave(signal), sample_rate=44100, setting=bitpool)
    (tmp_path / "s.sbc").write_bytes(b"".join(stream.packets))
    command = ["sbcdec", "-f", str(tmp_path / "s.au"), str(tmp_path / "s.sbc")]
    subprocess.run(command, check=True, capture_output=True)
    raw = (tmp_path / "s.au").read_bytes()
    start = int.from_bytes(raw[4:8], "big")
    decoded = np.frombuffer(raw[start:], ">i2").reshape(-1, channels).T
    ours = np.rint(decode_stream(stream) * 32768).astype(int)
    np.testing.assert_array_equal(ours, decoded[:, 73 : 73 + ours.shape[1]])


@needs_lc3
@pytest.mark.parametrize("kbps", [64, 192, 640])
def test_lc3_packets_are_those_of_elc3_and_decode_as_dlc3_does(kbps, tmp_path):
    signal = fixed_signal(480 * 12, 2)
    soundfile.write(tmp_path / "s.wav", signal.T, 48000, subtype="PCM_16")
    coded, decoded = str(tmp_path / "s.lc3"), str(tmp_path / "d.wav")
    subprocess.run(["elc3", "-b", str(1000 * kbps), str(tmp_path / "s.wav"), coded], check=True)
    subprocess.run(["dlc3", coded, decoded], check=True, capture_output=True)
    data = (tmp_path / "s.lc3").read_bytes()
    at, packets = struct.unpack("<H", data[2:4])[0], []
    while at < len(data):
        size = struct.unpack("<H", data[at : at + 2])[0]
        packets.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    stream = encode_stream(CODECS["lc3"], as_wave(signal), sample_rate=48000, setting=kbps)
    assert list(stream.packets) == packets[: len(stream.packets)]
    expected, _ = soundfile.read(decoded, dtype="int16")
    ours = np.clip(np.rint(decode_stream(stream) * 32768), -32768, 32767)
    assert np.abs(ours - expected.T[:, : ours.shape[1]]).max() <= 1


@pytest.mark.parametrize("rate", CODECS["mp3"].rates)
def test_mp3_headers_carry_the_bit_rate_and_rate_asked_for(rate):
    """Reads the frame header by ISO/IEC 11172-3, 2.4.1.3, with its own tables."""
    mpeg1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    mpeg2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    rates = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
    wave = as_wave(fixed_signal(rate // 4, 2))
    legal = CODECS["mp3"].settings(rate, 2)
    for kbps in (legal[0], legal[len(legal) // 2], legal[-1]):
        stream = encode_stream(CODECS["mp3"], wave, sample_rate=rate, setting=kbps)
        for packet in stream.packets:
            version, layer = packet[1] >> 3 & 3, packet[1] >> 1 & 3
            assert packet[0] == 255
            assert layer == 1  # Layer III
            assert (mpeg1 if version == 3 else mpeg2)[packet[2] >> 4] == kbps
            assert rates[version][packet[2] >> 2 & 3] == rate
        assert stream.kbps == pytest.approx(kbps, rel=0.02)


def bandwidth_hz(name: str, setting: int, rate: int = 44100) -> float:
    """Highest frequency at which coded white noise keeps a quarter of its power."""
    rng = np.random.default_rng(0)
    wave = (0.1 * rng.standard_normal((2, 2 * rate))).astype(np.float32)
    stream = encode_stream(CODECS[name], wave, sample_rate=rate, setting=setting)
    size = 4096
    power = [
        np.sum(np.abs(np.fft.rfft(w[0, : size * (w.shape[1] // size)].reshape(-1, size))) ** 2, 0)
        for w in (decode_stream(stream), wave)
    ]
    ratio = np.convolve(power[0] / power[1], np.ones(9) / 9, "same")
    return float(np.flatnonzero(ratio > 0.25)[-1] * rate / size)


@pytest.mark.parametrize(("kbps", "lowpass_hz"), [(128, 17000), (192, 18600), (320, 20500)])
def test_mp3_bandwidth_is_lames(kbps, lowpass_hz):
    """LAME's documented low-pass per bit rate."""
    assert bandwidth_hz("mp3", kbps) == pytest.approx(lowpass_hz, abs=700)


def test_aac_bandwidth_grows_with_the_bit_rate():
    low, middle, high = (bandwidth_hz("aac", kbps) for kbps in (48, 128, 256))
    assert low < 10_000 < 15_000 < middle < 18_500 < 20_500 < high


@pytest.mark.parametrize("kbps", [64, 128, 192])
def test_aac_bit_rate_is_the_one_asked_for(kbps):
    wave, rate = audio.load("data/excerpts/render_freedoom1_D_E1M2.flac", duration_s=4)
    stream = encode_stream(CODECS["aac"], wave, sample_rate=rate, setting=kbps)
    assert stream.kbps == pytest.approx(kbps, rel=0.05)


@pytest.mark.parametrize("bitpool", [10, 20, 35, 53])
def test_sbc_bit_rate_follows_a2dp(bitpool):
    """A2DP 1.3, 12.9: 4 + 8·4·2/8 + ceil((16·bitpool + 8)/8) bytes a frame in joint stereo."""
    wave = as_wave(fixed_signal(44100 // 4, 2))
    stream = encode_stream(CODECS["sbc"], wave, sample_rate=44100, setting=bitpool)
    assert CODECS["sbc"].settings(44100, 2)[-1] == 86  # 512 kbit/s at most: (13 + 2·86) · 2.756
    size = 4 + 8 + -(-(16 * bitpool + 8) // 8)
    assert {len(packet) for packet in stream.packets} == {size}
    assert stream.kbps == pytest.approx(8e-3 * size * 44100 / 128)


@pytest.mark.parametrize(("bitpool", "kbps"), [(38, 452.0), (47, 551.25), (2, 55.125)])
def test_dual_channel_has_the_bit_rate_of_a2dp(bitpool, kbps):
    """A2DP 1.3, 12.9: 4 + 8·4·2/8 + 16·2·bitpool/8 bytes a frame, bitpool for each channel."""
    dual = CODECS["sbc"].variant("dual")
    stream = encode_stream(
        dual, as_wave(fixed_signal(44100 // 4, 2)), sample_rate=44100, setting=bitpool
    )
    assert {len(packet) for packet in stream.packets} == {12 + 4 * bitpool}
    assert stream.kbps == pytest.approx(8e-3 * (12 + 4 * bitpool) * 44100 / 128)
    assert stream.kbps == pytest.approx(kbps, abs=0.1)


def test_dual_channel_is_two_mono_streams():
    wave = as_wave(fixed_signal(44100 // 4, 2))
    dual = decode_stream(
        encode_stream(CODECS["sbc"].variant("dual"), wave, sample_rate=44100, setting=38)
    )
    for channel in (0, 1):
        mono = encode_stream(
            CODECS["sbc"], wave[channel : channel + 1], sample_rate=44100, setting=38
        )
        assert np.array_equal(dual[channel : channel + 1], decode_stream(mono))


def test_dual_channel_spends_nothing_on_the_other_channel():
    """In joint stereo a loud left takes bits from the right; in dual channel it cannot."""
    wave = as_wave(fixed_signal(44100 // 4, 2))
    quiet_left = wave * np.array([[1e-3], [1.0]], np.float32)

    def right(codec, signal, bitpool):
        stream = encode_stream(codec, signal, sample_rate=44100, setting=bitpool)
        return decode_stream(stream)[1]

    joint, dual = CODECS["sbc"], CODECS["sbc"].variant("dual")
    assert np.array_equal(right(dual, wave, 20), right(dual, quiet_left, 20))
    assert not np.array_equal(right(joint, wave, 20), right(joint, quiet_left, 20))


@pytest.mark.parametrize("name", ["mp3", "aac"])
def test_every_variant_of_an_encoder_decides_otherwise_at_the_same_bit_rate(name):
    codec, seen = CODECS[name], set()
    wave = as_wave(fixed_signal(44100 * 3 // 2, 2))
    for variant in (None, *codec.variants):
        stream = encode_stream(codec.variant(variant), wave, sample_rate=44100, setting=64)
        assert stream.kbps == pytest.approx(64, rel=0.1)
        seen.add(b"".join(stream.packets))
        decoded = decode_stream(stream)
        assert decoded.shape == wave.shape
        assert np.argmax(np.correlate(decoded[0, :9000], wave[0, 500:8500])) == 500
    assert len(seen) == 1 + len(codec.variants)


def test_joint_stereo_can_be_left_out():
    """MPEG header, mode: 1 is joint stereo, 0 plain."""
    wave = as_wave(fixed_signal(44100 // 4, 2))
    for variant, mode in ((None, 1), ("lr", 0)):
        stream = encode_stream(CODECS["mp3"].variant(variant), wave, sample_rate=44100, setting=64)
        assert {packet[3] >> 6 for packet in stream.packets} == {mode}


def test_a_variant_that_a_codec_lacks_is_refused():
    with pytest.raises(InputError, match="it has q0, q2, q5, q9, lr"):
        CODECS["mp3"].variant("dual")
    with pytest.raises(InputError, match="it has none"):
        CODECS["opus"].variant("lr")


# ---------------------------------------------------------------- alignment and level


@pytest.mark.parametrize("name", CODECS_HERE)
def test_noise_music_and_an_impulse_come_back_in_place_at_every_legal_rate(name):
    codec, rng = CODECS[name], np.random.default_rng(0)
    channels = max(codec.channels)
    music, _ = audio.load("data/excerpts/render_freedoom1_D_E1M2.flac", duration_s=2)
    for rate in codec.rates:
        noise = (0.1 * rng.standard_normal((channels, rate + 13))).astype(np.float32)
        tune = audio.resample(music[:channels], from_rate=44100, to_rate=rate)
        click = np.zeros_like(noise)
        click[:, rate // 2] = 0.9
        for wave in (noise, tune, click):
            setting = usual_setting(name, rate, channels)
            stream = encode_stream(codec, wave, sample_rate=rate, setting=setting)
            decoded = decode_stream(stream)
            assert decoded.shape == wave.shape
            assert decoded.dtype == np.float32
            # Out of silence aptX adapts its step too slowly to follow a click to the sample.
            tolerance = 0.6 if wave is click and name.startswith("aptx") else 0.05
            for estimate, reference in zip(decoded, wave, strict=True):
                assert abs(lag(estimate, reference)) < tolerance, rate


@pytest.mark.parametrize("name", CODECS_HERE)
@pytest.mark.parametrize("samples", [1, 2, 127, 1105])
def test_the_shortest_waves_keep_their_length(name, samples):
    codec = CODECS[name]
    rate, channels = codec.rates[-1], max(codec.channels)
    wave = np.full((channels, samples), 0.25, np.float32)
    setting = usual_setting(name, rate, channels)
    decoded = decode_stream(encode_stream(codec, wave, sample_rate=rate, setting=setting))
    assert decoded.shape == wave.shape
    assert np.isfinite(decoded).all()


@pytest.mark.parametrize("name", CODECS_HERE)
def test_a_packet_carries_as_many_samples_as_the_codec_says(name):
    """The bit rate and what a lost packet takes away depend on it."""
    codec = CODECS[name]
    rate, channels = codec.rates[-1], max(codec.channels)
    frame, delay = codec.frame(rate), codec.delay(rate)
    setting = usual_setting(name, rate, channels)
    for samples in (1, 10 * frame - delay, 10 * frame - delay + 1):
        wave = np.full((channels, samples), 0.25, np.float32)
        stream = encode_stream(codec, wave, sample_rate=rate, setting=setting)
        assert len(stream.packets) == -(-(samples + delay) // frame)


@pytest.mark.parametrize("name", [n for n in CODECS_HERE if max(CODECS[n].channels) == 2])
def test_channels_stay_where_they_are(name):
    codec = CODECS[name]
    rate = codec.rates[-1]
    left = as_wave(fixed_signal(rate // 2, 1))
    wave = np.concatenate([left, np.zeros_like(left)])
    setting = usual_setting(name, rate, 2)
    decoded = decode_stream(encode_stream(codec, wave, sample_rate=rate, setting=setting))
    power = np.mean(decoded.astype(float) ** 2, axis=1)
    assert power[0] == pytest.approx(np.mean(left.astype(float) ** 2), rel=0.2)
    assert power[1] < 1e-3 * power[0]


# ---------------------------------------------------------------- what is legal


@pytest.mark.parametrize(
    ("name", "rate", "setting", "named"),
    [
        ("mp3", 44100, 24, "32, 40"),
        ("mp3", 22050, 320, "144, 160"),
        ("mp3", 8000, 80, "56, 64"),
        ("mp3", 96000, 128, "48000"),
        ("aac", 44100, 530, "16 to 529"),
        ("opus", 44100, 64, "48000 Hz"),
        ("opus", 48000, 511, "6 to 510"),
        ("sbc", 22050, 53, "16000 or 32000 or 44100 or 48000"),
        ("sbc", 44100, 87, "2 to 86"),
        ("sbc", 48000, None, "2 to 78"),
        ("aptx", 44100, 352, "aptx alone"),
        ("lc3", 44100, 96, "48000"),
    ],
)
def test_what_is_not_legal_is_refused_with_what_is(name, rate, setting, named):
    with pytest.raises(InputError, match=named):
        check_legal(CODECS[name], sample_rate=rate, channels=2, setting=setting)


def test_one_stream_takes_the_channels_its_codec_has():
    for name, channels in (("sbc", 3), ("msbc", 2), ("aptx", 1)):
        with pytest.raises(InputError, match="channels"):
            check_legal(CODECS[name], sample_rate=16000, channels=channels, setting=None)


@pytest.mark.parametrize(
    ("name", "rate", "expected"),
    [
        ("sbc", 44100, 44100),
        ("sbc", 22050, 44100),
        ("sbc", 24000, 48000),
        ("sbc", 96000, 48000),
        ("opus", 44100, 48000),
        ("opus", 16000, 48000),
        ("msbc", 44100, 16000),
        ("mp3", 96000, 48000),
        ("mp3", 22050, 22050),
        ("aac", 96000, 96000),
        ("aac", 37800, 44100),
        ("lc3", 44100, 48000),
    ],
)
def test_the_coding_rate_keeps_the_band_where_it_can(name, rate, expected):
    assert coding_rate(CODECS[name], rate) == expected


def test_mono_settings_are_legal_and_match_a2dp():
    """A2DP 1.3, table 4.7: the bitpools of mono and joint stereo at the same operating points."""
    table = {33: 18, 35: 19, 51: 29, 53: 31}
    assert {b: mono_setting(CODECS["sbc"], b, 44100) for b in table} == table
    for codec in CODECS.values():
        for rate in codec.rates:
            for setting in codec.settings(rate, 2):
                if 1 in codec.channels:
                    assert mono_setting(codec, setting, rate) in codec.settings(rate, 1)
    assert mono_setting(CODECS["mp3"], 64, 44100) == 32
    assert mono_setting(CODECS["mp3"], 32, 44100) == 32  # 16 is not legal
    assert mono_setting(CODECS["aptx"], None, 44100) is None


# ---------------------------------------------------------------- adaptive bitpool and losses


def test_adaptive_frames_carry_their_own_bitpool_and_decode():
    wave = as_wave(fixed_signal(128 * 40, 2))
    bitpools = np.repeat([53, 35, 20, 35], 11)
    stream = encode_adaptive(CODECS["sbc"], wave, sample_rate=44100, settings=bitpools)
    carried = [packet[2] for packet in stream.packets]  # A2DP 1.3, 12.4: third byte of the header
    assert carried == bitpools[: len(carried)].tolist()
    decoded = decode_stream(stream)
    error = np.mean((decoded - wave).reshape(2, -1, 128) ** 2, axis=(0, 2))
    assert error[3:10].mean() < 0.8 * error[13:20].mean() < 0.6 * error[25:32].mean()


def test_a_constant_adaptive_bitpool_is_the_plain_codec():
    wave = as_wave(fixed_signal(128 * 20, 2))
    plain = encode_stream(CODECS["sbc"], wave, sample_rate=44100, setting=35)
    adaptive = encode_adaptive(CODECS["sbc"], wave, sample_rate=44100, settings=[35] * 21)
    assert adaptive == plain


@pytest.mark.parametrize(("name", "rate"), [("sbc", 44100), ("msbc", 16000), ("lc3", 48000)])
def test_lost_packets_change_their_own_stretch_only(name, rate):
    if name not in CODECS_HERE:
        pytest.skip("Google's LC3 (Debian: liblc3-tools) is not installed")
    codec = CODECS[name]
    channels = max(codec.channels)
    wave = as_wave(fixed_signal(rate, channels))
    setting = usual_setting(name, rate, channels)
    stream = encode_stream(codec, wave, sample_rate=rate, setting=setting)
    lost = np.zeros(len(stream.packets), bool)
    lost[[20, 21]] = True
    whole, damaged = decode_stream(stream), decode_stream(stream, lost=lost)
    changed = np.flatnonzero(np.any(np.abs(whole - damaged) > 1e-4, axis=0))
    frame = codec.frame(rate)
    start = 20 * frame - codec.delay(rate)
    # A frame's overlap before (LC3), the reconvergence of the filters and a crossfade after it.
    assert start - frame <= changed[0] <= start + frame
    assert start + 2 * frame - 200 <= changed[-1] <= start + 4 * frame + 200
    none = decode_stream(stream, lost=np.zeros_like(lost))
    np.testing.assert_array_equal(none, whole)
