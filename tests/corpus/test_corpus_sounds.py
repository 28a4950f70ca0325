"""What the corpus makes of samples: patterns, phrases, rooms, signals; and what a codec left."""

import collections

import numpy as np
import pytest
from scipy.signal import firwin, lfilter

from enhancelib.audio.bandwidth import bandwidth_hz, spectral_cliff
from enhancelib.degrade import codecs
from tools.corpus.recipe import RATE
from tools.corpus.sources import notes, recordings, sequencer, signals


def noise(seconds=2.0, seed=0):
    rng = np.random.default_rng(seed)
    return 0.1 * rng.standard_normal((2, round(seconds * RATE))).astype(np.float32)


# ---------------------------------------------------------------- bandwidth and cliffs


@pytest.mark.parametrize("cutoff", [4000, 11000, 16000])
def test_bandwidth_of_filtered_noise_is_the_cutoff(cutoff):
    wave = lfilter(firwin(1023, cutoff, fs=RATE, window=("kaiser", 10)), 1, noise(), axis=1)
    assert bandwidth_hz(wave.astype(np.float32), sample_rate=RATE) == pytest.approx(cutoff, abs=350)


def test_bandwidth_of_full_band_noise_and_of_silence():
    assert bandwidth_hz(noise(), sample_rate=RATE) > 21800
    assert bandwidth_hz(noise(0.01), sample_rate=RATE) > 21800
    assert bandwidth_hz(np.zeros((1, RATE), np.float32), sample_rate=RATE) == 0


@pytest.mark.parametrize(
    ("condition", "edge_hz"), [("mp3-128", 16500), ("mp3-64", 11000), ("down-16000hz", 7900)]
)
def test_a_once_lossy_file_shows_a_cliff(condition, edge_hz):
    cliff = spectral_cliff(codecs.degrade(noise(), condition, sample_rate=RATE), sample_rate=RATE)
    assert cliff.depth_db > 30
    assert cliff.frequency_hz == pytest.approx(edge_hz, abs=900)


def test_what_fades_or_has_gaps_is_no_cliff():
    time_s = np.arange(2 * RATE) / RATE
    brown = np.cumsum(noise(), axis=1).astype(np.float32)
    kick = (np.sin(2 * np.pi * 60 * time_s) * np.exp(-9 * time_s))[None].astype(np.float32)
    partials = sum(np.sin(2 * np.pi * 1500 * k * time_s) / k for k in range(1, 14))
    for wave in (noise(), 0.01 * brown, kick, 0.3 * partials[None].astype(np.float32)):
        assert spectral_cliff(wave, sample_rate=RATE).depth_db < 30


# ---------------------------------------------------------------- the sequencer


def click(level=1.0):
    wave = np.zeros((2, 100), np.float32)
    wave[:, 0] = level
    return wave


def test_place_adds_at_the_sample_and_pans():
    canvas = np.zeros((2, 1000), np.float32)
    sequencer.place(canvas, click(), at_s=100 / RATE, gain=0.5)
    sequencer.place(canvas, click(), at_s=100 / RATE, gain=0.5, pan=-1.0)
    sequencer.place(canvas, click(), at_s=950 / RATE)
    sequencer.place(canvas, click(), at_s=2000 / RATE)
    assert canvas[:, 100].tolist() == [1.0, 0.5]
    assert canvas[:, 950].tolist() == [1.0, 1.0]
    assert np.count_nonzero(canvas) == 4


def test_drums_play_in_time():
    beats_per_minute = 120
    wave = sequencer.drums(
        {"kick": [click()]}, beats_per_minute=beats_per_minute, bars=4, rng=np.random.default_rng(1)
    )
    hits_s = np.flatnonzero(wave[0] > 0.2) / RATE
    sixteenth_s = 60 / beats_per_minute / 4
    assert len(hits_s) >= 8
    off_grid_s = np.abs(hits_s / sixteenth_s - np.round(hits_s / sixteenth_s)) * sixteenth_s
    assert np.median(off_grid_s) < 0.01
    assert wave.shape == (2, 4 * 2 * RATE + RATE)


