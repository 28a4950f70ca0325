"""Free recordings from a folder: voices dry and in rooms, single notes in phrases and patterns.

The folder holds mono FLAC files at 44.1 kHz and ``index.csv``, with ``path, kind, source, sha256``
of each. ``recordings.csv`` beside this file says who made the sources, and under which licence.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
from pathlib import Path

import numpy as np
from scipy.signal import fftconvolve

from enhancelib import audio
from enhancelib.audio.bandwidth import spectral_cliff
from enhancelib.errors import InputError
from tools.corpus.recipe import RATE, Recipe
from tools.corpus.sources import notes, sequencer

TABLE = Path(__file__).with_name("recordings.csv")
CABINETS = Path("/usr/share/gx_head/sounds/amps")
CABINETS_AUTHOR = "David Fau Casquel"
CABINETS_LICENCE = "GPL-2+ (guitarix's cabinets)"
ROOMS_LICENCE = "Apache-2.0 (rooms)"
VALIDATION = ("nathalie", "vocobox", "weresax", "kay5banjo", "steeldrum")
"""Sources of the validation split; all others are in training."""

GUITARS = ("shinyguitar", "emilyguitar")
PIECES = 4
"""Of each instrument, and as many of each guitar through an amplifier."""

SECONDS = 60.0
SHORTEST_ROOM_S = 0.5
_CODED_HZ = 12000.0
_CLIFF_DB = 30.0
_COLUMNS = {"path", "kind", "source", "sha256"}


@dataclasses.dataclass(frozen=True)
class Source:
    """Who made some recordings: kind, licence, author, the codec they came in, public addresses."""

    name: str
    kind: str
    licence: str
    author: str
    coded: str
    addresses: tuple[str, ...]

    @property
    def split(self) -> str:
        """All of a source lies in one."""
        return "validation" if self.name in VALIDATION else "train"


@functools.cache
def sources() -> dict[str, Source]:
    """Every source that may be used, by name; the impulse responses are among them."""
    with open(TABLE, newline="", encoding="utf-8") as file:
        return {
            row["source"]: Source(
                row["source"],
                row["kind"],
                row["licence"],
                row["author"],
                row["coded"],
                tuple(row["address"].split()),
            )
            for row in csv.DictReader(file)
        }


@dataclasses.dataclass(frozen=True)
class Recording:
    """One file of the folder. Where it lies does not count, only what it holds."""

    path: Path = dataclasses.field(repr=False)
    kind: str
    source: str
    sha256: str

    def load(self) -> audio.Wave:
        """Its sound, (1, samples) at 44.1 kHz."""
        return audio.load(self.path, sample_rate=RATE)[0][:1]


def read_folder(folder: Path) -> list[Recording]:
    """The files that ``index.csv`` names, each verified by its hash, of known sources.

    Raises:
        InputError: no index, a column or a file is missing, a file has changed, or a source is not
            in ``recordings.csv``.
    """
    index = folder / "index.csv"
    if not index.is_file():
        raise InputError(f"{index} is missing: name a folder of recordings with their index")
    with open(index, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or not set(rows[0]) >= _COLUMNS:
        raise InputError(f"{index}: needs rows with the columns {', '.join(sorted(_COLUMNS))}")
    for row in rows:
        path = folder / row["path"]
        if row["source"] not in sources():
            raise InputError(f"{index}: the source {row['source']!r} is not in {TABLE.name}")
        if not path.is_file():
            raise InputError(f"{path} is missing, but {index.name} names it")
        if hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
            raise InputError(f"{path} is not what {index.name} says: its hash differs")
    return [
        Recording(folder / row["path"], row["kind"], row["source"], row["sha256"]) for row in rows
    ]


@dataclasses.dataclass(frozen=True)
class RecordedRecipe(Recipe):
    """What recordings share: rooms, one response for each channel, and what may be believed."""

    recordings: tuple[Recording, ...]
    rooms: tuple[Recording, ...] = ()

    def store(self, path: Path) -> dict[str, object]:
        """Write it; where it ends at a cliff or was coded before, less is trusted."""
        facts = super().store(path)
        coded = bool(sources()[self.source].coded)
        trusted = [float(facts["trusted_hz"])] + [_CODED_HZ] * coded
        for recording in self.recordings:
            cliff = spectral_cliff(recording.load(), sample_rate=RATE)
            if cliff.depth_db > _CLIFF_DB:
                trusted.append(cliff.frequency_hz - 500)
        return facts | {"trusted_hz": round(min(trusted)), "once_lossy": int(coded)}

    def placed(self, wave: audio.Wave, rng: np.random.Generator) -> audio.Wave:
        """A stereo wave with the sound of the rooms, at −24 to −8 dB; as it is without rooms."""
        if not self.rooms:
            return wave
        responses = [room.load()[0] for room in self.rooms]
        return in_room(wave, responses, wet_db=float(rng.uniform(-24, -8)))


@dataclasses.dataclass(frozen=True)
class VoiceRecipe(RecordedRecipe):
    """A recording of a voice: dry in the middle, or somewhere in a room."""

    def render(self) -> audio.Wave:
        """Place it."""
        rng = self.rng
        wave = self.recordings[0].load()
        canvas = np.zeros((2, wave.shape[1]), dtype=np.float32)
        pan = float(rng.uniform(-0.8, 0.8)) if self.rooms else 0.0
        sequencer.place(canvas, sequencer.stereo(wave), at_s=0.0, pan=pan)
        return sequencer.trimmed(self.placed(canvas, rng))


@dataclasses.dataclass(frozen=True)
class PhrasesRecipe(RecordedRecipe):
    """Notes of one source: melody over chords where they have pitch, else a drum pattern."""

    cabinet: Path | None = None

    def render(self) -> audio.Wave:
        """Cut the notes, play them, send them through the amplifier, place them."""
        rng = self.rng
        takes = notes_of(self.recordings)
        pitched = [take for take in takes if take.semitone is not None]
        beats_per_minute = float(rng.uniform(70, 140))
        # Of a source that has both, such as a folder of samples, the pieces take turns.
        tonal = len(pitched) > 5 and len(pitched) / len(takes) > rng.uniform(0.35, 0.6)
        play = notes.phrases if tonal else notes.pattern
        chosen = pitched if tonal else takes
        wave = play(chosen, seconds=SECONDS, beats_per_minute=beats_per_minute, rng=rng)
        if self.cabinet is not None:
            response = audio.load(self.cabinet, sample_rate=RATE)[0][0]
            wave = amplified(wave, response, drive_db=float(rng.uniform(12, 40)))
        return sequencer.trimmed(self.placed(wave, rng))


@functools.lru_cache(maxsize=4)
def notes_of(recordings: tuple[Recording, ...]) -> list[notes.Take]:
    """The single notes of some recordings, with their pitches."""
    return [take for recording in recordings for take in notes.cut(recording.load())]


def in_room(wave: audio.Wave, responses: list[np.ndarray], *, wet_db: float) -> audio.Wave:
    """Add a room to a stereo wave.

    Args:
        wave: (2, samples) at 44.1 kHz.
        responses: impulse responses of the left and of the right channel, each (samples,).
        wet_db: energy of each response in dB, 0 dB being that of the direct sound.
    """
    mono = wave.mean(axis=0)
    wet = np.stack(
        [
            fftconvolve(mono, response / np.linalg.norm(response))[: wave.shape[1]]
            for response in responses
        ]
    )
    return (wave + 10 ** (wet_db / 20) * wet).astype(np.float32)


def amplified(wave: audio.Wave, cabinet: np.ndarray, *, drive_db: float) -> audio.Wave:
    """Overdrive (a hyperbolic tangent at four times the rate, so that little aliases), then filter.

    Args:
        wave: (2, samples) at 44.1 kHz.
        cabinet: impulse response of a loudspeaker, (samples,).
        drive_db: gain before the tangent for a wave whose peak is full scale.
    """
    loud = sequencer.normalized(wave, peak_db=drive_db)
    fine = np.tanh(audio.resample(loud, from_rate=RATE, to_rate=4 * RATE))
    driven = audio.resample(fine, from_rate=4 * RATE, to_rate=RATE)[:, : wave.shape[1]]
    return fftconvolve(driven, cabinet[None], axes=1)[:, : wave.shape[1]].astype(np.float32)


def recording_recipes(folder: Path) -> list[Recipe]:
    """Voices twice, instruments in :data:`PIECES` pieces each.

    Raises:
        InputError: as :func:`read_folder` does.
    """
    found = read_folder(folder)
    rooms = rooms_of(found)
    made: list[Recipe] = []
    for name in sorted({recording.source for recording in found}):
        source = sources()[name]
        own = tuple(recording for recording in found if recording.source == name)
        if source.kind in ("speech", "singing"):
            made += _voices(source, own, rooms[source.split])
        elif source.kind == "instruments":
            made += _phrases(source, own, rooms[source.split])
    return made


def rooms_of(found: list[Recording]) -> dict[str, list[Recording]]:
    """Rooms for each split: every fifth response for validation, the other ones for training."""
    responses = [recording for recording in found if recording.kind == "impulse-responses"]
    long = [item for item in responses if item.load().shape[1] > SHORTEST_ROOM_S * RATE]
    validation = long[::5]
    return {"validation": validation, "train": [item for item in long if item not in validation]}


def _voices(source: Source, own: tuple[Recording, ...], rooms: list[Recording]) -> list[Recipe]:
    made: list[Recipe] = []
    for recording in own:
        stem = recording.path.stem
        made.append(_made(VoiceRecipe, source, stem, (recording,), ()))
        if rooms:
            made.append(_made(VoiceRecipe, source, f"{stem}_placed", (recording,), rooms))
    return made


def _phrases(source: Source, own: tuple[Recording, ...], rooms: list[Recording]) -> list[Recipe]:
    made = [
        _made(PhrasesRecipe, source, f"{source.name}_{index}", own, rooms)
        for index in range(PIECES)
    ]
    if source.name in GUITARS:
        cabinets = sorted(CABINETS.glob("*.wav"))
        for index in range(PIECES):
            name = f"{source.name}_amplified_{index}"
            recipe = _made(PhrasesRecipe, source, name, own, rooms)
            cabinet = cabinets[recipe.rng.integers(len(cabinets))]
            licence = f"{recipe.licence} x {CABINETS_LICENCE}"
            made.append(dataclasses.replace(recipe, cabinet=cabinet, licence=licence))
    return made


def _made(
    recipe: type[RecordedRecipe],
    source: Source,
    name: str,
    own: tuple[Recording, ...],
    rooms: list[Recording],
) -> RecordedRecipe:
    """A piece of a source; of the rooms it gets two by its name."""
    kind = "instrument" if source.kind == "instruments" else source.kind
    licence = source.licence + (f" x {ROOMS_LICENCE}" if len(rooms) else "")
    facts = {"kind": kind, "author": source.author}
    piece = recipe(name, source.name, licence, source.name, source.split, own, **facts)
    if not rooms:
        return piece
    chosen = piece.rng.permutation(len(rooms))[:2]
    pair = tuple(rooms[number] for number in (chosen if len(chosen) == 2 else (0, 0)))
    return dataclasses.replace(piece, rooms=pair)
