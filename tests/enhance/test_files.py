"""Whole files and folders: what stays, what is refused, and that memory does not grow."""

import copy
import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import soundfile
from dask_cluster import dask_cluster
from mutagen import File as open_tags
from mutagen.flac import FLAC, Picture
from mutagen.id3 import APIC, COMM, TIT2, TPE1, TXXX
from odd_files import encode

from enhancelib.audio.loudness import TruePeakMeter
from enhancelib.audio.reading import load
from enhancelib.audio.tags import copy_tags, read_tags
from enhancelib.audio.waves import resample
from enhancelib.audio.writing import save
from enhancelib.enhance.backends import Backend
from enhancelib.enhance.files import enhance_blocks, enhance_file
from enhancelib.enhance.folders import enhance_folder
from enhancelib.enhance.ledger import NAME
from enhancelib.enhance.modelfiles import open_stream
from enhancelib.enhance.streaming import enhance_wave
from enhancelib.errors import ConfigError, EnhanceError, InputError, ModelError

RATE = 22050


@pytest.fixture(scope="module")
def model_path(small_exports):
    return small_exports[0] / "small.stream.onnx"


@pytest.fixture(scope="module")
def model(model_path):
    return open_stream(model_path)


class Gain(Backend):
    """Scales every spectrum: the enhancement is known exactly."""

    clip, stream, path, model_type = False, True, None, "gain"

    def __init__(self, like: Backend, gain: float):
        self.metadata, self.gain = like.metadata, np.float32(gain)

    def initial_state(self, channels=1):
        return []

    def step(self, spectrum, states):
        return spectrum * self.gain, []


def music(samples: int, channels: int = 2, rate: int = RATE) -> np.ndarray:
    time_s = np.arange(samples) / rate
    noise = np.random.default_rng(0).standard_normal((channels, samples))
    return (0.2 * np.sin(2 * np.pi * 440 * time_s) + 0.02 * noise).astype(np.float32)


@pytest.mark.parametrize(
    ("suffix", "subtype", "rate", "channels", "samples"),
    [
        (".wav", "PCM_16", 22050, 2, 30000),
        (".wav", "FLOAT", 22050, 1, 1),
        (".wav", "PCM_24", 44100, 6, 3000),
        (".flac", "PCM_16", 48000, 2, 50001),
        (".flac", "PCM_24", 8000, 1, 1),
        (".aiff", "PCM_16", 96000, 2, 40000),
        (".w64", "DOUBLE", 11025, 3, 2),
    ],
)
def test_rate_channels_length_and_coding_stay(
    model, tmp_path, suffix, subtype, rate, channels, samples
):
    source = save(
        tmp_path / f"in{suffix}", music(samples, channels, rate), sample_rate=rate, subtype=subtype
    )
    out = tmp_path / "out"
    out.mkdir()
    result = enhance_file(source, out, model=model)
    assert result.path == out / f"in{suffix}"
    assert len(result.notes) == (rate < RATE)  # no room for treble, which is said
    before, after = soundfile.info(source), soundfile.info(result.path)
    for name in ("samplerate", "channels", "frames", "format", "subtype"):
        assert getattr(after, name) == getattr(before, name)
    assert result.seconds == pytest.approx(samples / rate)


def test_same_rate_equals_the_array_call(model, tmp_path):
    wave = music(200_000)
    source = save(tmp_path / "a.wav", wave, sample_rate=RATE, subtype="FLOAT")
    result = enhance_file(source, tmp_path / "b.wav", model=model)
    got, _ = load(result.path)
    engine_wide = np.concatenate(list(enhance_blocks([wave], model, sample_rate=RATE)), axis=1)
    np.testing.assert_array_equal(got, engine_wide)
    checkpoint = model.path.with_name("small.safetensors")
    np.testing.assert_allclose(got, enhance_wave(wave, checkpoint, sample_rate=RATE), atol=2e-6)


