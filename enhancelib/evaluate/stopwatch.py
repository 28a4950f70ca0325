"""Time a call, beside the machine's own pace at that moment; memory of this process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

UNITS = {
    "latency_ms": "ms",
    "latency_p10_ms": "ms",
    "latency_p90_ms": "ms",
    "latency_p99_ms": "ms",
    "cpu_ms": "ms",
    "kernel_ms": "ms",
    "rtf": "1",
    "cpu_rtf": "1",
    "kernels_per_s": "1",
    "startup_s": "s",
    "resident_mb": "MB",
    "peak_mb": "MB",
    "file_mb": "MB",
    "energy_j_per_s": "J/s",
}
"""What is measured, and its unit; the columns of a row beside those that say what was run."""


RAPL = Path("/sys/class/powercap")
"""Energy counters of the processor packages (Intel's and AMD's), where we may read them."""


_BUDGET_S = 5.0  # a slow file gets fewer repeats


_FEWEST = 5


def timed(
    call: Callable[[], object], *, audio_s: float, repeats: int, between: int
) -> dict[str, float]:
    """Time a call again and again, within a budget of 5 s.

    Args:
        call: what is timed.
        audio_s: seconds of audio that one call takes.
        repeats: calls at most.
        between: calls after which the kernel is timed.

    Returns:
        Those of :data:`UNITS` that are times, and the energy.
    """
    kernel, energy = _kernel(), _EnergyMeter()
    wall, cpu, kernels = [], [], []
    began = time.perf_counter()
    for turn in range(repeats):
        energy.start()
        wall_before, cpu_before = time.perf_counter(), time.process_time()
        call()
        cpu.append(time.process_time() - cpu_before)
        wall.append(time.perf_counter() - wall_before)
        energy.stop()
        if turn % between == 0:
            kernels.append(kernel())
        if turn >= _FEWEST and time.perf_counter() - began > _BUDGET_S:
            break
    median, low, high, top = np.percentile(wall, [50, 10, 90, 99])
    cpu_s, kernel_s = float(np.mean(cpu)), float(np.median(kernels))
    return {
        "latency_ms": 1e3 * float(median),
        "latency_p10_ms": 1e3 * float(low),
        "latency_p90_ms": 1e3 * float(high),
        "latency_p99_ms": 1e3 * float(top),
        "cpu_ms": 1e3 * cpu_s,
        "kernel_ms": 1e3 * kernel_s,
        "rtf": float(median) / audio_s,
        "cpu_rtf": cpu_s / audio_s,
        "kernels_per_s": cpu_s / audio_s / kernel_s,
        "energy_j_per_s": energy.joules / (len(wall) * audio_s),
    }


def timed_once(call: Callable[[], object]) -> tuple[float, float]:
    """Time one call.

    Args:
        call: what is timed; what it returns is dropped.

    Returns:
        Seconds by the clock, and seconds of processor time of the calling thread alone.
    """
    wall_before, cpu_before = time.perf_counter(), time.thread_time()
    call()
    cpu_s = time.thread_time() - cpu_before
    return time.perf_counter() - wall_before, cpu_s


def memory(process: int | str = "self") -> dict[str, float]:
    """Resident memory of a process, now and at its peak, in MB (10^6 bytes).

    Args:
        process: its number; this process by default.
    """
    try:
        held = _status(process)
        return {"resident_mb": held["VmRSS"], "peak_mb": held["VmHWM"]}
    except (OSError, KeyError):  # not Linux
        import psutil

        info = psutil.Process(None if process == "self" else int(process)).memory_info()
        peak = getattr(info, "peak_wset", math.nan)
        return {"resident_mb": info.rss / 1e6, "peak_mb": peak / 1e6}


def own_memory_mb() -> float:
    """Memory of this process without the files it maps, in MB; NaN where the system has no figure.

    Libraries are such files, and processes share them.
    """
    try:
        return _status("self")["RssAnon"]
    except (OSError, KeyError):  # not Linux
        return math.nan


def _status(process: int | str) -> dict[str, float]:
    """What Linux says of the memory of a process, in MB, by the names of proc(5)."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1.024e-3 for line in lines if "kB" in line}


def _kernel() -> Callable[[], float]:
    """Return a function that times one fixed matrix product (34 million multiplications), in s.

    On one thread: a second one would spin on for 20 ms and be counted as the CPU time of the file.
    """
    import threadpoolctl

    left = np.random.default_rng(0).standard_normal((324, 324)).astype(np.float32)

    def run() -> float:
        with threadpoolctl.threadpool_limits(1, user_api="blas"):
            began = time.perf_counter()
            left @ left
            return time.perf_counter() - began

    run()

    return run


class _EnergyMeter:
    """Energy of the processor packages between every ``start`` and ``stop``, added up.

    ``joules`` is NaN where there is no counter, or where only root may read it.
    """

    def __init__(self):
        self._folders = [folder for folder in sorted(RAPL.glob("intel-rapl:*")) if _is_ours(folder)]
        self.joules = 0.0 if self._folders else math.nan

    def start(self) -> None:
        self._before = [_microjoules(folder) for folder in self._folders]

    def stop(self) -> None:
        for folder, before in zip(self._folders, self._before, strict=True):
            spent = _microjoules(folder) - before  # negative where the counter began anew
            self.joules += (spent % _microjoules(folder, "max_energy_range_uj")) / 1e6


def _microjoules(folder: Path, name: str = "energy_uj") -> int:
    return int((folder / name).read_text())


def _is_ours(folder: Path) -> bool:
    """Whether a counter may be read and is that of a package: not of its part, nor a sum."""
    try:
        return _microjoules(folder) >= 0 and (folder / "name").read_text().startswith("package")
    except OSError:
        return False
