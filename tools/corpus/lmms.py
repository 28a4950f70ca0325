"""LMMS: the finished songs that come with it, and projects of our own rendered by it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import tempfile
from pathlib import Path

from enhancelib import audio
from enhancelib.errors import InputError
from tools.corpus import sequencer
from tools.corpus.midi import LONGEST_S
from tools.corpus.recipe import RATE, Recipe

PROJECTS = Path("/usr/share/lmms/projects")

SONGS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "Alf42red, CapDan": (
        "train",
        "CC-BY-SA-3.0 or Artistic-2.0 (per song)",
        "Armin Heller (Alf42red), Der Daniel (CapDan)",
        (
            "demos/Alf42red-Mauiwowi",
            "demos/CapDan/CapDan-ReggaeTry",
            "demos/CapDan/CapDan-ReggaetonTry",
            "demos/CapDan/CapDan-TwilightArea-OriginalByAlf42red",
            "demos/CapDan/CapDan-ZeroSumGame-OriginalByZakarra",
        ),
    ),
    "oglsdl": ("train", "Artistic-2.0", "Ümit (oglsdl)", ("demos/Oglsdl-Dr8v2", "demos/Oglsdl-PpTrip")),
    "TameAnderson": ("train", "Artistic-2.0", "tame anderson", ("demos/TameAnderson-MakeMe",)),
    "Shovon": ("train", "GPL-2+", "Shovon", ("demos/Shovon-ProgressiveHousePluckDemo",)),
    "StrictProduction": (
        "train",
        "GPL-2+",
        "StrictProduction",
        ("demos/StrictProduction-DearJonDoe",),
    ),
    "DirtyLove": ("train", "GPL-2+", "the author of DirtyLove", ("shorties/DirtyLove",)),
    "Surrender": ("train", "Artistic-2.0", "Peter Asplund (Surrender)", ("shorties/Surrender-Main",)),
    "Greshz": ("train", "Artistic-2.0", "Greshz", ("shorties/Greshz-CoolSnip",)),
    "Crunk": ("train", "Artistic-2.0", "the author of Crunk", ("shorties/Crunk(Demo)",)),
    "socceroos": ("validation", "Artistic-2.0", "Sam (socceroos)", ("demos/Socceroos-Progress",)),
    "Impulslogik": ("validation", "Artistic-2.0", "Impulslogik", ("demos/Impulslogik-Zen",)),
}
"""Author → split, licence, name, songs. The other authors are in the test set or the excerpts."""


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
            Path(song).name,
            f"lmms-{handle}",
            licence,
            f"lmms/{handle}",
            split,
            project_file(song),
            kind="song",
            author=author,
        )
        for handle, (split, licence, author, songs) in SONGS.items()
        for song in songs
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
        command = ["lmms", "--allowroot", "render", project, "--format", "wav", "--float"]
        command += ["--samplerate", str(RATE), "--oversampling", str(oversampling)]
        run = subprocess.run(
            [*command, "--interpolation", interpolation, "--output", sound],
            env=os.environ | {"QT_QPA_PLATFORM": "offscreen", "HOME": folder},
            capture_output=True,
            text=True,
            errors="replace",
        )
        if run.returncode or not sound.exists():
            raise InputError(f"{project}: LMMS failed: {run.stderr.strip()[-200:]}")
        wave, _ = audio.load(sound, duration_s=LONGEST_S)
    return sequencer.trimmed(sequencer.stereo(wave))
