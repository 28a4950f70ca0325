"""Damaged and odd files, made from a seed: no traceback, no hang, no left-over, no silent loss.

A sample of 48 runs always; ENHANCELIB_FUZZ=300 runs the whole, and another number that many.
"""

import os
import random
import warnings

import av
import numpy as np
import pytest
import soundfile
from odd_files import encode, joined, tone, vorbis

from enhancelib.audio.reading import display_name
from enhancelib.audio.tags.maps import Chapter, Tags, picture
from enhancelib.audio.tags.write import write_tags
from enhancelib.audio.writing import save
from enhancelib.enhance.backends import Backend
from enhancelib.enhance.files import enhance_file
from enhancelib.enhance.modelfiles import open_stream
from enhancelib.errors import InputError

COUNT = int(os.environ.get("ENHANCELIB_FUZZ", "48"))
FRAMES = {"ffmpeg": 4096}  # what a decoder may keep at the end, in samples
RATE = 44100


class Same(Backend):
    """Gives every spectrum back: the sound itself is not what is tested."""

    clip, stream, path, model_type = False, True, None, "same"

    def __init__(self, like: Backend):
        self.metadata = like.metadata

    def initial_state(self, channels=1):
        return []

    def step(self, spectrum, states):
        return spectrum, []


@pytest.fixture(scope="module")
def backend():
    return Same(open_stream(None))


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Good files of every kind, half of them with tags."""
    folder = tmp_path_factory.mktemp("sources")
    noise = 0.1 * np.random.default_rng(0).standard_normal((2, RATE))
    wave = (tone(440, 1.0) + noise).astype(np.float32)
    files = [
        save(folder / f"a{suffix}", wave, sample_rate=RATE)
        for suffix in (".wav", ".flac", ".aiff", ".w64", ".caf", ".au", ".mp3")
    ]
    files.append(save(folder / "f.wav", wave, sample_rate=RATE, subtype="FLOAT"))
    files.append(vorbis(folder / "a.ogg", wave, RATE))
    made = {"a.m4a": "aac", "a.aac": "aac", "a.wma": "wmav2", "a.wv": "wavpack", "a.ac3": "ac3"}
    made |= {"a.mka": "pcm_s16le", "v.mp3": "libmp3lame", "a.tta": "tta", "l.m4a": "alac"}
    for name, codec in made.items():
        options = {"write_xing": "0"} if name == "v.mp3" else {}
        files.append(encode(folder / name, wave, RATE, codec=codec, bit_rate=128_000, **options))
    for name in ("a.opus", "a.webm"):
        files.append(encode(folder / name, tone(440, 1.0, 48000), 48000, codec="libopus"))
    tags = Tags({"title": ["Tide"]}, [picture(bytes(300), "image/png")], [Chapter(0, 1, "One")])
    for file in files[::2]:
        if file.suffix in (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff"):
            write_tags(file, tags)
    return files


NAMES = ("a b", "Suite: I", "-rf", "%d", "ä\u0301", "x" * 200, "a\nb", "concat:a|b", "~", "\udcff")


def damaged(rng: random.Random, sources, folder):
    """One file, damaged in one to three ways, under an odd name."""
    source = rng.choice(sources)
    data = bytearray(source.read_bytes())
    ways = []
    for _ in range(rng.randint(1, 3)):
        way = rng.choice((cut, flip, flip_head, lie, insert, drop, repeat, join, zero, swap))
        ways.append(way.__name__)
        data = way(rng, data, sources)
    suffix = source.suffix if rng.random() < 0.9 else rng.choice((".mp3", ".wav", ".m4a", ".flac"))
    path = folder / f"{rng.choice(NAMES)}{suffix}"
    path.write_bytes(data)
    return path, f"{source.name}: {', '.join(ways)}"


def cut(rng, data, sources):
    return data[: rng.randint(0, len(data))]


def flip(rng, data, sources):
    for _ in range(rng.choice((1, 3, 30, 300))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def flip_head(rng, data, sources):
    for _ in range(rng.choice((1, 3, 10))):
        if data:
            data[rng.randrange(min(len(data), 200))] = rng.randrange(256)
    return data


def lie(rng, data, sources):
    """Overwrite four bytes of a header with a size, large or small."""
    if len(data) > 300:
        at = rng.randrange(0, 300)
        value = rng.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, len(data) * 2, len(data) // 2))
        data[at : at + 4] = value.to_bytes(4, rng.choice(("little", "big")))
    return data


def insert(rng, data, sources):
    at = rng.randint(0, len(data))
    return data[:at] + rng.randbytes(rng.choice((1, 100, 5000))) + data[at:]


def drop(rng, data, sources):
    at = rng.randint(0, len(data))
    return data[:at] + data[at + rng.choice((1, 100, 5000)) :]


def repeat(rng, data, sources):
    return data + data


def join(rng, data, sources):
    return data + rng.choice(sources).read_bytes()


def zero(rng, data, sources):
    at = rng.randint(0, len(data))
    size = min(len(data) - at, 4000)
    data[at : at + size] = bytes(size)
    return data


def swap(rng, data, sources):
    middle = len(data) // 2
    return data[middle:] + data[:middle]


def full_decode(path) -> float:
    """Seconds that FFmpeg decodes by itself, packet by packet; 0 where it reads nothing."""
    seconds = 0.0
    try:
        with av.open(f"file:{path}") as container:
            packets = container.demux(container.streams.audio[0])
            while (packet := next(packets, None)) is not None:
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    continue
                seconds += sum(frame.samples / frame.sample_rate for frame in frames)
    except (av.FFmpegError, IndexError, ValueError, ZeroDivisionError):
        pass
    return seconds


def outcome(source, target, backend):
    """What came of it, or the line that refuses it."""
    try:
        return enhance_file(source, target, model=backend)
    except InputError as error:
        return str(error)


@pytest.mark.parametrize("seed", range(COUNT))
def test_a_damaged_file_is_enhanced_whole_or_a_line_says_what_is_missing(
    seed, sources, backend, tmp_path, capfd
):
    source, story = damaged(random.Random(seed), sources, tmp_path)
    goal = tmp_path / "out"
    goal.mkdir()
    target = goal / f"o.{random.Random(seed).choice(('flac', 'wav', 'ogg', 'mp3'))}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what is to be said stands in the notes
        result = outcome(source, target, backend)
    assert capfd.readouterr() == ("", ""), story
    name = display_name(source)
    if isinstance(result, str):
        assert name in result or str(target) in result, story
        assert "\n" not in result.replace(name, ""), story
        assert list(goal.iterdir()) == [], story
        return
    assert list(goal.iterdir()) == [target], story
    written = soundfile.info(target).duration
    said = [note for note in result.notes if note.startswith(name)]
    whole = full_decode(source)
    assert written >= whole - FRAMES["ffmpeg"] / RATE - 0.03 or said, f"{story}: {written} {whole}"
    assert written <= 61 + whole, story


def test_the_damage_is_damage(sources, tmp_path):
    """Most files are changed, and of the good ones every one is read in full without a word."""
    changed = 0
    for seed in range(40):
        path, _ = damaged(random.Random(seed), sources, tmp_path)
        content = path.read_bytes()
        changed += all(content != source.read_bytes() for source in sources)
    assert changed > 35
    assert joined(tmp_path / "x", sources[0]).stat().st_size
