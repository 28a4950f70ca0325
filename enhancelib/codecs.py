"""Degrade a wave as phones and headphones do: conditions by name, through real codecs.

A *condition* is a name such as ``aac-64+sbc-20``: steps joined by ``+``, applied in order.

=====================  ==========================================================================
``lossless``           nothing
``mp3-128``, ``aac-``  coded at that bit rate, kbit/s for the stereo pair; ``opus-`` likewise
``sbc-53``             Bluetooth SBC, joint stereo, at that bitpool; ``msbc``, ``aptx``, ``aptx-hd``
``…@48000hz``          coded at this rate: resampled before and back after, without delay
``down-16000hz``       resampled to that rate and back: the band above its half is gone
``noise-white-20db``   noise at that signal-to-noise ratio; pink, brown, blue, violet, hum
``clip-6db``           clipped hard 6 dB under the peak
=====================  ==========================================================================

Where the wave's rate is not legal for a codec, the nearest legal rate that keeps the band is used;
:func:`resolve` returns the name that says so, such as ``opus-64@48000hz``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from pydantic import BaseModel, ConfigDict

from enhancelib.audio import Wave, check_rate, check_wave, fit_length, resample
from enhancelib.degradations import NOISE_COLOURS, add_noise, clip
from enhancelib.encoders import (
    CODECS,
    Codec,
    Stream,
    check_legal,
    decode_packets,
    encode_packets,
    mono_setting,
)
from enhancelib.errors import InputError

CONDITIONS: tuple[str, ...] = (
    "lossless",
    "sbc-53",
    "sbc-35",
    "sbc-20",
    "aptx",
    "aac-128",
    "aac-64",
    "mp3-128",
    "mp3-64",
    "opus-64",
    "aac-128+sbc-35",
    "aac-64+sbc-20",
    "down-22050hz",
    "down-16000hz",
    "down-8000hz",
    "noise-white-20db",
    "noise-pink-20db",
    "clip-6db",
)


class Step(BaseModel):
    """Base of one step of a condition."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Coding(Step):
    """Through a codec: ``setting`` is kbit/s or bitpool, ``rate_hz`` a rate asked for by name."""

    codec: str
    setting: int | None = None
    rate_hz: int | None = None

    @property
    def name(self) -> str:
        """The step as it stands in a condition's name."""
        setting = "" if self.setting is None else f"-{self.setting}"
        return f"{self.codec}{setting}" + (f"@{self.rate_hz}hz" if self.rate_hz else "")


class Downsampling(Step):
    """Resampled to ``rate_hz`` and back."""

    rate_hz: int

    @property
    def name(self) -> str:
        """The step as it stands in a condition's name."""
        return f"down-{self.rate_hz}hz"


class Noise(Step):
    """Noise of a colour at ``snr_db``."""

    colour: str
    snr_db: float

    @property
    def name(self) -> str:
        """The step as it stands in a condition's name."""
        return f"noise-{self.colour}-{self.snr_db:g}db"


class Clipping(Step):
    """Clipped hard, ``drive_db`` under the peak."""

    drive_db: float

    @property
    def name(self) -> str:
        """The step as it stands in a condition's name."""
        return f"clip-{self.drive_db:g}db"


class Condition(Step):
    """A degradation: steps in order; none is ``lossless``."""

    steps: tuple[Coding | Downsampling | Noise | Clipping, ...] = ()

    @property
    def name(self) -> str:
        """The canonical name; :func:`parse_condition` of it gives this condition back."""
        return "+".join(step.name for step in self.steps) or "lossless"


_NUMBER = r"(-?\d+(?:\.\d+)?)"
_CODING = re.compile(
    rf"({'|'.join(sorted(CODECS, key=len, reverse=True))})(?:-(\d+))?(?:@(\d+)hz)?"
)
_DOWN = re.compile(r"down-(\d+)hz")
_NOISE = re.compile(rf"noise-([a-z]+)-{_NUMBER}db")
_CLIP = re.compile(rf"clip-{_NUMBER}db")


