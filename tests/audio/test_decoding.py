"""Compressed files come out whole, in time and in their places, or a line says what does not."""

import warnings

import av
import numpy as np
import pytest
from odd_files import cut, encode, joined, new_serial, patched, tone, vorbis

from enhancelib import audio
from enhancelib.errors import AudioWarning, InputError

RATE = 44100


def read(path):
    """The wave, its rate, and what was said."""
    notes: list[str] = []
    wave, rate = audio.load(path, notes=notes)
    assert all(note.startswith(str(path)) and "\n" not in note for note in notes)
    return wave, rate, notes


def pitch(wave, rate) -> float:
    """The strongest frequency of the first channel in Hz."""
    spectrum = np.abs(np.fft.rfft(wave[0] * np.hanning(wave.shape[1])))
    return spectrum.argmax() * rate / wave.shape[1]


# ---------------------------------------------------------------- MP3


def mp3(path, seconds=4.0, *, frequency=1000, rate=RATE, channels=2, tag="1"):
    wave = tone(frequency, seconds, rate, channels)
    wave[:, wave.shape[1] // 4 : wave.shape[1] // 2] = 0  # a variable bit rate varies
    variable = {"compression_level": "7", "flags": "+qscale", "global_quality": "236"}
    options = {"write_xing": tag, "id3v2_version": "0"}
    return encode(path, wave, rate, codec="libmp3lame", muxer="mp3", coder=variable, **options)


def test_an_mp3_of_variable_bit_rate_without_a_tag_is_read_whole(tmp_path):
    wave, _, notes = read(mp3(tmp_path / "a.mp3", 20, tag="0"))
    assert 0 <= wave.shape[1] - 20 * RATE <= 3 * 1152  # the coder's delay and filling
    assert notes == []


def test_joined_mp3s_are_read_to_the_end(tmp_path):
    part = mp3(tmp_path / "part.mp3")
    wave, rate, notes = read(joined(tmp_path / "a.mp3", part, part))
    assert 0 <= wave.shape[1] - 8 * RATE <= 4 * 1152
    assert pitch(wave[:, -RATE:], rate) == pytest.approx(1000, abs=2)
    assert notes == []


@pytest.mark.parametrize(("rate", "channels"), [(RATE, 2), (48000, 1), (22050, 1)])
def test_joined_flacs_are_read_to_the_end(tmp_path, rate, channels):
    first, second = tone(500, 1.0), tone(1000, 2.0, rate, channels)
    parts = [
        audio.save(tmp_path / "1.flac", first, sample_rate=RATE),
        audio.save(tmp_path / "2.flac", second, sample_rate=rate),
    ]
    wave, _, notes = read(joined(tmp_path / "a.flac", *parts))
    assert wave.shape == (2, 3 * RATE)
    np.testing.assert_allclose(wave[:, :RATE], first, atol=2**-22)
    expected = audio.resample(second, from_rate=rate, to_rate=RATE)[:, 1000:-1000]
    np.testing.assert_allclose(
        wave[:, RATE + 1000 : -1000], np.tile(expected[0], (2, 1)), atol=1e-4
    )
    assert len(notes) == (rate != RATE)


def xing(path):
    """Where the tag's count of frames stands, and the count."""
    data = path.read_bytes()
    at = max(data.find(b"Xing"), data.find(b"Info")) + 8
    return at, int.from_bytes(data[at : at + 4])


@pytest.mark.parametrize(("factor", "words"), [(0, ""), (0.5, ""), (2, "states 8.0")])
def test_a_wrong_count_in_the_tag_costs_nothing(tmp_path, factor, words):
    path = mp3(tmp_path / "a.mp3")
    at, count = xing(path)
    wave, _, notes = read(patched(path, at, int(count * factor).to_bytes(4)))
    assert 0 <= wave.shape[1] - 4 * RATE <= 1152
    assert len(notes) == bool(words)
    assert words in "".join(notes)


def test_fraunhofers_tag_states_the_length_too(tmp_path):
    path = mp3(tmp_path / "a.mp3")
    at, count = xing(path)
    tag = b"VBRI" + bytes(6) + path.stat().st_size.to_bytes(4) + count.to_bytes(4)
    assert at == 44  # the tag itself at 36, as VBRI's
    patched(path, 36, tag + bytes(120))
    assert read(path)[2] == []
    (note,) = read(cut(path, path.stat().st_size // 2))[2]
    assert "states 4.0" in note


def test_an_mp3_without_its_last_bytes_is_read_with_a_word(tmp_path):
    wave, _, notes = read(cut(mp3(tmp_path / "a.mp3"), 100))
    assert wave.shape[1] >= 4 * RATE - 1152
    (note,) = notes
    assert "its end is missing" in note


# ---------------------------------------------------------------- changes of form


def changing(folder, codec, suffix, rate, channels):
    """A second of 500 Hz at 44.1 kHz stereo, then two seconds in another form."""
    muxer = {"mp3": "mp3", "aac": "adts"}.get(suffix)
    paths, waves = [folder / "1", folder / "2"], [tone(500, 1.0), tone(1000, 2.0, rate, channels)]
    for path, wave, own_rate in zip(paths, waves, (RATE, rate), strict=True):
        if codec == "vorbis":
            vorbis(path, wave, own_rate)
        else:
            encode(path, wave, own_rate, codec=codec, muxer=muxer)
    one, other = paths
    if suffix == "ogg":
        new_serial(other, 77)
    return joined(folder / f"joined.{suffix}", one, other)


FORMS = [
    *[(codec, suffix, 48000, 1) for codec, suffix in [("libmp3lame", "mp3"), ("aac", "aac")]],
    *[("vorbis", "ogg", rate, n) for rate, n in [(RATE, 2), (48000, 2), (RATE, 1), (22050, 1)]],
]


@pytest.mark.parametrize(("codec", "suffix", "rate", "channels"), FORMS)
def test_a_second_part_of_another_form_keeps_pitch_level_and_length(
    tmp_path, codec, suffix, rate, channels
):
    wave, got, notes = read(changing(tmp_path, codec, suffix, rate, channels))
    assert (got, len(wave)) == (RATE, 2)
    assert wave.shape[1] / RATE == pytest.approx(3.0, abs=0.12)
    end = wave[:, -3 * RATE // 2 : -RATE // 2]
    assert pitch(end, RATE) == pytest.approx(1000, abs=2)
    np.testing.assert_allclose(np.abs(end).max(axis=1), 0.3, atol=0.02)
    assert len(notes) == ((rate, channels) != (RATE, 2))
    if notes:
        assert f"changes to {rate} Hz" in notes[0]
        assert "converted to 44100 Hz, 2 channels" in notes[0]


@pytest.mark.parametrize("channels", [1, 2])
def test_chained_opus_is_read_to_the_end(tmp_path, channels):
    parts = [
        encode(tmp_path / f"{n}.opus", tone(1000, 2.0, 48000, n), 48000, codec="libopus")
        for n in (2, channels)
    ]
    new_serial(parts[-1], 5)
    wave, rate, _ = read(joined(tmp_path / "c.opus", encode_first(tmp_path), parts[-1]))
    assert rate == 48000
    assert wave.shape[1] == pytest.approx(4 * rate, abs=400)
    assert pitch(wave[:, -rate:], rate) == pytest.approx(1000, abs=2)


def encode_first(folder):
    return encode(folder / "first.opus", tone(500, 2.0, 48000), 48000, codec="libopus")


def test_stereo_after_mono_is_mixed(tmp_path):
    one = encode(tmp_path / "1.aac", tone(500, 1.0, RATE, 1), RATE, codec="aac", muxer="adts")
    two = encode(tmp_path / "2.aac", tone(1000, 1.0), RATE, codec="aac", muxer="adts")
    wave, _, notes = read(joined(tmp_path / "a.aac", one, two))
    assert len(wave) == 1
    assert pitch(wave[:, -RATE // 2 :], RATE) == pytest.approx(1000, abs=4)
    assert len(notes) == 1


# ---------------------------------------------------------------- what players play


def test_a_flac_of_unknown_length_and_a_wav_of_size_zero_are_read(tmp_path):
    wave = tone(440, 1.0)
    flac = audio.save(tmp_path / "a.flac", wave, sample_rate=RATE, subtype="PCM_16")
    streaminfo = bytearray(flac.read_bytes()[18:26])
    streaminfo[3] &= 0xF0  # 36 bits of total samples (RFC 9639, 8.2)
    patched(patched(flac, 18, bytes(streaminfo)), 22, bytes(4))
    wav = audio.save(tmp_path / "a.wav", wave, sample_rate=RATE, subtype="PCM_16")
    at = wav.read_bytes().find(b"data") + 4
    patched(patched(wav, at, bytes(4)), 4, bytes(4))
    for path in (flac, wav):
        got, _, notes = read(path)
        np.testing.assert_allclose(got, wave, atol=2**-15)
        assert notes == []
        assert audio.info(path).subtype == "PCM_16"


def test_opus_of_510_kbps_and_opus_made_from_16_khz_keep_their_treble(tmp_path):
    wave = tone(11000, 2.0, 48000)
    loud = encode(tmp_path / "a.opus", wave, 48000, codec="libopus", bit_rate=510_000)
    made = encode(tmp_path / "b.opus", wave, 48000, codec="libopus", bit_rate=128_000)
    at = made.read_bytes().find(b"OpusHead") + 12  # the rate of what was coded, a remark only
    patched(made, at, (16000).to_bytes(4, "little"))
    new_serial(made, 1)  # with a check sum that fits
    for path in (loud, made):
        got, rate, _ = read(path)
        assert (rate, got.shape[1]) == (48000, 96000)
        assert pitch(got, rate) == pytest.approx(11000, abs=2)


@pytest.mark.parametrize("rate", [37800, 44100, 352800])
def test_wavpack_with_id3v1_and_at_odd_rates_is_read(tmp_path, rate):
    path = encode(tmp_path / "a.wv", tone(440, 0.5, rate), rate, codec="wavpack")
    path.write_bytes(path.read_bytes() + b"TAG" + bytes(125))
    got, found, notes = read(path)
    assert (found, got.shape[1], notes) == (rate, rate // 2, [])


@pytest.mark.parametrize(
    ("codec", "suffix", "muxer", "rate"),
    [
        ("libopus", "mka", "matroska", 48000),
        ("libopus", "webm", "webm", 48000),
        ("wavpack", "wv", "wv", 44100),
        ("wmav2", "wma", "asf", 44100),
        ("flac", "flac", "flac", 44100),
        ("vorbis", "ogg", "ogg", 44100),
        ("libopus", "opus", "ogg", 48000),
        ("libmp3lame", "mp3", "mp3", 44100),
    ],
)
def test_half_a_file_is_read_and_said_to_be_half(tmp_path, codec, suffix, muxer, rate):
    noise = np.random.default_rng(0).standard_normal((2, 4 * rate)).astype(np.float32) / 10
    path = tmp_path / f"a.{suffix}"
    if codec == "vorbis":
        vorbis(path, noise, rate)
    else:
        encode(path, noise, rate, codec=codec, muxer=muxer, bit_rate=128_000)
    whole, _, notes = read(path)
    assert notes == []
    cut(path, path.stat().st_size // 2)
    half, _, notes = read(path)
    assert 0.3 < half.shape[1] / whole.shape[1] < 0.7
    np.testing.assert_array_equal(half[:, : 3 * rate // 4], whole[:, : 3 * rate // 4])
    assert any("states 4" in note or "its end is missing" in note for note in notes)


def test_a_damaged_frame_is_silent_and_what_follows_stays_in_its_place(tmp_path):
    wave = tone(440, 4.0)
    m4a = encode(tmp_path / "a.m4a", wave, RATE, codec="aac", muxer="ipod")
    whole, _, _ = read(m4a)
    at = m4a.read_bytes().find(b"mdat") + m4a.stat().st_size // 3
    broken, _, notes = read(patched(m4a, at, bytes([255] * 40)))
    assert broken.shape == whole.shape
    np.testing.assert_array_equal(broken[:, -RATE:], whole[:, -RATE:])
    assert "damaged frame" in notes[0]
    flac = audio.save(tmp_path / "a.flac", wave, sample_rate=RATE)
    broken, _, notes = read(patched(flac, flac.stat().st_size // 2, bytes(3000)))
    np.testing.assert_allclose(broken[:, -RATE:], wave[:, -RATE:], atol=2**-22)
    assert broken.shape == wave.shape
    assert "damaged frame" in notes[0]


@pytest.mark.parametrize(
    ("codec", "name", "longest"),
    [("flac", "a.flac", 4608), ("wavpack", "a.wv", 22050), ("tta", "a.tta", 46080)],
)
def test_a_flipped_bit_is_found_by_the_check_sum(tmp_path, codec, name, longest):
    """Each frame of a lossless coder has one, which decoders do not look at unasked."""
    noise = np.random.default_rng(0).standard_normal((2, 4 * RATE)).astype(np.float32) / 10
    path = encode(tmp_path / name, noise, RATE, codec=codec)
    content, whole = path.read_bytes(), read(path)[0]
    for at in np.random.default_rng(1).integers(9000, 7 * len(content) // 10, 12):
        patched(path, at, bytes([content[at] ^ 16]))
        wave, _, notes = read(path)
        path.write_bytes(content)
        assert "1 damaged frame (" in notes[0]
        assert wave.shape == whole.shape
        lost = np.flatnonzero((wave != whole).any(axis=0))
        assert lost[-1] - lost[0] < 2 * longest


def test_a_folder_gives_every_kind_that_can_be_read(tmp_path):
    names = ["a.aifc", "b.bwf", "c.tta", "d.m4b", "e.WAVE", "f.dsf", "g.txt"]
    for name in names:
        (tmp_path / name).touch()
    assert [path.name for path in audio.find_audio(tmp_path)] == names[:-1]


def test_adts_that_ends_within_a_frame_is_read_with_a_word(tmp_path):
    path = encode(tmp_path / "a.aac", tone(440, 4.0), RATE, codec="aac", muxer="adts")
    wave, _, notes = read(cut(path, 30))
    assert wave.shape[1] >= 4 * RATE - 1024
    assert len(notes) == 1


@pytest.mark.parametrize(
    ("codec", "suffix", "rate", "kbps"),
    [
        *[("mp2", "mp2", rate, kbps) for rate, kbps in ((44100, 128), (48000, 384), (22050, 64))],
        *[("ac3", "ac3", rate, kbps) for rate, kbps in ((44100, 128), (32000, 640), (48000, 32))],
        ("eac3", "eac3", 44100, 128),
        *[("libmp3lame", "mp3", rate, kbps) for rate, kbps in ((44100, 128), (16000, 32))],
    ],
)
def test_frames_that_follow_each_other_tell_where_the_file_was_cut(
    tmp_path, codec, suffix, rate, kbps
):
    """No header states the whole: the last frame is shorter than it says, or all are there."""
    options = {"write_xing": "0"} if suffix == "mp3" else {}
    wave = tone(440, 1.0, rate)
    path = tmp_path / f"a.{suffix}"
    encode(path, wave, rate, codec=codec, bit_rate=1000 * kbps, **options)
    whole, _, notes = read(path)
    assert notes == []
    content = path.read_bytes()
    for left in (len(content) - 1, len(content) // 2 + 7, len(content) // 3 + 11):
        path.write_bytes(content[:left])
        wave, _, (note,) = read(path)
        assert "its end is missing" in note or "damaged frame" in note
        assert wave.shape[1] > 0.8 * whole.shape[1] * left / len(content) - 1536


def test_a_second_recording_in_a_file_is_named(tmp_path):
    path = tmp_path / "a.mka"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("aac", rate=RATE, layout="mono") for _ in range(2)]
        for stream in streams:
            frame = av.AudioFrame.from_ndarray(tone(440, 1.0, RATE, 1), "fltp", "mono")
            frame.sample_rate = RATE
            container.mux([*stream.encode(frame), *stream.encode(None)])
    (note,) = read(path)[2]
    assert "holds 2 recordings; the first was read" in note


def test_a_flac_frame_that_lies_about_its_place_makes_no_hours_of_silence(tmp_path):
    """Its number is rewritten, with check sums that fit (RFC 9639, 9.1.8 and 9.3)."""
    path = audio.save(tmp_path / "a.flac", tone(440, 4.0, RATE, 1), sample_rate=RATE)
    content = bytearray(path.read_bytes())
    starts = [at for at in range(len(content) - 6) if content[at : at + 3] == b"\xff\xf8\xc9"]
    at, end = starts[len(starts) // 2], starts[len(starts) // 2 + 1]
    content[at + 4] = 0x7F  # frame 127 of some 40
    content[at + 5] = crc(content[at : at + 5], bits=8, polynomial=0x07)
    content[end - 2 : end] = crc(content[at : end - 2], bits=16, polynomial=0x8005).to_bytes(2)
    path.write_bytes(content)
    wave, _, _ = read(path)
    assert wave.shape[1] <= 4 * RATE + 4096


def crc(data, *, bits, polynomial):
    """A check sum that starts at 0, highest bit first."""
    rest = 0
    for byte in data:
        rest ^= byte << (bits - 8)
        for _ in range(8):
            rest = (rest << 1 ^ (polynomial if rest >> (bits - 1) else 0)) & ((1 << bits) - 1)
    return rest


def test_without_a_list_notes_are_warnings(tmp_path):
    path = cut(mp3(tmp_path / "a.mp3"), 100)
    with pytest.warns(AudioWarning, match="its end is missing"):
        audio.load(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        audio.load(path, notes=[])


# ---------------------------------------------------------------- loudspeakers and names

# Layout -> its channels in the order of WAV and FLAC, and in the order of Vorbis (I, 4.3.9).
ORDERS = {
    "3.0": ("FL FR FC", "FL FC FR"),
    "quad": ("FL FR BL BR", "FL FR BL BR"),
    "5.0": ("FL FR FC BL BR", "FL FC FR BL BR"),
    "5.1": ("FL FR FC LFE BL BR", "FL FC FR BL BR LFE"),
    "6.1": ("FL FR FC LFE BC SL SR", "FL FC FR SL SR BC LFE"),
    "7.1": ("FL FR FC LFE BL BR SL SR", "FL FC FR SL SR BL BR LFE"),
}


def tones(count, rate=48000):
    """One frequency for each channel."""
    return np.concatenate([tone(400 + 200 * k, 1.0, rate, 1) for k in range(count)])


def heard(wave, rate):
    return [round(pitch(wave[k : k + 1], rate), -2) for k in range(len(wave))]


def but_the_low(layout, frequencies):
    """Without the low frequencies' channel, of which the coders keep no 1000 Hz."""
    names = ORDERS[layout][0].split()
    return [pair for pair in zip(names, frequencies, strict=True) if pair[0] != "LFE"]


@pytest.mark.parametrize("layout", ORDERS)
def test_each_channel_of_surround_vorbis_is_at_its_loudspeaker(tmp_path, layout):
    order, stored = (names.split() for names in ORDERS[layout])
    wave = tones(len(order))
    path = vorbis(tmp_path / "a.ogg", wave[[order.index(name) for name in stored]], 48000)
    got, rate, _ = read(path)
    assert but_the_low(layout, heard(got, rate)) == but_the_low(layout, heard(wave, 48000))


@pytest.mark.parametrize("layout", [name for name in ORDERS if name != "6.1"])
def test_each_channel_of_surround_opus_is_at_its_loudspeaker(tmp_path, layout):
    wave = tones(len(ORDERS[layout][0].split()))
    coder = {"codec": "libopus", "layout": layout, "coder": {"mapping_family": "1"}}
    got, rate, _ = read(encode(tmp_path / "a.opus", wave, 48000, bit_rate=512_000, **coder))
    assert but_the_low(layout, heard(got, rate)) == but_the_low(layout, heard(wave, 48000))


@pytest.mark.parametrize("name", ["Suite: I.m4a", "concat:a|b.m4a", "http:x.m4a", "%03d.m4a"])
def test_a_name_is_a_name_and_no_address(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    made = encode("a.m4a", tone(440, 1.0), RATE, codec="aac", muxer="ipod")
    for path in (made.rename(name), tmp_path / name, f"./{name}"):
        assert audio.load(path)[1] == RATE
    (tmp_path / "Bach: Suites").mkdir()
    assert audio.load((tmp_path / name).rename(tmp_path / "Bach: Suites" / name))[1] == RATE


def test_a_list_of_other_files_is_no_audio(tmp_path):
    audio.save(tmp_path / "near.wav", tone(440, 1.0), sample_rate=RATE)
    lists = {
        "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nnear.wav\n#EXT-X-ENDLIST\n",
        "a.mp3": "ffconcat version 1.0\nfile near.wav\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=r"only names other files|not readable"):
            audio.load(tmp_path / name)


def test_short_frames_are_gathered_into_full_blocks(tmp_path):
    """A network run on every AAC frame by itself takes three times as long."""
    path = encode(tmp_path / "a.m4a", tone(440, 4.0), RATE, codec="aac", muxer="ipod")
    sizes = [block.shape[1] for block in audio.blocks(path, frames=50_000)]
    assert sizes[:-1] == [50_000] * 3
