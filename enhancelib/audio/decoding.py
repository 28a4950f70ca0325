"""Decode any audio file to its end through FFmpeg, as a player does, and say what is missing.

A damaged frame is left silent, a change of rate or channels is converted to the form of the file's
first frame, and a list of what was wrong is kept: nothing is lost without a word.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from enhancelib.audio.containers.headers import (
    frame_bytes,
    has_lost_pages,
    is_cut_off,
    stated_seconds,
)
from enhancelib.audio.containers.parts import Part, ends_early, parts
from enhancelib.audio.containers.speakers import channel_mask, places
from enhancelib.audio.waves import Wave, resample_blocks
from enhancelib.errors import InputError

PathLike = str | os.PathLike
Note = Callable[[str], None]

# Kinds of "file" that only name other files or addresses: reading one would read the neighbours.
_LISTS = ("hls", "concat", "dash", "sdp", "rtsp", "rtp", "imf", "image2", "ffmetadata", "lavfi")


@dataclass(frozen=True)
class Stream:
    """What FFmpeg says of a file's first audio stream; ``seconds`` is a guess in some formats.

    ``bits`` is the size of a decoded sample, at least the stored one's, and ``floating`` says
    whether it is in floating point. ``reordered`` says whether the file holds its channels in
    another order than that of WAV, in which they are decoded.
    """

    format: str
    codec: str
    sample_rate: int
    channels: int
    channel_mask: int
    seconds: float
    bits: int
    floating: bool
    reordered: bool


def probe(path: PathLike, *, name: str) -> Stream:
    """Return the form of the first frame that can be decoded.

    Raises:
        InputError: no audio that FFmpeg knows, or none that can be decoded.
    """
    with open_media(path, name=name) as container:
        stream = container.streams.audio[0]
        told = places(stream.codec_context)
        frame = next((frame for frame, _ in _frames(container, stream, _Damage())), None)
        if frame is None:
            raise InputError(f"{name}: no audio in it that can be decoded; fetch the file again")
        seconds = float((stream.duration or 0) * (stream.time_base or 0))
        seconds = seconds or max(0, container.duration or 0) / 1e6
        head = stream.codec_context.extradata or b""
        if container.format.name == "ogg" and head.startswith(b"OpusHead"):
            skipped = int.from_bytes(head[10:12], "little")  # of 48 kHz, RFC 7845, 5.1
            seconds = max(0.0, seconds - skipped / 48_000)
        return Stream(
            container.format.name,
            stream.codec_context.name,
            frame.sample_rate,
            frame.layout.nb_channels,
            told.mask if told.order else channel_mask(frame.layout),
            seconds,
            8 * frame.format.bytes,
            frame.format.name.startswith(("flt", "dbl")),
            bool(told.order),
        )


def decoded(path: PathLike, *, name: str, frames: int, note: Note) -> Iterator[Wave]:
    """Decode a file from its beginning to its end.

    Args:
        path: any file FFmpeg reads.
        name: what to call it.
        frames: most samples per channel in one block.
        note: is told, in one line each, what is missing or was converted.

    Yields:
        float32 ``(channels, <= frames)``, all of one form: the first frame's.

    Raises:
        InputError: as :func:`probe`.
    """
    reader = _Reader(name, note, gaps=has_lost_pages(path))
    yield from _gathered(reader.read(_sources(path)), frames)
    reader.finish(path)


class _Reader:
    """Reads one or several media in turn into one form, and keeps account of what is missing.

    ``gaps``: whether pages of an Ogg are lost, so that the times of the others count.
    """

    def __init__(self, name: str, note: Note, *, gaps: bool):
        self._name, self._note, self._gaps = name, note, gaps
        self._damage = _Damage()
        self._first: Any = None  # the first frame: its form is the whole's
        self._stated = 0.0
        self._samples = 0

    def read(self, sources: Iterable) -> Iterator[Wave]:
        """Yield the waves of all sources, in the rate and channels of the first frame."""
        runs = groupby(self._pieces(sources), key=lambda piece: piece[0])
        for rate, pieces in runs:
            waves = (wave for _, wave in pieces)
            yield from resample_blocks(waves, from_rate=rate, to_rate=self._first.sample_rate)

    def finish(self, path: PathLike) -> None:
        """Say what is missing, given what the file's headers state."""
        seconds = self._samples / self._first.sample_rate if self._first else 0.0
        stated = stated_seconds(path)
        stated = self._stated if stated is None else stated
        if self._damage.count:
            frames = f"{self._damage.count} damaged frame{'s' * (self._damage.count > 1)}"
            self._note(
                f"{self._name}: {frames} (the first at {self._damage.first_s:.2f} s) could not be "
                "decoded; fetch the file again"
            )
        elif self._gaps:
            self._note(lost_pages(self._name))
        if stated - seconds > _TOLERANCE_S:
            self._note(
                f"{self._name}: states {stated:.2f} s, but {seconds:.2f} s are in it; fetch the "
                "file again if the rest is missing"
            )
        elif self._damage.cut or is_cut_off(path) or ends_early(path):
            self._note(missing_end(self._name, seconds))

    def _pieces(self, sources: Iterable) -> Iterator[tuple[int, Wave]]:
        """Yield (rate, wave) of every frame, in the first one's channels."""
        for source in sources:
            with _open(source, name=self._name) as container:
                stream = container.streams.audio[0]
                if (count := len(container.streams.audio)) > 1:
                    self._note(f"{self._name}: holds {count} recordings; the first was read")
                if container.format.name in _STATING:
                    self._stated += _stated(container, stream)
                order = places(stream.codec_context).order
                for frame, silent in _frames(container, stream, self._damage, gaps=self._gaps):
                    for rate, wave in self._converted(frame, silent):
                        known = order and len(order) == len(wave)
                        yield rate, wave[order] if known else wave

    def _converted(self, frame, silent: int) -> Iterator[tuple[int, Wave]]:
        first = self._first
        if first is None:
            self._first = self._last = first = frame
        if _form(frame) != _form(self._last):
            at = self._samples / first.sample_rate
            self._note(
                f"{self._name}: changes to {_words(frame)} at {at:.2f} s; converted to "
                f"{_words(first)}"
            )
        self._last = frame
        if frame.layout.nb_channels == first.layout.nb_channels:
            wave = samples(frame)
        else:
            wave = _remixed(frame, first.layout)
        if silent:
            wave = np.pad(wave, ((0, 0), (silent, 0)))
        self._samples += wave.shape[1] * first.sample_rate / frame.sample_rate
        yield frame.sample_rate, wave