@lru_cache(maxsize=1024)
def parse_condition(name: str) -> Condition:
    """Read a condition's name.

    Raises:
        InputError: An unknown step, or a value its codec does not have; names the legal ones.
    """
    steps = [_parse_step(part) for part in name.strip().lower().split("+")]
    return Condition(steps=tuple(step for step in steps if step is not None))


def _parse_step(text: str) -> Coding | Downsampling | Noise | Clipping | None:
    if text == "lossless":
        return None
    if match := _CODING.fullmatch(text):
        codec, setting, rate = match.groups()
        return _check_coding(
            Coding(codec=codec, setting=setting and int(setting), rate_hz=rate and int(rate))
        )
    if match := _DOWN.fullmatch(text):
        return Downsampling(rate_hz=check_rate(int(match[1]), name=text))
    if match := _NOISE.fullmatch(text):
        if match[1] not in NOISE_COLOURS:
            raise InputError(f"{text}: unknown colour; use one of {', '.join(NOISE_COLOURS)}")
        return Noise(colour=match[1], snr_db=float(match[2]))
    if (match := _CLIP.fullmatch(text)) and float(match[1]) > 0:
        return Clipping(drive_db=float(match[1]))
    raise InputError(
        f"condition {text!r} is unknown; use lossless, down-16000hz, noise-white-20db, clip-6db, "
        f"or a codec ({', '.join(CODECS)}) with its setting, such as sbc-53 or mp3-64@44100hz"
    )


def _check_coding(step: Coding) -> Coding:
    """Refuse a setting that is legal at none of the rates the step may run at."""
    codec = CODECS[step.codec]
    rates = [step.rate_hz] if step.rate_hz else sorted(codec.rates, reverse=True)
    channels = max(codec.channels)
    if any(step.setting in (codec.settings(r, channels) or (None,)) for r in rates[1:]):
        return step
    check_legal(codec, sample_rate=rates[0], channels=channels, setting=step.setting)
    return step


def standard_conditions() -> tuple[str, ...]:
    """Return the names of the conditions used by default."""
    return CONDITIONS


def coding_rate(codec: Codec, sample_rate: int) -> int:
    """Return the nearest legal rate in Hz that keeps the band: the lowest not below, or the top."""
    return next((rate for rate in codec.rates if rate >= sample_rate), codec.rates[-1])


def resolve(condition: str, *, sample_rate: int) -> str:
    """Return the name that states every rate conversion: ``opus-64`` → ``opus-64@48000hz``."""
    return _resolved(parse_condition(condition), sample_rate).name


def _resolved(condition: Condition, sample_rate: int) -> Condition:
    steps = []
    for step in condition.steps:
        if isinstance(step, Coding):
            rate = step.rate_hz or coding_rate(CODECS[step.codec], sample_rate)
            step = step.model_copy(update={"rate_hz": None if rate == sample_rate else rate})
        steps.append(step)
    return Condition(steps=tuple(steps))


def degrade(wave: Wave, condition: str, *, sample_rate: int, seed: int = 0) -> Wave:
    """Return ``wave`` as it sounds under a condition: same shape, aligned to the sample.

    Channels are coded in pairs; a single one is coded as mono at the rate that :func:`mono_setting`
    gives (as two equal channels in joint stereo it would come out far too clean). A decoder may
    overshoot full scale a little.

    Args:
        wave: ``(channels, samples)`` in [-1, 1].
        condition: A name, see the module's table.
        sample_rate: Rate in Hz.
        seed: For what is random; the same seed gives the same samples.

    Raises:
        InputError: An unknown condition, or one that this rate does not allow.
    """
    wave = check_wave(wave)
    parsed = _resolved(parse_condition(condition), check_rate(sample_rate))
    for index, step in enumerate(parsed.steps):
        rng = np.random.default_rng([seed, index])
        wave = _apply(step, wave, sample_rate, rng)
    return wave


@dataclass(frozen=True)
class Encoded:
    """What a condition's last codec sent.

    Attributes:
        condition: Canonical name with every rate conversion, as :func:`resolve` gives it.
        packets: The packets in order; of several channel pairs, those that belong together joined.
        kbps: Measured bit rate in kbit/s, of all channels together.
        sample_rate: Rate in Hz at which it was coded.
        gain_db: Level of the decoded signal against what was coded (least squares).
    """

    condition: str
    packets: tuple[bytes, ...]
    kbps: float
    sample_rate: int
    gain_db: float


