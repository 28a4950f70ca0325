"""Install Debian packages where that may be done without asking anybody.

python -m tools.dev.debian    the encoders of others with which the tests compare ours
"""

import os
import shutil
import subprocess

ENCODERS = {"sbcenc": "sbc-tools", "elc3": "liblc3-tools"}
"""Command → package: BlueZ's encoder of SBC, Google's of LC3."""


def install(*packages: str) -> None:
    """Install packages if apt-get is there and we are root, or sudo asks for no password.

    Another apt-get that is at work is waited for. Whoever calls it looks afterwards whether what
    was wanted is there.
    """
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if not packages or not shutil.which("apt-get") or (sudo and not shutil.which("sudo")):
        return
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-q"], ["install", "-yq", "--no-install-recommends", *packages]):
        done = subprocess.run(
            [*sudo, "apt-get", "-oDPkg::Lock::Timeout=600", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        if done.returncode:
            return


def missing_encoders() -> list[str]:
    """The packages of :data:`ENCODERS` whose command this machine has not."""
    return [package for command, package in ENCODERS.items() if not shutil.which(command)]


if __name__ == "__main__":
    install(*missing_encoders())
    if lacking := missing_encoders():
        print("tests that compare with encoders of others will be skipped")
        print(f"  (Debian: apt install {' '.join(lacking)})")
