"""pyproject.toml, the lock, its hashes and requirements.txt agree."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# What the project is built on by decision.
FIXED = {
    *("jupyterlab", "jupytext", "papermill", "nbval", "ipywidgets", "matplotlib"),
    *("torch", "librosa", "onnx", "onnxruntime", "tensorflow"),
}
# Import names that differ from the package's.
PACKAGE_OF = {"yaml": "pyyaml", "PIL": "pillow", "visqol": "visqol-python", "xdist": "pytest-xdist"}
# What a tool installs in a folder of its own.
APART = {"executorch"}
MACHINES = [
    {"sys_platform": "linux", "platform_machine": "x86_64"},
    {"sys_platform": "linux", "platform_machine": "aarch64"},
    {"sys_platform": "darwin", "platform_machine": "arm64"},
    {"sys_platform": "win32", "platform_machine": "AMD64"},
]


@pytest.fixture(scope="module")
def pyproject(root):
    return tomllib.loads((root / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def direct(pyproject):
    lines = list(pyproject["project"]["dependencies"])
    for extra in pyproject["project"]["optional-dependencies"].values():
        lines += extra
    return [each for each in map(Requirement, lines) if each.name != "enhancelib"]


@pytest.fixture(scope="module")
def lock(root):
    lines = (root / "requirements.lock").read_text().splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def test_lock_is_pins_only(lock):
    for pin in lock:
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), pin
        assert pin.url is None, pin
        assert not re.match(r"(torch|triton|enhancelib|rfc3987-syntax)$|nvidia-|cuda-", pin.name), (
            pin
        )


def test_every_pin_has_the_hashes_of_its_files_and_no_server(root, lock):
    text = (root / "requirements.hashes").read_text()
    _, *lines = text.replace("\\\n", "").splitlines()
    pins = [Requirement(line.partition(" --hash")[0]) for line in lines]
    assert pins == lock
    for line in lines:
        assert re.fullmatch(r"[^:]+?( +--hash=sha256:[0-9a-f]{64})+", line), line


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: "-".join(machine.values()))
def test_every_direct_dependency_is_locked_at_a_version_it_accepts(
    direct, lock, pyproject, machine
):
    def wanted(requirement: Requirement) -> bool:
        return requirement.marker is None or requirement.marker.evaluate(machine)

    for requirement in [*direct, *map(Requirement, pyproject["build-system"]["requires"])]:
        name = canonicalize_name(requirement.name)
        if name == "torch":  # its own step in the Makefile
            assert re.fullmatch(r"==[\d.]+", str(requirement.specifier))
            continue
        pins = [pin for pin in lock if canonicalize_name(pin.name) == name and wanted(pin)]
        assert len(pins) == wanted(requirement), f"{name}: make lock"
        for pin in pins:
            version = str(pin.specifier).removeprefix("==")
            assert requirement.specifier.contains(version), f"{requirement} but {pin}: make lock"


def test_what_the_project_is_built_on_is_there(direct):
    assert {canonicalize_name(r.name) for r in direct} >= FIXED


def test_tensorflow_suits_every_machine_exactly_once(direct):
    flavours = [r for r in direct if r.name.startswith("tensorflow")]
    for system, machine in [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")]:
        environment = {"sys_platform": system, "platform_machine": machine}
        chosen = [r.name for r in flavours if r.marker.evaluate(environment)]
        wanted = "tensorflow-cpu" if (system, machine) == ("linux", "x86_64") else "tensorflow"
        assert chosen == [wanted]


def test_requirements_txt_takes_every_extra_but_the_one_pip_cannot_resolve(root, pyproject):
    text = (root / "requirements.txt").read_text()
    (extras,) = re.findall(r"^-e \.\[([\w,]+)\]$", text, re.MULTILINE)
    assert set(extras.split(",")) == {"all", "dev"}
    optional = pyproject["project"]["optional-dependencies"]
    (everything,) = map(Requirement, optional["all"])
    assert everything.extras | {"all", "dev", "convert"} == set(optional)
    assert "\n-c requirements.lock\n" in text


def imported(source: str) -> set[str]:
    """Top-level names that a Python text imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize(
    "folder", ["enhancelib", "notebooks", "tests", "tools", "jupyter_book/_ext"]
)
def test_everything_imported_is_a_direct_dependency(root, direct, folder):
    declared = {canonicalize_name(r.name) for r in direct} | {"enhancelib", "tools"}
    files = list((root / folder).rglob("*.py"))
    names = set().union(*(imported(path.read_text()) for path in files))
    places = [root / "tools", root / "jupyter_book/_ext"]
    ours = {path.stem for path in (*files, *(each for at in places for each in at.rglob("*.py")))}
    for name in names - set(sys.stdlib_module_names) - ours - APART:
        assert canonicalize_name(PACKAGE_OF.get(name, name)) in declared, f"{folder}: {name}"


def test_codespace_uses_the_environment_of_the_image(root):
    setup = json.loads((root / ".devcontainer/devcontainer.json").read_text())
    dockerfile = (root / ".devcontainer" / setup["build"]["dockerfile"]).read_text()
    (workdir,) = re.findall(r"^WORKDIR (\S+)$", dockerfile, re.MULTILINE)
    assert setup["containerEnv"]["ENHANCELIB_VENV"] == f"{workdir}/.venv"
    assert f"useradd --create-home {setup['remoteUser']} " in dockerfile


def test_binder_installs_what_requirements_name(root):
    lines = (root / ".binder/requirements.txt").read_text().splitlines()
    assert "-r ../requirements.txt" in lines
    assert os.access(root / ".binder/postBuild", os.X_OK)


def test_what_make_runs_keeps_compiled_code(root):
    """Whatever the shell says: uv leaves packages uncompiled, and some take seconds to compile."""
    shown = subprocess.run(
        ["make", "--no-print-directory", "--eval", "shown: ; @env", "shown"],
        cwd=root,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "PYTHONPATH=" in shown
    assert "PYTHONDONTWRITEBYTECODE" not in shown
