"""MIDI played by patches of synthesizers: LMMS's own and ZynAddSubFX's, about 1,470 of them.

``python -m tools.corpus.sources.presets`` measures how bright each patch is and writes
``patches.csv`` beside this file (four minutes); the recipes take dull and bright ones in turn from
that table.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import gzip
import hashlib
import io
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

import mido
import numpy as np

from enhancelib import audio, parallel
from enhancelib.audio.bandwidth import long_term_spectrum
from enhancelib.errors import InputError
from tools.corpus.recipe import RATE, Recipe
from tools.corpus.sources import lmms, midi, sequencer

LMMS_PRESETS = Path("/usr/share/lmms/presets")
ZYN_BANKS = Path("/usr/share/zynaddsubfx/banks")
AUTHORS = {
    "lmms-common": "contributors to LMMS",
    "zynaddsubfx-data": "Nasca Octavian Paul and contributors to ZynAddSubFX",
}
"""Package → who made its patches."""

PATCHES = Path(__file__).with_name("patches.csv")
SOURCE = "synthesizer-patches"
TREBLE_HZ = (8000.0, 16000.0)
LEAST_TREBLE_DB = -100.0
"""Patches below have no treble at all."""
LONGEST_S = 60.0
_TICKS = 48  # LMMS's to a quarter
_BEATS_PER_MINUTE = 120
_TICK_S = 60 / _BEATS_PER_MINUTE / _TICKS
_DRUMS = 9
_MIDI_BELOW_LMMS = 12  # LMMS counts its keys from an octave higher
_NOT_TONAL = ("Kicker", "Drums", "Companion")


@dataclasses.dataclass(frozen=True)
class Note:
    """A key of MIDI, when it is struck, how long it is held, and how hard (0 to 127)."""

    at_s: float
    seconds: float
    key: int
    velocity: int


@dataclasses.dataclass(frozen=True)
class PresetRecipe(Recipe):
    """The beginning of a MIDI file, each channel by a patch, the drums by a soundfont."""

    midi: Path
    patches: tuple[Path, ...]
    starts_s: float = 0.0

    def render(self) -> audio.Wave:
        """Play the melodic channels in LMMS and the drums in FluidSynth; mix them."""
        channels = notes_of(self.midi, start_s=self.starts_s, seconds=LONGEST_S)
        melodic = [notes for channel, notes in sorted(channels.items()) if channel != _DRUMS]
        if not melodic:
            raise InputError(f"{self.midi}: no melody in it")
        tracks = [
            (instrument_of(self.patches[index % len(self.patches)]), notes)
            for index, notes in enumerate(melodic[: len(self.patches)])
        ]
        layers = [(rendered(tracks), -20.0)]
        if _DRUMS in channels:
            drums = midi.play(drum_score(channels[_DRUMS]), midi.FLUID)
            layers.append((drums, float(self.rng.uniform(-28, -20))))
        return sequencer.mix(layers)


def preset_recipes(count: int = 60) -> list[Recipe]:
    """Pieces of OpenMSX by four patches each, two of the duller and two of the brighter half."""
    patches = [Path(row["path"]) for row in surveyed() if float(row["treble_db"]) > LEAST_TREBLE_DB]
    half = len(patches) // 2
    rng = np.random.default_rng(0)
    dull, bright = (list(rng.permutation(half) + offset) for offset in (0, half))
    scores = sorted(midi.OPENMSX.glob("*.mid"))
    made: list[Recipe] = []
    for index in range(count):
        score = scores[index % len(scores)]
        chosen = [dull.pop(), bright.pop(), dull.pop(), bright.pop()]
        made.append(
            PresetRecipe(
                f"{index:02d}_{score.stem}",
                SOURCE,
                "GPL-2 x GPL-2+ (patches) x MIT (FluidR3)",
                f"openmsx/{score.stem}",
                "train",
                score,
                tuple(patches[number] for number in chosen),
                LONGEST_S * (index // len(scores)),
                kind="synthesizer",
                author="OpenMSX's composers; authors of LMMS's and ZynAddSubFX's patches",
            )
        )
        if min(len(dull), len(bright)) < 2:
            dull, bright = (list(rng.permutation(half) + offset) for offset in (0, half))
    return made


# ---------------------------------------------------------------- scores and projects


def notes_of(score: Path, *, start_s: float = 0.0, seconds: float) -> dict[int, list[Note]]:
    """Notes of a MIDI file by channel, those struck within a time, from its start on."""
    channels: dict[int, list[Note]] = defaultdict(list)
    held: dict[tuple[int, int], tuple[float, int]] = {}
    now_s = 0.0
    for message in mido.MidiFile(score):
        now_s += message.time
        if message.type not in ("note_on", "note_off"):
            continue
        begun = held.pop((message.channel, message.note), None)
        if begun is not None and 0 <= begun[0] - start_s < seconds:
            at_s, velocity = begun
            note = Note(at_s - start_s, now_s - at_s, message.note, velocity)
            channels[message.channel].append(note)
        if message.type == "note_on" and message.velocity:
            held[message.channel, message.note] = now_s, message.velocity
    return dict(channels)


def drum_score(notes: list[Note]) -> bytes:
    """A MIDI file of these drums alone."""
    score = mido.MidiFile(ticks_per_beat=480)
    track = mido.MidiTrack()
    score.tracks.append(track)
    ticks_per_s = 2 * score.ticks_per_beat  # 120 beats a minute where a file names no tempo
    events = []
    for note in notes:
        for at_s, velocity in ((note.at_s, note.velocity), (note.at_s + note.seconds, 0)):
            events.append((round(at_s * ticks_per_s), velocity, note.key))
    now = 0
    for at, velocity, key in sorted(events):
        message = {"channel": _DRUMS, "note": key, "velocity": velocity, "time": at - now}
        track.append(mido.Message("note_on", **message))
        now = at
    content = io.BytesIO()
    score.save(file=content)
    return content.getvalue()


def rendered(tracks: list[tuple[ElementTree.Element, list[Note]]]) -> audio.Wave:
    """Let LMMS play each list of notes by its instrument."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "project.mmp")
        path.write_bytes(project(tracks))
        return lmms.render(path)