def lost_pages(name: str) -> str:
    """Return the words of the note on an Ogg file with damaged or missing pages."""
    return f"{name}: pages of it are damaged or missing; fetch the file again"


def missing_end(name: str, seconds: float) -> str:
    """Return the words of the note on a file that is cut off."""
    return f"{name}: its end is missing; {seconds:.2f} s are in it; fetch the file again"


_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")
_CHECKED = ("flac", "wavpack", "tta", "ape")  # every frame has a check sum, not looked at unasked
_FRAMED = ("mp1", "mp2", "mp3", "ac3", "eac3")  # every frame states its size
_LONGEST_S = 10  # a coded frame; those of APE reach seven seconds
_JITTER_S = 0.05  # of the times of an Ogg's pages; those of Vorbis vary by a block
_TOLERANCE_S = 0.25  # encoder delay and padding, which formats count or do not count
# Formats whose header or last page states the length; the others' is estimated by the bit rate.
_STATING = (
    *("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flac", "wv", "ape", "tta", "tak", "mpc", "mpc8"),
    *("wav", "aiff", "caf", "w64", "au", "dsf", "ogg"),
)


def _stated(container, stream) -> float:
    """Seconds that the header states, 0 where it does not; not of a film, whose picture counts."""
    context = stream.codec_context
    if container.format.name == "caf" and context.name.startswith("pcm_"):
        return stream.frames / context.sample_rate  # its duration is that of what is there
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    alone = all(other is stream or _is_cover(other) for other in container.streams)
    return max(0, container.duration or 0) / 1e6 if alone else 0.0


def _is_cover(stream) -> bool:
    return stream.type == "attachment" or "attached_pic" in str(stream.disposition)


class _Damage:
    """Counts packets that could not be decoded; ``cut``: the last one is shorter than it says."""

    def __init__(self):
        self.count, self.first_s, self.cut = 0, 0.0, False

    def add(self, seconds: float) -> None:
        if not self.count:
            self.first_s = seconds
        self.count += 1


def _frames(container, stream, damage: _Damage, *, gaps: bool = False) -> Iterator[tuple[Any, int]]:
    """Yield each decoded frame, and how many samples before it are lost in damaged ones."""
    import av

    if stream.codec_context.name in _CHECKED:
        stream.codec_context.options |= {"err_detect": "crccheck+explode"}
    packets = container.demux(stream)
    clock = _Clock(container, stream, gaps=gaps)
    position = silent = 0
    while True:
        packet = None
        with contextlib.suppress(av.FFmpegError):  # the end of what can be read, as in a player
            packet = next(packets, None)
        if packet and packet.size and stream.codec_context.name.startswith(_FRAMED):
            damage.cut = packet.size < frame_bytes(bytes(packet)[:6])
        try:
            frames = packet.decode() if packet else stream.codec_context.decode(None)
        except av.FFmpegError:
            if packet is None:
                return
            if bytes(packet).startswith(_TAGS):  # between joined MP3s
                continue
            rate = stream.codec_context.sample_rate or 0
            damage.add(position / rate if rate else 0.0)
            lost = round((packet.duration or 0) * (packet.time_base or 0) * rate)
            silent += min(max(lost, 0), _LONGEST_S * rate)
            frames = []
        for frame in frames:
            if len(frames) == 1 and (lost := clock.lost_before(frame, position)) is not None:
                if lost and not silent:
                    damage.add(position / frame.sample_rate)
                silent = lost
            if stream.codec_context.name.startswith("mp3"):  # its label lags one frame behind
                frame.sample_rate = stream.codec_context.sample_rate
            if frame.samples:
                yield frame, silent
                position += silent + frame.samples
                silent = 0
        if packet is None:
            return


