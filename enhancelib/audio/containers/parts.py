"""Where each of several files begins that were joined into one: by `cat`, or by a radio recorder.

Sources: the formats' own documents, named at each function; what a file states of its own size.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Literal

from enhancelib.audio.containers.headers import ogg_pages

PathLike = str | os.PathLike
_End = Callable[[BinaryIO, int], int | None]


def parts(path: PathLike) -> list[tuple[int, int]]:
    """Return where each part of a file begins and ends, in bytes; one part for most files.

    MP3, AAC and the like, whose frames just follow each other, are one part however many were
    joined.
    """
    return _ogg_parts(path) or _flac_parts(path) or _stated_parts(path)


def ends_early(path: PathLike) -> bool:
    """Return whether a Matroska, WebM or AU is shorter than it states."""
    with open(path, "rb") as f:
        size, at = os.fstat(f.fileno()).st_size, parts(path)[-1][0]
        end_of = _kind(f, at)
        end = end_of(f, at) if end_of in (_ebml, _au) else None
        return end is not None and end > size


class Part:
    """A stretch of a file as a file of its own; what FFmpeg needs of one."""

    def __init__(self, path: PathLike, start: int, stop: int):
        self._file = Path(path).open("rb")  # noqa: SIM115 (closed by `close`)
        self._start, self._stop = start, stop
        self._file.seek(start)

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer at the end of the stretch."""
        return self._file.read(max(0, min(size, self._stop - self._file.tell())))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place in the stretch, as a file does."""
        base = {os.SEEK_SET: self._start, os.SEEK_CUR: self._file.tell(), os.SEEK_END: self._stop}
        goal = min(max(self._start, base[whence] + offset), self._stop)
        return self._file.seek(goal) - self._start

    def tell(self) -> int:
        """Return the place in the stretch."""
        return self._file.tell() - self._start

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _ogg_parts(path: PathLike) -> list[tuple[int, int]]:
    """Return the links of a chained Ogg (RFC 3533, 4); an empty list for anything else.

    A radio recording is one: each piece of music is a stream of its own, end to end.
    """
    starts: list[int] = []
    within = False
    for at, kind, _ in ogg_pages(path):
        begins = bool(kind & 2)
        if begins and (within or not starts):
            starts.append(at)
        within = not begins
    return _stretches(starts, os.path.getsize(path))


def _flac_parts(path: PathLike) -> list[tuple[int, int]]:
    """Return the FLACs in one file; an empty list for anything else.

    Each begins with a marker and the head of its first block (RFC 9639, 6 and 8.1).
    """
    with open(path, "rb") as f:
        if f.read(4) != b"fLaC":
            return []
        starts = []
        with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as content:
            at = 0
            while at >= 0:
                if content[at + 4 : at + 8] in (b"\0\0\0\x22", b"\x80\0\0\x22") or not at:
                    starts.append(at)
                at = content.find(b"fLaC", at + 4)
        return _stretches(starts, os.fstat(f.fileno()).st_size)


def _stated_parts(path: PathLike) -> list[tuple[int, int]]:
    """Return the parts of what states its own size: the next one begins where that ends."""
    with open(path, "rb") as f:
        size, starts = os.fstat(f.fileno()).st_size, [0]
        while end_of := _kind(f, starts[-1]):
            end = end_of(f, starts[-1])
            if end is None or not starts[-1] < end < size or not _kind(f, end):
                break
            starts.append(end)
    return _stretches(starts, size)


def _stretches(starts: list[int], end: int) -> list[tuple[int, int]]:
    return list(zip(starts, [*starts[1:], end], strict=False))


def _kind(f: BinaryIO, at: int) -> _End | None:
    """Return what finds the end of the file that begins here; ``None``: no such file does."""
    head = _read(f, at, 16)
    if head[8:12] == b"WAVE" and head[:4] in (b"RIFF", b"RF64", b"BW64"):
        return _riff if head[:4] == b"RIFF" else _rf64
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _form
    known = {b".snd": _au, b"caff": _caf, b"\x1a\x45\xdf\xa3": _ebml, b"TTA1": _tta}
    known |= {b"wvpk": _wavpack}
    if head[:4] in known:
        return known[head[:4]]
    return _mp4 if head[4:8] == b"ftyp" else {_W64: _w64, _ASF: _asf}.get(head)


_W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")


def _number(f: BinaryIO, at: int, size: int, order: Literal["little", "big"] = "little") -> int:
    return int.from_bytes(_read(f, at, size), order)


def _riff(f: BinaryIO, at: int) -> int:
    size = _number(f, at + 4, 4)
    return at + 8 + size + size % 2


def _form(f: BinaryIO, at: int) -> int:
    size = _number(f, at + 4, 4, "big")
    return at + 8 + size + size % 2


def _rf64(f: BinaryIO, at: int) -> int:
    """EBU Tech 3306, 3: the size stands in the chunk "ds64", which is the first."""
    return at + 8 + _number(f, at + 20, 8)


def _w64(f: BinaryIO, at: int) -> int:
    return at + _number(f, at + 16, 8)


def _au(f: BinaryIO, at: int) -> int | None:
    begin, size = _number(f, at + 4, 4, "big"), _number(f, at + 8, 4, "big")
    return None if size == 0xFFFFFFFF else at + begin + size


def _caf(f: BinaryIO, at: int) -> int | None:
    """Apple, "Core Audio Format": chunks of a name and 64 bits of size, -1 to the file's end."""
    at += 8
    while (name := _read(f, at, 4)) and name != b"caff" and all(32 <= byte < 127 for byte in name):
        size = _number(f, at + 4, 8, "big")
        if size >> 63:
            return None
        at += 12 + size
    return at


