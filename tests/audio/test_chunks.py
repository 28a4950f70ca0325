"""What lies beside the samples: chunks of WAV and AIFF, cue sheets, masks, sizes beyond 4 GiB."""

import struct

import av
import numpy as np
import pytest
import soundfile
from mutagen import flac
from odd_files import encode, tone

from enhancelib import audio
from enhancelib.audio.containers import chunks
from enhancelib.audio.containers.chunks import copy_chunks
from enhancelib.audio.tags import copy_tags
from enhancelib.errors import InputError

RATE = 44100


def with_chunks(path, order="<", **held):
    """Append chunks to a WAV or AIFF; a name ends with `_` for a space."""
    content = bytearray(path.read_bytes())
    for name, data in held.items():
        content += name.replace("_", " ").encode() + struct.pack(f"{order}I", len(data)) + data
        content += bytes(len(data) % 2)
    content[4:8] = struct.pack(f"{order}I", len(content) - 8)
    path.write_bytes(content)
    return path


def held(path):
    return {chunk.name: chunks.content(path, chunk) for chunk in chunks.chunks(path)}


BEXT = bytes(338) + (RATE * 3600).to_bytes(8, "little") + bytes(256)
BESIDE = {"bext": BEXT, "cue_": bytes(28), "smpl": bytes(36), "iXML": b"<BWFXML/>", "axml": b"<a/>"}


def plain(folder, name, samples=2000):
    return audio.save(folder / name, tone(440, samples / RATE), sample_rate=RATE)


def test_chunks_of_a_wav_reach_a_wav_and_its_sound_stays(tmp_path):
    source = with_chunks(plain(tmp_path, "a.wav", 2001), **BESIDE, LIST=b"adtl" + bytes(8))
    target = plain(tmp_path, "b.wav", 2001)
    assert copy_tags(source, target) == []
    found = held(target)
    for name, data in BESIDE.items():
        assert found[name.replace("_", " ")] == data
    assert found["LIST adtl"] == b"adtl" + bytes(8)
    assert target.stat().st_size == int.from_bytes(target.read_bytes()[4:8], "little") + 8
    np.testing.assert_array_equal(audio.load(target)[0], audio.load(source)[0])


def test_at_another_rate_places_are_named_and_the_time_stamp_is_converted(tmp_path):
    source, target = with_chunks(plain(tmp_path, "a.wav"), **BESIDE), plain(tmp_path, "b.wav")
    assert copy_chunks(source, target, rate_ratio=2.0) == ["cue", "smpl"]
    assert int.from_bytes(held(target)["bext"][338:346], "little") == 2 * RATE * 3600


@pytest.mark.parametrize(
    ("version", "gain_db", "expected"),
    [
        (2, -3.5, (-2650, 500, 0x7FFF, 0x7FFF, -1350)),
        (2, 0.0, (-2300, 500, -10, 0x7FFF, -1000)),
        (1, -3.5, (-2300, 500, -10, 0x7FFF, -1000)),
    ],
)
def test_the_loudness_in_bext_follows_the_level(tmp_path, version, gain_db, expected):
    """EBU Tech 3285: loudness, its range, true peak, momentary (not stated: 0x7FFF), short-term."""
    stated = struct.pack("<5h", -2300, 500, -10, 0x7FFF, -1000)
    bext = BEXT[:346] + struct.pack("<H", version) + bytes(64) + stated + bytes(180)
    source, target = with_chunks(plain(tmp_path, "a.wav"), bext=bext), plain(tmp_path, "b.wav")
    assert copy_tags(source, target, gain_db=gain_db) == []
    found = held(target)["bext"]
    assert struct.unpack("<5h", found[412:422]) == expected
    assert (found[:412], found[422:]) == (bext[:412], bext[422:])


def test_a_second_file_behind_the_first_is_no_chunk(tmp_path):
    source, target = plain(tmp_path, "a.wav"), plain(tmp_path, "b.wav")
    before = target.read_bytes()
    source.write_bytes(with_chunks(source, iXML=b"<x/>").read_bytes() * 2)
    assert copy_tags(source, target) == []
    assert target.stat().st_size == len(before) + 12
    assert soundfile.info(target).frames == 2000


def test_what_another_format_cannot_hold_is_named(tmp_path):
    source = with_chunks(plain(tmp_path, "a.wav"), **BESIDE)
    assert copy_tags(source, plain(tmp_path, "b.flac")) == ["bext", "cue", "smpl", "iXML", "axml"]
    aiff = with_chunks(plain(tmp_path, "a.aiff"), ">", MARK=bytes(2), APPL=b"pdos")
    assert copy_tags(aiff, plain(tmp_path, "b.wav")) == ["MARK", "APPL"]
    other = plain(tmp_path, "b.aiff")
    assert copy_tags(aiff, other) == []
    assert held(other)["APPL"] == b"pdos"
    assert audio.info(other).frames == 2000


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("samples", [1, 999])
def test_a_small_wav_is_a_plain_wav(tmp_path, subtype, channels, samples):
    """By two other readers: FFmpeg's and libsndfile's."""
    wave = np.random.default_rng(0).uniform(-0.9, 0.9, (channels, samples)).astype(np.float32)
    path = audio.save(tmp_path / "a.wav", wave, sample_rate=8000, subtype=subtype)
    content = path.read_bytes()
    assert content[:4] == b"RIFF"
    assert int.from_bytes(content[4:8], "little") == len(content) - 8
    found = soundfile.info(path)
    assert (found.format, found.subtype, found.frames) == ("WAV", subtype, samples)
    step = {"PCM_U8": 2**-7, "PCM_16": 2**-15}.get(subtype, 2**-23)
    np.testing.assert_allclose(soundfile.read(path, always_2d=True)[0].T, wave, atol=step)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert (stream.rate, stream.channels, stream.duration) == (8000, channels, samples)
    names = {"JUNK", "fmt ", "data"} | ({"fact"} if subtype in ("FLOAT", "DOUBLE") else set())
    assert set(held(path)) == names


