"""Carry title, artist, cover … from one audio file to another, also between formats.

Text travels under the names of Vorbis comments (the recommended field names of Xiph.Org), which
FLAC and Ogg store as they are; tables translate ID3v2.4 (MP3, WAV, AIFF) and MP4.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import mutagen
import soundfile
from mutagen import flac, id3, mp4
from mutagen._vorbis import VComment

PathLike = str | os.PathLike

# Vorbis comment -> (ID3 frame, MP4 atom)
_NAMES = {
    "title": ("TIT2", "\xa9nam"),
    "artist": ("TPE1", "\xa9ART"),
    "album": ("TALB", "\xa9alb"),
    "albumartist": ("TPE2", "aART"),
    "composer": ("TCOM", "\xa9wrt"),
    "date": ("TDRC", "\xa9day"),
    "genre": ("TCON", "\xa9gen"),
    "comment": ("COMM", "\xa9cmt"),
    "lyrics": ("USLT", "\xa9lyr"),
    "tracknumber": ("TRCK", "trkn"),
    "discnumber": ("TPOS", "disk"),
    "copyright": ("TCOP", "cprt"),
    "bpm": ("TBPM", "tmpo"),
    "isrc": ("TSRC", "----:com.apple.iTunes:ISRC"),
    "organization": ("TPUB", "----:com.apple.iTunes:LABEL"),
}
_BY_FRAME = {frame: name for name, (frame, _) in _NAMES.items()}
_BY_ATOM = {atom: name for name, (_, atom) in _NAMES.items()}
_COVER = "metadata_block_picture"
_OF_THE_OLD_CODING = (
    "encoder",
    "encoded_by",
    "encoder_options",
    "itunsmpb",
    "itunnorm",
    "software",
)


@dataclass
class Tags:
    """What a file says of its content: ``text`` by Vorbis comment name, and pictures."""

    text: dict[str, list[str]] = field(default_factory=dict)
    pictures: list[flac.Picture] = field(default_factory=list)

    def add(self, name: str, values: list[str]) -> None:
        """Add text under a name, unless it describes the old coding or is empty."""
        values = [value for value in values if value]
        if values and name.lower() not in (*_OF_THE_OLD_CODING, _COVER):
            self.text[name.lower()] = values


def copy_tags(source: PathLike, target: PathLike) -> bool:
    """Copy what ``source`` says of its content into ``target``, which must be complete.

    Returns:
        Whether nothing was lost; false where the target's format has no place for tags or one of
        the files could not be understood.
    """
    try:
        tags = read_tags(source)
        if tags.text or tags.pictures:
            return write_tags(target, tags)
    except (mutagen.MutagenError, ValueError, KeyError, OSError):
        return False
    return True


def read_tags(path: PathLike) -> Tags:
    """Return the tags of a file; none where its format has none."""
    file, tags = mutagen.File(Path(path)), Tags()
    for name, value in _riff_strings(path):
        tags.add(name, [value])
    if file is None or file.tags is None:
        return tags
    if isinstance(file.tags, VComment):
        for name in dict.fromkeys(key for key, _ in file.tags):
            tags.add(name, list(file.tags[name]))
        covers = [flac.Picture(base64.b64decode(code)) for code in file.tags.get(_COVER, [])]
        tags.pictures = [*getattr(file, "pictures", []), *covers]
    elif isinstance(file.tags, id3.ID3):
        _read_id3(file.tags, tags)
    elif isinstance(file.tags, mp4.MP4Tags):
        _read_mp4(file.tags, tags)
    return tags


def write_tags(path: PathLike, tags: Tags) -> bool:
    """Replace the tags of a file; returns false where its format has no place for some of them."""
    file = mutagen.File(Path(path))
    if file is None:
        return False
    if file.tags is None:
        file.add_tags()
    if isinstance(file.tags, VComment):
        kept = [_write_comment(file.tags, name, values) for name, values in tags.text.items()]
        for picture in tags.pictures:
            if isinstance(file, flac.FLAC):
                file.add_picture(picture)
            else:
                code = base64.b64encode(picture.write()).decode()
                file.tags[_COVER] = [*file.tags.get(_COVER, []), code]
    elif isinstance(file.tags, id3.ID3):
        kept = []
        _write_id3(file.tags, tags)
    else:
        return False
    file.save()
    return all(kept)


def _write_comment(comments: VComment, name: str, values: list[str]) -> bool:
    """Set one Vorbis comment; false where its name may not be one: empty, or beyond ASCII."""
    try:
        comments[name] = values
    except ValueError:
        return False
    return True


def _riff_strings(path: PathLike) -> Iterator[tuple[str, str]]:
    """The INFO strings of a WAV, which mutagen does not read."""
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            if file.format in ("WAV", "WAVEX", "RF64"):
                yield from file.copy_metadata().items()
    except soundfile.LibsndfileError:
        return


def _read_id3(frames: id3.ID3, tags: Tags) -> None:
    for frame in frames.values():
        if frame.FrameID == "APIC":
            tags.pictures.append(_picture(frame.data, frame.mime, frame.type, frame.desc))
        elif frame.FrameID == "TXXX":
            tags.add(frame.desc, [str(text) for text in frame.text])
        elif frame.FrameID == "TCON":
            tags.add("genre", frame.genres)
        elif frame.FrameID == "COMM" and _is_of_the_old_coding(frame.desc.lower()):
            continue
        elif frame.FrameID in _BY_FRAME:
            text = frame.text if isinstance(frame.text, list) else [frame.text]
            tags.add(_BY_FRAME[frame.FrameID], [str(value) for value in text])


def _is_of_the_old_coding(description: str) -> bool:
    """Whether a comment is none: iTunes keeps iTunNORM, iTunPGAP, iTunes_CDDB_1 … as comments."""
    return description in _OF_THE_OLD_CODING or description.startswith("itun")


def _write_id3(frames: id3.ID3, tags: Tags) -> None:
    for name, values in tags.text.items():
        frame = _NAMES.get(name, ("TXXX", ""))[0]
        if frame == "TXXX":
            frames.add(id3.TXXX(encoding=3, desc=name, text=values))
        elif frame == "USLT":
            frames.add(id3.USLT(encoding=3, text="\n".join(values)))
        else:
            frames.add(getattr(id3, frame)(encoding=3, text=values))
    for picture in tags.pictures:
        cover = {"mime": picture.mime, "type": picture.type, "desc": picture.desc}
        frames.add(id3.APIC(encoding=3, data=picture.data, **cover))


def _read_mp4(atoms: mp4.MP4Tags, tags: Tags) -> None:
    for atom, values in atoms.items():
        if atom == "covr":
            for cover in values:
                png = cover.imageformat == mp4.MP4Cover.FORMAT_PNG
                mime = "image/png" if png else "image/jpeg"
                tags.pictures.append(_picture(bytes(cover), mime, 3, ""))
        elif atom in ("trkn", "disk"):
            numbers = [f"{number}/{total}" if total else str(number) for number, total in values]
            tags.add(_BY_ATOM[atom], numbers)
        elif atom.startswith("----:"):
            name = _BY_ATOM.get(atom, atom.rpartition(":")[2])
            tags.add(name, [bytes(value).decode("utf-8", "replace") for value in values])
        elif atom in _BY_ATOM:
            tags.add(_BY_ATOM[atom], [str(value) for value in values])


def _picture(data: bytes, mime: str, kind: int, description: str) -> flac.Picture:
    picture = flac.Picture()
    picture.data, picture.mime, picture.type, picture.desc = data, mime, kind, description
    return picture
