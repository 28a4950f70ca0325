"""Files for tests, made by FFmpeg's encoders: of any codec and channel layout, also odd ones."""

import os
from pathlib import Path

import av
import numpy as np
import soundfile

from enhancelib.audio.containers.headers import ogg_crc, ogg_pages


def tone(frequency: float, seconds: float, rate: int = 44100, channels: int = 2) -> np.ndarray:
    """A sine of a third of full scale."""
    time_s = np.arange(round(seconds * rate)) / rate
    return np.tile(0.3 * np.sin(2 * np.pi * frequency * time_s), (channels, 1)).astype(np.float32)


def encode(
    path: os.PathLike,
    wave: np.ndarray,
    rate: int,
    *,
    codec: str,
    muxer: str | None = None,
    layout: str | None = None,
    bit_rate: int | None = None,
    samples: str | None = None,
    tags: dict[str, str] | None = None,
    coder: dict[str, str] | None = None,
    **options: str,
) -> Path:
    """Write a wave by one of FFmpeg's encoders; ``options`` are the muxer's, ``coder`` its own.

    ``samples`` are the encoder's, by FFmpeg's name; its first ones where None.
    """
    layout = layout or ("stereo" if len(wave) == 2 else "mono")
    with av.open(str(path), "w", format=muxer, options=options) as container:
        container.metadata.update(tags or {})
        stream = container.add_stream(codec, rate=rate, options=coder or {})
        stream.layout = layout
        stream.format = samples or av.codec.Codec(codec, "w").audio_formats[0]
        if bit_rate:
            stream.bit_rate = bit_rate
        container.start_encoding()
        frame = av.AudioFrame.from_ndarray(wave.T.reshape(1, -1).copy(), "flt", layout)
        frame.sample_rate = rate
        split = av.AudioResampler(stream.format, layout, frame_size=stream.frame_size or 1024)
        for part in [*split.resample(frame), *split.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return Path(path)


def vorbis(path: os.PathLike, wave: np.ndarray, rate: int) -> Path:
    """Write Ogg Vorbis by libsndfile, which leaves the channels in the order given."""
    soundfile.write(path, wave.T, rate, format="OGG", subtype="VORBIS")
    return Path(path)


def joined(path: Path, *parts: Path) -> Path:
    """What `cat` makes of files."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def cut(path: Path, bytes_off: int) -> Path:
    """Take bytes off the end."""
    path.write_bytes(path.read_bytes()[:-bytes_off])
    return path


def patched(path: Path, at: int, data: bytes) -> Path:
    """Overwrite bytes in place."""
    content = bytearray(path.read_bytes())
    content[at : at + len(data)] = data
    path.write_bytes(content)
    return path


def new_serial(path: Path, serial: int) -> Path:
    """Give an Ogg another serial number: the parts of a chain must differ (RFC 3533, 4)."""
    content = bytearray(path.read_bytes())
    for at, _, length in list(ogg_pages(path)):
        content[at + 14 : at + 18] = serial.to_bytes(4, "little")
        content[at + 22 : at + 26] = ogg_crc(bytes(content[at : at + length]))
    path.write_bytes(content)
    return path
