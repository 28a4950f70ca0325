"""The device page in a headless Chromium of phone size: computes, plays, measures, keeps."""

import base64
import gzip
import hashlib
import http.server
import json
import re
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from axe_playwright_python.sync_playwright import Axe
from conftest import PATIENCE_S, ROOT
from playwright.sync_api import sync_playwright
from small_network import network

import enhancelib as el
from enhancelib.enhance.modelfiles import open_stream
from enhancelib.errors import EnhanceError, InputError
from enhancelib.model.weights import PRETRAINED
from enhancelib.provenance import RESULT_COLUMNS
from tools.dev import device_page
from tools.measure import devices

PUBLISHED = sorted(PRETRAINED.glob("*.stream.onnx"))
SMALL = ("small.stream.onnx", "plain.stream.onnx")
VENDOR = ROOT / "jupyter_book" / "device" / "vendor"

# Waves go to the page and back as text: a number by itself takes the driver a microsecond or ten.
PACKING = """
window.unpack = (text) =>
  new Float32Array(Uint8Array.from(atob(text), (each) => each.charCodeAt(0)).buffer);
window.pack = (samples) => {
  let text = "";
  for (const each of new Uint8Array(Float32Array.from(samples).buffer)) {
    text += String.fromCharCode(each);
  }
  return btoa(text);
};"""

# Stands in for the audio thread: asks the Worker for a track and takes whatever it sends.
ENHANCE = """async ({ url, channels, at, width, playhead = 0 }) => {
  const site = await (await fetch("device.json")).json();
  const file = site.models.find((model) => model.url.includes(url));
  const worker = new Worker("worker.mjs", { type: "module" });
  const news = (wanted) => new Promise((go, stop) => {
    worker.onmessage = ({ data }) => data.error || data.failure ? stop(data) : wanted(data) && go();
  });
  await news((data) => data.awake);
  const ask = (order, rest, transfer) => {
    worker.postMessage({ order, id: order, ...rest }, transfer);
    return news((data) => data.id === order);
  };
  await ask("open", { runtime: site.runtime, file });
  await ask("track", { channels: channels.map(unpack) });
  const { port1, port2 } = new MessageChannel();
  await ask("attach", { port: port2 }, [port2]);
  const samples = unpack(channels[0]).length;
  const out = { lossy: channels.map(() => []), enhanced: channels.map(() => []), holes: [] };
  const ends = { lossy: at, enhanced: at };
  const done = new Promise((go, stop) => {
    port1.onmessage = ({ data }) => {
      if (data.kind === "enough") return;
      if (data.at !== ends[data.kind]) out.holes.push([ends[data.kind], data.at]);
      ends[data.kind] = data.at + data.channels[0].length;
      data.channels.forEach((samples, i) => out[data.kind][i].push(...samples));
      port1.postMessage({ epoch: 1, position: Math.max(playhead, ends.enhanced) });
      if (ends.enhanced === samples && ends.lossy === ends.enhanced) go();
    };
  });
  worker.postMessage({ order: "seek", epoch: 1, at, channels: width });
  await done;
  worker.terminate();
  return { ...out, lossy: out.lossy.map(pack), enhanced: out.enhanced.map(pack) };
}"""

# Runs the audio thread's part offline: all blocks are there, but for a hole in the enhanced ones.
# It begins at the start or, the ring being filled by then, at `seek`.
PLAY_OFFLINE = """async ({ waves, hole, heard, amount, rate, seek, end }) => {
  const [lossy, enhanced, original = []] = waves.map(unpack);
  const samples = lossy.length;
  const context = new OfflineAudioContext(6, samples, rate);
  await context.audioWorklet.addModule("playback.mjs");
  const node = new AudioWorkletNode(context, "playback", {
    numberOfInputs: 0, numberOfOutputs: 3, outputChannelCount: [2, 2, 2],
    processorOptions: { samples },
  });
  const merger = new ChannelMergerNode(context, { numberOfInputs: 6 });
  for (let output = 0; output < 3; output++) {
    const splitter = new ChannelSplitterNode(context, { numberOfOutputs: 2 });
    node.connect(splitter, output);
    splitter.connect(merger, 0, 2 * output).connect(context.destination);
    splitter.connect(merger, 1, 2 * output + 1);
  }
  let counted;
  node.port.onmessage = ({ data }) => { counted = data; };
  const { port1, port2 } = new MessageChannel();
  const block = (kind, from, to, source, epoch = 0) => port1.postMessage({
    kind, epoch, at: from, need: 1000, channels: [Float32Array.from(source.slice(from, to))],
  });
  node.port.postMessage({ port: port2 }, [port2]);
  node.port.postMessage({ heard, amount, playing: true });
  if (end) node.port.postMessage({ end });
  for (let at = 0; at < samples; at += 700) block("lossy", at, at + 700, lossy);
  for (let at = 0; at < original.length; at += 700) block("original", at, at + 700, original);
  block("enhanced", 0, hole[0], enhanced);
  block("enhanced", hole[1], samples, enhanced);
  if (seek !== undefined) {
    node.port.postMessage({ epoch: 1, at: seek });
    block("lossy", seek, samples, lossy, 1);
    block("enhanced", seek, samples, enhanced, 1);
  }
  await new Promise((go) => setTimeout(go, 200)); // the audio thread has read its letters
  const buffer = await context.startRendering();
  await new Promise((go) => setTimeout(go, 50));
  const heardAndLossy = [0, 2].map((channel) => pack(buffer.getChannelData(channel)));
  return { heardAndLossy, late: counted?.late, stalled: counted?.stalled };
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory, small_exports) -> Path:
    """The page's folder with the published models and small ones, with and without a fill."""
    folder = tmp_path_factory.mktemp("site") / "device"
    plain = {"preset": "plain", "formats": ["onnx"], "kinds": ["stream"]}
    (written,) = el.export_model(network(), folder.with_name("plain"), **plain)
    small = [small_exports[0] / "small.stream.onnx", written.path]
    device_page.build(folder, [*PUBLISHED, *small])
    device_page.bare_page(folder)
    return folder


