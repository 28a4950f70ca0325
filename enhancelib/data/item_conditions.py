"""Under which conditions training items are: tables of shares, and one drawn for each item.

Two rules stand above the tables:

- Music that was coded once before is only ever coded again at a low rate, where what that takes is
  far more than what was taken before.
- A brick wall is what codecs leave, and to be undone. An original with a wall of its own is
  therefore rare, and its input tells the two apart: it is lossless, or was coded with a lower cut.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

LOW_RATES = (
    *(f"mp3-{kbps}" for kbps in (24, 32, 40, 48, 56, 64)),
    *(f"aac-{kbps}" for kbps in (32, 40, 48, 56, 64)),
)
MIDDLE_RATES = "mp3-80", "mp3-96", "aac-80", "aac-96"
USUAL_RATES = "mp3-128", "aac-128"
#: Shares of conditions for originals, in percent; names in capitals are drawn further below.
OF_ORIGINALS: dict[str, float] = {
    **dict.fromkeys((*LOW_RATES, *MIDDLE_RATES), 2.5),
    **dict.fromkeys(USUAL_RATES, 3.2),
    "TRANSPARENT": 7.0,
    "OPUS": 5.0,
    "SBC": 10.0,
    "DUAL": 3.0,
    "aptx": 2.0,
    "aptx-hd": 0.5,
    "msbc": 0.7,
    "TANDEM": 7.0,
    "DOWN": 4.0,
    "NOISE": 5.0,
    "CLIP": 2.0,
    "LOSS": 2.5,
    "ADAPTIVE": 1.0,
    "old-recording": 1.0,
    "lossless": 5.4,
}
#: For music that was coded before: what takes much more from it than that did.
OF_ONCE_LOSSY: dict[str, float] = {
    **dict.fromkeys(LOW_RATES, 5.0),
    **dict.fromkeys(MIDDLE_RATES, 3.0),
    "LOW-OPUS": 8.0,
    "LOW-SBC": 10.0,
    "LOW-TANDEM": 8.0,
    "LOW-DOWN": 7.0,
}
#: Voices: what hides them is noise, far more often than what hides music.
OF_VOICES = OF_ORIGINALS | {"NOISE": 22.0}
#: Of the items with a codec or a lower rate: noise before or after it.
NOISE_BESIDE = 0.25
#: Of MP3 and AAC: the encoder run in another way.
VARIED_ENCODER = 0.35
VARIANTS = {
    "mp3": {"q0": 0.05, "q2": 0.25, "q5": 0.2, "q9": 0.25, "lr": 0.25},
    "aac": {"fast": 0.5, "nopns": 0.2, "lr": 0.3},
}
#: Sampling rates that encoders choose of themselves at a bit rate, and how often.
CODING_RATES = {
    "mp3-24": (22050, 1.0),
    "mp3-32": (22050, 0.5),
    "mp3-40": (24000, 0.4),
    "mp3-48": (32000, 0.4),
    "mp3-56": (32000, 0.4),
    "aac-32": (22050, 0.4),
    "aac-40": (32000, 0.4),
    "aac-48": (32000, 0.4),
}
#: Where what is coded ends, in Hz (20 dB under what went in): the highest that was measured, over
#: white noise, pink noise, clicks and bursts.
OWN_CUT_HZ = {
    "mp3-32": 5800,
    "mp3-40": 7150,
    "mp3-48": 7850,
    "mp3-56": 10600,
    "mp3-64": 11300,
    "mp3-80": 13400,
    "mp3-96": 15400,
    "aac-32": 5100,
    "aac-40": 6450,
    "aac-48": 7850,
    "aac-56": 9900,
    "aac-64": 12600,
    "aac-80": 16800,
}

WALL = 0.09
"""The share of originals of which both sides end at a wall: 5 to 10 % of all items."""
WALL_LOSSLESS = 0.4
_WALL_HZ = 5000.0, 20000.0
_OVER_THE_CUT_HZ = 1000.0
_COLOURS = "white", "pink", "brown", "blue", "hum"


def pick(rng: np.random.Generator, shares: Mapping[str, float]) -> str:
    """A key, drawn in proportion to its share; the shares need not add up to 1."""
    weights = np.array(list(shares.values()))
    return list(shares)[rng.choice(len(weights), p=weights / weights.sum())]


def within(rng: np.random.Generator, low: float, high: float) -> float:
    """A number between two, uniform in its logarithm."""
    return float(low * (high / low) ** rng.random())


def draw_condition(
    rng: np.random.Generator, *, energies_only: bool, voice: bool = False
) -> tuple[str, float]:
    """Return a condition, and the wall of the original in Hz where it has one, else 0.

    Args:
        rng: source of all that is random.
        energies_only: whether any of the music was coded before.
        voice: whether somebody speaks or sings, which is under noise more often.
    """
    if not energies_only and rng.random() < WALL:
        return _walled(rng)
    originals = OF_VOICES if voice else OF_ORIGINALS
    base = pick(rng, OF_ONCE_LOSSY if energies_only else originals)
    condition = _step(base, rng)
    codec = base not in ("NOISE", "lossless", "old-recording", "CLIP", "LOSS")
    if codec and rng.random() < NOISE_BESIDE:
        steps = [condition, _noise(rng)]
        condition = "+".join(steps if rng.random() < 0.5 else steps[::-1])
    return condition, 0.0


def _walled(rng: np.random.Generator) -> tuple[str, float]:
    if rng.random() < WALL_LOSSLESS:
        return "lossless", within(rng, *_WALL_HZ)
    base = list(OWN_CUT_HZ)[rng.integers(len(OWN_CUT_HZ))]
    return base, within(rng, OWN_CUT_HZ[base] + _OVER_THE_CUT_HZ, _WALL_HZ[1])


def _step(base: str, rng: np.random.Generator) -> str:
    match base:
        case "TRANSPARENT":
            kbps = _of(rng, 192, 224, 256, 320)
            return _of(rng, f"mp3-{kbps}", f"aac-{kbps}", f"opus-{kbps}")
        case "OPUS":
            return f"opus-{within(rng, 16, 160):.0f}"
        case "LOW-OPUS":
            return f"opus-{within(rng, 12, 40):.0f}"
        case "SBC":
            return f"sbc-{within(rng, 10, 53):.0f}"
        case "LOW-SBC":
            return f"sbc-{within(rng, 8, 24):.0f}"
        case "DUAL":
            return f"sbc-{_of(rng, 38, 47, rng.integers(12, 48))}-dual"
        case "TANDEM":
            stream = _step(_of(rng, *LOW_RATES, *MIDDLE_RATES, *USUAL_RATES, "OPUS"), rng)
            link = _of(rng, "SBC", "SBC", "SBC", "DUAL", "aptx", *USUAL_RATES)
            return f"{stream}+{_step(link, rng)}"
        case "LOW-TANDEM":
            return f"{_step(_of(rng, *LOW_RATES), rng)}+{_step(_of(rng, 'SBC', 'LOW-SBC'), rng)}"
        case "DOWN":
            return f"down-{_of(rng, 8000, 11025, 12000, 16000, 22050, 24000, 32000)}hz"
        case "LOW-DOWN":
            return f"down-{_of(rng, 8000, 11025, 12000, 16000, 22050)}hz"
        case "NOISE":
            return _noise(rng)
        case "CLIP":
            return f"clip-{rng.integers(1, 11)}db"
        case "LOSS":
            link = _of(rng, "sbc-53", "sbc-35", "sbc-47-dual", "msbc")
            return f"{link}-loss-{_of(rng, 1, 3, 5, 8)}pct"
        case "ADAPTIVE":
            return f"sbc-{_of(rng, 35, 53)}-adaptive-{_of(rng, 5, 10, 20, 30)}pct"
    return _encoded(base, rng)


def _encoded(base: str, rng: np.random.Generator) -> str:
    """MP3 and AAC with an encoder's own settings and sampling rate; others as they are."""
    codec = base.partition("-")[0]
    if codec not in VARIANTS:
        return base
    rate, share = CODING_RATES.get(base, (0, 0.0))
    at = f"@{rate}hz" if rng.random() < share else ""
    varied = rng.random() < VARIED_ENCODER
    return f"{base}-{pick(rng, VARIANTS[codec])}{at}" if varied else f"{base}{at}"


def _noise(rng: np.random.Generator) -> str:
    return f"noise-{_of(rng, *_COLOURS)}-{rng.integers(5, 46)}db"


def _of(rng: np.random.Generator, *choices):
    return choices[rng.integers(len(choices))]
