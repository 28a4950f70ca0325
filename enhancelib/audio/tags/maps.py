"""How tag formats name the same thing, as MusicBrainz Picard's table of tags maps them.

Text travels under the names of Vorbis comments in lower case, which FLAC and Ogg store as they are.
Source: MusicBrainz Picard's documentation, appendix "Tag mapping".
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mutagen import flac

# Vorbis comment -> ID3v2.4 frame; "TXXX:" with a description.
ID3 = {
    "title": "TIT2",
    "artist": "TPE1",
    "album": "TALB",
    "albumartist": "TPE2",
    "composer": "TCOM",
    "date": "TDRC",
    "genre": "TCON",
    "comment": "COMM",
    "lyrics": "USLT",
    "tracknumber": "TRCK",
    "discnumber": "TPOS",
    "copyright": "TCOP",
    "bpm": "TBPM",
    "isrc": "TSRC",
    "label": "TPUB",
    "albumsort": "TSOA",
    "artistsort": "TSOP",
    "albumartistsort": "TSO2",
    "titlesort": "TSOT",
    "composersort": "TSOC",
    "compilation": "TCMP",
    "conductor": "TPE3",
    "remixer": "TPE4",
    "lyricist": "TEXT",
    "language": "TLAN",
    "originaldate": "TDOR",
    "originalalbum": "TOAL",
    "originalartist": "TOPE",
    "originalfilename": "TOFN",
    "releasedate": "TDRL",
    "grouping": "TIT1",
    "subtitle": "TIT3",
    "key": "TKEY",
    "media": "TMED",
    "discsubtitle": "TSST",
    "mood": "TMOO",
    "movementname": "MVNM",
    "movement": "MVIN",
    "website": "WOAR",
    "license": "WCOP",
    "work": "TXXX:WORK",
    "showmovement": "TXXX:SHOWMOVEMENT",
    "artists": "TXXX:ARTISTS",
    "asin": "TXXX:ASIN",
    "barcode": "TXXX:BARCODE",
    "catalognumber": "TXXX:CATALOGNUMBER",
    "director": "TXXX:DIRECTOR",
    "originalyear": "TXXX:originalyear",
    "script": "TXXX:SCRIPT",
    "acoustid_id": "TXXX:Acoustid Id",
    "acoustid_fingerprint": "TXXX:Acoustid Fingerprint",
    "fingerprint": "TXXX:MusicMagic Fingerprint",
    "musicip_puid": "TXXX:MusicIP PUID",
    "musicbrainz_trackid": "UFID:http://musicbrainz.org",
    "musicbrainz_albumid": "TXXX:MusicBrainz Album Id",
    "musicbrainz_artistid": "TXXX:MusicBrainz Artist Id",
    "musicbrainz_albumartistid": "TXXX:MusicBrainz Album Artist Id",
    "musicbrainz_discid": "TXXX:MusicBrainz Disc Id",
    "musicbrainz_originalalbumid": "TXXX:MusicBrainz Original Album Id",
    "musicbrainz_originalartistid": "TXXX:MusicBrainz Original Artist Id",
    "musicbrainz_releasegroupid": "TXXX:MusicBrainz Release Group Id",
    "musicbrainz_releasetrackid": "TXXX:MusicBrainz Release Track Id",
    "musicbrainz_trmid": "TXXX:MusicBrainz TRM Id",
    "musicbrainz_workid": "TXXX:MusicBrainz Work Id",
    "releasecountry": "TXXX:MusicBrainz Album Release Country",
    "releasestatus": "TXXX:MusicBrainz Album Status",
    "releasetype": "TXXX:MusicBrainz Album Type",
}
BY_ID3 = {frame.lower(): name for name, frame in ID3.items()} | {"grp1": "grouping"}
# Roles of the people in ID3's TIPL; those in TMCL play an instrument.
ROLES = {"arranger": "arranger", "engineer": "engineer", "producer": "producer"} | {
    "mixer": "mix",
    "djmixer": "DJ-mix",
}

# MP4 atom -> Vorbis comment.
BY_MP4 = {
    "\xa9nam": "title",
    "\xa9ART": "artist",
    "\xa9alb": "album",
    "aART": "albumartist",
    "\xa9wrt": "composer",
    "\xa9day": "date",
    "\xa9gen": "genre",
    "\xa9cmt": "comment",
    "\xa9lyr": "lyrics",
    "trkn": "tracknumber",
    "disk": "discnumber",
    "cprt": "copyright",
    "tmpo": "bpm",
    "soal": "albumsort",
    "soar": "artistsort",
    "soaa": "albumartistsort",
    "sonm": "titlesort",
    "soco": "composersort",
    "cpil": "compilation",
    "\xa9grp": "grouping",
    "\xa9mvn": "movementname",
    "\xa9mvi": "movement",
    "\xa9mvc": "movementtotal",
    "\xa9wrk": "work",
    "shwm": "showmovement",
    "desc": "description",
    "initialkey": "key",
    "musicbrainz track id": "musicbrainz_trackid",
}
"""Names of free-form atoms are in lower case."""

# ASF attribute -> Vorbis comment, where they are not alike but for "WM/".
BY_ASF = {
    "Author": "artist",
    "Description": "comment",
    "WM/AlbumTitle": "album",
    "WM/Year": "date",
    "WM/PartOfSet": "discnumber",
    "WM/BeatsPerMinute": "bpm",
    "WM/Publisher": "label",
    "WM/AlbumSortOrder": "albumsort",
    "WM/ArtistSortOrder": "artistsort",
    "WM/AlbumArtistSortOrder": "albumartistsort",
    "WM/TitleSortOrder": "titlesort",
    "WM/ComposerSortOrder": "composersort",
    "WM/IsCompilation": "compilation",
    "WM/ModifiedBy": "remixer",
    "WM/Writer": "lyricist",
    "WM/OriginalReleaseTime": "originaldate",
    "WM/OriginalReleaseYear": "originalyear",
    "WM/OriginalAlbumTitle": "originalalbum",
    "WM/ContentGroupDescription": "grouping",
    "WM/SubTitle": "subtitle",
    "WM/InitialKey": "key",
    "WM/SetSubTitle": "discsubtitle",
    "WM/CatalogNo": "catalognumber",
    "WM/ToolName": "encoder",
    "WM/ToolVersion": "encoder",
    "WM/EncodingSettings": "encoder",
    "WM/EncodedBy": "encoded_by",
    "WMFSDKVersion": "encoder",
    "WMFSDKNeeded": "encoder",
    "IsVBR": "encoder",
    "DeviceConformanceTemplate": "encoder",
}

# Names of other makers, of APEv2, of FFmpeg (Matroska, CAF …) -> the Vorbis comment they mean.
ALIASES = {
    "year": "date",
    "date_released": "date",
    "date_recorded": "date",
    "track": "tracknumber",
    "part_number": "tracknumber",
    "totaltracks": "tracktotal",
    "total_parts": "tracktotal",
    "disc": "discnumber",
    "totaldiscs": "disctotal",
    "album artist": "albumartist",
    "album_artist": "albumartist",
    "mixartist": "remixer",
    "remixed_by": "remixer",
    "organization": "label",
    "publisher": "label",
    "label_code": "labelcode",
    "catalog_number": "catalognumber",
    "unsyncedlyrics": "lyrics",
    "initialkey": "key",
    "initial_key": "key",
    "musicbrainz_albumstatus": "releasestatus",
    "musicbrainz_albumtype": "releasetype",
    "lead_performer": "artist",
    "content_type": "genre",
}

# The INFO chunks of WAV and the text chunks of AIFF -> Vorbis comment.
BY_CHUNK = {
    "INAM": "title",
    "IART": "artist",
    "IPRD": "album",
    "ICRD": "date",
    "ICMT": "comment",
    "IGNR": "genre",
    "ICOP": "copyright",
    "ITRK": "tracknumber",
    "IPRT": "tracknumber",
    "IMUS": "composer",
    "IWRI": "lyricist",
    "IENG": "engineer",
    "IPRO": "producer",
    "ILNG": "language",
    "IMED": "media",
    "IKEY": "keywords",
    "ISBJ": "subject",
    "ISRC": "source",
    "ISFT": "encoder",
    "ITCH": "encoded_by",
    "NAME": "title",
    "AUTH": "artist",
    "(c) ": "copyright",
    "ANNO": "comment",
}

OF_THE_OLD_CODING = {
    *("encoder", "encoded_by", "encodedby", "encoder_options", "encodersettings", "encodingtime"),
    *("itunsmpb", "itunnorm", "itunpgap", "software", "duration", "creation_time", "isvbr"),
    *("mp3gain_minmax", "mp3gain_undo", "mp3gain_album_minmax", "vendor_id", "handler_name"),
    *("major_brand", "minor_version", "compatible_brands", "metadata_block_picture"),
    "waveformatextensible_channel_mask",
}


@dataclass(frozen=True)
class Chapter:
    """A stretch with a title; ``end_s`` may equal ``start_s`` where the source does not say."""

    start_s: float
    end_s: float
    title: str


@dataclass
class Tags:
    """What a file says of its content.

    Attributes:
        text: values by Vorbis comment name, in lower case.
        pictures: covers and others.
        chapters: in their order.
        lost: names of what the file holds and this class cannot.
    """

    text: dict[str, list[str]] = field(default_factory=dict)
    pictures: list[flac.Picture] = field(default_factory=list)
    chapters: list[Chapter] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def add(self, name: str, values: list[str]) -> None:
        """Set text under a name, each value once, unless empty or about the old coding."""
        values = [value for value in dict.fromkeys(values) if value]
        if values and name.lower() not in OF_THE_OLD_CODING:
            self.text[name.lower()] = values

    def extend(self, name: str, values: list[str]) -> None:
        """Add text to what stands under a name, but for what stands there already."""
        present = self.text.get(name.lower(), [])
        self.add(name, present + [value for value in values if value not in present])

    def add_number(self, name: str, total: str, value: str) -> None:
        """Add "3/12" as a number and a total, two comments in Vorbis."""
        number, slash, count = value.partition("/")
        if slash and number.strip().isdigit() and count.strip().isdigit():
            self.add(name, [number.strip()])
            self.add(total, [count.strip()])
        else:
            self.add(name, [value])


NUMBERS = {
    "tracknumber": "tracktotal",
    "discnumber": "disctotal",
    "movement": "movementtotal",
}
"""Comments whose total is a comment of its own."""


def picture(data: bytes, mime: str, kind: int = 3, description: str = "") -> flac.Picture:
    """Return a picture; ``kind`` 3 is the front cover."""
    made = flac.Picture()
    made.data, made.mime, made.type, made.desc = data, mime, kind, description
    return made
