"""Put what the device page loads into a folder: scripts, runtime, models, clips, and their list.

python -m tools.dev.device_page FOLDER    FOLDER is the one that holds the page, html/device

Models: all streaming ONNX files in enhancelib/pretrained. Clips: excerpts through real codecs.
"""

import argparse
import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import onnxruntime

import enhancelib as el
from enhancelib.enhance.modelfiles import open_stream
from enhancelib.model.weights import DEFAULT_PRESET, PRETRAINED
from enhancelib.provenance import commit

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "jupyter_book" / "device"
RUNTIME = "vendor/ort-wasm-simd-threaded.wasm.gz"
CLIPS = {
    ("render_freedoom1_D_E1M8", "mp3-64"): "Game music, MP3 at 64 kbit/s",
    (
        "render_freedoom1_D_E2M9",
        "aac-64+sbc-20",
    ): "Game music, AAC at 64 kbit/s over poor Bluetooth",
    ("sonicpi_samples_loop_garzul", "sbc-20"): "Synthesiser loop, poor Bluetooth",
}
LABELS = {  # what a reader is told of a model; the file's own name stays its title
    "fullband-44k.stream.onnx": "Best",
    "fullband-44k.int8.stream.onnx": "Nearly as good, smaller download",
    "seed-22k.stream.onnx": "For slow devices, sound up to 11 kHz",
    "seed-22k.int8.stream.onnx": "For slow devices, smallest download",
}


def entry(folder: Path, name: str, title: str) -> dict[str, str | int]:
    """A file as the page is told of it; its address changes with its content."""
    content = (folder / name).read_bytes()
    sha = hashlib.sha256(content).hexdigest()[:16]
    return {"title": title, "url": f"{name}?sha={sha}", "bytes": len(content)}


def copy_models(paths: list[Path], folder: Path) -> list[dict]:
    """The models and what they say of themselves; float32 first."""
    (folder / "models").mkdir()
    models = []
    for path in sorted(
        paths, key=lambda path: (DEFAULT_PRESET not in path.name, ".int8" in path.name)
    ):
        shutil.copy(path, folder / "models")
        facts = asdict(open_stream(path).metadata)
        label = LABELS.get(path.name, path.name)
        models.append(
            entry(folder, f"models/{path.name}", path.name) | {"label": label, "facts": facts}
        )
    return models


def make_clips(folder: Path, sample_rate: int) -> list[dict]:
    """Excerpts after a lossy codec, stored without a further loss, each with its original."""
    (folder / "clips").mkdir()
    clips = []
    for (piece, condition), title in CLIPS.items():
        wave, rate = el.load(ROOT / "data" / "excerpts" / f"{piece}.flac", sample_rate=sample_rate)
        name, original = (
            f"clips/{piece}-{kind}.flac" for kind in (condition.replace("+", "-"), "original")
        )
        el.save(folder / name, el.degrade(wave, condition, sample_rate=rate), sample_rate=rate)
        el.save(folder / original, wave, sample_rate=rate)
        clip = entry(folder, name, title)
        clips.append(clip | {"original": entry(folder, original, f"{title}: original")})
    return clips


def build(folder: Path, models: list[Path]) -> dict:
    """Fill the folder, write device.json and return its content."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("models", "clips"):
        shutil.rmtree(folder / name, ignore_errors=True)
    ignored = shutil.ignore_patterns("index.md", "README.md")
    shutil.copytree(SOURCES, folder, ignore=ignored, dirs_exist_ok=True)
    shutil.copy(ROOT / "enhancelib/show/static/listening.css", folder)
    for name in ("LICENSE", "ThirdPartyNotices.txt"):
        shutil.copy(Path(onnxruntime.__file__).parent / name, folder / "vendor")
    offered = copy_models(models, folder)
    site = {
        "commit": commit(),
        "runtime": entry(folder, RUNTIME, "runtime"),
        "models": offered,
        "clips": make_clips(folder, offered[0]["facts"]["sample_rate"]),
        "modules": [
            path.relative_to(folder).as_posix()
            for path in sorted(folder.rglob("*"))
            if path.suffix in (".mjs", ".css", ".png") or path.name == "manifest.json"
        ],
    }
    (folder / "device.json").write_text(json.dumps(site, indent=1))
    return site


def bare_page(folder: Path) -> Path:
    """A page with nothing but the three parts, for tests and measurements without a book around."""
    parts = ("listen", "benchmark", "keep")
    styles = ("listening.css", "device.css")
    page = folder / "index.html"
    page.write_text(
        '<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8">'
        "<title>On your own device</title>"
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<link rel="icon" href="icon.png"><link rel="manifest" href="manifest.json">'
        + "".join(f'<link rel="stylesheet" href="{name}">' for name in styles)
        + "</head><body><main><h1>On your own device</h1>"
        + "".join(f'<div id="device-{name}"></div>' for name in parts)
        + '<script type="module" src="app.mjs"></script></main></body></html>'
    )
    return page


def main() -> None:
    """Build from the published models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    build(parser.parse_args().folder, list(PRETRAINED.glob("*.stream.onnx")))


if __name__ == "__main__":
    main()
