"""Enhance lossy audio: the public names. Each is loaded on first use (no heavy import up front)."""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["compression", "diagrams", "losses", "plotting", "provenance"],
    submod_attrs={
        "audio": ["find_audio", "load", "resample", "save", "segments"],
        "bandwidth": ["bandwidth_hz"],
        "benchmark": ["benchmark_file", "benchmark_files", "benchmark_results"],
        "bitrates": ["bitrate_saving", "equal_rates"],
        "checkpoints": ["checkpoint_sha256"],
        "codecs": ["degrade", "encode", "standard_conditions"],
        "data": ["PairDataset", "prepare", "read_manifest"],
        "errors": ["AudioWarning", "EnhanceError"],
        "evaluation": ["evaluate", "oracle_mask"],
        "export": ["export_model"],
        "files": ["enhance_file"],
        "folders": ["enhance_folder"],
        "listening": ["ABX", "MUSHRA", "Player"],
        "listening_tests": ["abx_result", "mushra_result"],
        "live": ["LiveEnhancer", "sound_devices"],
        "masking": ["noise_to_mask"],
        "metrics": ["METRICS", "score"],
        "model": ["AudioUNet"],
        "provenance": ["device_results", "write_results"],
        "streaming": ["RealTimeAudioEnhancer", "enhance_wave"],
        "restoration": ["TrainingConfig"],
        "training": ["held_out_loss", "train_model"],
        "weights": ["find_weights"],
        "verdicts": [
            "cost_claims",
            "does_good",
            "does_no_harm",
            "paired_deltas",
            "piece_set",
            "seed_claims",
            "summarise",
        ],
    },
)
