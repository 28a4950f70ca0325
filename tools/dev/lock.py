"""Write requirements.lock and requirements.hashes: every package that pyproject.toml needs, pinned.

Run through `make lock`, where UPGRADE='NAME …' takes the newest version of some. uv resolves for
all machines at once; every other version stays as long as it fits. The first file has a pin a line,
for `pip install -c` too; the second the same pins with the hashes of their files, which pip checks.
They are apart because pip, given one hash, refuses what has none: PyTorch and this package.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HEAD = """\
# Made by `make lock`; do not edit. Every package that pyproject.toml needs, pinned.
# Install with: pip install --no-deps -r requirements.lock
# (--no-deps because litert-torch's xdsl caps typing-extensions below what the others need).
# torch is left out, since its default wheel brings GPU packages: `make` installs it afterwards.
"""
HASHES = """\
# Made by `make lock`; do not edit. The pins of requirements.lock with the hashes of their files.
"""
# torch and what only its GPU wheels need; enhancelib itself; and a grammar of addresses that takes
# three seconds to compile wherever a notebook is read: jsonschema does without it.
LEFT_OUT = re.compile(r"(torch|nvidia-[\w-]*|cuda-[\w-]*|triton|enhancelib|rfc3987-syntax)==")
# The version of Python that `make` asks for.
PYTHON = "3.11"


def resolve(root: Path, upgrade: list[str]) -> str:
    """Resolve all extras of pyproject.toml for every machine, keeping what is locked.

    Args:
        root: folder of ``pyproject.toml`` and the lock.
        upgrade: packages that need not stay at their version.

    Returns:
        What uv writes: a block for each pin, its hashes on lines that follow.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "requirements.txt")
        output.write_text((root / "requirements.lock").read_text())
        command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--all-extras"]
        command += ["--universal", "--python-version", PYTHON, "--generate-hashes"]
        command += ["--no-annotate", "--no-header", "--quiet", "--output-file", str(output)]
        command += [word for name in upgrade for word in ("--upgrade-package", name)]
        if subprocess.run(command, cwd=root).returncode:
            sys.exit("error: pyproject.toml cannot be resolved, see above")
        return output.read_text()


def locked(resolved: str) -> list[str]:
    """The blocks of a resolution that belong into the lock."""
    blocks = re.split(r"\n(?=[a-z0-9])", resolved.strip())
    return [block for block in blocks if not LEFT_OUT.match(block)]


def pin(block: str) -> str:
    """A block's first line, without hashes: ``name==version``, with its marker where it has one."""
    return block.splitlines()[0].removesuffix("\\").strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("upgrade", nargs="*", help="packages to take in their newest version")
    root = Path(__file__).resolve().parents[2]
    blocks = locked(resolve(root, parser.parse_args().upgrade))
    (root / "requirements.lock").write_text(HEAD + "\n".join(map(pin, blocks)) + "\n")
    (root / "requirements.hashes").write_text(HASHES + "\n".join(blocks) + "\n")
    print(f"requirements.lock: {len(blocks)} packages")
