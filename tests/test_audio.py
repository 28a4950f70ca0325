"""Files in and out, resampling, segments: exact lengths, alignment, and every kind of bad file."""

import os
import subprocess
import sys
import tracemalloc

import av
import numpy as np
import pytest
import scipy.signal
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from enhancelib import audio
from enhancelib.errors import InputError


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


def leftovers(folder) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".")]


# ---------------------------------------------------------------- imports


def test_importing_audio_imports_nothing_heavy():
    heavy = ("torch", "tensorflow", "librosa", "scipy", "matplotlib", "pandas", "av")
    code = f"import sys, enhancelib.audio; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


# ---------------------------------------------------------------- reading and writing


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [
        (".wav", "FLOAT", 0),
        (".wav", "PCM_U8", 1 / 128),
        (".wav", "PCM_16", 2**-15),
        (".wav", None, 2**-23),
        (".wav", "PCM_32", 2**-23),
        (".flac", None, 2**-23),
        (".flac", "PCM_16", 2**-15),
        (".aiff", None, 2**-23),
        (".w64", "DOUBLE", 0),
        (".caf", None, 2**-23),
    ],
)
@pytest.mark.parametrize("rate", [8000, 44100, 96000, 192000])
def test_what_is_saved_comes_back(tmp_path, suffix, subtype, tolerance, rate):
    wave = noise(samples=1001)
    path = audio.save(tmp_path / f"a{suffix}", wave, sample_rate=rate, subtype=subtype)
    loaded, loaded_rate = audio.load(path)
    assert loaded_rate == rate
    assert loaded.dtype == np.float32
    assert loaded.shape == wave.shape
    assert np.abs(loaded - wave).max() <= tolerance
    assert audio.info(path).frames == 1001
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_channels_keep_their_order(tmp_path, channels):
    wave = noise(channels)
    path = audio.save(tmp_path / "a.flac", wave, sample_rate=48000)
    loaded, _ = audio.load(path)
    np.testing.assert_allclose(loaded, wave, atol=2**-23)
    expected, _ = soundfile.read(path, always_2d=True)
    np.testing.assert_allclose(loaded, expected.T, atol=1e-7)


@pytest.mark.parametrize(("suffix", "rate"), [(".ogg", 44100), (".opus", 48000), (".mp3", 44100)])
def test_lossy_formats_are_written_too(tmp_path, suffix, rate):
    wave = audio.load("data/excerpts/render_freedoom1_D_E1M2.flac", duration_s=2)[0]
    loaded, _ = audio.load(audio.save(tmp_path / f"a{suffix}", wave, sample_rate=rate))
    assert abs(loaded.shape[1] - wave.shape[1]) < 1200
    samples = min(loaded.shape[1], wave.shape[1]) - 2000
    assert np.corrcoef(loaded[0, :samples], wave[0, :samples])[0, 1] > 0.95


def test_overs_are_clipped_not_wrapped(tmp_path):
    path = audio.save(tmp_path / "a.wav", np.full((1, 10), 1.5, np.float32), sample_rate=8000)
    assert audio.load(path)[0].min() > 0.999


def test_a_stretch_is_the_slice_of_the_whole(tmp_path):
    wave = noise(samples=44100)
    path = audio.save(tmp_path / "a.wav", wave, sample_rate=44100, subtype="FLOAT")
    part, _ = audio.load(path, offset_s=0.25, duration_s=0.5)
    np.testing.assert_array_equal(part, wave[:, 11025 : 11025 + 22050])
    rest, _ = audio.load(path, offset_s=0.9, duration_s=5)
    np.testing.assert_array_equal(rest, wave[:, 39690:])
    with pytest.raises(InputError, match="no audio after 2"):
        audio.load(path, offset_s=2)
    for bad in ({"offset_s": -1}, {"duration_s": 0}, {"duration_s": float("nan")}):
        with pytest.raises(InputError, match="offset_s"):
            audio.load(path, **bad)


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
    with pytest.raises(InputError, match="damaged or truncated"):
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


def test_names_of_any_bytes_work(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \xff.wav")
    wave = noise()
    audio.save(path, wave, sample_rate=44100, subtype="FLOAT")
    np.testing.assert_array_equal(audio.load(path)[0], wave)
    assert [os.fspath(found) for found in audio.find_audio(tmp_path)] == [path]
    with open(path, "wb"):
        pass
    with pytest.raises(InputError, match="empty") as caught:
        audio.load(path)
    str(caught.value).encode("utf-8")  # printable whatever the name


# ---------------------------------------------------------------- blocks


def test_blocks_join_to_the_file(tmp_path):
    wave = noise(samples=10_001)
    path = audio.save(tmp_path / "a.wav", wave, sample_rate=44100, subtype="FLOAT")
    parts = list(audio.blocks(path, frames=1024))
    assert [part.shape[1] for part in parts] == [1024] * 9 + [10_001 - 9 * 1024]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), wave)
    with pytest.raises(InputError, match="frames"):
        list(audio.blocks(path, frames=0))
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


# ---------------------------------------------------------------- nothing half-written


