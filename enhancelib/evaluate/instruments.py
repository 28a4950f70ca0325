"""Which versions of which libraries measure: the same code under others may give other values."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

from enhancelib.degrade import lc3

LIBRARIES = (
    *("av", "soundfile", "soxr", "numpy", "scipy", "librosa", "visqol-python", "zimtohrli"),
    *("torch", "onnxruntime", "ai-edge-litert"),
)
"""Packages that decode, encode, resample, transform, judge, or run a model."""


@cache
def versions() -> dict[str, str]:
    """Name → version of :data:`LIBRARIES`, of FFmpeg within av, and of liblc3; "" if not installed.

    Encoders such as LAME are a part of av's build and have its version.
    """
    import av

    found = {"FFmpeg": av.ffmpeg_version_info, "liblc3": lc3.fingerprint()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found
