"""From prepared pairs or items to batches, for one process of many."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import lightning
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Subset

from enhancelib.data.items import Items
from enhancelib.data.pairs import PairDataset
from enhancelib.errors import InputError
from enhancelib.train.task import TrainingConfig


class LabelledPairs(Dataset):
    """(lossy, lossless, index of the condition) of pairs."""

    def __init__(self, pairs: PairDataset | Items, conditions: list[str]):
        self.pairs = pairs
        self.conditions = [conditions.index(name) for name in pairs.conditions]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        return *self.pairs[index], self.conditions[index]


def open_pairs(
    source: str | Path,
    split: str,
    *,
    downmix: Literal["mean", "varied"] = "mean",
    sample_rate: int | None = None,
) -> PairDataset | Items:
    """One split of a manifest of pairs, or of a folder with items in ``train``, ``validation``.

    Of items the originals only: what was coded once before teaches energies and nothing else.

    Args:
        source: of :func:`enhancelib.data.pairs.prepare`, or a folder of folders of
            :func:`enhancelib.data.items.prepare_items`.
        split: which.
        downmix: of pairs; items are of one channel.
        sample_rate: in Hz, to which they are resampled.

    Raises:
        InputError: there is neither, or nothing of this split in it.
    """
    if (Path(source) / "train" / "items.csv").is_file():
        return Items(Path(source) / split, originals_only=True, sample_rate=sample_rate)
    return PairDataset(source, split, downmix=downmix, sample_rate=sample_rate)


def check_lengths(pairs: PairDataset | Items, config: TrainingConfig) -> None:
    """Refuse pairs, or crops of them, that hold fewer than the frames that the loss compares.

    Raises:
        ConfigError: the crops are too short at the pairs' rate.
        InputError: the pairs are, which are all of one length.
    """
    rate = pairs.sample_rate
    config.check_crop(rate)
    seconds, least = pairs[0][0].shape[-1] / rate, config.least_seconds(rate)
    if seconds < least:
        raise InputError(
            f"{pairs.table}: pairs of {seconds:g} s are too short for the loss at {rate} Hz; "
            f"prepare some of {least} s or more"
        )


def loader(
    manifest: str | Path,
    split: str,
    config: TrainingConfig,
    conditions: list[str],
    sample_rate: int,
    trainer: lightning.Trainer,
) -> DataLoader:
    """Batches of one split, or of this process's share of it."""
    downmix: Literal["mean", "varied"] = "varied" if split == "train" else "mean"
    pairs = open_pairs(manifest, split, downmix=downmix, sample_rate=sample_rate)
    dataset = LabelledPairs(pairs, conditions)
    processes, rank = trainer.world_size, trainer.global_rank
    if split != "train":  # every item once, though the shares may differ in size by one
        share = Subset(dataset, range(rank, len(dataset), processes))
        return DataLoader(share, batch_size=config.batch_size)
    # Shuffles by (seed, epoch), so that a resumed run sees the order an uninterrupted one would.
    sampler = DistributedSampler(
        dataset, num_replicas=processes, rank=rank, seed=config.seed, drop_last=processes > 1
    )
    return DataLoader(dataset, batch_size=config.batch_size, sampler=sampler)