@pytest.fixture(scope="module")
def driver():
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def chromium(driver):
    program = devices.browser.find()
    browser = driver.chromium.launch(executable_path=program, args=devices.FLAGS)
    yield browser
    browser.close()


@pytest.fixture
def visit(site, chromium):
    """Open the page as on a phone; errors, warnings and requests elsewhere fail the test."""
    faults = []
    with devices.served(site.parent) as address:

        def open_it(**settings):
            context = chromium.new_context(viewport=devices.PHONE, **settings)
            page = context.new_page()
            page.add_init_script(PACKING)
            page.set_default_timeout(60_000)
            page.on("console", lambda message: faults.append(f"{message.type}: {message.text}"))
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("request", lambda request: faults.append(request.url))
            page.goto(f"{address}/device/index.html", wait_until="networkidle")
            return page

        yield open_it
        for context in chromium.contexts:
            context.close()
    assert [fault for fault in faults if not fault.startswith((address, "blob:"))] == []


def lossy_music(rate: int, seconds: float = 1.2) -> np.ndarray:
    piece = ROOT / "data" / "excerpts" / "render_freedoom1_D_E1M8.flac"
    wave, _ = el.load(piece, sample_rate=rate, duration_s=seconds)
    return el.degrade(wave, "sbc-20", sample_rate=rate)[:, :-123]


def packed(channels) -> list[str]:
    """Waves as the page's `unpack` takes them."""
    return [base64.b64encode(np.float32(each).tobytes()).decode() for each in channels]


def unpacked(channels: list[str]) -> np.ndarray:
    """Waves that the page's `pack` made."""
    return np.stack([np.frombuffer(base64.b64decode(each), np.float32) for each in channels])


def test_vendored_runtime_is_what_npm_has():
    wanted = dict(
        re.findall(r"\| `(\S+)` \| ([0-9a-f]{64}) \|", (VENDOR / "README.md").read_text())
    )
    assert set(wanted) == {path.name for path in VENDOR.iterdir()} - {"README.md"}
    for name, digest in wanted.items():
        content = (VENDOR / name).read_bytes()
        content = gzip.decompress(content) if name.endswith(".gz") else content
        assert hashlib.sha256(content).hexdigest() == digest


def test_every_model_and_clip_is_listed_with_its_size_and_facts(site, small_exports):
    listed = json.loads((site / "device.json").read_text())
    names = [model["title"] for model in listed["models"]]
    assert names[0] == "fullband-44k.stream.onnx"
    assert set(names) == {path.name for path in PUBLISHED} | {*SMALL}
    assert listed["models"][0]["label"] == "Best"
    published = [model for model in listed["models"] if model["title"] not in SMALL]
    assert all(".onnx" not in model["label"] for model in published)
    originals = [clip["original"] for clip in listed["clips"]]
    for file in [listed["runtime"], *listed["models"], *listed["clips"], *originals]:
        path = site / file["url"].split("?")[0]
        assert path.stat().st_size == file["bytes"]
    small = next(model for model in listed["models"] if "small" in model["title"])
    assert small["facts"]["frame_length"] == 128
    assert soundfile.info(site / listed["clips"][0]["url"].split("?")[0]).samplerate == 44100


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", [*(path.name for path in PUBLISHED), *SMALL])
def test_output_equals_pythons(visit, site, name, channels):
    backend = open_stream(site / "models" / name)
    rate = backend.metadata.sample_rate
    wave = lossy_music(rate)[:channels]
    task = {"url": name, "channels": packed(wave), "at": 0, "width": channels}
    got = visit().evaluate(ENHANCE, task)
    assert got["holes"] == []
    assert np.array_equal(unpacked(got["lossy"]), wave)
    wanted = el.enhance_wave(wave, backend, sample_rate=rate)
    assert np.abs(wanted - wave).max() > 2e-3  # far more than the error that is allowed
    error = unpacked(got["enhanced"]) - wanted
    if ".int8." in name:
        # A value rounded the other way moves by a step of 8 bits. Python's runtime differs from
        # itself that way between its levels of optimisation; less than the file from its original.
        exact = el.enhance_wave(wave, PRETRAINED / name.replace(".int8", ""), sample_rate=rate)
        assert np.sum(error**2) < 0.5 * np.sum((wanted - exact) ** 2)
    else:
        assert np.abs(error).max() < 1e-4