def test_an_existing_file_is_kept_unless_asked(tmp_path):
    path = audio.save(tmp_path / "a.wav", noise(), sample_rate=44100)
    before = path.read_bytes()
    with pytest.raises(InputError, match="exists; pass overwrite"):
        audio.save(path, noise(seed=1), sample_rate=44100)
    assert path.read_bytes() == before
    audio.save(path, noise(seed=1), sample_rate=44100, overwrite=True)
    assert path.read_bytes() != before
    assert leftovers(tmp_path) == []


def test_a_failure_inside_leaves_nothing_and_keeps_its_own_message(tmp_path):
    path = tmp_path / "a.flac"

    def write_half():
        with audio.writer(path, sample_rate=44100, channels=2) as file:
            file.write(noise())
            raise ValueError("of the caller")

    with pytest.raises(ValueError, match=r"^of the caller$"):
        write_half()
    assert os.listdir(tmp_path) == []


def test_a_killed_writer_leaves_nothing_under_the_name(tmp_path):
    path = tmp_path / "a.wav"
    child = os.fork()
    if child == 0:
        with audio.writer(path, sample_rate=44100, channels=2) as file:
            file.write(noise(samples=200_000))
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert not path.exists()
    audio.save(tmp_path / "b.wav", noise(), sample_rate=44100)
    assert audio.find_audio(tmp_path) == [tmp_path / "b.wav"]


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, suffix):
    """A file size limit stands in for the full disk: the writes fall short in the same way."""
    code = (
        "import resource, signal, sys, numpy as np\n"
        "from enhancelib import audio, errors\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "wave = np.random.default_rng(0).uniform(-1, 1, (2, 300_000)).astype('f4')\n"
        "try:\n"
        "    audio.save(sys.argv[1], wave, sample_rate=44100)\n"
        "except errors.InputError as error:\n"
        "    print(error)\n"
    )
    path = tmp_path / f"a{suffix}"
    command = [sys.executable, "-c", code, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.startswith(f"{path}: cannot be written")
    assert result.stdout.count("\n") == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("a.m4a", {}, "cannot write this format; use .wav, .flac"),
        ("a", {}, "cannot write this format"),
        ("a.wav", {"subtype": "PCM_12"}, "cannot be written"),
        ("a.flac", {"subtype": "FLOAT"}, "cannot be written"),
        ("a.opus", {"sample_rate": 44100}, "cannot be written"),
        ("a.wav", {"sample_rate": 44100.5}, "whole Hz"),
        ("a.wav", {"sample_rate": 0}, "whole Hz"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(tmp_path, name, kwargs, words):
    with pytest.raises(InputError, match=words) as caught:
        audio.save(tmp_path / name, noise(), **{"sample_rate": 48000, **kwargs})
    assert "\n" not in str(caught.value)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(InputError, match="cannot be written") as caught:
        audio.save(tmp_path / "file" / "a.wav", noise(), sample_rate=44100)
    assert "file/a.wav" in str(caught.value)


def test_a_writer_takes_only_its_own_channels(tmp_path):
    with (
        pytest.raises(InputError, match="1 channels, not 2"),
        audio.writer(tmp_path / "a.wav", sample_rate=44100, channels=2) as file,
    ):
        file.write(noise(1))
    with (
        pytest.raises(InputError, match="nothing to write"),
        audio.writer(tmp_path / "a.wav", sample_rate=44100, channels=2),
    ):
        pass
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------- bad files


def truncated(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff", ".mp3", ".m4a"])
@pytest.mark.parametrize("share", [0.001, 0.3, 0.9])
def test_a_truncated_file_is_refused_by_name(tmp_path, suffix, share, capfd):
    path, wave = tmp_path / f"a{suffix}", noise(samples=3 * 44100)
    if suffix == ".m4a":
        encode_with_ffmpeg(path, wave, 44100, muxer="ipod", codec="aac", movflags="+faststart")
    elif suffix == ".mp3":
        encode_with_ffmpeg(path, wave, 44100, muxer="mp3", codec="libmp3lame")
    else:
        audio.save(path, wave, sample_rate=44100)
    truncated(path, share)
    for read in (audio.load, lambda p: list(audio.blocks(p))):
        with pytest.raises(InputError, match=r"damaged|not readable|no audio") as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_damaged_flac_is_refused(tmp_path):
    path = audio.save(tmp_path / "a.flac", noise(samples=200_000), sample_rate=44100)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 5000] = bytes(5000)
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        audio.load(path)


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


def as_nobody(function):
    """Run ``function`` without root's power over permissions; returns what it returns, as text."""
    if os.geteuid() != 0:
        return str(function())
    reader, sender = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        os.write(sender, str(function()).encode())
        os._exit(0)
    os.close(sender)
    os.waitpid(child, 0)
    with os.fdopen(reader) as stream:
        return stream.read()


def test_what_may_not_be_read_is_named_and_the_rest_found(tmp_path):
    for folder in [tmp_path, *list(tmp_path.parents)[:2]]:
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


# ---------------------------------------------------------------- folders


def test_find_audio_is_sorted_recursive_and_safe_from_loops(tmp_path):
    names = ["b.wav", "a.FLAC", "sub/c.mp3", "sub/deep/d.m4a", "notes.txt", ".hidden.wav"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    (tmp_path / "sub" / "self").symlink_to(tmp_path / "sub")
    elsewhere = tmp_path.parent / f"{tmp_path.name}-linked"
    elsewhere.mkdir()
    (elsewhere / "e.ogg").write_bytes(b"x")
    (tmp_path / "link").symlink_to(elsewhere)
    found = [os.fspath(path.relative_to(tmp_path)) for path in audio.find_audio(tmp_path)]
    assert found == ["a.FLAC", "b.wav", "link/e.ogg", "sub/c.mp3", "sub/deep/d.m4a"]
    assert audio.find_audio(tmp_path / "b.wav") == [tmp_path / "b.wav"]
    for empty in (tmp_path / "none", tmp_path / "empty"):
        if empty.name == "empty":
            empty.mkdir()
        with pytest.raises(InputError, match=r"no such|no audio files"):
            audio.find_audio(empty)


# ---------------------------------------------------------------- resampling


@given(
    samples=st.integers(1, 3000),
    from_rate=st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000, 96000]),
    to_rate=st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000, 96000]),
)
def test_resampling_gives_the_promised_length(samples, from_rate, to_rate):
    wave = noise(1, samples)
    there = audio.resample(wave, from_rate=from_rate, to_rate=to_rate)
    exact = samples * to_rate / from_rate
    assert there.shape == (1, max(1, int(np.floor(exact + 0.5))))
    assert there.dtype == np.float32


