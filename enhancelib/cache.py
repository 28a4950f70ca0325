"""Pairs in one memory-mapped array, for training on more than fits in memory."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock

from enhancelib import parallel
from enhancelib.data import PairDataset
from enhancelib.pairing import PARTIAL

if TYPE_CHECKING:
    import torch

_CHUNK = 32
_FEW = 300
_TOP = 32767


class CachedPairs:
    """The same pairs as :class:`~enhancelib.data.PairDataset`, read from one array on disk.

    The array is made on first use, beside the manifest, and again when the manifest changes. It
    holds 16-bit integers, each pair scaled as one to use their whole range, so a rounding error of
    at most −98 dB under the pair's own peak separates it from the FLAC files. The operating system
    keeps in memory what it can; several processes share it.

    Args:
        manifest_path: ``manifest.csv`` of :func:`~enhancelib.data.prepare`, or its folder.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        n_jobs: Processes that read the FLAC files; None means one per core, or one for few pairs.
        **options: Conditions, downmix and sample rate, as of :class:`~enhancelib.data.PairDataset`.

    Raises:
        InputError: An unknown split, no pair in it, or a pair that cannot be read.
    """

    def __init__(
        self,
        manifest_path: str | Path,
        split: str,
        *,
        n_jobs: int | None = None,
        **options: object,
    ):
        self.pairs = PairDataset(manifest_path, split, **options)
        self.rows = self.pairs.rows
        self.sample_rate = self.pairs.sample_rate
        # What was prepared anew has other rows or other times.
        made = self.pairs.root.joinpath("manifest.csv").stat().st_mtime_ns
        stamp = [made, self.pairs.downmix, self.sample_rate, self.rows]
        name = hashlib.sha256(json.dumps(stamp).encode()).hexdigest()[:16]
        self.folder = self.pairs.root / "cache" / f"{split}-{self.sample_rate}-{name}"
        self.folder.parent.mkdir(exist_ok=True)
        with FileLock(self.folder.parent / f"{PARTIAL}{split}.lock"):  # one process fills it
            if not self.folder.is_dir():
                _fill(self.pairs, self.folder, n_jobs)
        self._samples = np.load(self.folder / "samples.npy", mmap_mode="r")
        self._scales = np.load(self.folder / "scales.npy")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        import torch  # only here, so that the workers that fill the array start quickly

        pair = self._samples[index].astype(np.float32) * self._scales[index]
        lossy, lossless = torch.from_numpy(pair)
        return lossy[None], lossless[None]


def _fill(pairs: PairDataset, folder: Path, n_jobs: int | None) -> None:
    """Write the array; its folder appears when it is complete, older ones of its kind go."""
    partial = folder.with_name(f"{PARTIAL}{folder.name}")  # of a killed run: begun again
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    samples = pairs.read(0, "lossless").shape[1]
    np.lib.format.open_memmap(
        partial / "samples.npy", mode="w+", dtype=np.int16, shape=(len(pairs), 2, samples)
    ).flush()
    chunks = [
        (partial / "samples.npy", pairs, range(start, min(start + _CHUNK, len(pairs))))
        for start in range(0, len(pairs), _CHUNK)
    ]
    if n_jobs is None and len(pairs) < _FEW:
        n_jobs = 1  # processes take longer to start
    filled = parallel.map(
        _fill_chunk, chunks, n_jobs=n_jobs, description="cache", unit=f"{_CHUNK} pairs"
    )
    np.save(partial / "scales.npy", np.concatenate(list(filled)))
    kind = folder.name.rsplit("-", 1)[0]
    for older in folder.parent.glob(f"{kind}-*"):
        shutil.rmtree(older)
    partial.rename(folder)


def _fill_chunk(chunk: tuple[Path, PairDataset, range]) -> np.ndarray:
    """Write some pairs into their places; returns the scale of each."""
    path, pairs, places = chunk
    array = np.load(path, mmap_mode="r+")
    scales = np.ones(len(places), dtype=np.float32)
    for at, index in enumerate(places):
        pair = np.stack([pairs.read(index, side)[0] for side in ("lossy", "lossless")])
        scales[at] = max(float(np.abs(pair).max()), 1e-9) / _TOP
        array[index] = np.round(pair / scales[at]).astype(np.int16)
    array.flush()
    return scales
