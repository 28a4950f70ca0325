"""LMMS: the finished songs that come with it, and projects of our own rendered by it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import tempfile
from pathlib import Path

from enhancelib import audio
from enhancelib.errors import InputError
from tools.corpus.recipe import RATE, Recipe
from tools.corpus.sources import sequencer
from tools.corpus.sources.midi import LONGEST_S

# LMMS asks for real-time priority, and root gets it: rendering would then halt all else on the
# machine. Without this capability it stays an ordinary process; others never get it anyway.
_POLITE = ("setpriv", "--bounding-set", "-sys_nice") if os.geteuid() == 0 else ()

# LMMS often crashes while it ends (5 of 10 times after one song). The file is whole by then, and it
# has said that it is done; now and then these words are lost with it, and it is asked again.
_ATTEMPTS = 5

PROJECTS = Path("/usr/share/lmms/projects")


@dataclasses.dataclass(frozen=True)
class Songs:
    """Songs of one author, or of several who share one, under one licence of LMMS's copyright file.

    Attributes:
        handle: how the author signs the files.
        split: all songs of the handle are in it.
        licence, author: as ``/usr/share/doc/lmms/copyright`` has them.
        projects: files under :data:`PROJECTS`, without their suffix.
    """

    handle: str
    split: str
    licence: str
    author: str
    projects: tuple[str, ...]


_DUO = "Alf42red, CapDan"
_DUO_NAMES = "Armin Heller (Alf42red), Der Daniel (CapDan)"
_CAPDAN = "demos/CapDan/CapDan"
SONGS = (
    Songs(
        *(_DUO, "train", "CC-BY-SA-3.0", _DUO_NAMES),
        ("demos/Alf42red-Mauiwowi", f"{_CAPDAN}-TwilightArea-OriginalByAlf42red"),
    ),
    Songs(
        *(_DUO, "train", "Artistic-2.0", _DUO_NAMES),
        (
            f"{_CAPDAN}-ReggaeTry",
            f"{_CAPDAN}-ReggaetonTry",
            f"{_CAPDAN}-ZeroSumGame-OriginalByZakarra",
        ),
    ),
    Songs(
        *("oglsdl", "train", "Artistic-2.0", "Ümit (oglsdl)"),
        ("demos/Oglsdl-Dr8v2", "demos/Oglsdl-PpTrip"),
    ),
    Songs(
        *("TameAnderson", "train", "Artistic-2.0", "tame anderson"),
        ("demos/TameAnderson-MakeMe",),
    ),
    Songs("Shovon", "train", "GPL-2+", "Shovon", ("demos/Shovon-ProgressiveHousePluckDemo",)),
    Songs(
        *("StrictProduction", "train", "GPL-2+", "StrictProduction"),
        ("demos/StrictProduction-DearJonDoe",),
    ),
    Songs("DirtyLove", "train", "GPL-2+", "the author of DirtyLove", ("shorties/DirtyLove",)),
    Songs(
        *("Surrender", "train", "Artistic-2.0", "Peter Asplund (Surrender)"),
        ("shorties/Surrender-Main",),
    ),
    Songs("Greshz", "train", "Artistic-2.0", "Greshz", ("shorties/Greshz-CoolSnip",)),
    Songs("Crunk", "train", "Artistic-2.0", "the author of Crunk", ("shorties/Crunk(Demo)",)),
    Songs(
        *("socceroos", "validation", "Artistic-2.0", "Sam (socceroos)"),
        ("demos/Socceroos-Progress",),
    ),
    Songs(
        *("Impulslogik", "validation", "Artistic-2.0", "Impulslogik"),
        ("demos/Impulslogik-Zen",),
    ),
)
"""What the corpus has. The other authors are in the test set or in the excerpts."""


@dataclasses.dataclass(frozen=True)
class SongRecipe(Recipe):
    """A finished song, rendered as its author left it."""

    project: Path

    def render(self) -> audio.Wave:
        """Render it; of a long one the first four minutes."""
        return render(self.project, oversampling=2, interpolation="sincmedium")


def song_recipes() -> list[Recipe]:
    """Every song of :data:`SONGS`."""
    return [
        SongRecipe(
            Path(project).name,
            f"lmms-{songs.handle}",
            songs.licence,
            f"lmms/{songs.handle}",
            songs.split,
            project_file(project),
            kind="song",
            author=songs.author,
        )
        for songs in SONGS
        for project in songs.projects
    ]


def project_file(song: str) -> Path:
    """The file of a song that is named without its suffix, ``.mmpz`` or ``.mmp``."""
    packed = PROJECTS / f"{song}.mmpz"
    return packed if packed.exists() else PROJECTS / f"{song}.mmp"


def render(project: Path, *, oversampling: int = 1, interpolation: str = "linear") -> audio.Wave:
    """Render an LMMS project: floats, which may exceed full scale, then normalised.

    Args:
        project: ``.mmp`` or ``.mmpz``.
        oversampling: 1, 2, 4 or 8.
        interpolation: of samples: ``"linear"``, ``"sincfastest"``, ``"sincmedium"`` or
            ``"sincbest"``.

    Raises:
        InputError: LMMS failed, or nothing sounds.
    """
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder, "sound.wav")
        command = [*_POLITE, "lmms", "--allowroot", "render", project, "--format", "wav", "--float"]
        command += ["--samplerate", str(RATE), "--oversampling", str(oversampling)]
        for _ in range(_ATTEMPTS):
            run = subprocess.run(
                [*command, "--interpolation", interpolation, "--output", sound],
                env=os.environ | {"QT_QPA_PLATFORM": "offscreen", "HOME": folder},
                capture_output=True,
                text=True,
                errors="replace",
            )
            done = "Done" in run.stdout and sound.exists()
            if done or run.returncode >= 0:  # not ended by a signal: it would say the same again
                break
        if not done:
            raise InputError(f"{project}: LMMS failed: {run.stderr.strip()[-200:]}")
        wave, _ = audio.load(sound, duration_s=LONGEST_S)
    return sequencer.trimmed(sequencer.stereo(wave))
