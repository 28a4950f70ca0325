"""Tags reach the other format under its own names, in both directions, or are named as lost."""

import struct
import time
from fractions import Fraction

import av
import mutagen
import numpy as np
import pytest
from mutagen import apev2, asf, flac, id3, mp4
from odd_files import encode, tone

from enhancelib import audio
from enhancelib.audio.tags import copy_tags, read_tags, write_tags
from enhancelib.audio.tags.maps import Chapter, Tags, picture

RATE = 44100
JPEG, PNG = b"\xff\xd8\xff\xe0 picture", b"\x89PNG\r\n\x1a\n picture"

# ID3v2.4 frame -> Vorbis comment, from Picard's documentation, and a value.
FRAMES = {
    "TIT2": ("TITLE", "Tide"),
    "TPE1": ("ARTIST", "A"),
    "TPE2": ("ALBUMARTIST", "B"),
    "TALB": ("ALBUM", "Sea"),
    "TDRC": ("DATE", "1999-05-01"),
    "TSOP": ("ARTISTSORT", "A, the"),
    "TSOA": ("ALBUMSORT", "Sea, the"),
    "TSO2": ("ALBUMARTISTSORT", "B, the"),
    "TSOT": ("TITLESORT", "Tide, the"),
    "TSOC": ("COMPOSERSORT", "C, the"),
    "TCMP": ("COMPILATION", "1"),
    "TPE3": ("CONDUCTOR", "D"),
    "TPE4": ("REMIXER", "E"),
    "TEXT": ("LYRICIST", "F"),
    "TLAN": ("LANGUAGE", "eng"),
    "TDOR": ("ORIGINALDATE", "1970"),
    "TIT1": ("GROUPING", "G"),
    "TIT3": ("SUBTITLE", "H"),
    "TKEY": ("KEY", "Dm"),
    "TMED": ("MEDIA", "CD"),
    "TSST": ("DISCSUBTITLE", "I"),
    "TMOO": ("MOOD", "calm"),
    "MVNM": ("MOVEMENTNAME", "Allegro"),
    "TSRC": ("ISRC", "GBAYE9900001"),
    "TPUB": ("LABEL", "J"),
    "TCOP": ("COPYRIGHT", "1999 K"),
    "TBPM": ("BPM", "120"),
    "TOPE": ("ORIGINALARTIST", "L"),
}
FREE = {
    "MusicBrainz Album Id": "MUSICBRAINZ_ALBUMID",
    "MusicBrainz Release Group Id": "MUSICBRAINZ_RELEASEGROUPID",
    "MusicBrainz Album Type": "RELEASETYPE",
    "MusicBrainz Album Release Country": "RELEASECOUNTRY",
    "Acoustid Id": "ACOUSTID_ID",
    "BARCODE": "BARCODE",
    "replaygain_track_gain": "REPLAYGAIN_TRACK_GAIN",
    "anything at all": "ANYTHING AT ALL",
}


def sound(folder, name):
    """A short file that we write, without tags."""
    return audio.save(folder / name, tone(440, 0.3), sample_rate=RATE)


def tagged(path, *frames):
    tags = id3.ID3()
    for frame in frames:
        tags.add(frame)
    tags.save(path)
    return path


def all_frames():
    frames = [getattr(id3, name)(encoding=3, text=[text]) for name, (_, text) in FRAMES.items()]
    frames += [id3.TXXX(encoding=3, desc=name, text=[f"v {name}"]) for name in FREE]
    frames += [
        id3.UFID(owner="http://musicbrainz.org", data=b"7b6f"),
        id3.TRCK(encoding=3, text=["3/12"]),
        id3.TPOS(encoding=3, text=["1/2"]),
        id3.MVIN(encoding=3, text=["2/4"]),
        id3.TMCL(encoding=3, people=[["piano", "M"]]),
        id3.TIPL(encoding=3, people=[["producer", "N"], ["mix", "O"], ["DJ-mix", "P"]]),
        id3.WCOP(url="http://example.org/licence"),
    ]
    return frames


