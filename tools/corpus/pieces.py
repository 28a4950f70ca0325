"""What the test set and the new excerpts are made of, and the rules by which stretches are chosen.

`Shelf` reads what Debian packages hold and lets LMMS render songs. A piece is a function that
takes the shelf and returns a stretch with its start; the rules are these:

typical   the stretch whose level is nearest the median of all stretches of that length
quiet     the quietest stretch above -50 dBFS, at the level that it has in the piece, or under
whole     all of it, at most 10 s; under 6 s it comes again after half a second, 12 dB softer
joined    several recordings with pauses of 0.2 s

All but the quiet ones peak at -1 dBFS. A mono recording stands in the middle, as a player of files
would send it to headphones: both channels hold the same, and the table says `channels` 1.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from enhancelib import audio
from enhancelib.atomic import replacing
from enhancelib.errors import InputError
from tools.corpus import scores

RATE = 44100
LONGEST_S, SHORTEST_S = 10.0, 6.0
_LEVELS_DB = (-50.0, 0.0)
"""Stretches outside are silence, or an effect of LMMS that ran away."""
CSOUNDQT = "/usr/share/csoundqt/Examples/SourceMaterials"
CSOUND = "/usr/share/doc/csound-doc/html/examples"
ALSA = "/usr/share/sounds/alsa"
PYO = "/usr/lib/python3/dist-packages/pyo/examples/snds"
STAMPS = "/usr/share/tuxpaint/stamps"
SUPERCOLLIDER = "/usr/share/SuperCollider/sounds"
SONGS = "/usr/share/lmms/projects"
RED_ZEPPELIN = "/usr/share/sounds/sf2/Red_Zeppelin_4_LV2.sf2"
FLUID = "/usr/share/sounds/sf2/FluidR3_GM.sf2"


@dataclasses.dataclass(frozen=True)
class Shelf:
    """Where packages are unpacked (`/` if installed), and where LMMS's renderings are kept."""

    root: Path
    songs: Path

    def find(self, path: str) -> Path:
        """A file of a package.

        Raises:
            InputError: it is not there.
        """
        found = self.root / path.lstrip("/")
        for candidate in (found, found.with_name(f"{found.name}.gz")):
            if candidate.exists():
                return candidate
        raise InputError(
            f"{found}: not there; install the packages named in tools/corpus/pieces.py"
        )

    def recording(self, path: str) -> audio.Wave:
        """A recording, (2, samples) at 44.1 kHz; Debian's documentation packs them with gzip."""
        found = self.find(path)
        with tempfile.TemporaryDirectory() as folder:
            if found.suffix == ".gz":
                plain = Path(folder, found.stem)
                plain.write_bytes(gzip.decompress(found.read_bytes()))
                found = plain
            wave, rate = audio.load(found)
        wave = audio.resample(wave, from_rate=rate, to_rate=RATE)
        return np.repeat(wave, 2, axis=0) if len(wave) == 1 else wave[:2]

    def song(self, name: str) -> audio.Wave:
        """A song of LMMS, rendered once: floats, which may exceed full scale.

        Raises:
            InputError: LMMS is missing or failed.
        """
        score = self.find(f"{SONGS}/{name}.mmpz")
        made = self.songs / f"{score.stem}.wav"
        if not made.exists():
            self.songs.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory() as folder, replacing(made) as sound:
                command = ["lmms", "-r", score, "--allowroot", "-f", "wav", "-s", str(RATE)]
                place = {"QT_QPA_PLATFORM": "offscreen", "HOME": folder}
                try:
                    subprocess.run(
                        [*command, "-x", "2", "-i", "sincmedium", "-a", "-o", sound],
                        env=os.environ | place, capture_output=True, check=True,
                    )  # fmt: skip
                except (OSError, subprocess.CalledProcessError) as error:
                    raise InputError(f"{score}: LMMS failed ({error})") from None
        return audio.load(made)[0]


SUNG = ("sung", "choir")
"""Names of pieces in which somebody sings."""
Stretch = tuple[audio.Wave, float]
"""A wave and where it starts, in seconds."""
Maker = Callable[[Shelf], Stretch]


@dataclasses.dataclass(frozen=True)
class Piece:
    """One file of a set: what it is called, who made it, and how it is made."""

    name: str
    kind: str
    source: str
    author: str
    licence: str
    cut_from: str
    make: Maker
    group: str = ""

    @property
    def heard_as(self) -> str:
        """Its kind in results, which never share a mean: see :mod:`enhancelib.evaluate.kinds`.

        ``kind`` is what it was taken for, with which its file's name begins.
        """
        if self.name in SUNG:
            return "singing"
        if self.kind in ("voice", "rendered"):
            return {"voice": "speech"}.get(self.kind, self.kind)
        return "song" if self.source == "lmms" else "recorded"


