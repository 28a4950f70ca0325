"""What `make soak` measures, once through on next to nothing."""

import enhancelib as el
from tools.measure.soaks import making


def test_the_loaders_feed_a_training_step(root, tmp_path):
    el.prepare(
        root / "data" / "excerpts", tmp_path / "speed", conditions=["clip-6db"], max_files=14
    )
    (made,) = making.making_items(tmp_path, 14)
    assert (made["system"], made["unit"]) == ("items, 1 process", "x real time")
    assert made["value"] > 0
    rows = list(making.loading(tmp_path))
    assert [row["system"] for row in rows] == [
        "PairDataset",
        "Items",
        "training step, crops of 1 s",
    ]
    assert all(row["value"] > 0 and row["unit"] == "pairs/s" for row in rows)
