"""Chapters: their form, the machinery that runs them, and each of them for real (smoke profile)."""

import ast
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import jupytext
import nbformat
import pandas
import pytest
import yaml
from conftest import PATIENCE_S, ROOT

import enhancelib as el

SOURCES = sorted((ROOT / "notebooks").glob("[0-9]*.py"))
CHAPTERS = [source.stem for source in SOURCES]
COMMON = {"run_dir": "data/runs/default", "figures_dir": "figures", "seed": 0}
EXECUTED = ROOT / "data" / "runs" / "smoke" / "notebooks"
LONGEST_CELL = 15
REPEATED_UNTIL = {
    "10_edge_optimization": "## Fewer weights",  # what follows trains, converts and times
    "11_mobile_benchmarking": "## Time and memory",  # no time comes out twice
}
"""Where the second run of a chapter ends; all others are run to their end."""
VARIES = r"""
[addresses]
regex: at 0x[0-9a-f]+
replace: at 0x
[names of styled tables]
regex: T_[0-9a-f]{5}
replace: T_
"""
TINY = """\
# %% [markdown]
# # Tiny

# %% tags=["parameters"]
n: int = 3  # a number

# %%
import os
assert n > 0, "n must be positive"
print("half", end="\\r", flush=True)
print(n, os.getcwd())
"""

each_chapter = pytest.mark.parametrize("source", SOURCES, ids=CHAPTERS)


def code_cells(source):
    return [cell for cell in jupytext.read(source).cells if cell.cell_type == "code"]


def run_python(*arguments, cwd=ROOT, **environment):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_files_book_and_titles_number_the_chapters_alike():
    toc = yaml.safe_load((ROOT / "jupyter_book" / "_toc.yml").read_text())
    files = [page["file"] for part in toc["parts"] for page in part["chapters"]]
    listed = [file.removeprefix("notebooks/") for file in files if file.startswith("notebooks/")]
    assert listed == CHAPTERS
    numbers = [f"{number:02d}" for number in range(1, 12)]
    assert [name.split("_")[0] for name in CHAPTERS] == numbers
    titles = [jupytext.read(source).cells[0].source.splitlines()[0] for source in SOURCES]
    assert [title.split(" · ")[0] for title in titles] == [f"# {number}" for number in numbers]


def test_make_names_an_unknown_profile_before_it_touches_anything():
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "book", "PROFILE=smok"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "no profile 'smok': use one of default full smoke" in done.stderr


def test_the_five_steps_name_the_parts_of_the_book():
    toc = yaml.safe_load((ROOT / "jupyter_book" / "_toc.yml").read_text())
    captions = [part["caption"].split(":")[0] for part in toc["parts"]]
    steps = ["Data synthesis", "Training", "Spectral evaluation"]
    assert captions[:5] == [*steps, "Edge optimization", "Mobile benchmarking"]


@each_chapter
def test_figures_bear_the_number_of_their_chapter(source):
    saved = re.findall(r'save_figure\([^"]*"(\w+)', source.read_text())
    assert all(name.startswith(source.stem[:3]) for name in saved), saved


@each_chapter
def test_every_exercise_has_a_folded_solution(source):
    text = source.read_text().split("# ## Exercises")[1]
    exercises = re.split(r"(?m)^# \*\*\d\. ", text)[1:]
    assert exercises
    assert all(exercise.count("# ```{dropdown} Solution\n") == 1 for exercise in exercises)


def test_every_part_has_a_quiz_whose_answers_explain_themselves():
    toc = yaml.safe_load((ROOT / "jupyter_book" / "_toc.yml").read_text())
    places = set()
    for part in toc["parts"][:5]:
        names = [each["file"].removeprefix("notebooks/") for each in part["chapters"]]
        texts = [(ROOT / "notebooks" / f"{name}.py") for name in names if name in CHAPTERS]
        (quiz,) = [text for path in texts for text in path.read_text().split("# ## Quiz")[1:]]
        questions = re.split(r"(?m)^# \*\*\d\. ", quiz.split("# %%")[0])[1:]
        assert len(questions) == 3, part["caption"]
        for question in questions:
            answers = re.findall(r"(?m)^# ```\{dropdown\} .+\n# (Yes|No)\. ", question)
            assert len(answers) == question.count("{dropdown}") == 3, question
            assert sorted(answers) == ["No", "No", "Yes"], question
            places.add(answers.index("Yes"))
    assert places == {0, 1, 2}