AS_COMMENTS = (
    {name: text for name, text in FRAMES.values()}
    | {comment: f"v {name}" for name, comment in FREE.items()}
    | {"MUSICBRAINZ_TRACKID": "7b6f", "TRACKNUMBER": "3", "TRACKTOTAL": "12"}
    | {"DISCNUMBER": "1", "DISCTOTAL": "2", "MOVEMENT": "2", "MOVEMENTTOTAL": "4"}
    | {"PERFORMER": "M (piano)", "PRODUCER": "N", "MIXER": "O", "DJMIXER": "P"}
    | {"LICENSE": "http://example.org/licence"}
)


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.opus"])
def test_id3_becomes_vorbis_comments(tmp_path, name):
    source = tagged(sound(tmp_path, "a.mp3"), *all_frames())
    target = audio.save(tmp_path / name, tone(440, 0.3, 48000), sample_rate=48000)
    assert copy_tags(source, target) == []
    found = {key.upper(): list(value) for key, value in mutagen.File(target).tags.items()}
    found.pop("ENCODER", None)  # libsndfile's own, in Ogg Vorbis
    assert found == {key: [value] for key, value in AS_COMMENTS.items()}


@pytest.mark.parametrize("name", ["b.mp3", "b.wav", "b.aiff"])
def test_vorbis_comments_become_id3(tmp_path, name):
    source = sound(tmp_path, "a.flac")
    file = flac.FLAC(source)
    file.update({key: [value] for key, value in AS_COMMENTS.items()})
    file.save()
    target = sound(tmp_path, name)
    assert copy_tags(source, target) == []
    found = mutagen.File(target).tags
    for frame in all_frames():
        if frame.FrameID == "TXXX":  # mutagen gives comments in lower case
            texts = {key.lower(): value for key, value in found.items()}
            assert texts[frame.HashKey.lower()] == frame
        else:
            assert found[frame.HashKey] == frame
    assert len(found) == len(all_frames())


def test_several_values_and_what_has_no_frame_survive_the_way_there_and_back(tmp_path):
    text = {"artist": ["A", "B"], "genre": ["Jazz", "Blues"], "date": ["summer 1970"]}
    text |= {"comment": ["one", "two"], "lyrics": ["la\nla"], "organization": ["Z"]}
    middle, back = sound(tmp_path, "a.mp3"), sound(tmp_path, "b.flac")
    assert write_tags(middle, Tags(text=text)) == []
    assert copy_tags(middle, back) == []
    found = read_tags(back).text
    text["label"] = text.pop("organization")  # Picard's name for it
    assert found == text


def test_other_programs_comments_do_not_replace_the_comment(tmp_path):
    def comment(description, text):
        return id3.COMM(encoding=3, lang="eng", desc=description, text=[text])

    source = tagged(
        sound(tmp_path, "a.mp3"),
        comment("ID3v1 Comment", "the real com"),
        comment("", "the real comment"),
        comment("Songs-DB_Custom1", "quiet"),
        comment("iTunNORM", " 00000A"),
    )
    assert read_tags(source).text == {"comment": ["the real comment", "quiet (Songs-DB_Custom1)"]}


def test_an_id3v1_tag_by_itself_is_read_under_plain_names(tmp_path):
    path = sound(tmp_path, "a.mp3")
    fields = b"".join(text.ljust(30, b"\0") for text in (b"Tide", b"A", b"Sea"))
    path.write_bytes(
        path.read_bytes() + b"TAG" + fields + b"1999" + b"live".ljust(29, b"\0") + b"\3\x11"
    )
    assert read_tags(path).text == {
        "title": ["Tide"],
        "artist": ["A"],
        "album": ["Sea"],
        "date": ["1999"],
        "comment": ["live"],
        "tracknumber": ["3"],
        "genre": ["Rock"],
    }


def test_apev2_beside_id3_adds_and_replaces_nothing(tmp_path):
    source = tagged(sound(tmp_path, "a.mp3"), id3.TIT2(encoding=3, text=["Tide"]))
    ape = apev2.APEv2()
    ape.update({"Title": "Short", "Year": "1999", "Album Artist": "B", "Track": "3/12"})
    ape.update({"MUSICBRAINZ_ALBUMTYPE": "live", "MP3GAIN_MINMAX": "1,2", "MixArtist": "E"})
    ape["Cover Art (Front)"] = apev2.APEValue(b"a.jpg\0" + JPEG, apev2.BINARY)
    ape.save(source)
    tags = read_tags(source)
    assert {name: values[0] for name, values in tags.text.items()} == {
        "title": "Tide",
        "date": "1999",
        "albumartist": "B",
        "tracknumber": "3",
        "tracktotal": "12",
        "releasetype": "live",
        "remixer": "E",
    }
    assert tags.pictures[0].data == JPEG


