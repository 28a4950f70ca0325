"""Short scores written for the sets, and FluidSynth that plays them: drum patterns, old tunes.

A score is a list of notes. The drum patterns were written for this project; the tunes are by
composers who died before 1900, written down from memory of the printed music.
"""

from __future__ import annotations

import dataclasses
import itertools
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from enhancelib import audio
from enhancelib.errors import InputError

RATE = 44100
_TICKS = 480
"""Of a quarter note."""
STEPS = 16
"""Of a bar of drums."""


@dataclasses.dataclass(frozen=True)
class Note:
    """One note: start and length in quarter notes, MIDI key, velocity, channel from 0."""

    start: float
    length: float
    key: int
    velocity: int = 90
    channel: int = 0


@dataclasses.dataclass(frozen=True)
class Pattern:
    """Bars of drums: key of the kit → one character a sixteenth: x loud, o soft, anything: rest."""

    beats_per_minute: float
    bars: tuple[dict[int, str], ...]
    loud: int = 112
    soft: int = 58

    def notes(self, *, seconds: float, seed: int) -> list[Note]:
        """The bars again and again for so long, with the small deviations of a player."""
        rng = np.random.default_rng(seed)
        count = int(np.ceil(seconds * self.beats_per_minute / 60 / 4))
        found = []
        for index, bar in zip(range(count), itertools.cycle(self.bars)):
            for key, line in sorted(bar.items()):
                for step, mark in enumerate(line):
                    if mark in "xo":
                        start = 4 * (index + step / STEPS) + abs(rng.normal(0, 0.008))
                        velocity = (self.loud if mark == "x" else self.soft) + rng.integers(-8, 9)
                        found.append(Note(start, 0.25, key, int(velocity)))
        return found


#: Keys of the AVL kits: 36 kick, 37 side stick, 38 snare, 42 closed hat, 44 pedal, 46 half open,
#: 41, 45, 47 toms, 49 and 57 crash, 54 tambourine, 56 cowbell. Red Zeppelin's ride (51, 53) is left
#: out: its samples hold nothing over 12.5 kHz once struck, which no instrument does by itself.
PATTERNS = {
    "rock": Pattern(
        118,
        (
            {49: "x...............", 36: "x.....x.x.......", 38: "....x.......x..o"}
            | {42: "..o.o.o.x.o.x.o."},
            {36: "x.....x.x.x.....", 38: "....x.......x...", 42: "x.o.x.o.x.o.x.o."},
            {
                36: "x.....x.x.......",
                38: "....x..o....x...",
                42: "x.o.x.o.x.o.....",
                46: "..............x.",
            },
            {36: "x.......x.......", 38: "....x.....x.xxxx", 42: "x.o.x.o.", 41: "..........x..."},
        ),
    ),
    "funk": Pattern(
        98,
        (
            {
                36: "x..x......x..x..",
                38: "....x..o.o..x..o",
                42: "xoxoxoxoxoxoxo..",
                46: "..............x.",
            },
            {
                36: "x.....xx..x.....",
                38: ".o..x..o.o.ox...",
                42: "xoxoxoxoxoxoxoxo",
                54: "....x.......x...",
            },
        ),
    ),
    "half time": Pattern(
        76,
        (
            {
                36: "x.....x.........",
                38: "........x.......",
                46: "x...x...x...x...",
                44: "..x...x...x...x.",
            },
            {
                36: "x.x.......x.....",
                38: "........x.....oo",
                42: "x.o.x.o.x.o.x.o.",
                54: "....x.......x...",
            },
        ),
    ),
    "toms": Pattern(
        140,
        (
            {
                36: "x...x...x...x...",
                41: "x.oox.oo....x.oo",
                45: "........x.oo....",
                57: "x...............",
            },
            {
                36: "x...x...x...x...",
                41: "x.oo....x.oox...",
                47: "....x.oo......xx",
                56: "x...x...x...x...",
            },
        ),
    ),
    "soft": Pattern(
        64,
        (
            {37: "........o.......", 44: "....o.......o...", 54: "o..............."},
            {36: "o...............", 44: "....o.......o...", 42: "o.........o....."},
        ),
        soft=34,
    ),
}