def _mp4(f: BinaryIO, at: int) -> int | None:
    """ISO/IEC 14496-12, 4.2: boxes of 32 or 64 bits of size and a name, 0 to the file's end."""
    first = at
    while len(head := _read(f, at, 8)) == 8 and (at == first or head[4:] != b"ftyp"):
        size = int.from_bytes(head[:4])
        size = _number(f, at + 8, 8, "big") if size == 1 else size
        if size < 8:
            return None
        at += size
    return at


def _ebml(f: BinaryIO, at: int) -> int | None:
    """RFC 8794, 4 to 6: elements of a name and a size; all ones: not known, as in a live stream."""
    first = at
    while len(head := _read(f, at, 12)) == 12 and (at == first or head[:4] != b"\x1a\x45\xdf\xa3"):
        names = 9 - head[0].bit_length() if head[0] else 0
        width = 9 - head[names].bit_length() if 0 < names < 5 and head[names] else 0
        if not width:
            return at
        size = _number(f, at + names, width, "big") - (1 << (7 * width))
        if size == (1 << (7 * width)) - 1:
            return None
        at += names + width + size
    return at


def _asf(f: BinaryIO, at: int) -> int | None:
    """Objects of 16 bytes of name and 64 bits of size (Microsoft, "ASF Specification", 2.1)."""
    first = at
    while len(name := _read(f, at, 16)) == 16 and (at == first or name != _ASF):
        size = _number(f, at + 16, 8)
        if size < 24:
            return None
        at += size
    return at


def _tta(f: BinaryIO, at: int) -> int | None:
    """A header of 22 bytes, the sizes of the frames with a check sum, the frames, and tags."""
    rate, samples = _number(f, at + 10, 4), _number(f, at + 14, 4)
    frames = -(-samples * 245 // (256 * rate)) if rate else 0
    sizes = _read(f, at + 22, 4 * frames)
    if len(sizes) < 4 * frames:
        return None
    total = sum(int.from_bytes(sizes[k : k + 4], "little") for k in range(0, len(sizes), 4))
    return _after_tags(f, at + 26 + len(sizes) + total)


def _wavpack(f: BinaryIO, at: int) -> int | None:
    """Blocks; the first of a file that hold sound begin at sample 0 ("WavPack 4 & 5 format")."""
    begun = False
    while (head := _read(f, at, 32))[:4] == b"wvpk" and len(head) == 32:
        place, count = int.from_bytes(head[16:20], "little"), int.from_bytes(head[20:24], "little")
        if begun and count and not place:
            return at
        begun = begun or bool(count and place)
        at += 8 + int.from_bytes(head[4:8], "little")
    return _after_tags(f, at)


def _after_tags(f: BinaryIO, at: int) -> int:
    """Skip an APEv2 tag with a header and an ID3v1 tag."""
    head = _read(f, at, 16)
    if head[:8] == b"APETAGEX":
        at += 32 + int.from_bytes(head[12:16], "little")
    return at + 128 * (_read(f, at, 3) == b"TAG")


def _read(f: BinaryIO, at: int, size: int) -> bytes:
    """Return bytes, none where a size that lies leads beyond the file."""
    if at > os.fstat(f.fileno()).st_size:
        return b""
    f.seek(at)
    return f.read(size)
