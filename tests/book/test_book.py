"""The smoke book in a headless browser: whole, no request to another site, every player plays."""

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urljoin

import nbformat
import pandas
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from conftest import ROOT
from playwright.sync_api import sync_playwright

import enhancelib as el

SITE = "data/runs/smoke/_build"
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-audio-output",  # a sound server may be installed and not running
]
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def html(make) -> Path:
    """The built smoke book."""
    assert make("book", "PROFILE=smoke", f"SITE={SITE}").returncode == 0
    return ROOT / SITE / "html"


@pytest.fixture(scope="module")
def address(html) -> str:
    """The smoke book, served on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 64  # a browser asks for more at once than the usual 5

    handler = functools.partial(Quiet, directory=html)
    with Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def chromium():
    """One browser for all pages."""
    found = subprocess.run(
        [sys.executable, "-m", "tools.dev.browser"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    path = found.stdout.splitlines()[-1]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, address):
    """Open a page of the book; whatever goes wrong while it is open fails the test."""
    faults, running = [], set()

    def check_request(request):
        running.add(request)
        if not request.url.startswith((address, "data:", "blob:")):
            faults.append(f"external request: {request.url}")

    def check_response(response):
        if response.status >= 400:
            faults.append(f"{response.status}: {response.url}")

    def check_failed(request):
        running.discard(request)
        if request.failure != "net::ERR_ABORTED":  # cut off, since the test left the page
            faults.append(f"failed: {request.url}: {request.failure}")

    def check_console(message):
        if message.type in ("error", "warning"):
            faults.append(f"console: {message.text}")

    def open_it(name, **settings):
        page = chromium.new_context(**settings).new_page()
        page.on("request", check_request)
        page.on("response", check_response)
        page.on("requestfinished", lambda request: running.discard(request))
        page.on("requestfailed", check_failed)
        page.on("console", check_console)
        page.on("pageerror", lambda error: faults.append(f"script: {error}"))
        page.goto(urljoin(address, name), wait_until="networkidle")
        return page

    def all_loaded(page):
        """Wait until nothing is on its way: going to another page would cut it off."""
        for _ in range(400):
            if not running:
                return
            page.wait_for_timeout(50)
        raise AssertionError(f"still loading: {[request.url for request in running]}")

    open_it.all_loaded = all_loaded
    yield open_it
    for context in chromium.contexts:
        context.close()
    assert not faults


def pages(html: Path) -> list[str]:
    found = [str(path.relative_to(html)) for path in html.rglob("*.html")]
    return sorted(name for name in found if not name.startswith("_static/"))


VIEWS = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"color_scheme": "light", "viewport": PHONE},
}
HEAVIEST = 2_000_000  # bytes of a page, without the audio, which loads when it is played
# Contrast costs most: not on the phone, whose colours are those of the light view; and in the dark
# nothing else differs. Code has the same colours in chapters as in the guides.
AXE = {
    "light": {},
    "dark": {"runOnly": ["color-contrast"]},
    "phone": {"rules": {"color-contrast": {"enabled": False}}},
}
LEFT_OUT = {
    "notebooks/": [".cell_input"],
    # Generated in one form: the first entry stands for those beside it, which are not looked at.
    "reference/": ["dl.py ~ dl.py"],
}
SETTLED = """() => document.readyState === "complete"
  && !document.querySelector(".el-root:not([data-state])")
  && [...document.images].every((image) => image.complete)"""
FACTS = """() => ({
  title: document.title,
  icons: document.querySelectorAll("link[rel=icon]").length,
  unnamed: [...document.images].filter((i) => !i.hasAttribute("alt") || /\\.(png|svg)$/.test(i.alt))
    .map((i) => i.src),
  // A player's pictures have no address before they are wanted.
  broken: [...document.images].filter((i) => i.src && !i.naturalWidth).map((i) => i.src),
  text: document.querySelector("article")?.innerText ?? "",
  theme: document.documentElement.dataset.theme,
  width: document.documentElement.scrollWidth,
  wide: [...document.querySelectorAll("article table")]
    .filter((t) => t.scrollWidth > t.closest(".output, section, article").clientWidth + 1)
    .map((t) => t.innerText.slice(0, 60)),
  bytes: performance.getEntries().reduce((sum, entry) => sum + (entry.encodedBodySize || 0), 0),
})"""


@pytest.mark.parametrize("view", VIEWS)
def test_every_page_is_whole_and_open_to_all(html, open_page, view):
    """No console error, failed or foreign request, broken image, axe violation or overflow."""
    axe, faults, page = Axe(), [], open_page("index.html", **VIEWS[view])
    # What passes need not be described, which takes half of the time.
    options = {"preload": False, "resultTypes": ["violations"], **AXE[view]}
    for name in pages(html):
        page.goto(urljoin(page.url, "/" + name))
        page.wait_for_function(SETTLED)
        open_page.all_loaded(page)
        facts = page.evaluate(FACTS)
        wrong = {
            "title": not facts["title"] or facts["icons"] != 1,
            "image without a text": facts["unnamed"],
            "broken image": facts["broken"],
            "error in the text": re.search(
                r"Traceback \(most recent|\b\w+(Error|Warning): ", facts["text"]
            ),
            "theme": facts["theme"] != VIEWS[view]["color_scheme"],
            "wider than the window": facts["width"] > page.viewport_size["width"],
            "table wider than its column": view != "phone" and facts["wide"],
            "heavier than 2 MB": facts["bytes"] > HEAVIEST and facts["bytes"],
        }
        faults += [(name, what, why) for what, why in wrong.items() if why]
        context = {"exclude": LEFT_OUT.get(re.match(r"\w*/?", name)[0], [])}
        for violation in axe.run(page, context, options).response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                faults.append((name, violation["id"], violation["nodes"][0]["html"]))
    assert faults == []


def test_links_within_the_book_lead_somewhere(html):
    """To a page that is there, and to a place on it."""
    texts = {name: (html / name).read_text() for name in pages(html)}
    places = {name: set(re.findall(r'\bid="([^"]+)"', text)) for name, text in texts.items()}
    dead = []
    for name, text in texts.items():
        for link in re.findall(r'<a[^>]* href="([^"]+)"', text):
            target, _, place = unescape(link).partition("#")
            if re.match(r"\w+:", target) or "?" in target:
                continue
            path = os.path.normpath(os.path.join(os.path.dirname(name), target)) if target else name
            if path in places:
                dead += [(name, link)] * bool(place and unquote(place) not in places[path])
            else:
                dead += [(name, link)] * (not (html / path).exists())
    assert dead == []


def test_every_page_leads_to_the_credits_and_those_name_everybody(html):
    for name in pages(html):
        above = "../" * name.count("/")
        footer = re.search(
            r'<div class="extra_footer">(.*?)</div>', (html / name).read_text(), re.S
        )
        assert f'href="{above}credits.html"' in footer[1] or name == "credits.html", name
    text = unescape((html / "credits.html").read_text())
    for table in ("excerpts/index.csv", "devset.csv", "testset.csv"):
        rows = pandas.read_csv(ROOT / "data" / table)
        for column in ("author", "licence", "source"):
            assert [word for word in rows[column] if word not in plain(text)] == [], table
    for path in (ROOT / "tools/corpus").glob("*.csv"):
        corpus = pandas.read_csv(path).query("kind != 'signal'")
        for column in ("author", "licence"):
            assert [word for word in corpus[column] if word not in plain(text)] == []
    for found in re.findall(r"\bCC-BY(?:-SA)?-\d\.\d", text):
        _, _, *sharing, version = found.split("-")
        licence = "-".join(["by", *sharing]).lower()
        assert f'href="https://creativecommons.org/licenses/{licence}/{version}/' in text, found


def plain(text: str) -> str:
    """The words of a page, without its tags."""
    return re.sub(r"<[^>]+>", "", text)


def test_figures_are_numbered_and_described(html):
    """Every figure that a chapter saves has a caption and a text for those who cannot see it."""
    captions = yaml.safe_load((ROOT / "jupyter_book" / "captions.yml").read_text())
    sources = "".join(path.read_text() for path in (ROOT / "notebooks").glob("[0-9]*.py"))
    assert set(re.findall(r'save_figure\([^"]*"(\w+)', sources)) <= set(captions)
    texts = {name: (html / name).read_text() for name in pages(html)}
    numbers = []
    for name, text in texts.items():
        figures = re.findall(r"<figure.*?</figure>", text, re.DOTALL)
        for figure in figures:
            numbers.append(int(re.search(r'caption-number">Fig. (\d+) ', figure)[1]))
            assert len(re.search(r'alt="([^"]*)"', figure)[1]) > 40, (name, figure[:200])
        drawn = re.findall(r'<img[^>]*src="[^"]*_images/', text)
        assert len(drawn) == len(figures), f"{name}: an image without a caption"
    assert sorted(numbers) == list(range(1, len(numbers) + 1))


def test_search_finds_and_chapters_can_be_downloaded(html, open_page):
    page = open_page("search.html?q=bitpool")
    page.wait_for_selector("#search-results li")
    page.goto(urljoin(page.url, "/notebooks/01_data_synthesis.html"))
    link = page.locator("a.btn-download-source-button").get_attribute("href")
    path = html / "notebooks" / link
    cells = nbformat.reads(path.read_text(), as_version=4).cells
    assert "el.prepare(" in "".join(cell.source for cell in cells)


def test_hidden_cells_open_by_keyboard(open_page):
    page = open_page("notebooks/01_data_synthesis.html")
    hidden = page.locator("details", has_text="import enhancelib").first
    assert hidden.get_attribute("open") is None
    hidden.locator("summary").focus()
    page.keyboard.press("Enter")
    assert hidden.get_attribute("open") is not None


def test_no_source_or_launch_link_while_the_repository_has_no_address(html):
    config = (ROOT / "jupyter_book" / "_config.yml").read_text()
    assert 'url: ""' in config
    for name in pages(html):
        text = (html / name).read_text()
        assert not re.search(r"btn-source|btn-launch|mybinder|executablebooks/jupyter-book", text)


def test_every_player_plays_and_switches(html, open_page):
    heard = [name for name in pages(html) if "el-root el-player" in (html / name).read_text()]
    chapters = {name for name in pages(html) if name.startswith("notebooks/")}
    assert len(chapters) == len(list((ROOT / "notebooks").glob("[0-9]*.py")))
    assert {"index.html", "theory/phase.html", *chapters} <= set(heard)
    for name in heard:
        page = open_page(name)
        players = page.locator(".el-player")
        for index in range(players.count()):
            plays_and_switches(page, players.nth(index))
        page.context.close()


def test_the_landing_page_opens_with_two_buttons_and_music_on_the_first_screen(open_page):
    page = open_page("index.html", viewport={"width": 1280, "height": 800})
    first_screen = [
        page.get_by_role("link", name=text) for text in ("Try your music", "Read the course")
    ]
    play = page.locator(".el-gallery .el-player").first.locator("[data-action=play]")
    for each in (*first_screen, page.get_by_role("tab").first, play):
        box = each.bounding_box()
        assert box["y"] + box["height"] < 800
    assert page.get_by_role("tab").count() == 4
    play.click()
    page.wait_for_selector(".el-gallery .el-player[data-state=playing]")
    page.get_by_role("tab").last.click()  # goes on with what fails
    page.wait_for_selector(".el-panel:not([hidden]) .el-player[data-state=playing]")
    targets = [urljoin(page.url, link.get_attribute("href")) for link in first_screen]
    open_page.all_loaded(page)
    assert [target.rpartition("/")[2] for target in targets] == ["index.html", "codecs.html"]
    for target in targets:
        page.goto(target, wait_until="networkidle")
        open_page.all_loaded(page)
        assert page.locator("article h1").first.inner_text()


def test_the_charts_of_the_landing_page_keep_their_letters_on_a_phone(open_page):
    page = open_page("index.html", viewport=PHONE)
    texts = page.locator(".el-figures text")
    assert texts.count() > 20
    sizes = texts.evaluate_all("(all) => all.map((each) => each.getBoundingClientRect().height)")
    widths = texts.evaluate_all("(all) => all.map((each) => each.getBoundingClientRect().width)")
    assert min(map(min, zip(sizes, widths, strict=True))) >= 6  # a digit is narrow
    assert min(map(max, zip(sizes, widths, strict=True))) >= 9


def test_the_blind_test_of_three_minutes_ends_in_a_result_that_stays(open_page):
    page = open_page("listen.html")
    test = page.locator(".el-abx")
    test.locator("[data-action=play]").click()
    page.wait_for_selector(".el-abx[data-state=playing]")
    trials = []
    while not test.locator("a.el-download").count():
        trials.append(test.locator(".el-progress").inner_text())
        page.keyboard.press("x")
        page.keyboard.press("Shift+A")
    assert [trial.split(" of ")[0] for trial in trials[:3]] == [
        "Practice 1",
        "Practice 2",
        "Trial 1",
    ]
    assert trials[-1] == "Trial 8 of 8"
    hits = int(re.search(r"(\d) of 8 right", test.inner_text())[1])
    p = el.abx_result([True] * hits + [False] * (8 - hits)).p_value
    assert f"(p = {p:.3f})" in test.inner_text()
    assert test.locator(".el-guessers svg").is_visible()
    assert f"listen.html#abx=untreated-or-enhanced.{hits}.8" in test.locator(
        "a.el-share"
    ).get_attribute("href")
    open_page.all_loaded(page)
    page.reload()
    page.wait_for_selector(".el-abx[data-state]")
    assert f"{hits} of 8 right" in test.inner_text()


def saved(test, path: Path) -> Path:
    """The CSV file that a blind test offers once it is done."""
    with test.page.expect_download() as download:
        test.locator("a.el-download").click()
    download.value.save_as(path)
    return path


def test_blind_tests_of_the_page_end_in_files_that_can_be_evaluated(open_page, tmp_path):
    page = open_page("notebooks/09_listening_test.html")

    def play(test):
        test.locator("[data-action=play]").click()
        page.wait_for_function("t => t.dataset.state === 'playing'", arg=test.element_handle())

    abx = page.locator(".el-abx").first
    play(abx)
    while not abx.locator("a.el-download").count():
        abx.press("x")
        abx.press("Shift+A")
    answers = saved(abx, tmp_path / "abx.csv")
    result = el.abx_result(answers)
    assert f"{result.hits} of {result.trials} right" in abx.inner_text()

    mushra = page.locator(".el-mushra").first
    play(mushra)
    sliders = mushra.locator("input[type=range]")
    for version in range(sliders.count()):
        mushra.press(str(version + 1))
        sliders.nth(version).fill("95")
        sliders.nth(version).press("ArrowRight")
    mushra.locator("[data-action=finish]").click()
    rated = el.mushra_result([saved(mushra, tmp_path / "mushra.csv")])
    assert set(rated.scores) == {"reference", "low anchor", "lossy", "enhanced"}


def plays_and_switches(page, player):
    """Press play in a loop, go through all sources without a stop, pause."""

    def state(name):
        return player.get_attribute(f"data-{name}")

    def wait_for(name, value):
        handle = player.element_handle()
        page.wait_for_function(
            "([root, name, value]) => root.dataset[name] === value",
            arg=[handle, name, value],
            timeout=15_000,
        )

    def wait_for_motion():
        page.wait_for_function(
            "([root, before]) => Number(root.dataset.position) !== before",
            arg=[player.element_handle(), float(state("position"))],
            timeout=15_000,
        )

    panel = player.locator("xpath=ancestor::*[@role='tabpanel']")
    if panel.count():
        page.locator(f"#{panel.get_attribute('aria-labelledby')}").click()
    play = player.locator('button[data-action="play"]')
    loop = player.locator('button[data-action="loop"]')
    sources = player.locator("button[data-source]")
    assert sources.count() >= 2
    if (
        loop.get_attribute("aria-pressed") != "true"
    ):  # a clip that ends would stop on a slow machine
        loop.click()
    play.click()
    wait_for("state", "playing")
    wait_for_motion()
    for source in range(sources.count()):
        sources.nth(source).click()
        wait_for("active", str(source))
        assert state("state") == "playing"
        wait_for_motion()
    play.click()
    wait_for("state", "paused")


def test_reference_lists_every_public_name(html):
    import enhancelib as el

    pages = {path.stem: path.read_text() for path in (html / "reference").glob("*.html")}
    overview = pages.pop("api")
    listed = set(re.findall(r'href="\w+\.html#(?:module-)?enhancelib\.(?:\w+\.)?(\w+)"', overview))
    assert {*el.__all__} - {"provenance"} <= listed  # whose names are listed one by one
    described = re.findall(r'id="(?:module-)?enhancelib\.(?:\w+\.)?(\w+)"', "".join(pages.values()))
    assert set(el.__all__) <= {*described}


def build_tiny_book(folder, text, url=""):
    """Build a book of one page and one chapter with our settings and the Makefile's options."""
    makefile = (ROOT / "Makefile").read_text()
    (options,) = re.findall(r"jupyter-book build .* (--all .*)", makefile)
    config = (ROOT / "jupyter_book" / "_config.yml").read_text()
    (folder / "_config.yml").write_text(config.replace('url: ""', f'url: "{url}"'))
    for name in ("_ext", "_static"):
        shutil.copytree(ROOT / "jupyter_book" / name, folder / name)
    for name in ("references.bib", "captions.yml"):
        shutil.copy(ROOT / "jupyter_book" / name, folder)
    pages = ("theory/codecs", "notebooks/01_data_synthesis")
    listed = "".join(f"  - file: {name}\n" for name in pages)
    (folder / "_toc.yml").write_text(f"format: jb-book\nroot: index\nchapters:\n{listed}")
    for name in pages:
        (folder / name).parent.mkdir()
    (folder / "theory/codecs.md").write_text("# Codecs\n")
    for name, title in {"index": text, "notebooks/01_data_synthesis": "# Chapter"}.items():
        cells = [nbformat.v4.new_markdown_cell(title), nbformat.v4.new_code_cell("1 + 1")]
        notebook = nbformat.v4.new_notebook(cells=cells)
        notebook.metadata["language_info"] = {"name": "python"}
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(notebook, folder / f"{name}.ipynb")
    return subprocess.run(
        [Path(sys.executable).with_name("jupyter-book"), "build", folder, *options.split()],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_warning_stops_the_build(tmp_path):
    done = build_tiny_book(tmp_path, "# Title\n\nSee [nothing](nowhere.md).\n")
    assert done.returncode != 0
    assert "nowhere" in done.stderr + done.stdout


def test_source_and_launch_links_once_the_repository_has_an_address(tmp_path):
    """Each leads to a file of this repository; only chapters can be launched."""
    url = "https://github.com/someone/something"
    done = build_tiny_book(tmp_path, "# Title", url=url)
    assert done.returncode == 0, done.stderr
    launched = {}
    for page in ("index", "theory/codecs", "notebooks/01_data_synthesis"):
        text = unescape((tmp_path / "_build" / "html" / f"{page}.html").read_text())
        assert f'href="{url}"' in text
        (source,) = set(re.findall(rf"{url}/blob/main/([^\"?]+)", text))
        assert (ROOT / source).is_file()
        assert Path(source).stem == Path(page).stem
        launched[page] = set(
            re.findall(r"mybinder.org/v2/gh/[^\"]*urlpath=lab/tree/([^\"]+)", text)
        )
    assert launched.pop("notebooks/01_data_synthesis") == {"notebooks/01_data_synthesis.ipynb"}
    assert (ROOT / "notebooks/01_data_synthesis.ipynb").is_file()
    assert not any(launched.values())


def test_equations_are_mathml_without_a_script(tmp_path):
    done = build_tiny_book(tmp_path, "# Title\n\n$$\\frac{1}{2}$$ (eq-half)\n\nSee {eq}`eq-half`.")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "_build" / "html" / "index.html").read_text()
    assert "<mfrac><mrow><mn>1</mn></mrow><mrow><mn>2</mn></mrow></mfrac>" in text
    assert 'href="#equation-eq-half"' in text
    assert not re.search(r"<script[^>]*mathjax", text, re.IGNORECASE)