def test_mp4_names_reach_flac(tmp_path):
    path = encode(tmp_path / "a.m4a", tone(440, 1.0), RATE, codec="aac", muxer="ipod")
    file = mp4.MP4(path)
    free = "----:com.apple.iTunes:"
    file["\xa9nam"], file["soar"], file["cpil"] = ["Tide"], ["A, the"], True
    file["trkn"], file["tmpo"], file["\xa9mvn"] = [(3, 12)], [120], ["Allegro"]
    file[free + "MusicBrainz Track Id"] = [b"7b6f"]
    file[free + "MusicBrainz Album Type"] = [b"live"]
    file[free + "LABEL"], file[free + "iTunNORM"] = [b"J"], [b" 000A"]
    file["covr"] = [mp4.MP4Cover(PNG, mp4.MP4Cover.FORMAT_PNG)]
    file["\xa9too"], file["purd"] = ["Lavf"], ["2020"]
    file.save()
    tags = read_tags(path)
    assert {name: values[0] for name, values in tags.text.items()} == {
        "title": "Tide",
        "artistsort": "A, the",
        "compilation": "1",
        "tracknumber": "3",
        "tracktotal": "12",
        "bpm": "120",
        "movementname": "Allegro",
        "musicbrainz_trackid": "7b6f",
        "releasetype": "live",
        "label": "J",
    }
    assert tags.pictures[0].data == PNG
    assert tags.lost == ["purd"]


def test_wma_names_reach_flac(tmp_path):
    path = encode(tmp_path / "a.wma", tone(440, 1.0), RATE, codec="wmav2", bit_rate=96_000)
    file = asf.ASF(path)
    file["Title"], file["Author"], file["WM/AlbumTitle"] = ["Tide"], ["A", "B"], ["Sea"]
    file["WM/Year"], file["WM/TrackNumber"], file["WM/Mood"] = ["1999"], ["3"], ["calm"]
    file["MusicBrainz/Album Id"], file["MusicBrainz/Track Id"] = ["5c"], ["7b6f"]
    file["WM/SharedUserRating"] = [asf.ASFDWordAttribute(99)]
    names = "image/png\0".encode("utf-16-le") + "front\0".encode("utf-16-le")
    cover = struct.pack("<BI", 3, len(PNG)) + names + PNG
    file["WM/Picture"] = [asf.ASFByteArrayAttribute(cover)]
    file.save()
    tags = read_tags(path)
    assert tags.text == {
        "title": ["Tide"],
        "artist": ["A", "B"],
        "album": ["Sea"],
        "date": ["1999"],
        "tracknumber": ["3"],
        "mood": ["calm"],
        "musicbrainz_albumid": ["5c"],
        "musicbrainz_trackid": ["7b6f"],
    }
    (found,) = tags.pictures
    assert (found.data, found.mime, found.type, found.desc) == (PNG, "image/png", 3, "front")
    assert tags.lost == ["WM/SharedUserRating"]


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.mka", "libopus", 48000),
        ("a.webm", "libopus", 48000),
        ("a.caf", "pcm_s16le", 44100),
        ("a.wv", "wavpack", 44100),
        ("a.aac", "aac", 44100),
    ],
)
def test_what_ffmpeg_reads_keeps_its_tags(tmp_path, name, codec, rate):
    tags = {"title": "Tide", "artist": "A", "album": "Sea", "track": "3/12"}
    path = encode(tmp_path / name, tone(440, 1.0, rate), rate, codec=codec, tags=tags)
    if name == "a.aac":  # FFmpeg writes none there, other programs ID3
        tagged(path, *[id3.TIT2(encoding=3, text=["Tide"]), id3.TPE1(encoding=3, text=["A"])])
        tagged_as = {"title": ["Tide"], "artist": ["A"]}
    else:
        tagged_as = {"title": ["Tide"], "artist": ["A"], "album": ["Sea"]}
        tagged_as |= {"tracknumber": ["3"], "tracktotal": ["12"]}
    assert read_tags(path).text == tagged_as


