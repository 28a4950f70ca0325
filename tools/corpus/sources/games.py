"""Real mixed music: what plays in free games, coded once as Ogg Vorbis at 105 to 450 kbit/s.

People composed, recorded and mastered it, so it is dense as nothing else here is; but its treble
was coded before. It teaches energies, and those only up to :func:`trusted_hz`; it teaches neither
what to leave alone nor what lies above, and nothing is ever tested on it.
"""

from __future__ import annotations

import dataclasses
import email
import filecmp
import fnmatch
import functools
import gzip
import os
import re
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import soundfile

from enhancelib import audio
from enhancelib.atomic import replacing
from enhancelib.audio.bandwidth import spectral_cliff
from enhancelib.errors import InputError
from tools.corpus.recipe import RATE, Recipe, sound_facts
from tools.corpus.sources import sequencer

DOCS = Path("/usr/share/doc")
LEAST_TRUSTED_HZ = 12000.0
SHORTEST_S = 45.0
LEAST_KBPS = 105.0
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
UNPACKED = CACHE / "enhancelib" / "games"
"""Where music goes that its package holds in an archive; one piece has at most 20 MB."""
LONGEST_AUTHOR = 120
"""Letters. Packages whose list of holders is longer name all who ever wrote a line of code."""

_CLIFF_DB = 30.0
_FREE = re.compile(
    r"(A?L?GPL|CC0|CC-BY(-SA)?-\d|Expat|MIT|BSD|Artistic|public-domain|PD\b)", re.IGNORECASE
)
_NOT_FREE = re.compile(r"\b(NC|ND|NonCommercial|NoDerivs)\b", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Game:
    """A package of music.

    Attributes:
        music: folder that holds it.
        root: the folder to which the package's copyright file counts its paths.
        prefix: what that file puts before them, where the package installs less than the sources.
        split: of all of it, or as much of it as one author made.
        licence, author: where the copyright file names none for single files.
        archive: ZIP file that holds the music, of which ``root`` is then the unpacked top.
    """

    music: Path
    root: Path
    prefix: str = ""
    split: str = "train"
    licence: str = ""
    author: str = ""
    archive: Path | None = None

    @property
    def proof(self) -> Path:
        """What is there if the package is installed."""
        return self.archive or self.music

    def files(self) -> list[Path]:
        """The music, unpacked the first time."""
        if self.archive is not None and self.archive.exists():
            with zipfile.ZipFile(self.archive) as archive:
                for member in archive.infolist():
                    path = self.root / member.filename
                    wanted = path.is_relative_to(self.music) and path.suffix == ".ogg"
                    if wanted and not path.exists():
                        path.parent.mkdir(parents=True, exist_ok=True)
                        with replacing(path) as partial:
                            partial.write_bytes(archive.read(member))
        return sorted(self.music.rglob("*.ogg"))


_SHARE = Path("/usr/share")
_GAMES = _SHARE / "games"
_FRETS = {
    "root": _GAMES / "fretsonfire/data/songs",
    "split": "train",
}
PACKAGES: dict[str, Game] = {
    "naev-data": Game(_SHARE / "naev/dat/snd/music", _SHARE / "naev"),
    "wesnoth-1.16-music": Game(
        _GAMES / "wesnoth/1.16/data/core/music",
        _GAMES / "wesnoth/1.16",
        licence="GPL-2+",
        author="contributors to Battle for Wesnoth",
    ),
    "widelands-data": Game(_GAMES / "widelands/data/music", _GAMES / "widelands"),
    "supertuxkart-data": Game(_GAMES / "supertuxkart/data/music", _GAMES / "supertuxkart"),
    "redeclipse-data": Game(_GAMES / "redeclipse/data/sounds/music", _GAMES / "redeclipse"),
    "hyperrogue-music": Game(_SHARE / "hyperrogue/music", _SHARE / "hyperrogue"),
    "hedgewars-data": Game(_GAMES / "hedgewars/Data/Music", _GAMES / "hedgewars"),
    "supertux-data": Game(_GAMES / "supertux2/music", _GAMES / "supertux2", "data/"),
    "flare-game": Game(_GAMES / "flare/mods/fantasycore/music", _GAMES / "flare"),
    "fretsonfire-songs-muldjord": Game(
        _GAMES / "fretsonfire/data/songs/muldjord",
        **_FRETS,
        licence="CC-BY-SA-3.0",
        author="El Senator (Muldjord)",
    ),
    "fretsonfire-songs-sectoid": Game(
        _GAMES / "fretsonfire/data/songs/sectoid",
        **_FRETS,
        licence="MIT",
        author="Carlos Viola Iborra (Sectoid)",
    ),
    "0ad-data": Game(
        UNPACKED / "0ad-data/audio/music",
        UNPACKED / "0ad-data",
        archive=_GAMES / "0ad/mods/public/public.zip",
    ),
    "colobot-common-sounds": Game(_GAMES / "colobot/music", _GAMES / "colobot"),
    "davegnukem-data": Game(_GAMES / "davegnukem/music", _GAMES / "davegnukem"),
    "freedroidrpg-data": Game(_SHARE / "freedroidrpg/data/sound/music", _SHARE / "freedroidrpg"),
    "lincity-ng-data": Game(_GAMES / "lincity-ng/music", _GAMES / "lincity-ng"),
    "marsshooter-data": Game(_GAMES / "marsshooter/audio", _GAMES / "marsshooter"),
    "neverball-common": Game(_GAMES / "neverball/bgm", _GAMES / "neverball"),
    "pushover-data": Game(_SHARE / "pushover/themes", _SHARE / "pushover"),
    "starfighter-data": Game(_SHARE / "starfighter/music", _SHARE / "starfighter"),
    "trackballs-data": Game(_GAMES / "trackballs/music", _GAMES / "trackballs"),
    "xmoto-data": Game(_GAMES / "xmoto/Textures/Musics", _GAMES / "xmoto"),
    "unknown-horizons": Game(
        _SHARE / "unknown-horizons/content/audio/music",
        _SHARE / "unknown-horizons",
        split="validation",
    ),
}


@dataclasses.dataclass(frozen=True)
class GameRecipe(Recipe):
    """A piece as its package has it: the file is copied, not decoded."""

    file: Path

    suffix: ClassVar[str] = ".ogg"

    def render(self) -> audio.Wave:
        """Decode it."""
        wave, rate = audio.load(self.file)
        if rate != RATE:
            raise InputError(f"{self.file}: has {rate} Hz")
        return wave

    def store(self, path: Path) -> dict[str, object]:
        """Copy the file, unless too little of its band may be trusted."""
        wave = self.render()
        facts = once_lossy_facts(wave, self.file)
        with replacing(path) as partial:
            shutil.copyfile(self.file, partial)
        return facts


@dataclasses.dataclass(frozen=True)
class StemsRecipe(Recipe):
    """A song whose guitar lies in a file of its own: the two together."""

    stems: tuple[Path, ...]

    def render(self) -> audio.Wave:
        """Sum the stems."""
        waves = [audio.load(stem, sample_rate=RATE)[0] for stem in self.stems]
        samples = min(wave.shape[1] for wave in waves)
        return sequencer.normalized(sum(sequencer.stereo(wave)[:, :samples] for wave in waves))

    def store(self, path: Path) -> dict[str, object]:
        """Write the sum; it is trusted as far as the least of the stems."""
        facts = super().store(path)
        trusted = [
            once_lossy_facts(audio.load(stem)[0], stem, least_hz=0.0)["trusted_hz"]
            for stem in self.stems
        ]
        return facts | {"trusted_hz": min(trusted), "once_lossy": 1}


def once_lossy_facts(
    wave: audio.Wave, file: Path, *, least_hz: float = LEAST_TRUSTED_HZ
) -> dict[str, object]:
    """What the manifest says of a decoded Vorbis file.

    Raises:
        InputError: it may be trusted up to less than ``least_hz``.
    """
    kbps = kbps_of(file, wave.shape[1] / RATE)
    hertz = trusted_hz(wave, kbps=kbps)
    if hertz < least_hz:
        raise InputError(f"{file}: ends at {hertz / 1000:.1f} kHz")
    return sound_facts(wave) | {"trusted_hz": round(hertz), "once_lossy": 1}


def trusted_hz(wave: audio.Wave, *, kbps: float) -> float:
    """Frequency in Hz up to which a piece coded as Vorbis has the energies of its original.

    Measured on songs coded anew: bands of eight bins are right within 2 dB up to 15.8 kHz at 111
    kbit/s, and within 1 dB up to 19 kHz from 220 kbit/s on. A cliff in its own spectrum, left by
    the encoder or by what it was made from, comes first.
    """
    by_rate = 15800.0 if kbps < 140 else 19000.0 if kbps < 220 else 20000.0
    cliff = spectral_cliff(wave, sample_rate=RATE)
    return min(by_rate, cliff.frequency_hz - 500) if cliff.depth_db > _CLIFF_DB else by_rate


def game_recipes() -> list[Recipe]:
    """Every piece of 45 seconds and more, under a free licence, of the packages that are there."""
    made: list[Recipe] = []
    for package, game in PACKAGES.items():
        for file in different(game.files()):
            info = soundfile.info(file)
            licence, author = ownership(package, file)
            short = info.duration < SHORTEST_S or kbps_of(file, info.duration) < LEAST_KBPS
            if short or info.samplerate != RATE or not is_free(licence):
                continue
            name = "_".join(file.relative_to(game.music).with_suffix("").parts)
            facts = (name, package, licence, f"{package}/{file.parent.name}", game.split)
            made.append(GameRecipe(*facts, file, kind="game", author=author))
            guitar = file.with_name("guitar.ogg")
            if file.name == "song.ogg" and guitar.exists():
                facts = (f"{name}_and_guitar", *facts[1:])
                made.append(StemsRecipe(*facts, (file, guitar), kind="game", author=author))
    return made


def kbps_of(file: Path, seconds: float) -> float:
    """Mean bit rate of a file in kbit/s."""
    return file.stat().st_size * 8e-3 / seconds


def different(files: Iterable[Path]) -> list[Path]:
    """The files without those whose content came before under another name."""
    kept: dict[int, list[Path]] = {}
    for file in files:
        alike = kept.setdefault(file.stat().st_size, [])
        if not any(filecmp.cmp(file, other, shallow=False) for other in alike):
            alike.append(file)
    return [file for alike in kept.values() for file in alike]


# ---------------------------------------------------------------- who owns a file


def ownership(package: str, file: Path) -> tuple[str, str]:
    """Licence and author of a file by its package's copyright file; the package's own otherwise."""
    game = PACKAGES[package]
    name = game.prefix + file.relative_to(game.root).as_posix()
    for patterns, licence, author in reversed(copyright_of(package)):
        if any(fnmatch.fnmatchcase(name, pattern.removeprefix("./")) for pattern in patterns):
            return licence, named(author) or f"those whom the copyright file of {package} names"
    return game.licence, game.author


def named(holders: str) -> str:
    """Names without years and addresses; nothing where the list is too long for a table."""
    plain = re.sub(
        r"<[^>]*>|\(https?:[^)]*\)|©|\b(19|20)\d\d(\s*[-–,]\s*(19|20)\d\d)*", "", holders
    )
    plain = re.sub(r"\s+(,|$)", r"\1", " ".join(plain.split())).strip(" ,")
    return plain if len(plain) <= LONGEST_AUTHOR else ""


def is_free(licence: str) -> bool:
    """Whether a licence, in Debian's short name, lets anybody use, change and pass on a work."""
    return bool(_FREE.match(licence)) and not _NOT_FREE.search(licence.replace("-", " "))


@functools.cache
def copyright_of(package: str) -> tuple[tuple[tuple[str, ...], str, str], ...]:
    """(patterns of files, licence, author) in the order of a machine-readable copyright file.

    Its stanzas are headed like mail (Debian's copyright format 1.0); the last that matches counts.
    Empty where the package has an older, free-form file.
    """
    path = DOCS / package / "copyright"
    packed = path.with_name("copyright.gz")
    content = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
    found = []
    for stanza in re.split(r"\n\s*\n", content.decode("utf-8", "replace")):
        fields = email.message_from_string(stanza.lstrip("\n"))
        if fields["Files"] and fields["License"]:
            licence = fields["License"].strip().splitlines()[0]
            author = " ".join((fields["Copyright"] or "").split())
            found.append((tuple(fields["Files"].split()), licence, author))
    return tuple(found)
