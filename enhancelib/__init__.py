"""Enhance lossy audio: the public names. Each is loaded on first use (no heavy import up front)."""

from typing import Any

import lazy_loader

__version__ = "0.1.0"

PUBLIC = {
    "audio": ["find_audio", "load", "resample", "save", "segments"],
    "audio.bandwidth": ["bandwidth_hz"],
    "audio.masking": ["noise_to_mask"],
    "data": ["PairDataset", "prepare", "read_manifest"],
    "data.catalog": ["choose_pieces", "list_pieces"],
    "degrade.codecs": ["condition_title", "degrade", "encode", "standard_conditions"],
    "enhance.files": ["enhance_file"],
    "enhance.folders": ["enhance_folder"],
    "enhance.live": ["LiveEnhancer", "sound_devices"],
    "enhance.streaming": ["RealTimeAudioEnhancer", "enhance_wave"],
    "errors": ["AudioWarning", "EnhanceError"],
    "evaluate.benchmark": ["benchmark_file", "benchmark_files", "benchmark_results"],
    "evaluate.bitrates": ["bitrate_saving", "equal_rates"],
    "evaluate.kinds": ["by_kind", "kinds_of"],
    "evaluate.matrix": ["evaluate", "oracle_mask"],
    "evaluate.metrics": ["METRICS", "score"],
    "evaluate.verdicts": [
        "does_good",
        "does_no_harm",
        "paired_deltas",
        "piece_set",
        "summarize",
    ],
    "model": ["losses"],
    "model.checkpoints": ["checkpoint_sha256"],
    "model.network": ["AudioUNet"],
    "model.weights": ["find_weights"],
    "optimize": ["compression"],
    "optimize.export": ["export_model"],
    "provenance": ["device_results", "write_results"],
    "show": ["diagrams", "plotting"],
    "show.inline": ["Download"],
    "show.listening": ["ABX", "MUSHRA", "Gallery", "Player"],
    "show.listening_tests": ["abx_result", "mushra_result"],
    "show.parts": ["parts"],
    "train.run": ["held_out_loss", "train_model"],
    "train.task": ["TrainingConfig"],
}
"""Module → its public names."""

_load, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=["provenance"], submod_attrs=PUBLIC
)
_EXTRA = {"evaluate": "evaluate", "optimize": "optimize", "show": "listen"}


def __getattr__(name: str) -> Any:
    """Load a public name; where a package is missing, the error says which extra brings it."""
    try:
        return _load(name)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("enhancelib"):
            from enhancelib.errors import installs

            room = next(where.partition(".")[0] for where, names in PUBLIC.items() if name in names)
            error.add_note(f"enhancelib.{name}: {installs(_EXTRA.get(room, 'train'))}")
        raise
