"""Enhance a folder of audio files: in parallel, resumable, bad files skipped and counted."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import statistics
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath

from enhancelib import parallel
from enhancelib.audio.reading import PathLike
from enhancelib.audio.waves import check_rate
from enhancelib.audio.writing import WRITABLE_SUFFIXES, find_audio
from enhancelib.checks import check_number
from enhancelib.enhance.backends import Backend
from enhancelib.enhance.files import Enhanced, coding_notes, enhance_file, target_of
from enhancelib.enhance.ledger import Ledger, open_ledger, state_of
from enhancelib.enhance.modelfiles import open_stream
from enhancelib.errors import ConfigError, EnhanceError, InputError


@dataclass(frozen=True)
class FolderReport:
    """What became of a folder.

    Attributes:
        done: files enhanced in this run.
        resumed: files that an earlier run with the same settings had written.
        skipped: files that could not be enhanced, with the reason.
        amount: of the enhancement that was asked for.
    """

    done: tuple[Enhanced, ...]
    resumed: tuple[Path, ...]
    skipped: tuple[tuple[Path, str], ...]
    amount: float = 1.0

    @property
    def unchanged(self) -> tuple[Path, ...]:
        """The files of this run that came out as they were, since nothing was lost in them.

        None where nothing was asked for: then that says nothing about them.
        """
        if self.amount == 0:
            return ()
        return tuple(file.path for file in self.done if file.filled_db == -math.inf)

    def summary(self) -> str:
        """One line: how many files, how much was filled, and how many were left as they were."""
        parts = [f"{len(self.done)} enhanced", f"{len(self.resumed)} done earlier"]
        parts.append(f"{len(self.skipped)} skipped")
        levels = [file.filled_db for file in self.done if math.isfinite(file.filled_db)]
        if levels:
            middle, least, most = statistics.median(levels), min(levels), max(levels)
            span = f", from {least:.0f} to {most:.0f}" if len(levels) > 1 else ""
            parts.append(f"what was filled in is {middle:.0f} dB of the sound{span}")
        if self.unchanged:
            parts.append(f"{len(self.unchanged)} left as they were: nothing was lost in them")
        return "; ".join([", ".join(parts[:3]), *parts[3:]])


@dataclass(frozen=True)
class _Task:
    key: str
    source: Path
    target: Path
    state: tuple[int, int] | None
    done: bool


def enhance_folder(
    input_dir: PathLike,
    output_dir: PathLike,
    *,
    model: PathLike | None = None,
    model_type: str | None = None,
    format: str | None = None,
    sample_rate: int | None = None,
    limit: bool = False,
    amount: float = 1.0,
    overwrite: bool = False,
    n_jobs: int | None = None,
    scheduler: str | None = None,
) -> FolderReport:
    """Enhance every audio file under a folder into the same places of another one.

    A file that cannot be read is skipped and reported. A run that was stopped is resumed by the
    same call; an input that changed since is done again. The settings are kept in the output
    folder, and others are refused there, as is a second run at the same time.

    Args:
        input_dir: folder of audio files, searched recursively.
        output_dir: folder to write to, outside ``input_dir``.
        model: a model file that can stream; ``None`` takes the default.
        model_type: as in :func:`enhancelib.enhance.modelfiles.open_model`.
        format: suffix to write, whatever the input; ``None`` as in :func:`enhance_file`.
        sample_rate: of the files written, in Hz; ``None`` keeps each one's own.
        limit: whether to lower files whose true peak exceeds 0 dBTP.
        amount: of the enhancement, 0 to 1, as in :func:`enhancelib.enhance.files.enhance_file`.
        overwrite: whether to begin anew and replace existing files.
        n_jobs: as in :func:`enhancelib.parallel.map`.
        scheduler: as in :func:`enhancelib.parallel.map`.

    Raises:
        InputError: no audio file, a format that cannot be written, an impossible amount, or every
            file failed.
        ConfigError: ``output_dir`` was made with other settings, another run is at work in it, or
            it lies inside ``input_dir``.
        ModelError: the model cannot be opened.
    """
    amount = check_number(amount, "amount", high=1)
    source, goal = Path(input_dir), Path(output_dir)
    if not os.path.isdir(source):
        find_audio(source)  # says what is missing or barred
        raise InputError(f"{source}: is no folder; use enhance_file for one file")
    if goal.resolve().is_relative_to(source.resolve()):
        raise ConfigError(f"{goal}: lies in {source}; choose a folder outside it")
    if format and f".{format.lower().lstrip('.')}" not in WRITABLE_SUFFIXES:
        raise InputError(f"{format}: cannot write this format; use {', '.join(WRITABLE_SUFFIXES)}")
    backend = open_stream(model, model_type)
    assert backend.path is not None
    sha256 = hashlib.sha256(backend.path.read_bytes()).hexdigest()
    settings: dict[str, object] = {
        "model_sha256": sha256,
        "format": format or "",
        "limit": limit,
    }
    if sample_rate is not None:
        settings["sample_rate"] = check_rate(sample_rate)
    if amount != 1:
        settings["amount"] = amount
    files = {file.relative_to(source).as_posix(): file for file in find_audio(source)}
    wanted = {key: _wanted_name(file, format) for key, file in files.items()}
    job = partial(
        _enhance_one,
        model=(backend.path, sha256, backend.model_type),
        format=format,
        sample_rate=sample_rate,
        limit=limit,
        amount=amount,
    )
    with open_ledger(goal, settings, source, wanted, overwrite=overwrite) as ledger:
        tasks = _tasks(files, goal, ledger)
        todo = [task for task in tasks if not task.done]
        done, skipped = [], []
        results = parallel.map(job, todo, n_jobs=n_jobs, scheduler=scheduler, description="Enhance")
        with contextlib.closing(results) as outcomes:  # ends its processes
            for task, outcome in zip(todo, outcomes, strict=True):
                if isinstance(outcome, Enhanced):
                    ledger.note(task.key, task.state)
                    done.append(outcome)
                else:
                    skipped.append((task.source, outcome))
    if len(skipped) == len(files):
        reason = skipped[0][1]
        raise InputError(f"{source}: none of {len(files)} files could be enhanced ({reason})")
    resumed = tuple(task.target for task in tasks if task.done)
    return FolderReport(tuple(done), resumed, tuple(skipped), amount)


def _wanted_name(file: Path, format: str | None) -> str:
    """The name that the output of a file would like to have."""
    try:  # what there is to note, `_enhance_one` notes of the file it writes
        return target_of(file, file.parent, format=format, notes=[])[0].name
    except EnhanceError:
        return file.name  # reported when its turn comes


def _tasks(files: dict[str, Path], goal: Path, ledger: Ledger) -> list[_Task]:
    """One task per input; done are those whose output is there and whose input is the same."""
    tasks = []
    for key, file in files.items():
        entry, state = ledger.entries[key], state_of(file)
        target = goal / PurePosixPath(key).with_name(entry.output)
        done = state is not None and entry.state == state and target.exists()
        tasks.append(_Task(key, file, target, state, done))
    return tasks


@lru_cache(maxsize=1)
def _opened(model: Path, sha256: str, model_type: str) -> Backend:
    """Open a model once per process, and again where its file has been replaced."""
    return open_stream(model, model_type)


def _enhance_one(
    task: _Task,
    *,
    model: tuple[Path, str, str],
    format: str | None,
    sample_rate: int | None,
    limit: bool,
    amount: float,
) -> Enhanced | str:
    """Enhance one file: what was written, or why it could not be."""
    try:
        result = enhance_file(
            task.source,
            task.target,
            model=_opened(*model),
            sample_rate=sample_rate,
            limit=limit,
            amount=amount,
            overwrite=True,  # the ledger says that what may be there is ours
        )
        notes = () if format else coding_notes(task.source, task.target)
    except EnhanceError as error:
        return str(error)
    return replace(result, notes=(*notes, *result.notes))