def pages_of_sphinx(folder, monkeypatch, step: str, **sources: str) -> dict[str, str]:
    """The HTML of pages in reStructuredText, by Sphinx alone with one step of the book's own."""
    monkeypatch.syspath_prepend(ROOT / "jupyter_book" / "_ext")
    (folder / "conf.py").write_text("html_theme = 'basic'\n")
    for name, text in sources.items():
        (folder / f"{name}.rst").write_text(text)
    import book
    from sphinx.application import Sphinx

    app = Sphinx(folder, folder, folder / "html", folder / "trees", "html", status=None)
    app.connect("doctree-resolved", getattr(book, step))
    app.build()
    return {name: (folder / "html" / f"{name}.html").read_text() for name in sources}


def test_terms_of_the_glossary_are_linked_where_they_first_stand(tmp_path, monkeypatch):
    """In prose alone, with what they mean; plain words only where they are emphasized."""
    index = (
        "Title\n=====\n\nA bin.\n\n.. toctree::\n\n   page\n\n.. glossary::\n\n   bin\n"
        "     One frequency of a frame.\n\n   kind\n     Song or speech.\n\n   SNR\n     A ratio.\n"
    )
    page = (
        "SNR\n===\n\nThe ``SNR``, a `bin <https://a.org>`_, snr, a cabin of this kind. Bins have "
        "an SNR, bins.\n\nA *kind* apart.\n"
    )
    pages = pages_of_sphinx(tmp_path, monkeypatch, "link_terms", index=index, page=page)
    home, text = pages["index"], pages["page"]
    link = r'<a class="[^"]*el-term[^"]*" href="([^"]+)" title="([^"]*)">([^<]+)</a>'
    assert not re.findall(link, home)
    assert re.findall(link, text) == [
        ("index.html#term-bin", "One frequency of a frame.", "Bins"),
        ("index.html#term-SNR", "A ratio.", "SNR"),
        ("index.html#term-kind", "Song or speech.", "kind"),
    ]


