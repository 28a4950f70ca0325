"""The audio codecs: what each allows, and the way through its real encoder and decoder.

Each :class:`Codec` states what its standard allows and the one delay, in samples, by which encoder
and decoder together shift the signal; :func:`decode_stream` takes that delay out again, so that
what comes back lies on the original sample by sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from enhancelib.degrade import lc3, legal, radio
from enhancelib.degrade.dual_channel import DualChannelCoder
from enhancelib.degrade.ffmpeg import FfmpegCoder
from enhancelib.degrade.legal import Settings
from enhancelib.errors import InputError

_TAIL = 4096  # zeros after the signal: more than any codec's delay plus one packet


@dataclass(frozen=True)
class Codec:
    """A codec and what it allows.

    Attributes:
        name: the name it has in a condition.
        title: the name it has in print, with its standard.
        rates: legal sample rates in Hz, ascending.
        settings: function (rate, channels) -> legal bit rates in kbit/s for all channels, or
            bitpools; empty where there is nothing to choose.
        unit: what a setting counts: ``"kbit/s"``, ``"bitpool"``, ``"bitpool per channel"`` or
            ``""``.
        channels: channel counts one stream can have.
        frame: function rate -> samples per channel in one packet.
        delay: function rate -> samples by which encoder and decoder together delay the signal.
        coder: the real encoder and decoder.
        variants: other ways to run its encoder, by the word that names them in a condition.
        conceals: whether packets of it can be lost, since its decoder bridges the gaps.
    """

    name: str
    title: str
    rates: tuple[int, ...]
    settings: Callable[[int, int], Settings]
    unit: str
    channels: tuple[int, ...]
    frame: Callable[[int], int]
    delay: Callable[[int], int]
    coder: FfmpegCoder | lc3.Lc3Coder | DualChannelCoder
    variants: Mapping[str, Codec] = field(default_factory=dict)
    conceals: bool = False

    def variant(self, name: str | None) -> Codec:
        """Return the codec with its encoder run in another way; ``None``: as it is by default.

        Raises:
            InputError: the codec has no such variant; names those it has.
        """
        if name is None:
            return self
        if name not in self.variants:
            known = ", ".join(self.variants) or "none"
            raise InputError(f"{self.name}: no variant {name!r}; it has {known}")
        return self.variants[name]


def _bit_rate(kbps: int | None) -> tuple[int | None, dict[str, str]]:
    return _bit_rate_and()(kbps)


def _bit_rate_and(**options: str) -> Callable[[int | None], tuple[int | None, dict[str, str]]]:
    """Bit rate, with options of FFmpeg's encoder."""

    def tune(kbps: int | None) -> tuple[int | None, dict[str, str]]:
        assert kbps is not None  # every codec with a bit rate is given one
        return 1000 * kbps, dict(options)

    return tune


def _bitpool(bitpool: int | None) -> tuple[int | None, dict[str, str]]:
    """From 128 kbit/s FFmpeg picks joint stereo and 8 sub-bands; its "quality" is the bitpool.

    In units of 118 (FF_QP2LAMBDA). The packets are then those of BlueZ.
    """
    assert bitpool is not None  # SBC always has one
    return 128_000, {"global_quality": str(118 * bitpool)}


def _msbc(setting: int | None) -> tuple[int | None, dict[str, str]]:
    return None, {"msbc": "1"}


def _as_it_is(setting: int | None) -> tuple[int | None, dict[str, str]]:
    return None, {}


def _always(samples: int) -> Callable[[int], int]:
    return lambda rate: samples


def _with_variants(codec: Codec, **options: dict[str, str]) -> Codec:
    """Add variants that differ in options of FFmpeg's encoder."""
    coder = codec.coder
    assert isinstance(coder, FfmpegCoder)
    coders = {
        name: replace(coder, tune=_bit_rate_and(**chosen)) for name, chosen in options.items()
    }
    variants = {name: replace(codec, coder=other) for name, other in coders.items()}
    return replace(codec, variants=variants)


def _with_dual_channel(codec: Codec) -> Codec:
    assert isinstance(codec.coder, FfmpegCoder)
    dual = replace(
        codec,
        title="SBC (Bluetooth A2DP 1.3, dual channel, 8 sub-bands, 16 blocks; FFmpeg)",
        settings=legal.dual_settings,
        unit="bitpool per channel",
        coder=DualChannelCoder(codec.coder),
    )
    return replace(codec, variants={"dual": dual})


_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_A2DP_RATES = (16000, 32000, 44100, 48000)

# LAME's quality from 0, the slowest search, to 9 (without one, LAME chooses by the bit rate);
# FFmpeg's AAC with its quick quantiser, or without noise substitution; both without joint stereo.
_MP3_VARIANTS = {
    "q0": {"compression_level": "0"},
    "q2": {"compression_level": "2"},
    "q5": {"compression_level": "5"},
    "q9": {"compression_level": "9"},
    "lr": {"joint_stereo": "0"},
}
_AAC_VARIANTS = {
    "fast": {"aac_coder": "fast"},
    "nopns": {"aac_pns": "0"},
    "lr": {"aac_ms": "0", "aac_is": "0"},
}

