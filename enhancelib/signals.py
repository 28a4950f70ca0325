"""The end of a process: signals that ask for it are obeyed tidily, and no child outlives it."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

from enhancelib.errors import StoppedError

_LOOK_EVERY_S = 0.5


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise :class:`StoppedError`, so that everything is tidied up.

    A signal that is ignored (``nohup``) or handled already stays so, and all do outside the main
    thread, where Python hears none.
    """
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ours = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        ours = []

    def stop(number: int, frame: object) -> None:
        for one in ours:
            signal.signal(one, signal.SIG_IGN)  # the tidying up is not to be interrupted
        raise StoppedError(number)

    try:
        for number in ours:
            signal.signal(number, stop)
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def blocked(*names: str) -> Iterator[None]:
    """Keep signals from processes that are started now, which inherit that they are blocked.

    In this process they are delivered afterwards.

    Args:
        names: of signals, such as ``"SIGHUP"``.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    numbers = {getattr(signal, name) for name in names}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent(parent: int) -> None:
    """End this process soon after its parent, which may be killed and can then end nobody.

    Args:
        parent: its process number.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, name="enhancelib-parent", daemon=True).start()
