"""Rendered music: MIDI files, and accompaniments that MMA writes, through soundfonts."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import struct
import subprocess
import tempfile
from pathlib import Path

from enhancelib import audio
from enhancelib.errors import InputError
from tools.corpus.recipe import RATE, Recipe
from tools.corpus.sources import sequencer

SOUNDS = Path("/usr/share/sounds/sf2")
MUSESCORE = SOUNDS / "MuseScore_General_Full.sf2"
FLUID = SOUNDS / "FluidR3_GM.sf2"
SOUNDFONTS = {MUSESCORE: "MuseScore_General", FLUID: "FluidR3"}
"""Both are under the MIT licence."""

SOUNDFONT_AUTHORS = {
    MUSESCORE: "S. Christian Collins, Michael Cowgill, Frank Wen, Ethan Winer, Michael Schorsch, "
    "Amir Oosman, Sam Gossner, Simon Dalzell, Elan Hickler",
    FLUID: "Frank Wen, Suren M. Seron, Scott Hanan, Steve Aupperle, Chris Gillman, Alex Taubr, "
    "Chris Prola, Andrew Klenk, Winfried Hubbe, Dylan, Tim, Gort, Uros Katic, Ethan Winer",
}
"""As the packages' copyright files name them."""

GROOVES = Path("/usr/share/mma/lib")
OPENMSX = Path("/usr/share/games/openttd/baseset/openmsx")
WADS = Path("/usr/share/games/doom")
PROGRESSIONS = (
    (0, 7, 9, 5),
    (0, 5, 7, 0),
    (9, 5, 0, 7),
    (2, 7, 0, 9),
    (0, 9, 2, 7),
    (0, 10, 5, 0),
)
"""Chords as semitones above the key."""

LONGEST_S = 240.0
_KEYS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
_MINOR_DEGREES = {2, 4, 9}


@dataclasses.dataclass(frozen=True)
class MidiRecipe(Recipe):
    """A MIDI file, or a lump of that name inside a WAD, played by FluidSynth."""

    midi: Path
    lump: str = ""
    soundfont: Path = MUSESCORE

    @property
    def score(self) -> bytes:
        """The MIDI file."""
        return read_lumps(self.midi)[self.lump] if self.lump else self.midi.read_bytes()

    def render(self) -> audio.Wave:
        """Play it; of long ones the first four minutes."""
        return play(self.score, self.soundfont)


@dataclasses.dataclass(frozen=True)
class GrooveRecipe(Recipe):
    """A style of MMA over a random progression, its variations in turn."""

    grooves: tuple[str, ...]
    soundfont: Path = MUSESCORE

    def render(self) -> audio.Wave:
        """Write the chords, let MMA arrange and FluidSynth play them."""
        rng = self.rng
        key = int(rng.integers(12))
        progression = PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
        lines = [f"RndSeed {rng.integers(1 << 20)}", f"Tempo {rng.integers(76, 152)}"]
        bar = 1
        for _ in range(4):
            lines.append(f"Groove {self.grooves[rng.integers(len(self.grooves))]}")
            for degree in progression:
                kind = "m" if degree in _MINOR_DEGREES else ("7" if degree == 7 else "")
                lines.append(f"{bar} {_KEYS[(key + degree) % 12]}{kind}")
                bar += 1
        with tempfile.TemporaryDirectory() as folder:
            score, midi = Path(folder, "score.mma"), Path(folder, "score.mid")
            score.write_text("\n".join(lines) + "\n")
            run = subprocess.run(
                ["mma", "-f", midi, score], capture_output=True, text=True, errors="replace"
            )
            if run.returncode or not midi.exists():
                reason = [line for line in run.stdout.splitlines() if "Error" in line]
                raise InputError(f"{self.name}: MMA failed ({(reason or ['no reason given'])[0]})")
            return play(midi.read_bytes(), self.soundfont)


