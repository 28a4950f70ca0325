"""What `make soak` measures, once through on next to nothing."""

import time

import enhancelib as el
from enhancelib.data.items import Items
from enhancelib.data.pairs import PairDataset
from tools.measure.soaks import making


def test_the_loaders_feed_a_training_step(root, tmp_path):
    el.prepare(
        root / "data" / "excerpts", tmp_path / "speed", conditions=["clip-6db"], max_files=14
    )
    began = time.perf_counter()
    (made,) = making.making_items(tmp_path, 14)
    outer_s = time.perf_counter() - began
    assert (made["system"], made["unit"]) == ("items, 1 process", "x real time")
    assert 0.05 * outer_s < 14 * 3 / made["value"] <= 1.01 * outer_s  # it is rounded
    began = time.perf_counter()
    rows = list(making.loading(tmp_path))
    outer_s = time.perf_counter() - began
    assert [row["system"] for row in rows] == [
        "PairDataset",
        "Items",
        "training step, crops of 1 s",
    ]
    assert {row["unit"] for row in rows} == {"pairs/s"}
    pairs, items = len(PairDataset(tmp_path / "speed", "train")), len(Items(tmp_path / "items"))
    read = [2 * pairs, 2 * items, 12 * min(12, pairs // 12)]  # each twice, then steps of 12 pairs
    spent_s = sum(count / row["value"] for count, row in zip(read, rows, strict=True))
    assert 0.05 * outer_s < spent_s <= 1.01 * outer_s