CODECS: dict[str, Codec] = {
    codec.name: codec
    for codec in (
        _with_variants(
            Codec(
                name="mp3",
                title="MP3 (ISO/IEC 11172-3 and 13818-3 Layer III; LAME)",
                rates=_MP3_RATES,
                settings=legal.mp3_settings,
                unit="kbit/s",
                channels=(1, 2),
                frame=lambda rate: 1152 if rate >= 32000 else 576,
                delay=_always(1105),
                coder=FfmpegCoder("libmp3lame", "mp3float", "fltp", _bit_rate),
            ),
            **_MP3_VARIANTS,
        ),
        _with_variants(
            Codec(
                name="aac",
                title="AAC-LC (ISO/IEC 14496-3; FFmpeg)",
                rates=(*_MP3_RATES, 64000, 88200, 96000),
                settings=legal.aac_settings,
                unit="kbit/s",
                channels=(1, 2),
                frame=_always(1024),
                delay=_always(1024),
                coder=FfmpegCoder("aac", "aac", "fltp", _bit_rate),
            ),
            **_AAC_VARIANTS,
        ),
        Codec(
            name="opus",
            title="Opus (RFC 6716; libopus)",
            rates=(48000,),
            settings=legal.opus_settings,
            unit="kbit/s",
            channels=(1, 2),
            frame=_always(960),
            delay=_always(312),
            coder=FfmpegCoder("libopus", "libopus", "flt", _bit_rate),
        ),
        _with_dual_channel(
            Codec(
                name="sbc",
                title="SBC (Bluetooth A2DP 1.3, joint stereo, 8 sub-bands, 16 blocks; FFmpeg)",
                rates=_A2DP_RATES,
                settings=legal.sbc_settings,
                unit="bitpool",
                channels=(1, 2),
                frame=_always(128),
                delay=_always(73),
                coder=FfmpegCoder("sbc", "sbc", "s16", _bitpool),
                conceals=True,
            ),
        ),
        Codec(
            name="msbc",
            title="mSBC (Bluetooth Hands-Free Profile 1.6; FFmpeg)",
            rates=(16000,),
            settings=legal.no_settings,
            unit="",
            channels=(1,),
            frame=_always(120),
            delay=_always(73),
            coder=FfmpegCoder("sbc", "sbc", "s16", _msbc),
            conceals=True,
        ),
        *(
            Codec(
                name=name,
                title=f"{title} (4:1 sub-band ADPCM; FFmpeg)",
                rates=_A2DP_RATES,
                settings=legal.no_settings,
                unit="",
                channels=(2,),
                frame=_always(1024),
                delay=_always(90),
                coder=FfmpegCoder(coder, coder, "s32p", _as_it_is),
            )
            for name, title, coder in (
                ("aptx", "aptX", "aptx"),
                ("aptx-hd", "aptX HD, 24 bits", "aptx_hd"),
            )
        ),
        Codec(
            name="lc3",
            title="LC3 (ETSI TS 103 634, Bluetooth LE Audio; liblc3)",
            rates=lc3.RATES,
            settings=legal.lc3_settings,
            unit="kbit/s",
            channels=(1, 2),
            frame=lc3.frame_samples,
            delay=lambda rate: rate // 400,
            coder=lc3.Lc3Coder(),
            conceals=True,
        ),
    )
}


def coding_rate(codec: Codec, sample_rate: int) -> int:
    """Return the legal rate in Hz at which audio of ``sample_rate`` is coded.

    The rate itself; else the lowest whole multiple, as phones do (22.05 kHz goes to Bluetooth at
    44.1); else the lowest above; else the highest there is.
    """
    above = [rate for rate in codec.rates if rate >= sample_rate]
    multiples = [rate for rate in above if rate % sample_rate == 0]
    return (multiples or above or codec.rates[-1:])[0]


def mono_setting(codec: Codec, setting: int | None, sample_rate: int) -> int | None:
    """Return the setting for one channel that belongs to one for two.

    Bit rates are halved, then raised to the next legal one. SBC bitpools follow the operating
    points of A2DP 1.3, table 4.7 (33 → 18, 35 → 19, 51 → 29, 53 → 31), linear in between. In dual
    channel each channel has its own, which stays.
    """
    if setting is None or codec.unit == "bitpool per channel":
        return setting
    allowed = codec.settings(sample_rate, 1)
    if codec.unit == "bitpool":
        points = (2, 33, 35, 51, 53, 250), (2, 18, 19, 29, 31, 128)
        return min(round(float(np.interp(setting, *points))), allowed[-1])
    return next((kbps for kbps in allowed if kbps >= setting / 2), allowed[-1])


def check_legal(codec: Codec, *, sample_rate: int, channels: int, setting: int | None) -> None:
    """Raise :class:`InputError`, naming what is legal, for what ``codec`` does not allow."""
    if sample_rate not in codec.rates:
        rates = " or ".join(map(str, codec.rates))
        raise InputError(f"{codec.name}: {sample_rate} Hz is not legal; use {rates} Hz")
    if channels not in codec.channels:
        raise InputError(f"{codec.name}: one stream has {codec.channels} channels, not {channels}")
    settings = codec.settings(sample_rate, channels)
    if setting not in (settings or (None,)):
        raise InputError(
            f"{codec.name}: {'no setting' if setting is None else setting} is not legal at "
            f"{sample_rate} Hz with {channels} channel(s); use {_listing(codec, settings)}"
        )