def test_a_chapter_runs_after_those_whose_files_it_reads():
    """Where a chapter speaks of what another one made, make knows it, directly or by others."""
    rules = subprocess.run(
        ["make", "-np", "PROFILE=smoke", "chapters"],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")},
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    place = "data/runs/smoke/notebooks/"
    waits = {
        made: set(re.findall(rf"{place}(\w+)\.ipynb", needs))
        for made, needs in re.findall(rf"(?m)^{place}(\w+)\.ipynb:(.*)$", rules)
    }
    assert set(waits) == set(CHAPTERS)
    for _ in CHAPTERS:
        waits = {name: needs.union(*(waits[n] for n in needs)) for name, needs in waits.items()}
    by_number = {name.split("_")[0]: name for name in CHAPTERS}
    for source in SOURCES:
        read = re.findall(r"chapter (\d\d)(?:_\w+)? (?:trained|measured)", source.read_text())
        read += re.findall(r"run chapter (\d\d)_", source.read_text())
        assert {by_number[n] for n in read} <= waits[source.stem] | {source.stem}, source.stem


def test_every_notebook_is_its_sources_pair_without_outputs():
    done = run_python("-m", "tools.dev.pair", "--check")
    assert done.returncode == 0, done.stderr
    for source in SOURCES:
        cells = nbformat.read(source.with_suffix(".ipynb"), as_version=4).cells
        here = [(c.cell_type, c.source, c.metadata.get("tags")) for c in cells]
        there = jupytext.read(source).cells
        assert here == [(c.cell_type, c.source, c.metadata.get("tags")) for c in there]
        assert not any(c.get("outputs") or c.get("execution_count") for c in cells)


@each_chapter
def test_parameters_are_typed_commented_scalars(source):
    parameters = code_cells(source)[0]
    assert "parameters" in parameters.metadata.get("tags", [])
    found = {}
    for node in ast.parse(parameters.source).body:
        assert isinstance(node, ast.AnnAssign), ast.unparse(node)
        assert node.annotation.id in ("int", "float", "str", "bool"), ast.unparse(node)
        assert "#" in parameters.source.splitlines()[node.lineno - 1], ast.unparse(node)
        found[node.target.id] = ast.literal_eval(node.value)
    assert COMMON.items() <= found.items()


def faults_of(code: str) -> list[str]:
    """What a code cell does that the chapters' habits forbid."""
    found = []
    if len([line for line in code.splitlines() if line.strip()]) > LONGEST_CELL:
        found.append(f"more than {LONGEST_CELL} lines")
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ClassDef):
            found.append(f"defines class {node.name}")
        if isinstance(node, ast.ImportFrom) and node.module.startswith("enhancelib"):
            found.append(f"imports from {node.module}: use el.<name>")
        private = isinstance(node, ast.Attribute) and node.attr.startswith("_")
        if private and not node.attr.startswith("_repr_"):  # IPython's display protocol
            found.append(f"private name {ast.unparse(node)}")
    return found


@each_chapter
def test_code_is_short_explained_and_public(source):
    cells = jupytext.read(source).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    faults, in_a_row = [], 0
    for cell in cells:
        in_a_row = in_a_row + 1 if cell.cell_type == "code" else 0
        if in_a_row and "parameters" not in cell.metadata.get("tags", []):  # of those, any number
            found = faults_of(cell.source)
            if in_a_row > 2:  # a computation and its picture are one step
                found.append("no sentence before the third code cell")
            faults += [f"{fault}: {cell.source.splitlines()[0]}" for fault in found]
    assert not faults, "\n".join(faults)