def test_slow_device_enhances_the_middle_and_lets_the_sides_pass(visit, site):
    backend = open_stream(site / "models" / "small.stream.onnx")
    wave = lossy_music(22050)
    task = {"url": "small", "channels": packed(wave), "at": 0, "width": 1}
    got = visit().evaluate(ENHANCE, task)
    middle = wave.mean(axis=0, keepdims=True)
    wanted = wave - middle + el.enhance_wave(middle, backend, sample_rate=22050)
    assert np.abs(unpacked(got["enhanced"]) - wanted).max() < 1e-4


def test_seeking_begins_at_the_very_sample_with_a_run_up(visit, site):
    # Without a fill, whose noise is another one from there, since it counts frames.
    backend = open_stream(site / "models" / "plain.stream.onnx")
    wave, at = lossy_music(16000), 12_321
    task = {"url": "plain", "channels": packed(wave), "at": at, "width": 2}
    got = visit().evaluate(ENHANCE, task)
    assert np.array_equal(unpacked(got["lossy"]), wave[:, at:])
    wanted = el.enhance_wave(wave, backend, sample_rate=16000)[:, at:]
    error = unpacked(got["enhanced"]) - wanted
    # Only the running mean of the gate remembers more than the run-up.
    assert np.sum(error**2) < 1e-4 * np.sum((wanted - wave[:, at:]) ** 2)


def test_overtaken_by_the_playhead_it_goes_on_ahead_of_it(visit, site):
    backend = open_stream(site / "models" / "plain.stream.onnx")
    wave, playhead = lossy_music(16000), 6000
    task = {"url": "plain", "channels": packed(wave), "at": 0, "width": 2, "playhead": playhead}
    got = visit().evaluate(ENHANCE, task)
    assert np.array_equal(unpacked(got["lossy"]), wave)
    ((_, again),) = got["holes"]
    assert playhead < again <= playhead + 16000 // 2
    rest = unpacked(got["enhanced"])[:, -(wave.shape[1] - again) :]
    wanted = el.enhance_wave(wave, backend, sample_rate=16000)[:, again:]
    error = (rest - wanted)[:, 1600:]  # what the network remembers is the past it missed
    change = (wanted - wave[:, again:])[:, 1600:]
    assert np.sum(error**2) < 1e-2 * np.sum(change**2)


def test_sound_is_one_or_the_other_and_a_hole_is_crossfaded_and_counted(visit):
    rng = np.random.default_rng(0)
    lossy = np.full(20_000, 0.3) + rng.uniform(-1e-3, 1e-3, 20_000)
    enhanced = -np.full(20_000, 0.3) + rng.uniform(-1e-3, 1e-3, 20_000)
    task = {"waves": packed([lossy, enhanced]), "rate": 44100}
    page = visit()
    out = page.evaluate(PLAY_OFFLINE, task | {"hole": [8000, 9000], "heard": 1})
    heard, passed = unpacked(out["heardAndLossy"])
    start = int(np.argmax(np.abs(passed) > 0))  # whole blocks while the letters were read
    assert start % 128 == 0
    lossy, enhanced = lossy[: 20_000 - start], enhanced[: 20_000 - start]
    heard = heard[start:]
    whole = np.r_[300:7700, 9400 : len(heard)]
    assert np.abs(heard - enhanced)[whole].max() < 1e-6
    assert np.abs(heard - lossy)[8000:9000].max() < 1e-6
    assert np.abs(np.diff(heard)).max() < 0.6 / 256 + 4e-3  # a hard switch would jump by 0.6
    assert 1000 / 128 <= out["late"] <= (1000 + 2 * 256) / 128 + 2
    assert out["stalled"] == 0
    out = page.evaluate(PLAY_OFFLINE, task | {"hole": [8000, 9000], "heard": 0})
    heard, passed = unpacked(out["heardAndLossy"])
    start = int(np.argmax(np.abs(passed) > 0))
    heard = heard[start + 300 :]
    whole, _ = unpacked(task["waves"])
    assert np.abs(heard - whole[300 : 300 + len(heard)]).max() < 1e-6
    assert out["late"] == 0


def test_nothing_sounds_behind_the_end(visit):
    """A track somewhat longer than the ring, which still has its start where the end stands."""
    rate, seek, last = 8000, 94_000, 12 * 8000 + 60
    rng = np.random.default_rng(0)
    lossy, enhanced = rng.uniform(-0.5, 0.5, (2, last)).astype(np.float32)
    task = {"waves": packed([lossy, enhanced]), "rate": rate, "heard": 1, "hole": [last, last]}
    out = visit().evaluate(PLAY_OFFLINE, task | {"seek": seek})
    for heard, wanted in zip(unpacked(out["heardAndLossy"]), (enhanced, lossy), strict=True):
        start = int(np.argmax(np.abs(heard) > 0))
        assert np.abs(heard[start + 300 :][: last - seek - 300] - wanted[seek + 300 :]).max() < 1e-6
        assert not heard[start + last - seek :].any()