def prelude() -> list[Note]:
    """J. S. Bach, prelude in C major, BWV 846 (1722): its first five bars."""
    bars = (
        (60, 64, 67, 72, 76),
        (60, 62, 69, 74, 77),
        (59, 62, 67, 74, 77),
        (60, 64, 67, 72, 76),
        (60, 64, 69, 76, 81),
    )
    notes = []
    for bar, chord in enumerate(bars):
        for half in range(2):
            at = 4 * bar + 2 * half
            notes.append(Note(at, 2.0, chord[0], 74))
            notes.append(Note(at + 0.25, 1.75, chord[1], 66))
            for index, key in enumerate(chord[2:] * 2):
                notes.append(Note(at + 0.5 + 0.25 * index, 0.25, key, 70 + 4 * (index % 3)))
    return notes


def canon() -> list[Note]:
    """J. Pachelbel, canon in D (about 1690): the ground, its first phrase, then the second too."""
    ground = (50, 45, 47, 42, 43, 38, 43, 45)
    first = (78, 76, 74, 73, 71, 69, 71, 73)
    second = (74, 73, 71, 69, 67, 66, 67, 64)
    notes = []
    for index in range(12):
        at, step = 2.0 * index, index % 8
        notes.append(Note(at, 2.0, ground[step], 84, 1))
        notes.append(Note(at, 2.0, first[step], 78, 0))
        if index >= 4:
            notes.append(Note(at, 2.0, second[step], 74, 0))
    return notes


def romance() -> list[Note]:
    """Romance in E minor for guitar (Spain, 19th century, anonymous): its first seven bars."""
    melody = (83, 83, 83, 83, 81, 79, 79, 78, 76, 76, 79, 83, 88, 88, 88, 88, 86, 84, 84, 83, 81)
    notes = []
    for index, key in enumerate(melody):
        bass = 40 if index < 15 else 45
        inner = (71, 67) if index < 15 else (72, 69)
        if index % 3 == 0:
            notes.append(Note(index, 3.0, bass, 78))
        notes.append(Note(index, 1.0, key, 92))
        notes += [Note(index + (1 + k) / 3, 0.6, low, 62) for k, low in enumerate(inner)]
    return notes


def play(
    notes: Sequence[Note],
    soundfont: Path,
    *,
    beats_per_minute: float,
    programs: Sequence[int] = (0,),
) -> audio.Wave:
    """FluidSynth's rendering: float32 (2, samples) at 44.1 kHz, no louder than full scale.

    Args:
        notes: in any order.
        soundfont: an SF2 file.
        beats_per_minute: quarter notes a minute.
        programs: program of each channel, from 0.

    Raises:
        InputError: FluidSynth is missing or failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        score, sound = Path(folder, "score.mid"), Path(folder, "sound.wav")
        score.write_bytes(_midi(notes, beats_per_minute, programs))
        command = ["fluidsynth", "-q", "-n", "-i", "-g", "0.2", "-r", str(RATE), "-O", "float"]
        try:
            subprocess.run(
                [*command, "-T", "wav", "-F", sound, soundfont, score],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
        except (OSError, subprocess.CalledProcessError) as error:
            raise InputError(f"{soundfont}: FluidSynth failed ({error})") from None
        wave, _ = audio.load(sound)
    return wave


def _midi(notes: Sequence[Note], beats_per_minute: float, programs: Sequence[int]) -> bytes:
    """A standard MIDI file of one track."""
    events = [(0, bytes([0xC0 | channel, program])) for channel, program in enumerate(programs)]
    tempo = round(60e6 / beats_per_minute).to_bytes(3, "big")
    events.insert(0, (0, b"\xff\x51\x03" + tempo))
    for note in notes:
        begin, end = round(note.start * _TICKS), round((note.start + note.length) * _TICKS)
        events.append((begin, bytes([0x90 | note.channel, note.key, note.velocity])))
        events.append((end, bytes([0x80 | note.channel, note.key, 0])))
    track, now = b"", 0
    for tick, message in sorted(events, key=lambda event: (event[0], event[1][0] & 0xF0 != 0x80)):
        track += _length(tick - now) + message
        now = tick
    track += _length(2 * _TICKS) + b"\xff\x2f\x00"
    header = b"MThd" + struct.pack(">IHHH", 6, 0, 1, _TICKS)
    return header + b"MTrk" + struct.pack(">I", len(track)) + track


def _length(value: int) -> bytes:
    """A MIDI variable-length quantity."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.insert(0, 0x80 | value & 0x7F)
    return bytes(digits)
