"""One piece of the corpus: where it comes from, which split it belongs to, how it is made again."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from pathlib import Path
from typing import ClassVar

import numpy as np

from enhancelib import audio
from enhancelib.audio.bandwidth import bandwidth_hz

RATE = 44100
"""The sample rate of every piece, in Hz."""

NYQUIST = RATE / 2

KINDS = (
    "song",  # composed and mixed by people, rendered without loss
    "game",  # composed, recorded and mixed by people, coded once as Vorbis
    "rendered",  # MIDI through a soundfont
    "synthesizer",  # MIDI through patches of synthesizers
    "band",  # recorded drums and samples in patterns
    "instrument",  # recorded notes in phrases
    "singing",
    "speech",
    "signal",  # no music: sweeps, tones, noise, clicks
)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One piece: where it goes, where it comes from, how to make it again.

    Attributes:
        name: unique among the pieces of its source.
        source: package, kit, speaker or author; a source lies in one split.
        licence: of the piece.
        group: what must stay in one split with it.
        split: ``"train"`` or ``"validation"``.
        kind: one of :data:`KINDS`.
        author: who made it, as its package states it.
    """

    name: str
    source: str
    licence: str
    group: str
    split: str
    kind: str = dataclasses.field(kw_only=True)
    author: str = dataclasses.field(kw_only=True)

    suffix: ClassVar[str] = ".flac"

    @property
    def path(self) -> str:
        """Its file in the corpus folder."""
        source, name = (re.sub(r"[^A-Za-z0-9._-]+", "_", text) for text in (self.source, self.name))
        return f"{self.split}/{self.kind}/{source}/{name}{self.suffix}"

    @property
    def rng(self) -> np.random.Generator:
        """A generator of its own, from its name."""
        digest = hashlib.sha256(f"{self.source}/{self.name}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big"))

    def render(self) -> audio.Wave:
        """The piece, float32 (2, samples) at 44.1 kHz, peak −1 dBFS.

        Raises:
            InputError: it cannot be made.
        """
        raise NotImplementedError

    def store(self, path: Path) -> dict[str, object]:
        """Write the piece to ``path`` as FLAC, 16 bits with triangular dither.

        Returns:
            What the manifest says of its sound: channels, length in seconds, bandwidth in Hz, and
            ``trusted_hz``, up to which it may be believed. Nothing was ever lost here.
        """
        wave = self.render()
        rng = self.rng
        dither = rng.random(wave.shape, dtype=np.float32) - rng.random(wave.shape, dtype=np.float32)
        audio.save(path, wave + dither / 2**15, sample_rate=RATE, subtype="PCM_16", overwrite=True)
        return sound_facts(wave) | {"trusted_hz": round(NYQUIST), "once_lossy": 0}


def sound_facts(wave: audio.Wave) -> dict[str, object]:
    """Channels, length and bandwidth of a wave at 44.1 kHz, as the manifest states them."""
    return {
        "channels": wave.shape[0],
        "duration_s": round(wave.shape[1] / RATE, 3),
        "bandwidth_hz": round(bandwidth_hz(wave, sample_rate=RATE)),
    }