def midi_recipes(barred: tuple[str, ...]) -> list[Recipe]:
    """OpenMSX by both soundfonts for training, Freedoom 1 for validation.

    Freedoom 2 has the same authors and is in the development set, so it is left out.
    """
    made: list[Recipe] = [
        MidiRecipe(
            f"{path.stem}_{SOUNDFONTS[soundfont]}",
            "openmsx",
            _licence("GPL-2", soundfont),
            f"openmsx/{path.stem}",
            "train",
            path,
            soundfont=soundfont,
            kind="rendered",
            author="OpenMSX's composers",
        )
        for path in sorted(OPENMSX.glob("*.mid"))
        for soundfont in SOUNDFONTS
    ]
    wad = WADS / "freedoom1.wad"
    seen: set[bytes] = set()
    for name, data in sorted(read_lumps(wad).items()):
        digest = hashlib.sha256(data).digest()
        new = data[:4] == b"MThd" and digest not in seen
        seen.add(digest)  # also what is left out: the same tune may come again
        if new and not f"freedoom1_{name}".startswith(barred):
            facts = (f"freedoom1_{name}", "freedoom1", _licence("BSD-3-Clause", MUSESCORE))
            made.append(
                MidiRecipe(
                    *facts,
                    f"freedoom1/{name}",
                    "validation",
                    wad,
                    name,
                    kind="rendered",
                    author="contributors to Freedoom",
                )
            )
    return made


def groove_recipes() -> list[Recipe]:
    """A piece for each file of MMA's styles; the soundfonts take turns."""
    made: list[Recipe] = []
    seen: set[str] = set()
    for path in sorted(GROOVES.rglob("*.mma")):
        text = path.read_text(encoding="latin-1")
        names = re.findall(r"^\s*DefGroove\s+(\S+)", text, flags=re.MULTILINE | re.IGNORECASE)
        new = [name for name in names if name.lower() not in seen]
        seen |= {name.lower() for name in new}
        if new and path.stem != "none":  # MMA's groove of silence
            name = f"{path.parent.name}_{path.stem}"
            soundfont = tuple(SOUNDFONTS)[len(made) % len(SOUNDFONTS)]
            facts = (name, "mma", _licence("GPL-2+", soundfont), f"mma/{name}", "train")
            made.append(
                GrooveRecipe(
                    *facts, tuple(new), soundfont, kind="rendered", author="Bob van der Poel"
                )
            )
    return made


def _licence(score: str, soundfont: Path) -> str:
    return f"{score} x MIT ({SOUNDFONTS[soundfont]})"


def read_lumps(wad: Path) -> dict[str, bytes]:
    """Lumps of a Doom WAD by name: a header, then a directory of (offset, size, name).

    Raises:
        InputError: not a WAD.
    """
    data = wad.read_bytes()
    if data[:4] not in (b"IWAD", b"PWAD"):
        raise InputError(f"{wad}: no WAD file")
    count, directory = struct.unpack_from("<ii", data, 4)
    entries = struct.iter_unpack("<ii8s", data[directory : directory + 16 * count])
    return {
        name.rstrip(b"\0").decode("ascii", "replace"): data[start : start + size]
        for start, size, name in entries
        if name.startswith(b"D_")
    }


def play(midi: bytes, soundfont: Path) -> audio.Wave:
    """Play a MIDI file: floats at low gain (no clipping), then normalised.

    Raises:
        InputError: FluidSynth failed, or nothing sounds.
    """
    with tempfile.TemporaryDirectory() as folder:
        score, sound = Path(folder, "score.mid"), Path(folder, "sound.wav")
        score.write_bytes(midi)
        command = ["fluidsynth", "-q", "-n", "-i", "-g", "0.2", "-r", str(RATE)]
        command += ["-o", "synth.dynamic-sample-loading=1", "-O", "float", "-T", "wav"]
        run = subprocess.run(
            [*command, "-F", sound, soundfont, score], capture_output=True, text=True
        )
        if run.returncode or not sound.exists():
            raise InputError(f"FluidSynth failed: {run.stderr.strip()[:200]}")
        wave, _ = audio.load(sound, duration_s=LONGEST_S)
    return sequencer.trimmed(wave)
