"""What the free corpus is made of: Debian packages, and the pieces made from each.

A recipe is the full description of one piece: which files, which seed, which split. Its ``render``
gives the audio, (2, samples) at 44.1 kHz. Splits follow the sources, so that no instrument, player
or melody is in two of them; only the soundfont, with which all MIDI files are played, is shared.

===========  =====================================================================================
train        MMA grooves, OpenMSX, Sonic Pi's samples, all drum kits but those below, speech
validation   Freedoom 1, the kits of hydrogen-data, speech of another speaker
test         Freedoom 2 (what Freedoom 1 does not have), guitar strums with The Black Pearl, speech
===========  =====================================================================================
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import struct
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from enhancelib import audio, sequencer
from enhancelib.bandwidth import spectral_cliff
from enhancelib.errors import ConfigError, InputError
from enhancelib.sequencer import RATE

SOUNDFONT = Path("/usr/share/sounds/sf2/MuseScore_General_Full.sf2")
GROOVES = Path("/usr/share/mma/lib")
OPENMSX = Path("/usr/share/games/openttd/baseset/openmsx")
WADS = Path("/usr/share/games/doom")
SONIC_PI = Path("/usr/share/sonic-pi/samples")
KITS = Path("/usr/share/hydrogen/data/drumkits")
SPEECH = Path("/usr/share/ktuberling/sounds")
#: What each Debian package brings; all are needed.
PACKAGES: dict[str, Path] = {
    "fluidsynth": Path("/usr/bin/fluidsynth"),
    "mma": GROOVES,
    "musescore-general-soundfont-lossless": SOUNDFONT,
    "openttd-openmsx": OPENMSX,
    "freedoom": WADS / "freedoom2.wad",
    "sonic-pi-samples": SONIC_PI,
    "hydrogen-drumkits": KITS / "The Black Pearl 1.0",
    "hydrogen-drumkits-effects": KITS / "belofilms_GuitarStrums",
    "hydrogen-data": KITS / "GMRockKit",
    "ktuberling-data": SPEECH,
}
#: Kit → split and licence, as the packages' copyright files state it.
KIT_FACTS: dict[str, tuple[str, str]] = {
    "Audiophob": ("train", "CC0-1.0"),
    "BJA_Pacific": ("train", "CC-BY-SA-3.0-US"),
    "ColomboAcousticDrumkit": ("train", "GPL-2+ with composition exception"),
    "ElectricEmpireKit": ("train", "GPL-2+"),
    "ForzeeStereo": ("train", "GPL-2"),
    "Gimme A Hand 1.0": ("train", "GPL-2"),
    "HardElectro1": ("train", "GPL-2+"),
    "Millo-Drums_v.1": ("train", "GPL-2"),
    "Millo_MultiLayered2": ("train", "GPL-2"),
    "Millo_MultiLayered3": ("train", "GPL-2"),
    "VariBreaks": ("train", "GPL-2+"),
    "circAfrique v4": ("train", "CC-BY-SA-3.0"),
    "rumpf_kit_z01_h2": ("train", "CC-BY-3.0"),
    "GMRockKit": ("validation", "GPL-2+"),
    "TR808EmulationKit": ("validation", "GPL-2+"),
    "The Black Pearl 1.0": ("test", "GPL-2"),
}
#: Language → split. One speaker each, coded at 350 kbit/s or more, or not at all.
SPEAKERS = {"ru": "train", "da": "train", "ro": "validation", "en": "test"}
_MAX_S = 240.0
_MAX_CLIFF_DB = 30.0
_ROLES = (
    ("hat", r"hat|\bhh\b|chh|ohh|maraca|shaker|tambourine|closed|pedal"),
    ("crash", r"crash|splash|china|cymbal|cra_"),
    ("ride", r"ride|bell|cup"),
    ("snare", r"snare|clap|rim|stick|slap|snap|sn_"),
    ("kick", r"kick|bass|bd|thump"),
    ("tom", r"tom|conga|bongo|djembe|drum|head|tone"),
)
#: Chords as semitones above the key.
_PROGRESSIONS = (
    (0, 7, 9, 5),
    (0, 5, 7, 0),
    (9, 5, 0, 7),
    (2, 7, 0, 9),
    (0, 9, 2, 7),
    (0, 10, 5, 0),
)
_KEYS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
_MINOR_DEGREES = {2, 4, 9}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One piece: where it goes, where it comes from, how to make it again."""

    name: str
    source: str
    licence: str
    group: str
    split: str

    @property
    def path(self) -> str:
        """Its file in the corpus folder."""
        safe = re.sub(r"[^A-Za-z0-9._-]+", "_", self.name)
        return f"{self.split}/{self.source}/{safe}.flac"

    @property
    def rng(self) -> np.random.Generator:
        """A generator of its own, from its name."""
        digest = hashlib.sha256(f"{self.source}/{self.name}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big"))

    def render(self) -> audio.Wave:
        """The piece, float32 (2, samples) at 44.1 kHz, peak −1 dBFS."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class MidiRecipe(Recipe):
    """A MIDI file, or a lump of that name inside a WAD, played by FluidSynth."""

    midi: Path
    lump: str = ""

    def render(self) -> audio.Wave:
        """Play it; of long ones the first four minutes."""
        data = read_lumps(self.midi)[self.lump] if self.lump else self.midi.read_bytes()
        return _play(data)


@dataclasses.dataclass(frozen=True)
class GrooveRecipe(Recipe):
    """A style of MMA over a random progression, its variations in turn."""

    grooves: tuple[str, ...]

    def render(self) -> audio.Wave:
        """Write the chords, let MMA arrange and FluidSynth play them."""
        rng = self.rng
        key = int(rng.integers(12))
        progression = _PROGRESSIONS[rng.integers(len(_PROGRESSIONS))]
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
            return _play(midi.read_bytes())


@dataclasses.dataclass(frozen=True)
class BandRecipe(Recipe):
    """A drum kit in patterns, with voices and beds of recorded samples, in a room."""

    instruments: tuple[tuple[str, tuple[Path, ...]], ...]
    voices: tuple[Path, ...] = ()
    beds: tuple[Path, ...] = ()
    strums: tuple[Path, ...] = ()

    def render(self) -> audio.Wave:
        """Choose instruments, play, mix."""
        rng = self.rng
        tempo, bars = float(rng.uniform(80, 150)), 16
        kit = {role: self._takes(paths, rng) for role, paths in self._kit(rng).items()}
        drums = sequencer.drums(
            {role: takes for role, takes in kit.items() if takes},
            beats_per_minute=tempo,
            bars=bars,
            rng=rng,
        )
        seconds, beat_s = drums.shape[1] / RATE, 60 / tempo
        degrees = _PROGRESSIONS[rng.integers(len(_PROGRESSIONS))]
        layers = [(drums, -18.0)]
        for path in self.voices:
            note_s = beat_s * float(rng.choice([1, 2]))
            notes = [degree - 12 * (degree > 6) for degree in degrees for _ in range(2)]
            for take in self._takes([path], rng):
                layer = sequencer.voice(take, notes, seconds=seconds, note_s=note_s, rng=rng)
                layers.append((layer, float(rng.uniform(-26, -20))))
        for path in self.beds:
            for take in self._takes([path], rng):
                layers.append((sequencer.loop(take, seconds=seconds), rng.uniform(-30, -22)))
        if self.strums:
            layers.append((self._strum(beat_s, seconds, rng), -16.0))
        wave = sequencer.mix(layers)
        decay_s, wet_db = float(rng.uniform(0.2, 1.2)), float(rng.uniform(-24, -12))
        return sequencer.normalised(sequencer.room(wave, decay_s=decay_s, wet_db=wet_db, rng=rng))

    def _kit(self, rng: np.random.Generator) -> dict[str, tuple[Path, ...]]:
        """Role → the takes of one instrument that has it; a second hat, tom and perc may join."""
        by_role: dict[str, list[tuple[Path, ...]]] = {}
        for name, paths in self.instruments:
            by_role.setdefault(role_of(name), []).append(paths)
        chosen = {}
        for role, instruments in sorted(by_role.items()):
            for index in rng.permutation(len(instruments))[: 1 + (role in ("hat", "tom", "perc"))]:
                chosen[role if role not in chosen else f"{role} {index}"] = instruments[index]
        return chosen

    def _takes(self, paths: Iterable[Path], rng: np.random.Generator) -> list[audio.Wave]:
        """At most four of the takes, without those that were coded before."""
        takes = [load_take(path) for path in paths]
        takes = [take for take in takes if take is not None]
        return [takes[index] for index in rng.permutation(len(takes))[:4]]

    def _strum(self, beat_s: float, seconds: float, rng: np.random.Generator) -> audio.Wave:
        canvas = np.zeros((2, round(seconds * RATE)), dtype=np.float32)
        chords = [take for path in self.strums if (take := load_take(path)) is not None]
        for index in range(int(seconds / (2 * beat_s))):
            chord = sequencer.faded(chords[index // 2 % len(chords)], fade_s=0.02)
            at_s = index * 2 * beat_s + float(rng.normal(0, 0.006))
            sequencer.place(canvas, chord, at_s=at_s, gain=float(rng.uniform(0.6, 1.0)))
        return canvas


@dataclasses.dataclass(frozen=True)
class SpeechRecipe(Recipe):
    """Single words of one speaker, joined with short pauses."""

    words: tuple[Path, ...]

    def render(self) -> audio.Wave:
        """Join them, each at the same peak."""
        rng = self.rng
        parts = []
        for path in self.words:
            if (word := load_take(path)) is not None:
                pause = np.zeros((2, round(rng.uniform(0.05, 0.3) * RATE)), dtype=np.float32)
                parts += [sequencer.normalised(sequencer.faded(word), peak_db=-3.0), pause]
        if not parts:
            raise InputError(f"{self.name}: every word was coded before")
        return sequencer.normalised(np.concatenate(parts, axis=1))


def missing_packages() -> list[str]:
    """Names of the Debian packages that are not installed."""
    return [package for package, path in PACKAGES.items() if not path.exists()]


def all_recipes(left_out: Iterable[str] = ()) -> list[Recipe]:
    """Every piece of the corpus, without those whose material is named in ``left_out``.

    Args:
        left_out: Beginnings of names that must not be used: ``sonicpi_tabla``, ``strums_Amajor``,
            ``freedoom1_D_E1M2``.

    Raises:
        ConfigError: A package is missing.
    """
    if missing := missing_packages():
        raise ConfigError(f"Debian packages are missing: apt install {' '.join(missing)}")
    barred = tuple(left_out)
    return [*_midi(barred), *_grooves(), *_bands(barred), *_speech()]


def _midi(barred: tuple[str, ...]) -> list[Recipe]:
    licence = " x MIT (MuseScore_General)"
    made: list[Recipe] = [
        MidiRecipe(p.stem, "openmsx", f"GPL-2{licence}", f"openmsx/{p.stem}", "train", p)
        for p in sorted(OPENMSX.glob("*.mid"))
    ]
    seen: set[bytes] = set()
    for wad, split in (("freedoom1", "validation"), ("freedoom2", "test")):
        lumps = read_lumps(WADS / f"{wad}.wad")
        music = {name: data for name, data in sorted(lumps.items()) if data[:4] == b"MThd"}
        for name, data in music.items():
            digest = hashlib.sha256(data).digest()
            if digest not in seen and not f"{wad}_{name}".startswith(barred):
                facts = (f"{wad}_{name}", wad, f"BSD-3-Clause{licence}", f"{wad}/{name}", split)
                made.append(MidiRecipe(*facts, WADS / f"{wad}.wad", name))
            seen.add(digest)  # also what was left out: the same tune may come again
    return made


def _grooves() -> list[Recipe]:
    made: list[Recipe] = []
    seen: set[str] = set()
    for path in sorted(GROOVES.rglob("*.mma")):
        text = path.read_text(encoding="latin-1")
        names = re.findall(r"^\s*DefGroove\s+(\S+)", text, flags=re.MULTILINE | re.IGNORECASE)
        new = [name for name in names if name.lower() not in seen]
        seen |= {name.lower() for name in new}
        if new and path.stem != "none":  # MMA's groove of silence
            name = f"{path.parent.name}_{path.stem}"
            licence = "GPL-2+ x MIT (MuseScore_General)"
            made.append(GrooveRecipe(name, "mma", licence, f"mma/{name}", "train", tuple(new)))
    return made


def _bands(barred: tuple[str, ...]) -> list[Recipe]:
    def usable(folder: Path, prefix: str, *kinds: str) -> list[Path]:
        return [
            path
            for path in sorted(folder.glob("*.flac"))
            if not f"{prefix}_{path.stem}".startswith(barred)
            and (not kinds or path.stem.split("_")[0] in kinds)
        ]

    strums = usable(KITS / "belofilms_GuitarStrums", "strums")
    voices = usable(SONIC_PI, "sonicpi", "bass", "elec", "guit", "glitch")
    beds = usable(SONIC_PI, "sonicpi", "ambi", "loop", "vinyl", "misc")
    shots = usable(SONIC_PI, "sonicpi", "bd", "sn", "drum", "elec", "perc")
    kits = [
        (name, read_kit(KITS / name), split, licence, 9)
        for name, (split, licence) in KIT_FACTS.items()
    ]
    by_name = [(path.stem.replace("_", " "), (path,)) for path in shots]
    kits.append(("sonic-pi", by_name, "train", "CC0-1.0", 16))
    made: list[Recipe] = []
    for kit, instruments, split, licence, count in kits:
        rng = np.random.default_rng(int(hashlib.sha256(kit.encode()).hexdigest()[:8], 16))
        for index in range(count):
            extra, also = {}, ""
            if split == "train":
                extra = {"voices": _some(voices, rng, 2), "beds": _some(beds, rng, 2)}
                also = "" if licence == "CC0-1.0" else " x CC0-1.0"
            elif split == "test":
                extra, also = {"strums": _some(strums, rng, 8)}, " x CC-BY-3.0"
            facts = (f"{kit}_{index:02d}", "recorded", licence + also, f"recorded/{split}", split)
            made.append(BandRecipe(*facts, instruments=tuple(instruments), **extra))
    return made


def _speech() -> list[Recipe]:
    made: list[Recipe] = []
    for language, split in SPEAKERS.items():
        words = [path for path in sorted((SPEECH / language).glob("*")) if path.suffix != ".opus"]
        for start in range(0, len(words), 24):
            name = f"{language}_{start // 24:02d}"
            chunk = tuple(words[start : start + 24])
            made.append(SpeechRecipe(name, "speech", "GPL-2+", f"speech/{language}", split, chunk))
    return made


def _some(paths: list[Path], rng: np.random.Generator, count: int) -> tuple[Path, ...]:
    return tuple(paths[index] for index in rng.permutation(len(paths))[:count])


def read_lumps(wad: Path) -> dict[str, bytes]:
    """Lumps of a Doom WAD by name: a header, then a directory of (offset, size, name).

    Raises:
        InputError: Not a WAD.
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


