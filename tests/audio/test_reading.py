"""Reading files: stretches, blocks, FFmpeg's formats, and every kind of bad file."""

import tracemalloc

import av
import numpy as np
import pytest
import soundfile
from conftest import as_nobody

from enhancelib import audio
from enhancelib.audio.containers.headers import is_one_page
from enhancelib.errors import AudioWarning, InputError


def noise(channels: int = 2, samples: int = 10_001, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((channels, samples))).astype(np.float32)


def encode_with_ffmpeg(path, wave, rate, *, muxer, codec, **options):
    """Write a file that libsndfile does not: AAC in MP4, or an MP3 without a length tag."""
    with av.open(str(path), "w", format=muxer, options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = "stereo"
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="stereo")
        frame.sample_rate = rate
        split = av.AudioResampler(format="fltp", layout="stereo", frame_size=stream.frame_size)
        for part in [*split.resample(frame), *split.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


def test_a_stretch_is_the_slice_of_the_whole(tmp_path):
    wave = noise(samples=44100)
    path = audio.save(tmp_path / "a.wav", wave, sample_rate=44100, subtype="FLOAT")
    part, _ = audio.load(path, offset_s=0.25, duration_s=0.5)
    np.testing.assert_array_equal(part, wave[:, 11025 : 11025 + 22050])
    rest, _ = audio.load(path, offset_s=0.9, duration_s=5)
    np.testing.assert_array_equal(rest, wave[:, 39690:])
    with pytest.raises(InputError, match="no audio after 2"):
        audio.load(path, offset_s=2)
    bad = [("offset_s", value) for value in (-1, float("inf"), float("nan"), "1", None)]
    bad += [("duration_s", value) for value in (0, -1, float("nan"), "1")]
    for key, value in bad:
        with pytest.raises(InputError, match=f"^{key}: "):
            audio.load(path, **{key: value})


def test_m4a_is_read_through_ffmpeg_and_sliced_alike(tmp_path):
    wave = audio.load("data/excerpts/render_freedoom1_D_E1M2.flac", duration_s=1)[0]
    path = tmp_path / "a.m4a"
    encode_with_ffmpeg(path, wave, 44100, muxer="ipod", codec="aac")
    whole, rate = audio.load(path)
    assert rate == 44100
    assert np.corrcoef(whole[0, 1024:44000], wave[0, : 44000 - 1024])[0, 1] > 0.95
    part, _ = audio.load(path, offset_s=0.3, duration_s=0.2)
    np.testing.assert_array_equal(part, whole[:, 13230:22050])
    blocks = list(audio.blocks(path, frames=1000))
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), whole)
    assert max(block.shape[1] for block in blocks) <= 1000
    described = audio.info(path)
    assert (described.sample_rate, described.channels, described.subtype) == (44100, 2, "aac")
    assert described.seconds == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("samples", [1, 300, 12_000, 44_100, 60_000, 200_000])
def test_ogg_is_as_long_as_what_was_written(tmp_path, samples, channels):
    """One page of sound, two, and many; tones take few bytes, so a page holds a second of them."""
    tone = 0.1 * np.sin(2 * np.pi * 440 / 44100 * np.arange(samples), dtype=np.float32)
    wave = np.tile(tone, (channels, 1))
    audio.save(tmp_path / "a.ogg", wave, sample_rate=44100)
    info, (read, _) = audio.info(tmp_path / "a.ogg"), audio.load(tmp_path / "a.ogg")
    assert info.frames == samples
    assert read.shape == wave.shape
    assert samples < 1000 or np.abs(read - wave).max() < 0.05
    audio.save(tmp_path / "a.opus", wave, sample_rate=48000)
    assert audio.info(tmp_path / "a.opus").frames == samples
    assert audio.load(tmp_path / "a.opus")[0].shape == wave.shape


@pytest.mark.parametrize("channels", [3, 4, 5, 6, 7, 8, 10])
def test_surround_in_one_page_of_ogg_has_its_length_and_the_order_of_a_longer_one(
    tmp_path, channels
):
    """A tone for each channel; the longer file is FFmpeg's to read, which knows the order."""
    time_s = np.arange(60_000, dtype=np.float32) / 44100
    wave = np.stack([0.2 * np.sin(2 * np.pi * (300 + 200 * c) * time_s) for c in range(channels)])
    for samples in (1, 300, 3000, 60_000):
        path = audio.save(tmp_path / f"{samples}.ogg", wave[:, :samples], sample_rate=44100)
        assert is_one_page(path) == (samples < 60_000)
        read = audio.load(path)[0]
        assert audio.info(path).frames == samples
        assert read.shape == (channels, samples)
        if samples >= 3000:
            likeness = np.abs(wave[:, :samples] @ read.T)
            assert list(likeness.argmax(axis=1)) == list(range(channels))
            part = audio.load(path, offset_s=0.01, duration_s=0.02)[0]
            np.testing.assert_array_equal(part, read[:, 441:1323])
    masks = {audio.info(tmp_path / f"{samples}.ogg").channel_mask for samples in (300, 60_000)}
    assert len(masks) == 1