def encode(wave: Wave, condition: str, *, sample_rate: int) -> Encoded:
    """Code a wave and return the packets with their measured bit rate.

    Args:
        wave: ``(channels, samples)`` in [-1, 1].
        condition: A codec, or a chain that ends in one.
        sample_rate: Rate in Hz.

    Raises:
        InputError: As in :func:`degrade`, or the last step is no codec.
    """
    wave = check_wave(wave)
    resolved = _resolved(parse_condition(condition), check_rate(sample_rate))
    if not resolved.steps or not isinstance(resolved.steps[-1], Coding):
        raise InputError(f"{resolved.name}: ends in no codec; append one such as +sbc-53")
    *before, last = resolved.steps
    wave = degrade(wave, Condition(steps=tuple(before)).name, sample_rate=sample_rate)
    rate = last.rate_hz or sample_rate
    source = resample(wave, from_rate=sample_rate, to_rate=rate)
    streams = _streams(last, source, rate)
    decoded = np.concatenate([_decode(stream, channels) for stream, channels in streams])
    return Encoded(
        resolved.name,
        tuple(map(b"".join, zip(*(stream.packets for stream, _ in streams), strict=True))),
        sum(stream.kbps for stream, _ in streams),
        rate,
        gain_db(decoded, source),
    )


def gain_db(estimate: Wave, reference: Wave) -> float:
    """Return the level in dB of ``reference`` within ``estimate``: 20 log10 (⟨e, r⟩ / ⟨r, r⟩).

    LAME, for one, lowers the level by 0.3 to 0.5 dB. Silence gives 0.
    """
    reference = reference.astype(np.float64)
    energy = np.sum(reference**2)
    projection = np.sum(estimate * reference)
    return float(20 * np.log10(projection / energy)) if projection > 0 < energy else 0.0


def _apply(step: Step, wave: Wave, sample_rate: int, rng: np.random.Generator) -> Wave:
    if isinstance(step, Coding):
        return _code(step, wave, sample_rate)
    if isinstance(step, Downsampling):
        return _through_rate(wave, sample_rate, step.rate_hz)
    if isinstance(step, Noise):
        return add_noise(wave, step.colour, step.snr_db, sample_rate=sample_rate, rng=rng)
    return clip(wave, step.drive_db)


def _through_rate(wave: Wave, sample_rate: int, rate_hz: int) -> Wave:
    if rate_hz >= sample_rate:
        raise InputError(f"down-{rate_hz}hz: not below {sample_rate} Hz; name a lower rate")
    low = resample(wave, from_rate=sample_rate, to_rate=rate_hz)
    return fit_length(resample(low, from_rate=rate_hz, to_rate=sample_rate), wave.shape[1])


def _code(step: Coding, wave: Wave, sample_rate: int) -> Wave:
    rate = step.rate_hz or sample_rate
    source = resample(wave, from_rate=sample_rate, to_rate=rate)
    decoded = np.concatenate([_decode(s, n) for s, n in _streams(step, source, rate)])
    return fit_length(resample(decoded, from_rate=rate, to_rate=sample_rate), wave.shape[1])


def _streams(step: Coding, wave: Wave, rate: int) -> list[tuple[Stream, int]]:
    """Code channel pair by channel pair; returns streams and how many channels of each count."""
    codec = CODECS[step.codec]
    width = max(codec.channels)
    streams = []
    for at in range(0, len(wave), width):
        group = wave[at : at + width]
        kept, setting = len(group), step.setting
        if kept not in codec.channels:  # aptX codes two independent channels, never one
            group = np.repeat(group, 2, axis=0)
        elif kept < width:
            setting = mono_setting(codec, setting, rate)
        stream = encode_packets(codec, group, sample_rate=rate, setting=setting)
        streams.append((stream, kept))
    return streams


def _decode(stream: Stream, channels: int) -> Wave:
    return decode_packets(stream)[:channels]
