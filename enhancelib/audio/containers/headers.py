"""What the headers of MP3, Ogg and WMA files say of their length; read without decoding."""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mutagen
from mutagen import asf

PathLike = str | os.PathLike
_MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def stated_seconds(path: PathLike) -> float | None:
    """Return the length that an MP3's length tag or a WMA's header states; ``None``: no such."""
    tag = mp3_tag(path)
    if tag:
        return tag.seconds
    with open(path, "rb") as f:
        if f.read(16) != _ASF:
            return None
    try:
        return asf.ASF(Path(path)).info.length
    except (mutagen.MutagenError, ValueError, KeyError, OSError):
        return None


_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")


@dataclass(frozen=True)
class Mp3Tag:
    """The length tag in the first frame of an MP3 (Xing's, LAME's "Info", Fraunhofer's "VBRI").

    Attributes:
        seconds: stated length, without the encoder's delay and padding; 0: not stated.
        stated_bytes: stated size of the stream; 0: not stated.
        present_bytes: what there is from the first frame on.
    """

    seconds: float
    stated_bytes: int
    present_bytes: int


def mp3_tag(path: PathLike) -> Mp3Tag | None:
    """Return the length tag; ``None`` for an MP3 without one and for anything else."""
    with open(path, "rb") as f:
        head = f.read(10)
        start = 0
        if head[:3] == b"ID3" and len(head) == 10:  # ID3v2: size in four 7-bit bytes
            sizes = zip(head[6:], (21, 14, 7, 0), strict=True)
            start = 10 + sum((byte & 127) << shift for byte, shift in sizes)
        f.seek(start)
        frame = f.read(192)
        present = os.fstat(f.fileno()).st_size - start
    if len(frame) < 192 or frame[:1] != b"\xff":
        return None
    version, index = frame[1] >> 3 & 3, frame[2] >> 2 & 3
    if version not in _MP3_RATES or index == 3:
        return None
    count, size, unheard = _vbri(frame) or _xing(frame) or (None, 0, 0)
    if count is None:
        return None
    samples = max(0, count * (1152 if version == 3 else 576) - unheard)
    return Mp3Tag(samples / _MP3_RATES[version][index], size, present)


def _vbri(frame: bytes) -> tuple[int, int, int] | None:
    """Return frames, bytes and 0 of Fraunhofer's tag, which stands behind 32 empty bytes."""
    if frame[36:40] != b"VBRI":
        return None
    return int.from_bytes(frame[50:54]), int.from_bytes(frame[46:50]), 0


def _xing(frame: bytes) -> tuple[int, int, int] | None:
    """Return frames, bytes, and samples of delay and padding; 0 for what is not stated."""
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if not 0 < at < 64:
        return None
    flags = int.from_bytes(frame[at + 4 : at + 8])
    numbers = [int.from_bytes(frame[k : k + 4]) for k in range(at + 8, at + 16, 4)]
    count = numbers.pop(0) if flags & 1 else 0
    size = numbers.pop(0) if flags & 2 else 0
    lame = at + 8 + 4 * (flags & 1) + 2 * (flags & 2) + 25 * (flags & 4) + (flags & 8) // 2
    gaps = int.from_bytes(frame[lame + 21 : lame + 24])  # 12 bits of delay, 12 of padding
    unheard = (gaps >> 12) + (gaps & 0xFFF) if frame[lame : lame + 4].isalnum() else 0
    return count, size, unheard


def is_cut_off(path: PathLike) -> bool:
    """Return whether an MP3 has fewer bytes than its tag states, or an Ogg lacks its end.

    The last page of an Ogg is marked (RFC 3533, 6); a page may itself be cut, or be damaged.
    """
    tag = mp3_tag(path)
    if tag and tag.stated_bytes > tag.present_bytes:
        return True
    last_page = deque(ogg_pages(path), maxlen=1)
    if not last_page:
        return False
    at, kind, length = last_page[0]
    with open(path, "rb") as f:
        f.seek(at)
        page = f.read(length)
    return not kind & 4 or len(page) < length or ogg_crc(page) != page[22:26]


def has_lost_pages(path: PathLike) -> bool:
    """Return whether a page of an Ogg is damaged, or one between two others is missing.

    Pages of a stream are counted (RFC 3533, 6). A recording that begins late jumps to its first
    page from the headers, whose position is 0.
    """
    last: dict[bytes, tuple[int, bool]] = {}  # of each stream: its number, and whether a header
    with open(path, "rb") as f:
        for at, _, length in ogg_pages(path):
            f.seek(at)
            page = f.read(length)
            if len(page) < length or ogg_crc(page) != page[22:26]:
                return True
            number, head = int.from_bytes(page[18:22], "little"), page[6:14] == bytes(8)
            before, after_head = last.get(page[14:18], (number - 1, True))
            if number not in (0, before + 1) and not after_head:
                return True
            last[page[14:18]] = number, head
    return False


def ogg_crc(page: bytes) -> bytes:
    """Return the check sum of a page as it is stored in it (RFC 3533, 6).

    It is that of zlib but for the order of bits and the start, which is 0 here.
    """
    mirrored = (page[:22] + bytes(4) + page[26:]).translate(_MIRRORED)
    crc = zlib.crc32(mirrored, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2).to_bytes(4, "little")


_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def ogg_pages(path: PathLike) -> Iterator[tuple[int, int, int]]:
    """Yield (offset, header type, length) of every page; damaged stretches are skipped."""
    with open(path, "rb") as f:
        at, head = 0, f.read(27)
        if head[:4] != b"OggS":
            return
        while len(head) == 27:
            if head[:5] != b"OggS\0":
                found = _next_page(f, at + 1)
                if found is None:
                    return
                at = found
            else:
                table = f.read(head[26])
                length = 27 + len(table) + sum(table)
                yield at, head[5], length
                at += length
            f.seek(at)
            head = f.read(27)


def _next_page(f, at: int) -> int | None:
    """Return the offset of the next page at or after ``at``."""
    while True:
        f.seek(at)
        data = f.read(1 << 16)
        found = data.find(b"OggS\0")
        if found >= 0:
            return at + found
        if len(data) < 1 << 16:
            return None
        at += len(data) - 4
