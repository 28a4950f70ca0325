"""Install Debian packages where that may be done without asking anybody."""

import os
import shutil
import subprocess


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