def _listing(codec: Codec, settings: Settings) -> str:
    if not settings:
        return f"{codec.name} alone, it has no setting"
    if isinstance(settings, range):
        return f"{codec.unit} {settings[0]} to {settings[-1]}"
    return f"{codec.unit} {', '.join(map(str, settings))}"


# ---------------------------------------------------------------- through the codec


@dataclass(frozen=True)
class Stream:
    """One coded stream: what goes over the line, and what a decoder must know beforehand.

    Attributes:
        codec: the codec.
        sample_rate: rate in Hz at which it was coded.
        channels: 1 or 2.
        samples: samples per channel of the signal coded.
        packets: the packets in order, no more than carry the signal.
        header: FFmpeg's "extradata", such as AAC's AudioSpecificConfig.
    """

    codec: Codec
    sample_rate: int
    channels: int
    samples: int
    packets: tuple[bytes, ...]
    header: bytes = b""

    @property
    def kbps(self) -> float:
        """Measured bit rate in kbit/s: bits of all packets over the time they span."""
        seconds = len(self.packets) * self.codec.frame(self.sample_rate) / self.sample_rate
        return 8e-3 * sum(map(len, self.packets)) / seconds


def encode_stream(
    codec: Codec, wave: np.ndarray, *, sample_rate: int, setting: int | None
) -> Stream:
    """Encode a wave at a legal rate.

    Args:
        codec: one of :data:`CODECS`.
        wave: ``(channels, samples)`` in [-1, 1]; codecs that take integers clip beyond.
        sample_rate: rate in Hz, one of ``codec.rates``.
        setting: one of ``codec.settings(sample_rate, channels)``, for these channels.

    Raises:
        InputError: anything the codec does not allow, named with what it does; liblc3 is missing.
    """
    channels, samples = wave.shape
    check_legal(codec, sample_rate=sample_rate, channels=channels, setting=setting)
    padded = np.pad(wave, [(0, 0), (0, _TAIL)])
    packets, header = codec.coder.encode(padded, sample_rate=sample_rate, setting=setting)
    needed = -(-(samples + codec.delay(sample_rate)) // codec.frame(sample_rate))
    if codec.name == "opus":
        header = b""  # optional for two channels; with it FFmpeg would drop the delay itself
    return Stream(codec, sample_rate, channels, samples, tuple(packets[:needed]), header)


def encode_adaptive(
    codec: Codec, wave: np.ndarray, *, sample_rate: int, settings: Sequence[int] | np.ndarray
) -> Stream:
    """Encode SBC with a bitpool of its own for every frame.

    The encoder's filter bank does not depend on the bitpool, so picking every frame from the stream
    coded at its bitpool gives what one encoder that switches would send.

    Args:
        codec: SBC.
        wave: ``(channels, samples)``.
        sample_rate: rate in Hz.
        settings: bitpool of each frame; at least as many as there are frames.
    """
    streams = {
        setting: encode_stream(codec, wave, sample_rate=sample_rate, setting=setting)
        for setting in dict.fromkeys(int(s) for s in settings)
    }
    first = next(iter(streams.values()))
    packets = [streams[int(settings[i])].packets[i] for i in range(len(first.packets))]
    return replace(first, packets=tuple(packets))


def decode_stream(stream: Stream, *, lost: np.ndarray | None = None) -> np.ndarray:
    """Decode a stream to float32 ``(channels, samples)``, aligned with what was coded.

    Args:
        stream: a stream.
        lost: for SBC, mSBC and LC3: bool ``(packets,)``, which of them never arrived; the decoder
            conceals them as a headset does.
    """
    codec, rate = stream.codec, stream.sample_rate
    gone = [False] * len(stream.packets) if lost is None else lost
    sent = list(zip(stream.packets, gone, strict=True))
    form = {"sample_rate": rate, "channels": stream.channels}
    if isinstance(codec.coder, lc3.Lc3Coder):
        arrived = [None if g else packet for packet, g in sent]
        pcm = codec.coder.decode(arrived, header=stream.header, **form)
    else:
        silence = b"" if lost is None else _silence(stream)
        filled = [silence if g else packet for packet, g in sent]
        pcm = codec.coder.decode(filled, header=stream.header, **form)
        if lost is not None:
            pcm = radio.conceal(pcm, lost, frame=codec.frame(rate), sample_rate=rate)
    delay = codec.delay(rate)
    return np.ascontiguousarray(pcm[:, delay : delay + stream.samples])


def _silence(stream: Stream) -> bytes:
    """Return a packet that codes silence: with it the filter bank rings out, as HFP has it."""
    zeros = np.zeros((stream.channels, 1), np.float32)
    setting = None if stream.codec.name == "msbc" else 16
    return encode_stream(
        stream.codec, zeros, sample_rate=stream.sample_rate, setting=setting
    ).packets[0]