def read_kit(folder: Path) -> list[tuple[str, tuple[Path, ...]]]:
    """Instruments of a Hydrogen drum kit by name, each with the files of its takes."""
    text = (folder / "drumkit.xml").read_text(encoding="utf-8", errors="replace")
    plain = re.sub(r'\sxmlns(:\w+)?="[^"]+"|\w+:schemaLocation="[^"]+"', "", text)
    instruments = []
    for instrument in ElementTree.fromstring(plain).iter("instrument"):
        files = [node.text for node in instrument.iter("filename") if node.text]
        paths = tuple(folder / name for name in files if (folder / name).is_file())
        if paths and "empty" not in paths[0].name.lower():
            instruments.append((instrument.findtext("name") or "", paths))
    return instruments


def role_of(name: str) -> str:
    """What an instrument of this name plays: kick, snare, hat, ride, crash, tom or perc."""
    lowered = name.lower()
    return next((role for role, words in _ROLES if re.search(words, lowered)), "perc")


def load_take(path: Path) -> audio.Wave | None:
    """A recorded sample in stereo at 44.1 kHz; None if it was coded or at a lower rate before."""
    try:
        wave, rate = audio.load(path)
    except InputError:
        return None
    if rate < RATE or spectral_cliff(wave, sample_rate=rate).depth_db > _MAX_CLIFF_DB:
        return None
    return sequencer.stereo(audio.resample(wave, from_rate=rate, to_rate=RATE))


def _play(midi: bytes) -> audio.Wave:
    """Play a MIDI file with the soundfont: floats at low gain (no clipping), then normalised."""
    with tempfile.TemporaryDirectory() as folder:
        score, sound = Path(folder, "score.mid"), Path(folder, "sound.wav")
        score.write_bytes(midi)
        command = ["fluidsynth", "-q", "-n", "-i", "-g", "0.2", "-r", str(RATE)]
        command += ["-o", "synth.dynamic-sample-loading=1", "-O", "float", "-T", "wav"]
        run = subprocess.run(
            [*command, "-F", sound, SOUNDFONT, score], capture_output=True, text=True
        )
        if run.returncode or not sound.exists():
            raise InputError(f"FluidSynth failed: {run.stderr.strip()[:200]}")
        wave, _ = audio.load(sound, duration_s=_MAX_S)
    loud = np.flatnonzero(np.abs(wave).max(axis=0) > 1e-5)
    if not len(loud):
        raise InputError("the MIDI file is silent")
    return sequencer.normalised(sequencer.faded(wave[:, loud[0] : loud[-1] + 1], fade_s=0.05))
