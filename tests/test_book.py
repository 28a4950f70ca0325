"""The smoke book in a headless browser: whole, no request to another site, every player plays."""

import functools
import http.server
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urljoin

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import ROOT
from playwright.sync_api import sync_playwright

import enhancelib as el

SITE = "data/runs/smoke/_build"
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
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

    handler = functools.partial(Quiet, directory=html)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def chromium():
    """One browser for all pages."""
    found = subprocess.run(
        [sys.executable, "tools/browser.py"], cwd=ROOT, capture_output=True, text=True, check=False
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
    faults = []

    def check_request(request):
        if not request.url.startswith((address, "data:", "blob:")):
            faults.append(f"external request: {request.url}")

    def check_response(response):
        if response.status >= 400:
            faults.append(f"{response.status}: {response.url}")

    def check_console(message):
        if message.type in ("error", "warning"):
            faults.append(f"console: {message.text}")

    def open_it(name, **settings):
        page = chromium.new_context(**settings).new_page()
        page.on("request", check_request)
        page.on("response", check_response)
        page.on("requestfailed", lambda request: faults.append(f"failed: {request.url}"))
        page.on("console", check_console)
        page.on("pageerror", lambda error: faults.append(f"script: {error}"))
        page.goto(urljoin(address, name), wait_until="networkidle")
        return page

    yield open_it
    for context in chromium.contexts:
        context.close()
    assert not faults


def pages(html: Path) -> list[str]:
    found = [str(path.relative_to(html)) for path in html.rglob("*.html")]
    return sorted(name for name in found if not name.startswith("_static/"))


def test_every_page_is_whole(html, open_page):
    for name in pages(html):
        page = open_page(name)
        assert page.title(), name
        assert page.locator("link[rel='icon']").count() == 1, name
        blind = page.evaluate("[...document.images].filter(i => !i.hasAttribute('alt')).length")
        assert blind == 0, name
        broken = page.evaluate(
            "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
        )
        assert broken == [], name
        article = (
            page.locator("article").first.inner_text() if page.locator("article").count() else ""
        )
        assert "Traceback (most recent call last)" not in article, name
        assert not re.search(r"\b\w+(Error|Warning): ", article), name
        page.context.close()


def test_links_within_the_book_lead_somewhere(html):
    for name in pages(html):
        text = (html / name).read_text()
        for target in re.findall(r'<a[^>]* href="([^"#:?]+\.html)', text):
            assert (html / name).parent.joinpath(target).exists(), f"{name}: {target}"


def test_no_source_or_launch_link_while_the_repository_has_no_address(html):
    config = (ROOT / "jupyter_book" / "_config.yml").read_text()
    assert 'url: ""' in config
    for name in pages(html):
        text = (html / name).read_text()
        assert not re.search(r"btn-source|btn-launch|mybinder|executablebooks/jupyter-book", text)


def chapters(html: Path) -> list[str]:
    return [name for name in pages(html) if name.startswith("notebooks/")]


def test_every_player_plays_and_switches(html, open_page):
    assert len(chapters(html)) == 6
    for name in chapters(html):
        page = open_page(name)
        players = page.locator(".el-player")
        assert players.count() > 0, f"{name} has no player"
        for index in range(players.count()):
            plays_and_switches(page, players.nth(index))
        page.context.close()


def saved(test, path: Path) -> Path:
    """The CSV file that a blind test offers once it is done."""
    with test.page.expect_download() as download:
        test.locator("a.el-download").click()
    download.value.save_as(path)
    return path


def test_blind_tests_of_the_page_end_in_files_that_can_be_evaluated(open_page, tmp_path):
    page = open_page("notebooks/03_listening_test.html")

    def play(test):
        test.locator("[data-action=play]").click()
        page.wait_for_function("t => t.dataset.state === 'playing'", arg=test.element_handle())

    abx = page.locator(".el-abx").first
    abx.locator("[data-action=loop]").click()
    while not abx.locator("a.el-download").count():
        play(abx)
        abx.press("3")
        abx.press("a")
    answers = saved(abx, tmp_path / "abx.csv")
    result = el.abx_result(answers)
    assert f"{result.hits} of {result.trials} right" in abx.inner_text()

    mushra = page.locator(".el-mushra").first
    mushra.locator("[data-action=loop]").click()
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
    """Press play, go through all sources without a stop, pause."""

    def state(name):
        return player.get_attribute(f"data-{name}")

    def wait_for(name, value):
        handle = player.element_handle()
        page.wait_for_function(
            "([root, name, value]) => root.dataset[name] === value",
            arg=[handle, name, value],
            timeout=15_000,
        )

    def wait_beyond(seconds):
        page.wait_for_function(
            "([root, after]) => Number(root.dataset.position) > after",
            arg=[player.element_handle(), seconds],
            timeout=15_000,
        )

    play = player.locator('button[data-action="play"]')
    sources = player.locator("button[data-source]")
    assert sources.count() >= 2
    play.click()
    wait_for("state", "playing")
    wait_beyond(0.0)
    for source in range(sources.count()):
        before = float(state("position"))
        sources.nth(source).click()
        wait_for("active", str(source))
        if state("state") != "playing":  # the clip may have come to its end meanwhile
            play.click()
            before = 0.0
        wait_for("state", "playing")
        wait_beyond(before)
    play.click()
    wait_for("state", "paused")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_phone_in_light_and_dark(html, open_page, scheme):
    widths = {}
    for name in pages(html):
        page = open_page(name, viewport=PHONE, color_scheme=scheme)
        assert page.evaluate("document.documentElement.dataset.theme") == scheme, name
        widths[name] = page.evaluate("document.documentElement.scrollWidth")
        page.context.close()
    assert {name: width for name, width in widths.items() if width > PHONE["width"]} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_barrier_for_readers(html, open_page, scheme):
    """axe-core finds nothing serious: contrast, names of controls, order of headings, …"""
    only = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}  # the rest does not differ
    axe, barriers = Axe(), []
    for name in pages(html):
        page = open_page(name, color_scheme=scheme)
        for violation in axe.run(page, options={"preload": False, **only}).response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                barriers.append((name, violation["id"], violation["nodes"][0]["html"]))
        page.context.close()
    assert barriers == []


