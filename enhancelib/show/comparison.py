"""What players and blind tests share: sources prepared for a page, as widget and as static HTML.

All sources of a comparison play in step on one clock and differ only in gain, so switching is
instant and free of clicks. Loudness is matched by ITU-R BS.1770. In a notebook each comparison is
an anywidget; the ``text/html`` twin beside it needs no kernel. Audio is lossless (FLAC, 16 bit).

A page plays a clip before all of it has come. FLAC frames do not depend on each other, so the first
frames under a header that counts no more of them are a file of their own: such headers, for the
first 1.5 s, 2.3 s and so on, are part of the page.

Set the environment variable ``ENHANCELIB_AUDIO_DIR`` to a folder that is copied, under its own
name, to the root of a published site: audio, pictures and code then become files there, loaded on
demand, instead of bytes inside each page.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from enhancelib.atomic import replacing
from enhancelib.audio.loudness import (
    MAX_GAIN_DB,
    PEAK_LIMIT_DB,
    loudness_lufs,
    matched_gains_db,
    safe_gains_db,
    true_peak_db,
)
from enhancelib.audio.waves import check_rate
from enhancelib.errors import InputError

AUDIO_DIR_VARIABLE = "ENHANCELIB_AUDIO_DIR"
_PARTS = ("engine.js", "view.js", "player.js", "abx.js", "mushra.js", "gallery.js", "mount.js")
_PEAK_COLUMNS = 500
_PICTURE_HEIGHT = 160
_PICTURE_WIDTH = (720, 160, 2160)  # at least, for each second, at most
_FLOOR_DB = -100.0
_FLAC_HEADER_BYTES = 42  # the marker and STREAMINFO, which alone counts samples (RFC 9639)
_FIRST_HEAD_S = 1.5  # each further head is longer by half: at 1.6 times the rate none comes late
_FLAC_FRAME = 4096  # samples


@dataclass(frozen=True)
class _Clip:
    """One source as the page needs it."""

    name: str
    gain_db: float
    undo_db: float  # of this, what undoes the scaling of the file
    flac: bytes
    heads: list[dict[str, Any]]
    picture: bytes
    peaks: bytes


@dataclass(frozen=True)
class _Error:
    """The original less one source, at its true level beside the original."""

    level_db: float | None  # energy, relative to the original; None where one of them is silent
    gain_db: float
    lowered_db: float  # of this, what keeps it from clipping
    picture: bytes
    peaks: bytes


def check_sources(sources: Mapping[str, np.ndarray], sample_rate: int) -> dict[str, np.ndarray]:
    """Return the sources as float32, or say in one line which one cannot be used, and why."""
    if not 3000 <= check_rate(sample_rate) <= 192000:
        raise InputError(f"browsers play 3000 to 192000 Hz, not {sample_rate}: resample first")
    if not sources:
        raise InputError("a comparison needs at least one source")
    checked = {name: np.asarray(wave) for name, wave in sources.items()}
    first_name, first = next(iter(checked.items()))
    for name, wave in checked.items():
        if wave.ndim != 2 or wave.shape[0] not in (1, 2) or wave.shape[1] == 0:
            raise InputError(
                f"source {name!r} must be (1 or 2 channels, samples), got {wave.shape}"
            )
        if wave.dtype.kind != "f":
            raise InputError(f"source {name!r} must be floating point, got {wave.dtype}")
        if not np.isfinite(wave).all():
            raise InputError(f"source {name!r} holds NaN or infinity")
        if wave.shape != first.shape:
            raise InputError(
                f"source {name!r} is {wave.shape} but {first_name!r} is {first.shape}: align them"
            )
    return {name: wave.astype(np.float32) for name, wave in checked.items()}


def _quantized(wave: np.ndarray) -> tuple[np.ndarray, float]:
    """16-bit samples, and the gain in dB that undoes the scaling of a wave beyond full scale."""
    scale = max(1.0, float(np.abs(wave).max()))
    samples = np.clip(np.round(wave / scale * 32768), -32768, 32767).astype(np.int16)
    return samples, 20 * math.log10(scale)


def _flac(samples: np.ndarray, sample_rate: int) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, samples.T, sample_rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _heads(flac: bytes, samples: np.ndarray, sample_rate: int) -> list[dict[str, Any]]:
    """Files that the first bytes of a FLAC file make: how many bytes, and the header for them."""
    heads = []
    count = int(_FIRST_HEAD_S * sample_rate)
    while count < 0.8 * samples.shape[1]:
        head = _flac(samples[:, : count - count % _FLAC_FRAME], sample_rate)
        header, rest = head[:_FLAC_HEADER_BYTES], head[_FLAC_HEADER_BYTES:]
        if not flac[_FLAC_HEADER_BYTES:].startswith(rest):  # frames of another length
            break
        heads.append({"bytes": len(head), "header": _base64(header)})
        count += count // 2
    return heads


def _picture(wave: np.ndarray, gain_db: float, sample_rate: int) -> bytes:
    """Spectrogram as heard (gain applied), a small WebP in the colours of the figures."""
    import matplotlib as mpl
    from PIL import Image

    from enhancelib.show import plotting

    least, each_second, most = _PICTURE_WIDTH
    width = int(np.clip(each_second * wave.shape[1] / sample_rate, least, most))
    hop_length = max(16, -(-wave.shape[1] // width))
    level = plotting.level_db(wave, hop_length=hop_length, floor_db=_FLOOR_DB - 20) + gain_db
    shade = np.clip(level[::-1] / -_FLOOR_DB + 1, 0, 1)
    colors = mpl.colormaps[plotting.LEVEL_MAP](shade, bytes=True)[..., :3]
    buffer = io.BytesIO()
    image = Image.fromarray(colors).resize((width, _PICTURE_HEIGHT), Image.Resampling.BOX)
    image.save(buffer, "WEBP", quality=82, method=6)
    return buffer.getvalue()


def _peaks(wave: np.ndarray, gain: float) -> bytes:
    """Largest magnitude in each of 500 columns, times the gain, in bytes: 255 is full height."""
    edges = np.linspace(0, wave.shape[1], _PEAK_COLUMNS + 1).astype(int)[:-1]
    peaks = np.maximum.reduceat(np.abs(wave).max(axis=0), edges) * gain
    return np.clip(np.round(peaks * 255), 0, 255).astype(np.uint8).tobytes()


def _linear(gain_db: float) -> float:
    return 10 ** (gain_db / 20)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _static(name: str) -> str:
    return (resources.files("enhancelib.show") / "static" / name).read_text("utf-8")


def _compact(script: str) -> str:
    """Leave out indentation and whole-line comments."""
    lines = (line.strip() for line in script.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


@functools.cache
def _code() -> tuple[str, str]:
    """JavaScript module and style sheet, compact."""
    module = _compact("\n".join(map(_static, _PARTS)))
    return module, re.sub(r"\s+", " ", _static("listening.css"))


def _write_once(folder: Path, data: bytes, suffix: str, stem: str = "") -> str:
    """Write data under the hash of its content, unless it is there; returns the site path."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{stem}{hashlib.sha256(data).hexdigest()[:16]}{suffix}"
    path = folder / name
    if not path.exists():
        with replacing(path) as partial:
            partial.write_bytes(data)
    return f"{folder.name}/{name}"


