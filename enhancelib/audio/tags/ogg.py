"""Save the comments of an Ogg file with large pictures in linear time.

mutagen cuts a packet into pages of 4 kB by copying the rest for each: a cover of 20 MB takes 11 s.
Here pages are larger, and the rest is not copied.
"""

from __future__ import annotations

import os

from mutagen._vorbis import VComment
from mutagen.ogg import OggPage, error

PathLike = str | os.PathLike
_PAGE = 120 * 255  # bytes; mutagen may put twice as many into a page, which ends at 255 · 255
# What begins the packet of comments (Vorbis I, 4.2.1; RFC 7845, 5.2), and whether a bit ends it.
_KINDS = ((b"\x03vorbis", True), (b"OpusTags", False))


def save_comments(path: PathLike, comments: VComment) -> None:
    """Replace the comments of an Ogg Vorbis or Ogg Opus file.

    Raises:
        mutagen.MutagenError: the file is of another kind.
    """
    with open(path, "r+b") as f:
        pages, (magic, framing) = _comment_pages(f)
        packets = OggPage.to_packets(pages, strict=False)
        packets[0] = magic + comments.write(framing=framing)
        views = [memoryview(packet) for packet in packets]
        fresh = OggPage.from_packets(views, pages[0].sequence, _PAGE, wiggle_room=0)
        fresh[-1].position = pages[-1].position
        OggPage.replace(f, pages, fresh)


def _comment_pages(f) -> tuple[list[OggPage], tuple[bytes, bool]]:
    """Return the pages that hold the packet of comments, and the kind of file."""
    while True:
        page = OggPage(f)
        found = [kind for kind in _KINDS if page.packets and page.packets[0].startswith(kind[0])]
        if found:
            break
        if page.position > 0:
            raise error("no comments before the sound")
    pages = [page]
    while not (pages[-1].complete or len(pages[-1].packets) > 1):
        page = OggPage(f)
        if page.serial == pages[0].serial:
            pages.append(page)
    return pages, found[0]