def test_reference_lists_every_public_name(html):
    import enhancelib as el

    text = (html / "reference" / "api.html").read_text()
    listed = set(re.findall(r'id="(?:module-)?enhancelib\.(?:\w+\.)?(\w+)"', text))
    assert set(el.__all__) <= listed


def build_tiny_book(folder, text, url=""):
    """Build a book of one page with our settings and the Makefile's options."""
    makefile = (ROOT / "Makefile").read_text()
    (options,) = re.findall(r"jupyter-book build .* (--all .*)", makefile)
    config = (ROOT / "jupyter_book" / "_config.yml").read_text()
    (folder / "_config.yml").write_text(config.replace('url: ""', f'url: "{url}"'))
    for name in ("_ext", "_static"):
        shutil.copytree(ROOT / "jupyter_book" / name, folder / name)
    shutil.copy(ROOT / "jupyter_book" / "references.bib", folder)
    (folder / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell("1 + 1")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, folder / "index.ipynb")
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
    done = build_tiny_book(tmp_path, "# Title", url="https://github.com/someone/something")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "_build" / "html" / "index.html").read_text()
    assert 'href="https://github.com/someone/something"' in text
    assert "https://mybinder.org/v2/gh/someone/something/main" in text


def test_equations_are_mathml_without_a_script(tmp_path):
    done = build_tiny_book(tmp_path, "# Title\n\n$$\\frac{1}{2}$$ (eq-half)\n\nSee {eq}`eq-half`.")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "_build" / "html" / "index.html").read_text()
    assert "<mfrac><mrow><mn>1</mn></mrow><mrow><mn>2</mn></mrow></mfrac>" in text
    assert 'href="#equation-eq-half"' in text
    assert not re.search(r"<script[^>]*mathjax", text, re.IGNORECASE)