@pytest.mark.parametrize("rate", [8000, 44100, 48000, 96000])
def test_other_rates_keep_what_the_model_does_not_touch(model, rate):
    """Identity in, identity out, to the last bit; a gain of 1/2 acts on the model's band alone."""
    wave = music(40_000, 2, rate)
    cut = [wave[:, at : at + 7001] for at in range(0, 40_000, 7001)]
    same = np.concatenate(list(enhance_blocks(cut, Gain(model, 1.0), sample_rate=rate)), axis=1)
    assert same.shape == wave.shape
    np.testing.assert_allclose(same, wave, atol=3e-7)
    half = np.concatenate(list(enhance_blocks(cut, Gain(model, 0.5), sample_rate=rate)), axis=1)
    band = resample(resample(wave, from_rate=rate, to_rate=RATE), from_rate=RATE, to_rate=rate)[
        :, : wave.shape[1]
    ]
    np.testing.assert_allclose(half[:, : band.shape[1]], (wave - band / 2), atol=2e-4)


@pytest.mark.parametrize("rate", [RATE, 48000])
def test_amount_scales_the_change_at_every_rate(model, tmp_path, rate):
    wave, source = music(rate, rate=rate), tmp_path / "in.wav"
    soundfile.write(source, wave.T, rate, "FLOAT")
    out = {}
    for amount in (0.0, 0.3, 1.0):
        target = tmp_path / f"{amount}.wav"
        enhance_file(source, target, model=model, amount=amount)
        out[amount] = soundfile.read(target, dtype="float32")[0].T
    assert out[0.0].tobytes() == wave.tobytes()
    assert np.abs(out[1.0] - wave).max() > 0.001
    np.testing.assert_allclose(out[0.3], wave + 0.3 * (out[1.0] - wave), atol=1e-6)


