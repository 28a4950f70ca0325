"""What is no music and was never coded: sweeps, leads, bells, strings, bars, noise, clicks.

Each piece is half a minute of passages, with silence among them. Periodic waves are sums of their
partials below half the sampling rate, so nothing aliases.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.signal import butter, chirp, lfilter, sosfilt

from enhancelib.audio.waves import Wave
from tools.corpus.recipe import NYQUIST, RATE, Recipe
from tools.corpus.sources import sequencer

SECONDS = 30.0
COUNTS = {"train": 128, "validation": 8}
"""Pieces in each split. They share the way they are made, and no seed."""

_HIGHEST_HZ = 0.98 * NYQUIST
_BAR_MODES = (1.0, 2.756, 5.404, 8.933, 13.344)
"""Of a free bar against its lowest (Fletcher and Rossing, The Physics of Musical Instruments)."""


class SignalRecipe(Recipe):
    """Passages of signals in turn, each at a place of its own between the loudspeakers."""

    def render(self) -> Wave:
        """Draw passages until the time is full; one in seven is silent."""
        rng = self.rng
        canvas = np.zeros((2, round(SECONDS * RATE)), dtype=np.float32)
        at_s = 0.0
        while at_s < SECONDS:
            seconds = float(rng.uniform(0.6, 4.0))
            if rng.random() > 1 / 7:
                passage = PASSAGES[rng.integers(len(PASSAGES))](seconds, rng)
                passage = sequencer.faded(sequencer.stereo(passage[None].astype(np.float32)))
                level_db, pan = float(rng.uniform(-30, 0)), float(rng.uniform(-1, 1))
                passage = sequencer.normalized(passage, peak_db=level_db)
                sequencer.place(canvas, passage, at_s=at_s, pan=pan)
            at_s += seconds * float(rng.uniform(0.7, 1.1))
        return sequencer.normalized(sequencer.faded(canvas))


def signal_recipes() -> list[Recipe]:
    """The pieces of :data:`COUNTS`."""
    return [
        SignalRecipe(
            f"{split}_{index:02d}",
            f"signals-{split}",
            "CC0-1.0",
            f"signals-{split}",
            split,
            kind="signal",
            author=f"generated for {split}",
        )
        for split, count in COUNTS.items()
        for index in range(count)
    ]


# ---------------------------------------------------------------- passages, (samples,)


def sweep(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A sine from one frequency to another, up or down, by octaves or by hertz."""
    ends = [float(rng.uniform(30, 200)), float(rng.uniform(4000, _HIGHEST_HZ))]
    start, end = ends if rng.random() < 0.5 else ends[::-1]
    method = ("logarithmic", "linear")[rng.integers(2)]
    return chirp(_time(seconds), start, seconds, end, method=method)


