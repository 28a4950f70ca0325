"""Which loudspeaker each channel of a file is for: channel masks, and the order of Vorbis."""

from __future__ import annotations

import os

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