@pytest.mark.parametrize(("rate", "wanted"), [(8000, 22050), (16000, 44100), (44100, 16000)])
def test_a_rate_that_is_asked_for_makes_room_for_treble(model, tmp_path, rate, wanted):
    """The default keeps the rate and says what it costs; the model acts on all there is."""
    source = save(tmp_path / "a.wav", music(2 * rate, 1, rate), sample_rate=rate)
    kept = enhance_file(source, tmp_path / "kept.wav", model=Gain(model, 0.5))
    assert soundfile.info(kept.path).samplerate == rate
    room = [note for note in kept.notes if f"pass --sample_rate {RATE}" in note]
    assert len(room) == (rate < RATE)
    asked = enhance_file(source, tmp_path / "b.wav", model=Gain(model, 0.5), sample_rate=wanted)
    assert asked.notes == ()
    got, found = load(asked.path)
    assert (found, got.shape[1]) == (wanted, 2 * wanted)
    expected = resample(load(source)[0] / 2, from_rate=rate, to_rate=wanted)
    inner = slice(wanted // 10, -wanted // 10)
    np.testing.assert_allclose(got[:, inner], expected[:, inner], atol=0.02)
    for bad in (0, -1, 44100.5):
        with pytest.raises(InputError, match="sample_rate"):
            enhance_file(source, tmp_path / "c.wav", model=Gain(model, 1), sample_rate=bad)


def test_a_model_that_makes_treble_has_it_in_the_wider_output(model, tmp_path):
    class Treble(Gain):
        """Puts a line at two thirds of the band."""

        def step(self, spectrum, states):
            made = spectrum.copy()
            made[:, :, 2 * made.shape[2] // 3] += 3
            return made, []

    source = save(tmp_path / "a.wav", music(16000, 1, 8000), sample_rate=8000)
    path = enhance_file(source, tmp_path / "b.wav", model=Treble(model, 1), sample_rate=RATE).path
    wave = load(path)[0][0]
    spectrum = np.abs(np.fft.rfft(wave))
    high = spectrum[np.fft.rfftfreq(len(wave), 1 / RATE) > 5000]
    assert high.max() > 20 * np.median(spectrum)


def test_block_size_does_not_matter(model):
    wave = music(30_000, 2, 48000)
    whole = np.concatenate(list(enhance_blocks([wave], model, sample_rate=48000)), axis=1)
    cut = [wave[:, at : at + 997] for at in range(0, 30_000, 997)]
    parts = np.concatenate(list(enhance_blocks(cut, model, sample_rate=48000)), axis=1)
    np.testing.assert_allclose(parts, whole, atol=2e-6)


def test_silence_stays_silent(model, tmp_path):
    source = save(tmp_path / "s.wav", np.zeros((2, 5000), np.float32), sample_rate=48000)
    result = enhance_file(source, tmp_path / "t.wav", model=Gain(model, 2.0))
    assert not load(result.path)[0].any()
    assert result.true_peak_dbtp == -np.inf


def test_lossy_input_becomes_flac_unless_asked_otherwise(model, tmp_path):
    source = save(tmp_path / "song.mp3", music(44100, 2, 44100), sample_rate=44100)
    out = tmp_path / "out"
    out.mkdir()
    result = enhance_file(source, out, model=model)
    assert result.path.name == "song.flac"
    assert len(result.notes) == 1
    assert "MPEG_LAYER_III" in result.notes[0]
    assert enhance_file(source, out, model=model, format="wav").notes == ()
    with pytest.raises(InputError, match=r"x\.mp3: is no \.wav file"):
        enhance_file(source, tmp_path / "x.mp3", model=model, format="wav")
    asked = enhance_file(source, tmp_path / "again.mp3", model=model)
    assert soundfile.info(asked.path).format == "MP3"
    assert "undoes" in asked.notes[0]


@pytest.mark.parametrize(
    ("name", "format", "subtype", "written"),
    [
        ("a.wav", "RF64", "FLOAT", (".wav", "WAV", "FLOAT")),
        ("a.rf64", "RF64", "PCM_32", (".wav", "WAV", "PCM_32")),
        ("a.mat", "MAT5", "DOUBLE", (".wav", "WAV", "DOUBLE")),
        ("a.sf", "IRCAM", "FLOAT", (".wav", "WAV", "FLOAT")),
        ("a.wv", "", "wavpack", (".wav", "WAV", "FLOAT")),
        ("a.voc", "VOC", "PCM_16", (".flac", "FLAC", "PCM_16")),
        ("a.wav", "RF64", "ULAW", (".flac", "FLAC", "PCM_24")),
    ],
)
def test_no_lossless_input_is_changed_by_the_format_of_its_output(
    model, tmp_path, name, format, subtype, written
):
    """What FLAC would clip or round becomes WAV: floats beyond full scale, and 32 bits."""
    source, out = tmp_path / name, tmp_path / "out"
    out.mkdir()
    wave = music(3000) * (5 if written[2] in ("FLOAT", "DOUBLE") else 1)
    if format:
        soundfile.write(source, wave.T, RATE, subtype, format=format)
    else:
        encode(source, wave, RATE, codec=subtype, samples="fltp")
    before, _ = load(source)
    assert (np.abs(before).max() > 1) == (written[2] in ("FLOAT", "DOUBLE"))
    result = enhance_file(source, out, model=model, amount=0)
    after = soundfile.info(result.path)
    assert (result.path.name, after.format, after.subtype) == (f"a{written[0]}", *written[1:])
    assert load(result.path)[0].tobytes() == before.tobytes()
    assert [note for note in result.notes if "would undo it" in note] == (
        [f"{result.path}: written as .flac, since coding to ULAW would undo it"]
        if subtype == "ULAW"
        else []
    )


def test_the_long_suffix_of_wav_becomes_the_short_one(model, tmp_path):
    source, out = tmp_path / "song.WAVE", tmp_path / "out"
    soundfile.write(source, music(500).T, RATE, format="WAV", subtype="PCM_16")
    out.mkdir()
    result = enhance_file(source, out, model=model)
    assert result.path == out / "song.wav"
    assert soundfile.info(result.path).subtype == "PCM_16"
    assert result.notes == ()


def test_existing_output_input_itself_and_unknown_format_are_refused(model, tmp_path):
    source = save(tmp_path / "a.wav", music(500), sample_rate=RATE)
    other = save(tmp_path / "b.wav", music(10), sample_rate=RATE)
    content = other.read_bytes()
    with pytest.raises(InputError, match=r"b\.wav: exists"):
        enhance_file(source, other, model=model)
    assert other.read_bytes() == content
    with pytest.raises(InputError, match="input itself"):
        enhance_file(source, source, model=model, overwrite=True)
    with pytest.raises(InputError, match=r"b\.xyz"):
        enhance_file(source, tmp_path / "b.xyz", model=model)
    enhance_file(source, other, model=model, overwrite=True)
    assert soundfile.info(other).frames == 500


def test_a_truncated_input_is_enhanced_as_far_as_it_goes_and_named(model, tmp_path):
    source = save(tmp_path / "a.flac", music(200_000), sample_rate=RATE)
    source.write_bytes(source.read_bytes()[:-50_000])
    for limit in (False, True):
        result = enhance_file(source, tmp_path / f"{limit}.flac", model=Gain(model, 9), limit=limit)
        assert any("states 9.07 s, but" in note for note in result.notes)
        assert len(set(result.notes)) == len(result.notes)
        assert 7 < result.seconds < 9


def test_a_hopeless_input_leaves_nothing_behind(model, tmp_path):
    source = save(tmp_path / "a.wav", music(2000), sample_rate=RATE, subtype="FLOAT")
    source.write_bytes(source.read_bytes()[:-4] + np.float32(np.nan).tobytes())
    with pytest.raises(InputError, match=r"a\.wav.*NaN"):
        enhance_file(source, tmp_path / "b.flac", model=model)
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_true_peak_between_samples():
    """A sine at a quarter of the rate, sampled at 45 degrees, peaks 3.01 dB above its samples."""
    wave = np.sin(np.pi / 2 * np.arange(20_000) + np.pi / 4)[None].astype(np.float32)
    assert np.abs(wave).max() == pytest.approx(np.sqrt(0.5), abs=1e-6)
    meter = TruePeakMeter(sample_rate=48000, channels=1)
    fade = np.minimum(1, np.minimum(np.arange(20_000), np.arange(20_000)[::-1]) / 2000)
    for at in range(0, 20_000, 777):
        meter.add((wave * fade)[:, at : at + 777].astype(np.float32))
    assert meter.finish() == pytest.approx(0.0, abs=0.05)


def test_too_loud_is_reported_and_limit_applies_one_gain(model, tmp_path):
    source = save(tmp_path / "a.wav", music(30_000), sample_rate=RATE, subtype="FLOAT")
    loud = Gain(model, 8.0)
    plain = enhance_file(source, tmp_path / "plain.wav", model=loud)
    assert plain.true_peak_dbtp > 3
    assert "true peak +" in plain.notes[0]
    limited = enhance_file(source, tmp_path / "limited.wav", model=loud, limit=True)
    assert limited.true_peak_dbtp == pytest.approx(0, abs=0.01)
    assert limited.gain_db == pytest.approx(-plain.true_peak_dbtp, abs=1e-6)
    assert limited.notes == ()
    ratio = load(limited.path)[0] / load(plain.path)[0]
    np.testing.assert_allclose(ratio, 10 ** (limited.gain_db / 20), rtol=1e-4)


def test_limit_corrects_what_players_are_told_of_the_level(model, tmp_path):
    """A sound that is lower by so many dB is to be raised by as many more."""
    source = save(tmp_path / "a.flac", music(30_000), sample_rate=RATE)
    tags = FLAC(source)
    tags["replaygain_track_gain"], tags["replaygain_album_gain"] = "-7.35 dB", "+1.5"
    tags["replaygain_track_peak"], tags["replaygain_album_gain_note"] = "0.988", "mine"
    tags["r128_track_gain"], tags["r128_album_gain"] = "-512", "quiet"
    tags.save()
    before = read_tags(source).text
    plain = enhance_file(source, tmp_path / "plain.flac", model=Gain(model, 8))
    assert (plain.gain_db, read_tags(plain.path).text) == (0, before)
    for suffix in (".flac", ".mp3", ".wav", ".ogg"):
        target = tmp_path / f"limited{suffix}"
        limited = enhance_file(source, target, model=Gain(model, 8), limit=True)
        assert limited.gain_db < -3
        after = read_tags(limited.path).text
        after.pop("encoder", None)
        assert float(after["replaygain_track_gain"][0].removesuffix(" dB")) == pytest.approx(
            -7.35 - limited.gain_db, abs=0.006
        )
        assert after["replaygain_album_gain"] == [f"{1.5 - limited.gain_db:.2f} dB"]
        assert after["r128_track_gain"] == [f"{round(-512 - 256 * limited.gain_db)}"]
        assert after["replaygain_album_gain_note"] == ["mine"]
        assert len(after) == 4
        (lost,) = [note for note in limited.notes if "tags not kept" in note]
        assert lost.startswith(f"{target}: ")
        assert {"replaygain_track_peak", "r128_album_gain"} == set(lost.split(": ")[-1].split(", "))


def test_tags_travel_with_the_file(model, tmp_path):
    source = save(tmp_path / "a.flac", music(500), sample_rate=RATE)
    tags = FLAC(source)
    tags["title"], tags["artist"], tags["mood"] = "Tide", ["A", "B"], "calm"
    cover = Picture()
    cover.data, cover.mime, cover.type = b"\x89PNG picture", "image/png", 3
    tags.add_picture(cover)
    tags.save()
    same = FLAC(enhance_file(source, tmp_path / "b.flac", model=model).path)
    assert (same["title"], same["artist"], same["mood"]) == (["Tide"], ["A", "B"], ["calm"])
    assert same.pictures[0].data == cover.data
    for name in ("c.wav", "d.aiff", "e.ogg", "f.mp3"):
        back = read_tags(enhance_file(source, tmp_path / name, model=model).path)
        assert back.text["title"] == ["Tide"]
        assert back.text["artist"] == ["A", "B"]
        assert back.text["mood"] == ["calm"]
        assert back.pictures[0].data == cover.data


def test_id3_and_riff_tags_reach_flac(tmp_path):
    mp3 = save(tmp_path / "a.mp3", music(44100, 2, 44100), sample_rate=44100)
    tags = open_tags(mp3)
    tags.add_tags()
    for frame in (
        TIT2(encoding=3, text="Tide"),
        TPE1(encoding=3, text=["A", "B"]),
        COMM(encoding=3, lang="eng", desc="", text="live"),
        TXXX(encoding=3, desc="MOOD", text="calm"),
        APIC(encoding=3, mime="image/jpeg", type=3, desc="", data=b"jpeg"),
    ):
        tags.tags.add(frame)
    tags.save()
    flac = save(tmp_path / "a.flac", music(500), sample_rate=RATE)
    assert copy_tags(mp3, flac) == []
    back = FLAC(flac)
    assert {name: back[name] for name in ("title", "artist", "comment", "mood")} == {
        "title": ["Tide"],
        "artist": ["A", "B"],
        "comment": ["live"],
        "mood": ["calm"],
    }
    assert back.pictures[0].data == b"jpeg"
    with soundfile.SoundFile(tmp_path / "b.wav", "w", RATE, 1) as file:
        file.title, file.artist = "Ebb", "C"
        file.write(np.zeros(10))
    assert read_tags(tmp_path / "b.wav").text == {"title": ["Ebb"], "artist": ["C"]}


def tagged_mp3(path, *frames):
    """An MP3 with these ID3 frames."""
    save(path, music(44100, 2, 44100), sample_rate=44100)
    tags = open_tags(path)
    tags.add_tags()
    for frame in frames:
        tags.tags.add(frame)
    tags.save()
    return path


@pytest.mark.parametrize("suffix", [".flac", ".ogg"])
@pytest.mark.parametrize("name", ["", "Stimmung für", "a=b"])
def test_a_tag_whose_name_cannot_be_kept_costs_no_other(model, tmp_path, suffix, name):
    frames = (TIT2(encoding=3, text="Tide"), TXXX(encoding=3, desc=name, text="calm"))
    cover = APIC(encoding=3, mime="image/jpeg", type=3, desc="", data=b"jpeg")
    source = tagged_mp3(tmp_path / "a.mp3", *frames, cover)
    result = enhance_file(source, tmp_path / f"b{suffix}", model=model)
    assert any(f"tags not kept: {name.lower()!r}" in note for note in result.notes)
    back = read_tags(result.path)
    assert back.text == {"title": ["Tide"]}
    assert back.pictures[0].data == b"jpeg"


def test_what_itunes_keeps_as_comments_is_no_comment(tmp_path):
    names = ("", "iTunNORM", "iTunSMPB", "iTunPGAP", "iTunes_CDDB_1")
    frames = (COMM(encoding=3, lang="eng", desc=name, text=f"live{name}") for name in names)
    assert read_tags(tagged_mp3(tmp_path / "a.mp3", *frames)).text == {"comment": ["live"]}


def test_notes_name_files_that_are_there_and_come_once(model_path, tmp_path):
    source = tmp_path / "in"
    for name in ("c.mp3", "c.flac", "deep/d.mp3"):  # two are of one name
        save(source / name, music(30000), sample_rate=RATE)
    run = {"model": model_path, "n_jobs": 1}
    for format, kind, count in ((None, "written as .flac", 2), ("mp3", "coding to .mp3 undoes", 3)):
        goal = tmp_path / f"out-{format}"
        done = enhance_folder(source, goal, format=format, **run).done
        notes = {note: file.path for file in done for note in file.notes}
        assert len(notes) == sum(len(file.notes) for file in done) == count
        for note, path in notes.items():
            assert note.startswith(f"{path}: {kind}")
            assert path.is_file()


def test_a_folder_in_a_format_that_cannot_be_written_is_refused(model_path, tmp_path):
    save(tmp_path / "in" / "a.wav", music(300), sample_rate=RATE)
    with pytest.raises(InputError, match=r"ogg7: cannot write this format; use \.wav"):
        enhance_folder(tmp_path / "in", tmp_path / "out", model=model_path, format="ogg7")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b'{"model_sha', b"\xff", b""])
