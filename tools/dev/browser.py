"""Find a Chromium for the book's browser test; install Debian's where apt may; print its path."""

import os
import shutil
import sys

from tools.dev import debian

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


if __name__ == "__main__":
    if not find():
        debian.install("chromium")
    print(find() or sys.exit(REMEDY))
