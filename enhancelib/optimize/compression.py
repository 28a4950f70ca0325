"""Make a network smaller and faster: all ways under one name.

- Remove weights: :func:`prune`, :func:`prune_channels`; then :func:`fine_tune`.
- Fewer bits in an exported file: :func:`to_float16`, :func:`quantize_weights`,
  :func:`quantize_dynamic` and, with ranges from :func:`calibrate`, :func:`quantize_static`.
- Fewer bits already in training: :func:`quantization_aware_training`.
- What it comes to: :func:`measure_files`, :func:`deviation_db`, :func:`macs_per_second`,
  :func:`compressed_bytes`; :func:`rounding` lets a network compute as if in 8 bits.
- Which one to carry: :func:`losses`, :func:`careful`, :func:`on_front`, :func:`sweet_spot`.
"""

from enhancelib.optimize.footprint import (
    compressed_bytes,
    deviation_db,
    macs_per_second,
    measure_files,
)
from enhancelib.optimize.pareto import careful, losses, on_front, sweet_spot
from enhancelib.optimize.pruning import prune, prune_channels
from enhancelib.optimize.qat import quantization_aware_training, rounding
from enhancelib.optimize.quantize import (
    quantize_dynamic,
    quantize_static,
    quantize_weights,
    to_float16,
)
from enhancelib.optimize.quantize.calibration import calibrate
from enhancelib.train.finetune import fine_tune

__all__ = [
    "calibrate",
    "careful",
    "compressed_bytes",
    "deviation_db",
    "fine_tune",
    "losses",
    "macs_per_second",
    "measure_files",
    "on_front",
    "prune",
    "prune_channels",
    "quantization_aware_training",
    "quantize_dynamic",
    "quantize_static",
    "quantize_weights",
    "rounding",
    "sweet_spot",
    "to_float16",
]
