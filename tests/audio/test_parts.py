"""Files joined into one, pages lost on the way, and channels in an order of their own."""

import struct

import numpy as np
import pytest
from odd_files import cut, encode, joined, patched, tone, vorbis

from enhancelib import audio
from enhancelib.audio.containers.headers import ogg_crc, ogg_pages
from enhancelib.audio.containers.parts import ends_early, parts
from enhancelib.errors import InputError

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


def make(path, wave, rate, codec):
    """By libsndfile where it writes the format, else by FFmpeg."""
    if codec == "vorbis":
        return vorbis(path, wave, rate)
    if codec:
        return encode(path, wave, rate, codec=codec, bit_rate=96_000)
    return audio.save(path, wave, sample_rate=rate)


KINDS = [
    *[(suffix, "") for suffix in (".wav", ".aiff", ".w64", ".au", ".caf", ".flac")],
    *[(".m4a", "aac"), (".m4a", "alac"), (".wma", "wmav2"), (".wv", "wavpack"), (".tta", "tta")],
    *[(".mka", "pcm_s16le"), (".mka", "aac"), (".wav", "adpcm_ms"), (".caf", "alac")],
    *[(".ogg", "vorbis"), (".mp3", "libmp3lame"), (".ac3", "ac3")],
]


@pytest.mark.parametrize(("suffix", "codec"), KINDS)
@pytest.mark.parametrize(("rate", "channels"), [(RATE, 2), (32000, 1)])
def test_what_cat_joined_is_read_to_the_end_at_its_pitch(tmp_path, suffix, codec, rate, channels):
    """Players play the first file only, or the rest at the pitch of the first."""
    first = make(tmp_path / f"1{suffix}", tone(500, 1.0), RATE, codec)
    second = make(tmp_path / f"2{suffix}", tone(1000, 2.0, rate, channels), rate, codec)
    wave, got, notes = read(joined(tmp_path / f"a{suffix}", first, second, first))
    assert (got, len(wave)) == (RATE, 2)
    assert wave.shape[1] / RATE == pytest.approx(4.0, abs=0.2)
    assert pitch(wave[:, : RATE // 2], RATE) == pytest.approx(500, abs=2)
    middle = wave[:, RATE + 8000 : 2 * RATE + 8000]
    assert pitch(middle, RATE) == pytest.approx(1000, abs=2)
    np.testing.assert_allclose(np.abs(middle).max(axis=1), 0.3, atol=0.03)
    assert pitch(wave[:, -RATE // 2 :], RATE) == pytest.approx(500, abs=2)
    assert all("changes to" in note for note in notes)
    assert bool(notes) == ((rate, channels) != (RATE, 2))


def test_joined_waves_are_exact_and_a_stretch_may_lie_across_the_seam(tmp_path):
    first, second = tone(440, 0.5), tone(700, 0.25)
    names = [tmp_path / "1.wav", tmp_path / "2.aiff"]
    for name, wave in zip(names, (first, second), strict=True):
        audio.save(name, wave, sample_rate=RATE)
    whole = np.concatenate([first, second], axis=1)
    path = joined(tmp_path / "a.wav", *names)
    np.testing.assert_allclose(read(path)[0], whole, atol=2**-22)
    part, _ = audio.load(path, offset_s=0.4, duration_s=0.2)
    np.testing.assert_allclose(part, whole[:, 17640:26460], atol=2**-22)


@pytest.mark.parametrize(("suffix", "codec"), KINDS)
def test_a_file_by_itself_is_one_part_whatever_follows_it(tmp_path, suffix, codec):
    path = make(tmp_path / f"a{suffix}", tone(500, 0.5), RATE, codec)
    size = path.stat().st_size
    assert parts(path) == [(0, size)]
    assert not ends_early(path)
    path.write_bytes(path.read_bytes() + bytes(1000) + b"RIFF no audio at all" * 10)
    assert len(parts(path)) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"caff\0\1\0\0desc" + (2**63 - 1).to_bytes(8) + bytes(40),
        bytes(3) + b"\x18ftypM4A " + bytes(12) + b"\0\0\0\1moov" + b"\xff" * 40,
        bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + b"\xff" * 40,
        bytes.fromhex("1a45dfa3 80 18538067 01fffffffffffffe") + bytes(40),
        b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0" + b"\xff" * 40,
        b"wvpk" + b"\xff" * 40,
        b"TTA1" + b"\xff" * 40,
    ],
)
def test_sizes_beyond_any_file_end_the_search(tmp_path, content):
    path = tmp_path / "a"
    path.write_bytes(content)
    assert parts(path) == [(0, len(content))]
    ends_early(path)
    with pytest.raises(InputError):
        audio.load(path)


@pytest.mark.parametrize(
    ("suffix", "codec", "words"),
    [(".mka", "aac", "its end is missing"), (".au", "pcm_s16be", "its end is missing")],
)
def test_a_few_bytes_missing_are_said(tmp_path, suffix, codec, words):
    path = make(tmp_path / f"a{suffix}", tone(500, 1.0), RATE, codec)
    assert read(path)[2] == []
    (note,) = read(cut(path, 40))[2]
    assert words in note


def test_half_an_rf64_is_read_and_said_to_be_half(tmp_path):
    path = tmp_path / "a.wav"
    encode(path, tone(500, 2.0), RATE, codec="pcm_s16le", rf64="always")
    assert path.read_bytes()[:4] == b"RF64"
    assert read(path)[2] == []
    wave, _, notes = read(cut(path, path.stat().st_size // 2))
    assert wave.shape[1] == pytest.approx(RATE, abs=100)
    assert "states 2.0" in notes[0]


# ---------------------------------------------------------------- lost pages


def noisy_ogg(path, codec, rate, seconds=6):
    """An Ogg of noise, and its pages."""
    noise = np.random.default_rng(0).standard_normal((2, seconds * rate)).astype(np.float32) / 10
    make(path, noise, rate, codec)
    assert read(path)[2] == []
    return list(ogg_pages(path))


@pytest.mark.parametrize("damage", ["flipped", "dropped"])
@pytest.mark.parametrize("codec", ["vorbis", "libopus"])
def test_a_lost_page_of_an_ogg_is_silent_and_what_follows_stays_in_its_place(
    tmp_path, codec, damage
):
    """Its check sum fails or it is gone; players go on with the next, a second earlier."""
    rate, path = 48000, tmp_path / "a.ogg"
    pages = noisy_ogg(path, codec, rate)
    whole, _, _ = read(path)
    at, _, length = pages[len(pages) // 2]
    content = path.read_bytes()
    if damage == "dropped":
        path.write_bytes(content[:at] + content[at + length :])
    else:
        patched(path, at + length - 9, bytes([content[at + length - 9] ^ 4]))
    wave, _, notes = read(path)
    assert "1 damaged frame (the first at" in notes[0]
    assert wave.shape == whole.shape
    np.testing.assert_allclose(wave[:, -rate:], whole[:, -rate:], atol=1e-3)
    np.testing.assert_array_equal(wave[:, :rate], whole[:, :rate])


@pytest.mark.parametrize("codec", ["vorbis", "libopus"])
@pytest.mark.parametrize("back", [1, 2])
def test_a_damaged_page_at_the_end_of_an_ogg_is_named(tmp_path, codec, back):
    path = tmp_path / "a.ogg"
    at, _, length = noisy_ogg(path, codec, 48000)[-back]
    content = path.read_bytes()
    patched(path, at + length - 9, bytes([content[at + length - 9] ^ 4]))
    notes = read(path)[2]
    assert "damaged" in notes[0]
    assert any(word in "".join(notes) for word in ("its end is missing", "states 6.0", "frame"))


def test_vorbis_whose_first_samples_are_cut_is_read(tmp_path):
    """Its times begin under zero (Vorbis I, A.2); FFmpeg refuses the whole file."""
    path = tmp_path / "a.ogg"
    pages = noisy_ogg(path, "vorbis", RATE)
    whole, _, _ = read(path)
    content = bytearray(path.read_bytes())
    times = {at: int.from_bytes(content[at + 6 : at + 14], "little") for at, _, _ in pages}
    cut_off = min(time for time in times.values() if time) + 104
    for at, _, length in pages:
        if times[at]:
            time = (times[at] - cut_off).to_bytes(8, "little", signed=True)
            content[at + 6 : at + 14] = time
            content[at + 22 : at + 26] = ogg_crc(bytes(content[at : at + length]))
    path.write_bytes(content)
    assert audio.info(path).sample_rate == RATE
    wave, rate, notes = read(path)
    assert (rate, notes) == (RATE, [])
    assert whole.shape[1] - cut_off <= wave.shape[1] <= whole.shape[1]
    np.testing.assert_allclose(wave[:, -RATE:], whole[:, -RATE:], atol=1e-4)
    at = pages[len(pages) // 2][0] + 400
    patched(path, at, bytes([content[at] ^ 4]))
    assert "pages of it are damaged or missing" in read(path)[2][0]
    path.write_bytes(content[: len(content) // 2])
    half, _, notes = read(path)
    assert 0 < half.shape[1] < 0.6 * wave.shape[1]
    assert f"its end is missing; {half.shape[1] / RATE:.2f} s are in it" in "".join(notes)


def test_a_recorded_stream_that_begins_late_has_no_silence_before_it(tmp_path):
    """Icecast sends the headers and then the page it is at."""
    path = tmp_path / "a.ogg"
    pages = noisy_ogg(path, "vorbis", RATE, seconds=20)
    late, content = pages[len(pages) // 2][0], path.read_bytes()
    head = next(
        at for at, _, _ in pages if content[at + 6 : at + 14] not in (bytes(8), b"\xff" * 8)
    )
    path.write_bytes(content[:head] + content[late:])
    wave, _, notes = read(path)
    assert notes == []
    assert 0.4 < wave.shape[1] / (20 * RATE) < 0.6
    assert np.abs(wave[:, :4096]).max() > 0.05


# ---------------------------------------------------------------- orders of channels

# Layouts of Apple's "CoreAudioTypes": number -> the loudspeakers in their order.
APPLE = {
    (121 << 16) | 6: "FL FR FC LFE SL SR",
    (122 << 16) | 6: "FL FR SL SR FC LFE",
    (123 << 16) | 6: "FL FC FR SL SR LFE",
    (124 << 16) | 6: "FC FL FR SL SR LFE",
    (114 << 16) | 3: "FC FL FR",
}
WAV_ORDER = ("FL", "FR", "FC", "LFE", "SL", "SR")


def with_layout(path, number):
    """Put a chunk of a layout before the others of a CAF, or behind those of an AIFF.

    FFmpeg writes one into a MOV, whose number is replaced (Apple, "QuickTime File Format": "chan").
    """
    content = path.read_bytes()
    layout = struct.pack(">III", number, 0, 0)
    if path.suffix == ".mov":
        assert content.count(b"chan") == 1
        return patched(path, content.find(b"chan") + 8, layout)
    if path.suffix == ".caf":
        chunk = b"chan" + struct.pack(">q", 12) + layout
        content = content[:52] + chunk + content[52:]  # behind "desc", which is the first
    else:
        chunk = b"CHAN" + struct.pack(">I", 12) + layout
        at = content.find(b"SSND")
        content = content[:at] + chunk + content[at:]
        content = content[:4] + struct.pack(">I", len(content) - 8) + content[8:]
    path.write_bytes(content)
    return path


def stored_as(path, wave):
    """A file of 16 bits that holds its channels as they are given."""
    if path.suffix != ".mov":
        return audio.save(path, wave, sample_rate=RATE, subtype="PCM_16")
    layout = {2: "stereo", 3: "3.0", 6: "5.1(side)"}[len(wave)]
    return encode(path, wave, RATE, codec="pcm_s16le", layout=layout)


@pytest.mark.parametrize("suffix", [".caf", ".aiff", ".mov"])
@pytest.mark.parametrize("number", APPLE)
def test_channels_in_apples_orders_are_at_their_loudspeakers(tmp_path, suffix, number):
    """PyAV 18 frees such a layout twice, which would end the process: many frames, many times."""
    names = APPLE[number].split()
    speakers = [name for name in WAV_ORDER if name in names]
    wave = np.concatenate([tone(300 + 200 * k, 1.0, RATE, 1) for k in range(len(names))])
    stored = wave[[speakers.index(name) for name in names]]
    path = stored_as(tmp_path / f"a{suffix}", stored)
    with_layout(path, number)
    for _ in range(3):
        assert audio.info(path).channel_mask == (0x60F if len(names) == 6 else 0x7)
        np.testing.assert_allclose(read(path)[0], wave, atol=2**-15)
    part, _ = audio.load(path, offset_s=0.5, duration_s=0.1)
    np.testing.assert_allclose(part, wave[:, 22050:26460], atol=2**-15)
    stereo = stored_as(tmp_path / f"b{suffix}", tone(440, 0.5))
    both, _, notes = read(joined(tmp_path / f"c{suffix}", stereo, path))
    assert both.shape == (2, round(1.5 * RATE))
    assert len(notes) == 1