def test_negative_numbers_have_a_minus_sign_and_code_and_names_do_not(tmp_path, monkeypatch):
    index = (
        "Title\n=====\n\nFrom -3.5 to (-1), mp3-64 of 2026-11-28 at 1e-5, ``x = -2``.\n\n"
        "::\n\n   y = -4\n\n.. raw:: html\n\n   <table><tr><th>sbc-20</th><td>-0.7 → -0.1</td></tr>"
        "</table><script>z = -5</script>\n"
    )
    text = pages_of_sphinx(tmp_path, monkeypatch, "write_minus", index=index)["index"]
    assert "From −3.5 to (−1), mp3-64 of 2026-11-28 at 1e-5" in text
    assert "<th>sbc-20</th><td>−0.7 → −0.1</td>" in text
    assert "<script>z = -5</script>" in text
    code = re.sub(r"<[^>]+>", "", text)
    assert "x = -2" in code
    assert "y = -4" in code


@pytest.mark.parametrize("styled", [False, True])
def test_a_header_row_that_only_names_the_index_joins_the_other(monkeypatch, styled):
    monkeypatch.syspath_prepend(ROOT / "jupyter_book" / "_ext")
    import book

    def header(table: pandas.DataFrame) -> list[list[str]]:
        html = (table.style if styled else table).to_html()
        html = book.TWO_HEADER_ROWS.sub(book.one_header_row, html)
        rows = re.findall(r"<tr\b.*?</tr>", re.search(r"<thead>(.*?)</thead>", html, re.S)[1], re.S)
        return [re.findall(r"<th\b[^>]*>(.*?)</th>", row) for row in rows]

    table = pandas.DataFrame({"a": [1], "b": [2], "c": [3]}).set_index(["a", "b"])
    assert header(table) == [["a", "b", "c"]]
    assert len(header(table.reset_index(drop=True))) == 1
    named = table.rename_axis(columns="seconds")  # says what the figures are: it stays
    assert len(header(named)) == 2
    assert len(header(pandas.concat({"x": table}, axis=1))) == 3
