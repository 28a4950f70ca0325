"""Prepare the pairs once, then train on them: the seed's ``train.py`` as one call."""

from pathlib import Path
from typing import Any

from enhancelib.data.pairs import PairSettings, prepare
from enhancelib.errors import ConfigError
from enhancelib.train.run import TrainingResult, launched, train_model
from enhancelib.train.task import TrainingConfig

KEPT = {"sample_rate", "duration_s", "max_files", "splits", "conditions", "seed"}
"""Arguments of :func:`enhancelib.prepare` that existing pairs answer."""


def main(
    input_dir: str | Path | None = None,
    output_dir: str | Path = "processed_data",
    checkpoint_dir: str | Path = "checkpoints",
    config: str | Path | None = None,
    *,
    overwrite: bool = False,
) -> TrainingResult:
    """Train with the default configuration, or with that of a config.json.

    Pairs that ``output_dir`` holds are used with the settings they were made with; what is missing
    is made first. A run that was stopped goes on where it was.

    Args:
        input_dir: folder of lossless music; if left out, the pairs of ``output_dir`` as they are,
            or else the free excerpts in ``data/excerpts``.
        output_dir: the pairs, as :func:`enhancelib.prepare` leaves them.
        checkpoint_dir: where ``checkpoint_epoch_<n>_best.pth`` and the log go.
        config: JSON file with keys of :class:`enhancelib.TrainingConfig`.
        overwrite: replace a finished run, or one with other settings; an unfinished one with the
            same settings goes on, and the pairs stay.

    Raises:
        EnhanceError: no usable music, or a setting that cannot be.
    """
    settings = TrainingConfig() if config is None else TrainingConfig.from_json(config)
    manifest = Path(output_dir) / "manifest.csv"
    if input_dir is not None or not manifest.exists():
        if launched()[0] > 1:
            raise ConfigError(
                f"{output_dir}: several processes cannot prepare pairs together; run enhancelib "
                "prepare first, then train without --input_dir"
            )
        manifest = prepare(
            input_dir or "data/excerpts", output_dir, **_kept_settings(Path(output_dir))
        )
    return train_model(manifest, checkpoint_dir, settings, overwrite=overwrite)


def _kept_settings(pairs_dir: Path) -> dict[str, Any]:
    """The settings that earlier pairs were made with; none where there are no pairs."""
    try:
        text = (pairs_dir / "settings.json").read_text(encoding="utf-8")
        return PairSettings.model_validate_json(text).model_dump(include=KEPT)
    except (OSError, ValueError):  # no pairs yet, or damaged: `prepare` says what to do
        return {}
