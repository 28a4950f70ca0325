"""Write requirements.lock: every package that pyproject.toml needs, at the version installed now.

Run through `make lock`, after `pip install`ing the new version of whatever is to change. Nothing is
resolved: the lock records a set that was tried together. See CONTRIBUTING.md for why it is
installed with --no-deps.
"""

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HEAD = """\
# Made by `make lock`; do not edit. Every package that pyproject.toml needs, pinned.
# Install with: pip install --no-deps -r requirements.lock
# (--no-deps because litert-torch's xdsl caps typing-extensions below what the others need).
# torch is left out, since its default wheel brings GPU packages: `make` installs it afterwards.
"""
# torch and what only its GPU wheels need; enhancelib itself.
LEFT_OUT = re.compile(r"torch|nvidia-.*|cuda-.*|triton|enhancelib")


def direct_requirements(pyproject: Path) -> list[Requirement]:
    """All requirements of pyproject.toml: the package's own, its extras' and the build's."""
    table = tomllib.loads(pyproject.read_text())
    lines = table["build-system"]["requires"] + table["project"]["dependencies"]
    for extra in table["project"]["optional-dependencies"].values():
        lines += extra
    return [Requirement(line) for line in lines]


def closure(requirements: list[Requirement]) -> dict[str, str]:
    """Follow installed packages' own requirements: canonical name -> version."""
    pins: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    queue = [(r, "") for r in requirements]
    while queue:
        requirement, extra = queue.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            sys.exit(f"error: {name} is not installed: pip install {name}, then make lock")
        pins[name] = found.version.partition("+")[0]
        for wanted in {"", *requirement.extras}:
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                queue += [(Requirement(r), wanted) for r in found.requires or []]
    return pins


def lock_lines(requirements: list[Requirement]) -> list[str]:
    """One pin a line, sorted; a package that only other machines need keeps its marker."""
    markers = {canonicalize_name(r.name): r for r in requirements if r.marker}
    lines = {name: f"{name}=={version}" for name, version in closure(requirements).items()}
    for name, requirement in markers.items():
        pin = str(requirement.specifier)
        if not re.fullmatch(r"==[\w.]+", pin):
            sys.exit(f"error: pyproject.toml: {requirement} has a marker, so it needs an exact ==")
        lines[name] = f"{name}{pin} ; {requirement.marker}"
    return [lines[name] for name in sorted(lines) if not LEFT_OUT.fullmatch(name)]


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[2]
    lines = lock_lines(direct_requirements(root / "pyproject.toml"))
    (root / "requirements.lock").write_text(HEAD + "\n".join(lines) + "\n")
    print(f"requirements.lock: {len(lines)} packages")
