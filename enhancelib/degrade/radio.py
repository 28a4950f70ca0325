"""The Bluetooth radio link: bursts of lost packets, what a headset plays instead, adaptive bitpool.

Losses follow the two-state model of Gilbert (1960, "Capacity of a burst-noise channel"): a good
state that delivers everything and a bad one that delivers nothing. Lost stretches are concealed as
the Hands-Free Profile (1.7, section on packet loss concealment for mSBC) tells headsets to:
continue with the stretch of the recent past that fits best; longer gaps fade as in ITU-T G.711,
appendix I.
"""

from __future__ import annotations

import itertools

import numpy as np

# Waveform substitution, Hands-Free Profile: search 16 ms for the last 4 ms, crossfade over 1 ms.
_SEARCH_S, _TEMPLATE_S, _FADE_S = 16e-3, 4e-3, 1e-3
_RECONVERGENCE = 36  # samples until the 8-band SBC synthesis has forgotten the gap
_FULL_S, _SILENT_S = 10e-3, 60e-3  # G.711, appendix I: full level for 10 ms, silent from 60 ms on

_MTU_BYTES = 672  # A2DP over L2CAP with its default MTU, of which RTP and SBC headers take 13
_HEADER_BYTES = 13
_MAX_FRAMES = 15  # a media packet counts its frames in four bits

# PulseAudio's steps; the interval is short enough for a three-second segment to show them.
BITPOOL_DOWN, BITPOOL_UP, BITPOOL_INTERVAL_S = 5, 1, 0.1
BITPOOL_FLOOR = 20
CONGESTION_S = 0.3  # mean length of a stretch of congestion


def gilbert(
    packets: int, *, loss: float, mean_burst: float, rng: np.random.Generator
) -> np.ndarray:
    """Return which packets are lost: a bool array ``(packets,)`` from Gilbert's model.

    Args:
        packets: how many are sent.
        loss: share lost in the long run, in (0, 1); the chain starts from its stationary state.
        mean_burst: mean number of packets lost in a row, at least 1 and loss / (1 − loss).
        rng: source of randomness.
    """
    leave_bad = 1 / mean_burst
    leave_good = leave_bad * loss / (1 - loss)
    lost = np.zeros(packets, dtype=bool)
    bad, at = rng.random() < loss, 0
    while at < packets:
        stay = int(rng.geometric(leave_bad if bad else leave_good))
        lost[at : at + stay] = bad
        bad, at = not bad, at + stay
    return lost


def frames_per_packet(frame_bytes: int) -> int:
    """Return how many SBC frames of this size share one A2DP media packet, and its fate."""
    return int(np.clip((_MTU_BYTES - _HEADER_BYTES) // frame_bytes, 1, _MAX_FRAMES))


def adaptive_bitpools(
    frames: int, *, top: int, floor: int, congested: float, frame_s: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the bitpool of every frame, int ``(frames,)``, on a link that is congested at times.

    While the radio is congested (Gilbert's bad state) the sender lowers the bitpool by 5, ten times
    a second, down to ``floor``; while it is clear, it raises it by 1 up to ``top``.

    Args:
        frames: number of SBC frames.
        top: bitpool of a clear link, where it starts.
        floor: lowest bitpool.
        congested: share of time in the bad state, in (0, 1).
        frame_s: length of a frame in seconds.
        rng: source of randomness.
    """
    per_interval = max(1, round(BITPOOL_INTERVAL_S / frame_s))
    bad = gilbert(
        -(-frames // per_interval),
        loss=congested,
        mean_burst=CONGESTION_S / BITPOOL_INTERVAL_S,
        rng=rng,
    )
    levels = itertools.accumulate(
        bad,
        lambda level, b: max(floor, level - BITPOOL_DOWN) if b else min(top, level + BITPOOL_UP),
        initial=top,
    )
    return np.repeat(np.array(list(levels)[1:], dtype=int), per_interval)[:frames]


def conceal(pcm: np.ndarray, lost: np.ndarray, *, frame: int, sample_rate: int) -> np.ndarray:
    """Fill lost frames with a continuation of what came before.

    Args:
        pcm: decoded ``(channels, frames · frame)``, where lost frames were decoded as silence (so
            that the filter bank rings out and starts again as it does in a headset).
        lost: bool ``(frames,)``.
        frame: samples per frame.
        sample_rate: rate in Hz.

    Returns:
        The same shape; without a past to continue, silence stays.
    """
    pcm = pcm.copy()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], lost.astype(np.int8), [0]])))
    for start, end in (edges * frame).reshape(-1, 2):
        _conceal_gap(pcm, int(start), int(end), frame, sample_rate)
    return pcm


def _conceal_gap(pcm: np.ndarray, start: int, end: int, frame: int, sample_rate: int) -> None:
    """Overwrite samples [start, end), and the crossfade after them, in place."""
    lag = _best_lag(pcm[:, :start], sample_rate)
    if lag is None:
        return
    past = pcm[:, start - lag : start].copy()
    stop = min(pcm.shape[1], end + _RECONVERGENCE + round(_FADE_S * sample_rate))
    offset = np.arange(stop - start)
    decay = np.interp(offset / sample_rate, (_FULL_S, _SILENT_S), (1.0, 0.0))
    level = _level(past, pcm[:, max(0, start - frame) : start])
    substitute = level * decay * past[:, offset % lag]
    weight = _crossfades(stop - start, end - start + _RECONVERGENCE, sample_rate)
    pcm[:, start:stop] += weight * (substitute - pcm[:, start:stop])


def _crossfades(samples: int, full_until: int, sample_rate: int) -> np.ndarray:
    """Return the substitute's weight: a raised-cosine rise, and a fall after ``full_until``."""
    fade = round(_FADE_S * sample_rate)
    at = np.arange(samples) + 0.5
    rise = np.clip(at / fade, 0, 1)
    fall = np.clip(1 - (at - full_until) / fade, 0, 1)
    return 0.5 - 0.5 * np.cos(np.pi * np.minimum(rise, fall))


def _best_lag(history: np.ndarray, sample_rate: int) -> int | None:
    """Return how far back the past looks most like its own end (normalised correlation).

    Args:
        history: ``(channels, samples)`` up to the gap.
        sample_rate: rate in Hz.

    Returns:
        A lag of 4 to 16 ms in samples; ``None`` where there is too little history.
    """
    template, search = round(_TEMPLATE_S * sample_rate), round(_SEARCH_S * sample_rate)
    recent = history[:, -(search + template) :].sum(axis=0, dtype=np.float64)
    if len(recent) < search + template:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(recent[:search], template)
    likeness = windows @ recent[-template:] / (np.linalg.norm(windows, axis=1) + 1e-12)
    return search - int(np.argmax(likeness))


def _level(past: np.ndarray, last: np.ndarray) -> float:
    """Return the gain that carries on at the level of the last frame, within 0.75 to 1.2."""
    before, after = np.abs(past).mean(), np.abs(last).mean()
    return float(np.clip(after / before, 0.75, 1.2)) if before > 0 else 1.0
