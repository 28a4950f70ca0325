"""Single recorded notes: cut out, their pitch found, and played as phrases or as patterns."""

from __future__ import annotations

import dataclasses

import numpy as np

from enhancelib.audio.waves import Wave, resample
from enhancelib.errors import InputError
from tools.corpus.recipe import RATE
from tools.corpus.sources import sequencer
from tools.corpus.sources.midi import PROGRESSIONS

SHORTEST_S = 0.05
FARTHEST = 3.0
"""Semitones by which a note may be repitched."""

_SILENCE = 2e-4
_GAP_S = 0.04
_PITCH_HZ = (40.0, 2000.0)
_UNSTEADY = 0.35  # semitones
_HEARD_S = 1.5
_TRIADS = {2: (0, 3, 7), 4: (0, 3, 7), 9: (0, 3, 7)}  # minor on these degrees, major elsewhere
_MAJOR = (0, 2, 4, 5, 7, 9, 11)


@dataclasses.dataclass(frozen=True, eq=False)
class Take:
    """A note, (1, samples) at 44.1 kHz, and its pitch as a MIDI key; None where it has none."""

    wave: Wave
    semitone: float | None


def cut(wave: Wave) -> list[Take]:
    """The sounds of a mono wave that silences of 40 ms and more divide."""
    loud = np.flatnonzero(np.abs(wave[0]) > _SILENCE)
    if not len(loud):
        return []
    breaks = np.flatnonzero(np.diff(loud) > _GAP_S * RATE)
    starts = loud[np.concatenate([[0], breaks + 1])]
    ends = loud[np.concatenate([breaks, [len(loud) - 1]])] + 1
    return [
        Take(wave[:, start:end], pitch(wave[0, start:end]))
        for start, end in zip(starts, ends, strict=True)
        if end - start > SHORTEST_S * RATE
    ]


def pitch(note: np.ndarray) -> float | None:
    """MIDI key of a note by YIN (de Cheveigné and Kawahara, 2002); None where it is not steady."""
    import librosa  # slow to import, and only needed here

    note = note[: round(_HEARD_S * RATE)]
    low, high = _PITCH_HZ
    if len(note) < 4096:
        return None
    hertz = librosa.yin(note, fmin=low, fmax=high, sr=RATE, frame_length=4096, hop_length=1024)
    level = librosa.feature.rms(y=note, frame_length=4096, hop_length=1024)[0]
    heard = hertz[level > 0.2 * level.max()]
    keys = librosa.hz_to_midi(heard[(heard > 1.02 * low) & (heard < 0.95 * high)])
    if len(keys) < 3 or len(keys) < 0.7 * len(heard):
        return None
    middle = float(np.median(keys))
    steady = np.mean(np.abs(keys - middle) < _UNSTEADY)
    return middle if steady > 0.6 else None


