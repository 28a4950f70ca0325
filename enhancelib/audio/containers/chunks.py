"""The chunks of WAV, RF64, AIFF, W64 and CAF files: what lies beside the samples.

Sources: Microsoft and IBM, "Multimedia Programming Interface" (1991); EBU Tech 3285 (bext) and 3306
(RF64); Apple, "Audio Interchange File Format" (1989) and "Core Audio Format" (2011).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

PathLike = str | os.PathLike

_RIFF = (b"RIFF", b"RF64", b"BW64")
# The samples and how they are stored, room for growth, and tags, which travel by themselves.
_STRUCTURE = {
    *("fmt ", "data", "fact", "ds64", "JUNK", "junk", "PAD ", "FLLR", "PEAK", "levl"),
    *("id3 ", "ID3 ", "LIST INFO", "riff", "wave", "FORM", "COMM", "SSND", "FVER", "NAME", "AUTH"),
    *("(c) ", "ANNO", "CHAN", "desc", "chan", "info", "kuki", "pakt", "free", "edct", "ovvw"),
    *("RIFF", "RIFX", "RF64", "BW64"),
}
_AT_SAMPLES = ("cue ", "smpl", "LIST adtl", "MARK", "INST")  # hold places, counted in samples
_LOUDNESS, _TRUE_PEAK = (412, 418, 420), 416  # places in bext: of the whole, momentary, short-term
_MOST = 64 << 20  # bytes of a chunk that is copied
_LIMIT = 1 << 32  # where the 32-bit sizes of RIFF end


@dataclass(frozen=True)
class Chunk:
    """One chunk: its name (a LIST's with its type), and where its content lies in the file."""

    name: str
    at: int
    size: int


def chunks(path: PathLike) -> Iterator[Chunk]:
    """Yield the chunks of a file; none where it is of another kind. Sizes that lie end the list."""
    end = os.path.getsize(path)
    order: Literal["little", "big"]
    with open(path, "rb") as f:
        head = f.read(16)
        if head[:4] in _RIFF and head[8:12] == b"WAVE":
            at, order, width, id_size = 12, "little", 4, 4
        elif head[:4] == b"FORM":
            at, order, width, id_size = 12, "big", 4, 4
        elif head[:4] == b"caff":
            at, order, width, id_size = 8, "big", 8, 4
        elif head == _W64:
            at, order, width, id_size = 40, "little", 8, 16
        else:
            return
        if width == 4:  # what follows the form is no part of it, such as a second file
            stated = int.from_bytes(head[4:8], order)
            end = min(end, stated + 8) if 4 < stated < 0xFFFFFFFF else end
        whole = 0  # the size of "data" in RF64, kept in ds64
        while at + id_size + width <= end:
            f.seek(at)
            name = f.read(id_size)[:4]
            size = int.from_bytes(f.read(width), order) - (24 if id_size == 16 else 0)
            start = at + id_size + width
            content = f.read(16)
            if name == b"ds64":
                whole = int.from_bytes(content[8:16], "little")
            if name == b"data" and whole and size == 0xFFFFFFFF:
                size = whole
            if size < 0 or not all(32 <= letter < 127 for letter in name):
                return
            label = name + (b" " + content[:4] if name == b"LIST" else b"")
            yield Chunk(label.decode("latin-1"), start, min(size, end - start))
            at = start + size + (-size % 8 if id_size == 16 else size % 2 if width == 4 else 0)


_W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")


def content(path: PathLike, chunk: Chunk) -> bytes:
    """Return what a chunk holds."""
    with open(path, "rb") as f:
        f.seek(chunk.at)
        return f.read(chunk.size)


def copy_chunks(
    source: PathLike, target: PathLike, *, rate_ratio: float = 1.0, gain_db: float = 0.0
) -> list[str]:
    """Copy what lies beside the samples from WAV to WAV or AIFF to AIFF, at the end of the file.

    Args:
        source: any file.
        target: a complete file.
        rate_ratio: sample rate of ``target`` over ``source``'s; chunks that name places in samples
            are not copied unless it is 1, and the time stamp of ``bext`` is converted.
        gain_db: by which the level of ``target`` was changed; so is the loudness in ``bext``.

    Returns:
        The names of the chunks that were not copied.
    """
    found = [chunk for chunk in chunks(source) if chunk.name not in _STRUCTURE]
    if not found:
        return []
    kinds = [_kind(source), _kind(target)]
    alike = all(kind in _RIFF for kind in kinds) or kinds == [b"FORM", b"FORM"]
    kept = [
        chunk
        for chunk in found
        if alike and chunk.size <= _MOST and (rate_ratio == 1 or chunk.name not in _AT_SAMPLES)
    ]
    data = [(chunk.name[:4].encode("latin-1"), content(source, chunk)) for chunk in kept]
    data = [(name, _at_rate(name, held, rate_ratio)) for name, held in data]
    data = [(name, _at_level(name, held, gain_db)) for name, held in data]
    if data and not _append(target, data):
        kept = []
    return list(dict.fromkeys(chunk.name.strip() for chunk in found if chunk not in kept))


def _kind(path: PathLike) -> bytes:
    with open(path, "rb") as f:
        return f.read(4)


def _at_rate(name: bytes, data: bytes, ratio: float) -> bytes:
    """Convert the time stamp in ``bext``, samples since midnight (EBU Tech 3285, 2.3)."""
    if name != b"bext" or ratio == 1 or len(data) < 346:
        return data
    samples = round(int.from_bytes(data[338:346], "little") * ratio)
    return data[:338] + samples.to_bytes(8, "little") + data[346:]


def _at_level(name: bytes, data: bytes, gain_db: float) -> bytes:
    """Change the loudness in ``bext``, in hundredths of a dB from version 2 on (EBU Tech 3285).

    Its true peak is no longer known, which is written as 0x7FFF.
    """
    if name != b"bext" or not gain_db or len(data) < 422:
        return data
    if int.from_bytes(data[346:348], "little") < 2:  # the version
        return data
    held = bytearray(data)
    for at in _LOUDNESS:
        level = int.from_bytes(held[at : at + 2], "little", signed=True) + round(100 * gain_db)
        if -9999 <= level <= 9999:
            held[at : at + 2] = level.to_bytes(2, "little", signed=True)
    held[_TRUE_PEAK : _TRUE_PEAK + 2] = b"\xff\x7f"
    return bytes(held)


def _append(path: PathLike, data: list[tuple[bytes, bytes]]) -> bool:
    """Append chunks; false where the file's size would pass what its header can state."""
    with open(path, "r+b") as f:
        kind = f.read(4)
        order: Literal["little", "big"] = "big" if kind == b"FORM" else "little"
        end = f.seek(0, os.SEEK_END)
        added = bytes(end % 2) + b"".join(
            name + len(held).to_bytes(4, order) + held + bytes(len(held) % 2) for name, held in data
        )
        if kind in (b"RIFF", b"FORM") and end + len(added) - 8 >= _LIMIT:
            return False
        f.write(added)
        size = end + len(added) - 8
        f.seek(4 if kind in (b"RIFF", b"FORM") else 20)
        f.write(size.to_bytes(4 if kind in (b"RIFF", b"FORM") else 8, order))
    return True


def finish_wav(path: PathLike, *, channel_mask: int) -> None:
    """Make of libsndfile's RF64 what it need be: below 4 GiB a plain WAV, with its mask if any.

    RF64 differs from WAV in its first chunk, which holds the sizes beyond 32 bits; in a WAV the
    same room is marked as JUNK (EBU Tech 3306, 3).

    Args:
        path: the file; its samples stay where they are.
        channel_mask: which loudspeaker each channel is for; 0: not known.
    """
    size = os.path.getsize(path)
    with open(path, "r+b") as f:
        head = f.read(104)
        form, bits = head[56:96], head[56:96]
        bits = form[:20] + channel_mask.to_bytes(4, "little") + form[24:]
        fmt = b"fmt \x28\0\0\0" + bits
        if size - 8 < _LIMIT:
            if not channel_mask:
                fmt = _plain_format(form, data_size=int.from_bytes(head[28:36], "little"))
            f.seek(0)
            f.write(b"RIFF" + (size - 8).to_bytes(4, "little") + b"WAVEJUNK\x1c\0\0\0" + bytes(28))
            f.write(fmt + b"data" + head[28:32])
        else:
            f.seek(48)
            f.write(fmt)


def _plain_format(form: bytes, *, data_size: int) -> bytes:
    """Return the 48 bytes of an extensible format chunk as the format chunk of old.

    Samples in floating point need a chunk "fact", which states how many there are.
    """
    coding, block = form[24:26], int.from_bytes(form[12:14], "little")
    if coding == b"\x01\0":
        return b"fmt \x10\0\0\0" + coding + form[2:16] + b"JUNK\x10\0\0\0" + bytes(16)
    count = (data_size // block).to_bytes(4, "little")
    old = b"fmt \x12\0\0\0" + coding + form[2:16] + bytes(2)
    return old + b"fact\x04\0\0\0" + count + b"JUNK\x02\0\0\0" + bytes(2)