def test_an_audio_thread_that_is_given_up_runs_no_more(visit):
    """With each track comes another one; those before would keep their rings and work on."""
    wave = np.full(20_000, 0.5, np.float32)
    task = {"waves": packed([wave, wave]), "rate": 44100, "heard": 0, "hole": [20_000, 20_000]}
    for end in (False, True):
        heard, _ = unpacked(visit().evaluate(PLAY_OFFLINE, task | {"end": end})["heardAndLossy"])
        assert heard[2000:18_000].any() != end


@pytest.mark.parametrize("amount", [0, 0.25])
def test_amount_scales_what_the_model_adds(visit, amount):
    rng = np.random.default_rng(0)
    lossy, enhanced = rng.uniform(-0.5, 0.5, (2, 12_000)).astype(np.float32)
    task = {"waves": packed([lossy, enhanced]), "rate": 44100, "heard": 1}
    out = visit().evaluate(PLAY_OFFLINE, task | {"hole": [12_000, 12_000], "amount": amount})
    heard, passed = unpacked(out["heardAndLossy"])
    start = int(np.argmax(np.abs(passed) > 0))
    wanted = lossy + amount * (enhanced - lossy)
    heard = heard[start + 300 :]
    np.testing.assert_allclose(
        heard, wanted[300 : 300 + len(heard)], atol=0 if not amount else 1e-6
    )


def test_the_amount_can_be_set_while_it_plays(visit):
    page = visit()
    page.locator("[data-action=play]").click()
    listening(page, state="playing")
    page.get_by_label("Amount of the enhancement").fill("0.4")
    listening(page, state="playing", amount="0.4")
    assert page.locator(".el-amount output").inner_text() == "40 %"


def listening(page, **wanted) -> dict:
    """The player's state once it is as wanted."""
    for name, value in wanted.items():
        page.wait_for_selector(f"#device-listen[data-{name}='{value}']", timeout=60_000)
    return page.evaluate("({ ...document.getElementById('device-listen').dataset })")


def heard_after(page, sample: int) -> None:
    page.wait_for_function(
        "(at) => Number(document.getElementById('device-listen').dataset.position) > at", arg=sample
    )


def test_plays_and_switches_by_keyboard_on_one_playhead_with_pictures(visit):
    page = visit()
    page.locator("#device-listen select").focus()
    for _ in range(8):
        if page.evaluate("document.activeElement.dataset.action") == "play":
            break
        page.keyboard.press("Tab")
    loads = [VENDOR / "ort-wasm-simd-threaded.wasm.gz", VENDOR / "ort.wasm.bundle.min.mjs"]
    loads.append(PRETRAINED / "fullband-44k.stream.onnx")
    said = page.locator("#device-listen [role=status]").inner_text()
    promised = float(re.search(r"Play loads ([\d.]+) MB", said).group(1))
    assert promised == pytest.approx(sum(path.stat().st_size for path in loads) / 1e6, abs=0.2)
    page.keyboard.press("Space")
    assert listening(page, state="playing", active="1")
    heard_after(page, 30_000)
    page.keyboard.press("1")
    before = int(listening(page, active="0")["position"])
    heard_after(page, before)
    assert before >= 30_000
    page.keyboard.press("2")
    listening(page, active="1")
    # The codec left nothing over 16 kHz in this clip; the network does not.
    brightness = """([index]) => {
      const canvas = document.querySelectorAll("#device-listen canvas")[index];
      const { data } = canvas.getContext("2d").getImageData(440, 5, 40, 25);
      return data.reduce((sum, value, i) => sum + (i % 4 < 3 ? value : 0), 0) / (40 * 25);
    }"""
    lossy, enhanced = (page.evaluate(brightness, [index]) for index in (0, 1))
    assert enhanced > lossy + 5
    page.keyboard.press("Space")  # the focus is still on the button
    listening(page, state="paused")


def test_own_track_is_played_and_what_is_no_audio_refused(visit, tmp_path):
    soundfile.write(tmp_path / "own.wav", lossy_music(22050, 1.0).T, 22050)
    (tmp_path / "notes.mp3").write_text("no music")
    page = visit()
    page.locator("#device-listen input[type=radio]").last.check()
    page.get_by_label("Your own track").set_input_files(tmp_path / "notes.mp3")
    page.locator("[data-action=play]").click()
    alert = page.locator("#device-listen [role=alert]")
    alert.wait_for()
    assert "notes.mp3 is no audio that this browser can decode" in alert.inner_text()
    top, clip = alert.bounding_box()["y"], page.locator("#device-listen select").bounding_box()["y"]
    assert top < clip  # not under the pictures
    page.get_by_label("Your own track").set_input_files(tmp_path / "own.wav")
    page.locator("[data-action=play]").click()
    listening(page, state="playing")
    heard_after(page, 4000)
    listening(page, state="paused")  # at its end
    assert page.locator(".el-clock").inner_text() == "0:00 / 0:00"  # shorter than a second
    assert alert.is_hidden()


