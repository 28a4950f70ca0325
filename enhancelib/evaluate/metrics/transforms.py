"""Short-time spectra of a wave, block by block, shared by the metrics that look at them.

A song of five minutes has spectra of gigabytes, so metrics take some frames at a time and add up.
What a short wave gives is kept, so that many metrics cost one transform.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view

from enhancelib.audio.waves import hann_window
from enhancelib.evaluate.metrics.waveform import check_pair

BLOCK_FRAMES = 512
KEPT_SAMPLES = 1 << 22
"""Spectra of waves of at most so many samples, all channels together, are kept: 47 s of stereo."""


@dataclass(frozen=True)
class Frames:
    """Frames of a short-time transform, centred, with zeros beyond the ends.

    Attributes:
        n_fft: length of the transform in samples.
        hop_length: in samples.
        window_length: of the periodic Hann window in the middle of the frame, in samples.
        exponent: of the window; 0.5 for its square root.
    """

    n_fft: int
    hop_length: int
    window_length: int
    exponent: float = 1.0


SHARED = Frames(2048, 512, 2048)
"""The frames of all metrics that name no others."""


@cache
def _window(frames: Frames) -> np.ndarray:
    window = np.zeros(frames.n_fft, np.float32)
    start = (frames.n_fft - frames.window_length) // 2
    hann = hann_window(frames.window_length)
    window[start : start + frames.window_length] = hann**frames.exponent
    return window


class Spectra:
    """A wave (channels, samples), checked, and its spectra."""

    def __init__(self, wave: np.ndarray):
        self.wave = wave
        self._kept: dict[object, list[np.ndarray]] = {}

    @classmethod
    def pair(
        cls, estimate: "np.ndarray | Spectra", reference: "np.ndarray | Spectra"
    ) -> tuple[Self, Self]:
        """Check two waves, and return both with their spectra.

        Raises:
            InputError: as :func:`enhancelib.evaluate.metrics.waveform.check_pair`.
        """
        given = estimate, reference
        waves = [each.wave if isinstance(each, Spectra) else each for each in given]
        if (
            not isinstance(estimate, Spectra)
            or not isinstance(reference, Spectra)
            or (waves[0].shape != waves[1].shape)
        ):
            waves = list(check_pair(waves[0], waves[1]))
        first, second = (
            each if isinstance(each, cls) else cls(wave)
            for each, wave in zip(given, waves, strict=True)
        )
        return first, second

    def blocks(self, frames: Frames = SHARED) -> Iterable[np.ndarray]:
        """Complex spectra (channels, bins, up to 512 frames), unnormalized, one after the other."""
        return self._shared(frames, lambda: self._transform(frames))

    def magnitudes(self) -> Iterable[np.ndarray]:
        """``|X|`` of the shared frames, in blocks."""
        return self._shared("magnitude", lambda: map(np.abs, self.blocks()))

    def powers(self) -> Iterator[np.ndarray]:
        """``|X|²`` of the shared frames, in blocks."""
        return (magnitude**2 for magnitude in self.magnitudes())

    def log_powers(self, floor: float) -> Iterable[np.ndarray]:
        """``log10 max(|X|², floor)`` of the shared frames, in blocks."""
        scale = np.float32(1 / np.log(10))  # log10 is slow
        return self._shared(
            ("log", floor), lambda: (scale * np.log(np.maximum(p, floor)) for p in self.powers())
        )

    def peak(self) -> float:
        """The largest ``|X|`` of the shared frames."""
        (peak,) = self._shared(
            "peak", lambda: [np.array(max(float(block.max()) for block in self.magnitudes()))]
        )
        return float(peak)

    def features(self, name: str, make: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Features of every frame, (channels, features, frames).

        Args:
            name: what they are kept under.
            make: the features of a block of powers.
        """
        whole = self._shared(
            name, lambda: [np.concatenate([make(block) for block in self.powers()], axis=-1)]
        )
        return next(iter(whole))

    def _transform(self, frames: Frames) -> Iterator[np.ndarray]:
        """Not by :func:`enhancelib.audio.waves.short_time_spectra`: SciPy takes a seventh."""
        samples, half, hop = self.wave.shape[1], frames.n_fft // 2, frames.hop_length
        count = 1 + samples // hop
        for first in range(0, count, BLOCK_FRAMES):
            start = first * hop - half
            end = (min(count, first + BLOCK_FRAMES) - 1) * hop + half
            inside = self.wave[:, max(0, start) : min(samples, end)]
            beyond = (max(0, -start), max(0, end - samples))
            framed = sliding_window_view(np.pad(inside, ((0, 0), beyond)), frames.n_fft, axis=-1)
            yield scipy.fft.rfft(framed[:, ::hop] * _window(frames), axis=-1).swapaxes(1, 2)

    def _shared(
        self, key: object, make: Callable[[], Iterable[np.ndarray]]
    ) -> Iterable[np.ndarray]:
        if self.wave.size > KEPT_SAMPLES:
            return make()
        if key not in self._kept:
            self._kept[key] = list(make())
        return self._kept[key]
