"""Cached pairs: the same pairs, from one array, made once, made again when they change."""

import time

import numpy as np
import pytest
import soundfile
import torch

from enhancelib import cache, data
from enhancelib.errors import InputError

RATE = 44100


@pytest.fixture
def manifest(tmp_path):
    """Pairs of five pieces, one of them very quiet."""
    (tmp_path / "music").mkdir()
    for index, level in enumerate((0.5, 0.3, 0.9, 1e-4, 0.2)):
        rng = np.random.default_rng(index)
        wave = level * rng.uniform(-1, 1, (2 * RATE, 2))
        soundfile.write(tmp_path / "music" / f"{index}.wav", wave, RATE, subtype="PCM_24")
    return data.prepare(
        tmp_path / "music",
        tmp_path / "pairs",
        duration_s=0.5,
        conditions=["lossless", "noise-white-20db", "sbc-53"],
        n_jobs=1,
    )


def test_it_holds_the_pairs_to_98_db_under_their_peak(manifest):
    for split in ("train", "validation", "test"):
        pairs = data.PairDataset(manifest, split)
        cached = cache.CachedPairs(manifest, split, n_jobs=1)
        assert len(cached) == len(pairs)
        assert cached.rows == pairs.rows
        assert cached.sample_rate == pairs.sample_rate
        for index in range(len(pairs)):
            peak = max(side.abs().max() for side in pairs[index])
            for ours, theirs in zip(cached[index], pairs[index], strict=True):
                assert ours.dtype == torch.float32
                assert ours.shape == theirs.shape
                assert (ours - theirs).abs().max() <= 0.51 * peak / 2**15


def test_a_transparent_pair_stays_equal(manifest):
    cached = cache.CachedPairs(manifest, "train", conditions=["lossless"], n_jobs=2)
    lossy, lossless = cached[0]
    assert torch.equal(lossy, lossless)


def test_it_is_filled_once_and_again_when_the_pairs_change(manifest):
    first = cache.CachedPairs(manifest, "train", n_jobs=1)
    made = (first.folder / "samples.npy").stat().st_mtime_ns
    assert cache.CachedPairs(manifest, "train", n_jobs=1).folder == first.folder
    assert (first.folder / "samples.npy").stat().st_mtime_ns == made
    time.sleep(0.01)
    manifest.touch()
    second = cache.CachedPairs(manifest, "train", n_jobs=1)
    assert second.folder != first.folder
    assert not first.folder.exists()  # no disk full of old arrays
    assert torch.equal(second[3][0], cache.CachedPairs(manifest.parent, "train")[3][0])


def test_a_pair_that_cannot_be_read_leaves_no_array(manifest):
    pairs = data.PairDataset(manifest, "train")
    (manifest.parent / pairs.rows[-1]["lossy"]).write_bytes(b"")
    with pytest.raises(InputError):
        cache.CachedPairs(manifest, "train", n_jobs=1)
    assert not list((manifest.parent / "cache").glob("train-*"))


def test_it_is_faster_than_reading_flac(manifest):
    pairs, cached = data.PairDataset(manifest, "train"), cache.CachedPairs(manifest, "train")

    def seconds(dataset):
        started = time.process_time()
        for _ in range(3):
            for index in range(len(dataset)):
                dataset[index]
        return time.process_time() - started

    seconds(cached)
    assert seconds(cached) < seconds(pairs) / 3


def test_a_loader_with_workers_shuffles_it(manifest):
    cached = cache.CachedPairs(manifest, "train", n_jobs=1)
    loader = torch.utils.data.DataLoader(cached, batch_size=4, shuffle=True, num_workers=1)
    batches = [lossy.shape for lossy, _ in loader]
    assert sum(shape[0] for shape in batches) == len(cached)
    assert batches[0][1:] == (1, RATE // 2)