@functools.cache
def _widget_class() -> type:
    """The anywidget, made on first use: building a static page needs no widget machinery."""
    import anywidget
    import traitlets

    class ComparisonWidget(anywidget.AnyWidget):
        _esm, _css = _code()
        spec = traitlets.Dict().tag(sync=True)
        audio = traitlets.List(traitlets.Bytes()).tag(sync=True)
        answers: traitlets.List = traitlets.List().tag(sync=True)

    return ComparisonWidget


class Comparison:
    """Sources prepared for the page, shown as a widget and as its static twin."""

    _kind: str
    _pictures = False

    def __init__(
        self,
        sources: Mapping[str, np.ndarray],
        *,
        sample_rate: int,
        title: str,
        loudness_match: bool,
        audio_dir: str | Path | None,
        reference: str | None = None,
        **extra: Any,
    ) -> None:
        waves, sample_rate = check_sources(sources, sample_rate), check_rate(sample_rate)
        audio_dir = audio_dir or os.environ.get(AUDIO_DIR_VARIABLE)
        self._audio_dir = Path(audio_dir) if audio_dir else None
        first, *_ = values = list(waves.values())
        if loudness_match:
            gains = matched_gains_db(values, sample_rate=sample_rate)
        else:
            gains = safe_gains_db(values)
        self.gains_db: dict[str, float] = dict(zip(waves, gains, strict=True))
        self._clips = self._prepare(waves, sample_rate)
        self._errors = self._take_errors(waves, reference, sample_rate) if reference else {}
        self._spec = {
            "kind": self._kind,
            "title": title,
            "sampleRate": sample_rate,
            "seconds": first.shape[1] / sample_rate,
            "channels": first.shape[0],
            "matched": loudness_match,
            "reference": list(waves).index(reference) if reference else None,
            "note": _loudness_note(first, self.gains_db, sample_rate) if loudness_match else "",
            **extra,
        }
        self._widget: Any = None

    def _prepare(self, waves: Mapping[str, np.ndarray], sample_rate: int) -> list[_Clip]:
        self._loudest = (
            max(
                float(np.abs(waves[name]).max()) * _linear(gain)
                for name, gain in self.gains_db.items()
            )
            or 1.0
        )
        clips = []
        for name, wave in waves.items():
            samples, undo_db = _quantized(wave)
            flac = _flac(samples, sample_rate)
            heads = _heads(flac, samples, sample_rate) if self._audio_dir else []
            gain_db = self.gains_db[name]
            picture, peaks = self._views(wave, gain_db, sample_rate)
            clips.append(_Clip(name, gain_db + undo_db, undo_db, flac, heads, picture, peaks))
        return clips

    def _views(self, wave: np.ndarray, gain_db: float, sample_rate: int) -> tuple[bytes, bytes]:
        """Spectrogram and outline of a wave as it is heard, where this comparison shows them."""
        if not self._pictures:
            return b"", b""
        peaks = _peaks(wave, _linear(gain_db) / self._loudest)
        return _picture(wave, gain_db, sample_rate), peaks

    def _take_errors(
        self, waves: Mapping[str, np.ndarray], reference: str, sample_rate: int
    ) -> dict[str, _Error]:
        """What each source lacks of the reference, and adds with the opposite sign."""
        original = waves[reference]
        energy = float(np.sum(original.astype(float) ** 2))
        errors = {}
        for name, wave in waves.items():
            if name == reference:
                continue
            error = original - wave
            share = float(np.sum(error.astype(float) ** 2)) / energy if energy else 0.0
            level_db = 10 * math.log10(share) if share else None
            gain_db = self.gains_db[reference]
            lowered_db = min(0.0, PEAK_LIMIT_DB - true_peak_db(error) - gain_db)
            gain_db += lowered_db
            views = self._views(error, gain_db, sample_rate)
            errors[name] = _Error(level_db, gain_db, lowered_db, *views)
        return errors

    def _source_spec(self, clip: _Clip, image: str) -> dict[str, Any]:
        """What JavaScript reads of a clip, but for its audio and the picture of its error."""
        spec = {"name": clip.name, "gainDb": clip.gain_db, "shownDb": self.gains_db[clip.name]}
        if self._pictures:
            spec |= {"peaks": _base64(clip.peaks), "image": image}
        if error := self._errors.get(clip.name):
            reference = self._clips[self._spec["reference"]]
            spec["error"] = {
                "levelDb": error.level_db,
                "gainDb": error.gain_db,
                "loweredDb": error.lowered_db,
                "undoDb": clip.undo_db,
                "referenceUndoDb": reference.undo_db,
                "peaks": _base64(error.peaks),
            }
        return spec

    def _sources(self, image_path: Callable[[bytes], str]) -> list[dict[str, Any]]:
        """The sources without their audio; `image_path` says where a picture is."""
        sources = []
        for clip in self._clips:
            source = self._source_spec(clip, image_path(clip.picture) if self._pictures else "")
            if error := self._errors.get(clip.name):
                source["error"]["image"] = image_path(error.picture)
            sources.append(source)
        return sources

    def _inline_sources(self) -> list[dict[str, Any]]:
        return self._sources(lambda picture: f"data:image/webp;base64,{_base64(picture)}")

    def _linked_sources(self, folder: Path) -> list[dict[str, Any]]:
        """The sources with audio and picture in files of the site, written where missing."""
        sources = self._sources(lambda picture: _write_once(folder, picture, ".webp"))
        for source, clip in zip(sources, self._clips, strict=True):
            url = _write_once(folder, clip.flac, ".flac")
            source |= {"url": url, "bytes": len(clip.flac), "heads": clip.heads}
        return sources

    def html(self) -> str:
        """The comparison as a piece of HTML that plays without a kernel."""
        module, style = _code()
        if self._audio_dir is None:
            sources = self._inline_sources()
            for source, clip in zip(sources, self._clips, strict=True):
                source["audio"] = _base64(clip.flac)
            code = f"<style>{style}</style>\n<script type='module'>\n{module}\nmountAll();</script>"
        else:
            sources = self._linked_sources(self._audio_dir)
            code = _linked_code(
                _write_once(self._audio_dir, module.encode(), ".mjs", "listening-"),
                _write_once(self._audio_dir, style.encode(), ".css", "listening-"),
            )
        spec = json.dumps({**self._spec, "sources": sources}, ensure_ascii=False)
        spec = spec.replace("<", "\\u003c")
        label = escape(self._spec["title"] or "Audio comparison")
        names = ", ".join(escape(clip.name) for clip in self._clips)
        served = " and a page from a web server" if self._audio_dir else ""
        return (
            f'<div class="el-root el-{self._kind}" role="group" aria-label="{label}">'
            f'<script type="application/json">{spec}</script>'
            f"<p>{label}: {names}. The player needs JavaScript{served}.</p></div>\n{code}"
        )

    def widget(self) -> Any:
        """The anywidget of this comparison (one for its life)."""
        if self._widget is None:
            spec = {**self._spec, "sources": self._inline_sources()}
            self._widget = _widget_class()(spec=spec, audio=[clip.flac for clip in self._clips])
        return self._widget

    @property
    def answers(self) -> list[dict[str, Any]]:
        """The answers that reached this notebook from its widget, row by row as in the CSV."""
        return list(self._widget.answers) if self._widget is not None else []

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": self.html()}
        if self._audio_dir is None:  # a page is no place for a widget's second copy of the audio
            shown = self.widget()._repr_mimebundle_()
            data, metadata = shown if isinstance(shown, tuple) else (shown, {})
            return {**data, **bundle}, metadata
        return bundle, {}

    def __repr__(self) -> str:
        names = ", ".join(self.gains_db)
        return f"{type(self).__name__}({names}; {self._spec['seconds']:.1f} s)"


def _loudness_note(first: np.ndarray, gains_db: Mapping[str, float], sample_rate: int) -> str:
    """Say at which loudness the sources are heard, and which fell short of it."""
    lowered, *_ = gains_db.values()
    level = loudness_lufs(first, sample_rate=sample_rate) + lowered
    if not math.isfinite(level):
        return ""
    short = [name for name, gain in gains_db.items() if gain - lowered > MAX_GAIN_DB - 1e-6]
    shown = f"{level:.1f}".replace("-", "\N{MINUS SIGN}")
    unmatched = f"; {', '.join(short)} raised by no more than {MAX_GAIN_DB:.0f} dB" if short else ""
    return f"Loudness matched to {shown} LUFS{unmatched}."


def _linked_code(module_path: str, style_path: str) -> str:
    """Load the module and style of the site, once for all players, at any depth of page."""
    script = _compact(_static("linked.js"))
    script = script.replace("MODULE_PATH", module_path).replace("STYLE_PATH", style_path)
    return f"<script type='module'>\n{script}\n</script>"