def choose_small_model(page, name: str = SMALL[0]) -> str:
    """Take a small float model, which computes the same on every processor; returns its name."""
    listed = page.evaluate("fetch('device.json').then((reply) => reply.json())")["models"]
    place = [model["title"] for model in listed].index(name)
    page.locator("#device-listen input[type=radio]").nth(place).check()
    return name


def test_own_track_can_be_chosen_again_after_a_supplied_clip(visit, tmp_path):
    soundfile.write(tmp_path / "own.wav", lossy_music(22050, 4.0).T, 22050)
    page = visit()
    choose_small_model(page)
    page.get_by_label("Your own track").set_input_files(tmp_path / "own.wav")
    for chosen, name in (("0", "Lossy"), ("own", "Your file")):
        page.locator("#device-listen select").select_option(chosen)
        assert page.locator("[data-source='0']").inner_text().endswith(name)
    page.locator("[data-action=play]").click()
    listening(page, state="playing")
    assert page.locator(".el-clock").inner_text().endswith("/ 0:03")


def test_worker_that_could_not_be_loaded_is_asked_for_anew(site, chromium):
    context = chromium.new_context(viewport=devices.PHONE)
    page = context.new_page()
    script, away = site / "worker.mjs", site / "away.mjs"
    with devices.served(site.parent) as address:
        page.goto(f"{address}/device/index.html", wait_until="networkidle")
        page.wait_for_selector("#device-keep[data-state=page]")
        choose_small_model(page)
        script.rename(away)
        context.new_cdp_session(page).send("Network.clearBrowserCache")
        try:
            page.locator("[data-action=play]").click()
            alert = page.locator("#device-listen [role=alert]")
            alert.wait_for()
        finally:
            away.rename(script)
        assert "Worker did not start" in alert.inner_text()
        page.locator("[data-action=play]").click()
        listening(page, state="playing")
        heard_after(page, 4000)
    context.close()


BREAK = """() => {
  MessagePort.prototype.postMessage = () => { throw new Error("out of memory"); };
}"""


def test_failure_while_it_plays_is_told_and_play_begins_anew(visit):
    page = visit()
    choose_small_model(page)
    page.locator("[data-action=play]").click()
    listening(page, state="playing")
    heard_after(page, 4000)
    (worker,) = page.workers
    worker.evaluate(BREAK)
    page.get_by_label("Position").fill("0.5")
    listening(page, state="paused")
    alert = page.locator("#device-listen [role=alert]")
    assert "did not work: out of memory" in alert.inner_text()
    half = 5 * 22050
    page.locator("[data-action=play]").click()
    listening(page, state="playing", waiting="false")
    heard_after(page, half)
    assert alert.is_hidden()


def test_the_whole_track_is_saved_as_a_file(visit, site, tmp_path):
    """Half the enhancement of a stereo track, as Python computes it, in 16 bits."""
    wave = lossy_music(22050)
    soundfile.write(tmp_path / "my song.wav", wave.T, 22050, subtype="FLOAT")
    page = visit()
    chosen = choose_small_model(page)
    page.get_by_label("Your own track").set_input_files(tmp_path / "my song.wav")
    page.get_by_label("Amount of the enhancement").fill("0.5")
    with page.expect_download() as download:
        page.locator("[data-action=save]").click()
    assert download.value.suggested_filename == "my song_enhanced.wav"
    download.value.save_as(tmp_path / "saved.wav")
    assert soundfile.info(tmp_path / "saved.wav").subtype == "PCM_16"
    saved, rate = soundfile.read(tmp_path / "saved.wav", dtype="float32")
    whole = el.enhance_wave(wave, open_stream(site / "models" / chosen), sample_rate=22050)
    assert rate == 22050
    np.testing.assert_allclose(saved.T, (wave + whole) / 2, atol=1.5e-4)
    assert "(0.1 MB)" in page.locator("a.el-download").first.inner_text()


def test_a_model_of_another_rate_goes_on_at_the_same_place(visit, tmp_path):
    """From 22.05 to 16 kHz, where the same number of samples would be more than a second later."""
    soundfile.write(tmp_path / "own.wav", lossy_music(22050, 8.0).T, 22050)
    page = visit()
    choose_small_model(page)
    page.get_by_label("Your own track").set_input_files(tmp_path / "own.wav")
    page.locator("[data-action=play]").click()
    listening(page, state="playing")
    page.get_by_label("Position").fill("0.5")
    heard_after(page, 4 * 22050)
    page.locator("[data-action=play]").click()
    listening(page, state="paused")
    page.get_by_label("Position").fill("0.5")
    choose_small_model(page, "plain.stream.onnx")
    assert page.locator(".el-clock").inner_text() == "0:03 / 0:07"
    page.evaluate(FIRST)
    page.locator("[data-action=play]").click()
    page.wait_for_function("window.first")
    half = 16000 * 7.9944 / 2
    assert half - 2 <= page.evaluate("first") < half + 16000


