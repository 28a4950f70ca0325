"""SBC in dual channel: each channel coded on its own, both in one frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from enhancelib.degrade.ffmpeg import FfmpegCoder

_HEADER_BYTES = 4  # syncword, settings, bitpool, check sum
_SCALES_BYTES = 4  # eight scale factors of four bits
_CRC_POLYNOMIAL, _CRC_START = 0x1D, 0x0F  # A2DP 1.3, section 12.6.1.1


@dataclass(frozen=True)
class DualChannelCoder:
    """The dual channel mode of SBC, which FFmpeg's encoder never chooses.

    In this mode the channels share a header, and each has the scale factors, the bitpool and the
    bit allocation of a mono stream (A2DP 1.3, section 12.6). So each is coded as one, and a packet
    here is the frame of the first channel and that of the second without its header. It has the
    bytes of a dual channel frame, 12 + 4 · bitpool, in another order: a headset would want the
    samples of the channels interleaved.

    Attributes:
        mono: SBC.
    """

    mono: FfmpegCoder

    def encode(
        self, wave: np.ndarray, *, sample_rate: int, setting: int | None
    ) -> tuple[list[bytes], bytes]:
        """Encode a wave ``(1 or 2, samples)``; ``setting`` is the bitpool of each channel."""
        first, *second = (
            self.mono.encode(channel[None], sample_rate=sample_rate, setting=setting)[0]
            for channel in wave
        )
        if not second:
            return first, b""
        pairs = zip(first, second[0], strict=True)
        return [left + right[_HEADER_BYTES:] for left, right in pairs], b""

    def decode(
        self, packets: Sequence[bytes], *, header: bytes, sample_rate: int, channels: int
    ) -> np.ndarray:
        """Decode packets to float32 ``(channels, samples)``, with the codec's whole delay."""
        parts = [packets] if channels == 1 else zip(*map(_apart, packets), strict=True)
        return np.concatenate(
            [
                self.mono.decode(list(part), header=header, sample_rate=sample_rate, channels=1)
                for part in parts
            ]
        )


def _apart(packet: bytes) -> tuple[bytes, bytes]:
    """Return the two mono frames of a packet; the second gets a header with its own check sum."""
    size = (len(packet) + _HEADER_BYTES) // 2
    rest = packet[size:]
    checked = packet[1 : _HEADER_BYTES - 1] + rest[:_SCALES_BYTES]
    header = packet[: _HEADER_BYTES - 1] + bytes([_check_sum(checked)])
    return packet[:size], header + rest


def _check_sum(data: bytes) -> int:
    """SBC's CRC-8 of settings, bitpool and scale factors."""
    crc = _CRC_START
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1) ^ _CRC_POLYNOMIAL if crc & 0x80 else crc << 1
            crc &= 0xFF
    return crc
