"""One-shots into music: drum patterns, repitched voices, loops, a room, a mix.

All functions work at 44.1 kHz in stereo and take the random generator that decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.signal import fftconvolve

from enhancelib.audio.waves import Wave, resample
from enhancelib.errors import InputError
from tools.corpus.recipe import RATE

_STEPS = 16  # to the bar
#: Sixteenths of a bar per role: x always, o now and then.
_PATTERNS = {
    "kick": ("x...x...x...x...", "x.....x.x...o...", "x..x..x...x...o.", "x...o...x.x....."),
    "snare": ("....x.......x...", "....x..o.o..x..o", "........x.....o.", "....x.......x.xo"),
    "hat": ("x.x.x.x.x.x.x.x.", "xoxoxoxoxoxoxoxo", "..x...x...x...x.", "x.xxx.x.x.xxx.xo"),
    "ride": ("x...x...x...x...", "x.o.x.o.x.o.x.o.", "o.......o......."),
    "tom": ("..........o.o.oo", "o..............o", "x..x..x..x..x.x."),
    "perc": ("..o...x...o..x..", "x..x..x...x.x...", "o...........o..."),
    "crash": ("o...............",),
}


def stereo(wave: Wave) -> Wave:
    """Two channels of any number: one is doubled, of more the first two are kept."""
    return np.repeat(wave, 2, axis=0) if len(wave) == 1 else wave[:2]


def place(canvas: Wave, wave: Wave, *, at_s: float, gain: float = 1.0, pan: float = 0.0) -> None:
    """Add a stereo wave to the canvas in place, from ``at_s`` on; what sticks out is cut.

    ``pan`` runs from −1 (left) to 1 (right) and lowers the other channel only.
    """
    start = max(0, round(at_s * RATE))
    length = min(wave.shape[1], canvas.shape[1] - start)
    if length > 0:
        balance = np.array([[min(1.0, 1.0 - pan)], [min(1.0, 1.0 + pan)]], dtype=np.float32)
        canvas[:, start : start + length] += gain * balance * wave[:, :length]


def drums(
    kit: Mapping[str, Sequence[Wave]],
    *,
    beats_per_minute: float,
    bars: int,
    rng: np.random.Generator,
) -> Wave:
    """Play a kit in a random pattern per instrument, with fills, accents and human timing.

    Args:
        kit: role (first word as in ``_PATTERNS``; others play as ``perc``) to the takes of one
            instrument, each stereo; a hit picks a take.
        beats_per_minute: tempo, four beats to the bar.
        bars: length in bars.
        rng: decides everything else.

    Returns:
        (2, samples), unnormalised.
    """
    step_s = 15.0 / beats_per_minute
    canvas = np.zeros((2, round(bars * _STEPS * step_s * RATE) + RATE), dtype=np.float32)
    swing_s = rng.choice([0.0, 0.0, 0.12, 0.2]) * step_s
    for role, takes in sorted(kit.items()):
        patterns = _PATTERNS.get(role.split()[0], _PATTERNS["perc"])
        pattern = patterns[rng.integers(len(patterns))]
        pan = float(rng.uniform(-0.5, 0.5)) if role not in ("kick", "snare") else 0.0
        level = float(rng.uniform(0.5, 1.0))
        for step in range(bars * _STEPS):
            mark = pattern[step % _STEPS]
            fill = role in ("tom", "snare") and step // _STEPS % 4 == 3 and step % _STEPS >= 12
            chance = {"x": 0.97, "o": 0.45, ".": 0.5 if fill else 0.01}[mark]
            if rng.random() < chance:
                accent = rng.uniform(0.75, 1.0) if step % 4 == 0 else rng.uniform(0.35, 0.85)
                late_s = step % 2 * swing_s + rng.normal(0, 0.004)
                place(
                    canvas,
                    takes[rng.integers(len(takes))],
                    at_s=step * step_s + late_s,
                    gain=level * accent,
                    pan=pan,
                )
    return canvas


def voice(
    take: Wave,
    degrees: Sequence[int],
    *,
    seconds: float,
    note_s: float,
    rng: np.random.Generator,
) -> Wave:
    """Play one take as an instrument: repitched to the semitones in turn, one note per ``note_s``.

    Repitching resamples, so a note that goes down loses treble and one that goes up gains it, as in
    every sampler.
    """
    pitched = {
        degree: resample(take, from_rate=RATE, to_rate=round(RATE * 2 ** (-degree / 12)))
        for degree in set(degrees)
    }
    canvas = np.zeros((2, round(seconds * RATE)), dtype=np.float32)
    for index in range(int(seconds / note_s)):
        if rng.random() < 0.85:
            note = pitched[degrees[index % len(degrees)]][:, : round(1.02 * note_s * RATE)]
            place(canvas, faded(note), at_s=index * note_s, gain=float(rng.uniform(0.6, 1.0)))
    return canvas


def loop(take: Wave, *, seconds: float) -> Wave:
    """Repeat a take, its ends overlapped by 5 ms, for so long."""
    canvas = np.zeros((2, round(seconds * RATE)), dtype=np.float32)
    take = faded(take)
    period_s = max(0.05, take.shape[1] / RATE - 0.005)
    for index in range(int(np.ceil(seconds / period_s))):
        place(canvas, take, at_s=index * period_s)
    return canvas


def faded(wave: Wave, *, fade_s: float = 0.005) -> Wave:
    """Fade both ends in and out linearly, so that a cut does not click."""
    length = min(round(fade_s * RATE), wave.shape[1] // 2)
    wave = wave.copy()
    ramp = np.linspace(0, 1, length, dtype=np.float32)
    wave[:, :length] *= ramp
    wave[:, wave.shape[1] - length :] *= ramp[::-1]
    return wave


def room(wave: Wave, *, decay_s: float, wet_db: float, rng: np.random.Generator) -> Wave:
    """Add the sound of a room: stereo noise that decays by 60 dB in ``decay_s``, at ``wet_db``."""
    time_s = np.arange(round(decay_s * RATE)) / RATE
    tail = rng.standard_normal((2, len(time_s))) * 10 ** (-3 * time_s / decay_s)
    tail *= 10 ** (wet_db / 20) / np.sqrt(np.sum(tail**2, axis=1, keepdims=True))
    wet = fftconvolve(wave, tail.astype(np.float32), axes=1)[:, : wave.shape[1]]
    return (wave + wet).astype(np.float32)


def mix(layers: Sequence[tuple[Wave, float]]) -> Wave:
    """Sum layers, each brought to its level in dB RMS, cut to the shortest; peak at −1 dBFS."""
    samples = min(layer.shape[1] for layer, _ in layers)
    canvas = np.zeros((2, samples), dtype=np.float32)
    for layer, level_db in layers:
        rms = float(np.sqrt(np.mean(layer[:, :samples].astype(np.float64) ** 2)))
        if rms > 1e-6:
            canvas += np.float32(10 ** (level_db / 20) / rms) * layer[:, :samples]
    return normalized(canvas)


def normalized(wave: Wave, *, peak_db: float = -1.0) -> Wave:
    """Bring the peak to ``peak_db`` dBFS; silence stays silence."""
    peak = float(np.abs(wave).max())
    return wave if peak == 0 else (wave * np.float32(10 ** (peak_db / 20) / peak))


def trimmed(wave: Wave, *, floor: float = 1e-5, fade_s: float = 0.05) -> Wave:
    """Cut silence at both ends, fade, and bring the peak to −1 dBFS.

    Raises:
        InputError: nothing is louder than ``floor``.
    """
    loud = np.flatnonzero(np.abs(wave).max(axis=0) > floor)
    if not len(loud):
        raise InputError("nothing sounds")
    return normalized(faded(wave[:, loud[0] : loud[-1] + 1], fade_s=fade_s))