# The first position that is told once the track plays.
FIRST = """() => {
  const root = document.getElementById("device-listen");
  new MutationObserver(() => {
    if (root.dataset.state === "playing") window.first ??= Number(root.dataset.position);
  }).observe(root, { attributeFilter: ["data-position"] });
}"""


DROP = """async ([name, bytes]) => {
  window.positions = [];
  const root = document.getElementById("device-listen");
  new MutationObserver(() => positions.push(Number(root.dataset.position)))
    .observe(root, { attributeFilter: ["data-position"] });
  const dataTransfer = new DataTransfer();
  const content = Uint8Array.from(atob(bytes), (each) => each.charCodeAt(0));
  dataTransfer.items.add(new File([content], name));
  const settings = { dataTransfer, bubbles: true, cancelable: true };
  const over = document.body.dispatchEvent(new DragEvent("dragover", settings));
  const zone = document.querySelector(".el-drop").checkVisibility();
  const drop = document.body.dispatchEvent(new DragEvent("drop", settings));
  return { kept: !over && !drop, zone };
}"""


def test_a_track_dropped_beside_the_card_while_another_plays_begins_at_its_start(visit, tmp_path):
    soundfile.write(tmp_path / "own.wav", lossy_music(22050, 4.0).T, 22050)
    content = base64.b64encode((tmp_path / "own.wav").read_bytes()).decode()
    page = visit()
    choose_small_model(page)
    page.locator("[data-action=play]").click()
    listening(page, state="playing")
    heard_after(page, 40_000)
    dropped = page.evaluate(DROP, ["own.wav", content])
    assert dropped == {"kept": True, "zone": True}
    page.wait_for_function("positions.length > 2")
    assert page.evaluate("positions[0]") < 20_000
    assert page.evaluate("positions.every((at, i) => i === 0 || at >= positions[i - 1])")
    assert page.locator(".el-drop").is_hidden()
    assert page.locator("#device-listen select").evaluate("(node) => node.value") == "own"
    assert page.locator("[data-source='0']").inner_text().endswith("Your file")


LAG = """async ([track, original]) => {
  const { lagOf } = await import(new URL("stream.mjs", location.href));
  const waves = [track, original].map((wave) => wave.map(unpack));
  try { return lagOf(...waves); } catch (error) { return error.message; }
}"""


def test_an_original_is_brought_into_step_with_its_track(visit):
    """An MP3 file of most encoders begins some thousand samples late, or too early."""
    piece = ROOT / "data" / "excerpts" / "render_freedoom1_D_E1M8.flac"
    wave, _ = el.load(piece, sample_rate=22050, duration_s=4.0)
    lossy = el.degrade(wave, "mp3-64", sample_rate=22050)
    page = visit()
    for track, original, lag in (
        (lossy[:, 1105:], wave, 1105),
        (lossy, wave[:1, 2000:], -2000),
        (np.zeros_like(lossy), wave, 0),
    ):
        assert page.evaluate(LAG, [packed(track), packed(original)]) == lag
    other, _ = el.load(piece.with_name("drums_loop.flac"), sample_rate=22050, duration_s=4.0)
    assert "different music" in page.evaluate(LAG, [packed(lossy), packed(other)])


def test_the_original_is_heard_sample_for_sample(visit):
    rng = np.random.default_rng(0)
    lossy, enhanced, original = rng.uniform(-0.5, 0.5, (3, 14_000)).astype(np.float32)
    waves = packed([lossy, enhanced, original])
    task = {"waves": waves, "rate": 44100, "heard": 2, "hole": [14_000, 14_000]}
    out = visit().evaluate(PLAY_OFFLINE, task)
    heard, passed = unpacked(out["heardAndLossy"])
    start = int(np.argmax(np.abs(passed) > 0))
    heard = heard[start + 300 :]
    np.testing.assert_allclose(heard, original[300 : 300 + len(heard)], atol=1e-6)


def test_an_own_original_is_offered_and_other_music_is_refused(visit, tmp_path):
    wave = lossy_music(22050, 3.0)
    soundfile.write(tmp_path / "own.wav", wave.T, 22050)
    noise = np.random.default_rng(0).normal(0, 0.1, wave.shape)
    soundfile.write(tmp_path / "noise.wav", noise.T, 22050)
    page = visit()
    choose_small_model(page)
    original = page.locator("#device-listen [data-source='2']")
    assert original.is_enabled()  # a supplied clip brings it
    page.get_by_label("Your own track").set_input_files(tmp_path / "own.wav")
    assert original.is_disabled()
    page.get_by_label("The original of your track").set_input_files(tmp_path / "own.wav")
    listening(page, active="2")
    page.locator("[data-action=play]").click()
    listening(page, state="playing", active="2")
    page.get_by_label("The original of your track").set_input_files(tmp_path / "noise.wav")
    alert = page.locator("#device-listen [role=alert]")
    alert.wait_for()
    assert "different music" in alert.inner_text()
    assert listening(page, active="1")
    assert original.is_disabled()


