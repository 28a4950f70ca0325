"""Feed a stream of samples, in pieces of any size, through a model that takes frames.

Half-overlapping frames are windowed, transformed, enhanced and added up again (overlap-add with a
sqrt-Hann window on both sides: perfect reconstruction, Griffin & Lim, IEEE TASSP 32, 1984). The
transform is numpy's: outside the model's graph, the same for every runtime.
"""

from __future__ import annotations

import numpy as np

from enhancelib.audio.waves import Wave, analysis_window
from enhancelib.enhance.backends import Backend, check_sound

LARGEST = 1e6
"""Samples are limited to it, 120 dB over full scale: a spectrum's squares would overflow."""

_FRAMES_AT_ONCE = 32  # bounds the memory of a long chunk


def blend(wave: Wave, enhanced: Wave, amount: float | np.ndarray) -> Wave:
    """``wave + amount * (enhanced - wave)``, both aligned.

    Args:
        wave: what came in.
        enhanced: the same stretch, enhanced.
        amount: 0 to 1, one for all or one per sample. 0 gives ``wave`` bit for bit, 1 ``enhanced``.
    """
    share = np.asarray(amount, np.float32)
    return np.where(share == 0, wave, (1 - share) * wave + share * enhanced)


class FrameEngine:
    """One stream through one model; all state is in here.

    Frame ``k`` covers samples ``[(k - 1) * hop, (k + 1) * hop)`` of the stream. After it the
    samples before ``k * hop`` are final, so at most ``frame_length - 1`` samples are under way.

    Args:
        backend: a model that can stream.
        channels: number of audio channels.
    """

    def __init__(self, backend: Backend, channels: int):
        self._backend = backend
        self._hop = backend.metadata.hop_length
        self._window = analysis_window(backend.metadata.frame_length)
        self._states = backend.initial_state(channels)
        self._held = np.zeros((channels, self._hop), np.float32)
        self._tail = np.zeros((channels, self._hop), np.float32)
        self._started = False
        self.samples_in = 0
        self.samples_out = 0

    def push(self, wave: Wave) -> Wave:
        """Take (channels, samples); return the samples that became final, maybe none.

        Raises:
            ModelError: the model gives NaN or infinity.
        """
        self.samples_in += wave.shape[1]
        wave = np.clip(wave, -LARGEST, LARGEST)
        self._held = np.concatenate([self._held, wave], axis=1)
        count = self._held.shape[1] // self._hop - 1
        done = [
            self._run(min(_FRAMES_AT_ONCE, count - first))
            for first in range(0, count, _FRAMES_AT_ONCE)
        ]
        final = np.concatenate(done, axis=1) if done else wave[:, :0]
        if done and not self._started:  # frame 0 completes the hop before the first sample
            self._started, final = True, final[:, self._hop :]
        self.samples_out += final.shape[1]
        return final

    def finish(self) -> Wave:
        """Return what is still under way, as if silence followed; the engine is then spent."""
        rest = self.samples_in - self.samples_out
        silence = np.zeros((self._held.shape[0], 2 * self._hop), np.float32)
        return self.push(silence)[:, :rest]

    def _run(self, count: int) -> Wave:
        """Enhance the next ``count`` frames and return as many hops."""
        hop, channels = self._hop, self._held.shape[0]
        hops = self._held[:, : (count + 1) * hop].reshape(channels, count + 1, hop)
        self._held = self._held[:, count * hop :]
        frames = np.concatenate([hops[:, :-1], hops[:, 1:]], axis=2) * self._window
        spectra = np.fft.rfft(frames).view(np.float32).reshape(channels, count, hop + 1, 2)
        enhanced, self._states = self._backend.step(spectra, self._states)
        check_sound(enhanced, self._backend)
        pairs = np.ascontiguousarray(enhanced).view(np.complex64)[..., 0]
        frames = np.fft.irfft(pairs, 2 * hop) * self._window
        ends = np.concatenate([self._tail[:, None], frames[:, :-1, hop:]], axis=1)
        self._tail = frames[:, -1, hop:]
        return (frames[:, :, :hop] + ends).reshape(channels, count * hop)
