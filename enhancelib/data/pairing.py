"""One piece into pairs: degrade the whole, cut it, and let its folder appear when complete."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from enhancelib import audio
from enhancelib.atomic import PARTIAL
from enhancelib.checks import first_problem
from enhancelib.data.catalog import Piece, Split
from enhancelib.degrade import codecs
from enhancelib.errors import ConfigError, EnhanceError, InputError

#: A transparent one, Bluetooth, streaming, both in a row, band-limited and noisy.
DEFAULT_CONDITIONS = (
    "lossless",
    "sbc-53",
    "sbc-20",
    "aac-64",
    "mp3-64",
    "mp3-128",
    "aac-64+sbc-20",
    "down-16000hz",
    "noise-white-20db",
)
_MIN_CODING_RATE = 44100
_DRAW = "random-"
_AROUND_S = 0.5
#: MPEG-1 Layer III from 32 kbit/s, and MPEG-2 below.
_MP3_SETTINGS = "24@22050hz", 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 256, 320
_PIECE_FILE = "piece.json"


class PairSettings(BaseModel):
    """Settings that decide the content of a folder of pairs; stored in it as ``settings.json``.

    ``probe_snr_db`` is what each condition does to a fixed burst of noise (:func:`_probe`): pairs
    made by codecs that behave differently, of another version say, are never mixed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_dir: str
    sample_rate: int = Field(44100, ge=8000, le=192000)
    duration_s: float = Field(3.0, ge=0.1, le=600.0)
    max_files: int | None = Field(None, ge=1)
    splits: tuple[Split, ...] | None = None
    conditions: tuple[str, ...] = Field(DEFAULT_CONDITIONS, min_length=1)
    seed: int = Field(0, ge=0)
    probe_snr_db: dict[str, float]
    layout: Literal[1] = 1

    @field_validator("conditions")
    @classmethod
    def _known_conditions(cls, conditions: tuple[str, ...]) -> tuple[str, ...]:
        conditions = tuple(
            name if _is_draw(name) else codecs.parse_condition(name).name for name in conditions
        )
        if len(set(conditions)) != len(conditions):
            raise ConfigError(f"a condition is named twice in {', '.join(conditions)}")
        return conditions

    @property
    def coding_rate(self) -> int:
        """The rate at which pieces are degraded, in Hz."""
        return max(self.sample_rate, _MIN_CODING_RATE)


def checked_settings(**values: object) -> PairSettings:
    """Settings with their probe filled in; an impossible value is refused by its name."""
    try:
        settings = PairSettings(**values, probe_snr_db={})
    except ValidationError as error:
        first = error.errors()[0]
        if isinstance(first.get("ctx", {}).get("error"), EnhanceError):
            raise first["ctx"]["error"] from None
        raise ConfigError(first_problem(error)) from None
    return settings.model_copy(update={"probe_snr_db": _probe(settings)})


