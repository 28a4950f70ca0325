"""Music to pairs, and pairs to tensors."""

from enhancelib.data.pairs import PairDataset, prepare, read_manifest

__all__ = ["PairDataset", "prepare", "read_manifest"]
