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


_V1, _V2 = 3, 2  # MPEG 1 and 2 as a header codes them; 0 is 2.5, whose rates of bits are those of 2
_MPEG_KBPS = {
    (_V1, 1): tuple(range(32, 449, 32)),
    (_V1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (_V1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (_V2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (_V2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_AC3_KBPS = (*_MPEG_KBPS[_V1, 3], 384, 448, 512, 576, 640)


def frame_bytes(head: bytes) -> int:
    """Return how long a frame of MPEG audio, AC-3 or E-AC-3 says it is; 0: it does not.

    Args:
        head: its first 6 bytes, or more; fewer where there are no more.
    """
    head = head.ljust(6, b"\0")
    if head[:2] == b"\x0b\x77":
        return _ac3_bytes(head)
    version, layer, index = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 4
    rate = head[2] >> 2 & 3
    known = head[0] == 255 and head[1] >> 5 == 7 and version in _MP3_RATES
    if not known or layer == 4 or index in (0, 15) or rate == 3:  # 0: a bit rate of its own
        return 0
    kind = (_V1, layer) if version == _V1 else (_V2, min(layer, 2))
    bits = 1000 * _MPEG_KBPS[kind][index - 1]
    slot, samples = (4, 384) if layer == 1 else (1, 1152 if layer == 2 or version == _V1 else 576)
    slots = samples * bits // (8 * slot * _MP3_RATES[version][rate])
    return slot * (slots + (head[2] >> 1 & 1))  # ISO/IEC 11172-3, 2.4.3.1


def _ac3_bytes(head: bytes) -> int:
    """ATSC A/52, 5.4.1 and table 5.18, and E.2.3.1 for what came after."""
    if head[5] >> 3 > 10:
        return 2 * ((head[2] & 7) << 8 | head[3]) + 2
    rate, code = head[4] >> 6, head[4] & 63
    if rate == 3 or code // 2 >= len(_AC3_KBPS):
        return 0
    words = 96_000 * _AC3_KBPS[code // 2] // (48_000, 44_100, 32_000)[rate]
    return 2 * (words + (rate == 1 and code & 1))


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


def is_one_page(path: PathLike) -> bool:
    """Return whether all sound of an Ogg Vorbis is in one page, of which FFmpeg miscounts it.

    Its end is stated by the position of its last page alone (Vorbis I specification, A.2).
    """
    sound = []
    with open(path, "rb") as f:
        for at, kind, length in ogg_pages(path):
            f.seek(at)
            page = f.read(length)
            if not at and b"\x01vorbis" not in page[:64]:
                return False
            # Headers are at position 0; on a page of -1 nothing ends, as within a large cover.
            if page[6:14] not in (bytes(8), b"\xff" * 8):
                sound.append(kind)
            if len(sound) > 1:
                return False
    return len(sound) == 1 and bool(sound[0] & 4)


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