def _probe(settings: PairSettings) -> dict[str, float]:
    """Condition → signal-to-noise ratio in dB, to 0.1 dB, of a decaying burst of stereo noise."""
    rng = np.random.default_rng(0)
    rate = settings.coding_rate
    time_s = np.arange(rate // 5) / rate
    burst = (0.3 * rng.standard_normal((2, len(time_s))) * np.exp(-20 * time_s)).astype(np.float32)
    ratios = {}
    for condition in settings.conditions:
        if condition != "lossless" and not _is_draw(condition):
            wave = codecs.degrade(burst, condition, sample_rate=rate, seed=settings.seed)
            error = float(np.sum((wave - burst).astype(np.float64) ** 2))
            signal = float(np.sum(burst.astype(np.float64) ** 2))
            ratios[condition] = round(10 * math.log10(signal / max(error, 1e-12)), 1)
    return ratios


@dataclasses.dataclass(frozen=True)
class PieceJob:
    """One piece to be turned into pairs."""

    piece: Piece
    output_dir: Path
    settings: PairSettings

    @property
    def folder(self) -> Path:
        """Where the finished pairs of the piece lie."""
        return self.output_dir / self.piece.folder

    @property
    def fingerprint(self) -> list[int]:
        """Size and time of the original, which tell whether it has changed."""
        status = self.piece.path.stat()
        return [status.st_size, status.st_mtime_ns]

    def is_complete(self) -> bool:
        """Whether the pairs of this very file are there."""
        try:
            return self._read()["fingerprint"] == self.fingerprint
        except (OSError, ValueError, KeyError):
            return False

    def rows(self) -> Iterator[dict[str, object]]:
        """Manifest rows of the finished piece."""
        made = self._read()
        common = {
            "piece": self.piece.name,
            "source": self.piece.source,
            "group": self.piece.group,
            "licence": self.piece.licence,
            "split": self.piece.split,
            "sample_rate": self.settings.sample_rate,
            "channels": made["channels"],
            "gain_db": made["gain_db"],
        }
        for index, seconds in enumerate(made["seconds"]):
            for condition in self.settings.conditions:
                yield common | {
                    "lossless": f"{self.piece.folder}/{_file_name(index, 'lossless')}",
                    "lossy": f"{self.piece.folder}/{_file_name(index, condition)}",
                    "condition": made.get("drawn", {})
                    .get(condition, {})
                    .get(str(index), condition),
                    "start_s": round(index * self.settings.duration_s, 6),
                    "seconds": seconds,
                }

    def _read(self) -> dict:
        return json.loads((self.folder / _PIECE_FILE).read_text(encoding="utf-8"))


def make_piece(job: PieceJob) -> str:
    """Make all pairs of a piece; the reason when it cannot be done, else an empty string."""
    partial = None
    try:
        partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=job.output_dir))
        _write_piece(job, partial)
        if job.folder.exists() and not job.is_complete():
            shutil.rmtree(job.folder)
        os.chmod(partial, 0o755)
        # Not by replacing_folder: of two workers at this piece, the first one's folder stays.
        partial.rename(job.folder)
    except (EnhanceError, OSError) as error:
        # Another worker may have finished the same piece meanwhile (Dask repeats lost tasks).
        return "" if job.is_complete() else _reason(error)
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
    return ""


def _reason(error: Exception) -> str:
    """What went wrong; NumPy says of a full disk only how many bytes are missing."""
    full = isinstance(error, OSError) and error.errno is None
    return f"cannot be written ({error}); is the disk full?" if full else str(error)


def _write_piece(job: PieceJob, folder: Path) -> None:
    """Degrade one piece under every condition and write its segments.

    Versions wait on disk, not in memory, until the loudest peak of all of them is known.
    """
    settings = job.settings
    fingerprint = job.fingerprint
    peak = 0.0
    drawn: dict[str, dict[int, str]] = {}
    for condition, wave in _versions(job, drawn):
        peak = max(peak, float(np.abs(wave).max()))
        np.save(folder / f"{condition}.npy", wave)
    gain = 1.0 if peak <= 1.0 else (1.0 - 2.0**-23) / peak
    for path in sorted(folder.glob("*.npy")):
        wave = np.load(path) * np.float32(gain)
        _write_segments(wave, folder, path.stem, settings)
        path.unlink()
    total_s = wave.shape[-1] / settings.sample_rate
    count = len(list(folder.glob("*.lossless.flac")))
    record = {
        "piece": job.piece.name,
        "fingerprint": fingerprint,
        "channels": wave.shape[0],
        "gain_db": round(20 * math.log10(gain), 4),
        "drawn": drawn,
        "seconds": [
            round(min(settings.duration_s, total_s - index * settings.duration_s), 6)
            for index in range(count)
        ],
    }
    (folder / _PIECE_FILE).write_text(json.dumps(record, indent=1), encoding="utf-8")


