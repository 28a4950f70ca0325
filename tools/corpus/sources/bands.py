"""Recorded drum kits in patterns, with voices and beds of recorded samples; single words."""

from __future__ import annotations

import dataclasses
import hashlib
import html
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from enhancelib import audio
from enhancelib.audio.bandwidth import spectral_cliff
from enhancelib.errors import InputError
from tools.corpus.recipe import RATE, Recipe
from tools.corpus.sources import sequencer
from tools.corpus.sources.midi import PROGRESSIONS

SONIC_PI = Path("/usr/share/sonic-pi/samples")
KITS = Path("/usr/share/hydrogen/data/drumkits")
WORDS = Path("/usr/share/ktuberling/sounds")
#: Kit → split and licence, as the packages' copyright files state it. Glen MacArthur's kits are
#: left out: his Red Zeppelin is in the test set, his Black Pearl in the development set.
KIT_FACTS: dict[str, tuple[str, str]] = {
    "Audiophob": ("validation", "CC0-1.0"),
    "BJA_Pacific": ("train", "CC-BY-SA-3.0-US"),
    "ColomboAcousticDrumkit": ("train", "GPL-2+ with composition exception"),
    "ElectricEmpireKit": ("train", "GPL-2+"),
    "ForzeeStereo": ("train", "GPL-2"),
    "HardElectro1": ("train", "GPL-2+"),
    "Millo-Drums_v.1": ("train", "GPL-2"),
    "Millo_MultiLayered2": ("train", "GPL-2"),
    "Millo_MultiLayered3": ("train", "GPL-2"),
    "VariBreaks": ("train", "GPL-2+"),
    "circAfrique v4": ("validation", "CC-BY-SA-3.0"),
    "rumpf_kit_z01_h2": ("train", "CC-BY-3.0"),
    "TR808EmulationKit": ("train", "GPL-2+"),
}
#: Language → split. One speaker each, coded at 350 kbit/s or more, or not at all.
SPEAKERS = {"ru": "train", "da": "train", "ro": "validation"}
_MAX_CLIFF_DB = 30.0
_ROLES = (
    ("hat", r"hat|\bhh\b|chh|ohh|maraca|shaker|tambourine|closed|pedal"),
    ("crash", r"crash|splash|china|cymbal|cra_"),
    ("ride", r"ride|bell|cup"),
    ("snare", r"snare|clap|rim|stick|slap|snap|sn_"),
    ("kick", r"kick|bass|bd|thump"),
    ("tom", r"tom|conga|bongo|djembe|drum|head|tone"),
)


@dataclasses.dataclass(frozen=True)
class BandRecipe(Recipe):
    """A drum kit in patterns, with voices and beds of recorded samples, in a room."""

    instruments: tuple[tuple[str, tuple[Path, ...]], ...]
    voices: tuple[Path, ...] = ()
    beds: tuple[Path, ...] = ()

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
        degrees = PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
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
        wave = sequencer.mix(layers)
        decay_s, wet_db = float(rng.uniform(0.2, 1.2)), float(rng.uniform(-24, -12))
        return sequencer.normalized(sequencer.room(wave, decay_s=decay_s, wet_db=wet_db, rng=rng))

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


@dataclasses.dataclass(frozen=True)
class WordsRecipe(Recipe):
    """Single words of one speaker, joined with short pauses."""

    words: tuple[Path, ...]

    def render(self) -> audio.Wave:
        """Join them, each at the same peak."""
        rng = self.rng
        parts = []
        for path in self.words:
            if (word := load_take(path)) is not None:
                pause = np.zeros((2, round(rng.uniform(0.05, 0.3) * RATE)), dtype=np.float32)
                parts += [sequencer.normalized(sequencer.faded(word), peak_db=-3.0), pause]
        if not parts:
            raise InputError(f"{self.name}: every word was coded before")
        return sequencer.normalized(np.concatenate(parts, axis=1))


def band_recipes(barred: tuple[str, ...]) -> list[Recipe]:
    """Nine pieces by each kit, sixteen by Sonic Pi's drums; in training with Sonic Pi's samples."""
    voices = _samples(barred, "bass", "elec", "guit", "glitch")
    beds = _samples(barred, "ambi", "loop", "vinyl", "misc")
    shots = _samples(barred, "bd", "sn", "drum", "elec", "perc")
    kits = [
        (name, read_kit(KITS / name), split, licence, 9)
        for name, (split, licence) in KIT_FACTS.items()
    ]
    by_name = [(path.stem.replace("_", " "), (path,)) for path in shots]
    kits.append(("sonic-pi", by_name, "train", "CC0-1.0", 16))
    made: list[Recipe] = []
    for kit, instruments, split, licence, count in kits:
        rng = np.random.default_rng(int(hashlib.sha256(kit.encode()).hexdigest()[:8], 16))
        author = "Sam Aaron and others" if kit == "sonic-pi" else kit_author(KITS / kit)
        for index in range(count):
            extra, also = {}, ""
            if split == "train":
                extra = {"voices": _some(voices, rng, 2), "beds": _some(beds, rng, 2)}
                also = "" if licence == "CC0-1.0" else " x CC0-1.0"
            facts = (f"{kit}_{index:02d}", kit, licence + also, f"band/{split}", split)
            made.append(
                BandRecipe(
                    *facts, instruments=tuple(instruments), **extra, kind="band", author=author
                )
            )
    return made


def _samples(barred: tuple[str, ...], *kinds: str) -> list[Path]:
    return [
        path
        for path in sorted(SONIC_PI.glob("*.flac"))
        if not f"sonicpi_{path.stem}".startswith(barred) and path.stem.split("_")[0] in kinds
    ]


def word_recipes() -> list[Recipe]:
    """The words of each speaker, 24 to a piece."""
    made: list[Recipe] = []
    for language, split in SPEAKERS.items():
        words = [path for path in sorted((WORDS / language).glob("*")) if path.suffix != ".opus"]
        for start in range(0, len(words), 24):
            source = f"ktuberling-{language}"
            facts = (f"{language}_{start // 24:02d}", source, "GPL-2+", source, split)
            made.append(
                WordsRecipe(
                    *facts,
                    tuple(words[start : start + 24]),
                    kind="speech",
                    author=f"the {language} speaker of KTuberling",
                )
            )
    return made


def _some(paths: list[Path], rng: np.random.Generator, count: int) -> tuple[Path, ...]:
    return tuple(paths[index] for index in rng.permutation(len(paths))[:count])


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


def kit_author(folder: Path) -> str:
    """Who made a Hydrogen drum kit, as its description says; web and mail addresses left out."""
    text = (folder / "drumkit.xml").read_text(encoding="utf-8", errors="replace")
    named = re.search(r"<author>(.*?)</author>", text, flags=re.DOTALL)
    plain = html.unescape(named[1]) if named else ""
    return re.sub(r"\s*[<\[(][^>\])]*[>\])]", "", plain).strip() or f"the author of {folder.name}"


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