# Gives the page a file as its original; at once another one, or another track.
OVERTAKE = """([bytes, other]) => {
  const input = document.querySelector("[aria-label='The original of your track']");
  const give = (content) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([content], "original.wav"));
    input.files = transfer.files;
    input.dispatchEvent(new Event("change"));
  };
  give("no music");
  if (other) return give(Uint8Array.from(atob(bytes), (each) => each.charCodeAt(0)));
  const list = document.querySelector("#device-listen select");
  list.value = 0;
  list.dispatchEvent(new Event("change"));
}"""


@pytest.mark.parametrize("other", [True, False], ids=["original", "track"])
def test_an_original_that_was_given_up_is_not_missed(visit, tmp_path, other):
    soundfile.write(tmp_path / "own.wav", lossy_music(22050, 3.0).T, 22050)
    content = base64.b64encode((tmp_path / "own.wav").read_bytes()).decode()
    page = visit()
    choose_small_model(page)
    page.get_by_label("Your own track").set_input_files(tmp_path / "own.wav")
    page.locator("[data-action=play]").click()
    listening(page, state="playing")
    listening(page, state="paused")
    page.evaluate(OVERTAKE, [content, other])
    if other:  # brought into step
        page.wait_for_function(
            "() => !document.querySelector('#device-listen [role=status]').innerText"
            ".startsWith('Loading')"
        )
    page.wait_for_timeout(300)
    assert page.locator("#device-listen [role=alert]").is_hidden()
    assert page.locator("#device-listen [data-source='2']").is_enabled()
    listening(page, active="2")


def test_nothing_jumps_while_the_page_is_built(visit):
    """Cumulative layout shift, of which web.dev calls up to 0.1 good."""
    shift = """() => new Promise((go) => {
      let sum = 0;
      new PerformanceObserver((list) => list.getEntries().forEach((each) => (sum += each.value)))
        .observe({ type: "layout-shift", buffered: true });
      setTimeout(() => go(sum), 500);
    })"""
    assert visit().evaluate(shift) < 0.1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_phone_without_barriers(visit, scheme):
    page = visit()
    page.evaluate("(scheme) => { document.documentElement.dataset.theme = scheme }", scheme)
    page.evaluate(
        "(dark) => { document.body.style.background = dark ? '#121212' : '#fff' }", scheme == "dark"
    )
    page.wait_for_selector(f".el-root[data-el-theme={scheme}]")
    assert page.evaluate("document.documentElement.scrollWidth") <= devices.PHONE["width"]
    page.evaluate("document.querySelector('h1').remove()")
    violations = Axe().run(page, options={"preload": False}).response["violations"]
    found = [(each["id"], each["nodes"][0]["html"]) for each in violations]
    assert [each for each in found if each[0] != "page-has-heading-one"] == []
    for control in page.locator(".el-root :is(button, select, input)").all():
        box = control.bounding_box()
        assert box is None or (box["height"] >= 18 and box["x"] + box["width"] <= 390)


def test_benchmark_gives_rows_that_can_be_contributed(visit, site, tmp_path):
    """With the small network alone, so that it is over soon."""
    whole = (site / "device.json").read_text()
    listed = json.loads(whole)
    listed["models"] = [model for model in listed["models"] if "small" in model["title"]]
    (site / "device.json").write_text(json.dumps(listed))
    try:
        rows = devices.benchmark(visit(), "Test phone")
    finally:
        (site / "device.json").write_text(whole)
    (tmp_path / "phone.json").write_text(json.dumps(rows))
    table = el.device_results(tmp_path)
    assert list(table.columns) == list(RESULT_COLUMNS)
    assert set(table["condition"]) == {"browser, 1 channel", "browser, 2 channels"}
    assert table["device"].str.startswith("Test phone, ").all()
    assert set(table["commit"]) == {listed["commit"]}
    for _, part in table.groupby("condition"):
        value = part.set_index("metric")["value"]
        assert value["latency_p10_ms"] <= value["latency_ms"] <= value["latency_p99_ms"]
        assert value["latency_p99_ms"] <= value["latency_max_ms"]
        hop_ms = 1000 * 64 / 22050
        assert (
            value["latency_p10_ms"] / hop_ms / 2 < value["rtf"] < value["latency_max_ms"] / hop_ms
        )
        assert value["rtf_ahead"] > 0  # less than `rtf` where the machine does nothing else
        assert 16 < value["wasm_mb"] < 500
        assert value["js_kernel_ms"] > 0


def test_contributed_files_are_checked(tmp_path):
    with pytest.raises(InputError, match="no measured devices"):
        el.device_results(tmp_path)
    for content in ("{", "[]", '[{"metric": "rtf"}]'):
        (tmp_path / "odd.json").write_text(content)
        with pytest.raises(InputError, match=r"odd\.json: no table"):
            el.device_results(tmp_path)


