"""Write tags into what we write: Vorbis comments (FLAC, Ogg) and ID3v2.4 (MP3, WAV, AIFF)."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path

import mutagen
from mutagen import flac, id3
from mutagen._vorbis import VComment

from enhancelib.audio.tags.maps import ALIASES, ID3, NUMBERS, ROLES, Tags
from enhancelib.audio.tags.ogg import save_comments

PathLike = str | os.PathLike
_COVER = "metadata_block_picture"
_FLAC_BLOCK = (1 << 24) - 1  # bytes of a metadata block (RFC 9639, 8.1)
_VORBIS_CHAPTERS = 1000  # their names have three digits
_ID3_TABLE = 255  # entries that a table of chapters counts


def write_tags(path: PathLike, tags: Tags) -> list[str]:
    """Replace the tags of a file.

    Returns:
        Names of what its format has no place for.
    """
    try:
        file = mutagen.File(Path(path))
    except mutagen.MutagenError:
        file = None
    if file is None:
        return [*tags.text, *["a picture"] * bool(tags.pictures), *_chapters_lost(tags)]
    if file.tags is None:
        file.add_tags()
    if isinstance(file.tags, VComment):
        lost = _write_vorbis(file, tags)
        if not isinstance(file, flac.FLAC):
            save_comments(path, file.tags)
            return lost
    elif isinstance(file.tags, id3.ID3):
        lost = _write_id3(file.tags, tags)
    else:
        return [*tags.text, *["a picture"] * bool(tags.pictures), *_chapters_lost(tags)]
    file.save()
    return lost


def _chapters_lost(tags: Tags) -> list[str]:
    return ["chapters"] * bool(tags.chapters)


def _write_vorbis(file: mutagen.FileType, tags: Tags) -> list[str]:
    lost = []
    for name, values in tags.text.items():
        try:
            file.tags[name] = values
        except ValueError:  # empty, or beyond ASCII
            lost.append(repr(name))
    if len(tags.chapters) > _VORBIS_CHAPTERS:
        lost.append(f"chapters beyond the {_VORBIS_CHAPTERS}th")
    for number, chapter in enumerate(tags.chapters[:_VORBIS_CHAPTERS]):
        minutes, seconds = divmod(chapter.start_s, 60)
        hours, minutes = divmod(int(minutes), 60)
        file.tags[f"CHAPTER{number:03}"] = f"{hours:02}:{minutes:02}:{seconds:06.3f}"
        file.tags[f"CHAPTER{number:03}NAME"] = chapter.title
    codes = []
    for picture in tags.pictures:
        block = picture.write()
        if not isinstance(file, flac.FLAC):
            codes.append(base64.b64encode(block).decode())
        elif len(block) > _FLAC_BLOCK:
            lost.append(f"a picture of {len(picture.data) / 1e6:.1f} MB (FLAC ends at 16.7)")
        else:
            file.add_picture(picture)
    if codes:
        file.tags[_COVER] = codes
    return lost


def _write_id3(frames: id3.ID3, tags: Tags) -> list[str]:
    text = _under_known_names(tags.text)
    lost: list[str] = []
    for name, total in NUMBERS.items():
        if total in text and name in text:
            number, count = text[name][0], text.pop(total)[0]
            text[name] = [number if "/" in number else f"{number}/{count}"]
    involved = [[role, value] for name, role in ROLES.items() for value in text.pop(name, [])]
    played = [_played(value) for value in text.pop("performer", [])]
    if involved:
        frames.add(id3.TIPL(encoding=3, people=involved))
    if played:
        frames.add(id3.TMCL(encoding=3, people=played))
    for name, values in text.items():
        frames.add(_frame(name, values))
    used: set[str] = set()
    for picture in tags.pictures:
        description = picture.desc
        while description in used:  # one description, one picture: the second would replace it
            description = f"{picture.desc} ({len(used) + 1})".strip()
        used.add(description)
        frames.add(
            id3.APIC(encoding=3, data=picture.data, mime=picture.mime, type=picture.type)
            if not description
            else id3.APIC(
                encoding=3,
                data=picture.data,
                mime=picture.mime,
                type=picture.type,
                desc=description,
            )
        )
    _write_chapters(frames, tags)
    return lost


def _under_known_names(text: dict[str, list[str]]) -> dict[str, list[str]]:
    """Bring other makers' names under the one that the table has a frame for."""
    named: dict[str, list[str]] = {}
    for name, values in text.items():
        known = ALIASES.get(name, name)
        known = known if known in ID3 or known in NUMBERS.values() else name
        present = named.setdefault(known, [])
        present += [value for value in values if value not in present]
    return named


def _frame(name: str, values: list[str]) -> id3.Frame:
    """Return the frame for a comment; free text where it has none or cannot take the value."""
    kind, _, detail = ID3.get(name, f"TXXX:{name}").partition(":")
    if kind == "TXXX":
        return id3.TXXX(encoding=3, desc=detail, text=values)
    if kind == "USLT":
        return id3.USLT(encoding=3, lang="XXX", text="\n".join(values))
    if kind == "COMM":
        return id3.COMM(encoding=3, lang="XXX", desc="", text=values)
    if kind == "UFID" and len(values) == 1 and values[0].isascii():
        return id3.UFID(owner=detail, data=values[0].encode("ascii"))
    if kind in ("WOAR", "WCOP") and len(values) == 1 and values[0].isascii():
        return getattr(id3, kind)(url=values[0])
    if kind[0] == "T" or kind in ("MVNM", "MVIN"):
        frame = getattr(id3, kind)(encoding=3, text=values)
        if [str(value) for value in frame.text] == values:  # not so for "summer 1970" as a date
            return frame
    return id3.TXXX(encoding=3, desc=name, text=values)


def _played(performer: str) -> list[str]:
    """Return instrument and name of "Name (instrument)"."""
    found = re.fullmatch(r"(.*) \(([^()]*)\)", performer)
    return [found[2], found[1]] if found else ["", performer]


def _write_chapters(frames: id3.ID3, tags: Tags) -> None:
    """Write chapters, and their table where it can count them (ID3v2 Chapter Frame Addendum 1.0).

    Without a table, players take them in the order of their times.
    """
    names = []
    for number, chapter in enumerate(tags.chapters):
        later = tags.chapters[number + 1].start_s if number + 1 < len(tags.chapters) else None
        end_s = max(chapter.end_s, chapter.start_s) if chapter.end_s > chapter.start_s else later
        end_s = chapter.start_s if end_s is None else end_s
        names.append(f"chp{number}")
        frames.add(
            id3.CHAP(
                element_id=names[-1],
                start_time=round(1000 * chapter.start_s),
                end_time=round(1000 * end_s),
                start_offset=0xFFFFFFFF,
                end_offset=0xFFFFFFFF,
                sub_frames=[id3.TIT2(encoding=3, text=[chapter.title])],
            )
        )
    if 0 < len(names) <= _ID3_TABLE:
        flags = id3.CTOCFlags.TOP_LEVEL | id3.CTOCFlags.ORDERED
        frames.add(id3.CTOC(element_id="toc", flags=flags, child_element_ids=names, sub_frames=[]))
