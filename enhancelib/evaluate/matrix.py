"""Measure systems on every piece under every condition, beside the untreated lossy audio.

:func:`evaluate` fills the matrix pieces × conditions × systems with every metric and returns it
tidy. Work that was done before is not done again: with a ``cache_dir`` each cell is kept under a
name made from what decides it (the audio, the condition, the model file, this package's code, the
versions of the libraries that measure) and from nothing else, so a run that was stopped goes on
where it was. A value that is recalled has the commit of the run that asks, whose code is the same,
and the device, load and time of its measurement. :mod:`enhancelib.evaluate.verdicts` draws the
conclusions.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from enhancelib import audio, parallel
from enhancelib.atomic import write_text
from enhancelib.checks import check_number
from enhancelib.degrade import codecs
from enhancelib.enhance.backends import Backend
from enhancelib.enhance.modelfiles import open_model, open_stream
from enhancelib.enhance.streaming import enhance_wave
from enhancelib.errors import ConfigError, InputError
from enhancelib.evaluate.instruments import versions
from enhancelib.evaluate.metrics import METRICS, score
from enhancelib.provenance import RESULT_COLUMNS, UNTREATED, code_digest, provenance, result_row

if TYPE_CHECKING:
    import pandas

PathLike = str | os.PathLike
System = PathLike | Callable[..., np.ndarray]
"""A model file, or a function ``f(wave, *, sample_rate)`` that returns a wave of the same shape. A
function with a parameter ``reference`` is given the original too: an oracle, to compare with."""

CODING_RATE_HZ = 44100
"""Pieces are degraded at no lower rate than this, then brought to the rate of the evaluation."""
WARM_UP_S = 1.0
"""Audio on either side of an excerpt that the codecs hear as well."""


def evaluate(
    pieces: Mapping[str, PathLike] | Sequence[PathLike],
    conditions: Sequence[str],
    systems: Mapping[str, System] | Sequence[PathLike] = (),
    *,
    metrics: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    sample_rate: int = 44100,
    excerpt_s: float | None = None,
    seed: int = 0,
    cache_dir: PathLike | None = None,
    n_jobs: int | None = None,
    scheduler: str | None = None,
    command: str = "enhancelib.evaluate",
) -> pandas.DataFrame:
    """Measure every system, and the untreated audio, on every piece under every condition.

    Each piece is degraded by :func:`enhancelib.degrade.codecs.degrade` in stereo at 44.1 kHz or
    more, then brought to ``sample_rate``, enhanced, and compared with the original at that rate.

    Args:
        pieces: lossless audio files; by name, or in a list (then the file's name is the name).
        conditions: names of conditions; the table has them as the module of codecs writes them.
        systems: model files or functions by name, or files in a list; untreated audio comes always.
        metrics: keys of :data:`enhancelib.evaluate.metrics.METRICS`, or such a list by the name of
            each system, the untreated audio's too; default: all but the expensive ones.
        sample_rate: of the comparison, in Hz; every model's own.
        excerpt_s: measure so many seconds from the middle of each piece; None measures all of it.
        seed: of what is random in conditions; every piece gets its own from it, see
            :func:`piece_seed`.
        cache_dir: folder that keeps what was measured. Functions from outside this package are
            always measured again, as nothing tells when they change.
        n_jobs: processes; None means one per core.
        scheduler: address of a Dask scheduler that does the work instead.
        command: for the column of that name: what a reader runs to measure this again.

    Returns:
        A row per piece, condition, system and metric, with the columns of
        :data:`enhancelib.provenance.RESULT_COLUMNS`. A value is NaN where a model of hearing has
        nothing to judge (silence, or less than it needs).

    Raises:
        InputError: an unknown condition or metric, a name given twice, an excerpt of no length, a
            file that cannot be read, or a system that returns another shape.
        ModelError: a model file that cannot be opened.
        ConfigError: a model of another sample rate.
    """
    import pandas

    every: dict[str, System | None] = {UNTREATED: None, **_named(systems, "systems")}
    names = _metric_names(metrics, every)
    sample_rate = audio.check_rate(sample_rate)
    _check_models(every, sample_rate)
    conditions = [codecs.parse_condition(condition).name for condition in conditions]
    if twice := sorted({name for name in conditions if conditions.count(name) > 1}):
        raise InputError(f"conditions: {twice[0]} is named twice; name each once")
    if excerpt_s is not None:
        excerpt_s = check_number(excerpt_s, "excerpt_s", low=0.01)
    settings = _Settings(
        sample_rate, excerpt_s, seed, names, Path(cache_dir) if cache_dir else None
    )
    cells = [
        _Cell(name, Path(path), condition, every, settings, provenance(command))
        for name, path in _named(pieces, "pieces").items()
        for condition in conditions
    ]
    measured = parallel.map(
        _measure, cells, n_jobs=n_jobs, scheduler=scheduler, description="evaluate", unit="cell"
    )
    return pandas.DataFrame([row for rows in measured for row in rows], columns=RESULT_COLUMNS)


def piece_seed(path: PathLike, seed: int = 0) -> int:
    """Return the seed with which :func:`evaluate` degrades a piece: from ``seed`` and its content.

    So no two pieces share their noise or lose the same packets, under whatever name they come.

    Raises:
        InputError: the file cannot be read.
    """
    digest = hashlib.sha256(f"{seed}:{_file_digest(path)}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def oracle_mask(wave: np.ndarray, *, sample_rate: int, reference: np.ndarray) -> np.ndarray:
    """A mask of one STFT, computed from the original: what turning its bins up and down can gain.

    Per bin (1024, hop 512) the gain ``Re(X Y*) / |Y|²`` between 0 and 10, which brings Y closest to
    the original X without touching its phase (Erdogan et al. 2015); empty bins stay empty. That is
    a mark to compare with and no bound: the best gain of each bin by itself is not the best after
    overlapping frames are added, and another window, resolution or range of gains ends elsewhere.

    Args:
        wave: the lossy signal (channels, samples).
        sample_rate: in Hz.
        reference: the original, same shape.
    """
    from scipy.signal import ShortTimeFFT

    window = audio.analysis_window(1024)
    transform = ShortTimeFFT(window, hop=512, fs=sample_rate)
    padded = np.pad(np.stack([wave, reference]), ((0, 0), (0, 0), (0, 1024)))
    lossy, original = transform.stft(padded)
    gain = np.real(original * lossy.conj()) / np.maximum(np.abs(lossy) ** 2, 1e-12)
    masked = transform.istft(np.clip(gain, 0, 10) * lossy, k1=padded.shape[-1])
    return masked[:, : wave.shape[1]].astype(np.float32)


def excerpt(
    wave: np.ndarray, excerpt_s: float | None, rate: int
) -> tuple[np.ndarray, int, int | None]:
    """The middle of a wave with room around it, and where in it the excerpt starts and stops.

    Args:
        wave: (channels, samples).
        excerpt_s: its length in seconds; None, or more than there is: all of the wave.
        rate: of the wave, in Hz.

    Returns:
        The excerpt with up to :data:`WARM_UP_S` on either side, for the codecs, and the samples
        in it between which the excerpt lies.
    """
    samples = wave.shape[1] if excerpt_s is None else round(excerpt_s * rate)
    if samples >= wave.shape[1]:
        return wave, 0, None
    begin = (wave.shape[1] - samples) // 2
    first = max(0, begin - round(WARM_UP_S * rate))
    last = begin + samples + round(WARM_UP_S * rate)
    return wave[:, first:last], begin - first, begin - first + samples


# --- one cell: a piece under a condition, all systems ----------------------------------------


@dataclasses.dataclass(frozen=True)
class _Settings:
    sample_rate: int
    excerpt_s: float | None
    seed: int
    metrics: dict[str, tuple[str, ...]]
    cache_dir: Path | None


@dataclasses.dataclass(frozen=True)
class _Cell:
    piece: str
    path: Path
    condition: str
    systems: dict[str, System | None]
    settings: _Settings
    provenance: dict[str, str | float]


def _measure(cell: _Cell) -> list[dict[str, object]]:
    """Rows of every system; audio is only made where a value is missing from the cache."""
    kept = {name: _recall(cell, system) for name, system in cell.systems.items()}
    wanted = cell.settings.metrics
    if any(not set(wanted[name]) <= set(values) for name, values in kept.items()):
        reference, untreated = _pair(cell)
        for name, system in cell.systems.items():
            if missing := [metric for metric in wanted[name] if metric not in kept[name]]:
                estimate = _enhance(name, system, untreated, reference, cell.settings.sample_rate)
                values = _score(estimate, reference, untreated, missing, cell.settings.sample_rate)
                kept[name] |= {metric: [value, _now(cell)] for metric, value in values.items()}
                _remember(cell, system, kept[name])
    return [
        _row(cell, name, metric, *kept[name][metric])
        for name in cell.systems
        for metric in wanted[name]
    ]


def _now(cell: _Cell) -> dict[str, str | float]:
    """Return device, load and time of this measurement; the other facts are those of the run."""
    facts = provenance(str(cell.provenance["command"]))
    return {key: facts[key] for key in ("device", "load", "utc")}


def _row(cell: _Cell, name: str, metric: str, value: float, facts: dict) -> dict[str, object]:
    return result_row(
        name,
        metric,
        value,
        METRICS[metric].unit,
        piece=cell.piece,
        condition=cell.condition,
        seed=cell.settings.seed,
        command=str(cell.provenance["command"]),
        facts=cell.provenance | facts,
        **_model_facts(cell.systems[name]),
    )


def _pair(cell: _Cell) -> tuple[np.ndarray, np.ndarray]:
    """The original and the untreated lossy wave at the rate of the evaluation."""
    rate = max(cell.settings.sample_rate, CODING_RATE_HZ)
    original, _ = audio.load(cell.path, sample_rate=rate)
    original, start, stop = excerpt(original[:2], cell.settings.excerpt_s, rate)
    seed = piece_seed(cell.path, cell.settings.seed)
    lossy = codecs.degrade(original, cell.condition, sample_rate=rate, seed=seed)
    reference, untreated = (
        audio.resample(wave[:, start:stop], from_rate=rate, to_rate=cell.settings.sample_rate)
        for wave in (original, lossy)
    )
    return reference, untreated


def _enhance(
    name: str, system: System | None, untreated: np.ndarray, reference: np.ndarray, rate: int
) -> np.ndarray:
    if system is None:
        return untreated
    if not callable(system):
        return enhance_wave(untreated, _opened(system), sample_rate=rate)
    oracle = "reference" in inspect.signature(system).parameters
    given = {"reference": reference} if oracle else {}
    estimate = np.asarray(system(untreated.copy(), sample_rate=rate, **given))
    if estimate.shape != untreated.shape:
        raise InputError(
            f"{name}: returned shape {estimate.shape} for {untreated.shape}; it must keep the shape"
        )
    return estimate.astype(np.float32)


def _score(
    estimate: np.ndarray,
    reference: np.ndarray,
    untreated: np.ndarray,
    names: list[str],
    sample_rate: int,
) -> dict[str, float]:
    """Values by name; the models of hearing one by one, as they refuse what they cannot judge."""
    hearing = [name for name in names if METRICS[name].expensive]
    cheap = [name for name in names if name not in hearing]
    values = score(estimate, reference, sample_rate=sample_rate, names=cheap, untreated=untreated)
    for name in hearing:
        try:
            values |= score(estimate, reference, sample_rate=sample_rate, names=[name])
        except InputError:
            values[name] = float("nan")
    return values


def _opened(path: PathLike) -> Backend:
    """The model; where its graph takes one length only, its streaming twin, which takes any."""
    return _opened_once(*_stamp(path))


@lru_cache(maxsize=8)
def _opened_once(path: str, *_stamp: int) -> Backend:
    backend = open_model(path)
    return backend if backend.clip_samples is None else open_stream(path)


# --- what was measured before ----------------------------------------------------------------


def _cache_file(cell: _Cell, system: System | None) -> Path | None:
    """Where a cell's values lie: named after everything that decides them."""
    settings = cell.settings
    what = _identity(system)
    if settings.cache_dir is None or what is None:
        return None
    decides = [
        _file_digest(cell.path),
        codecs.resolve(cell.condition, sample_rate=max(settings.sample_rate, CODING_RATE_HZ)),
        what,
        settings.sample_rate,
        settings.excerpt_s,
        settings.seed,
        code_digest(__name__),
        versions(),
    ]
    name = hashlib.sha256(json.dumps(decides).encode()).hexdigest()
    return settings.cache_dir / name[:2] / f"{name}.json"


def _identity(system: System | None) -> str | None:
    """What tells a system from all others; None for a function that may change unseen."""
    if system is None:
        return UNTREATED
    if not callable(system):
        return _file_digest(system)
    module, name = getattr(system, "__module__", ""), getattr(system, "__qualname__", "")
    ours = name and module.startswith("enhancelib.") and "<" not in name
    return f"{module}.{name} {code_digest(module)}" if ours else None


def _recall(cell: _Cell, system: System | None) -> dict[str, list]:
    file = _cache_file(cell, system)
    try:
        return json.loads(file.read_text(encoding="utf-8")) if file else {}
    except (OSError, ValueError):
        return {}


def _remember(cell: _Cell, system: System | None, values: dict[str, list]) -> None:
    if file := _cache_file(cell, system):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(values))


