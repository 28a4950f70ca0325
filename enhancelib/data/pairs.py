"""Pairs of lossless and lossy audio: made once from a folder of music, read many times.

A pair is two FLAC files of equal length: a segment of the original and the same samples after a
condition of :mod:`enhancelib.degrade.codecs`. Three decisions keep the pair a pair:

- The whole piece is degraded in stereo at its full rate (at least 44.1 kHz), then brought to the
  wanted rate, then cut. So the codec is warm at the edges of a segment, and joint stereo does what
  it does on a phone.
- Codecs overshoot full scale and FLAC cannot store that. Where any version of a piece does, all
  versions of that piece are turned down by one common gain (``gain_db`` in the manifest).
- FLAC has 24 bits: its rounding, −146 dB, is far below any loss to be learnt, whereas 16 bits
  (−98 dB) would put a noise floor of their own into near-transparent pairs. A 16-bit original at
  its own rate is kept bit for bit either way.
"""

from __future__ import annotations

import contextlib
import csv
import logging
import os
import shutil
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from enhancelib import audio, parallel
from enhancelib.atomic import PARTIAL, write_csv, write_text
from enhancelib.data.catalog import SPLITS, list_pieces, take
from enhancelib.data.pairing import (
    DEFAULT_CONDITIONS,
    PairSettings,
    PieceJob,
    checked_settings,
    make_piece,
)
from enhancelib.errors import ConfigError, InputError
from enhancelib.locking import LOCK_FILE, only_one

if TYPE_CHECKING:
    import pandas
    import torch

COLUMNS = (
    "lossless",
    "lossy",
    "condition",
    "piece",
    "source",
    "group",
    "licence",
    "split",
    "sample_rate",
    "channels",
    "start_s",
    "seconds",
    "gain_db",
)
_SETTINGS_FILE = "settings.json"
_OURS = ("manifest.csv", "skipped.csv", "cache")
"""Files of a folder of pairs that may be deleted, beside its settings and pieces.

Earlier versions made ``cache``; anything else is the user's.
"""
_LOG = logging.getLogger(__name__)


