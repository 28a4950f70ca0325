"""Imports go down the layers only, and light modules stay light."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# What a phone has not, or what a notebook should not wait for.
HEAVY = {"torch", "tensorflow", "librosa", "matplotlib", "pandas", "onnxruntime", "IPython"}
LINT = Path(sys.executable).with_name("lint-imports")


def loaded_by(statement: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter holds after one statement."""
    program = f"{statement}\nimport json, sys\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_import_contract_of_pyproject(root):
    done = subprocess.run([LINT], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_contract_would_notice_an_upward_import(root, tmp_path):
    """The same contract refuses a copy of the package in which `errors` imports `audio`."""
    shutil.copytree(root / "enhancelib", tmp_path / "enhancelib")
    shutil.copy(root / "pyproject.toml", tmp_path)
    with (tmp_path / "enhancelib" / "errors.py").open("a") as errors:
        errors.write("\nimport enhancelib.audio\n")
    done = subprocess.run(
        [LINT, "--no-cache"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "errors is not allowed to import enhancelib.audio" in done.stdout


def test_import_enhancelib_loads_nothing_heavy():
    assert not loaded_by("import enhancelib") & (HEAVY | {"numpy", "scipy", "soundfile", "av"})


@pytest.mark.parametrize("module", ["errors", "audio", "streaming", "live"])
def test_real_time_path_needs_no_training_stack(module):
    assert not loaded_by(f"import enhancelib.{module}") & (HEAVY - {"onnxruntime"})


def test_every_public_name_can_be_loaded():
    import enhancelib as el

    assert len(el.__all__) == len(set(el.__all__))
    for name in el.__all__:
        assert getattr(el, name).__doc__ or isinstance(getattr(el, name), dict), name
