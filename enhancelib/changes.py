"""How much an enhancement changed: what was added to a recording, against the recording itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from enhancelib.waves import Wave
from enhancelib.worker import Timeline

UNCHANGED_PEAK = 2.0**-16
"""A change that stays under it, half a step of 16 bits, leaves every sample of a CD as it was."""


class ChangeMeter:
    """Compares a stream with what became of it, block by block, at constant memory."""

    def __init__(self):
        self._blocks: Timeline | None = None
        self._seen = self._compared = 0
        self._before = self._added = self._peak = 0.0

    def before(self, stream: Iterable[Wave]) -> Iterator[Wave]:
        """Pass on the waves (channels, samples) of the stream, and remember them."""
        for block in stream:
            self._blocks = self._blocks or Timeline(block.shape[0])
            self._blocks.append(self._seen, block)
            self._seen += block.shape[1]
            yield block

    def after(self, stream: Iterable[Wave]) -> Iterator[Wave]:
        """Pass on what became of the stream, aligned with it, and compare the two."""
        for block in stream:
            was = self._blocks.take(self._compared, block.shape[1])
            self._compared += block.shape[1]
            added = (block - was).astype(np.float64)
            self._before += float(np.sum(np.square(was, dtype=np.float64)))
            self._added += float(np.sum(np.square(added)))
            self._peak = max(self._peak, float(np.abs(added).max(initial=0)))
            yield block

    @property
    def filled_db(self) -> float:
        """Power of what was added, in dB above that of the recording; −∞: nothing was changed."""
        if self._peak < UNCHANGED_PEAK:
            return -math.inf
        return 10 * math.log10(self._added / self._before) if self._before else math.inf