def _versions(job: PieceJob, drawn: dict[str, dict[int, str]]) -> Iterator[tuple[str, audio.Wave]]:
    """The whole piece as it was and under each condition, at the rate of the pairs.

    What was drawn for each segment is noted in ``drawn``.
    """
    settings = job.settings
    notes: list[str] = []
    original, rate = audio.load(job.piece.path, sample_rate=settings.coding_rate, notes=notes)
    if notes:  # a reference must be what was recorded, all of it
        raise InputError(notes[0])
    original = original[:2]  # of surround sound, the front pair: the codecs are stereo
    digest = hashlib.sha256(os.fsencode(f"{settings.seed}:{job.piece.name}")).digest()
    seed = int.from_bytes(digest[:4], "big")
    for condition in dict.fromkeys(("lossless", *settings.conditions)):
        if _is_draw(condition):
            rng = np.random.default_rng([seed, int(condition.removeprefix(_DRAW))])
            wave, drawn[condition] = _degrade_by_segment(original, rate, settings.duration_s, rng)
        else:
            wave = codecs.degrade(original, condition, sample_rate=rate, seed=seed)
        yield condition, audio.resample(wave, from_rate=rate, to_rate=settings.sample_rate)


def _degrade_by_segment(
    wave: audio.Wave, rate: int, duration_s: float, rng: np.random.Generator
) -> tuple[audio.Wave, dict[int, str]]:
    """Each segment under a condition of its own, coded with half a second around it."""
    degraded, names = np.empty_like(wave), {}
    around = round(_AROUND_S * rate)
    for index in range(math.ceil(wave.shape[1] / (duration_s * rate))):
        start, stop = round(index * duration_s * rate), round((index + 1) * duration_s * rate)
        first = max(0, start - around)
        names[index] = draw_condition(rng)
        part = codecs.degrade(
            wave[:, first : stop + around],
            names[index],
            sample_rate=rate,
            seed=int(rng.integers(1 << 31)),
        )
        degraded[:, start:stop] = part[:, start - first :][:, : stop - start]
    return degraded, names


def draw_condition(rng: np.random.Generator) -> str:
    """A condition at random: clean, codecs at any rate, both in a row, band limits, noise.

    One in eight leaves the original, so that a network also learns to do nothing.
    """

    def within(low: float, high: float) -> int:
        return round(low * (high / low) ** rng.random())

    stream = [
        f"mp3-{_MP3_SETTINGS[rng.integers(len(_MP3_SETTINGS))]}",
        f"aac-{within(32, 320)}",
        f"opus-{within(24, 256)}",
    ][rng.integers(3)]
    link = "aptx" if rng.random() < 0.1 else f"sbc-{within(10, 53)}"
    color = rng.choice(["white", "pink", "brown", "blue", "hum"])
    choices = {
        "lossless": 0.125,
        stream: 0.3,
        link: 0.2,
        f"{stream}+{link}": 0.125,
        f"down-{rng.choice([8000, 11025, 16000, 22050, 24000, 32000])}hz": 0.08,
        f"noise-{color}-{rng.integers(5, 41)}db": 0.12,
        f"clip-{rng.integers(1, 11)}db": 0.02,
        "old-recording": 0.01,
        f"sbc-{rng.integers(28, 54)}-loss-{rng.integers(1, 9)}pct": 0.02,
    }
    return codecs.parse_condition(str(rng.choice(list(choices), p=list(choices.values())))).name


def _write_segments(wave: audio.Wave, folder: Path, condition: str, settings: PairSettings) -> None:
    rate = settings.sample_rate
    for index, cut in enumerate(
        audio.segments(wave, sample_rate=rate, duration_s=settings.duration_s)
    ):
        path = folder / _file_name(index, condition)
        audio.save(path, cut, sample_rate=rate, subtype="PCM_24")


def _is_draw(condition: str) -> bool:
    return re.fullmatch(rf"{_DRAW}\d+", condition) is not None


def _file_name(index: int, condition: str) -> str:
    return f"{index:04d}.{condition}.flac"
