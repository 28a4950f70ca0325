"""Imports go down the layers only, and light modules stay light."""

import inspect
import json
import os
import shutil
import statistics
import subprocess
import sys
import tomllib
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
    for package in ("enhancelib", "tools"):
        shutil.copytree(root / package, tmp_path / package)
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


@pytest.mark.parametrize("module", ["errors", "audio", "enhance.streaming", "enhance.live"])
def test_real_time_path_needs_no_training_stack(module):
    assert not loaded_by(f"import enhancelib.{module}") & (HEAVY - {"onnxruntime"})


def test_every_public_name_is_one_thing_with_words_of_its_own():
    import enhancelib as el

    listed = [name for names in el.PUBLIC.values() for name in names]
    assert len(listed) == len(set(listed)), "a name that two modules offer"
    assert set(el.__all__) == {*listed, "provenance"}
    for name in el.__all__:
        thing = getattr(el, name)
        if inspect.isclass(thing):  # what it inherits says nothing of it
            assert vars(thing).get("__doc__"), f"{name}: has no docstring"
        elif callable(thing) or inspect.ismodule(thing):
            assert thing.__doc__, f"{name}: has no docstring"
        else:
            assert thing == el.METRICS, f"{name}: tell the API page what it is"


def test_the_house_has_ten_rows_and_no_crowded_room(root):
    config = tomllib.loads((root / "pyproject.toml").read_text())
    contract, _ = config["tool"]["importlinter"]["contracts"]
    assert len(contract["layers"]) <= 10
    for folder in (root / "tools", *(root / "tools").rglob("*/")):
        assert len(list(folder.glob("*.py"))) <= 10, folder
    sizes = []
    for folder in (root / "enhancelib", *(root / "enhancelib").rglob("*/")):
        modules = list(folder.glob("*.py"))
        assert len(modules) <= 10, folder
        sizes += [len(module.read_text().splitlines()) for module in modules]
    assert statistics.median(sizes) <= 200
    assert max(sizes) <= 420


def test_tests_stand_in_the_rooms_of_what_they_test(root):
    rooms = {
        path.name for path in (root / "enhancelib").iterdir() if (path / "__init__.py").exists()
    }
    assert rooms - {"pretrained"} <= {path.name for path in (root / "tests").iterdir()}


def test_the_digest_of_an_evaluation_follows_what_it_imports(root, tmp_path):
    shutil.copytree(root / "enhancelib", tmp_path / "enhancelib")

    def digest() -> str:
        program = (
            "from enhancelib.provenance import code_digest\n"
            "print(code_digest('enhancelib.evaluate.matrix'))"
        )
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-c", program]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    before = digest()
    for name, counts in {
        "audio/tags/__init__.py": False,
        "show/plotting.py": False,
        "train/run.py": False,
        "degrade/lc3.py": True,
        "evaluate/metrics/spectral.py": True,
        "model/fill.py": True,
    }.items():
        with (tmp_path / "enhancelib" / name).open("a") as file:
            file.write("\n# changed\n")
        after = digest()
        assert (after != before) == counts, name
        before = after
