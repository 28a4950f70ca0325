"""What a model file says about itself; the same keys in every format."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from enhancelib.errors import ModelError

PathLike = str | os.PathLike


METADATA_NAME = "enhancelib"
"""Name of the metadata buffer in TFLite files and of the extra file in TorchScript archives."""


@dataclass(frozen=True)
class Metadata:
    """What a model file says about itself; the same keys in every format.

    Attributes:
        preset: name of the architecture.
        sample_rate: in Hz, of the audio that goes in and comes out.
        frame_length: STFT frame in samples.
        hop_length: in samples, half the frame.
        latency_samples: delay of the streamed output, ``frame_length - 1``.
        checkpoint_sha256: of the checkpoint the file was made from, empty if never saved.
        licence: of the weights.
    """

    preset: str
    sample_rate: int
    frame_length: int
    hop_length: int
    latency_samples: int
    checkpoint_sha256: str
    licence: str

    @classmethod
    def from_strings(cls, facts: Mapping[str, str], *, path: PathLike) -> Self:
        """Parse the metadata of a file; other keys are ignored.

        Raises:
            ModelError: a key is missing or no number: the file is not one of ours.
        """
        numbers = ("sample_rate", "frame_length", "hop_length", "latency_samples")
        names = [field.name for field in fields(cls)]
        try:
            values: dict[str, Any] = {
                name: int(facts[name]) if name in numbers else facts[name] for name in names
            }
        except (KeyError, ValueError) as error:
            reason = f"metadata {error.args[0]!r} is missing or damaged"
            raise foreign(path, reason) from None
        metadata = cls(**values)
        if not 0 < metadata.frame_length == 2 * metadata.hop_length or metadata.sample_rate < 1:
            raise foreign(path, "its frame, hop or rate is impossible")
        return metadata

    def as_strings(self) -> dict[str, str]:
        """Return key and value as text: what is stored in the file."""
        return {field.name: str(getattr(self, field.name)) for field in fields(self)}


def describe(model, *, preset: str, checkpoint_sha256: str = "", licence: str = "MIT") -> Metadata:
    """Return the metadata of an ``AudioUNet``."""
    config = model.config
    return Metadata(
        preset=preset,
        sample_rate=config.sample_rate,
        frame_length=config.frame_length,
        hop_length=config.hop_length,
        latency_samples=model.latency_samples,
        checkpoint_sha256=checkpoint_sha256,
        licence=licence,
    )


def foreign(path: PathLike | None, reason: str) -> ModelError:
    """Return the error for a model file that this package did not write."""
    return ModelError(f"{path}: not a model of this project, export one ({reason})")


def tflite_metadata(content: bytes) -> dict[str, str]:
    """Return the key-value pairs that the metadata buffer of a TFLite file holds, or nothing."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    for i in range(model.MetadataLength()):
        entry = model.Metadata(i)
        if entry.Name() == METADATA_NAME.encode():
            return parse_facts(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    return {}


def parse_facts(stored: bytes | str) -> dict[str, str]:
    """Read metadata stored as a JSON object of strings; damage reads as nothing."""
    try:
        facts = json.loads(stored)
    except (ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}
