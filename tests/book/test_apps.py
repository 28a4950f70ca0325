"""The sample apps of guide/phone: the page computes what Python does, the sketch fits its file."""

import gzip
import re
import shutil

import numpy as np
import pytest
import soundfile
from conftest import ROOT
from playwright.sync_api import sync_playwright

import enhancelib as el
from enhancelib.enhance.modelfiles import open_stream
from enhancelib.model.weights import PRETRAINED
from tools.measure import devices

APPS = ROOT / "jupyter_book" / "guide" / "apps"
VENDOR = ROOT / "jupyter_book" / "device" / "vendor"
PAGE = (APPS / "enhance.html").read_text()
SKETCH = (APPS / "Enhancer.kt").read_text()
ALLOWED = 1e-4  # of the device page too: another runtime and another Fourier transform


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the page's first comment asks for, and nothing else."""
    folder = tmp_path_factory.mktemp("app")
    shutil.copy(APPS / "enhance.html", folder)
    shutil.copy(PRETRAINED / "fullband-44k.stream.onnx", folder)
    shutil.copy(VENDOR / "ort.wasm.bundle.min.mjs", folder)
    wasm = gzip.decompress((VENDOR / "ort-wasm-simd-threaded.wasm.gz").read_bytes())
    (folder / "ort-wasm-simd-threaded.wasm").write_bytes(wasm)
    asked = PAGE.partition("-->")[0]
    assert all(path.name in asked for path in folder.iterdir() if path.suffix != ".html")
    return folder


@pytest.fixture(scope="module")
def page(folder):
    """The page in a browser; requests elsewhere and errors fail the test."""
    faults = []
    with devices.served(folder) as address, sync_playwright() as playwright:
        program = devices.browser.find()
        browser = playwright.chromium.launch(executable_path=program, args=devices.FLAGS)
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.append(request.url))
        page.goto(f"{address}/enhance.html", wait_until="networkidle")
        yield page
        browser.close()
    assert [fault for fault in faults if not fault.startswith((address, "blob:"))] == []


def choose(page, path) -> str:
    """Give the page a file; what it says at the end."""
    page.locator("#file").set_input_files(path)
    page.wait_for_function(
        "/Done|did not work/.test(document.querySelector('#status').textContent)"
    )
    return page.locator("#status").text_content()


def test_the_page_saves_what_python_gives(page, tmp_path):
    wave, rate = el.load(
        ROOT / "data/excerpts/render_freedoom1_D_E1M8.flac", sample_rate=44100, duration_s=1.2
    )
    wave = el.degrade(wave, "mp3-64", sample_rate=rate)[:, :-123]
    soundfile.write(tmp_path / "song.wav", wave.T, rate, subtype="FLOAT")
    assert choose(page, tmp_path / "song.wav") == "Done"
    with page.expect_download() as saving:
        page.locator("#save").click()
    saving.value.save_as(tmp_path / "enhanced.wav")
    got, got_rate = soundfile.read(tmp_path / "enhanced.wav", dtype="float32", always_2d=True)
    wanted = el.enhance_wave(wave, PRETRAINED / "fullband-44k.stream.onnx", sample_rate=rate)
    assert (got_rate, got.T.shape) == (rate, wave.shape)
    assert np.abs(wanted - wave).max() > 100 * ALLOWED  # the network does something here
    assert np.abs(got.T - wanted).max() < ALLOWED
    assert page.evaluate("document.querySelector('#player').src") != ""


def test_what_is_no_audio_is_told(page, tmp_path):
    (tmp_path / "notes.txt").write_text("no music")
    assert choose(page, tmp_path / "notes.txt").startswith("This did not work: ")


def test_the_page_is_short_and_of_the_rate_and_frames_of_its_file():
    assert len(PAGE.splitlines()) < 120
    facts = open_stream(PRETRAINED / "fullband-44k.stream.onnx").metadata
    found = re.search(r"const \[RATE, FRAME, HOP, BINS\] = \[([\d, ]+)\]", PAGE)
    frame = facts.frame_length
    numbers = [facts.sample_rate, frame, facts.hop_length, frame // 2 + 1]
    assert [int(number) for number in found[1].split(",")] == numbers


@pytest.fixture(scope="module")
def signature():
    """The one signature of the file that the sketch is written for, and the file's own facts."""
    pytest.importorskip("ai_edge_litert")
    (name,) = re.findall(r"fullband-44k[\w.]+tflite", SKETCH)
    return open_stream(PRETRAINED / name)


def constant(name: str) -> str:
    return re.search(rf"^const val {name} = \"?(\w+)", SKETCH, re.MULTILINE)[1]


def test_the_sketch_says_first_that_it_was_not_built():
    assert "NOT BUILT AND NOT RUN" in SKETCH.splitlines()[0]


def test_the_sketch_has_the_rate_and_frames_of_its_file(signature):
    facts = signature.metadata
    wanted = {
        "SAMPLE_RATE": facts.sample_rate,
        "FRAME": facts.frame_length,
        "HOP": facts.hop_length,
        "BINS": facts.frame_length // 2 + 1,
        "STATES": len(signature.initial_state()),
    }
    assert {name: int(constant(name)) for name in wanted} == wanted
    assert f"{facts.sample_rate / 1000:.1f} kHz" in SKETCH


def test_the_sketch_has_the_tensors_of_its_file(signature):
    (key,) = signature._interpreter.get_signature_list()
    assert constant("SIGNATURE") == key
    runner = signature._interpreter.get_signature_runner(key)
    given, got = runner.get_input_details(), runner.get_output_details()
    count = range(int(constant("STATES")))
    assert set(given) == {"spectrum", *(f"state_{index}" for index in count)}
    assert set(got) == {"spectrum_out", *(f"state_out_{index}" for index in count)}
    for name in ("spectrum", "state_$it", "state_$index", "spectrum_out"):
        assert f'"{name}"' in SKETCH
    assert {'"state_", set', '"state_out_", set'} == set(re.findall(r'"state_\w*", set', SKETCH))
    shape = re.search(r"float32 of shape \[([\d, ]+)\]", SKETCH)[1]
    for each in (given["spectrum"], got["spectrum_out"]):
        assert each["dtype"] == np.float32
        assert each["shape"].tolist() == [int(size) for size in shape.split(",")]
    for index in count:  # what comes out goes in again as it is
        one, other = given[f"state_{index}"], got[f"state_out_{index}"]
        assert one["dtype"] == other["dtype"]
        assert one["quantization"] == other["quantization"]
        assert one["shape"].tolist() == other["shape"].tolist()


def test_the_sketch_begins_with_what_stands_for_zero(signature):
    """Every byte of a state is its tensor's zero point: right for floats, whose zero point is 0."""
    runner = signature._interpreter.get_signature_runner()
    for index, state in enumerate(signature.initial_state()):
        _, zero = runner.get_input_details()[f"state_{index}"]["quantization"]
        assert set(np.frombuffer(state.tobytes(), np.int8)) == {zero}
    assert "quantizationParams().zeroPoint.toByte()" in SKETCH