@pytest.mark.parametrize("tag", ["0", "1"])
def test_mp3_with_and_without_a_length_tag_is_read_whole(tmp_path, tag):
    wave, path = noise(samples=3 * 44100), tmp_path / "a.mp3"
    encode_with_ffmpeg(path, wave, 44100, muxer="mp3", codec="libmp3lame", write_xing=tag)
    loaded, _ = audio.load(path)
    assert abs(loaded.shape[1] - wave.shape[1]) <= 2 * 1152


def test_a_large_id3_tag_hides_neither_the_audio_nor_its_loss(tmp_path, capfd):
    wave, path = noise(samples=3 * 44100), tmp_path / "a.mp3"
    encode_with_ffmpeg(path, wave, 44100, muxer="mp3", codec="libmp3lame", id3v2_version="0")
    plain = audio.load(path)[0]
    cover = bytes(100_000)  # its size stands in the tag as four 7-bit digits
    digits = bytes(len(cover) >> shift & 127 for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\x04\0\0" + digits + cover + path.read_bytes())
    np.testing.assert_array_equal(audio.load(path)[0], plain)
    truncated(path, 0.8)
    with pytest.warns(AudioWarning, match="states 3.00 s, but"):
        audio.load(path)
    assert capfd.readouterr() == ("", "")


def test_the_content_decides_not_the_suffix(tmp_path):
    wave = noise()
    flac = audio.save(tmp_path / "a.flac", wave, sample_rate=44100)
    wrong = flac.rename(tmp_path / "a.mp3")
    np.testing.assert_allclose(audio.load(wrong)[0], wave, atol=2**-23)
    m4a = tmp_path / "b.wav"
    encode_with_ffmpeg(m4a, noise(), 44100, muxer="ipod", codec="aac")
    assert audio.load(m4a)[1] == 44100


# ---------------------------------------------------------------- blocks


def test_blocks_join_to_the_file(tmp_path):
    wave = noise(samples=10_001)
    path = audio.save(tmp_path / "a.wav", wave, sample_rate=44100, subtype="FLOAT")
    parts = list(audio.blocks(path, frames=1024))
    assert [part.shape[1] for part in parts] == [1024] * 9 + [10_001 - 9 * 1024]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), wave)
    for bad in (0, -1, 1.5, float("inf"), "1", None):
        with pytest.raises(InputError, match=r"^frames: "):
            list(audio.blocks(path, frames=bad))
    with pytest.raises(InputError, match="whole Hz"):
        list(audio.blocks(path, sample_rate=0))


@pytest.mark.parametrize("to_rate", [8000, 22050, 48000, 96000])
@pytest.mark.parametrize("frames", [1, 160, 5000])
def test_resampled_blocks_join_to_the_resampled_file(tmp_path, to_rate, frames):
    wave = noise(samples=2003)
    path = audio.save(tmp_path / "a.wav", wave, sample_rate=44100, subtype="FLOAT")
    joined = np.concatenate(list(audio.blocks(path, frames=frames, sample_rate=to_rate)), axis=1)
    whole = audio.resample(wave, from_rate=44100, to_rate=to_rate)
    assert joined.shape == whole.shape
    np.testing.assert_allclose(joined, whole, atol=1e-5)


