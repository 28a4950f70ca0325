"""parallel.map: order, laziness, errors, and a Dask cluster that loses a worker."""

import functools
import os
import re
import signal
import threading
import time

import pytest
from conftest import PATIENCE_S
from dask_cluster import dask_cluster

from enhancelib import parallel
from enhancelib.errors import ConfigError, EnhanceError


def square(number):
    return number * number


def slow_square(number):
    time.sleep(0.05)
    return number * number


def process_and_number(number):
    time.sleep(0.05)
    return os.getpid(), number


def met(folder, number):
    """The number of this process, once two have come to the folder, whichever is the slower."""
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + PATIENCE_S
    while len(list(folder.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    return os.getpid()


def fail_on_three(number):
    if number == 3:
        raise RuntimeError("three")
    return number


def kill_own_process(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_results_come_in_the_order_of_the_items(n_jobs):
    numbers = list(range(20, 0, -1))
    assert list(parallel.map(square, numbers, n_jobs=n_jobs)) == [n * n for n in numbers]


def test_two_jobs_are_two_other_processes(tmp_path):
    pids = set(parallel.map(functools.partial(met, tmp_path), list(range(12)), n_jobs=2))
    assert len(pids) == 2
    assert os.getpid() not in pids


def where(_: int) -> str:
    return os.getcwd()


def test_workers_stand_where_their_caller_does(tmp_path, monkeypatch):
    """Also those that joblib kept from a map before."""
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        monkeypatch.chdir(folder)
        assert set(parallel.map(where, range(4), n_jobs=2)) == {str(folder)}


def test_a_result_is_handed_over_before_the_last_item_is_started():
    started = []

    def note(number):
        started.append(number)
        return number

    results = parallel.map(note, list(range(100)), n_jobs=1)
    assert next(results) == 0
    assert len(started) < 100
    results.close()


def test_no_items_give_no_results():
    assert list(parallel.map(square, [], n_jobs=1)) == []


def test_progress_shows_count_rate_and_remaining_time(capfd):
    list(parallel.map(slow_square, list(range(12)), n_jobs=1, description="pairs", unit="file"))
    shown = capfd.readouterr().err
    assert "pairs" in shown
    assert "12/12" in shown
    assert re.search(r"\d+/12 \[\d+:\d+<\d+:\d+, +[\d.]+(file/s|s/file)\]", shown)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_exception_of_the_function_reaches_the_caller(n_jobs):
    with pytest.raises(RuntimeError, match="three"):
        list(parallel.map(fail_on_three, list(range(6)), n_jobs=n_jobs))


def test_a_killed_local_worker_is_one_line_with_a_remedy():
    with pytest.raises(EnhanceError, match="smaller n_jobs"):
        list(parallel.map(kill_own_process, [1, 2], n_jobs=2))


@pytest.mark.parametrize("n_jobs", [0, 1.5, "2", float("nan"), 100_000, -100_000, True])
def test_impossible_jobs_are_refused_before_any_process_starts(n_jobs):
    with pytest.raises(ConfigError, match=r"^n_jobs"):
        list(parallel.map(square, [1], n_jobs=n_jobs))


def test_a_scheduler_that_does_not_answer_is_refused():
    with pytest.raises(ConfigError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:9'"):
        list(parallel.map(square, [1], scheduler="tcp://127.0.0.1:9"))


def test_dask_finishes_when_a_worker_is_killed_midway(tmp_path):
    numbers = list(range(60))
    with dask_cluster(tmp_path) as (address, workers):
        results = parallel.map(process_and_number, numbers, scheduler=address)
        seen = [next(results) for _ in range(5)]
        killer = threading.Thread(target=workers[0].kill)
        killer.start()
        seen += list(results)
        killer.join()
        assert workers[0].wait(timeout=PATIENCE_S) == -signal.SIGKILL
    assert [number for _, number in seen] == numbers
    assert workers[1].pid in {pid for pid, _ in seen}
