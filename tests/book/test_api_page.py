"""The library reference: the names of conditions are on it, and no sentence is torn apart."""

import ast
import re

from conftest import ROOT
from sphinx.ext.napoleon import Config, GoogleDocstring

import enhancelib
from enhancelib.degrade.encoders import CODECS
from tools.dev import api_page


def test_the_names_of_conditions_are_on_the_page():
    page = api_page.section("degrade.codecs", ["degrade"])
    for name in ("msbc", "sbc-53-adaptive-10pct", "mp3-24@22050hz", "clip-6db", "old-recording"):
        assert f"``{name}``" in page
    for name in CODECS:
        told = f"``{name}``" in page or f"``{name}-" in page
        assert told, f"{name}: add a row to the table on top of enhancelib/degrade/codecs.py"


def test_every_room_has_a_page_that_the_book_lists(tmp_path, root):
    api_page.main(tmp_path / "reference")
    written = {path.stem for path in (tmp_path / "reference").glob("*.md")}
    contents = (root / "jupyter_book" / "_toc.yml").read_text()
    assert written == set(re.findall(r"file: reference/(\w+)", contents))
    rooms = {path.parent.name for path in (root / "enhancelib").glob("*/__init__.py")}
    assert written == rooms - {"cli"} | {"api", "base"}
    overview = (tmp_path / "reference" / "api.md").read_text()
    for room in written - {"api"}:
        assert f"]({room}.md)" in overview


def test_the_overview_says_a_sentence_of_every_public_name():
    said = {name: api_page.sentence(name) for name in enhancelib.__all__ if name != "provenance"}
    assert [name for name, text in said.items() if not text.endswith((".", "``"))] == []
    listed = re.findall(r"`~enhancelib\.(?:\w+\.)?(\w+)`", api_page.overview())
    assert sorted(said) == sorted(listed)


def torn(path):
    """Functions of a module whose "Returns" napoleon splits at a colon into type and text."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            docstring = GoogleDocstring(ast.get_docstring(node) or "", Config())
            if any(line.startswith(":rtype:") for line in docstring.lines()):
                yield f"{path.name}: {node.name}"


def test_what_a_function_returns_is_told_in_whole_sentences():
    assert [name for path in ROOT.glob("enhancelib/**/*.py") for name in torn(path)] == []


FRAGMENT = re.compile(r"(Of|Whose|In|With|As (?!:))\b|As it stands")
"""How a first line begins that says nothing without the name above it."""


def documented(path):
    """Name and docstring of every function and class of a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield f"{path.name}: {node.name}", ast.get_docstring(node) or ""


def test_docstrings_begin_with_a_sentence_and_arguments_in_lower_case():
    found = [entry for path in ROOT.glob("enhancelib/**/*.py") for entry in documented(path)]
    assert len(found) > 500
    assert [name for name, text in found if FRAGMENT.match(text)] == []
    assert [name for name, text in found if re.search(r"^    \w+: An? ", text, re.M)] == []