def test_no_function_is_defined_in_two_chapters():
    names = [
        node.name
        for source in SOURCES
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    assert len(names) == len(set(names)), sorted(names)


@pytest.mark.parametrize("profile", ["smoke", "default", "full"])
def test_profiles_name_real_chapters_and_parameters(profile):
    table = yaml.safe_load((ROOT / "notebooks" / "profiles" / f"{profile}.yaml").read_text()) or {}
    assert set(table) <= {"all", *CHAPTERS}
    known = {
        source.stem: {node.target.id for node in ast.parse(code_cells(source)[0].source).body}
        for source in SOURCES
    }
    for chapter in CHAPTERS:
        given = {**table.get("all", {}), **table.get(chapter, {})}
        assert set(given) <= known[chapter], chapter


def run_choices(source, scope: dict) -> None:
    """Run the statements of a chapter that choose pieces, and those that make what they need."""
    parameters, *cells = code_cells(source)
    exec(parameters.source, scope)
    statements = [statement for cell in cells for statement in ast.parse(cell.source).body]
    wanted, needed = [], set()
    for statement in reversed(statements):
        names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
        stored = {name.id for name in names if isinstance(name.ctx, ast.Store)}
        made = stored if isinstance(statement, ast.Assign) else set()
        if made & needed or "el.choose_pieces(" in ast.unparse(statement):
            wanted.insert(0, statement)
            needed = (needed - made) | {name.id for name in names} - stored - set(scope)
    exec(compile(ast.Module(wanted, []), source.name, "exec"), scope)


def test_the_default_profile_plays_a_dozen_different_pieces(monkeypatch):
    """Of different groups, most of them songs, voices or instruments that play for a while."""
    monkeypatch.chdir(ROOT)
    everything = el.list_pieces("data/excerpts")
    pairs = pandas.DataFrame({"piece": [piece.name for piece in everything], "channels": 2})
    choose, groups = el.choose_pieces, {}

    def noted(*given, **how):
        chosen = choose(*given, **how)
        groups[source.stem] |= {piece.group for piece in chosen}
        return chosen

    monkeypatch.setattr(el, "choose_pieces", noted)
    for source in SOURCES:
        groups[source.stem] = set()
        run_choices(source, {"el": el, "Path": Path, "pairs": pairs})
    assert all(groups.values()), groups
    assert len(groups["05_measuring"]) >= 5
    assert not groups["04_training"] & groups["11_mobile_benchmarking"]
    used = set.union(*groups.values())
    assert len(used) >= 12, used
    music = ("lmms", "voice", "drums", "rendered", "recorded", "freedoom1")
    assert sum(group.startswith(music) for group in used) >= 10, used


def statements_for(source, names: set[str], given: dict) -> ast.Module:
    """The statements of a chapter that make these names, and what they need, from what is given."""
    cells = code_cells(source)[1:]
    statements = [statement for cell in cells for statement in ast.parse(cell.source).body]
    wanted, needed = [], set(names)
    for statement in reversed(statements):
        found = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
        stored = {name.id for name in found if isinstance(name.ctx, ast.Store)}
        if stored & needed:
            wanted.insert(0, statement)
            needed -= stored if isinstance(statement, ast.Assign) else set()
            needed |= {name.id for name in found} - stored - set(given)
    return ast.Module(wanted, [])


def test_formats_that_cannot_be_quantised_are_refused():
    source = next(path for path in SOURCES if path.stem.startswith("10"))
    (cell,) = [cell for cell in code_cells(source) if "which can be quantised" in cell.source]
    statements = ast.parse(cell.source).body
    (check,) = [statement for statement in statements if isinstance(statement, ast.If)]
    before = statements_for(source, {"kinds"}, {"formats": ""})
    code = compile(ast.Module([*before.body, check], []), source.name, "exec")
    with pytest.raises(el.EnhanceError, match="formats='torchscript': name onnx or tflite"):
        exec(code, {"formats": "torchscript", "el": el})


@pytest.fixture
def tiny(tmp_path):
    """A chapter of two cells, and how to run it."""
    (tmp_path / "tiny.py").write_text(TINY)

    def run(*arguments):
        return run_python("-m", "tools.dev.run_chapter", tmp_path / "tiny.py", output, *arguments)

    output = tmp_path / "out.ipynb"
    return run, output


def test_chapter_runs_from_the_root_with_parameters(tiny):
    run, output = tiny
    done = run("-p", "n", "5")
    assert done.returncode == 0, done.stderr
    assert nbformat.read(output, as_version=4).cells[-1].outputs[0].text == f"5 {ROOT}\n"
    assert [path.name for path in output.parent.glob("*.ipynb")] == ["out.ipynb"]


def test_failed_chapter_shows_its_error_and_leaves_no_output(tiny):
    run, output = tiny
    assert run().returncode == 0
    done = run("-p", "n", "0")
    assert done.returncode == 1
    assert "AssertionError" in done.stderr
    assert "n must be positive" in done.stderr
    assert "failed.ipynb" in done.stderr.splitlines()[-1]
    assert not output.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "m", "5"], "error: tiny has no parameter 'm': it has n\n"),
        (["--profile", "smok"], "error: no profile 'smok': use one of default, full, smoke\n"),
        (["--profile", "smoke"], "error: tiny has no parameter 'figures_dir': it has n\n"),
    ],
)
def test_unknown_names_are_one_line_errors(tiny, arguments, message):
    run, output = tiny
    output.write_text("an earlier run")
    done = run(*arguments)
    assert done.returncode == 1
    assert done.stderr == message
    assert [path.name for path in output.parent.iterdir() if "out" in path.name] == [output.name]
    assert output.read_text() == "an earlier run"


