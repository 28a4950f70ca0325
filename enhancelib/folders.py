"""Enhance a folder of audio files: in parallel, resumable, bad files skipped and counted."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from enhancelib import parallel
from enhancelib.audio import WRITABLE_SUFFIXES, PathLike, check_rate, find_audio, remove_left_overs
from enhancelib.errors import ConfigError, EnhanceError, InputError
from enhancelib.files import Enhanced, coding_notes, enhance_file, target_of
from enhancelib.modelfiles import open_stream

MANIFEST = "enhanced.json"
"""In an output folder: the settings of the run that made it."""


@dataclass(frozen=True)
class FolderReport:
    """What became of a folder.

    Attributes:
        done: files enhanced in this run.
        resumed: files that an earlier run with the same settings had written.
        skipped: files that could not be enhanced, with the reason.
    """

    done: tuple[Enhanced, ...]
    resumed: tuple[Path, ...]
    skipped: tuple[tuple[Path, str], ...]


@dataclass(frozen=True)
class _Task:
    source: Path
    target: Path


def enhance_folder(
    input_dir: PathLike,
    output_dir: PathLike,
    *,
    model: PathLike | None = None,
    model_type: str | None = None,
    format: str | None = None,
    sample_rate: int | None = None,
    limit: bool = False,
    overwrite: bool = False,
    n_jobs: int | None = None,
    scheduler: str | None = None,
) -> FolderReport:
    """Enhance every audio file under a folder into the same places of another one.

    A file that cannot be read is skipped and reported. A run that was stopped is resumed by the
    same call; the settings are kept in the output folder, and others are refused there.

    Args:
        input_dir: folder of audio files, searched recursively.
        output_dir: folder to write to, outside ``input_dir``.
        model: a model file that can stream; ``None`` takes the default.
        model_type: as in :func:`enhancelib.modelfiles.open_model`.
        format: suffix to write, whatever the input; ``None`` as in :func:`enhance_file`.
        sample_rate: of the files written, in Hz; ``None`` keeps each one's own.
        limit: whether to lower files whose true peak exceeds 0 dBTP.
        overwrite: whether to begin anew and replace existing files.
        n_jobs: as in :func:`enhancelib.parallel.map`.
        scheduler: as in :func:`enhancelib.parallel.map`.

    Raises:
        InputError: no audio file, a format that cannot be written, or every file failed.
        ConfigError: ``output_dir`` was made with other settings or lies inside ``input_dir``.
        ModelError: the model cannot be opened.
    """
    source, goal = Path(input_dir), Path(output_dir)
    if not source.is_dir():
        raise InputError(f"{source}: is no folder; use enhance_file for one file")
    if goal.resolve().is_relative_to(source.resolve()):
        raise ConfigError(f"{goal}: lies in {source}; choose a folder outside it")
    if format and f".{format.lower().lstrip('.')}" not in WRITABLE_SUFFIXES:
        raise InputError(f"{format}: cannot write this format; use {', '.join(WRITABLE_SUFFIXES)}")
    backend = open_stream(model, model_type)
    settings = {
        "model_sha256": hashlib.sha256(backend.path.read_bytes()).hexdigest(),
        "format": format or "",
        "limit": limit,
    }
    if sample_rate is not None:
        settings["sample_rate"] = check_rate(sample_rate)
    files = find_audio(source)
    tasks = _tasks(files, source, goal, format)
    _claim(goal, settings, [task.target for task in tasks], overwrite=overwrite)
    job = partial(
        _enhance_one,
        model=backend.path,
        format=format,
        sample_rate=sample_rate,
        limit=limit,
        overwrite=overwrite,
    )
    outcomes = list(
        parallel.map(job, tasks, n_jobs=n_jobs, scheduler=scheduler, description="Enhance")
    )
    report = FolderReport(
        done=tuple(outcome for outcome in outcomes if isinstance(outcome, Enhanced)),
        resumed=tuple(outcome for outcome in outcomes if isinstance(outcome, Path)),
        skipped=tuple(outcome for outcome in outcomes if isinstance(outcome, tuple)),
    )
    if len(report.skipped) == len(files):
        reason = report.skipped[0][1]
        raise InputError(f"{source}: none of {len(files)} files could be enhanced ({reason})")
    return report


def _tasks(files: list[Path], source: Path, goal: Path, format: str | None) -> list[_Task]:
    """Give every input its output; ``a.mp3`` and ``a.m4a`` must not meet in one ``a.flac``."""
    tasks = []
    for file in files:
        try:  # what there is to note, `_enhance_one` notes of the file it writes
            name = target_of(file, file.parent, format=format, notes=[])[0].name
        except EnhanceError:
            name = file.name  # reported when its turn comes
        tasks.append(_Task(file, goal / file.relative_to(source).with_name(name)))
    taken = Counter(task.target for task in tasks)
    return [
        task
        if taken[task.target] == 1
        else replace(task, target=task.target.with_name(task.source.name + task.target.suffix))
        for task in tasks
    ]


def _claim(goal: Path, settings: dict, targets: list[Path], *, overwrite: bool) -> None:
    """Mark the output folder as the product of these settings, or refuse it."""
    manifest = goal / MANIFEST
    if manifest.is_file() and not overwrite:
        try:
            found = json.loads(manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{manifest}: cannot be read ({error}); pass overwrite or choose another folder"
            ) from None
        if found != settings:
            raise ConfigError(
                f"{goal}: was made with other settings; pass overwrite or choose another folder"
            )
        remove_left_overs(goal)
        return
    present = [target for target in targets if target.exists()]
    if present and not overwrite:
        raise InputError(f"{present[0]}: exists; pass overwrite or choose another folder")
    goal.mkdir(parents=True, exist_ok=True)
    partial_manifest = manifest.with_suffix(".partial")
    partial_manifest.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    partial_manifest.replace(manifest)


_opened = lru_cache(maxsize=1)(open_stream)  # once per worker process


def _enhance_one(
    task: _Task,
    *,
    model: Path,
    format: str | None,
    sample_rate: int | None,
    limit: bool,
    overwrite: bool,
) -> Enhanced | Path | tuple[Path, str]:
    """Enhance one file: what was written, the path if it was there, or the path and the reason."""
    if task.target.exists() and not overwrite:
        return task.target
    try:
        result = enhance_file(
            task.source,
            task.target,
            model=_opened(model),
            sample_rate=sample_rate,
            limit=limit,
            overwrite=overwrite,
        )
        notes = () if format else coding_notes(task.source, task.target)
    except EnhanceError as error:
        return task.source, str(error)
    return replace(result, notes=(*notes, *result.notes))
