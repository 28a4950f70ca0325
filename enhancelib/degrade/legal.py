"""What each codec's standard allows: its settings by sample rate and channels."""

from __future__ import annotations

Settings = range | tuple[int, ...]


def mp3_settings(rate: int, channels: int) -> tuple[int, ...]:
    """ISO/IEC 11172-3 (32 kHz up), 13818-3 (16 kHz up), below that MPEG-2.5 as LAME caps it."""
    if rate >= 32000:
        return (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    low = (8, 16, 24, 32, 40, 48, 56, 64)
    return (*low, 80, 96, 112, 128, 144, 160) if rate >= 16000 else low


def aac_settings(rate: int, channels: int) -> range:
    """ISO/IEC 14496-3: at most 6144 bits per channel in a frame of 1024 samples."""
    return range(8 * channels, 6144 * channels * rate // 1024 // 1000 + 1)


def opus_settings(rate: int, channels: int) -> range:
    """RFC 6716, section 2.1.1: 6 to 510 kbit/s; libopus takes up to 256 per channel."""
    return range(6, min(510, 256 * channels) + 1)


def sbc_settings(rate: int, channels: int) -> range:
    """A2DP 1.3: bitpool 2 to 250, 16 per sub-band and channel, 320 kbit/s mono, 512 otherwise.

    With 8 sub-bands and 16 blocks a frame of 128 samples has 8 + 2 · bitpool bytes, in joint stereo
    13 + 2 · bitpool (section 12.9).
    """
    overhead, most_kbps = (8, 320) if channels == 1 else (13, 512)
    frame_bytes = most_kbps * 1000 * 128 // (8 * rate)
    return range(2, min(250, 128 * channels, (frame_bytes - overhead) // 2) + 1)


def dual_settings(rate: int, channels: int) -> range:
    """Each channel keeps within the limit of mono, 320 kbit/s.

    Both together may pass the 512 kbit/s of A2DP, as "SBC XQ" of phones and PipeWire does: bitpool
    38 gives 452 kbit/s at 44.1 kHz and 47 gives 551.
    """
    return sbc_settings(rate, 1)


def lc3_settings(rate: int, channels: int) -> range:
    """ETSI TS 103 634: 20 to 400 bytes per channel in a frame of 10 ms."""
    return range(16 * channels, 320 * channels + 1)


def no_settings(rate: int, channels: int) -> tuple[int, ...]:
    """Return no setting: the codec leaves nothing to choose."""
    return ()