def test_a_voice_is_repitched():
    time_s = np.arange(RATE) / RATE
    take = np.tile(np.sin(2 * np.pi * 440 * time_s), (2, 1)).astype(np.float32)
    for semitones, expected in ((0, 440), (12, 880), (-12, 220)):
        wave = sequencer.voice(
            take, [semitones], seconds=0.4, note_s=0.4, rng=np.random.default_rng(0)
        )
        spectrum = np.abs(np.fft.rfft(wave[0] * np.hanning(wave.shape[1]), n=8 * RATE))
        assert np.argmax(spectrum) / 8 == pytest.approx(expected, abs=2)


def test_a_loop_repeats_without_a_click():
    take = np.ones((2, RATE // 10), np.float32)
    wave = sequencer.loop(take, seconds=1.0)
    inside = wave[:, RATE // 10 : -RATE // 10]
    assert inside.min() > 0.9
    assert inside.max() < 1.1


def test_a_room_decays_by_60_db():
    wave = np.zeros((2, 2 * RATE), np.float32)
    wave[:, 0] = 1
    wet = sequencer.room(wave, decay_s=1.0, wet_db=-10, rng=np.random.default_rng(0))
    wet[:, 0] -= 1
    assert 10 * np.log10(np.sum(wet[0] ** 2)) == pytest.approx(-10, abs=0.1)
    early, late = wet[:, : RATE // 10], wet[:, RATE // 2 : RATE // 2 + RATE // 10]
    assert 10 * np.log10(np.sum(early**2) / np.sum(late**2)) == pytest.approx(30, abs=2)
    assert np.abs(wet[:, RATE + 2 :]).max() < 1e-6


def test_a_mix_has_its_levels_and_peak():
    low, high = noise(1, seed=1), noise(1.5, seed=2)
    wave = sequencer.mix([(low, -30.0), (high, -10.0), (np.zeros((2, RATE), np.float32), -10.0)])
    assert wave.shape == (2, RATE)
    assert np.abs(wave).max() == pytest.approx(10 ** (-1 / 20), rel=1e-5)
    ratio = [np.sum(wave * layer[:, :RATE]) / np.sum(layer[:, :RATE] ** 2) for layer in (low, high)]
    assert 20 * np.log10(ratio[1] / ratio[0]) == pytest.approx(20, abs=1)


# ---------------------------------------------------------------- single notes


def tone(hertz, seconds=0.5, partials=6):
    time_s = np.arange(round(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * hertz * k * time_s) / k for k in range(1, partials + 1))
    return (0.3 * wave * np.exp(-2 * time_s)).astype(np.float32)


def strongest_hz(wave):
    return np.argmax(np.abs(np.fft.rfft(wave * np.hanning(len(wave)), n=8 * RATE))) / 8


def test_notes_are_cut_at_the_silences_and_their_pitch_is_found():
    gap = np.zeros(round(0.05 * RATE), np.float32)
    hiss = noise(0.5)[0]
    parts = [tone(110), gap, hiss, gap, tone(440, 0.3), gap, 0.5 * tone(1318.5)]
    takes = notes.cut(np.concatenate(parts)[None])
    lengths = [take.wave.shape[1] for take in takes]
    assert lengths == pytest.approx([0.5 * RATE, 0.5 * RATE, 0.3 * RATE, 0.5 * RATE], abs=20)
    keys = [take.semitone for take in takes]
    assert keys[1] is None
    assert [keys[0], keys[2], keys[3]] == pytest.approx([45, 69, 88], abs=0.1)
    assert notes.cut(np.zeros((1, RATE), np.float32)) == []


def test_phrases_use_notes_that_are_near_and_stay_in_key():
    takes = [notes.Take(tone(220, 2, 1)[None], 57.0), notes.Take(tone(440, 2, 1)[None], 69.0)]
    player = notes._Player(takes)
    rng = np.random.default_rng(0)
    for semitone in (55, 57, 59.5, 67, 72):
        wave = player.note(semitone, 1.0, rng)[0]
        assert strongest_hz(wave) == pytest.approx(440 * 2 ** ((semitone - 69) / 12), rel=0.01)
        assert len(wave) == round(1.05 * RATE)
    assert player.note(63.0, 1.0, rng).shape == (2, 0)
    wave = notes.phrases(takes, seconds=8.0, beats_per_minute=120, rng=rng)
    assert wave.shape == (2, 8 * RATE)
    assert np.abs(wave).max() > 0.1


def test_a_pattern_strikes_the_dullest_as_kick():
    low = notes.Take(tone(60, 0.2, 1)[None], None)
    high = notes.Take(np.diff(noise(0.2)[:1], prepend=0), None)
    rng = np.random.default_rng(0)
    wave = notes.pattern([high, low], seconds=4.0, beats_per_minute=120, rng=rng)
    assert wave.shape == (2, 4 * RATE)
    assert strongest_hz(wave[0]) == pytest.approx(60, abs=4)
    assert bandwidth_hz(wave, sample_rate=RATE) > 20000


# ---------------------------------------------------------------- rooms and amplifiers


def test_a_room_has_its_level_and_a_response_for_each_ear():
    wave = np.zeros((2, RATE), np.float32)
    wave[:, 0] = 1
    responses = [np.zeros(5000), np.zeros(5000)]
    responses[0][1000] = responses[1][4000] = 0.3
    wet = recordings.in_room(wave, responses, wet_db=-12.0)
    wet[:, 0] -= 1
    places = np.argmax(np.abs(wet), axis=1)
    assert places.tolist() == [1000, 4000]
    assert np.abs(wet).max(axis=1) == pytest.approx(10 ** (-12 / 20), rel=1e-3)


def test_an_amplifier_adds_odd_partials_and_aliases_little():
    wave = np.tile(np.sin(2 * np.pi * 5000 * np.arange(RATE) / RATE), (2, 1)).astype(np.float32)
    cabinet = np.zeros(100)
    cabinet[0] = 1
    driven = recordings.amplified(wave, cabinet, drive_db=20)
    level_db = 20 * np.log10(np.abs(np.fft.rfft(driven[0] * np.hanning(RATE))) + 1e-9)
    fundamental = level_db[5000]
    assert level_db[15000] > fundamental - 14
    assert level_db[10000] < fundamental - 80
    assert level_db[44100 - 25000] < fundamental - 40  # where the fifth partial would fold to


# ---------------------------------------------------------------- signals


@pytest.mark.parametrize("passage", sorted(set(signals.PASSAGES), key=lambda f: f.__name__))
def test_every_signal_has_its_length_and_sounds(passage):
    for seed in range(5):
        wave = passage(1.0, np.random.default_rng(seed))
        assert len(wave) == pytest.approx(RATE, abs=4)
        assert np.isfinite(wave).all()
        assert np.abs(wave).max() > 0.01


def test_a_lead_does_not_alias():
    hertz = np.full(RATE, 3000.0)
    wave = signals.periodic(hertz, lambda k: 1 / k)
    level_db = 20 * np.log10(np.abs(np.fft.rfft(wave)) / (RATE / 2) + 1e-12)
    partials = [3000 * k for k in range(1, 8)]
    assert level_db[partials] == pytest.approx([-20 * np.log10(k) for k in range(1, 8)], abs=0.01)
    rest = np.delete(level_db, partials)
    assert rest.max() < -100


def test_a_string_has_the_pitch_of_its_loop_and_dies_away():
    wave = signals.string(2 * RATE, 441.0, np.random.default_rng(3))
    early, late = wave[: RATE // 2], wave[-RATE // 2 :]
    assert strongest_hz(late) == pytest.approx(441, abs=3)
    assert np.mean(late**2) < 0.3 * np.mean(early**2)
    high = [np.sum(np.abs(np.fft.rfft(part))[2000:] ** 2) for part in (early, late)]
    assert high[1] < 0.01 * high[0]


def test_the_pieces_of_the_splits_differ():
    made = signals.signal_recipes()
    assert collections.Counter(recipe.split for recipe in made) == signals.COUNTS
    first, second = made[0].render(), made[signals.COUNTS["train"]].render()
    assert first.shape == second.shape == (2, 30 * RATE)
    assert abs(np.corrcoef(first[0], second[0])[0, 1]) < 0.2
    silent = np.abs(first).reshape(2, -1, RATE // 10).max(axis=(0, 2)) < 1e-4
    assert 0 < silent.sum() < 200
