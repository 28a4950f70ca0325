"""All pieces of the corpus, the Debian packages they need, and which source is in which split.

A source (a package, a kit, a speaker, an author of songs) lies in one split, and so does an author.
Only tools are shared: the soundfonts of all MIDI, and the rooms by number (each in one split).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from enhancelib.errors import ConfigError
from tools.corpus.recipe import Recipe
from tools.corpus.sources import bands, games, lmms, midi, presets, recordings, signals

PACKAGES: dict[str, Path] = {
    "fluidsynth": Path("/usr/bin/fluidsynth"),
    "lmms": Path("/usr/bin/lmms"),
    "lmms-common": lmms.PROJECTS,
    "zynaddsubfx-data": presets.ZYN_BANKS,
    "mma": midi.GROOVES,
    "musescore-general-soundfont-lossless": midi.MUSESCORE,
    "fluid-soundfont-gm": midi.FLUID,
    "openttd-openmsx": midi.OPENMSX,
    "freedoom": midi.WADS / "freedoom1.wad",
    "sonic-pi-samples": bands.SONIC_PI,
    "hydrogen-drumkits": bands.KITS / "ForzeeStereo",
    "hydrogen-data": bands.KITS / "TR808EmulationKit",
    "ktuberling-data": bands.WORDS,
    "guitarix-common": recordings.CABINETS,
}
"""What each Debian package brings; all are needed, 1 GB of downloads on a bare machine."""

GAMES: dict[str, Path] = {package: game.proof for package, game in games.PACKAGES.items()}
"""The packages of games' music, 5.1 GB; a small corpus does without."""

SPLITS: dict[str, str] = {
    "mma": "train",
    "openmsx": "train",
    presets.SOURCE: "train",
    "sonic-pi": "train",
    "freedoom1": "validation",
    **{f"lmms-{songs.handle}": songs.split for songs in lmms.SONGS},
    **{package: game.split for package, game in games.PACKAGES.items()},
    **{kit: split for kit, (split, _) in bands.KIT_FACTS.items()},
    **{f"ktuberling-{language}": split for language, split in bands.SPEAKERS.items()},
    **{source.name: source.split for source in recordings.sources().values()},
    **{f"signals-{split}": split for split in signals.COUNTS},
}
"""Source → split, of every source there is."""

HELD_OUT = (
    *("freedoom2", "The Black Pearl 1.0", "ktuberling-en", "belofilms_GuitarStrums"),  # development
    *("lmms-Skiessi", "lmms-Saber", "lmms-Thomasso", "lmms-Settel", "lmms-Momo64"),  # test
    *("lmms-Jousboxx", "lmms-EsoXLB"),  # excerpts
)
"""Sources that the development set, the test set and the excerpts are made of: in no split here."""


def missing_packages(*, small: bool = False) -> list[str]:
    """Debian packages that are not installed; of a small corpus, without the games."""
    wanted = PACKAGES if small else PACKAGES | GAMES
    return [package for package, proof in wanted.items() if not proof.exists()]


def all_recipes(
    left_out: Iterable[str], *, small: bool = False, recordings_dir: Path | None = None
) -> list[Recipe]:
    """Every piece, those that take longest first.

    Args:
        left_out: beginnings of names of samples and tunes that must not be used.
        small: without the games' music. A game that is not installed is left out in any case.
        recordings_dir: the folder of free recordings; None leaves them out.

    Raises:
        ConfigError: a package of :data:`PACKAGES` is missing.
        InputError: the folder of recordings is not as its index says.
    """
    if missing := [package for package, proof in PACKAGES.items() if not proof.exists()]:
        raise ConfigError(
            f"Debian packages are missing: {' '.join(missing)} (apt-get install them; there is no "
            "corpus without)"
        )
    barred = tuple(sorted(left_out))
    return [
        *lmms.song_recipes(),
        *presets.preset_recipes(),
        *([] if small else games.game_recipes()),
        *midi.midi_recipes(barred),
        *midi.groove_recipes(),
        *bands.band_recipes(barred),
        *bands.word_recipes(),
        *signals.signal_recipes(),
        *([] if recordings_dir is None else recordings.recording_recipes(recordings_dir)),
    ]
