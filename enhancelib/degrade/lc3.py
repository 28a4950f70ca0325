"""LC3 (ETSI TS 103 634, Bluetooth LE Audio) by Google's liblc3, which Debian's liblc3-tools bring.

The library is called directly: packets of 10 ms in and out, and its own concealment of lost ones.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from enhancelib.errors import InputError

RATES = (8000, 16000, 24000, 32000, 48000)
FRAME_US = 10_000
_FLOAT = 3  # enum lc3_pcm_format
_NAMES = ("liblc3.so.1", "liblc3.so.0", "liblc3.dylib")


@cache
def library() -> ctypes.CDLL:
    """Return liblc3.

    Raises:
        InputError: it is not installed; names the package.
    """
    for name in _NAMES:
        try:
            lc3 = ctypes.CDLL(name)
        except OSError:
            continue
        pointer, integer = ctypes.c_void_p, ctypes.c_int
        lc3.lc3_setup_encoder.argtypes = lc3.lc3_setup_decoder.argtypes = [*[integer] * 3, pointer]
        lc3.lc3_setup_encoder.restype = lc3.lc3_setup_decoder.restype = pointer
        lc3.lc3_encode.argtypes = [pointer, integer, pointer, integer, integer, pointer]
        lc3.lc3_decode.argtypes = [pointer, pointer, integer, integer, pointer, integer]
        return lc3
    raise InputError("lc3: liblc3 is not installed; on Debian run: apt-get install liblc3-tools")


def available() -> bool:
    """Return whether liblc3 is installed."""
    try:
        library()
    except InputError:
        return False
    return True


@cache
def fingerprint() -> str:
    """SHA-256 of what liblc3 makes of a sound, as it tells no version; empty without it."""
    if not available():
        return ""
    wave = np.sin(np.arange(4800) ** 1.5 / 300, dtype=np.float32)[None] / 2
    packets, header = Lc3Coder().encode(wave, sample_rate=48000, setting=96)
    decoded = Lc3Coder().decode(packets, header=header, sample_rate=48000, channels=1)
    return hashlib.sha256(b"".join(packets) + decoded.tobytes()).hexdigest()


def frame_samples(sample_rate: int) -> int:
    """Return samples per channel in one packet of 10 ms."""
    return sample_rate * FRAME_US // 1_000_000


@dataclass(frozen=True)
class Lc3Coder:
    """LC3 encoder and decoder with frames of 10 ms."""

    def encode(
        self, wave: np.ndarray, *, sample_rate: int, setting: int | None
    ) -> tuple[list[bytes], bytes]:
        """Encode float32 ``(channels, samples)``; a rest shorter than a frame is not coded.

        Args:
            wave: the signal.
            sample_rate: one of :data:`RATES`.
            setting: bit rate in kbit/s, shared by the channels, rounded down to whole bytes per
                frame and channel.

        Returns:
            One packet per frame, the channels' bytes one after the other; and an empty header.
        """
        assert setting is not None  # LC3 always has a bit rate
        size = library().lc3_frame_bytes(FRAME_US, 1000 * setting // len(wave))
        channels = [_encode(channel, sample_rate, size) for channel in wave]
        return [b"".join(parts) for parts in zip(*channels, strict=True)], b""

    def decode(
        self, packets: Sequence[bytes | None], *, header: bytes, sample_rate: int, channels: int
    ) -> np.ndarray:
        """Decode to float32 ``(channels, samples)``; ``None`` is a lost packet: concealed."""
        size = len(next((packet for packet in packets if packet), b"")) // channels
        parts = [
            [None if packet is None else packet[c * size : (c + 1) * size] for packet in packets]
            for c in range(channels)
        ]
        return np.stack([_decode(part, sample_rate, size) for part in parts])


def _encode(channel: np.ndarray, sample_rate: int, size: int) -> list[bytes]:
    lc3 = library()
    memory = ctypes.create_string_buffer(lc3.lc3_encoder_size(FRAME_US, sample_rate))
    encoder = lc3.lc3_setup_encoder(FRAME_US, sample_rate, 0, memory)
    packet = ctypes.create_string_buffer(size)
    frame, packets = frame_samples(sample_rate), []
    pcm = np.ascontiguousarray(channel, dtype=np.float32)
    for at in range(0, len(pcm) - frame + 1, frame):
        lc3.lc3_encode(encoder, _FLOAT, pcm[at:].ctypes.data, 1, size, packet)
        packets.append(packet.raw)
    return packets


def _decode(packets: Sequence[bytes | None], sample_rate: int, size: int) -> np.ndarray:
    lc3, frame = library(), frame_samples(sample_rate)
    memory = ctypes.create_string_buffer(lc3.lc3_decoder_size(FRAME_US, sample_rate))
    decoder = lc3.lc3_setup_decoder(FRAME_US, sample_rate, 0, memory)
    pcm = np.zeros((len(packets), frame), np.float32)
    for out, packet in zip(pcm, packets, strict=True):
        lc3.lc3_decode(decoder, packet, size, _FLOAT, out.ctypes.data, 1)
    return pcm.reshape(-1)