def at_peak(wave: audio.Wave, peak_db: float = -1.0) -> audio.Wave:
    """The wave at a peak in dBFS."""
    return (wave * (10 ** (peak_db / 20) / np.abs(wave).max())).astype(np.float32)


def levels(wave: audio.Wave, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Starts in s, one second apart, and levels in dBFS of the stretches that may be chosen.

    Left out is what is too quiet, and what is louder than full scale in any second.
    """
    power = np.mean(wave[:, : wave.shape[1] // RATE * RATE] ** 2, axis=0)
    each = power.reshape(-1, RATE).mean(axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(each, round(seconds))
    found = 10 * np.log10(windows.mean(axis=1) + 1e-12)
    loudest = 10 * np.log10(windows.max(axis=1) + 1e-12)
    usable = np.flatnonzero((found > _LEVELS_DB[0]) & (loudest < _LEVELS_DB[1]))
    return usable.astype(float), found[usable]


def median_start(wave: audio.Wave, seconds: float) -> float:
    """Start of the stretch whose level is nearest the median of all; of equals the first."""
    starts, found = levels(wave, seconds)
    return float(starts[np.argmin(np.abs(found - np.median(found)))])


def cut(wave: audio.Wave, start_s: float, seconds: float) -> audio.Wave:
    """So many seconds from there, with 5 ms of fade at both ends."""
    part = wave[:, round(start_s * RATE) : round((start_s + seconds) * RATE)].copy()
    fade = np.linspace(0, 1, round(0.005 * RATE), dtype=np.float32)
    part[:, : len(fade)] *= fade
    part[:, -len(fade) :] *= fade[::-1]
    return part


def typical(
    load: Callable[[Shelf], audio.Wave], seconds: float = 8.0, part: tuple[int, int] = (0, 1)
) -> Maker:
    """The typical stretch of a piece, or of one of several equal parts of it (index, count)."""

    def make(shelf: Shelf) -> Stretch:
        wave = load(shelf)
        index, count = part
        first = wave.shape[1] // count * index
        span = wave[:, first : first + wave.shape[1] // count]
        start_s = median_start(span, seconds)
        return at_peak(cut(span, start_s, seconds)), first / RATE + start_s

    return make


def quiet(load: Callable[[Shelf], audio.Wave], seconds: float = 8.0) -> Maker:
    """The quietest stretch; the louder peak, of it or of the typical stretch, is at -1 dBFS."""

    def make(shelf: Shelf) -> Stretch:
        wave = load(shelf)
        usual = cut(wave, median_start(wave, seconds), seconds)
        starts, found = levels(wave, seconds)
        start_s = float(starts[np.argmin(found)])
        part = cut(wave, start_s, seconds)
        peak = max(np.abs(usual).max(), np.abs(part).max())
        return (part * (10 ** (-1 / 20) / peak)).astype(np.float32), start_s

    return make


def whole(load: Callable[[Shelf], audio.Wave], *, peak_db: float | None = -1.0) -> Maker:
    """All of a short recording; ``None`` leaves its level as it is."""

    def make(shelf: Shelf) -> Stretch:
        wave = load(shelf)
        wave = wave if peak_db is None else at_peak(wave, peak_db)
        if wave.shape[1] < SHORTEST_S * RATE:
            pause = np.zeros((2, RATE // 2), dtype=np.float32)
            softer = wave * np.float32(10 ** (-12 / 20))
            wave = np.concatenate([wave, pause, softer], axis=1)
        return cut(wave, 0.0, min(LONGEST_S, wave.shape[1] / RATE)), 0.0

    return make


def joined(*paths: str, seconds: float = LONGEST_S) -> Maker:
    """Recordings of one voice or player, each at the same peak, with pauses."""

    def make(shelf: Shelf) -> Stretch:
        pause = np.zeros((2, round(0.2 * RATE)), dtype=np.float32)
        parts = [wave for path in paths for wave in (at_peak(shelf.recording(path)), pause)]
        wave = np.concatenate(parts[:-1], axis=1)
        return cut(wave, 0.0, min(seconds, wave.shape[1] / RATE)), 0.0

    return make


def looped(path: str, times: int) -> Maker:
    """A loop that closes on itself, so many times."""
    return lambda shelf: (at_peak(np.tile(shelf.recording(path), times)), 0.0)


def drums(pattern: str, seed: int, *, peak_db: float = -1.0) -> Maker:
    """The Red Zeppelin kit in one of the patterns, 8 s from its beginning."""

    def make(shelf: Shelf) -> Stretch:
        score = scores.PATTERNS[pattern]
        notes = score.notes(seconds=8.0, seed=seed)
        wave = scores.play(notes, shelf.find(RED_ZEPPELIN), beats_per_minute=score.beats_per_minute)
        return at_peak(cut(wave, 0.0, 8.0), peak_db), 0.0

    return make


def tune(
    notes: Sequence[scores.Note], *, beats_per_minute: float, programs: Sequence[int]
) -> Maker:
    """A tune played with FluidR3, at most 14 s of it."""

    def make(shelf: Shelf) -> Stretch:
        wave = scores.play(
            notes, shelf.find(FLUID), beats_per_minute=beats_per_minute, programs=programs
        )
        return at_peak(cut(wave, 0.0, min(14.0, wave.shape[1] / RATE))), 0.0

    return make


def _recording(path: str) -> Callable[[Shelf], audio.Wave]:
    return lambda shelf: shelf.recording(path)


def _song(name: str) -> Callable[[Shelf], audio.Wave]:
    """LMMS takes three quarters of a minute for a song, and a song may be cut several times."""
    return functools.lru_cache(1)(lambda shelf: shelf.song(name))


#: Song of LMMS's package → author, licence, as its copyright file has them. LMMS's own
#: samples are Vorbis files, which all but Skiessi-C64 and Jousboxx-BuzzerBeater play among other
#: things. Skiessi-222 is left out: a hi-hat that ends at 14 kHz is all there is up there.
_SONGS = {
    "demos/Skiessi/Skiessi-Onion": ("Skiessi", "CC-BY-SA-4.0"),
    "demos/Skiessi/Skiessi-C64": ("Skiessi", "CC-BY-SA-4.0"),
    "demos/Saber-FinalStep": ("Saber Rastikerdar", "BSD-2-Clause"),
    "demos/Thomasso-AxeFromThe80s": ("Thomasso", "Artistic-2.0"),
    "demos/Settel-InnerRecreation": ("Achim Settelmeier", "Artistic-2.0"),
    "demos/Momo64-esp": ("mauro (Momo64)", "Artistic-2.0"),
    "demos/Jousboxx-BuzzerBeater": ("Jousboxx", "CC-BY-SA-4.0"),
    "demos/EsoXLB-CPU": ("E.SoX (lowbudget)", "Artistic-2.0"),
}


def _of_song(name: str, piece: str, kind: str, make: Maker, group: str = "") -> Piece:
    return Piece(piece, kind, "lmms", *_SONGS[name], f"{name}.mmpz", make, group)


def _of_csoundqt(piece: str, kind: str, file: str, make: Maker | None = None) -> Piece:
    facts = ("csoundqt-examples", "contributors to CsoundQt", "LGPL-2.1+", file)
    return Piece(piece, kind, *facts, make or whole(_recording(f"{CSOUNDQT}/{file}")))


def _of_kit(pattern: str, kind: str, make: Maker) -> Piece:
    facts = ("avldrums.lv2-soundfont", "Glen MacArthur", "CC-BY-SA-3.0")
    return Piece(
        f"red_zeppelin_{pattern.replace(' ', '_')}", kind, *facts, f"Red Zeppelin, {pattern}", make
    )


def _of_pyo(piece: str, kind: str, file: str) -> Piece:
    facts = ("python3-pyo", "Olivier Bélanger", "LGPL-3.0", file)
    return Piece(piece, kind, *facts, whole(_recording(f"{PYO}/{file}")))


_TUXPAINT = ("tuxpaint-stamps-default", "contributors to Tux Paint", "GPL-2")
_PROMPTS = ("alsa-utils", "contributors to ALSA", "GPL-2")
_WORDS = tuple(
    f"{STAMPS}/{word}_desc_pt_BR.wav"
    for word in (
        *("animals/insects/cartoon/butterfly", "food/fruit/cartoon/raspberry"),
        *("food/spices/ginger", "food/vegetables/chilepepper", "food/vegetables/corn"),
        *("food/vegetables/eggplant", "food/vegetables/garlics", "food/vegetables/lettuce"),
        *("food/vegetables/mushroom", "food/vegetables/onion", "food/vegetables/pepper"),
        *("food/vegetables/potato", "food/vegetables/pumpkin_small"),
        *("food/vegetables/redlettuce", "food/vegetables/yam"),
    )
)
_GUITAR = _recording(f"{CSOUNDQT}/ClassicalGuitar.wav")
_BELL = _recording(f"{CSOUNDQT}/bell.aiff")

TESTSET: tuple[Piece, ...] = (
    *(
        _of_song(name, name.rpartition("-")[2].lower(), "song", typical(_song(name)))
        for name in list(_SONGS)[:6]
    ),
    *(
        _of_csoundqt(
            f"guitar_{part}", "recorded", "ClassicalGuitar.wav", typical(_GUITAR, 8, (part - 1, 2))
        )
        for part in (1, 2)
    ),
    _of_csoundqt("guitar_3", "recorded", "ClassGuit.wav"),
    _of_csoundqt("violins", "recorded", "violins.wav"),
    _of_csoundqt("flute", "recorded", "flute.wav"),
    _of_csoundqt("choir", "recorded", "choir.wav"),
    _of_pyo("flute_phrase", "recorded", "flute.aif"),
    *(
        _of_kit(name, "drums", drums(name, seed))
        for seed, name in enumerate(("rock", "funk", "half time", "toms"))
    ),
    _of_csoundqt("808", "drums", "808loop.wav"),
    _of_pyo("loop", "drums", "drumloop.wav"),
    *(
        Piece(
            f"prompts_{index}", "voice", *_PROMPTS, " + ".join(names),
            joined(*(f"{ALSA}/{name}.wav" for name in names)),
        )
        for index, names in enumerate(
            (
                ("Front_Center", "Front_Left", "Front_Right", "Side_Left"),
                ("Rear_Center", "Rear_Left", "Rear_Right", "Side_Right"),
            ),
            start=1,
        )
    ),
    Piece("words_1", "voice", *_TUXPAINT, "7 words in Portuguese", joined(*_WORDS[:7])),
    Piece("words_2", "voice", *_TUXPAINT, "8 words in Portuguese", joined(*_WORDS[7:])),
    _of_csoundqt("sung", "voice", "AndItsAll.wav"),
    _of_csoundqt("fox", "voice", "fox.wav"),
    Piece(
        "walk", "voice", "supercollider-common", "contributors to SuperCollider", "GPL-3+",
        "a11wlk01.wav", whole(_recording(f"{SUPERCOLLIDER}/a11wlk01.wav")),
    ),
    *(
        _of_song(name, name.rpartition("-")[2].lower(), "sparse", quiet(_song(name)))
        for name in (
            "demos/Skiessi/Skiessi-Onion", "demos/Saber-FinalStep", "demos/Thomasso-AxeFromThe80s",
        )
    ),
    _of_csoundqt("viola", "sparse", "BratscheMono.wav"),
    _of_csoundqt("bell", "sparse", "bell.aiff", whole(_BELL, peak_db=None)),
    _of_kit("soft", "sparse", drums("soft", 5, peak_db=-20.0)),
)  # fmt: skip

_FLUID = ("fluid-soundfont-gm", "MIT")
_CSOUND = ("csound-doc", "GFDL-1.2+")

EXCERPTS: tuple[Piece, ...] = (
    *(
        _of_song(
            name, f"{name.rpartition('-')[2].lower()}_{part}", "song",
            typical(_song(name), 12, (part - 1, 3)), f"lmms_{name.rpartition('-')[2].lower()}",
        )
        for name in ("demos/Jousboxx-BuzzerBeater", "demos/EsoXLB-CPU")
        for part in (1, 2, 3)
    ),
    Piece(
        "mathews", "voice", _CSOUND[0], "Max Mathews and contributors to Csound", _CSOUND[1],
        "Mathews.wav", typical(_recording(f"{CSOUND}/Mathews.wav"), 12),
    ),
    Piece(
        "oboe_flute", "recorded", _CSOUND[0], "contributors to Csound", _CSOUND[1],
        "oboe.aiff + flute.aiff", joined(f"{CSOUND}/oboe.aiff", f"{CSOUND}/flute.aiff", seconds=15),
    ),
    Piece(
        "loop", "drums", _CSOUND[0], "contributors to Csound", _CSOUND[1],
        "drumsSlp.wav, three times", looped(f"{CSOUND}/drumsSlp.wav", 3),
    ),
    Piece(
        "guitar", "rendered", _FLUID[0], "anonymous (19th century); Frank Wen", _FLUID[1],
        "Romance, rendered", tune(scores.romance(), beats_per_minute=96, programs=[24]),
    ),
    Piece(
        "strings", "rendered", _FLUID[0], "Johann Pachelbel; Frank Wen", _FLUID[1],
        "Canon in D, rendered", tune(scores.canon(), beats_per_minute=100, programs=[48, 48]),
    ),
    Piece(
        "piano", "rendered", _FLUID[0], "Johann Sebastian Bach; Frank Wen", _FLUID[1],
        "Prelude in C, BWV 846, rendered",
        tune(scores.prelude(), beats_per_minute=84, programs=[0]),
    ),
)  # fmt: skip
