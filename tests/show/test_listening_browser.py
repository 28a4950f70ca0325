"""Players and blind tests in a real browser: what is heard, shown, pressed and fetched."""

import contextlib
import csv
import functools
import http.server
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import nbformat
import numpy as np
import pytest
from playwright.sync_api import TimeoutError as BrowserTimeoutError
from playwright.sync_api import expect, sync_playwright

import enhancelib as el

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-audio-output",  # a sound server may be installed and not running
    "--host-resolver-rules=MAP book.test 127.0.0.1",
]
RATE = 44100
TONES_HZ = (441, 1323, 3969)  # whole periods in 0.1 s: no jump at the seam of a loop
BACKGROUND = {"light": "#ffffff", "dark": "#121212"}
INK = {"light": "#222222", "dark": "#dddddd"}

# Records every sample that the engine sends to the loudspeaker, on the audio thread.
RECORD = """async (root) => {
  const { engine } = root;
  const code = `registerProcessor("recorder", class extends AudioWorkletProcessor {
    process([[channel]]) { if (channel) this.port.postMessage(channel.slice()); return true; }
  })`;
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  await engine.context.audioWorklet.addModule(url);
  const recorder = new AudioWorkletNode(engine.context, "recorder");
  root.heard = [];
  recorder.port.onmessage = ({ data }) => root.heard.push(...data);
  const { connect } = GainNode.prototype;
  GainNode.prototype.connect = function (node) {
    if (node === engine.context.destination) connect.call(this, recorder);
    return connect.call(this, node);
  };
  if (engine.voice) engine.voice.fade.connect(recorder);
}"""
BUSY = """(root) => {
  const { engine } = root;
  const level = engine.level.bind(engine);
  engine.level = (source) => {
    const end = performance.now() + 45;
    while (performance.now() < end);
    return level(source);
  };
}"""


def tone(frequency_hz: float, *, amplitude: float = 0.2, seconds: float = 2.0) -> np.ndarray:
    phase = 2 * np.pi * frequency_hz * np.arange(int(seconds * RATE)) / RATE
    return (amplitude * np.sin(phase)).astype(np.float32)[None]


