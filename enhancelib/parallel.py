"""One thin door to joblib and Dask: map a function over items, in order, with a progress bar."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing import resource_tracker
from typing import TypeVar

import joblib
from joblib.externals.loky.backend import resource_tracker as loky_tracker
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from enhancelib.checks import check_number
from enhancelib.errors import ConfigError, EnhanceError
from enhancelib.signals import blocked, end_with_parent

MOST_JOBS = 256
"""Processes; all of them are started at once."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    n_jobs: int | None = None,
    scheduler: str | None = None,
    description: str = "",
    unit: str = "file",
) -> Generator[Result, None, None]:
    """Yield ``function(item)`` for every item, in the order of the items, as they get ready.

    Results are handed over one by one, so memory does not grow with the number of items. The
    progress bar (standard error) shows the count, the rate and the time that remains.

    Args:
        function: a picklable function of one argument (module level, so that a Dask worker can
            import it). An exception it raises stops the map and is raised here.
        items: what to map over.
        n_jobs: processes on this machine, each with one thread, at most 256; None means one per
            usable core, 1 runs in this process, -1 is one per core and -2 one less.
        scheduler: address of a Dask scheduler (``"tcp://host:8786"``). Its workers then do the
            work, and must see the same files under the same paths. A task whose worker dies is
            run again on another worker.
        description: text before the bar.
        unit: what one item is.

    Raises:
        ConfigError: ``n_jobs`` is impossible, or no scheduler with a worker answers at the address.
        EnhanceError: a local worker process was killed from outside (often: out of memory).
    """
    if n_jobs == 0:
        raise ConfigError("n_jobs is 0: give the number of processes, or None for one per core")
    if n_jobs is not None:
        n_jobs = check_number(
            n_jobs, "n_jobs", low=-MOST_JOBS, high=MOST_JOBS, whole=True, error=ConfigError
        )
    if not items:
        return
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(
            tqdm(total=len(items), desc=description, unit=unit, dynamic_ncols=True)
        )
        if scheduler is None:
            pool = _local_pool(n_jobs)
        else:
            pool = _dask_pool(stack.enter_context(_dask_client(scheduler)))
        try:
            with blocked("SIGINT"):  # Ctrl-C is for this process, which ends its workers
                results = pool(joblib.delayed(function)(item) for item in items)
            for result in results:
                bar.update()
                yield result
        except TerminatedWorkerError:
            raise EnhanceError(
                "a worker process was killed, perhaps for lack of memory: "
                "run the same command again to resume, with a smaller n_jobs"
            ) from None


def _local_pool(n_jobs: int | None) -> joblib.Parallel:
    """Processes on this machine; one thread each, so that two jobs use two cores, not four."""
    with blocked("SIGHUP"):  # both trackers ignore other signals by themselves; they end with us
        loky_tracker.ensure_running()
        if os.name == "posix":
            resource_tracker.ensure_running()  # which unblocks SIGINT when it starts
    with joblib.parallel_config(
        backend="loky",
        inner_max_num_threads=1,
        initializer=_begin,
        initargs=(os.getpid(), os.getcwd()),
    ):
        return joblib.Parallel(
            n_jobs=joblib.cpu_count() if n_jobs is None else n_jobs, return_as="generator"
        )


def _begin(parent: int, folder: str) -> None:
    """Prepare a worker process. It ends with its parent and sees relative paths as that does.

    joblib keeps workers for the next map, but makes new ones where these arguments changed.
    """
    end_with_parent(parent)
    os.chdir(folder)


def _dask_pool(client) -> joblib.Parallel:
    with joblib.parallel_config(backend="dask", client=client):
        return joblib.Parallel(n_jobs=-1, return_as="generator")


@contextlib.contextmanager
def _dask_client(scheduler: str) -> Iterator:
    """A client of the scheduler at this address that has at least one worker."""
    from distributed import Client  # only here: a run on one machine needs no Dask

    try:
        client = Client(scheduler, timeout="10s", set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {scheduler!r} ({error}): start one with `dask scheduler`"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=30)
        except TimeoutError:
            raise ConfigError(
                f"the Dask scheduler at {scheduler} has no worker: "
                f"start one with `dask worker {scheduler}`"
            ) from None
        yield client