def test_committed_devices_are_whole_and_stand_ins_say_so():
    table = el.device_results(ROOT / "data" / "results" / "devices")
    for device, part in table.groupby("device"):
        metrics = set(part["metric"])
        assert {
            "latency_ms",
            "latency_p99_ms",
            "rtf",
            "rtf_ahead",
            "wasm_mb",
            "js_kernel_ms",
        } <= metrics
        slowdown = part.loc[part["metric"] == "slowdown", "value"]
        assert ("stand-in" in device) == (len(slowdown) == 1 and slowdown.iloc[0] > 2)


def test_works_without_a_network_once_it_was_kept(site, chromium):
    context = chromium.new_context(viewport=devices.PHONE)
    page = context.new_page()
    with devices.served(site.parent) as address:
        page.goto(f"{address}/device/index.html", wait_until="networkidle")
        page.wait_for_selector("#device-keep[data-state=page]")
        page.locator("[data-action=keep]").click()
        page.wait_for_selector("#device-keep[data-state=whole]")
    page.reload()
    page.wait_for_selector("#device-keep[data-state=whole]")
    page.locator("#device-listen input[type=radio]").last.check()
    page.locator("[data-action=play]").click()
    listening(page, state="playing")
    heard_after(page, 4000)
    context.close()


def test_full_storage_takes_nothing_from_the_page(visit):
    page = visit()
    page.wait_for_selector("#device-keep[data-state=page]")
    session = page.context.new_cdp_session(page)
    origin = page.evaluate("location.origin")
    session.send("Storage.overrideQuotaForOrigin", {"origin": origin, "quotaSize": 1})
    reply = page.evaluate("fetch('device.json?again').then((reply) => reply.json())")
    assert reply["models"]
    put = "caches.open('device').then((cache) => cache.put('x', new Response('x')))"
    assert page.evaluate(put + ".catch((error) => error.name)") == "QuotaExceededError"


def test_answer_reaches_the_page_before_it_is_stored_whole(visit, monkeypatch):
    """Half a file comes, then nothing until the page has its beginning."""
    go_on = threading.Event()
    serve = http.server.SimpleHTTPRequestHandler.do_GET

    def halting(handler):
        if not handler.path.endswith("halting"):
            return serve(handler)
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"half")
        go_on.wait(PATIENCE_S)
        handler.wfile.write(b" and half")

    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "do_GET", halting)
    page = visit()
    page.wait_for_selector("#device-keep[data-state=page]")
    begin = """() => Promise.race([
      fetch("halting").then((reply) => ((window.reply = reply), true)),
      new Promise((go) => setTimeout(go, 10_000)),
    ])"""
    begun = page.evaluate(begin)
    go_on.set()
    assert begun
    assert page.evaluate("reply.text()") == "half and half"
    page.wait_for_function("caches.match('halting').then(Boolean)")


def test_can_be_installed(visit):
    page = visit()
    session = page.context.new_cdp_session(page)
    assert session.send("Page.getAppManifest")["errors"] == []
    found = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert {each["errorId"] for each in found} <= {"in-incognito"}  # as every page of a test is


@pytest.fixture
def group():
    """A control group, where the machine lets us make one."""
    try:
        with devices.Group() as made:
            yield made
    except EnhanceError as error:
        pytest.skip(str(error))


def test_on_a_quarter_of_a_core_the_page_plays_to_the_end_and_counts(group, site, driver):
    """How many blocks are late there is for `make devices`, which knows how busy the machine is."""
    with devices.served(site.parent) as address, devices.chromium(driver, group) as browser:
        page = browser.new_page(viewport=devices.PHONE)
        page.goto(f"{address}/device/index.html", wait_until="networkidle")
        group.limit(Fraction(1, 4))
        played = devices.play(page)
    assert played["blocks"] > 9 * 44100 / 128
    assert 0 <= played["late"] <= played["blocks"]
    assert 0 <= played["stalled"] <= played["blocks"]
    assert played["clock"] > 0


def test_run_that_was_not_slowed_down_is_refused(visit):
    page = visit()
    factor = devices.slowdown(page.evaluate(devices.KERNELS), page.evaluate(devices.KERNELS))
    with pytest.raises(devices.Refused, match="nothing is written"):
        devices.confirm(min(factor, 3.0), Fraction(1, 4))
    assert devices.confirm(4.3, Fraction(1, 4)) == 4.3
    assert devices.confirm(5.4, Fraction(1, 4)) == 5.4  # a host that is busy elsewhere
    with pytest.raises(devices.Refused, match=r"took 6\.50 times as long, not 4\.00"):
        devices.confirm(6.5, Fraction(1, 4))


def test_measuring_devices_without_a_control_group_says_what_to_do(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cgroup.procs").touch()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").touch()
    with pytest.raises(EnhanceError, match="run as root"), devices.Group(tmp_path / "none"):
        pass
    done = subprocess.run(
        [sys.executable, "-m", "tools.measure", "devices", "--share", "a half"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "share" in done.stderr
