"""The library reference: the names of conditions are on it, and no sentence is torn apart."""

import ast
import re

from conftest import ROOT
from sphinx.ext.napoleon import Config, GoogleDocstring

from enhancelib.degrade.encoders import CODECS
from tools.dev import api_page


def test_the_names_of_conditions_are_on_the_page():
    page = api_page.section("degrade.codecs", ["degrade"])
    for name in ("msbc", "sbc-53-adaptive-10pct", "mp3-24@22050hz", "clip-6db", "old-recording"):
        assert f"``{name}``" in page
    for name in CODECS:
        told = f"``{name}``" in page or f"``{name}-" in page
        assert told, f"{name}: add a row to the table on top of enhancelib/degrade/codecs.py"


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