def project(tracks: list[tuple[ElementTree.Element, list[Note]]]) -> bytes:
    """An LMMS project with a track for each ``instrumenttrack`` element and its notes."""
    root = ElementTree.Element("lmms-project", version="1.0", creator="LMMS", type="song")
    time = {"timesig_numerator": "4", "timesig_denominator": "4"}
    ElementTree.SubElement(root, "head", bpm=str(_BEATS_PER_MINUTE), mastervol="100", **time)
    song = ElementTree.SubElement(root, "song")
    container = ElementTree.SubElement(song, "trackcontainer", type="song")
    bar = 4 * _TICKS
    for instrument, notes in tracks:
        track = ElementTree.SubElement(
            container, "track", type="0", name=instrument.get("name", "")
        )
        track.append(instrument)
        bars = 1 + max(round((note.at_s + note.seconds) / _TICK_S) for note in notes) // bar
        pattern = ElementTree.SubElement(track, "pattern", type="1", pos="0", len=str(bar * bars))
        for note in notes:
            ElementTree.SubElement(
                pattern,
                "note",
                pos=str(round(note.at_s / _TICK_S)),
                len=str(max(1, round(note.seconds / _TICK_S))),
                key=str(max(0, note.key - _MIDI_BELOW_LMMS)),
                vol=str(round(100 * note.velocity / 127)),
                pan="0",
            )
    return ElementTree.tostring(root)


def instrument_of(patch: Path) -> ElementTree.Element:
    """The ``instrumenttrack`` of a patch: an LMMS preset, or ZynAddSubFX's instrument in part 0."""
    content = patch.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    root = ElementTree.fromstring(content.strip())
    if patch.suffix == ".xpf":
        track = root.find(".//instrumenttrack")
        if track is None:
            raise InputError(f"{patch}: no preset of an LMMS instrument")
        return track
    if root.find("INSTRUMENT") is None:
        raise InputError(f"{patch}: no instrument of ZynAddSubFX")
    track = ElementTree.Element(
        "instrumenttrack", vol="60", pan="0", basenote="57", pitch="0", usemasterpitch="1"
    )
    plug_in = ElementTree.SubElement(track, "instrument", name="zynaddsubfx")
    state = ElementTree.SubElement(
        ElementTree.SubElement(plug_in, "zynaddsubfx"),
        "ZynAddSubFX-data",
        {"version-major": "2", "version-minor": "4", "version-revision": "1"},
    )
    master = ElementTree.SubElement(state, "MASTER")
    ElementTree.SubElement(master, "par", name="volume", value="80")
    part = ElementTree.SubElement(master, "PART", id="0")
    ElementTree.SubElement(part, "par_bool", name="enabled", value="yes")
    part.append(root.find("INSTRUMENT"))
    return track


# ---------------------------------------------------------------- which patches


@functools.lru_cache(maxsize=1)
def surveyed() -> list[dict[str, str]]:
    """The rows of ``patches.csv``, ``path`` and ``treble_db``, from dull to bright."""
    with open(PATCHES, newline="", encoding="utf-8") as file:
        return sorted(csv.DictReader(file), key=lambda row: (float(row["treble_db"]), row["path"]))


def all_patches() -> list[Path]:
    """Every patch that is there, in the order of a hash, drums left out."""
    found = [*LMMS_PRESETS.rglob("*.xpf"), *ZYN_BANKS.rglob("*.xiz")]
    tonal = [path for path in found if path.parent.name not in _NOT_TONAL]
    return sorted(tonal, key=lambda path: hashlib.sha256(str(path).encode()).hexdigest())


def treble_db(patch: Path) -> float:
    """Level at 8 to 16 kHz against the loudest third of an octave of two notes, in dB; or NaN."""
    notes = [Note(0.0, 0.6, 60, 100), Note(0.7, 0.3, 67, 100)]
    try:
        wave = rendered([(instrument_of(patch), notes)])
    except (InputError, ElementTree.ParseError):
        return float("nan")
    frequencies, level = long_term_spectrum(wave, sample_rate=RATE)
    high = level[(frequencies >= TREBLE_HZ[0]) & (frequencies < TREBLE_HZ[1])]
    return float(10 * np.log10(np.mean(10 ** (high / 10)))) - float(level.max())


def survey() -> None:
    """Measure every patch and write the table."""
    patches = all_patches()
    levels = list(parallel.map(treble_db, patches, description="patches", unit="patch"))
    heard = zip(patches, levels, strict=True)
    rows = sorted((level, str(path)) for path, level in heard if np.isfinite(level))
    with open(PATCHES, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "treble_db"))
        writer.writerows((path, f"{level:.1f}") for level, path in rows)


if __name__ == "__main__":
    survey()
