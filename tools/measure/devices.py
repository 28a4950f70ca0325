"""Measure the device page in a Chromium that gets only part of a core; write data/results/devices.

    python -m tools.measure devices         this machine, then 1/4 of one of its cores

A limited run stands in for a slower device. A control group takes the processor from all
processes of the browser, so that the page's Worker slows down too; a fixed computation timed inside
it before and after must confirm that, or the run is refused. Needs root.
"""

import argparse
import contextlib
import functools
import http.server
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, Playwright, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from enhancelib.atomic import write_json
from enhancelib.errors import EnhanceError
from enhancelib.model.weights import PRETRAINED
from enhancelib.provenance import provenance
from tools.dev import browser, device_page
from tools.measure.tables import check_commit

COMMAND = "make devices"
SHARES = (Fraction(1), Fraction(1, 4))
LEAST, MOST = 0.8, 1.5
"""What a limited run may be slowed down by, over what its share says: other guests of a host can
only slow it down further, and its rows have the slowdown; one that is too fast proves nothing."""
BENCHMARK_S = 240.0  # of a whole core, at most
SETTLE_MS = 3000  # until a slow page has drawn its last picture
QUOTA_US = 1000  # the least there is: a slow processor is slow, it does not stop and go
PHONE = {"width": 390, "height": 844}
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-audio-output",  # a sound server may be installed and not running
)
KERNELS = """async () => {
  const worker = new Worker("worker.mjs", { type: "module" });
  const next = () => new Promise((go) => { worker.onmessage = ({ data }) => go(data); });
  await next();
  worker.postMessage({ order: "kernels", id: 1 });
  const { result } = await next();
  worker.terminate();
  return result;
}"""


class Refused(EnhanceError):
    """A run whose slowdown is not what its limit says."""


class Group:
    """A control group for the processes of one browser; version 1 or 2, whichever is mounted."""

    def __init__(self, root: Path = Path("/sys/fs/cgroup")):
        self._one = (root / "cpu" / "cgroup.procs").exists()
        self._folder = root / ("cpu" if self._one else ".") / f"device-page-{os.getpid()}"

    def __enter__(self) -> "Group":
        try:
            self._folder.mkdir()
            self._prefer()
            self.limit(Fraction(1))
        except OSError as error:
            with contextlib.suppress(OSError):
                self._folder.rmdir()
            raise EnhanceError(
                f"{self._folder}: no control group can be made ({error.strerror}); run as root"
            ) from None
        return self

    def __exit__(self, *exception: object) -> None:
        for _ in range(50):  # the last process may take a moment to end
            with contextlib.suppress(OSError):
                return self._folder.rmdir()
            time.sleep(0.1)

    def _prefer(self) -> None:
        """Other programs wait for the group: only its limit slows it down."""
        name, most = ("cpu.shares", 262_144) if self._one else ("cpu.weight", 10_000)
        (self._folder / name).write_text(str(most))

    def limit(self, share: Fraction) -> None:
        """Give all processes together this share of one core; a whole one means no limit."""
        period = round(QUOTA_US / share)
        whole = share >= 1
        if self._one:
            (self._folder / "cpu.cfs_period_us").write_text(str(period))
            (self._folder / "cpu.cfs_quota_us").write_text(str(-1 if whole else QUOTA_US))
        else:
            (self._folder / "cpu.max").write_text(f"{'max' if whole else QUOTA_US} {period}")

    def launcher(self, program: str, folder: Path) -> Path:
        """A script that starts the program inside the group."""
        script = folder / "start-browser"
        procs = self._folder / "cgroup.procs"
        script.write_text(f'#!/bin/sh\necho $$ > "{procs}"\nexec "{program}" "$@"\n')
        script.chmod(0o755)
        return script


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine; gives its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def chromium(playwright: Playwright, group: Group) -> Iterator[Browser]:
    """A browser all of whose processes are in the group."""
    program = browser.find()
    if program is None:
        raise EnhanceError(browser.REMEDY.removeprefix("error: "))
    with tempfile.TemporaryDirectory() as folder:
        script = group.launcher(program, Path(folder))
        opened = playwright.chromium.launch(executable_path=script, args=FLAGS)
        try:
            yield opened
        finally:
            opened.close()


def slowdown(whole_ms: list[float], limited_ms: list[float]) -> float:
    """How much longer the computation takes under the limit.

    By a low quantile of both: other programs, and other guests of the host, only lengthen them. One
    computation lasts for many of the slices in which the group gets its share.
    """
    limited, whole = (float(np.quantile(times, 0.1)) for times in (limited_ms, whole_ms))
    return limited / whole


