"""Replay the steps of Dockerfile (and of .binder) on this machine, where no container engine runs.

    python tools/container.py             the Dockerfile
    python tools/container.py --binder    what mybinder.org does with .binder

Every step is carried out in a scratch folder that stands for the image, as far as it can be:
packages of the system are only looked up, users not made, and PyTorch comes from the index that pip
uses here. What was not done is said at the end. With ENHANCELIB_VENV set, that environment is taken
instead of a new one of 4.5 GB.
"""

import argparse
import fnmatch
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IDLE_S = 120


class Replay:
    """One image in the making: its folder, its variables, and what could not be replayed."""

    def __init__(self, image: Path):
        self.image, self.folder = image, image
        home = image / "home"
        home.mkdir()
        kept = ("PATH", "ENHANCELIB_VENV", "PIP_CONFIG_FILE", "PIP_INDEX_URL", "SSL_CERT_FILE")
        self.environment = {name: os.environ[name] for name in kept if name in os.environ}
        self.environment |= {"HOME": str(home), "PYTHON": sys.executable}
        self.undone: list[str] = []

    def run(self, command: str) -> None:
        """Run a shell command in the current folder of the image."""
        print(f"RUN {command}", flush=True)
        done = subprocess.run(["bash", "-ec", command], cwd=self.folder, env=self.environment)
        if done.returncode:
            sys.exit(f"error: step failed with exit code {done.returncode}: {command}")

    def step(self, name: str, text: str) -> None:
        """Carry out one instruction of a Dockerfile."""
        if name == "FROM":
            wanted = re.search(r"python:(\d+\.\d+)", text)[1]
            if wanted != f"{sys.version_info.major}.{sys.version_info.minor}":
                sys.exit(f"error: the image has Python {wanted}; replay it with that one")
            self.undone.append(f"the base image {text}")
        elif name == "ARG":  # an index that may be out of reach: pip's own serves as well
            variable, _, default = text.partition("=")
            self.environment[variable] = ""
            self.undone.append(f"{variable}={default} (taken: pip's own index)")
        elif name == "RUN" and text.startswith("apt-get"):
            self.look_up(re.search(r"install [^&]*", text)[0].split()[1:])
        elif name == "RUN" and text.startswith("useradd"):
            self.undone.append(text)
        elif name == "RUN":
            self.run(text)
        elif name == "WORKDIR":
            self.folder = self.image / text.lstrip("/")
            self.folder.mkdir(parents=True)
        elif name == "COPY":
            self.copy()
        elif name == "CMD":
            self.serve(json.loads(text))
        elif name not in ("USER", "EXPOSE"):
            sys.exit(f"error: Dockerfile: {name} is not known to this replay; add it")

    def look_up(self, words: list[str]) -> None:
        """Check that the system's packages exist."""
        packages = [word for word in words if not word.startswith("-")]
        if not shutil.which("apt-cache"):
            self.undone.append(f"packages {', '.join(packages)}")
            return
        for package in packages:
            if subprocess.run(["apt-cache", "show", package], capture_output=True).returncode:
                sys.exit(f"error: apt knows no package {package} (apt-get update?)")
        self.undone.append(f"installing {', '.join(packages)} (apt knows them)")

    def copy(self) -> None:
        """Copy the files of this checkout that .dockerignore lets through."""
        ignored = (ROOT / ".dockerignore").read_text().split()
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        for name in listed.stdout.splitlines():
            if any(fnmatch.fnmatch(name, f"{rule}*") for rule in ignored) or (ROOT / name).is_dir():
                continue
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, self.folder / name)

    def serve(self, command: list[str]) -> None:
        """Start the command, wait until it answers, stop it."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [
            re.sub("8888$", str(port), word).replace("0.0.0.0", "127.0.0.1") for word in command
        ]
        if "ENHANCELIB_VENV" in self.environment:
            command[0] = command[0].replace(".venv", self.environment["ENHANCELIB_VENV"])
        if os.geteuid() == 0:  # in the image, a user of its own
            command.append("--allow-root")
        print(f"CMD {' '.join(command)}", flush=True)
        server = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            for _ in range(IDLE_S):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api"):
                        print("JupyterLab answers")
                        return
                except OSError:
                    time.sleep(1)
                if server.poll() is not None:
                    break
            sys.exit("error: JupyterLab did not answer")
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGTERM)
            server.wait()


def instructions(text: str) -> list[tuple[str, str]]:
    """Name and text of each instruction of a Dockerfile."""
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def binder(replay: Replay) -> None:
    """What repo2docker does with .binder: Python, apt.txt, requirements.txt, postBuild."""
    files = ROOT / ".binder"
    replay.step("FROM", (files / "runtime.txt").read_text().strip().replace("-", ":"))
    replay.look_up((files / "apt.txt").read_text().split())
    replay.folder = replay.image / "repository"
    replay.folder.mkdir()
    replay.copy()
    requirements = replay.folder / ".binder/requirements.txt"
    kept = re.sub(r"^--extra-index-url.*\n", "", requirements.read_text(), flags=re.MULTILINE)
    requirements.write_text(kept)
    replay.undone.append("PyTorch's own index (taken: pip's)")
    replay.run(f"{sys.executable} -m venv --without-pip {replay.image}/venv")
    replay.run(
        f"{sys.executable} -m pip --python {replay.image}/venv/bin/python install -q 'pip>=26'"
    )
    replay.environment["PATH"] = f"{replay.image}/venv/bin:{replay.environment['PATH']}"
    replay.run("python -m pip install --quiet -r .binder/requirements.txt")
    replay.run(".binder/postBuild")


def main() -> None:
    """Replay, then say what was left out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binder", action="store_true", help="replay .binder instead")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        replay = Replay(Path(folder))
        if arguments.binder:
            binder(replay)
        else:
            for name, text in instructions((ROOT / "Dockerfile").read_text()):
                replay.step(name, text)
    print("Replayed. Not done here:")
    for part in replay.undone:
        print(f"  - {part}")


if __name__ == "__main__":
    main()