def _file_digest(path: PathLike) -> str:
    return _file_digest_once(*_stamp(path))


@lru_cache(maxsize=1024)
def _file_digest_once(path: str, *_stamp: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _stamp(path: PathLike) -> tuple[str, int, int]:
    """What changes when a file does, such as a model trained again under the same name."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    return str(path), status.st_mtime_ns, status.st_size


# --- arguments -------------------------------------------------------------------------------


def _metric_names(
    metrics: Sequence[str] | Mapping[str, Sequence[str]] | None, systems: Mapping[str, object]
) -> dict[str, tuple[str, ...]]:
    """Metrics of each system, all of them known."""
    if metrics is None:
        metrics = [name for name, metric in METRICS.items() if not metric.expensive]
    if not isinstance(metrics, Mapping):
        metrics = dict.fromkeys(systems, metrics)
    if odd := set(systems) ^ set(metrics):
        raise InputError(f"metrics: name those of every system, and of no other ({min(odd)!r})")
    if unknown := [name for names in metrics.values() for name in names if name not in METRICS]:
        raise InputError(f"no metric named {unknown[0]!r}: choose from {', '.join(METRICS)}")
    return {system: tuple(names) for system, names in metrics.items()}


def _named(items: Mapping | Sequence, what: str) -> dict:
    """Return items by name: a mapping as it is given, files each under its own name."""
    if isinstance(items, Mapping):
        named = dict(items)
    else:
        named = {Path(item).name: item for item in items}
        if len(named) < len(items):
            raise InputError(f"{what}: two files of one name; pass a mapping that names each")
    if what == "pieces" and not named:
        raise InputError("no pieces to evaluate; name at least one audio file")
    if UNTREATED in named and what == "systems":
        raise InputError(f"systems: {UNTREATED!r} is always measured; give yours another name")
    return named


def _model_facts(system: System | None) -> dict[str, str]:
    """Preset of a model file, and the hash of the checkpoint it holds or was exported from."""
    if system is None or callable(system):
        return {"preset": "", "checkpoint_sha256": ""}
    metadata = _opened(system).metadata
    return {"preset": metadata.preset, "checkpoint_sha256": metadata.checkpoint_sha256}


def _check_models(systems: Mapping[str, System | None], sample_rate: int) -> None:
    """Open every model file before hours are spent."""
    for name, system in systems.items():
        if system is not None and not callable(system):
            rate = _opened(system).metadata.sample_rate
            if rate != sample_rate:
                raise ConfigError(
                    f"{name}: works at {rate} Hz; evaluate it with sample_rate={rate}"
                )