def test_a_minute_streams_through_in_constant_memory(tmp_path):
    path, second = tmp_path / "long.flac", noise(samples=44100)
    with audio.writer(path, sample_rate=44100, channels=2, subtype="PCM_16") as file:
        for _ in range(60):
            file.write(second)
    tracemalloc.start()
    with audio.writer(tmp_path / "copy.wav", sample_rate=48000, channels=2) as copy:
        for block in audio.blocks(path, frames=8192, sample_rate=48000):
            copy.write(block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert audio.info(tmp_path / "copy.wav").frames == 60 * 48000
    assert peak < 2_000_000  # the whole takes 23 MB


# ---------------------------------------------------------------- bad files


def truncated(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


@pytest.mark.parametrize(
    "suffix", [".wav", ".flac", ".aiff", ".au", ".w64", ".caf", ".mp3", ".m4a"]
)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_read_and_named(tmp_path, suffix, share, capfd):
    path, wave = tmp_path / f"a{suffix}", noise(samples=3 * 44100)
    if suffix == ".m4a":
        encode_with_ffmpeg(path, wave, 44100, muxer="ipod", codec="aac", movflags="+faststart")
    elif suffix == ".mp3":
        encode_with_ffmpeg(path, wave, 44100, muxer="mp3", codec="libmp3lame")
    else:
        audio.save(path, wave, sample_rate=44100)
    whole, _ = audio.load(path)
    truncated(path, share)
    with pytest.warns(AudioWarning, match=r"states 3.0\d s, but|its end is missing") as caught:
        part, _ = audio.load(path)
    for warning in caught:
        assert str(warning.message).startswith(f"{path}: ")
        assert "\n" not in str(warning.message)
    notes: list[str] = []
    blocks = np.concatenate(list(audio.blocks(path, notes=notes)), axis=1)
    np.testing.assert_array_equal(blocks, part)
    assert len(notes) == len(caught)
    assert abs(part.shape[1] / whole.shape[1] - share) < 0.1
    sure = part.shape[1] - 4608
    np.testing.assert_array_equal(part[:, :sure], whole[:, :sure])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff", ".m4a"])
def test_a_file_cut_within_its_header_is_refused_by_name(tmp_path, suffix, capfd):
    path, wave = tmp_path / f"a{suffix}", noise(samples=44100)
    if suffix == ".m4a":
        encode_with_ffmpeg(path, wave, 44100, muxer="ipod", codec="aac", movflags="+faststart")
    else:
        audio.save(path, wave, sample_rate=44100)
    path.write_bytes(path.read_bytes()[:30])
    for read in (audio.load, lambda p: list(audio.blocks(p))):
        with pytest.raises(InputError, match=r"damaged|not readable|no audio") as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_wav_from_a_pipe_states_no_length_and_is_read(tmp_path):
    path = audio.save(tmp_path / "a.wav", noise(samples=1000), sample_rate=8000, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    for at in (4, data.find(b"data") + 4):
        data[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert audio.load(path)[0].shape == (2, 1000)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty file"),
        (b"\0", "not readable as audio"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "not readable as audio|damaged"),
        (b"This is no audio, only prose.\n" * 400, "not readable as audio"),
        (b"ID3\x04", "not readable as audio"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "no audio stream|not readable"),
    ],
)
def test_what_is_no_audio_is_refused_by_name(tmp_path, content, words):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    for read in (audio.load, audio.info, lambda p: list(audio.blocks(p))):
        with pytest.raises(InputError, match=words) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_header_without_samples_and_nan_are_refused(tmp_path):
    empty, broken = tmp_path / "empty.wav", tmp_path / "nan.wav"
    soundfile.write(empty, np.zeros((0, 2)), 44100)
    soundfile.write(broken, np.array([0.0, np.nan]), 44100, subtype="FLOAT")
    for path, words in ((empty, "no audio"), (broken, "NaN")):
        for read in (audio.load, lambda p: list(audio.blocks(p))):
            with pytest.raises(InputError, match=words) as caught:
                read(path)
            assert str(path) in str(caught.value)


def test_missing_files_and_folders_are_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        audio.load(tmp_path / "none.wav")
    with pytest.raises(InputError, match="is a folder"):
        audio.load(tmp_path)
    loop = tmp_path / "loop.wav"
    loop.symlink_to(loop)
    with pytest.raises(InputError, match="cannot be read"):
        audio.load(loop)


def test_what_may_not_be_read_is_named_and_the_rest_found(tmp_path):
    for folder in [tmp_path, *list(tmp_path.parents)[:3]]:
        folder.chmod(0o755)
    barred, shut = tmp_path / "barred.wav", tmp_path / "shut"
    audio.save(barred, noise(), sample_rate=44100)
    audio.save(shut / "inside.wav", noise(), sample_rate=44100)
    barred.chmod(0)
    shut.chmod(0)

    def report():
        found = audio.find_audio(tmp_path)
        reasons = []
        for path in found:
            with pytest.raises(InputError) as caught:
                audio.load(path)
            reasons.append(str(caught.value))
        return f"{[path.name for path in found]} {reasons}"

    text = as_nobody(report)
    shut.chmod(0o755)
    assert text.startswith("['barred.wav', 'shut']")
    assert "no permission to read" in text


def test_a_folder_that_may_not_be_opened_is_named_with_what_to_do(tmp_path):
    """The folder asked for, and one behind a folder that may not be searched; for writing too."""
    for folder in [tmp_path, *list(tmp_path.parents)[:3]]:
        folder.chmod(0o755)
    shut = tmp_path / "shut"
    (shut / "inner").mkdir(parents=True)
    shut.chmod(0)

    def report():
        reasons = []
        for folder in (shut, shut / "inner"):
            with pytest.raises(InputError) as caught:
                audio.find_audio(folder)
            reasons.append(str(caught.value))
        with pytest.raises(InputError) as caught:
            audio.save(shut / "a.wav", noise(), sample_rate=44100)
        return "\n".join([*reasons, str(caught.value)])

    lines = as_nobody(report).splitlines()
    shut.chmod(0o755)
    remedy = "(Permission denied); change its mode or owner, or name another folder"
    assert lines == [
        f"{shut}: cannot be read {remedy}",
        f"{shut / 'inner'}: cannot be read {remedy}",
        f"{shut / 'a.wav'}: cannot be written (Permission denied)",
    ]