def test_a_damaged_manifest_is_named(model_path, tmp_path, content):
    source, goal = tmp_path / "in", tmp_path / "out"
    save(source / "a.wav", music(300), sample_rate=RATE)
    goal.mkdir()
    (goal / NAME).write_bytes(content)
    with pytest.raises(ConfigError, match=r"enhanced\.json: cannot be read .* pass overwrite"):
        enhance_folder(source, goal, model=model_path, n_jobs=1)
    report = enhance_folder(source, goal, model=model_path, n_jobs=1, overwrite=True)
    assert len(report.done) == 1


def test_folder_skips_counts_and_resumes(model_path, tmp_path):
    source, goal = tmp_path / "in", tmp_path / "out"
    save(source / "a.wav", music(3000), sample_rate=RATE)
    save(source / "deep" / "b.flac", music(2000), sample_rate=RATE)
    save(source / "c.flac", music(3000), sample_rate=RATE)
    save(source / "c.mp3", music(30000), sample_rate=RATE)
    (source / "bad.wav").write_bytes(b"RIFF nothing")
    run = {"model": model_path, "n_jobs": 1}
    report = enhance_folder(source, goal, **run)
    assert sorted(str(done.path.relative_to(goal)) for done in report.done) == [
        "a.wav",
        "c.flac.flac",
        "c.mp3.flac",
        "deep/b.flac",
    ]
    assert [path.name for path, _ in report.skipped] == ["bad.wav"]
    assert "bad.wav" in report.skipped[0][1]
    (lossy,) = [done for done in report.done if done.notes]
    assert lossy.path.name == "c.mp3.flac"
    (goal / "a.wav").unlink()
    (goal / ".0123456789abcdef.part").touch()  # of a killed run
    again = enhance_folder(source, goal, **run)
    assert [done.path.name for done in again.done] == ["a.wav"]
    assert len(again.resumed) == 3
    assert not list(goal.glob(".*.part"))
    with pytest.raises(ConfigError, match="other settings"):
        enhance_folder(source, goal, limit=True, **run)
    with pytest.raises(ConfigError, match="outside"):
        enhance_folder(source, source / "out", **run)
    assert set(json.loads((goal / NAME).read_text())) == {
        "model_sha256",
        "format",
        "limit",
        "files",
    }


