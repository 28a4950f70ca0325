"""Degrade a wave as phones and headphones do: conditions by name, through real codecs.

A *condition* is a name such as ``aac-64+sbc-20``: steps joined by ``+``, applied in order.

==========================  =====================================================================
``lossless``                nothing
``mp3-128``, ``aac-128``    coded at that bit rate, kbit/s for the stereo pair; also ``opus-``,
                            ``lc3-`` (LE Audio)
``mp3-64-q9``               the same by another setting of its encoder: ``q0`` (the slowest search),
                            ``q2``, ``q5``, ``q9`` (the quickest), ``lr`` (no joint stereo);
                            ``aac-64-fast``, ``aac-64-nopns`` (no noise substitution), ``aac-64-lr``
``sbc-53``                  Bluetooth SBC in joint stereo at that bitpool
``sbc-38-dual``             in dual channel, that bitpool for each: 452 kbit/s, ``sbc-47-dual`` 551
``msbc``                    the SBC of telephone calls: each channel on its own, at 16 kHz
``aptx``, ``aptx-hd``       Bluetooth aptX, and its form of 24 bits
``sbc-53-loss-5pct``        5 % of the radio packets lost, in bursts of two on average, concealed
                            as a headset does; ``sbc-53-loss-5pct-burst-8``; also ``msbc``, ``lc3``
``sbc-53-adaptive-10pct``   bitpool lowered step by step while the radio is congested, 10 % of the
                            time, and raised again after; only ``sbc``
``mp3-24@22050hz``          coded at that rate: resampled before and back after, without delay; at a
                            rate under the wave's, the band above its half is gone
``down-16000hz``            resampled to that rate and back: the band above its half is gone;
                            ``up-96000hz`` likewise, which loses nothing but time
``noise-white-20db``        noise at that signal-to-noise ratio; pink, brown, blue, violet, hum
``clip-6db``                clipped hard 6 dB under the wave's own peak
``old-recording``           a shellac disc: 100 Hz to 5 kHz, wow, crackle, hiss
==========================  =====================================================================

Where the wave's rate is not legal for a codec, one is used that keeps the band; :func:`resolve`
returns the name that says so, such as ``opus-64@48000hz``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from enhancelib.audio.waves import Wave, check_rate, check_wave, fit_length, resample
from enhancelib.checks import check_number
from enhancelib.degrade import radio
from enhancelib.degrade.conditions import (
    Clipping,
    Coding,
    Condition,
    Noise,
    OldRecording,
    Resampling,
    Step,
    condition_title,
    parse_condition,
)
from enhancelib.degrade.degradations import add_noise, clip, old_recording
from enhancelib.degrade.encoders import (
    CODECS,
    Codec,
    Stream,
    decode_stream,
    encode_adaptive,
    encode_stream,
    mono_setting,
)
from enhancelib.errors import InputError

__all__ = [
    "CODECS",
    "CONDITIONS",
    "Codec",
    "Condition",
    "Encoded",
    "condition_title",
    "degrade",
    "encode",
    "gain_db",
    "parse_condition",
    "resolve",
    "standard_conditions",
]

CONDITIONS: tuple[str, ...] = (
    "lossless",
    "sbc-53",
    "sbc-35",
    "sbc-20",
    "sbc-53-loss-5pct",
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
    "old-recording",
)


def standard_conditions(*, sample_rate: int = 44100) -> tuple[str, ...]:
    """Return the names of the conditions used by default for waves of this rate in Hz.

    All of :data:`CONDITIONS` but those that would sample down to a rate not below it, and those
    whose codec has no such setting at the rate that it would be run at.
    """
    rate = check_rate(sample_rate)
    return tuple(name for name in CONDITIONS if _suits(parse_condition(name), rate))


def _suits(condition: Condition, sample_rate: int) -> bool:
    if any(isinstance(s, Resampling) and s.rate_hz >= sample_rate for s in condition.steps):
        return False
    for step in condition.at_rate(sample_rate).steps:
        if isinstance(step, Coding):
            codec, rate = CODECS[step.codec].variant(step.variant), step.rate_hz or sample_rate
            legal = codec.settings(rate, max(codec.channels)) or (None,)
            if rate not in codec.rates or step.setting not in legal:
                return False
    return True


def resolve(condition: str, *, sample_rate: int) -> str:
    """Return the canonical name, with every rate conversion: ``opus-64`` → ``opus-64@48000hz``."""
    return parse_condition(condition).at_rate(check_rate(sample_rate)).name


def degrade(wave: Wave, condition: str, *, sample_rate: int, seed: int = 0) -> Wave:
    """Return ``wave`` as it sounds under a condition: same shape, aligned to the sample.

    Channels are coded in pairs, in order. A single one is coded as mono, where the codec has mono,
    at half the bit rate (SBC: the mono bitpool of the same operating point): as two equal channels
    in joint stereo it would come out far too clean. A decoder may overshoot full scale a little.

    Args:
        wave: ``(channels, samples)`` in [-1, 1].
        condition: a name, see the table of :mod:`enhancelib.degrade.codecs`.
        sample_rate: rate in Hz.
        seed: for what is random; the same seed gives the same samples.

    Raises:
        InputError: an unknown condition, one that this rate does not allow, or a negative seed.
    """
    seed = check_number(seed, "seed", whole=True)
    wave, sample_rate = check_wave(wave), check_rate(sample_rate)
    steps = parse_condition(condition).at_rate(sample_rate).steps
    for index, step in enumerate(steps):
        wave = _apply(step, wave, sample_rate, (seed, index))
    return wave


@dataclass(frozen=True)
class Encoded:
    """Packets that the last codec of a condition sent, and their bit rate.

    Attributes:
        condition: canonical name with every rate conversion, as :func:`resolve` gives it.
        packets: the packets in order; of several channel pairs, those of one time joined.
        kbps: measured bit rate in kbit/s, of all channels together.
        sample_rate: rate in Hz at which it was coded.
        gain_db: level of the decoded signal against what was coded, see :func:`gain_db`.
    """

    condition: str
    packets: tuple[bytes, ...]
    kbps: float
    sample_rate: int
    gain_db: float


def encode(wave: Wave, condition: str, *, sample_rate: int, seed: int = 0) -> Encoded:
    """Code a wave and return the packets with their measured bit rate and the codec's gain.

    Args:
        wave: ``(channels, samples)`` in [-1, 1].
        condition: a codec, or a chain that ends in one.
        sample_rate: rate in Hz.
        seed: as in :func:`degrade`.

    Raises:
        InputError: as in :func:`degrade`, or the last step is no codec.
    """
    seed = check_number(seed, "seed", whole=True)
    sample_rate = check_rate(sample_rate)
    resolved = parse_condition(condition).at_rate(sample_rate)
    before, last = resolved.steps[:-1], next(reversed(resolved.steps), None)
    if not isinstance(last, Coding):
        raise InputError(f"{resolved.name}: ends in no codec; append one such as +sbc-53")
    wave = check_wave(wave)
    for index, step in enumerate(before):
        wave = _apply(step, wave, sample_rate, (seed, index))
    rate = last.rate_hz or sample_rate
    source = resample(wave, from_rate=sample_rate, to_rate=rate)
    streams = [_encode(last, group, rate, (seed, len(before))) for group in _groups(last, source)]
    return Encoded(
        condition=resolved.name,
        packets=tuple(map(b"".join, zip(*(s.packets for s in streams), strict=True))),
        kbps=sum(stream.kbps for stream in streams),
        sample_rate=rate,
        gain_db=gain_db(_decoded(streams, len(source)), source),
    )


def gain_db(estimate: Wave, reference: Wave) -> float:
    """Return the level in dB of ``reference`` within ``estimate``: 20 log10 (⟨e, r⟩ / ⟨r, r⟩).

    LAME, for one, lowers the level by 0.3 to 0.5 dB: match it before claiming a gain in
    signal-to-noise ratio. Silence gives 0.
    """
    reference = reference.astype(np.float64)
    energy, projection = np.sum(reference**2), np.sum(estimate * reference)
    return float(20 * np.log10(projection / energy)) if projection > 0 and energy > 0 else 0.0


# ---------------------------------------------------------------- steps


def _apply(step: Step, wave: Wave, sample_rate: int, seed: tuple[int, int]) -> Wave:
    rng = np.random.default_rng(seed)
    match step:
        case Coding():
            return _code(step, wave, sample_rate, seed)
        case Resampling():
            return _through_rate(step, wave, sample_rate)
        case Noise():
            return add_noise(wave, step.color, step.snr_db, sample_rate=sample_rate, rng=rng)
        case Clipping():
            return clip(wave, step.drive_db)
        case OldRecording():
            return old_recording(wave, sample_rate=sample_rate, rng=rng)


def _through_rate(step: Resampling, wave: Wave, sample_rate: int) -> Wave:
    if (step.rate_hz < sample_rate) != (step.direction == "down"):
        side = "below" if step.direction == "down" else "at or above"
        raise InputError(f"{step.name}: not {side} the wave's {sample_rate} Hz; name another rate")
    between = resample(wave, from_rate=sample_rate, to_rate=step.rate_hz)
    back = resample(between, from_rate=step.rate_hz, to_rate=sample_rate)
    return fit_length(back, wave.shape[1])


def _code(step: Coding, wave: Wave, sample_rate: int, seed: tuple[int, int]) -> Wave:
    rate = step.rate_hz or sample_rate
    source = resample(wave, from_rate=sample_rate, to_rate=rate)
    decoded = []
    for group in _groups(step, source):
        stream = _encode(step, group, rate, seed)
        lost = None if step.loss is None else _lost(step, stream, seed)
        decoded.append(decode_stream(stream, lost=lost)[: len(group)])
    back = resample(np.concatenate(decoded), from_rate=rate, to_rate=sample_rate)
    return fit_length(back, wave.shape[1])


def _groups(step: Coding, wave: Wave) -> list[Wave]:
    """Split channels into what one stream takes: pairs, and a last one alone; mSBC: single ones."""
    width = max(CODECS[step.codec].channels)
    return [wave[at : at + width] for at in range(0, len(wave), width)]


def _encode(step: Coding, group: Wave, rate: int, seed: tuple[int, int]) -> Stream:
    codec, setting = step.how, step.setting
    floor: int | None = radio.BITPOOL_FLOOR
    if len(group) not in codec.channels:  # aptX: two independent channels, never one
        group = np.repeat(group, 2, axis=0)
    elif len(group) < max(codec.channels):
        setting, floor = (mono_setting(codec, value, rate) for value in (setting, floor))
    if step.congestion is None:
        return encode_stream(codec, group, sample_rate=rate, setting=setting)
    assert setting is not None  # only SBC is sent over a link that is congested,
    assert floor is not None  # and its setting is a bitpool
    frame = codec.frame(rate)
    bitpools = radio.adaptive_bitpools(
        -(-(group.shape[1] + codec.delay(rate)) // frame),
        top=setting,
        floor=min(floor, setting),
        congested=step.congestion.percent / 100,
        frame_s=frame / rate,
        rng=np.random.default_rng((*seed, 1)),
    )
    return encode_adaptive(codec, group, sample_rate=rate, settings=bitpools)


def _lost(step: Coding, stream: Stream, seed: tuple[int, int]) -> np.ndarray:
    """Return which of a stream's packets the radio loses; the same for every channel pair."""
    assert step.loss is not None
    shared = radio.frames_per_packet(len(stream.packets[0])) if step.codec == "sbc" else 1
    lost = radio.gilbert(
        -(-len(stream.packets) // shared),
        loss=step.loss.percent / 100,
        mean_burst=step.loss.burst,
        rng=np.random.default_rng((*seed, 2)),
    )
    return np.repeat(lost, shared)[: len(stream.packets)]


def _decoded(streams: list[Stream], channels: int) -> Wave:
    return np.concatenate([decode_stream(stream) for stream in streams])[:channels]
