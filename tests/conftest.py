"""What all tests share: the repository's root, and the slow end-to-end tests last."""

import contextlib
import os
import pickle
import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent
LAST = ("test_notebooks.py", "test_book.py")
AGAIN = "test_executed_chapter_repeats_itself_under_nbval"
"""Where several processes share the work, one tests the book while another runs chapters again."""
LONG = (
    *("test_device.py", "test_readme.py", "test_smaller.py", "test_training.py"),
    *("test_compression.py", "test_seed.py", "test_listening_browser.py", "test_live.py"),
)
"""Files that take minutes each: several processes begin with them, so that none is left over."""
PATIENCE_S = 240.0
"""How long a test waits for what must come. Nothing is timed by it: only a hang lasts as long."""


def interruptible() -> None:
    """For a child process: hear Ctrl-C and SIGHUP even where the tests run deaf to them.

    In the background Ctrl-C is ignored, and under nohup SIGHUP; children inherit that.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextlib.contextmanager
def full_disk(room: int):
    """A limit on the size of files, in bytes, stands in for a full disk: writes fall short."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def as_nobody(function):
    """Run ``function`` without root's power over permissions; returns what it returns, as text."""
    if os.geteuid() != 0:
        return str(function())
    reader, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            os.write(sender, str(function()).encode())
        finally:  # never on into the tests that follow
            os._exit(0)
    os.close(sender)
    os.waitpid(child, 0)
    with os.fdopen(reader) as stream:
        return stream.read()


def pytest_collection_modifyitems(items):
    """Cheap tests first; the book needs the chapters that test_notebooks runs.

    Where several processes share the work, the end-to-end tests begin, since they take longest.
    Then come the long files, what runs the chapters again, and the cheap tests.
    """
    shared = "PYTEST_XDIST_WORKER" in os.environ

    def place(item: pytest.Item) -> tuple[int, int]:
        name = item.path.name
        if shared and AGAIN in item.name:
            return 2, 0
        if name in LAST:
            return 0 if shared else 4, LAST.index(name)
        return (1, LONG.index(name)) if shared and name in LONG else (3, 0)

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """One more than there are cores: while a browser plays music, a core would stand idle."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file stays with one process, and so do the end-to-end tests, but for chapters run again."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            if AGAIN in nodeid:
                return AGAIN
            return "end-to-end" if file.rpartition("/")[2] in LAST else file

    return ByFile(config, log)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def make():
    """Run `make <arguments>` in the repository as a user would; its output goes to the log."""

    def run(*arguments: str) -> subprocess.CompletedProcess:
        environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
        return subprocess.run(
            ["make", "--no-print-directory", *arguments], cwd=ROOT, env=environment, check=False
        )

    return run


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> tuple:
    """Make a folder once for all processes of a run, which only read it.

    Returns:
        The folder and what ``make(folder)`` returned.
    """
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, returned = base / name, base / f"{name}.pickle"
    with FileLock(base / f"{name}.lock"):
        if not returned.exists():
            folder.mkdir(exist_ok=True)
            returned.write_bytes(pickle.dumps(make(folder)))
    return folder, pickle.loads(returned.read_bytes())


@pytest.fixture(scope="session")
def small_model():
    """A small network with a fill and random weights throughout: no part of it is the identity."""
    from small_network import FILLED, filled_network

    return filled_network(**FILLED)


@pytest.fixture(scope="session")
def small_exports(small_model, tmp_path_factory):
    """Folder with ``small`` as a checkpoint and in every exported format, and their results."""
    from enhancelib.model.checkpoints import checkpoint_sha256
    from enhancelib.optimize.export import export_model

    def make(folder: Path) -> list:
        checkpoint = small_model.save(folder / "small.safetensors")
        sha256 = checkpoint_sha256(checkpoint)
        return export_model(small_model, folder, preset="small", checkpoint_sha256=sha256)

    return made_once(tmp_path_factory, "small", make)


@pytest.fixture(scope="session")
def few_items(root, tmp_path_factory):
    """A folder of items as the corpus makes them, from two excerpts."""
    import numpy as np
    import pandas

    from enhancelib import audio
    from enhancelib.degrade import codecs

    folder = tmp_path_factory.mktemp("data") / "items"
    folder.mkdir()
    conditions = ["lossless", "mp3-64", "aac-64", "mp3-48"]
    files = audio.find_audio(root / "data/excerpts")[8:20:8]
    samples, scales, rows = [], [], []
    for file in files:
        wave = audio.load(file, sample_rate=44100, duration_s=2.0)[0].mean(0, keepdims=True)
        for condition in conditions:
            lossy = (
                wave
                if condition == "lossless"
                else codecs.degrade(wave, condition, sample_rate=44100)
            )
            pair = np.stack([lossy[0], wave[0]])
            scales.append(np.abs(pair).max() / 32767)
            samples.append(np.round(pair / scales[-1]).astype(np.int16))
            trusted = 15800 if condition == "mp3-48" else 22050
            rows.append((len(rows), condition, "recorded", file.stem, trusted, 0))
    np.save(folder / "samples.npy", np.stack(samples))
    np.save(folder / "scales.npy", np.float32(scales))
    names = ["index", "condition", "kind", "source", "trusted_hz", "energies_only"]
    pandas.DataFrame(rows, columns=names).to_csv(folder / "items.csv", index=False)
    return folder


@pytest.fixture(scope="session")
def music(root):
    """Real music through a real codec, for networks of `small_network`."""
    from small_network import real_music

    return real_music(root)


@pytest.fixture(scope="module")
def ranges(model, music):
    """What passes through the module's own `model`."""
    from enhancelib.optimize import compression

    return compression.calibrate(model, music[:4])
