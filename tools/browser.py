"""Find a Chromium for the book's browser test; install Debian's where apt may; print its path."""

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
REMEDY = (
    "error: make test needs Chromium or Chrome: install it (`apt install chromium`, or "
    "`playwright install chromium`) or name it with CHROMIUM=/path/to/chrome"
)


def find() -> str | None:
    """The first that exists: $CHROMIUM, a browser on PATH, playwright's own download."""
    named = os.environ.get("CHROMIUM")
    if named:
        return shutil.which(named)
    for name in NAMES:
        if path := shutil.which(name):
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if os.path.exists(path) else None


def install() -> None:
    """Install Debian's Chromium if apt is there and we may, without asking for a password."""
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if not shutil.which("apt-get") or (sudo and not shutil.which("sudo")):
        return
    for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        subprocess.run([*sudo, "apt-get", *command], stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    if not find():
        install()
    print(find() or sys.exit(REMEDY))