class _Clock:
    """Tells by the times of a FLAC's frames how much is lost between them, of an Ogg's if asked."""

    def __init__(self, container, stream, *, gaps: bool):
        self._kind, self._end = container.format.name, stream.duration or 0
        self._gaps = gaps and self._kind == "ogg"
        self._start: int | None = None  # of an Ogg, in samples: of a recorded stream it is not 0

    def lost_before(self, frame, position: int) -> int | None:
        """Return the samples lost before a frame; ``None`` where its time says nothing.

        Args:
            frame: what was decoded.
            position: samples of the stream before it, lost ones included.
        """
        if frame.pts is None:
            return None
        lost = round(frame.pts * frame.time_base * frame.sample_rate) - position
        if self._kind == "flac":
            return lost if lost >= 0 and frame.pts < self._end else None  # a number that lies
        if not self._gaps:
            return None
        self._start = lost if self._start is None else self._start
        lost -= self._start
        if lost < _JITTER_S * frame.sample_rate:
            return None
        kept = min(lost, _LONGEST_S * frame.sample_rate)
        self._start += lost - kept
        return kept


def _gathered(waves: Iterator[Wave], frames: int) -> Iterator[Wave]:
    """Join short waves (a frame of AAC has 1024 samples) and cut long ones: blocks of `frames`."""
    kept: list[Wave] = []
    held = 0
    for wave in waves:
        kept.append(wave)
        held += wave.shape[1]
        if held < frames:
            continue
        whole = np.concatenate(kept, axis=1)
        full = held - held % frames
        for at in range(0, full, frames):
            yield np.ascontiguousarray(whole[:, at : at + frames])
        kept, held = [whole[:, full:]], held - full
    if held:
        yield np.ascontiguousarray(np.concatenate(kept, axis=1))


def samples(frame) -> Wave:
    """Return a decoded ``av.AudioFrame`` as float32 ``(channels, samples)``."""
    if frame.format.is_planar and frame.layout.nb_channels > 7:  # PyAV 18 counts 8 planes wrongly
        frame = _converted(frame, "flt", frame.layout)
    data = frame.to_ndarray()
    if not frame.format.is_planar:
        data = data.reshape(-1, frame.layout.nb_channels).T
    if data.dtype.kind == "u":  # 8 bits, silent at 128
        return ((data.astype(np.float32) - 128) / 128).astype(np.float32)
    if data.dtype.kind == "i":
        return (data / -float(np.iinfo(data.dtype).min)).astype(np.float32)
    return data.astype(np.float32, copy=False)


def _remixed(frame, layout) -> Wave:
    """Return a frame in another channel layout: mono is copied, the rest mixed by FFmpeg."""
    if frame.layout.nb_channels == 1:
        return np.repeat(samples(frame), layout.nb_channels, axis=0)
    return samples(_converted(frame, "flt", layout))


def _converted(frame, sample_format: str, layout):
    """Return the frame, whole, in another sample format and layout."""
    import av

    (converted,) = av.AudioResampler(sample_format, layout).resample(frame)
    return converted


def _form(frame) -> tuple[int, int]:
    return frame.sample_rate, frame.layout.nb_channels


def _words(frame) -> str:
    count = frame.layout.nb_channels
    return f"{frame.sample_rate} Hz, {count} channel{'s' * (count > 1)}"


def _sources(path: PathLike) -> Iterator:
    """Yield what FFmpeg is to open in turn: one name, or each of several files joined into one.

    FFmpeg itself reads the first, or takes the rest for more of its samples.
    """
    found = parts(path)
    if len(found) < 2:
        yield _source(path)
    for stretch in found[1:] and found:
        part = Part(path, *stretch)
        with contextlib.closing(part):
            yield part


def _source(path: PathLike) -> str:
    """FFmpeg's name of a file: a colon in it must not be taken for a protocol."""
    return f"file:{os.fspath(path)}"


def open_media(path: PathLike, *, name: str):
    """Return a context that opens a file with FFmpeg, by its path and nothing else.

    Raises:
        InputError: not readable, no audio in it, or a list of other files.
    """
    return _open(_source(path), name=name)


def can_open(path: PathLike) -> bool:
    """Whether FFmpeg makes out what a file holds."""
    try:
        with open_media(path, name=""):
            return True
    except InputError:
        return False


@contextlib.contextmanager
def _open(source, *, name: str):
    """Open with FFmpeg what holds audio itself. Imported here: most files never need it."""
    import av

    try:
        container = av.open(source, options={"protocol_whitelist": "file"})
    except (av.FFmpegError, UnicodeError, ValueError, OverflowError, MemoryError):
        raise InputError(f"{name}: not readable as audio; convert it to WAV or FLAC") from None
    with container:
        if any(kind in _LISTS for kind in container.format.name.split(",")):
            raise InputError(f"{name}: only names other files; name those")
        if not container.streams.audio:
            raise InputError(f"{name}: no audio stream; name an audio file")
        if container.streams.audio[0].codec_context is None:
            raise InputError(f"{name}: not readable, its coding is not known; convert it to WAV")
        yield container
