"""Make a network smaller and faster: all ways under one name.

- Remove weights: :func:`prune`, :func:`prune_channels`; then :func:`fine_tune`.
- Fewer bits in an exported file: :func:`to_float16`, :func:`quantize_weights`,
  :func:`quantize_dynamic` and, with ranges from :func:`calibrate`, :func:`quantize_static`.
- Fewer bits already in training: :func:`quantization_aware_training`.
- What it comes to: :func:`macs_per_second`, :func:`compressed_bytes`.
"""

from enhancelib.calibration import calibrate
from enhancelib.pruning import compressed_bytes, macs_per_second, prune, prune_channels
from enhancelib.quantisation import (
    quantize_dynamic,
    quantize_pytorch,
    quantize_static,
    quantize_weights,
    to_float16,
)
from enhancelib.retraining import fine_tune, quantization_aware_training

__all__ = [
    "calibrate",
    "compressed_bytes",
    "fine_tune",
    "macs_per_second",
    "prune",
    "prune_channels",
    "quantization_aware_training",
    "quantize_dynamic",
    "quantize_pytorch",
    "quantize_static",
    "quantize_weights",
    "to_float16",
]
