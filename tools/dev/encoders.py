"""Encoders of others, with which the tests compare ours; installed with apt where that may be.

python -m tools.dev.encoders    install what is missing, or say which tests are skipped
"""

import shutil

from tools.dev import debian

PACKAGES = {"sbcenc": "sbc-tools", "elc3": "liblc3-tools"}
"""Command → Debian package: BlueZ's encoder of SBC, Google's of LC3."""


def missing() -> list[str]:
    """The packages whose command this machine has not."""
    return [package for command, package in PACKAGES.items() if not shutil.which(command)]


if __name__ == "__main__":
    debian.install(*missing())
    if lacking := missing():
        print("tests that compare with encoders of others will be skipped")
        print(f"  (Debian: apt install {' '.join(lacking)})")
