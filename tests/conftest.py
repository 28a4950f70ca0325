"""What all tests share: the repository's root, and the slow end-to-end tests last."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAST = ("test_readme.py", "test_notebooks.py", "test_book.py")


def pytest_collection_modifyitems(items):
    """Cheap tests first; the book needs the chapters that test_notebooks runs."""
    items.sort(key=lambda item: LAST.index(item.path.name) if item.path.name in LAST else -1)


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
