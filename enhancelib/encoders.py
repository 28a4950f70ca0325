"""Real audio codecs, packet to packet: FFmpeg's through PyAV, without container or file.

Each :class:`Codec` states what its standard allows and the one delay, in samples, by which encoder
and decoder together shift the signal; :func:`decode_packets` takes that delay out again, so that
what comes back lies on the original sample by sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from enhancelib.errors import InputError

# ISO/IEC 11172-3 (MPEG-1) and 13818-3 (MPEG-2) Layer III, kbit/s; MPEG-2.5 is Fraunhofer's own
# extension, which LAME caps at 64 kbit/s.
_MP3_MPEG1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MP3_MPEG2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MP3_MPEG25 = (8, 16, 24, 32, 40, 48, 56, 64)
_TAIL = 4096  # zeros after the signal: more than any codec's delay plus one packet


def _mp3_settings(rate: int, channels: int) -> tuple[int, ...]:
    return _MP3_MPEG1 if rate >= 32000 else _MP3_MPEG2 if rate >= 16000 else _MP3_MPEG25


def _aac_settings(rate: int, channels: int) -> range:
    """ISO/IEC 14496-3: at most 6144 bits per channel in a frame of 1024 samples."""
    return range(8 * channels, int(6144 * channels * rate / 1024 / 1000) + 1)


def _opus_settings(rate: int, channels: int) -> range:
    """RFC 6716, section 2.1.1: 6 to 510 kbit/s; libopus allows 256 per channel."""
    return range(6, min(510, 256 * channels) + 1)


def _sbc_settings(rate: int, channels: int) -> range:
    """A2DP 1.3, section 4.3.2.6: bitpool 2 to 250, at most 16 per sub-band (32 in joint stereo)."""
    return range(2, min(250, 128 * channels) + 1)


def _no_settings(rate: int, channels: int) -> tuple[()]:
    return ()


@dataclass(frozen=True)
class Codec:
    """A codec and what it allows.

    Attributes:
        name: The name it has in a condition.
        title: The name it has in print, with its standard.
        rates: Legal sample rates in Hz, ascending.
        settings: Function (rate, channels) -> legal bit rates in kbit/s, or bitpools; empty where
            the codec has none to choose.
        unit: What a setting counts: ``"kbit/s"``, ``"bitpool"`` or ``""``.
        channels: Channel counts of one stream.
        frame: Samples per channel in one packet.
        delay: Samples by which encoder and decoder together delay the signal.
        encoder: FFmpeg's encoder.
        decoder: FFmpeg's decoder.
        sample_format: What the encoder takes.
    """

    name: str
    title: str
    rates: tuple[int, ...]
    settings: Callable[[int, int], range | tuple[int, ...]]
    unit: str
    channels: tuple[int, ...]
    frame: int
    delay: int
    encoder: str
    decoder: str
    sample_format: str


_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_AAC_RATES = (*_MP3_RATES, 64000, 88200, 96000)
_A2DP_RATES = (16000, 32000, 44100, 48000)

CODECS: dict[str, Codec] = {
    codec.name: codec
    for codec in (
        Codec(
            "mp3",
            "MP3 (ISO/IEC 11172-3 and 13818-3 Layer III, LAME)",
            _MP3_RATES,
            _mp3_settings,
            "kbit/s",
            (1, 2),
            frame=1152,
            delay=1105,
            encoder="libmp3lame",
            decoder="mp3float",
            sample_format="fltp",
        ),
        Codec(
            "aac",
            "AAC-LC (ISO/IEC 14496-3)",
            _AAC_RATES,
            _aac_settings,
            "kbit/s",
            (1, 2),
            frame=1024,
            delay=1024,
            encoder="aac",
            decoder="aac",
            sample_format="fltp",
        ),
        Codec(
            "opus",
            "Opus (RFC 6716)",
            (48000,),
            _opus_settings,
            "kbit/s",
            (1, 2),
            frame=960,
            delay=0,
            encoder="libopus",
            decoder="libopus",
            sample_format="flt",
        ),
        Codec(
            "sbc",
            "SBC (A2DP 1.3, appendix B)",
            _A2DP_RATES,
            _sbc_settings,
            "bitpool",
            (1, 2),
            frame=128,
            delay=73,
            encoder="sbc",
            decoder="sbc",
            sample_format="s16",
        ),
        Codec(
            "msbc",
            "mSBC (HFP 1.6, appendix A)",
            (16000,),
            _no_settings,
            "",
            (1,),
            frame=120,
            delay=73,
            encoder="sbc",
            decoder="sbc",
            sample_format="s16",
        ),
        Codec(
            "aptx",
            "aptX",
            _A2DP_RATES,
            _no_settings,
            "",
            (2,),
            frame=1024,
            delay=90,
            encoder="aptx",
            decoder="aptx",
            sample_format="s32p",
        ),
        Codec(
            "aptx-hd",
            "aptX HD",
            _A2DP_RATES,
            _no_settings,
            "",
            (2,),
            frame=1024,
            delay=90,
            encoder="aptx_hd",
            decoder="aptx_hd",
            sample_format="s32p",
        ),
    )
}


def mono_setting(codec: Codec, setting: int | None, rate: int) -> int | None:
    """Return the setting for one channel that belongs to a stereo one.

    Bit rates are halved and raised to the next legal one. SBC bitpools follow the A2DP table of
    recommended values (table 4.7: 33 → 18, 35 → 19, 51 → 29, 53 → 31), linear in between.
    """
    if setting is None:
        return None
    if codec.unit == "bitpool":
        return round(float(np.interp(setting, (2, 33, 35, 51, 53, 250), (2, 18, 19, 29, 31, 128))))
    legal = codec.settings(rate, 1)
    return next((kbps for kbps in legal if kbps >= setting / 2), legal[-1])


@dataclass(frozen=True)
class Stream:
    """One coded stream: what went over the line, and what a decoder must know beforehand.

    Attributes:
        codec: The codec.
        setting: Bit rate in kbit/s or bitpool; ``None`` where there is none.
        sample_rate: Rate in Hz at which it was coded.
        channels: 1 or 2.
        packets: The packets in order.
        header: FFmpeg's "extradata" (AAC AudioSpecificConfig, Opus identification header).
        samples: Samples per channel of the signal coded.
    """

    codec: Codec
    setting: int | None
    sample_rate: int
    channels: int
    packets: tuple[bytes, ...]
    header: bytes
    samples: int

    @property
    def kbps(self) -> float:
        """Measured bit rate in kbit/s: bits of all packets over the time they span."""
        seconds = len(self.packets) * packet_samples(self.codec, self.sample_rate)
        return 8e-3 * sum(map(len, self.packets)) * self.sample_rate / seconds


def packet_samples(codec: Codec, sample_rate: int) -> int:
    """Return samples per channel in one packet (MP3 below 32 kHz: 576, ISO/IEC 13818-3)."""
    return 576 if codec.name == "mp3" and sample_rate < 32000 else codec.frame


def encode_packets(
    codec: Codec, wave: np.ndarray, *, sample_rate: int, setting: int | None
) -> Stream:
    """Encode a wave at a legal rate.

    Args:
        codec: One of :data:`CODECS`.
        wave: ``(channels, samples)`` in [-1, 1]; codecs that take integers clip beyond.
        sample_rate: Rate in Hz, one of ``codec.rates``.
        setting: One of ``codec.settings(sample_rate, channels)``, for these channels.

    Raises:
        InputError: Anything the codec does not allow; the message names what it does.
    """
    channels, samples = wave.shape
    check_legal(codec, sample_rate=sample_rate, channels=channels, setting=setting)
    context = _encoder(codec, sample_rate, channels, setting)
    padded = np.pad(wave, [(0, 0), (0, _TAIL)])
    packets = [*context.encode(_frame(codec, padded, sample_rate)), *context.encode(None)]
    return Stream(
        codec,
        setting,
        sample_rate,
        channels,
        tuple(bytes(packet) for packet in packets),
        bytes(context.extradata or b""),
        samples,
    )


def decode_packets(stream: Stream) -> np.ndarray:
    """Decode a stream to float32 ``(channels, samples)``, aligned with what was coded."""
    import av

    context = _decoder(stream)
    frames = []
    for packet in [*map(av.Packet, stream.packets), None]:
        frames += context.decode(packet)
    wave = np.concatenate([_samples(frame) for frame in frames], axis=1)
    aligned = wave[:, stream.codec.delay : stream.codec.delay + stream.samples]
    return np.ascontiguousarray(aligned)


def check_legal(codec: Codec, *, sample_rate: int, channels: int, setting: int | None) -> None:
    """Raise :class:`InputError`, naming what is legal, for what ``codec`` does not allow."""
    if sample_rate not in codec.rates:
        legal = ", ".join(map(str, codec.rates))
        raise InputError(f"{codec.name}: {sample_rate} Hz is not legal; use one of {legal} Hz")
    if channels not in codec.channels:
        raise InputError(f"{codec.name}: {channels} channels; one stream has {codec.channels}")
    legal = codec.settings(sample_rate, channels)
    if setting not in (legal or (None,)):
        raise InputError(
            f"{codec.name}: {setting} is not legal at {sample_rate} Hz with {channels} channel(s); "
            f"use {_listing(legal)} {codec.unit}".rstrip()
        )


def _listing(legal: range | tuple[int, ...]) -> str:
    if not legal:
        return "the name alone, it has no setting"
    if isinstance(legal, range):
        return f"{legal[0]} to {legal[-1]}"
    return ", ".join(map(str, legal))


def _encoder(codec: Codec, sample_rate: int, channels: int, setting: int | None):
    import av

    context = av.CodecContext.create(codec.encoder, "w")
    context.sample_rate = sample_rate
    context.layout = "stereo" if channels == 2 else "mono"
    context.format = codec.sample_format
    context.time_base = Fraction(1, sample_rate)
    if codec.unit == "kbit/s":
        context.bit_rate = 1000 * setting
    elif codec.name == "sbc":
        # FFmpeg picks joint stereo and 8 sub-bands from this nominal rate; the quality, in its
        # units of 118 (FF_QP2LAMBDA), is the bitpool itself. So it codes as BlueZ does.
        context.bit_rate = 128000
        context.options = {"global_quality": str(118 * setting)}
    elif codec.name == "msbc":
        context.options = {"msbc": "1"}
    context.open()
    return context


def _decoder(stream: Stream):
    import av

    context = av.CodecContext.create(stream.codec.decoder, "r")
    context.sample_rate = stream.sample_rate
    context.layout = "stereo" if stream.channels == 2 else "mono"
    if stream.header:
        context.extradata = stream.header
    return context


def _frame(codec: Codec, wave: np.ndarray, sample_rate: int):
    """Put a wave into FFmpeg's sample format; integers are rounded and clipped."""
    import av

    data = wave
    if codec.sample_format.startswith("s"):
        bits = int(codec.sample_format[1:3])
        full = 2.0 ** (bits - 1)
        data = np.clip(np.rint(wave.astype(np.float64) * full), -full, full - 1)
        data = data.astype(f"int{bits}")
    if not codec.sample_format.endswith("p"):
        data = data.T.reshape(1, -1)
    layout = "stereo" if len(wave) == 2 else "mono"
    data = np.ascontiguousarray(data)
    frame = av.AudioFrame.from_ndarray(data, format=codec.sample_format, layout=layout)
    frame.sample_rate, frame.pts = sample_rate, 0
    return frame


def _samples(frame) -> np.ndarray:
    """Return a decoded frame as float32 (channels, samples)."""
    data = frame.to_ndarray()
    if not frame.format.is_planar:
        data = data.reshape(-1, frame.layout.nb_channels).T
    if data.dtype.kind == "i":
        return (data / -float(np.iinfo(data.dtype).min)).astype(np.float32)
    return data.astype(np.float32, copy=False)
