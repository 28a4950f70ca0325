"""Read the tags of any audio file: ID3, Vorbis comments, MP4, APEv2, ASF, INFO, Matroska, CAF."""

from __future__ import annotations

import base64
import os
import re
from contextlib import suppress
from pathlib import Path

import mutagen
from mutagen import apev2, asf, flac, id3, mp4
from mutagen._vorbis import VComment

from enhancelib.audio.containers.chunks import chunks, content
from enhancelib.audio.decoding import open_media
from enhancelib.audio.tags.maps import (
    ALIASES,
    BY_ASF,
    BY_CHUNK,
    BY_ID3,
    BY_MP4,
    ID3,
    NUMBERS,
    OF_THE_OLD_CODING,
    ROLES,
    Chapter,
    Tags,
    picture,
)
from enhancelib.errors import InputError

PathLike = str | os.PathLike
_COVER = "metadata_block_picture"
_BY_ROLE = {role.lower(): name for name, role in ROLES.items()}
# Frames that describe the old coding, or serve players and mean nothing elsewhere.
_SILENT_FRAMES = (
    *("TSSE", "TENC", "TLEN", "TSIZ", "TFLT", "TDLY", "TDTG", "TDEN", "SEEK", "ASPI", "MLLT"),
    *("ETCO", "SYTC", "POSS", "RBUF", "ENCR", "GRID", "LINK", "AENC", "CTOC", "NCON"),
)
_CHAPTER = re.compile(r"chapter(\d{3})(name)?")


def read_tags(path: PathLike) -> Tags:
    """Return the tags of a file; none where its format has none."""
    tags = Tags()
    _read_chunks(path, tags)
    try:
        file = mutagen.File(Path(path))
    except (mutagen.MutagenError, ValueError, KeyError, EOFError):
        file = None
    found = None if file is None else file.tags
    if isinstance(found, VComment):
        _read_vorbis(found, file, tags)
    elif isinstance(found, mp4.MP4Tags):
        _read_mp4(found, tags)
    elif isinstance(found, asf.ASFTags):
        _read_asf(found, tags)
    elif isinstance(found, apev2.APEv2):
        _read_ape(found, tags)
    elif isinstance(found, id3.ID3):
        _read_id3(found, tags)
    if not isinstance(found, (VComment, mp4.MP4Tags, asf.ASFTags)):
        _read_headless(path, tags, found)
    if file is None or isinstance(file, mp4.MP4):
        _read_ffmpeg(path, tags, all_tags=file is None)
    if isinstance(file, flac.FLAC):
        _name_flac_blocks(file, tags)
    return tags


def _read_headless(path: PathLike, tags: Tags, found: object) -> None:
    """ID3 where mutagen does not look (AAC), and APEv2 beside ID3, which adds and replaces none."""
    if found is None:
        with suppress(mutagen.MutagenError, ValueError, KeyError):
            _read_id3(id3.ID3(Path(path)), tags)
    if not isinstance(found, apev2.APEv2):
        more = Tags()
        with suppress(mutagen.MutagenError, ValueError, KeyError, OSError):
            _read_ape(apev2.APEv2(Path(path)), more)
        tags.text |= {name: held for name, held in more.text.items() if name not in tags.text}
        tags.pictures = tags.pictures or more.pictures


def _add(tags: Tags, name: str, values: list[str]) -> None:
    """Add text under the name that Vorbis comments have for it, a total under its own."""
    name = ALIASES.get(name.lower(), name.lower())
    if name in NUMBERS and len(values) == 1:
        tags.add_number(name, NUMBERS[name], values[0])
    else:
        tags.add(name, values)


# ---------------------------------------------------------------- WAV and AIFF


def _read_chunks(path: PathLike, tags: Tags) -> None:
    """The INFO strings of a WAV and the text chunks of an AIFF, which mutagen does not read."""
    for chunk in chunks(path):
        if chunk.name in ("NAME", "AUTH", "(c) ", "ANNO"):
            tags.extend(BY_CHUNK[chunk.name], [_decoded(content(path, chunk))])
        elif chunk.name == "LIST INFO":
            data, at = content(path, chunk), 4
            while at + 8 <= len(data):
                name, size = data[at : at + 4].decode("latin-1"), data[at + 4 : at + 8]
                length = int.from_bytes(size, "little")
                text = _decoded(data[at + 8 : at + 8 + length])
                if name in BY_CHUNK:
                    _add(tags, BY_CHUNK[name], [text])
                elif text:
                    tags.lost.append(name.strip())
                at += 8 + length + length % 2


def _decoded(data: bytes) -> str:
    """Text without a stated coding: UTF-8 if it can be that, else Windows' Latin-1."""
    data = data.split(b"\0")[0].strip()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


# ---------------------------------------------------------------- Vorbis comments