# ---------------------------------------------------------------- pictures, chapters, strings


def test_pictures_of_one_description_are_all_kept(tmp_path):
    pictures = [picture(bytes([k]) * 9, "image/png", kind) for k, kind in enumerate((3, 4, 5))]
    path = sound(tmp_path, "a.mp3")
    write_tags(path, Tags(pictures=pictures))
    assert sorted((p.type, p.data) for p in read_tags(path).pictures) == [
        (p.type, p.data) for p in pictures
    ]


@pytest.mark.parametrize("name", ["b.ogg", "b.opus", "b.mp3"])
def test_the_work_for_a_cover_of_20_mb_grows_with_its_size(tmp_path, name):
    """Four times the size of one of 5 MB: four times the work. With its square it was sixteen."""
    path = audio.save(tmp_path / name, tone(440, 0.3, 48000), sample_rate=48000)
    before = audio.load(path)[0]
    work_s = {}
    for size in (5_000_000, 20_000_000):
        data, times = np.random.default_rng(0).bytes(size), []
        for _ in range(5):  # of the processor alone, whatever else the machine does
            start = time.thread_time()
            assert write_tags(path, Tags({"title": ["Tide"]}, [picture(data, "image/jpeg")])) == []
            times.append(time.thread_time() - start)
        work_s[size] = min(times)
    assert work_s[20_000_000] < 12 * work_s[5_000_000]  # 9.8 on a machine that did much else
    tags = read_tags(path)
    assert (tags.text["title"], tags.pictures[0].data) == (["Tide"], data)
    np.testing.assert_array_equal(audio.load(path)[0], before)


def test_a_cover_too_large_for_flac_costs_no_other_tag(tmp_path):
    tags = Tags({"title": ["Tide"]}, [picture(bytes(17_000_000), "image/png"), picture(PNG, "x/y")])
    path = sound(tmp_path, "a.flac")
    assert write_tags(path, tags) == ["a picture of 17.0 MB (FLAC ends at 16.7)"]
    found = read_tags(path)
    assert found.text == {"title": ["Tide"]}
    assert [p.data for p in found.pictures] == [PNG]


@pytest.mark.parametrize("name", ["b.mp3", "b.flac", "b.ogg", "b.wav"])
def test_chapters_travel(tmp_path, name):
    chapters = [Chapter(0, 61.25, "One"), Chapter(61.25, 3723.5, "Two")]
    path = sound(tmp_path, name)
    assert write_tags(path, Tags(chapters=chapters)) == []
    again = sound(tmp_path, f"again-{name}")
    assert copy_tags(path, again) == []
    found = read_tags(again).chapters
    assert [(c.start_s, c.title) for c in found] == [(0, "One"), (61.25, "Two")]
    if name in ("b.mp3", "b.wav"):
        assert [c.end_s for c in found] == [61.25, 3723.5]


@pytest.mark.parametrize(
    ("name", "count", "kept"),
    [("b.mp3", 1001, 1001), ("b.wav", 256, 256), ("b.flac", 1001, 1000), ("b.ogg", 1000, 1000)],
)
def test_the_many_chapters_of_a_long_book_cost_no_other_tag(tmp_path, name, count, kept):
    chapters = [Chapter(k, k + 1, f"{k}") for k in range(count)]
    path = sound(tmp_path, name)
    lost = write_tags(path, Tags({"title": ["Tide"]}, chapters=chapters))
    assert lost == ["chapters beyond the 1000th"] * (kept < count)
    found = read_tags(path)
    assert found.text == {"title": ["Tide"]}
    assert [chapter.title for chapter in found.chapters] == [f"{k}" for k in range(kept)]


