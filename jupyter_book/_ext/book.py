"""The book's own Sphinx extension: equations, captions, glossary, minus signs, light pages.

MathML is what browsers display by themselves, so that no script is needed, ours or another site's.
"""

import json
import re
from pathlib import Path

import yaml
from docutils import nodes
from docutils.nodes import document
from latex2mathml.converter import convert
from PIL import Image
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.writers.html5 import HTML5Translator


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    """An equation within a sentence."""
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """An equation on a line of its own; a narrow screen scrolls it sideways, also by keys."""
    self.body.append(self.starttag(node, "div", CLASS="math-block", tabindex="0"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({node["number"]})</span>')
    self.body.append(convert(node.astext(), display="block"))
    self.body.append("</div>\n")
    raise nodes.SkipNode


def set_theme_options(app: Sphinx, config: Config) -> None:
    """Title, search, light and dark; source and launch links only if the repository is named."""
    options = config.html_theme_options
    options["logo"] = {"text": config.html_title}
    options["navbar_persistent"] = []  # the search field stands in the sidebar
    config.html_context.setdefault("default_mode", "auto")  # light or dark as the reader's system
    if options.get("repository_url"):
        options["use_repository_button"] = options["use_source_button"] = True
        options["launch_buttons"]["binderhub_url"] = "https://mybinder.org"


def caption_figures(app: Sphinx, docname: str, source: list[str]) -> None:
    """Number the figures of a chapter: caption and alternative text are those of captions.yml.

    A figure is known by the name under which its cell saves it; `01_room` is referred to as
    {numref}`fig-01-room`.
    """
    path = Path(app.srcdir) / "captions.yml"
    if not docname.startswith("notebooks/") or not path.exists():
        return
    captions = yaml.safe_load(path.read_text())
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        found = re.search(r'save_figure\([^"]*"(\w+)', "".join(cell["source"]))
        if cell["cell_type"] == "code" and found and found[1] in captions:
            texts = captions[found[1]]
            label = "fig-" + found[1].replace("_", "-")
            cell["metadata"]["mystnb"] = {
                "figure": {"name": label, "caption": texts["caption"]},
                "image": {"alt": texts["alt"]},
            }
    source[0] = json.dumps(notebook)


ORDINARY = {"fill", "group", "harm", "kind", "mask", "split", "transparent", "wave"}
"""Terms of the glossary that are plain words as well: they are meant where they are emphasized."""
GENERATED = "reference/"
"""Pages that are written from docstrings."""


def read_glossary(app: Sphinx) -> dict[str, tuple[str, str, str]]:
    """Of each term: its page, its place on that page, and what the glossary says about it."""
    places = app.env.get_domain("std").objects
    terms = {name: place for (kind, name), place in places.items() if kind == "term"}
    said = {}
    for page in {page for page, _ in terms.values()}:
        for entry in app.env.get_doctree(page).findall(nodes.definition_list_item):
            text = " ".join(entry.children[-1].astext().split())
            said |= {term.astext(): text for term in entry.findall(nodes.term)}
    return {name: (*place, said.get(name, "")) for name, place in terms.items()}


def link_terms(app: Sphinx, tree: document, docname: str) -> None:
    """Link each term of the glossary where it first stands on a page, its meaning as a hint."""
    left = {name: found for name, found in read_glossary(app).items() if found[0] != docname}
    plain = (nodes.paragraph, nodes.emphasis, nodes.strong)
    if docname == "CHANGELOG" or docname.startswith(GENERATED) or not left:
        return
    names = "|".join(re.escape(name) for name in sorted(left, key=len, reverse=True))
    form = re.compile(rf"(?<![\w-])({names})s?(?![\w-])", re.IGNORECASE)
    for text in list(tree.findall(nodes.Text)):
        above = parents(text)
        depth = next((n for n, node in enumerate(above) if not isinstance(node, plain)), 0)
        in_prose = depth and isinstance(above[depth - 1], nodes.paragraph)
        if not in_prose or any(isinstance(node, nodes.table) for node in above):
            continue
        parts, end = [], 0
        for found in form.finditer(text):
            name = known_as(found[1], left)
            if name is None or (name in ORDINARY and depth == 1):
                continue
            page, place, hint = left.pop(name)
            uri = f"{app.builder.get_relative_uri(docname, page)}#{place}"
            link = nodes.reference("", found[0], internal=True, refuri=uri, reftitle=hint)
            link["classes"].append("el-term")
            parts += [nodes.Text(text[end : found.start()]), link]
            end = found.end()
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(text[end:])])


MINUS = "\N{MINUS SIGN}"
HYPHEN = re.compile(r"(?<![\w.+-])-(?=\d)")
"""A hyphen that stands for a minus: before a digit, and behind no word, sign or number."""
CELL = re.compile(r"(<t[dh]\b[^>]*>)([^<]*)(?=</t[dh]>)")


def write_minus(app: Sphinx, tree: document, docname: str) -> None:
    """Write negative numbers with a minus sign, in prose and in tables; code stays as it is."""
    code = (nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.raw)
    for text in list(tree.findall(nodes.Text)):
        if HYPHEN.search(text) and not any(isinstance(node, code) for node in parents(text)):
            text.parent.replace(text, nodes.Text(HYPHEN.sub(MINUS, text)))
    for raw in tree.findall(nodes.raw):
        if "<table" in raw.astext():
            html = CELL.sub(lambda cell: cell[1] + HYPHEN.sub(MINUS, cell[2]), raw.astext())
            raw[:] = [nodes.Text(TWO_HEADER_ROWS.sub(one_header_row, html))]