def test_a_dask_cluster_makes_the_same_files(model_path, tmp_path):
    source = tmp_path / "in"
    for name in ("a.wav", "deep/b.flac"):
        save(source / name, music(3000), sample_rate=RATE)
    here = enhance_folder(source, tmp_path / "here", model=model_path, n_jobs=1)
    with dask_cluster(tmp_path, workers=1) as (address, _):
        there = enhance_folder(source, tmp_path / "there", model=model_path, scheduler=address)
    assert len(here.done) == len(there.done) == 2
    for one, other in zip(here.done, there.done, strict=True):
        np.testing.assert_array_equal(load(one.path)[0], load(other.path)[0])


def test_folder_without_our_manifest_is_not_overwritten(model_path, tmp_path):
    source = tmp_path / "in"
    save(source / "a.wav", music(300), sample_rate=RATE)
    kept = save(tmp_path / "out" / "a.wav", music(10), sample_rate=RATE)
    with pytest.raises(InputError, match=r"a\.wav: exists"):
        enhance_folder(source, tmp_path / "out", model=model_path, n_jobs=1)
    assert soundfile.info(kept).frames == 10


def test_folder_of_bad_files_only_is_an_error(model_path, tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="no audio"):
        enhance_folder(tmp_path / "in", tmp_path / "out", model=model_path, n_jobs=1)
    (tmp_path / "in" / "bad.wav").write_bytes(b"RIFF nothing")
    with pytest.raises(InputError, match="none of 1 files"):
        enhance_folder(tmp_path / "in", tmp_path / "out", model=model_path, n_jobs=1)