@each_chapter
def test_chapter_executes_with_the_smoke_profile(make, source):
    executed = EXECUTED / f"{source.stem}.ipynb"
    assert make("PROFILE=smoke", str(executed.relative_to(ROOT))).returncode == 0
    notebook = nbformat.read(executed, as_version=4)
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error", output
            if output.output_type == "stream":
                assert "Warning" not in output.text, output.text


def wait_until_made(executed: Path) -> None:
    """Another process may still be running chapters, on the pairs that this one would make anew."""
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    paths = [executed] if alone else [EXECUTED / f"{name}.ipynb" for name in CHAPTERS]
    question = ["make", "--question", "PROFILE=smoke", *(str(p.relative_to(ROOT)) for p in paths)]
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    deadline = time.monotonic() + 5 * PATIENCE_S
    while subprocess.run(question, cwd=ROOT, env=environment, check=False).returncode:
        assert time.monotonic() < deadline, f"{executed} was not made"
        time.sleep(1)


@each_chapter
def test_every_player_and_blind_test_names_what_it_plays(source):
    """A reader finds it in the credits; so do those who made it."""
    names = {path.stem for path in (ROOT / "data/excerpts").glob("*.flac")}
    notebook = nbformat.read(EXECUTED / f"{source.stem}.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pages = [output.get("data", {}).get("text/html", "") for output in outputs]
    players = [page for page in pages if "el-root" in page]
    assert players
    for page in players:
        assert any(name in page for name in names), page[:300]


@each_chapter
def test_executed_chapter_repeats_itself_under_nbval(source, tmp_path):
    """Every output comes out again, but for random names and what meters of progress write."""
    executed = EXECUTED / f"{source.stem}.ipynb"
    wait_until_made(executed)
    notebook = nbformat.read(executed, as_version=4)
    end = REPEATED_UNTIL.get(source.stem)
    if end:
        firsts = [cell.source.partition("\n")[0] for cell in notebook.cells]
        notebook.cells = notebook.cells[: firsts.index(end)]
    for cell in notebook.cells:
        if {output.get("name") for output in cell.get("outputs", [])} == {"stderr"}:
            cell.metadata.setdefault("tags", []).append("nbval-ignore-output")
    # nbval starts in the notebook's folder; chapters run from the root.
    here = nbformat.v4.new_code_cell(f"import os\nos.chdir({str(ROOT)!r})")
    notebook.cells.insert(0, here)
    copy = tmp_path / f"{source.stem}.ipynb"
    nbformat.write(notebook, copy)
    (tmp_path / "sanitize.cfg").write_text(VARIES)
    done = run_python(
        *("-m", "pytest", "--nbval", "--nbval-current-env", "-p", "no:cacheprovider"),
        *("--nbval-sanitize-with", tmp_path / "sanitize.cfg", "--color=no"),
        *("--rootdir", tmp_path, "-c", os.devnull, copy),
        cwd=tmp_path,
        ENHANCELIB_AUDIO_DIR=str(tmp_path / "listen"),
    )
    assert done.returncode == 0, done.stdout