def _read_vorbis(comments: VComment, file: mutagen.FileType, tags: Tags) -> None:
    starts: dict[str, float] = {}
    titles: dict[str, str] = {}
    for name in dict.fromkeys(key.lower() for key, _ in comments):
        chapter = _CHAPTER.fullmatch(name)
        if chapter and chapter[2]:
            titles[chapter[1]] = comments[name][0]
        elif chapter and (at := _seconds(comments[name][0])) is not None:
            starts[chapter[1]] = at
        else:
            tags.add(name, list(comments[name]))
    covers = []
    for code in comments.get(_COVER, []):
        with suppress(ValueError, mutagen.MutagenError, EOFError):
            covers.append(flac.Picture(base64.b64decode(code)))
    tags.lost += ["a damaged picture"] * (len(covers) < len(comments.get(_COVER, [])))
    tags.pictures += [*getattr(file, "pictures", []), *covers]
    tags.chapters = [
        Chapter(at, at, titles.get(number, ""))
        for number, at in sorted(starts.items(), key=lambda entry: entry[1])
    ]


def _seconds(text: str) -> float | None:
    """Seconds of "00:01:02.345"."""
    found = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", text.strip())
    return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3]) if found else None


def _name_flac_blocks(file: flac.FLAC, tags: Tags) -> None:
    """Application blocks hold other programs' data; the cue sheet is copied by itself."""
    tags.lost += ["an application block"] * any(block.code == 2 for block in file.metadata_blocks)


# ---------------------------------------------------------------- ID3


def _read_id3(frames: id3.ID3, tags: Tags) -> None:
    described: list[str] = []
    for frame in frames.values():
        kind = frame.FrameID
        if kind == "APIC":
            tags.pictures.append(picture(frame.data, frame.mime, int(frame.type), frame.desc))
        elif kind == "COMM":
            described += _read_comment(frame, tags)
        elif kind in ("TIPL", "TMCL"):
            _read_people(frame, tags)
        elif kind == "CHAP":
            title = [str(text) for text in frame.sub_frames.getall("TIT2")]
            tags.chapters.append(
                Chapter(frame.start_time / 1000, frame.end_time / 1000, "".join(title[:1]))
            )
        elif kind == "UFID" and frame.owner == "http://musicbrainz.org":
            tags.add("musicbrainz_trackid", [frame.data.decode("ascii", "replace")])
        elif kind not in _SILENT_FRAMES:
            _read_text_frame(frame, tags)
    plain = tags.text.get("comment", [])
    more = [text for text in described if not _repeats(text, plain)]
    if not plain:  # of a file with an ID3v1 tag alone it is the comment itself
        more = [text.removesuffix(_OF_ID3V1) for text in more]
    tags.extend("comment", more)
    tags.chapters.sort(key=lambda chapter: chapter.start_s)


def _read_text_frame(frame: id3.Frame, tags: Tags) -> None:
    kind = frame.FrameID
    if kind == "TXXX":
        name = BY_ID3.get(f"txxx:{frame.desc.lower()}", frame.desc)
        tags.extend(name, [str(text) for text in frame.text])
    elif kind == "TCON":
        tags.add("genre", frame.genres)
    elif kind in ("WOAR", "WCOP"):
        tags.extend(BY_ID3[kind.lower()], [frame.url])
    elif kind.lower() in BY_ID3 and hasattr(frame, "text"):
        text = frame.text if isinstance(frame.text, list) else [frame.text]
        name = BY_ID3[kind.lower()]
        if name in NUMBERS:
            _add(tags, name, [str(value) for value in text])
        else:
            tags.extend(name, [str(value) for value in text])
    else:
        tags.lost.append(kind)


def _read_comment(frame: id3.COMM, tags: Tags) -> list[str]:
    """Add a comment without a description; return others as Picard writes them in Vorbis."""
    description, texts = frame.desc, [str(text) for text in frame.text]
    if not description:
        tags.extend("comment", texts)
    elif not description.lower().startswith("itun") and (
        description.lower() not in OF_THE_OLD_CODING
    ):
        return [f"{text} ({description})" for text in texts if text]
    return []


_OF_ID3V1 = " (ID3v1 Comment)"


def _repeats(text: str, plain: list[str]) -> bool:
    """Whether a comment is the copy that ID3v1 keeps, of the first 28 or 30 letters."""
    short = text.removesuffix(_OF_ID3V1)
    return short != text and any(comment.startswith(short) for comment in plain)


def _read_people(frame: id3.TIPL | id3.TMCL, tags: Tags) -> None:
    for role, name in (pair for pair in frame.people if len(pair) == 2):
        if frame.FrameID == "TIPL" and role.lower() in _BY_ROLE:
            tags.extend(_BY_ROLE[role.lower()], [name])
        else:
            tags.extend("performer", [f"{name} ({role})" if role else name])


