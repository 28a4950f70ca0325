"""Which loudspeaker each channel of a file is for: channel masks, and the order of Vorbis."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

from mutagen import flac

PathLike = str | os.PathLike
MASK_TAG = "WAVEFORMATEXTENSIBLE_CHANNEL_MASK"
"""The Vorbis comment for a mask in FLAC (RFC 9639, 8.6.2)."""

# What FLAC takes so many channels for without a mask (RFC 9639, 9.1.3), and the same with the
# surround channels at the side instead of behind.
_USUAL = {1: (0x4,), 2: (0x3,), 3: (0x7,), 4: (0x33,), 5: (0x37, 0x607), 6: (0x3F, 0x60F)} | {
    7: (0x70F,),
    8: (0x63F,),
}
# Vorbis I, 4.3.9, and RFC 7845, 5.1.1.2: places of its channels in the order of WAV.
_VORBIS_ORDER = {
    3: [0, 2, 1],
    5: [0, 2, 1, 3, 4],
    6: [0, 2, 1, 4, 5, 3],
    7: [0, 2, 1, 5, 6, 4, 3],
    8: [0, 2, 1, 6, 7, 4, 5, 3],
}
_SPEAKERS = (
    *("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR", "TC"),
    *("TFL", "TFC", "TFR", "TBL", "TBC", "TBR"),
)  # the bits of WAVEFORMATEXTENSIBLE's channel mask, lowest first


@dataclass(frozen=True)
class Places:
    """A stream's channels: their mask, and which of them comes where in the order of WAV.

    ``order`` is ``None`` where the channels stand in that order already, or nobody knows theirs.
    """

    mask: int
    order: list[int] | None = None


def places(decoder) -> Places:
    """Return the places of the channels of an ``av.AudioCodecContext`` that is not open yet.

    CAF, AIFF and MOV may hold channels in any order. PyAV 18 copies such a layout with the pointer
    to its table and frees the table with every copy, which ends the process at the second. So the
    only copy made is kept for ever, and the decoder is told to count its channels alone.
    """
    layout = decoder.layout
    bits = _bits(layout)
    if not layout.name.startswith(f"{len(bits)} channels ("):
        return Places(channel_mask(layout))
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))
    decoder.options = {"ch_layout": f"{len(bits)}c"}
    if -1 in bits or len(set(bits)) < len(bits):
        return Places(0)
    return Places(sum(1 << bit for bit in bits), sorted(range(len(bits)), key=bits.__getitem__))


def channel_mask(layout) -> int:
    """Return WAVEFORMATEXTENSIBLE's mask of an ``av.AudioLayout``; 0 where it has none."""
    bits = _bits(layout)
    return sum(1 << bit for bit in bits) if bits == sorted({*bits} - {-1}) else 0


def _bits(layout) -> list[int]:
    """Return which bit of the mask stands for each channel; -1: none does."""
    names = [channel.name for channel in layout.channels]
    return [_SPEAKERS.index(name) if name in _SPEAKERS else -1 for name in names]


def checked_mask(mask: int, channels: int) -> int:
    """Return a mask that names ``channels`` loudspeakers, of more than two, else 0: not known."""
    return mask if channels > 2 and mask.bit_count() == channels and mask < 1 << 18 else 0


def is_usual(mask: int, channels: int) -> bool:
    """Return whether players take so many channels for this layout anyway."""
    return not checked_mask(mask, channels) or mask in _USUAL.get(channels, ())


def order_in(suffix: str, channels: int) -> list[int] | None:
    """Return which channel, in the order of WAV, stands at each place of a file; ``None``: same."""
    return _VORBIS_ORDER.get(channels) if suffix in (".ogg", ".opus") else None


def mark_flac(path: PathLike, *, channels: int, channel_mask: int) -> None:
    """Write the mask of a FLAC file, where its layout is not the usual one."""
    if not is_usual(channel_mask, channels):
        file = flac.FLAC(path)
        if file.tags is None:
            file.add_tags()
        file.tags[MASK_TAG] = f"0x{channel_mask:04X}"
        file.save()