TWO_HEADER_ROWS = re.compile(
    r"(<thead>\s*<tr\b[^>]*>)(.*?)</tr>\s*<tr\b[^>]*>(.*?)(</tr>\s*</thead>)", re.DOTALL
)
HEADER_CELL = re.compile(r"<th\b[^>]*>(.*?)</th>", re.DOTALL)


def one_header_row(head: re.Match) -> str:
    """Two header rows of a table of pandas as one, where the second only names the index."""
    rows = [list(HEADER_CELL.finditer(row)) for row in (head[2], head[3])]
    blank = [[cell[1].strip() in ("", "&nbsp;") for cell in row] for row in rows]
    levels = sum(blank[0])
    names_only = blank[0] == [True] * levels + [False] * (len(rows[0]) - levels)
    if "span=" in head[0] or not names_only or blank[1] != [not each for each in blank[0]]:
        return head[0]
    cells = [cell[0] for cell in (*rows[1][:levels], *rows[0][levels:])]
    return head[1] + "".join(cells) + head[4]


def known_as(word: str, terms: dict) -> str | None:
    """The term that a word is, if it is one: a capital may begin it, others have to agree."""
    return next((name for name in (word, word[:1].lower() + word[1:]) if name in terms), None)


def parents(node: nodes.Node) -> list[nodes.Node]:
    """What a node stands in, from the inside out."""
    found = []
    while node.parent is not None:
        node = node.parent
        found.append(node)
    return found


def point_at_real_files(app: Sphinx, page: str, template: str, context: dict, *_: object) -> None:
    """Source links lead to files of the repository, launch links to chapters: nothing else runs."""
    chapter = page.startswith("notebooks/")
    source = f"{page}.py" if chapter else f"jupyter_book/{page}.md"
    if page == "CHANGELOG":
        source = "CHANGELOG.md"
    elif page.startswith(GENERATED):
        source = "tools/dev/api_page.py"
    for button in list(context.get("header_buttons", [])):
        if button.get("label") == "launch-buttons" and not chapter:
            context["header_buttons"].remove(button)
        for link in button.get("buttons", []):
            if link.get("label") == "source-file-button":
                place = page + context["page_source_suffix"]
                link["url"] = link["url"].replace(f"/{place}?", f"/{source}?")


def name_list_items(app: Sphinx, page: str, template: str, context: dict, *unused: object) -> None:
    """Make citations items of their list; docutils gives them a role that ARIA has withdrawn."""
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


ICON = re.compile(
    r'"?(?P<name>[\w-]+)"?:\[\d+,\d+,\[(?P<others>[^\]]*)\],"\w*",(?:"[^"]*"|\["[^\]]*\])\],?'
)
"""One icon in Font Awesome's script: name, size, other names, code point, outline."""


NAMELESS = '<summary><span class="toctree-toggle"'
NAMED = NAMELESS.replace("<summary>", '<summary aria-label="Pages of this part">')
"""What opens the pages under an entry of the contents; the theme gives it no name."""


def lighten(app: Sphinx, error: Exception | None) -> None:
    """Keep every page under 2 MB: of 2,000 icons those that are used, figures in 256 colours."""
    if error or app.builder.format != "html":
        return
    site = Path(app.outdir)
    script = site / "_static" / "scripts" / "fontawesome.js"
    users = [*site.rglob("*.html"), script.with_name("pydata-sphinx-theme.js")]
    used = {name for path in users for name in re.findall(r"\bfa-([\w-]+)", path.read_text())}

    def keep(icon: re.Match) -> str:
        names = {icon["name"], *re.findall(r"[\w-]+", icon["others"])}
        return icon[0] if names & used else ""

    script.write_text(ICON.sub(keep, script.read_text()))
    for path in site.rglob("*.html"):
        text = path.read_text()
        path.write_text(text.replace(NAMELESS, NAMED)) if NAMELESS in text else None
    for path in (site / "_images").glob("*.png"):
        smaller = path.with_suffix(".partial")
        few = Image.open(path).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
        few.save(smaller, "PNG", optimize=True)
        # Not by replacing(): a build that is cut off starts anew, and not all pictures shrink.
        smaller.replace(path) if smaller.stat().st_size < path.stat().st_size else smaller.unlink()


DEVICE_PAGE = """
<link rel="manifest" href="manifest.json">
<link rel="apple-touch-icon" href="icon.png">
<link rel="stylesheet" href="listening.css">
<link rel="stylesheet" href="device.css">
"""


def dress_device_page(
    app: Sphinx, page: str, template: str, context: dict, *unused: object
) -> None:
    """Make an app of the device page; tools/dev/device_page.py brings its files."""
    if page == "device/index":
        context["metatags"] += DEVICE_PAGE


def credit_makers(app: Sphinx, page: str, template: str, context: dict, *unused: object) -> None:
    """End every page with a link to those who made the music."""
    link = f'<a href="{context["pathto"]("credits")}">credits</a>.'
    context["theme_extra_footer"] = f"{context['theme_extra_footer']} {link}"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("config-inited", set_theme_options, priority=100)
    app.connect("source-read", caption_figures)
    app.connect("doctree-resolved", link_terms)
    app.connect("doctree-resolved", write_minus)
    app.connect("build-finished", lighten)
    app.connect("html-page-context", name_list_items)
    app.connect("html-page-context", point_at_real_files, priority=900)  # after the theme
    app.connect("html-page-context", dress_device_page)
    app.connect("html-page-context", credit_makers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
