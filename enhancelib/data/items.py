"""Training items at scale: mixed from a corpus, degraded, written once into one array.

:mod:`enhancelib.data.item_plans` draws what each item is; here it is read, mixed, degraded in
stereo with half a second around it, and stored as one channel. Only the cuts that an item needs are
read. The array is made at its full size first and filled chunk by chunk; a finished chunk leaves a
small file, so that a run which is killed goes on where it was, and memory stays flat.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from enhancelib import parallel
from enhancelib.atomic import replacing, reserve_array, write_csv, write_text
from enhancelib.audio.waves import fit_length, resample
from enhancelib.data import mixing
from enhancelib.data.item_plans import RATE, ItemSettings, Part, Plan, Pool, draw, read_corpus
from enhancelib.degrade import codecs
from enhancelib.errors import ConfigError, InputError
from enhancelib.locking import only_one

if TYPE_CHECKING:
    import torch

__all__ = ["COLUMNS", "ItemSettings", "Items", "make_item", "prepare_items"]

COLUMNS = (
    "index",
    "condition",
    "kind",
    "source",
    "trusted_hz",
    "energies_only",
    "channel",
    "level_db",
    "parts",
    "wall_hz",
    "pieces",
)
#: Raised when the same settings would give other items.
VERSION = 2
_CHUNK = 16
_AROUND_S = 0.5
_FADE_S = 0.05
_TOP = 32767
_SILENT = 1e-4  # a side channel this far under the mean is none
_SAMPLES, _SCALES, _TABLE = "samples.npy", "scales.npy", "items.csv"


def prepare_items(
    corpus_dir: str | Path,
    output_dir: str | Path,
    settings: ItemSettings,
    *,
    n_jobs: int | None = None,
    scheduler: str | None = None,
) -> Path:
    """Make the items of a folder; pick up where an earlier run stopped.

    The folder then holds ``samples.npy``, int16 ``(count, 2, samples)`` with the lossy side first,
    ``scales.npy``, float32 ``(count,)``, by which they are multiplied, and ``items.csv`` with the
    columns :data:`COLUMNS`. Each pair has its own scale, so nothing clips; its rounding is 98 dB
    under its peak.

    Args:
        corpus_dir: a corpus with its ``manifest.csv``.
        output_dir: a new or empty folder, or one with items of the same corpus and settings.
        settings: what to make.
        n_jobs: processes; None means one per core.
        scheduler: address of a Dask scheduler that does the work instead.

    Returns:
        Path of ``items.csv``.

    Raises:
        ConfigError: the folder holds something else, or another run is writing there.
        InputError: the corpus is incomplete, or the disk has no room.
    """
    corpus_dir, output_dir = Path(corpus_dir), Path(output_dir)
    pieces = read_corpus(corpus_dir, settings.split)
    pool = Pool(pieces)
    facts = settings.model_dump() | {
        "corpus_sha256": _sha256(corpus_dir / "manifest.csv"),
        "version": VERSION,
    }
    _check_ours(output_dir, facts)
    with only_one(output_dir):
        _claim(output_dir, facts, settings)
        chunks = [
            _Chunk(start, corpus_dir, output_dir, settings, pool)
            for start in range(0, settings.count, _CHUNK)
        ]
        missing = [chunk for chunk in chunks if not chunk.done.is_file()]
        made = parallel.map(
            _make_chunk,
            missing,
            n_jobs=n_jobs,
            scheduler=scheduler,
            description="items",
            unit=f"{_CHUNK} items",
        )
        for _ in made:
            pass
        return _finish(output_dir, chunks)


class Items:
    """The items of a folder as (lossy, lossless) tensors; a map-style PyTorch data set.

    Each is float32 of shape (1, samples). ``rows`` are those of ``items.csv``, as text; beside the
    condition they say what an item may teach (``energies_only``, ``trusted_hz``). The array is
    mapped, not read: processes share what the operating system keeps of it.

    Args:
        folder: as :func:`prepare_items` left it.
        originals_only: leave out those that teach energies only.
        sample_rate: in Hz, to which they are resampled; None leaves them as they were made.

    Raises:
        InputError: no finished items there, or no original among them.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        originals_only: bool = False,
        sample_rate: int | None = None,
    ):
        self.root = Path(folder)
        self.table = self.root / _TABLE
        if not self.table.is_file():
            raise InputError(f"{self.root}: no finished items; run tools/research/items.py (again)")
        with open(self.table, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.rows = [row for row in rows if not (originals_only and int(row["energies_only"]))]
        if not self.rows:
            raise InputError(f"{self.root}: no original among the items; make more of them")
        self.sample_rate = sample_rate or RATE
        self._scales = np.load(self.root / _SCALES)
        self._samples: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        import torch  # only here, so that the workers that make items start quickly

        if self._samples is None:
            self._samples = np.load(self.root / _SAMPLES, mmap_mode="r")
        place = int(self.rows[index]["index"])
        pair = self._samples[place].astype(np.float32) * self._scales[place]
        pair = resample(pair, from_rate=RATE, to_rate=self.sample_rate)
        lossy, lossless = torch.from_numpy(pair)
        return lossy[None], lossless[None]

    @property
    def conditions(self) -> list[str]:
        """Conditions of the items, in order, without rates and settings: ``noise+mp3``, say."""
        return [
            "+".join(step.partition("-")[0] for step in row["condition"].split("+"))
            for row in self.rows
        ]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_samples": None}  # a loader's process maps the file itself


# ---------------------------------------------------------------- one item


def make_item(
    plan: Plan, corpus_dir: Path, settings: ItemSettings
) -> tuple[np.ndarray, dict[str, object]]:
    """Make the audio of one plan.

    Args:
        plan: what it is.
        corpus_dir: where its pieces lie.
        settings: its length and rate.

    Returns:
        float32 ``(2, samples)``, the lossy side and the lossless one, and its row without index.

    Raises:
        InputError: a piece cannot be read.
    """
    around = round(_AROUND_S * settings.sample_rate)
    original = _mix(plan, corpus_dir, settings)
    lossy = codecs.degrade(
        original, plan.condition, sample_rate=settings.sample_rate, seed=plan.seed
    )
    within = slice(around, around + settings.samples)
    channel = plan.channel
    if channel == "side":  # of a mono recording there is none
        side, mean = (mixing.pick_channel(original, name) for name in ("side", "mean"))
        channel = "side" if np.abs(side).max() > _SILENT * np.abs(mean).max() else "mean"
    pair = np.concatenate([mixing.pick_channel(wave, channel) for wave in (lossy, original)])
    row = {
        "condition": plan.condition,
        "kind": plan.kind,
        "source": plan.parts[0].material.source,
        "trusted_hz": round(plan.trusted_hz),
        "energies_only": int(plan.energies_only),
        "channel": channel,
        "level_db": round(plan.level_db, 2),
        "parts": len(plan.parts),
        "wall_hz": round(plan.wall_hz),
        "pieces": "|".join(part.material.path for part in plan.all_parts),
    }
    return pair[:, within], row


def _mix(plan: Plan, corpus_dir: Path, settings: ItemSettings) -> np.ndarray:
    """The original with half a second on either side, float32 (2, samples)."""
    rate = settings.sample_rate
    cuts = [_read(part, corpus_dir, settings) for part in plan.parts]
    wave = mixing.add(cuts, [part.gain_db for part in plan.parts])
    if plan.joined is not None:
        second = mixing.add([_read(plan.joined, corpus_dir, settings)], [plan.joined.gain_db])
        at, fade = round((plan.join_s + _AROUND_S) * rate), round(_FADE_S * rate)
        wave = mixing.join(wave, second, at, fade=fade)
    if plan.drive_db:
        wave = mixing.limit(wave, plan.drive_db, sample_rate=rate)
    if plan.slope is not None:
        wave = mixing.roll_off(wave, *plan.slope, sample_rate=rate)
    if plan.hiss_db:
        wave = mixing.add_hiss(wave, plan.hiss_db, rng=np.random.default_rng([plan.seed, 1]))
    if plan.wall_hz:
        wave = mixing.brick_wall(wave, plan.wall_hz, sample_rate=rate)
    wave = mixing.to_level(wave, plan.level_db)
    if plan.dip_s is not None:
        start, stop = (round((second + _AROUND_S) * rate) for second in plan.dip_s)
        wave = mixing.dip(wave, start, stop, fade=round(_FADE_S * rate))
    return wave


def _read(part: Part, corpus_dir: Path, settings: ItemSettings) -> np.ndarray:
    """A cut with half a second on either side, zeros where the piece has nothing."""
    path = corpus_dir / part.material.path
    start_s = part.start_s - _AROUND_S
    samples = settings.samples + 2 * round(_AROUND_S * settings.sample_rate)
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            first, wanted = round(start_s * rate), -(-samples * rate // settings.sample_rate)
            begin = min(max(first, 0), file.frames)
            file.seek(begin)
            cut = file.read(max(0, first + wanted - begin), dtype="float32", always_2d=True).T
    except (soundfile.LibsndfileError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({error}); run make corpus again") from None
    cut = np.repeat(cut, 2, axis=0) if len(cut) == 1 else cut[:2]
    cut = fit_length(np.pad(cut, ((0, 0), (begin - first, 0))), wanted)
    return fit_length(resample(cut, from_rate=rate, to_rate=settings.sample_rate), samples)


# ---------------------------------------------------------------- chunks and files


@dataclasses.dataclass(frozen=True)
class _Chunk:
    """Items next to each other, made by one process."""

    start: int
    corpus_dir: Path
    output_dir: Path
    settings: ItemSettings
    pool: Pool

    @property
    def done(self) -> Path:
        """Path of the file that says, by being there, that the block is finished."""
        return self.output_dir / "chunks" / f"{self.start // _CHUNK:06d}.json"


def _make_chunk(chunk: _Chunk) -> None:
    """Make the items of a chunk, write them into their places, and say so last."""
    settings, rows = chunk.settings, []
    stop = min(chunk.start + _CHUNK, settings.count)
    for index in range(chunk.start, stop):
        plan = draw(settings.rng(index), chunk.pool, seconds=settings.seconds)
        pair, row = make_item(plan, chunk.corpus_dir, settings)
        scale = np.float32(max(float(np.abs(pair).max()), 1e-9) / _TOP)
        _write_row(chunk.output_dir / _SAMPLES, index, np.round(pair / scale).astype(np.int16))
        _write_row(chunk.output_dir / _SCALES, index, np.array(scale))
        rows.append({"index": index, **row})
    write_text(chunk.done, json.dumps(rows))


def _write_row(path: Path, index: int, content: np.ndarray) -> None:
    """Write one entry of an array on disk; a full disk is an error here, not a killed process."""
    offset = np.load(path, mmap_mode="r").offset + index * content.nbytes
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(content.tobytes())


def _check_ours(folder: Path, facts: dict[str, object]) -> None:
    """Refuse a folder with other content or with other items."""
    found = folder / "settings.json"
    if found.is_file():
        try:
            before = json.loads(found.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = {}
        if before != facts:
            odd = [name for name in facts if before.get(name) != facts[name]]
            raise ConfigError(
                f"{folder}: holds items of another {', '.join(odd) or 'kind'}; name another folder"
            )
    elif folder.exists() and (
        not folder.is_dir() or any(not entry.name.startswith(".") for entry in folder.iterdir())
    ):
        raise ConfigError(f"{folder}: holds something else; name a new or an empty folder")


def _claim(folder: Path, facts: dict[str, object], settings: ItemSettings) -> None:
    """Make the folder ours and its arrays at their full size, if they are not."""
    _check_ours(folder, facts)
    write_text(folder / "settings.json", json.dumps(facts, indent=1))  # first: it says whose it is
    (folder / "chunks").mkdir(exist_ok=True)
    for name, dtype, shape in (
        (_SAMPLES, np.int16, (settings.count, 2, settings.samples)),
        (_SCALES, np.float32, (settings.count,)),
    ):
        if not (folder / name).is_file():
            _make_array(folder / name, dtype, shape)


def _make_array(path: Path, dtype: type, shape: tuple[int, ...]) -> None:
    """Make an array of zeros for which the disk has reserved its room."""
    try:
        with replacing(path) as partial:
            reserve_array(partial, dtype, shape)
    except OSError as error:
        raise InputError(
            f"{path}: no room for it ({error.strerror}); free some, or make fewer items"
        ) from None


def _finish(folder: Path, chunks: Iterable[_Chunk]) -> Path:
    """Write the table of all items."""
    rows = (row for chunk in chunks for row in json.loads(chunk.done.read_text(encoding="utf-8")))
    return write_csv(folder / _TABLE, COLUMNS, rows)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