LONG = """
    import sys
    from enhancelib.enhance.files import enhance_file
    import resource
    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    enhance_file(sys.argv[2], sys.argv[4], model=sys.argv[1])
    before = peak()
    enhance_file(sys.argv[3], sys.argv[5], model=sys.argv[1])
    print(peak() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="reads the peak memory through getrusage")
def test_memory_does_not_grow_with_length(model_path, tmp_path):
    """Four minutes of stereo need no more than ten seconds do (85 MB more if held at once)."""
    ten_seconds = music(10 * 44100, 2, 44100)
    short = save(tmp_path / "short.wav", ten_seconds, sample_rate=44100)
    with soundfile.SoundFile(tmp_path / "long.wav", "w", 44100, 2, "PCM_16") as file:
        for _ in range(24):
            file.write(ten_seconds.T)
    files = [short, tmp_path / "long.wav", tmp_path / "a.wav", tmp_path / "b.wav"]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LONG), model_path, *files],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 15


def test_a_model_whose_weights_are_nan_is_named_and_not_the_music(small_model, tmp_path):
    broken = copy.deepcopy(small_model)
    for values in broken.parameters():
        values.data.fill_(float("nan"))
    path = broken.save(tmp_path / "broken.safetensors")
    source = save(tmp_path / "music" / "song.wav", music(5000), sample_rate=RATE)
    with pytest.raises(ModelError, match=r"broken\.safetensors: gives NaN") as caught:
        enhance_file(source, tmp_path / "out.wav", model=path)
    assert "song" not in str(caught.value)
    with pytest.raises(EnhanceError, match=r"broken\.safetensors: gives NaN"):
        enhance_folder(source.parent, tmp_path / "out", model=path, n_jobs=1)
    assert not list(tmp_path.rglob("out*/*.wav")) + list(tmp_path.glob("out.wav"))


def test_a_file_of_more_channels_than_a_wave_has_is_named(model, tmp_path):
    soundfile.write(tmp_path / "many.wav", np.zeros((500, 133)), RATE)
    with pytest.raises(InputError, match=r"(many|out)\.wav: .*channels") as caught:
        enhance_file(tmp_path / "many.wav", tmp_path / "out.wav", model=model)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["many.wav"]


@pytest.mark.parametrize("rate", [RATE, 48000])
def test_nothing_gives_nothing(model, rate):
    assert list(enhance_blocks([], model, sample_rate=rate)) == []