def phrases(
    takes: list[Take], *, seconds: float, beats_per_minute: float, rng: np.random.Generator
) -> Wave:
    """A melody over chords, played by the nearest notes, repitched by three semitones at most.

    Returns:
        (2, samples), not normalised.

    Raises:
        InputError: no take has a pitch.
    """
    keys = [take.semitone for take in takes if take.semitone is not None]
    if not keys:
        raise InputError("no note has a pitch")
    player = _Player([take for take in takes if take.semitone is not None])
    canvas = np.zeros((2, round(seconds * RATE)), dtype=np.float32)
    key, beat_s = int(rng.integers(12)), 60 / beats_per_minute
    progression = PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
    low, high = float(np.percentile(keys, 5)), float(np.percentile(keys, 95))
    with_chords, with_melody = ((True, True), (True, False), (False, True))[rng.integers(3)]
    now = (low + high) / 2
    for bar in range(int(seconds / (4 * beat_s))):
        degree = progression[bar % len(progression)]
        bar_s = 4 * bar * beat_s
        if with_chords:
            length = float(rng.choice([1, 2, 4]))
            root = _near(key + degree, float(rng.uniform(low, (low + high) / 2)))
            for beat in np.arange(0, 4, length):
                for number, interval in enumerate(_TRIADS.get(degree, (0, 4, 7))):
                    note = player.note(root + interval, length * beat_s, rng)
                    pan = 0.4 * (number - 1)
                    at_s = bar_s + beat * beat_s + float(rng.normal(0, 0.008))
                    sequencer.place(canvas, note, at_s=at_s, gain=0.5, pan=pan)
        beat = 0.0
        while with_melody and beat < 4:
            length = float(rng.choice([0.5, 0.5, 1, 1, 2]))
            if rng.random() < 0.85:
                now = float(np.clip(now + rng.normal(0, 4), low, high))
                tone = _near(key + int(rng.choice(_MAJOR)), now)
                note = player.note(tone, length * beat_s, rng)
                at_s = bar_s + beat * beat_s + float(rng.normal(0, 0.008))
                sequencer.place(canvas, note, at_s=at_s, gain=float(rng.uniform(0.5, 1)))
            beat += length
    return canvas


def pattern(
    takes: list[Take], *, seconds: float, beats_per_minute: float, rng: np.random.Generator
) -> Wave:
    """A drum pattern: the dullest sound as kick, the brightest as hat, others between.

    Returns:
        (2, samples), not normalised.

    Raises:
        InputError: there is no take.
    """
    if not takes:
        raise InputError("there is no sound to play")
    chosen = [takes[index] for index in rng.permutation(len(takes))[:8]]
    chosen.sort(key=lambda take: _brightness(take.wave[0]))
    roles = ("kick", "tom", "tom 2", "snare", "perc", "perc 2", "ride", "hat")
    places = np.linspace(0, len(roles) - 1, len(chosen)).round().astype(int)
    kit = {
        roles[place]: [sequencer.stereo(sequencer.faded(take.wave[:, : 3 * RATE], fade_s=0.002))]
        for place, take in zip(places, chosen, strict=True)
    }
    bars = int(np.ceil(seconds * beats_per_minute / 240))
    wave = sequencer.drums(kit, beats_per_minute=beats_per_minute, bars=bars, rng=rng)
    return wave[:, : round(seconds * RATE)]


class _Player:
    """Plays takes at any pitch near enough; keeps what it has repitched."""

    def __init__(self, takes: list[Take]) -> None:
        self.takes = takes
        self.keys = np.array([take.semitone for take in takes])
        self.made: dict[tuple[int, int], Wave] = {}

    def note(self, semitone: float, seconds: float, rng: np.random.Generator) -> Wave:
        """One of the nearest takes at this pitch, held so long; empty where all are too far."""
        distance = np.abs(self.keys - semitone)
        near = np.flatnonzero(distance <= min(FARTHEST, distance.min() + 0.6))
        if not len(near):
            return np.zeros((2, 0), dtype=np.float32)
        index = int(near[rng.integers(len(near))])
        cents = round(100 * (semitone - self.keys[index]))
        if (index, cents) not in self.made:
            rate = round(RATE * 2 ** (-cents / 1200))
            wave = resample(self.takes[index].wave[:, : 8 * RATE], from_rate=RATE, to_rate=rate)
            self.made[index, cents] = sequencer.stereo(wave)
        return sequencer.faded(self.made[index, cents][:, : round(1.05 * seconds * RATE)])


def _near(pitch_class: int, semitone: float) -> float:
    """The key of this pitch class that is nearest."""
    return semitone + (pitch_class - semitone + 6) % 12 - 6


def _brightness(note: np.ndarray) -> float:
    """Centroid of the spectrum in Hz."""
    power = np.abs(np.fft.rfft(note[:RATE])) ** 2
    return float(
        np.sum(np.fft.rfftfreq(len(note[:RATE]), 1 / RATE) * power) / (power.sum() + 1e-12)
    )