def sines(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """One to six sines anywhere between 50 Hz and 20 kHz."""
    hertz = 50 * 400 ** rng.random(rng.integers(1, 7))
    phases = rng.uniform(0, 2 * np.pi, len(hertz))
    return np.sin(2 * np.pi * hertz[:, None] * _time(seconds) + phases[:, None]).sum(axis=0)


def lead(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A saw, a square or a triangle with vibrato that plays a few notes."""
    partial_levels = (
        lambda k: 1.0 / k,
        lambda k: (k % 2) / k,
        lambda k: (k % 2) * (-1.0) ** (k // 2) / k**2,
    )[rng.integers(3)]
    depth, rate_hz = float(rng.uniform(0, 0.4)), float(rng.uniform(4, 7))
    notes, count = [], int(rng.integers(1, 6))
    for _ in range(count):
        time_s = _time(seconds / count)
        semitones = rng.integers(-24, 25) + depth * np.sin(2 * np.pi * rate_hz * time_s)
        hertz = 261.6 * 2 ** (semitones / 12)
        notes.append(periodic(hertz, partial_levels) * _decay(time_s, float(rng.uniform(0.2, 3))))
    return np.concatenate(notes)


def periodic(hertz: np.ndarray, level_of: Callable[[int], float]) -> np.ndarray:
    """Partials of a frequency in Hz that may move, those below half the sampling rate."""
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    wave = np.zeros(len(hertz))
    for partial in range(1, int(_HIGHEST_HZ / hertz.max()) + 1):
        if level := level_of(partial):
            wave += level * np.sin(partial * phase)
    return wave


def reed(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A held tone with a few strong partials and none above: what is dull by nature."""
    hertz, last = float(110 * 2 ** rng.uniform(0, 3)), int(rng.integers(2, 24))
    levels = 10 ** (-rng.uniform(0, 20, last) / 20)
    time_s = _time(seconds)
    swell = np.minimum(1, time_s / float(rng.uniform(0.01, 0.3)))
    moved = float(rng.uniform(0, 0.2)) * np.sin(2 * np.pi * float(rng.uniform(3, 7)) * time_s)
    return swell * periodic(
        hertz * 2 ** (moved / 12), lambda k: levels[k - 1] if k <= last else 0.0
    )


def bell(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A sine whose frequency a second one moves, less and less (Chowning, 1973)."""
    time_s = _time(seconds)
    hertz, ratio = float(rng.uniform(150, 1200)), float(rng.choice([1.4, 1.41, 2.76, 3.5]))
    index = float(rng.uniform(1, 5)) * _decay(time_s, seconds / 2)
    moved = index * np.sin(2 * np.pi * hertz * ratio * time_s)
    return _decay(time_s, seconds) * np.sin(2 * np.pi * hertz * time_s + moved)


def plucked(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """One to six strings, plucked at any time."""
    samples = round(seconds * RATE)
    wave = np.zeros(samples)
    for start in rng.integers(0, round(0.8 * samples), rng.integers(1, 7)):
        wave[start:] += string(samples - int(start), float(82.4 * 2 ** rng.uniform(0, 3.5)), rng)
    return wave


def string(samples: int, hertz: float, rng: np.random.Generator) -> np.ndarray:
    """Noise that a loop with a mean of two samples wears off (Karplus and Strong, 1983)."""
    period = round(RATE / hertz - 0.5)
    burst = np.zeros(samples)
    burst[:period] = rng.uniform(-1, 1, len(burst[:period]))
    loop = np.zeros(period + 2)
    loop[0], loop[period], loop[period + 1] = 1.0, -0.499, -0.499
    return lfilter([1.0], loop, burst)


def struck(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Bars struck in turn: the modes of a free bar, the higher the shorter."""
    time_s = _time(seconds)
    wave = np.zeros(len(time_s))
    for start_s in rng.uniform(0, 0.8 * seconds, rng.integers(1, 9)):
        since_s = np.maximum(time_s - start_s, 0)
        lowest = float(200 * 2 ** rng.uniform(0, 3))
        for number, ratio in enumerate(_BAR_MODES):
            if lowest * ratio < _HIGHEST_HZ:
                fall = _decay(since_s, 1.5 / (1 + number)) / (1 + number)
                wave += fall * np.sin(2 * np.pi * lowest * ratio * since_s)
    return wave


def bursts(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Noise in a band, steady or in bursts."""
    low = float(50 * 100 ** rng.random())
    high = min(float(low * rng.uniform(2, 40)), _HIGHEST_HZ)
    shape = butter(4, [low, high], btype="bandpass", fs=RATE, output="sos")
    noise = sosfilt(shape, rng.standard_normal(round(seconds * RATE)))
    period_s = float(rng.uniform(0.1, 0.6))
    steady = rng.random() < 0.3
    return noise if steady else noise * _decay(_time(seconds) % period_s, period_s)


def clicks(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Single samples, alone or as a train."""
    wave = np.zeros(round(seconds * RATE))
    if rng.random() < 0.5:
        wave[:: round(RATE / float(rng.uniform(2, 200)))] = 1.0
    else:
        places = rng.integers(0, len(wave), rng.integers(2, 40))
        wave[places] = rng.uniform(-1, 1, len(places))
        wave[places[0]] = 1.0
    return wave


PASSAGES = (sweep, sines, lead, lead, reed, reed, bell, plucked, struck, bursts, clicks)


def _time(seconds: float) -> np.ndarray:
    return np.arange(round(seconds * RATE)) / RATE


def _decay(time_s: np.ndarray, seconds: float) -> np.ndarray:
    """Falls by 60 dB within a time."""
    return 10.0 ** (-3 * time_s / seconds)