def test_numbers_with_their_total_twice_and_two_recordings_stay_what_they_are(tmp_path):
    path = sound(tmp_path, "a.mp3")
    text = {"tracknumber": ["3/12"], "tracktotal": ["12"], "musicbrainz_trackid": ["7b6f", "5c"]}
    assert write_tags(path, Tags(text)) == []
    assert str(id3.ID3(path)["TRCK"]) == "3/12"
    assert read_tags(path).text["musicbrainz_trackid"] == ["7b6f", "5c"]


@pytest.mark.parametrize(("name", "muxer"), [("a.m4a", "ipod"), ("a.mka", "matroska")])
def test_chapters_of_mp4_and_matroska_reach_flac_and_mp3(tmp_path, name, muxer):
    path, plain = tmp_path / name, tmp_path / f"plain-{name}"
    encode(plain, tone(440, 4.0, 48000), 48000, codec="aac", muxer=muxer)
    marks = [(0, 1500, "One"), (1500, 4000, "Two")]
    with av.open(str(plain)) as source, av.open(str(path), "w", format=muxer) as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        target.set_chapters(
            [
                {"id": k, "start": start, "end": end, "time_base": Fraction(1, 1000)}
                | {"metadata": {"title": title}}
                for k, (start, end, title) in enumerate(marks)
            ]
        )
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    for goal in ("b.flac", "b.mp3"):
        target = sound(tmp_path, goal)
        assert copy_tags(path, target) == []
        found = [(c.start_s, c.title) for c in read_tags(target).chapters]
        assert found == [(0, "One"), (1.5, "Two")]


def test_info_strings_in_latin_1_and_the_texts_of_aiff(tmp_path):
    wav, aiff = sound(tmp_path, "a.wav"), sound(tmp_path, "a.aiff")
    strings = (
        b"INFO" + b"INAM\x05\0\0\0Caf\xe9\0\0" + b"IART\x06\0\0\0\xc3\x84bc\0\0ITRK\x02\0\0\x003\0"
    )
    strings += b"ISFT\x02\0\0\0x\0IXYZ\x02\0\0\0y\0"
    append(wav, b"LIST", strings, "<")
    append(aiff, b"NAME", b"Tide", ">")
    append(aiff, b"ANNO", b"live", ">")
    tags = read_tags(wav)
    assert tags.text == {"title": ["Café"], "artist": ["Äbc"], "tracknumber": ["3"]}
    assert tags.lost == ["IXYZ"]
    assert read_tags(aiff).text == {"title": ["Tide"], "comment": ["live"]}


def append(path, name, data, order):
    content = bytearray(path.read_bytes()) + name + struct.pack(f"{order}I", len(data)) + data
    content += bytes(len(data) % 2)
    content[4:8] = struct.pack(f"{order}I", len(content) - 8)
    path.write_bytes(content)


def test_what_has_no_place_is_named(tmp_path):
    source = tagged(
        sound(tmp_path, "a.mp3"),
        id3.TIT2(encoding=3, text=["Tide"]),
        id3.POPM(email="me", rating=200),
        id3.PRIV(owner="x", data=b"1"),
        id3.TSSE(encoding=3, text=["LAME"]),
    )
    assert sorted(copy_tags(source, sound(tmp_path, "b.flac"))) == ["POPM", "PRIV"]
    assert sorted(copy_tags(source, sound(tmp_path, "b.caf"))) == ["POPM", "PRIV", "title"]


@pytest.mark.parametrize("name", ["a.mp3", "a.flac", "a.wav", "a.ogg"])
def test_damaged_tags_cost_the_sound_nothing(tmp_path, name):
    """Whatever the tag's bytes: no exception, at worst "all tags" are said to be lost."""
    source, target = sound(tmp_path, name), sound(tmp_path, "t.flac")
    write_tags(source, Tags({"title": ["Tide"]}, [picture(PNG, "image/png")]))
    rng, content = np.random.default_rng(0), source.read_bytes()
    before, _ = audio.load(target)
    start = max(0, content.find(b"Tide") - 100)
    for _ in range(60):
        broken = bytearray(content)
        for at in rng.integers(start, start + 250, 3):
            broken[min(at, len(broken) - 1)] = rng.integers(256)
        source.write_bytes(broken)
        copy_tags(source, target)
        np.testing.assert_array_equal(audio.load(target)[0], before)
