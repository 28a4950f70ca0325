"""Writing files whole or not at all, formats and names, and finding them in folders."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from enhancelib import audio
from enhancelib.errors import InputError


def noise(channels: int = 2, samples: int = 10_001, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((channels, samples))).astype(np.float32)


def leftovers(folder) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".")]


# ---------------------------------------------------------------- imports


def test_importing_audio_imports_nothing_heavy():
    heavy = ("torch", "tensorflow", "librosa", "scipy", "matplotlib", "pandas", "av")
    code = f"import sys, enhancelib.audio.writing; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


# ---------------------------------------------------------------- formats and names


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
    (tmp_path / ".notes.part").touch()  # somebody else's
    audio.remove_left_overs(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"b.wav", ".notes.part"}


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


@pytest.mark.parametrize("channels", [math.nan, math.inf, 0, -1, 1.5, 65, True, "2", None])
def test_what_is_no_number_of_channels_is_refused_by_name(tmp_path, channels):
    with (
        pytest.raises(
            InputError, match=r"a\.wav: channels: .* is not a whole number between 1 and 64$"
        ),
        audio.writer(tmp_path / "a.wav", sample_rate=44100, channels=channels) as file,
    ):
        file.write(noise())
    assert os.listdir(tmp_path) == []


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