@pytest.mark.parametrize("to_rate", [22050, 32000, 48000, 96000])
def test_a_resampled_tone_is_the_tone_at_the_new_rate(to_rate):
    """No delay, no change of level: compared with the formula, away from the ends."""

    def tone(rate):
        return 0.5 * np.sin(2 * np.pi * 997 * np.arange(rate) / rate)[None].astype(np.float32)

    resampled = audio.resample(tone(44100), from_rate=44100, to_rate=to_rate)
    middle = slice(to_rate // 4, -to_rate // 4)
    np.testing.assert_allclose(resampled[:, middle], tone(to_rate)[:, middle], atol=1e-6)


def test_resampling_removes_what_the_new_rate_cannot_hold():
    tone = np.sin(2 * np.pi * 15000 * np.arange(44100) / 44100)[None].astype(np.float32)
    low = audio.resample(tone, from_rate=44100, to_rate=16000)
    assert np.sqrt(np.mean(low[:, 1000:-1000] ** 2)) < 1e-5


# ---------------------------------------------------------------- arrays


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(10, np.float32), r"wave\[None\]"),
        (np.zeros((1, 1, 10), np.float32), "channels, samples"),
        (np.zeros((2, 0), np.float32), "no samples"),
        (np.zeros((44100, 2), np.float32), "transpose"),
        (np.zeros((2, 10), np.int16), "int16"),
        (np.array([[0.0, np.inf]]), "infinity"),
        ([["a"]], "dtype"),
    ],
)
def test_what_is_no_wave_is_refused_with_the_remedy(array, words):
    with pytest.raises(InputError, match=words) as caught:
        audio.check_wave(array, name="piece.wav")
    assert str(caught.value).startswith("piece.wav: ")


def test_float64_becomes_float32_and_float32_stays_itself():
    assert audio.check_wave(np.zeros((1, 3))).dtype == np.float32
    wave = noise()
    assert audio.check_wave(wave) is wave


@pytest.mark.parametrize(
    ("samples", "parts"), [(1, 1), (99, 1), (100, 1), (133, 1), (134, 2), (200, 2), (334, 4)]
)
def test_segments_keep_a_last_third_and_fill_it_up(samples, parts):
    wave = noise(2, samples)
    cut = audio.segments(wave, sample_rate=100, duration_s=1.0)
    assert cut.shape == (parts, 2, 100)
    joined = cut.transpose(1, 0, 2).reshape(2, -1)
    kept = min(samples, parts * 100)
    np.testing.assert_array_equal(joined[:, :kept], wave[:, :kept])
    assert not joined[:, kept:].any()


def test_segments_refuse_nothing_long():
    with pytest.raises(InputError, match="duration_s"):
        audio.segments(noise(), sample_rate=44100, duration_s=0)


@pytest.mark.parametrize("frame_length", [2, 512, 1024])
def test_the_window_is_the_root_of_hann_and_its_square_adds_up_to_one(frame_length):
    window = audio.analysis_window(frame_length)
    hann = scipy.signal.get_window("hann", frame_length)
    np.testing.assert_allclose(window, np.sqrt(hann), atol=1e-6)
    half = frame_length // 2
    np.testing.assert_allclose(window[:half] ** 2 + window[half:] ** 2, 1, atol=1e-6)
    for bad in (0, 3):
        with pytest.raises(InputError, match="even"):
            audio.analysis_window(bad)