def page_html(*comparisons, theme: str = "light", content_root: str = "") -> str:
    body = "\n".join(comparison.html() for comparison in comparisons)
    return (
        f'<!doctype html><html lang="en" data-theme="{theme}" data-content_root="{content_root}">'
        '<head><meta charset="utf-8"><link rel="icon" href="data:,"><title>Players</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>body{{background:{BACKGROUND[theme]};color:{INK[theme]};margin:8px}}</style></head>"
        f"<body><main><h1>Players</h1>{body}</main></body></html>"
    )


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that does not log."""

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def site(tmp_path):
    """Folder and address of a running web server."""
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(site, chromium):
    """Open comparisons in a page; fails at the end on console errors or requests elsewhere."""
    folder, address = site
    problems, requests, contexts = [], [], []

    def opener(*comparisons, theme="light", path="index.html", width=900, content_root=""):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page_html(*comparisons, theme=theme, content_root=content_root))
        context = chromium.new_context(viewport={"width": width, "height": 800})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("requestfailed", lambda request: problems.append(f"failed {request.url[:99]}"))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{address}/{path}")
        page.wait_for_selector(".el-root[data-state]")
        return page

    opener.requests = requests
    yield opener
    for context in contexts:
        context.close()
    assert problems == []
    assert [url for url in requests if not url.startswith((address, "data:", "blob:"))] == []


def tones_player(**options) -> el.Player:
    return el.Player(
        {name: tone(hz) for name, hz in zip(("low", "mid", "high"), TONES_HZ, strict=True)},
        sample_rate=RATE,
        title="Three tones",
        **options,
    )


def wait_for_state(root, state: str) -> None:
    root.page.wait_for_selector(f".el-root[data-state={state}]")


def position(root) -> float:
    return float(root.get_attribute("data-position"))


def record(root, action, *, milliseconds: int = 300) -> np.ndarray:
    """What is heard while an action is done, and so long after it, as samples."""
    root.evaluate("(root) => { root.heard = []; }")
    action()
    if root.get_attribute("data-state") == "playing":  # by the audio clock: the machine may be busy
        wanted = root.evaluate("(root) => root.heard.length") + milliseconds * RATE // 1000
        root.evaluate(
            """async (root, wanted) => {
              while (root.heard.length < wanted) await new Promise((go) => setTimeout(go, 20));
            }""",
            wanted,
        )
    else:
        root.page.wait_for_timeout(milliseconds)
    return np.array(root.evaluate("(root) => root.heard"), dtype=np.float32)


def strongest_hz(samples: np.ndarray) -> float:
    last = samples[-4096:] * np.hanning(4096)
    return float(np.argmax(np.abs(np.fft.rfft(last))) * RATE / 4096)


def start_recording(root) -> None:
    root.locator("[data-action=play]").click()
    wait_for_state(root, "playing")
    root.evaluate(RECORD)


def test_play_pause_and_switch_are_heard_at_matched_level(visit):
    player = tones_player()
    root = visit(player).locator(".el-player")
    assert root.get_attribute("data-state") == "paused"
    start_recording(root)
    for index, (hz, gain) in enumerate(zip(TONES_HZ, player.gains_db.values(), strict=True)):
        button = root.locator(f"button[data-source='{index}']")
        heard = record(root, button.click)
        assert strongest_hz(heard) == pytest.approx(hz, abs=12)
        blocks = heard[-8820:].reshape(20, 441)  # the seam of the loop may fall into one of them
        rms = np.median(np.sqrt(np.mean(blocks**2, axis=1)))
        assert rms == pytest.approx(0.2 / np.sqrt(2) * 10 ** (gain / 20), rel=0.02)
        assert root.get_attribute("data-active") == str(index)
        assert button.get_attribute("aria-pressed") == "true"
    before = position(root)
    root.locator("[data-action=play]").click()
    wait_for_state(root, "paused")
    assert position(root) != before
    heard = record(root, lambda: None)
    assert np.abs(heard[-4096:]).max(initial=0) < 1e-6


def test_every_sample_is_heard_as_it_is_stored(visit):
    """No resampling and no interpolation, wherever playing starts and at every turn of a loop."""
    wave = np.random.default_rng(5).integers(-8000, 8000, (1, RATE)).astype(np.float32) / 32768
    player = el.Player({"a": wave}, sample_rate=RATE, loudness_match=False)
    root = visit(player).locator(".el-player")
    start_recording(root)
    region = (0.2503217, 0.7011111)
    root.evaluate("(root, region) => root.engine.setLoop(true, region)", region)
    root.evaluate("(root) => root.engine.seek(0.33333)")
    root.page.wait_for_timeout(200)
    heard = record(root, lambda: None, milliseconds=1100)
    start, end = (round(edge * RATE) for edge in region)
    period = wave[0, start:end]
    expected = np.tile(period, 3)
    tail = heard[: len(period) + 20000]
    match = np.correlate(expected, tail[:4000], mode="valid")[: len(period)]
    aligned = expected[np.argmax(match) :][: len(tail)]
    wrong = np.abs(aligned - tail) > 2**-16  # half a step of 16 bits
    assert wrong.mean() < 0.03  # but for the dips of 12 ms that hide the seams of the loop
    assert np.abs(tail).max() > 0.2


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_no_click_at_start_switch_seek_loop_seam_or_pause(visit, busy):
    """A hard switch between opposite waves would jump by up to 0.8 from sample to sample.

    The busy machine gives each order 90 ms after it was asked for, and a source that begins late
    misses the dips at the seams of its loop.
    """
    wave = tone(44.1, amplitude=0.4)
    player = el.Player({"a": wave, "b": -wave}, sample_rate=RATE, loudness_match=False)
    root = visit(player).locator(".el-player")
    start_recording(root)
    if busy:
        root.evaluate(BUSY)

    def act():
        root.evaluate("(root) => root.engine.setLoop(true, [0.5, 0.737])")
        for _ in range(6):
            root.press("2")
            root.page.wait_for_timeout(53)
            root.press("1")
            root.page.wait_for_timeout(61)
        root.press("ArrowRight")
        root.page.wait_for_timeout(300)
        root.press("Space")

    heard = record(root, act, milliseconds=300)
    assert len(heard) > 0.8 * RATE
    assert np.abs(heard).max() > 0.35
    assert np.abs(np.diff(heard)).max() < 0.03


def test_position_survives_switching_and_follows_the_clock(visit):
    root = visit(tones_player()).locator(".el-player")
    root.locator("[data-action=play]").click()
    wait_for_state(root, "playing")
    result = root.evaluate(
        """async (root) => {
          const wait = (ms) => new Promise((done) => setTimeout(done, ms));
          const { engine } = root;
          const clock = () => engine.context.currentTime;
          await wait(200);
          const [at, time] = [engine.position, clock()];
          for (const source of [1, 2, 0, 1, 2]) { engine.select(source); await wait(60); }
          return [engine.position - at, clock() - time];
        }"""
    )
    assert result[0] == pytest.approx(result[1], abs=0.03)
    assert result[0] > 0.25


def test_loop_region_by_mouse_and_end_without_loop(visit):
    page = visit(tones_player())
    root = page.locator(".el-player")
    box = root.locator(".el-lane").bounding_box()
    x, y = (lambda share: box["x"] + share * box["width"]), box["y"] + 20
    page.mouse.move(x(0.5), y)
    page.mouse.down()
    page.mouse.move(x(0.6), y, steps=5)
    page.mouse.up()
    assert root.locator("[data-action=loop]").get_attribute("aria-pressed") == "true"
    assert root.locator(".el-clock").inner_text().endswith("loop 1.00–1.20 s")
    root.locator("[data-action=play]").click()
    wait_for_state(root, "playing")
    for _ in range(8):
        page.wait_for_timeout(70)
        assert 0.99 <= position(root) <= 1.21
    page.mouse.move(x(0.6), y)  # an edge can be moved
    page.mouse.down()
    page.mouse.move(x(0.7), y, steps=5)
    page.mouse.up()
    assert root.locator(".el-clock").inner_text().endswith("loop 1.00–1.40 s")
    root.press("Escape")
    root.press("l")
    page.mouse.click(x(0.9), y)
    assert position(root) == pytest.approx(1.8, abs=0.1)
    wait_for_state(root, "paused")
    assert position(root) == 0


def test_keyboard(visit):
    page = visit(tones_player())
    root = page.locator(".el-player")
    page.keyboard.press("Tab")
    assert root.locator("[data-action=play]").evaluate("(node) => node === document.activeElement")
    page.keyboard.press("Space")
    wait_for_state(root, "playing")
    page.keyboard.press("3")
    assert root.get_attribute("data-active") == "2"
    page.keyboard.press("4")
    assert root.get_attribute("data-active") == "2"
    for button in root.locator(".el-sources button[data-source]").all():
        page.keyboard.press(button.locator("kbd").inner_text())  # the number that it shows
        assert button.get_attribute("aria-pressed") == "true"
    assert "1–3 choose the version with that number" in root.locator(".el-hint").inner_text()
    loop = root.locator("[data-action=loop]")
    assert loop.get_attribute("aria-pressed") == "true"  # a short clip loops unasked
    page.keyboard.press("l")
    assert loop.get_attribute("aria-pressed") == "false"
    root.locator("button[data-source='0']").focus()
    page.keyboard.press("Space")  # on another source's button: choose it
    assert (root.get_attribute("data-active"), root.get_attribute("data-state")) == ("0", "playing")
    page.keyboard.press("Space")  # on the source that is heard: pause
    wait_for_state(root, "paused")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert position(root) == pytest.approx(1.0, abs=0.01)
    page.keyboard.press("[")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("]")
    assert root.locator(".el-clock").inner_text().endswith("loop 1.00–1.20 s")
    assert root.locator("[role=slider]").get_attribute("aria-valuetext") == "1.2 of 2.0 seconds"


def test_starting_one_player_pauses_the_other(visit):
    page = visit(tones_player(), tones_player())
    first, second = page.locator(".el-player").nth(0), page.locator(".el-player").nth(1)
    for player, other in ((first, second), (second, first)):
        player.locator("[data-action=play]").click()
        page.wait_for_timeout(400)
        states = player.get_attribute("data-state"), other.get_attribute("data-state")
        assert states == ("playing", "paused")


CONTRAST = """(button) => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = (text) => {
    const [r, g, b] = numbers(text).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let node = button;
  while (numbers(getComputedStyle(node).backgroundColor)[3] === 0) node = node.parentElement;
  const pair = [getComputedStyle(button).color, getComputedStyle(node).backgroundColor];
  const [bright, dim] = pair.map(luminance).sort((a, b) => b - a);
  return (bright + 0.05) / (dim + 0.05);
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_label_stays_readable_under_the_mouse(visit, theme):
    """WCAG 2.1, 1.4.3, while hovered: the version that is heard lies under the mouse just then."""
    page = visit(
        el.Player({"lossy": tone(500), "original": tone(600)}, sample_rate=RATE),
        el.ABX(tone(500), tone(600), sample_rate=RATE, trials=2),
        el.MUSHRA({"a": tone(600)}, tone(500), sample_rate=RATE),
        theme=theme,
    )
    for button in page.locator(".el-root button").all():
        if button.is_disabled() or button.is_hidden():
            continue
        button.hover()
        assert button.evaluate(CONTRAST) > 4.5
        if button.get_attribute("data-source") or button.get_attribute("data-action") == "loop":
            button.click()
            assert button.evaluate(CONTRAST) > 4.5


def test_pictures_fill_their_lane_under_the_dark_theme_of_the_book(visit):
    """The theme gives pictures a padding there; the axes would be off by it."""
    import pydata_sphinx_theme

    theme = Path(pydata_sphinx_theme.__file__).parent / "theme/pydata_sphinx_theme/static/styles"
    page = visit(tones_player(), theme="dark")
    page.evaluate("""() => {
      const [main, output] = [document.querySelector("main"), document.createElement("div")];
      [main.className, output.className] = ["bd-content", "cell_output"];
      output.append(...main.childNodes, new Image());
      main.append(output);
    }""")
    page.add_style_tag(path=theme / "pydata-sphinx-theme.css")
    padding = "(image) => getComputedStyle(image).padding"
    assert page.locator("img").last.evaluate(padding) != "0px"
    picture = page.locator(".el-pictures img.el-shown")
    assert picture.evaluate(padding) == "0px"
    assert picture.bounding_box() == page.locator(".el-pictures").bounding_box()
    axis = page.locator(".el-frequency-axis").bounding_box()
    assert axis["height"] == picture.bounding_box()["height"]


def test_digits_work_on_the_page_where_one_comparison_is_in_view(visit):
    page = visit(tones_player(), tones_player())
    page.evaluate("""() => {
      const [first, second] = document.querySelectorAll(".el-root");
      second.style.marginTop = "1500px";
      first.before(document.createElement("input"));
    }""")
    first, second = page.locator(".el-player").all()
    page.keyboard.press("2")
    assert [each.get_attribute("data-active") for each in (first, second)] == ["1", "0"]
    page.locator("input").press("3")  # somebody writes
    assert first.get_attribute("data-active") == "1"
    page.evaluate("document.activeElement.blur()")
    second.scroll_into_view_if_needed()
    page.keyboard.press("3")
    assert [each.get_attribute("data-active") for each in (first, second)] == ["1", "2"]
    page.evaluate("document.querySelectorAll('.el-root')[1].style.marginTop = 0")
    page.evaluate("window.scrollTo(0, 0)")
    page.set_viewport_size({"width": 900, "height": 1000})
    page.keyboard.press("1")  # which of the two?
    assert [each.get_attribute("data-active") for each in (first, second)] == ["1", "2"]


def test_a_gallery_shows_one_player_and_goes_on_with_the_next_in_the_same_version(visit):
    page = visit(el.Gallery({name: tones_player() for name in ("song", "voice", "drums")}))
    tabs, players = page.get_by_role("tab"), page.locator(".el-player")

    def shown():
        return [player.is_visible() for player in players.all()]

    assert tabs.all_inner_texts() == ["song", "voice", "drums"]
    assert shown() == [True, False, False]
    players.nth(0).locator("[data-action=play]").click()
    page.wait_for_selector(".el-player[data-state=playing]")
    page.keyboard.press("2")
    tabs.nth(1).click()
    assert shown() == [False, True, False]
    page.wait_for_selector(".el-panel:nth-of-type(3) .el-player[data-state=playing]")
    states = [player.get_attribute("data-state") for player in players.all()]
    assert states == ["paused", "playing", "paused"]
    assert players.nth(1).get_attribute("data-active") == "1"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")  # round to the first
    assert shown() == [True, False, False]
    assert tabs.nth(0).get_attribute("aria-selected") == "true"
    assert tabs.nth(0).evaluate("(tab) => tab === document.activeElement")
    for tab in tabs.all():
        tab.hover()
        assert tab.evaluate(CONTRAST) > 4.5


def test_the_error_is_the_original_less_the_version_at_its_true_level(visit):
    """One version lacks a tone and is quieter; the other is as the original, beyond full scale."""
    low, high = tone(441, amplitude=0.9), tone(3969, amplitude=0.3)
    original = low + high
    lossy = 0.5 * low
    player = el.Player(
        {"original": original, "lossy": lossy, "same": original.copy()}, sample_rate=RATE
    )
    root = visit(player).locator(".el-player")
    start_recording(root)
    error = root.locator("[data-action=error]")
    assert error.is_disabled()  # the original has none
    root.press("2")
    heard = record(root, error.click)
    truth = (original - lossy)[0] * 10 ** (player.gains_db["original"] / 20)
    spectrum = np.abs(np.fft.rfft(heard[-4410:])) / 2205
    wanted = np.abs(np.fft.rfft(truth[:4410])) / 2205
    np.testing.assert_allclose(spectrum[[44, 132, 397]], wanted[[44, 132, 397]], atol=2e-3)
    level_db = 10 * np.log10(np.sum((original - lossy) ** 2) / np.sum(original**2))
    label = f"original − lossy: {-level_db:.1f} dB below the original"
    assert root.locator(".el-now").inner_text() == label
    assert error.get_attribute("aria-pressed") == "true"
    assert root.locator(".el-pictures img.el-shown").get_attribute("src").startswith("data:image")
    heard = record(root, lambda: root.press("3"))
    assert np.abs(heard[-4096:]).max() < 1e-6
    assert root.locator(".el-now").inner_text() == "original − same: no difference"
    root.press("1")
    assert root.get_attribute("data-error") == "false"
    assert root.locator(".el-now").inner_text() == "original"


def test_the_zoomed_picture_follows_the_playhead(visit):
    player = el.Player({"a": tone(500, seconds=10.0)}, sample_rate=RATE)
    page = visit(player)
    root = page.locator(".el-player")
    lane = root.locator(".el-lane").bounding_box()

    def head_and_picture():
        head, picture = (
            root.locator(name).bounding_box() for name in (".el-playhead", "img.el-shown")
        )
        return head["x"] + head["width"] / 2 - lane["x"], picture

    root.locator(".el-lane").press("z")
    root.evaluate("(root) => root.engine.seek(5)")
    head, picture = head_and_picture()
    assert picture["width"] == pytest.approx(2.5 * lane["width"])
    assert head == pytest.approx(lane["width"] / 2, abs=1.5)
    page.mouse.click(lane["x"] + 0.75 * lane["width"], lane["y"] + 20)
    assert position(root) == pytest.approx(6, abs=0.05)
    assert head_and_picture()[0] == pytest.approx(lane["width"] / 2, abs=1.5)
    root.press("Home")
    assert head_and_picture()[0] == pytest.approx(0, abs=1.5)
    ticks = root.locator(".el-time-axis span")
    assert ticks.nth(1).bounding_box()["x"] - lane["x"] < lane["width"] / 3
    root.press("z")
    assert head_and_picture()[1]["width"] == pytest.approx(lane["width"])


def axe_violations(page) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{item['id']}: {item['nodes'][0]['html'][:200]}" for item in found]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_accessible_in_both_themes(visit, theme):
    page = visit(
        tones_player(),
        el.ABX(tone(500), tone(600), sample_rate=RATE, trials=2),
        el.MUSHRA({"a": tone(600)}, tone(500), sample_rate=RATE),
        theme=theme,
    )
    shown = page.locator(".el-root").first
    assert shown.get_attribute("data-el-theme") == theme
    assert axe_violations(page) == []
    other = "dark" if theme == "light" else "light"
    page.evaluate("(colour) => document.body.style.background = colour", BACKGROUND[other])
    page.wait_for_selector(f".el-root[data-el-theme={other}]")


@pytest.mark.parametrize("width", [320, 360])
def test_phone_width_needs_no_sideways_scrolling(visit, width):
    long = {f"a rather long name of source {index}": tone(500) for index in range(4)}
    page = visit(
        el.Player(long, sample_rate=RATE, title="A title that is far too long for a telephone"),
        el.ABX(tone(500), tone(600), sample_rate=RATE, names=tuple(long)[:2]),
        el.MUSHRA(long, tone(600), sample_rate=RATE),
        width=width,
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for button in page.locator(".el-root button:visible").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 24
        assert box["x"] + box["width"] <= width


def test_linked_audio_is_fetched_once_and_only_on_play(visit, site):
    folder, _ = site
    players = [tones_player(audio_dir=folder / "audio") for _ in range(2)]
    page = visit(*players, path="notebooks/01.html", content_root="../")
    page.wait_for_load_state("networkidle")
    names = [url.rsplit(".", 1)[-1] for url in visit.requests]
    assert sorted(set(names)) == ["css", "html", "mjs", "webp"] or "data:," in visit.requests
    assert names.count("mjs") == names.count("css") == 1
    assert "flac" not in names
    root = page.locator(".el-player").first
    size = sum(path.stat().st_size for path in (folder / "audio").glob("*.flac"))
    assert f"loads {size / 1e6:.1f} MB on play" in root.inner_text()
    root.locator("[data-action=play]").click()
    wait_for_state(root, "playing")
    page.wait_for_load_state("networkidle")
    page.wait_for_function("document.querySelector('.el-player').engine.loaded.every(Boolean)")
    assert [url.rsplit(".", 1)[-1] for url in visit.requests].count("flac") == 3


def slow_network(page) -> None:
    """1.6 Mbit/s and 150 ms, a poor mobile connection."""
    session = page.context.new_cdp_session(page)
    speed = {"downloadThroughput": 200_000, "uploadThroughput": 90_000}
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", {"offline": False, "latency": 150, **speed})


def noise_player(folder) -> tuple[el.Player, np.ndarray]:
    """Two stereo clips of 8 s; each second is 1 Mbit of FLAC, as of loud music."""
    rng = np.random.default_rng(3)
    wave = rng.integers(-1000, 1000, (2, 2, 8 * RATE)).astype(np.float32) / 32768
    sources = {"lossy": wave[0], "enhanced": wave[1]}
    return el.Player(sources, sample_rate=RATE, loudness_match=False, audio_dir=folder), wave


PRESS_AND_WAIT = """async (root) => {
  const began = performance.now();
  root.querySelector("[data-action=play]").click();
  while (root.dataset.state !== "playing") await new Promise((go) => setTimeout(go, 10));
  return [(performance.now() - began) / 1000, root.engine.loaded];
}"""


def test_the_active_version_plays_before_the_rest_is_there(visit, site):
    """On a poor connection; what is heard while parts come in is the clip, sample for sample."""
    player, wave = noise_player(site[0] / "audio")
    page = visit(player)
    page.wait_for_load_state("networkidle")
    root = page.locator(".el-player")
    slow_network(page)
    other, chosen = (root.locator(f"button[data-source='{index}']") for index in (0, 1))
    chosen.click()  # not the first one
    first_sound_s, loaded = root.evaluate(PRESS_AND_WAIT)
    print(f"first sound after {first_sound_s:.2f} s")
    assert first_sound_s < 2
    assert loaded[0] == 0 < loaded[1] < 4
    root.evaluate(RECORD)
    other.click()
    assert root.get_attribute("data-active") == "1"  # what is heard, until the other one is there
    assert other.get_attribute("aria-busy") == "true"
    chosen.click()
    assert other.get_attribute("aria-busy") == "false"
    page.wait_for_function(
        """(wanted) => {
          const root = document.querySelector(".el-player");
          return root.engine.loaded[1] > 5 && root.heard.length > wanted;
        }""",
        arg=2 * RATE + 4096,
    )
    heard = np.array(root.evaluate("(root) => root.heard"))[:-4096]
    clip = wave[1, 0]
    start = int(np.argmax(np.correlate(clip, heard[2000:2500], mode="valid"))) - 2000
    np.testing.assert_allclose(heard[2000:], clip[start + 2000 :][: len(heard) - 2000], atol=2**-17)


def test_where_the_sound_has_not_come_yet_it_waits_and_goes_on(visit, site):
    page = visit(noise_player(site[0] / "audio")[0])
    page.wait_for_load_state("networkidle")
    root = page.locator(".el-player")
    slow_network(page)
    root.evaluate(PRESS_AND_WAIT)
    other = root.locator("button[data-source='1']")
    other.click()
    root.evaluate("(root) => root.engine.seek(7)")
    wait_for_state(root, "loading")
    wait_for_state(root, "playing")
    assert position(root) > 6.9
    page.wait_for_selector(".el-player[data-active='1'][data-state=playing]")
    assert other.get_attribute("aria-pressed") == "true"


def test_plays_over_plain_http_as_on_a_phone_in_the_same_network(site, chromium):
    """Browsers withhold some of their functions from pages that come without encryption."""
    folder, address = site
    (folder / "index.html").write_text(page_html(tones_player(audio_dir=folder / "audio")))
    page = chromium.new_page()
    page.goto(address.replace("127.0.0.1", "book.test"))
    assert not page.evaluate("isSecureContext")
    page.locator("[data-action=play]").click()
    wait_for_state(page.locator(".el-player"), "playing")
    page.close()


def test_page_opened_from_disk_offers_the_clips_one_by_one(tmp_path, chromium):
    player = tones_player(audio_dir=tmp_path / "audio")
    (tmp_path / "index.html").write_text(page_html(player))
    page = chromium.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    page.wait_for_selector(".el-root[data-state=plain]")
    play = "async (audio) => { audio.muted = true; await audio.play(); return audio.duration; }"
    clips = page.locator(".el-root audio").all()
    assert [clip.evaluate(play) for clip in clips] == [2.0, 2.0, 2.0]
    assert "mid" in page.locator(".el-root").inner_text()
    page.close()


def test_missing_audio_file_is_reported_in_the_player(site, chromium):
    folder, address = site
    player = tones_player(audio_dir=folder / "audio")
    (folder / "index.html").write_text(page_html(player))
    for path in (folder / "audio").glob("*.flac"):
        path.unlink()
    page = chromium.new_page()
    page.goto(f"{address}/index.html")
    page.locator("[data-action=play]").click()
    assert "could not be loaded" in page.locator("[role=alert]").inner_text()
    assert page.locator(".el-player").get_attribute("data-state") == "paused"
    page.close()


def abx_page(visit, *, trials: int, **options):
    comparison = el.ABX(
        tone(441), tone(1323), sample_rate=RATE, trials=trials, title="Tones", **options
    )
    root = visit(comparison).locator(".el-abx")
    root.locator("[data-action=play]").click()
    wait_for_state(root, "playing")
    root.evaluate(RECORD)
    return root


def saved_answers(root, path):
    with root.page.expect_download() as download:
        root.locator("a.el-download").click()
    download.value.save_as(path)
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def answer_by_ear(root, *, wrong: bool = False) -> None:
    """Hear A and X and answer what X is, or what it is not."""
    answer = root.locator("button[data-answer=A]")
    root.press("a")
    assert answer.is_disabled()  # X has not been heard
    heard = record(root, lambda: root.press("x"))
    expect(answer).to_be_enabled()
    root.press("Shift+A" if (strongest_hz(heard) < 800) != wrong else "Shift+B")


def test_abx_with_golden_ears(visit, tmp_path):
    """Answers only by what is heard while X plays, and gets every trial right."""
    root = abx_page(visit, trials=5)
    for trial in range(1, 6):
        assert root.locator(".el-progress").inner_text() == f"Trial {trial} of 5"
        assert "right" not in root.inner_text()
        answer_by_ear(root)
    assert "5 of 5 right (p = 0.031). One guesser in 32 does as well." in root.inner_text()
    assert root.locator(".el-guessers rect.el-as-well").count() == 1
    rows = saved_answers(root, tmp_path / "abx.csv")
    assert {row["x"] for row in rows} <= {"A", "B"}
    assert all(row["x"] == row["answer"] and row["correct"] == "1" for row in rows)
    result = el.abx_result(tmp_path / "abx.csv")
    assert (result.hits, result.trials, result.p_value) == (5, 5, 1 / 32)


def test_abx_keys_play_and_an_answer_can_be_undone(visit, tmp_path):
    root = abx_page(visit, trials=3)
    for key, hz in (("b", 1323), ("a", 441)):
        assert strongest_hz(record(root, lambda key=key: root.press(key))) == pytest.approx(
            hz, abs=12
        )
    assert root.locator(".el-progress").inner_text() == "Trial 1 of 3"  # keys A and B do not answer
    undo = root.locator("[data-action=undo]")
    assert undo.is_hidden()
    answer_by_ear(root, wrong=True)
    undo.click()
    assert root.locator(".el-progress").inner_text() == "Trial 1 of 3"
    for _ in range(3):
        answer_by_ear(root)
    assert [row["correct"] for row in saved_answers(root, tmp_path / "abx.csv")] == ["1"] * 3
    assert undo.is_hidden()


def test_abx_keys_work_on_the_page_where_the_test_is_alone_in_view(visit):
    root = abx_page(visit, trials=1)
    page = root.page
    page.evaluate("document.activeElement.blur()")
    for key, choice in (("b", "1"), ("x", "2"), ("a", "0")):
        page.keyboard.press(key)
        assert root.get_attribute("data-active") == choice
    expect(root.locator("button[data-answer=A]")).to_be_enabled()
    page.keyboard.press("Shift+B")
    assert root.locator(".el-progress").inner_text() == "Done"


def test_abx_practice_tells_what_was_right_and_does_not_count(visit, tmp_path):
    root = abx_page(visit, trials=1, practice=tone(3969))
    progress, feedback = root.locator(".el-progress"), root.locator(".el-feedback")
    assert progress.inner_text() == "Practice 1 of 2, with a plain case as B"
    assert strongest_hz(record(root, lambda: root.press("b"))) == pytest.approx(3969, abs=12)
    answer_by_ear(root)
    assert feedback.inner_text().startswith("Right: X was")
    answer_by_ear(root, wrong=True)
    assert feedback.inner_text().startswith("No, X was")
    assert progress.inner_text() == "Trial 1 of 1"
    assert strongest_hz(record(root, lambda: root.press("b"))) == pytest.approx(1323, abs=12)
    answer_by_ear(root)
    assert len(saved_answers(root, tmp_path / "abx.csv")) == 1


def test_abx_goes_on_after_a_reload_and_its_result_can_be_shared(visit):
    root = abx_page(visit, trials=2)
    page = root.page
    answer_by_ear(root)
    page.reload()
    page.wait_for_selector(".el-root[data-state]")
    assert root.locator(".el-progress").inner_text() == "Trial 2 of 2"
    root.locator("[data-action=play]").click()
    wait_for_state(root, "playing")
    root.evaluate(RECORD)
    answer_by_ear(root)
    page.reload()
    assert "2 of 2 right (p = 0.250). One guesser in 4" in root.inner_text()
    link = root.locator("a.el-share").get_attribute("href")
    page.evaluate("localStorage.clear()")
    page.goto(link)
    page.reload()
    assert "Whoever sent you here got 2 of 2 right." in root.inner_text()
    assert root.locator(".el-progress").inner_text() == "Trial 1 of 2"


def test_abx_with_a_listener_who_always_says_a(visit, tmp_path):
    root = abx_page(visit, trials=24)
    markup = set()
    for _ in range(24):
        root.press("x")
        expect(root.locator("button[data-answer=A]")).to_be_enabled()
        markup.add(root.evaluate("(root) => [root.outerHTML.replace(/[0-9.]+/g, '')][0]"))
        root.press("Shift+A")
    rows = saved_answers(root, tmp_path / "abx.csv")
    hits = sum(row["x"] == "A" for row in rows)
    assert 2 <= hits <= 22  # outside with probability 4e-6: X is drawn anew in each trial
    assert f"{hits} of 24 right" in root.inner_text()
    assert el.abx_result(tmp_path / "abx.csv").hits == hits
    assert len(markup - {min(markup, key=len)}) <= 1  # nothing tells what X is, undo comes later


def test_mushra_ratings_follow_the_versions_they_were_given_to(visit, tmp_path):
    """A listener who rates by pitch, with buttons, keys and sliders; the order is the browser's."""
    systems = {"mid": tone(TONES_HZ[1]), "high": tone(TONES_HZ[2])}
    test = el.MUSHRA(systems, tone(TONES_HZ[0]), sample_rate=RATE, title="Pitch")
    root = visit(test).locator(".el-mushra")
    start_recording(root)
    assert strongest_hz(record(root, lambda: root.press("0"))) == pytest.approx(441, abs=12)
    finish = root.locator("[data-action=finish]")
    expected = {}
    for version in range(1, 5):
        heard = strongest_hz(record(root, lambda key=str(version): root.press(key)))
        expected[version] = {441: 97, 1323: 60, 3969: 30}[
            min(TONES_HZ, key=lambda hz: abs(hz - heard))
        ]
        assert finish.is_disabled()
        slider = root.locator("input[type=range]").nth(version - 1)
        slider.fill(str(expected[version]))
        slider.press("ArrowRight")
        expected[version] += 1
        assert root.get_attribute("data-active") == str(version)
    assert "reference, " not in root.inner_text()
    finish.click()
    assert "You gave the hidden reference 98: you found it" in root.inner_text()
    assert root.locator(".el-score").last.inner_text().split() == ["high", "31"]
    rows = saved_answers(root, tmp_path / "mushra.csv")
    assert {int(row["version"]): int(row["score"]) for row in rows} == expected
    scores = {row["system"]: int(row["score"]) for row in rows}
    # The anchor of a pure tone under 3.5 kHz is the tone itself.
    assert scores == {"reference": 98, "low anchor": 98, "mid": 61, "high": 31}
    assert el.mushra_result([tmp_path / "mushra.csv"]).scores["mid"] == (61, 0, 100)


LAB_TOKEN = secrets.token_hex(16)
LAB_CELLS = (
    "import numpy as np, enhancelib as el\n"
    "wave = np.random.default_rng(0).normal(0, 0.1, (1, 88200)).astype('f4')\n"
    "el.Player({'a': wave, 'b': wave / 2}, sample_rate=44100)",
    "abx = el.ABX(wave, -wave, sample_rate=44100, trials=2); abx",
    "print('right:', el.abx_result([row['correct'] for row in abx.answers]))",
    "mushra = el.MUSHRA({'half': wave / 2}, wave, sample_rate=44100); mushra",
    "print('rated:', el.mushra_result(mushra.answers))",
)


@pytest.fixture
def lab(tmp_path):
    """Address of a JupyterLab that holds one notebook."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in LAB_CELLS],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(notebook, tmp_path / "players.ipynb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = [
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={LAB_TOKEN}",
        "--LabApp.news_url=",
    ]
    command = [sys.executable, "-m", "jupyterlab", *options]
    homes = ("JUPYTER_CONFIG_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    environment = {**os.environ, **{home: str(tmp_path / "lab") for home in homes}}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, **quiet) as server:
        try:
            wait_until_served(f"http://127.0.0.1:{port}/api", server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def wait_until_served(url: str, server: subprocess.Popen) -> None:
    for _ in range(240):
        assert server.poll() is None, "JupyterLab ended before it served"
        with contextlib.suppress(OSError), urllib.request.urlopen(url):
            return
        time.sleep(0.25)
    pytest.fail("JupyterLab did not start within a minute")


def run_first_cell(page) -> None:
    """Run it again until JupyterLab takes note: what comes before the kernel is ready is lost.

    A busy machine may make JupyterLab ask which kernel it is to be; the one it offers will do.
    """
    asked = page.locator("dialog.jp-Dialog")
    for _ in range(10):
        with contextlib.suppress(BrowserTimeoutError):
            if asked.count():
                asked.first.locator(".jp-mod-accept").click(timeout=5_000)
            page.locator(".jp-Cell").first.click(timeout=5_000)
            page.keyboard.press("Shift+Enter")
            page.wait_for_function(
                "/[*0-9]/.test(document.querySelector('.jp-InputPrompt').textContent)",
                timeout=5_000,
            )
            return
    pytest.fail(f"JupyterLab runs no cell; it asks {asked.all_inner_texts()}")


def run_until_it_prints(page, number: int, text: str) -> None:
    """Run a cell, and again while it does not know the last answer yet.

    Widgets send one message at a time and keep the next back until the kernel is done with it; on
    a busy machine a cell overtakes what is kept back.
    """
    cell = page.locator(".jp-Cell").nth(number)
    for _ in range(20):
        cell.click()
        page.keyboard.press("Shift+Enter")
        with contextlib.suppress(AssertionError):
            expect(cell.locator(".jp-OutputArea-output")).to_contain_text(text, timeout=3_000)
            return
    pytest.fail(f"cell {number} prints {cell.inner_text()!r}, not {text!r}")


def test_widgets_work_in_jupyterlab_and_send_answers_to_the_kernel(lab, chromium):
    page = chromium.new_page(viewport={"width": 1200, "height": 1500})
    page.set_default_timeout(60_000)
    page.goto(f"{lab}/lab/tree/players.ipynb?token={LAB_TOKEN}")
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]")
    run_first_cell(page)
    player = page.locator(".el-player[data-state]")
    player.locator("[data-action=play]").click()
    page.wait_for_selector(".el-player[data-state=playing]")
    for key in ("l", "2"):  # JupyterLab has shortcuts on both keys
        page.keyboard.press(key)
    assert player.get_attribute("data-active") == "1"
    assert player.locator("[data-action=loop]").get_attribute("aria-pressed") == "false"
    page.keyboard.press("Space")
    page.locator(".jp-Cell").nth(1).click()
    page.keyboard.press("Shift+Enter")
    abx = page.locator(".el-abx[data-state]")
    abx.locator("[data-action=play]").click()
    page.wait_for_selector(".el-abx[data-state=playing]")
    for _ in range(2):
        page.keyboard.press("x")
        expect(abx.locator("button[data-answer=A]")).to_be_enabled()  # X has been heard
        page.keyboard.press("Shift+A")
    hits = abx.locator(".el-result").inner_text().split(" of ")[0]
    run_until_it_prints(page, 2, f"right: ABXResult(hits={hits}, trials=2")
    page.locator(".jp-Cell").nth(3).click()
    page.keyboard.press("Shift+Enter")
    mushra = page.locator(".el-mushra[data-state]")
    mushra.locator("[data-action=play]").click()
    page.wait_for_selector(".el-mushra[data-state=playing]")
    for version in range(3):
        page.keyboard.press(str(version + 1))
        slider = mushra.locator("input[type=range]").nth(version)
        slider.fill("95")
        slider.press("ArrowRight")
    mushra.locator("[data-action=finish]").click()
    run_until_it_prints(page, 4, "'half': (96.0, 0.0, 100.0)")
    page.close()