# ---------------------------------------------------------------- MP4, ASF, APEv2


def _read_mp4(atoms: mp4.MP4Tags, tags: Tags) -> None:
    for atom, values in atoms.items():
        free = atom.rpartition(":")[2] if atom.startswith("----:") else ""
        name = BY_MP4.get(free.lower() if free else atom)
        if atom == "covr":
            for cover in values:
                png = cover.imageformat == mp4.MP4Cover.FORMAT_PNG
                tags.pictures.append(picture(bytes(cover), "image/png" if png else "image/jpeg"))
        elif free:
            name = name or BY_ID3.get(f"txxx:{free.lower()}", free)
            texts = [bytes(value).decode("utf-8", "replace") for value in values]
            _add(tags, name, texts)
        elif atom in ("trkn", "disk") and name:
            for number, total in values:
                _add(tags, name, [f"{number}/{total}" if total else str(number)])
        elif name:
            values = values if isinstance(values, list) else [values]
            texts = [str(int(value)) if isinstance(value, bool) else str(value) for value in values]
            _add(tags, name, texts)
        elif atom not in ("\xa9too", "pgap", "cnID", "gnre", "stik"):
            tags.lost.append(atom)


def _read_asf(attributes: asf.ASFTags, tags: Tags) -> None:
    for name in dict.fromkeys(key for key, _ in attributes):
        values = attributes[name]
        plain = name.removeprefix("WM/")
        if name == "WM/Picture":
            _read_asf_pictures(values, tags)
        elif name.startswith("MusicBrainz/"):
            known = "musicbrainz track id" if plain.endswith("/Track Id") else ""
            known = BY_MP4.get(known) or BY_ID3.get(
                f"txxx:{plain.replace('/', ' ').lower()}", plain
            )
            _add(tags, known, [str(value) for value in values])
        elif isinstance(values[0].value, bytes):
            tags.lost.append(name)
        else:
            known = BY_ASF.get(name) or BY_ID3.get(f"txxx:{plain.replace('/', ' ').lower()}", plain)
            texts = [
                str(int(v.value)) if isinstance(v.value, bool) else str(v.value) for v in values
            ]
            if known in ID3 or known in ALIASES or not name.startswith("WM/") or name in BY_ASF:
                _add(tags, known, texts)
            elif plain.lower() in ID3 or plain.lower() in ROLES:
                _add(tags, plain.lower(), texts)
            else:
                tags.lost.append(name)


def _read_asf_pictures(values: list, tags: Tags) -> None:
    """A type, a size, and two names in UTF-16 that end with zeros go before the picture."""
    for value in values:
        data, at, names = bytes(value.value), 5, []
        for _ in range(2):
            end = at
            while data[end : end + 2] not in (b"\0\0", b""):
                end += 2
            names.append(data[at:end].decode("utf-16-le", "replace"))
            at = end + 2
        if data[at:]:
            tags.pictures.append(picture(data[at:], names[0], data[0], names[1]))


def _read_ape(items: apev2.APEv2, tags: Tags) -> None:
    for name, value in items.items():
        if value.kind == apev2.TEXT:
            name = {"Album Status": "releasestatus"}.get(name, name)
            _add(tags, BY_ID3.get(f"txxx:{name.lower()}", name), list(value))
        elif value.kind == apev2.BINARY and name.lower().startswith("cover art"):
            _, _, data = value.value.partition(b"\0")
            mime = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
            tags.pictures.append(picture(data, mime, 4 if "back" in name.lower() else 3))
        else:
            tags.lost.append(name)


# ---------------------------------------------------------------- by FFmpeg


def _read_ffmpeg(path: PathLike, tags: Tags, *, all_tags: bool) -> None:
    """Chapters, and of what mutagen does not know (Matroska, WebM, CAF …) everything."""
    with suppress(InputError), open_media(path, name="") as container:
        for chapter in container.chapters():
            base = float(chapter["time_base"])
            title = chapter["metadata"].get("title", "")
            tags.chapters.append(Chapter(chapter["start"] * base, chapter["end"] * base, title))
        if not all_tags:
            return
        for found in (container.streams.audio[0].metadata, container.metadata):
            for name, value in found.items():
                if name.lower() not in ("language",) and not name.lower().startswith("_statistics"):
                    _add(tags, name, [value])
        covers = [stream for stream in container.streams.video if _is_picture(stream)]
        for packet in container.demux(covers) if covers else ():
            if packet.size:
                kind = packet.stream.codec_context.name
                mime = "image/png" if kind == "png" else "image/jpeg"
                tags.pictures.append(picture(bytes(packet), mime))


def _is_picture(stream) -> bool:
    return stream.codec_context is not None and stream.codec_context.name in ("png", "mjpeg")
