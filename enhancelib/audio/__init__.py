"""Waves in and out: reading, writing, tags, loudness, bandwidth."""

from enhancelib.audio.reading import AudioInfo, PathLike, blocks, display_name, info, load
from enhancelib.audio.waves import (
    Wave,
    analysis_window,
    check_rate,
    check_wave,
    fit_length,
    resample,
    segments,
)
from enhancelib.audio.writing import (
    WRITABLE_SUFFIXES,
    check_size,
    find_audio,
    remove_left_overs,
    save,
    writer,
)

__all__ = [
    "WRITABLE_SUFFIXES",
    "AudioInfo",
    "PathLike",
    "Wave",
    "analysis_window",
    "blocks",
    "check_rate",
    "check_size",
    "check_wave",
    "display_name",
    "find_audio",
    "fit_length",
    "info",
    "load",
    "remove_left_overs",
    "resample",
    "save",
    "segments",
    "writer",
]
