"""A true-peak limiter for sound that is played at once.

What a network adds can lift a loud master over full scale, between samples too, and a sound device
cuts that off. The limiter looks a little ahead: the gain has arrived when the peak does, and it
recovers by 75 dB per second. The peak between samples is that of four-fold oversampling (ITU-R
BS.1770-4, annex 2); all channels share one gain. What stays under the ceiling is not touched, bit
for bit.

Its filter is short, so that little is delayed, and as soft as the one that the standard prints:
music has next to nothing above 20 kHz, but white noise may pass the ceiling there by up to 0.8 dB.

The ceiling is 0 dBTP, as that of ``limit`` for files. EBU R 128 asks for -1 dBTP since a codec or a
converter may follow; here nothing follows but the device, and at -1 dBTP nearly every loud master
would be turned down where nothing was added to it.
"""

from __future__ import annotations

import numpy as np

from enhancelib.audio.waves import Wave

LOOK_AHEAD_S = 0.0015
"""How long before a peak the gain begins to fall."""

MARGIN_DB = 0.15
"""Distance from the ceiling at which a peak that would pass it ends.

A moving gain and the filter of another meter make peaks of their own.
"""

_RELEASE_DB_PER_S = 75.0
_HALF = 16  # samples on either side of the point between samples that is looked at
_FACTOR = 4


class TruePeakLimiter:
    """Limits a stream, chunk by chunk; every chunk comes back :attr:`latency_samples` later.

    Args:
        channels: of the stream.
        sample_rate: in Hz.
    """

    def __init__(self, channels: int, *, sample_rate: int):
        self._ahead = max(_HALF, round(LOOK_AHEAD_S * sample_rate))
        self.latency_samples = _HALF + self._ahead
        self._slope = _RELEASE_DB_PER_S / sample_rate
        self._wave = np.zeros((channels, self.latency_samples), np.float32)
        self._between = 0.0  # peak between the last two samples looked at
        self._released = 0.0
        self._wanted = np.zeros(self._ahead)
        self._held = np.zeros(self._ahead)

    def process(self, wave: Wave) -> Wave:
        """Return as many samples of the delayed stream, limited to 0 dBTP.

        Args:
            wave: the next (channels, samples).
        """
        samples = wave.shape[1]
        heard = np.concatenate([self._wave, wave], axis=1)
        wanted = self._recovering(self._excess_db(heard[:, self._ahead - _HALF :]))
        # Wherever the mean is taken, all of its window knows of the peak at its end.
        held, self._wanted = _sliding(self._wanted, wanted, np.max)
        reduction_db, self._held = _sliding(self._held, held, np.mean)
        self._wave = heard[:, samples:]
        return (heard[:, :samples] * 10 ** (-reduction_db / 20)).astype(np.float32)

    def _excess_db(self, heard: Wave) -> np.ndarray:
        """Return the dB by which to lower each sample, but the first and last :data:`_HALF`."""
        around = np.lib.stride_tricks.sliding_window_view(heard[:, 1:], 2 * _HALF, axis=1)
        between = np.abs(around @ _FILTERS).max(axis=(0, 2), initial=0.0)
        before = np.concatenate([[self._between], between[:-1]])
        self._between = float(between[-1])
        at = np.abs(heard[:, _HALF:-_HALF]).max(axis=0)
        peak = np.maximum(at, np.maximum(before, between))
        over = peak > 1
        return np.where(over, 20 * np.log10(np.where(over, peak, 1.0)) + MARGIN_DB, 0.0)

    def _recovering(self, excess_db: np.ndarray) -> np.ndarray:
        """Falls by no more than the release allows."""
        fallen = self._slope * np.arange(1, len(excess_db) + 1)
        highest = np.maximum.accumulate(np.append(self._released, excess_db + fallen))[1:]
        released = np.maximum(excess_db, highest - fallen)
        self._released = float(released[-1])
        return released


def _sliding(past: np.ndarray, new: np.ndarray, reduce) -> tuple[np.ndarray, np.ndarray]:
    """A function of each value and as many before it as ``past`` holds; then the next ``past``."""
    values = np.concatenate([past, new])
    windows = np.lib.stride_tricks.sliding_window_view(values, len(past) + 1)
    return reduce(windows, axis=1), values[len(new) :]


def _filters() -> np.ndarray:
    """Windowed sincs that read a signal at a quarter, a half and three quarters of a sample.

    Returns:
        (taps, 3), for the samples from ``1 - _HALF`` to ``_HALF`` around.
    """
    places = np.arange(1 - _HALF, _HALF + 1)[:, None] - np.arange(1, _FACTOR) / _FACTOR
    window = np.i0(6 * np.sqrt(1 - (places / _HALF) ** 2)) / np.i0(6.0)
    taps = np.sinc(places) * window
    return (taps / taps.sum(axis=0)).astype(np.float32)


_FILTERS = _filters()
