"""Carry title, artist, cover, chapters … from one audio file to another, also between formats."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable

import mutagen
from mutagen import flac

from enhancelib.audio.containers.chunks import copy_chunks
from enhancelib.audio.tags.maps import Tags
from enhancelib.audio.tags.read import read_tags
from enhancelib.audio.tags.write import write_tags

__all__ = ["Tags", "copy_tags", "read_tags", "write_tags"]

PathLike = str | os.PathLike


# What tells players how loud a file is (ReplayGain 2.0; RFC 7845, 5.2.1), and how high it peaks.
_LEVEL = re.compile(r"(replaygain|r128)_(track|album)_(gain|peak)")
_Q7_8 = 256  # steps of a dB in R128


def copy_tags(
    source: PathLike, target: PathLike, *, rate_ratio: float = 1.0, gain_db: float = 0.0
) -> list[str]:
    """Copy what ``source`` says beside its sound into ``target``, which must be complete.

    Text, pictures and chapters go into whatever ``target`` has for them; the chunks of a WAV or
    AIFF and the cue sheet of a FLAC into the same format only.

    Args:
        source: any file.
        target: a file that :func:`enhancelib.audio.writing.writer` made.
        rate_ratio: sample rate of ``target`` over ``source``'s.
        gain_db: by which the level of ``target`` was changed. Unless it is 0, gains for players
            are corrected by it, and peaks, which are no longer known, are not kept.

    Returns:
        The names of what could not be kept.

    Raises:
        OSError: the disk is full, or a file has gone.
    """
    lost = _attempt("all tags", lambda: _copy_text(source, target, gain_db))
    lost += _attempt("cue sheet", lambda: _copy_cuesheet(source, target, rate_ratio))
    form = {"rate_ratio": rate_ratio, "gain_db": gain_db}
    lost += _attempt("chunks", lambda: copy_chunks(source, target, **form))
    return list(dict.fromkeys(lost))


def _attempt(what: str, copy: Callable[[], list[str]]) -> list[str]:
    """Return what ``copy`` could not keep: all of it where it does not understand the file."""
    try:
        return copy()
    except mutagen.MutagenError as error:
        if getattr(error.__context__, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise error.__context__ from None
        return [what]
    except (ValueError, KeyError, IndexError, EOFError):
        return [what]


def _copy_text(source: PathLike, target: PathLike, gain_db: float) -> list[str]:
    tags = read_tags(source)
    if gain_db:
        _correct_levels(tags, gain_db)
    if not (tags.text or tags.pictures or tags.chapters):
        return tags.lost
    return tags.lost + write_tags(target, tags)


def _correct_levels(tags: Tags, gain_db: float) -> None:
    """Correct the gains that players are to apply, and move what cannot be corrected to the lost.

    A sound that was lowered needs so much more. What was added to it beside that counts for little
    in its loudness, but not in its peak.
    """
    for name in [name for name in tags.text if _LEVEL.fullmatch(name)]:
        values = tags.text.pop(name)
        try:
            tags.text[name] = [_corrected(name, value, gain_db) for value in values]
        except (ValueError, OverflowError):
            tags.lost.append(name)


def _corrected(name: str, value: str, gain_db: float) -> str:
    """Return a gain less ``gain_db``; ValueError for a peak and for what is no number."""
    if name.endswith("peak"):
        raise ValueError(name)
    if name.startswith("r128"):
        return str(round(int(value) - _Q7_8 * gain_db))
    return f"{float(value.lower().removesuffix('db')) - gain_db:.2f} dB"


def _copy_cuesheet(source: PathLike, target: PathLike, rate_ratio: float) -> list[str]:
    """Copy the tracks of a CD that a FLAC is the image of; they are counted in samples."""
    sheet = getattr(_flac(source), "cuesheet", None)
    if sheet is None:
        return []
    file = _flac(target)
    if file is None or rate_ratio != 1:
        return ["cue sheet"]
    file.cuesheet = sheet
    file.metadata_blocks.append(sheet)
    file.save()
    return []


def _flac(path: PathLike) -> flac.FLAC | None:
    with open(path, "rb") as f:
        if f.read(4) not in (b"fLaC", b"ID3\x03", b"ID3\x04"):
            return None
    try:
        return flac.FLAC(path)
    except mutagen.MutagenError:
        return None