def confirm(factor: float, share: Fraction) -> float:
    """The slowdown, if it is about what the limit says.

    Raises:
        Refused: it is not between :data:`LEAST` and :data:`MOST` of that.
    """
    if not LEAST <= factor * share <= MOST:
        raise Refused(
            f"refused: at {share} of a core the computation in the Worker took {factor:.2f} times "
            f"as long, not {float(1 / share):.2f}; nothing is written"
        )
    return factor


def play(page: Page) -> dict[str, float]:
    """Play the first clip to its end, enhanced; what the audio thread counted.

    Returns:
        ``blocks`` of 128 samples played, how many of them were ``late`` (lossy instead) or
        ``stalled`` (silent), whether only the middle was enhanced (``economy``), and ``clock``:
        seconds of sound per second. A clock under 1 would hide that blocks come too late.
    """
    page.locator("[data-action=play]").click()
    page.wait_for_selector("#device-listen[data-waiting=false]", timeout=120_000)
    page.wait_for_selector("#device-listen[data-state=paused]", timeout=120_000)
    facts = page.evaluate("({ ...document.getElementById('device-listen').dataset })")
    return {
        "blocks": int(facts["quanta"]),
        "late": int(facts["late"]),
        "stalled": int(facts["stalled"]),
        "economy": facts["economy"] == "true",
        "clock": float(facts["clock"]),
    }


def benchmark(page: Page, name: str, *, timeout_s: float = BENCHMARK_S) -> list[dict]:
    """Press the button; the rows that a reader would contribute.

    Raises:
        EnhanceError: the page has not ended by then.
    """
    page.locator("#device-benchmark input").fill(name)
    page.locator("[data-action=benchmark]").click()
    try:
        page.wait_for_selector("#device-benchmark[data-state=done]", timeout=1000 * timeout_s)
    except PlaywrightTimeout:
        raise EnhanceError(
            f"{name}: the benchmark takes more than {timeout_s:.0f} s; measure on an idle machine"
        ) from None
    with page.expect_download() as download:
        page.locator("#device-benchmark a").click()
    return json.loads(download.value.path().read_text())


def measure(address: str, share: Fraction) -> list[dict]:
    """Rows of one run: the benchmark, and a clip played on the page."""
    facts = provenance(COMMAND)
    name = facts["device"] if share == 1 else f"{facts['device']}, {share} of a core (stand-in)"
    with (
        sync_playwright() as playwright,
        Group() as group,
        chromium(playwright, group) as opened,
    ):
        page = opened.new_page(viewport=PHONE)
        page.goto(f"{address}/index.html", wait_until="networkidle")
        whole_ms = page.evaluate(KERNELS)
        group.limit(share)
        if share < 1:
            confirm(slowdown(whole_ms, page.evaluate(KERNELS)), share)
        rows = benchmark(page, name, timeout_s=BENCHMARK_S / share)
        played = play(page)
        page.wait_for_timeout(SETTLE_MS)
        limited_ms = page.evaluate(KERNELS)
    condition = f"browser, played, {'middle' if played.pop('economy') else 'both channels'}"
    extra = {f"play_{key}": value for key, value in played.items()}
    if share < 1:
        extra["slowdown"] = confirm(slowdown(whole_ms, limited_ms), share)
    for metric, value in extra.items():
        row = rows[0] | {"condition": condition, "metric": metric, "value": round(value, 4)}
        rows.append(row | {"unit": "1"})
    return [row | {key: facts[key] for key in ("commit", "load", "command")} for row in rows]


def main() -> None:
    """Measure every share and write one file for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=Fraction, nargs="+", default=SHARES)
    parser.add_argument("--output", type=Path, default=Path("data/results/devices"))
    arguments = parser.parse_args()
    check_commit(arguments.output / "chromium.json")
    refused = False
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as address:
        device_page.build(Path(folder), list(PRETRAINED.glob("*.stream.onnx")))
        device_page.bare_page(Path(folder))
        for share in arguments.share:
            try:
                rows = measure(address, share)
            except Refused as error:
                print(error, file=sys.stderr)
                refused = True
                continue
            arguments.output.mkdir(parents=True, exist_ok=True)
            name = "core" if share == 1 else f"core-{share.numerator}-of-{share.denominator}"
            path = arguments.output / f"chromium-{name}.json"
            write_json(path, rows)
            print(path)
    sys.exit(refused)


if __name__ == "__main__":
    try:
        main()
    except EnhanceError as error:
        sys.exit(f"error: {error}")