def prepare(
    input_dir: str | Path,
    output_dir: str | Path,
    *,
    sample_rate: int = 44100,
    duration_s: float = 3.0,
    max_files: int | None = None,
    splits: Sequence[str] | None = None,
    conditions: Sequence[str] | None = None,
    seed: int = 0,
    n_jobs: int | None = None,
    scheduler: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Make pairs from every audio file of a folder; pick up where an earlier run stopped.

    Every piece gets a folder of its own, which appears all at once when it is complete: a run that
    is killed leaves no half pair, and the next run makes only what is missing or whose original has
    changed. Unreadable files are skipped, logged, and listed in ``skipped.csv``.

    Args:
        input_dir: folder of music (or one file); see :mod:`enhancelib.data.catalog` for splits.
        output_dir: where the pairs go: a new or empty folder, or one with the same settings.
        sample_rate: of the pairs, in Hz.
        duration_s: length of a segment; the last part of a piece is kept from a third of it on,
            padded with zeros.
        max_files: take at most so many files, spread over splits and sources.
        splits: only pieces of these splits; None means all.
        conditions: names of conditions; None means
            :data:`~enhancelib.data.pairing.DEFAULT_CONDITIONS`. ``random-1``, ``random-2`` … draw
            one for each segment (``draw_condition`` of
            :mod:`enhancelib.data.pairing`); the manifest says which.
        seed: of the noise in conditions that have any.
        n_jobs: processes; None means one per core.
        scheduler: address of a Dask scheduler that does the work instead.
        overwrite: start over where the folder holds pairs made with other settings; what else lies
            there stays.

    Returns:
        Path of ``manifest.csv`` in ``output_dir``, with one row per pair, columns :data:`COLUMNS`.

    Raises:
        ConfigError: an impossible setting, or a folder with other settings, other content or
            another run at work in it.
        InputError: no audio in ``input_dir``, or none of it usable.
    """
    output_dir = Path(output_dir)
    settings = checked_settings(
        input_dir=_relative(Path(input_dir), output_dir),
        sample_rate=sample_rate,
        duration_s=duration_s,
        max_files=max_files,
        splits=tuple(splits) if splits is not None else None,
        conditions=tuple(conditions) if conditions is not None else DEFAULT_CONDITIONS,
        seed=seed,
    )
    pieces = list_pieces(input_dir, leave_out=output_dir)
    if settings.splits is not None:
        pieces = [piece for piece in pieces if piece.split in settings.splits]
        if not pieces:
            raise InputError(f"{input_dir} has no {' or '.join(settings.splits)} piece")
    pieces = take(pieces, settings.max_files)
    _check_ours(output_dir, settings, overwrite=overwrite)
    with only_one(output_dir):
        _claim(output_dir, settings, overwrite=overwrite)
        try:
            return _make(
                [PieceJob(piece, output_dir, settings) for piece in pieces],
                Path(input_dir),
                n_jobs=n_jobs,
                scheduler=scheduler,
            )
        finally:
            _remove_left_overs(output_dir)


def _make(
    jobs: list[PieceJob], input_dir: Path, *, n_jobs: int | None, scheduler: str | None
) -> Path:
    """Make what is missing and write the manifest."""
    output_dir = jobs[0].output_dir
    missing = [job for job in jobs if not job.is_complete()]
    results = parallel.map(
        make_piece, missing, n_jobs=n_jobs, scheduler=scheduler, description="pairs"
    )
    with contextlib.closing(results) as outcomes:
        pairs = list(zip(missing, outcomes, strict=True))
    skipped = [(job.piece.name, reason) for job, reason in pairs if reason]
    _report(skipped, output_dir, total=len(jobs), input_dir=input_dir)
    failed = {name for name, _ in skipped}
    done = (job for job in jobs if job.piece.name not in failed)
    rows = (row for job in done for row in job.rows())
    return write_csv(output_dir / "manifest.csv", COLUMNS, rows)


def read_manifest(path: str | Path) -> pandas.DataFrame:
    """The table of pairs, with ``lossless`` and ``lossy`` made absolute; one row per pair.

    Columns beside the two paths: ``condition``; ``piece`` (name of the original file), ``source``
    (package, album or folder), ``group`` (what must stay in one split), ``licence``, ``split``,
    ``sample_rate`` in Hz, ``channels``, ``start_s`` within the piece, ``seconds`` of audio before
    zero padding, ``gain_db`` given to both files.

    Raises:
        InputError: no such file, or no manifest of pairs.
    """
    import pandas  # only here, so that the workers that make pairs start quickly

    path = _manifest_path(path)
    text = dict.fromkeys(("piece", "source", "group", "licence"), str)
    table = pandas.read_csv(
        path, dtype=text, keep_default_na=False, encoding_errors="surrogateescape"
    )
    _check_columns(path, table)
    for column in ("lossless", "lossy"):
        table[column] = [str(path.parent / name) for name in table[column]]
    return table


class PairDataset:
    """Pairs of one split as (lossy, lossless) tensors; a map-style PyTorch data set.

    Each is float32 of shape (1, samples), equally long for all pairs, and by default the mean of
    the channels. The mean is linear, so it keeps the difference between the two what the codec made
    it. What joint stereo does to one channel is another matter, so that a network that is to run on
    each channel must also train on some.

    Args:
        manifest_path: ``manifest.csv`` of :func:`prepare`, or its folder.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        conditions: only these; None means all.
        downmix: ``"mean"`` of the channels, or ``"varied"``: for each pair the mean, the left or
            the right one, chosen by the pair's name.
        sample_rate: in Hz, to which the pairs are resampled; None leaves them as they were made.

    Raises:
        InputError: an unknown split or no pair in it.
    """

    def __init__(
        self,
        manifest_path: str | Path,
        split: str,
        *,
        conditions: Sequence[str] | None = None,
        downmix: Literal["mean", "varied"] = "mean",
        sample_rate: int | None = None,
    ):
        if split not in SPLITS:
            raise InputError(f"split {split!r} is not one of {', '.join(SPLITS)}")
        self.table = path = _manifest_path(manifest_path)
        with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            _check_columns(path, reader.fieldnames or ())
            self.rows = [
                row
                for row in reader
                if row.get("split") == split
                and (conditions is None or row["condition"] in conditions)
            ]
        if not self.rows:
            raise InputError(f"{path} has no {split} pair: prepare at least three files of music")
        self.root = path.parent
        self.sample_rate = sample_rate or int(self.rows[0]["sample_rate"])
        self.downmix = downmix

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions, one for each pair, in the order of the pairs."""
        return [row["condition"] for row in self.rows]

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        import torch  # only here, so that the workers that make pairs start quickly

        return (
            torch.from_numpy(self.read(index, "lossy")),
            torch.from_numpy(self.read(index, "lossless")),
        )

    def read(self, index: int, side: Literal["lossy", "lossless"]) -> audio.Wave:
        """One side of a pair, mono: float32 (1, samples)."""
        row = self.rows[index]
        wave, _ = audio.load(self.root / row[side], sample_rate=self.sample_rate)
        choice = 0
        if self.downmix == "varied":
            choice = zlib.crc32(os.fsencode(row["lossy"])) % (1 + len(wave))
        return wave.mean(axis=0, keepdims=True) if choice == 0 else wave[choice - 1 : choice]


def _relative(input_dir: Path, output_dir: Path) -> str:
    """The input as seen from the output, so that both may move together."""
    return Path(os.path.relpath(input_dir.resolve(), output_dir.resolve())).as_posix()


def _check_ours(output_dir: Path, settings: PairSettings, *, overwrite: bool) -> None:
    """Refuse a folder with other content, or with other pairs unless they may go."""
    found = _settings_of(output_dir / _SETTINGS_FILE)
    if found is None and output_dir.exists():
        if not output_dir.is_dir() or any(e.name != LOCK_FILE for e in output_dir.iterdir()):
            raise ConfigError(
                f"{output_dir} is not empty and holds no pairs of ours: name another folder"
            )
    elif found not in (None, settings) and not overwrite:
        raise ConfigError(
            f"{output_dir} holds pairs made with other settings"
            f"{_differences(found, settings)}: use another folder, or overwrite"
        )


def _claim(output_dir: Path, settings: PairSettings, *, overwrite: bool) -> None:
    """Make the folder ours: new, resumed, or (with ``overwrite``) emptied of other pairs."""
    _check_ours(output_dir, settings, overwrite=overwrite)  # again, now that nobody else writes
    settings_file = output_dir / _SETTINGS_FILE
    if _settings_of(settings_file) not in (None, settings):
        for entry in list(output_dir.iterdir()):
            if entry.name in _OURS or (entry / "piece.json").is_file():
                _remove(entry)
    _remove_left_overs(output_dir)
    write_text(settings_file, settings.model_dump_json(indent=1))


def _remove_left_overs(output_dir: Path) -> None:
    """Remove what a run that was stopped had begun."""
    for left_over in output_dir.glob(f"{PARTIAL}*"):
        _remove(left_over)


def _settings_of(settings_file: Path) -> PairSettings | None:
    """The settings that a folder's pairs were made with; None where there are none of ours."""
    try:
        return PairSettings.model_validate_json(settings_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=path.name.startswith(PARTIAL))
    else:
        path.unlink()


def _differences(found: PairSettings, wanted: PairSettings) -> str:
    before, after = found.model_dump(), wanted.model_dump()
    changed = [
        f"{name} {before[name]} ≠ {after[name]}" for name in before if before[name] != after[name]
    ]
    return f" ({'; '.join(changed)})"


def _report(
    skipped: Sequence[tuple[str, str]], output_dir: Path, *, total: int, input_dir: Path
) -> None:
    """Log and list what was skipped; raise when nothing is left."""
    listing = output_dir / "skipped.csv"
    listing.unlink(missing_ok=True)
    if not skipped:
        return
    for name, reason in skipped:
        _LOG.warning("skipped %s: %s", audio.display_name(name), reason)
    rows = [{"path": name, "reason": reason} for name, reason in skipped]
    write_csv(listing, ("path", "reason"), rows)
    if len(skipped) == total:
        raise InputError(
            f"{input_dir}: none of the {total} audio files could be used; "
            f"the first: {skipped[0][1]}"
        )
    shown = audio.display_name(listing)
    _LOG.warning("%d of %d files skipped; see %s", len(skipped), total, shown)


def _check_columns(path: Path, found: Iterable[str]) -> None:
    if missing := [column for column in COLUMNS if column not in set(found)]:
        raise InputError(f"{path} is no manifest of pairs: it lacks {', '.join(missing)}")


def _manifest_path(path: str | Path) -> Path:
    path = Path(path)
    path = path / "manifest.csv" if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"no manifest at {path}: run `enhancelib prepare` first")
    return path