def test_beyond_4_gib_a_wav_is_rf64(tmp_path, monkeypatch):
    """The limit is lowered: the file is what libsndfile writes as RF64 at any size."""
    monkeypatch.setattr(chunks, "_LIMIT", 10_000)
    wave = tone(440, 0.5, RATE, 6)
    path = tmp_path / "a.wav"
    with audio.writer(path, sample_rate=RATE, channels=6, channel_mask=0x60F) as file:
        file.write(wave)
    assert path.read_bytes()[:4] == b"RF64"
    assert soundfile.info(path).format == "RF64"
    assert audio.info(path).channel_mask == 0x60F
    np.testing.assert_allclose(audio.load(path)[0], wave, atol=2**-22)
    small = plain(tmp_path, "b.wav", 100)
    assert copy_chunks(with_chunks(small, iXML=b"<x/>"), path) == []
    assert held(path)["iXML"] == b"<x/>"
    np.testing.assert_allclose(audio.load(path)[0], wave, atol=2**-22)


def test_what_ends_at_4_gib_is_refused_before_the_work():
    facts = {"channels": 2, "subtype": "PCM_24"}
    for suffix in (".aiff", ".au"):
        with pytest.raises(InputError, match=r"a\.b: .* ends at 4 GiB; write \.flac"):
            audio.check_size("a.b", suffix=suffix, frames=1 << 30, **facts)
        audio.check_size("a.b", suffix=suffix, frames=1 << 29, **facts)
    audio.check_size("a.b", suffix=".wav", frames=1 << 40, **facts)


# ---------------------------------------------------------------- loudspeakers


@pytest.mark.parametrize(("layout", "mask"), [("4.0", 0x107), ("5.1(side)", 0x60F), ("3.1", 0xF)])
@pytest.mark.parametrize("name", ["b.wav", "b.flac"])
def test_the_mask_of_a_wav_or_flac_is_kept(tmp_path, layout, mask, name):
    """FFmpeg writes the first and reads the last."""
    count = mask.bit_count()
    for first in ("a.wav", "a.flac"):
        codec = {"a.wav": "pcm_s16le", "a.flac": "flac"}[first]
        wave = tone(440, 0.2, RATE, count)
        source = encode(tmp_path / first, wave, RATE, codec=codec, layout=layout)
        facts = audio.info(source)
        assert (facts.channels, facts.channel_mask) == (count, mask)
        with audio.writer(
            tmp_path / name, sample_rate=RATE, channels=count, channel_mask=mask, overwrite=True
        ) as file:
            file.write(wave)
        with av.open(str(tmp_path / name)) as container:
            assert container.streams.audio[0].layout.name == layout


@pytest.mark.parametrize("name", ["a.ogg", "a.opus"])
@pytest.mark.parametrize("channels", [3, 4, 5, 6, 7, 8])
def test_surround_that_we_write_as_ogg_is_at_its_loudspeakers(tmp_path, name, channels):
    """Each channel holds another frequency; FFmpeg, which knows Vorbis's order, reads them."""
    wave = np.concatenate([tone(60 + 20 * k, 2.0, 48000, 1) for k in range(channels)])
    path = audio.save(tmp_path / name, wave, sample_rate=48000)
    got, rate = audio.load(path)
    spectra = np.abs(np.fft.rfft(got[:, :rate] * np.hanning(rate), axis=1))
    assert list(spectra.argmax(axis=1)) == [60 + 20 * k for k in range(channels)]


# ---------------------------------------------------------------- cue sheets


def test_a_cue_sheet_goes_from_flac_to_flac_or_is_named(tmp_path):
    source = plain(tmp_path, "a.flac")
    file = flac.FLAC(source)
    sheet = flac.CueSheet(None)
    for number, start in ((1, 0), (2, 588), (170, 2000)):
        sheet.tracks.append(flac.CueSheetTrack(number, start))
        if number < 170:
            sheet.tracks[-1].indexes.append(flac.CueSheetTrackIndex(1, 0))
    file.cuesheet = sheet
    file.metadata_blocks.append(sheet)
    file.save()
    target = plain(tmp_path, "b.flac")
    assert copy_tags(source, target) == []
    assert [(t.track_number, t.start_offset) for t in flac.FLAC(target).cuesheet.tracks] == [
        (1, 0),
        (2, 588),
        (170, 2000),
    ]
    assert copy_tags(source, plain(tmp_path, "c.flac"), rate_ratio=2) == ["cue sheet"]
    assert copy_tags(source, plain(tmp_path, "c.ogg")) == ["cue sheet"]
