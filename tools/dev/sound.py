"""A private sound server for the tests of `enhancelib live`; installed with apt where that may be.

python -m tools.dev.sound       install what is missing, or say why live sound cannot be tested
"""

import contextlib
import ctypes.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tools.dev import debian

PACKAGES = ("pulseaudio", "pulseaudio-utils", "libasound2-plugins", "libportaudio2")
FRONT, REAR = "front-left,front-right", "rear-left,rear-right"
# One clock for all: what the player plays is on the front channels of the bus, what `enhancelib
# live` makes of it on the rear ones. A recording of the bus has both, aligned to the sample.
MODULES = (
    "module-native-protocol-unix auth-anonymous=1 socket={folder}/native",
    f"module-null-sink sink_name=bus format=float32le rate=44100 channels=4 "
    f"channel_map={FRONT},{REAR}",
    f"module-remap-sink sink_name=player master=bus remix=no "
    f"channels=2 channel_map={FRONT} master_channel_map={FRONT}",
    f"module-remap-source source_name=heard master=bus.monitor remix=no "
    f"channels=2 channel_map={FRONT} master_channel_map={FRONT}",
    f"module-remap-sink sink_name=played master=bus remix=no "
    f"channels=2 channel_map={FRONT} master_channel_map={REAR}",
)


def missing() -> list[str]:
    """What the tests need and this machine has not."""
    found = {name: shutil.which(name) for name in ("pulseaudio", "pactl", "paplay", "parec")}
    found["PortAudio"] = ctypes.util.find_library("portaudio")
    plugins = (Path("/usr/lib"), Path("/usr/lib64"))
    found["ALSA's plugin for PulseAudio"] = any(
        list(folder.glob("**/alsa-lib/libasound_module_pcm_pulse.so")) for folder in plugins
    )
    return [name for name, there in found.items() if not there]


@contextlib.contextmanager
def server() -> Iterator[dict[str, str]]:
    """Start PulseAudio with nothing but the bus; yields the environment for its clients."""
    with tempfile.TemporaryDirectory(prefix="sound-") as folder:
        names = ("HOME", "XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH", "PULSE_STATE_PATH")
        environment = os.environ | dict.fromkeys(names, folder)
        environment |= {"PULSE_SERVER": f"unix:{folder}/native"}
        environment |= {"PULSE_SOURCE": "heard", "PULSE_SINK": "played"}
        process = subprocess.Popen(
            ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--log-level=error"]
            + [f"--load={module.format(folder=folder)}" for module in MODULES],
            env=environment,
            preexec_fn=_first,
        )
        try:
            wait_for(environment, "sinks", "played")
            yield environment
        finally:
            process.terminate()
            process.wait(timeout=10)


def _first() -> None:
    """It stands for hardware, which waits for no other process: nor does it, if we may."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(2))


def wait_for(environment: dict[str, str], kind: str, name: str = "") -> None:
    """Return when the server has ``"sinks"``, ``"source-outputs"`` …, of this name if one is given.

    Raises:
        RuntimeError: it has none after two minutes.
    """
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        listed = subprocess.run(
            ["pactl", "list", "short", kind], env=environment, capture_output=True, text=True
        )
        if listed.stdout.strip() and name in listed.stdout:
            return
        time.sleep(0.1)
    raise RuntimeError(f"the sound server has no {kind} {name}")


if __name__ == "__main__":
    if missing():
        debian.install(*PACKAGES)
    if lacking := missing():
        print(f"tests of live sound will be skipped: no {', no '.join(lacking)}")
        print(f"  (Debian: apt install {' '.join(PACKAGES)})")
