"""A real Dask scheduler with worker processes on this machine, for tests."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from conftest import PATIENCE_S


@contextlib.contextmanager
def dask_cluster(folder: Path, *, workers: int = 2) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """Start a scheduler and workers; yields its address and the workers, and kills all at the end.

    Workers have one thread and no nanny, so a killed worker stays dead, and can import the test
    modules.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    here = Path(__file__).parent
    paths = [str(here / "base"), str(here), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    processes: list[subprocess.Popen] = []

    def start(*arguments: str) -> subprocess.Popen:
        with open(folder / f"dask-{len(processes)}.log", "w") as log:
            command = [sys.executable, "-m", f"distributed.cli.{arguments[0]}", *arguments[1:]]
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        processes.append(process)
        return process

    where = folder / "scheduler.json"
    try:
        start(
            "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
            "--no-jupyter", "--scheduler-file", str(where),
        )  # fmt: skip
        started = [
            start(
                "dask_worker", "--scheduler-file", str(where), "--nthreads", "1", "--no-nanny",
                "--no-dashboard", "--local-directory", str(folder),
            )
            for _ in range(workers)
        ]  # fmt: skip
        deadline = time.monotonic() + PATIENCE_S
        while not where.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        address = re.search(r"tcp://[\d.]+:\d+", where.read_text()).group()
        wait_for_workers(address, workers)
        yield address, started
    finally:
        for process in processes:
            process.kill()
            process.wait()


def wait_for_workers(address: str, count: int) -> None:
    """Return when so many workers have joined the scheduler."""
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=PATIENCE_S)
