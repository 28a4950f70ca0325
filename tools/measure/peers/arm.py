"""Run exported files on ARM without a phone; write data/results/PRESET-arm.csv.

    python -m tools.measure peers.arm --preset fullband-44k

qemu-user runs ARM's Python with ARM's ONNX Runtime and LiteRT, instruction by instruction, in a
folder with a small arm64 system (data/runs/arm: Debian packages and wheels, no root rights needed).
That tells exactly how far a file's output there lies from its output here (difference) and from
PyTorch's (error), and how many instructions a second of audio takes. Milliseconds it cannot tell;
those of named cores are estimates and labelled so. Where qemu, apt or a compiler is missing, it
says so and does nothing.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas

import enhancelib as el
from enhancelib.enhance.modelfiles import open_model
from enhancelib.errors import EnhanceError, ModelError
from enhancelib.model.weights import PRETRAINED
from enhancelib.provenance import RESULT_COLUMNS, result_row
from tools.measure.tables import RESULTS, check_commit, write_table

ROOT = Path("data/runs/arm")
NEEDED = {
    "qemu-aarch64": "qemu-user",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "gcc": "gcc",
}
"""Programs, each with the Debian package that has it."""
DEBIAN = ("python3", "libstdc++6")
WHEELS = ("numpy", "onnxruntime", "ai-edge-litert", "flatbuffers", "lazy_loader", "packaging")
WHEELS += ("soundfile", "cffi", "pycparser", "soxr", "typing_extensions", "mutagen", "filelock")
CORES = {
    "Cortex-A53 at 1.4 GHz": ("cortex-a53", 1.4e9, 0.8),
    "Cortex-A76 at 2.4 GHz": ("cortex-a76", 2.4e9, 2.0),
}
"""Core → (what qemu calls it, clock, instructions per cycle that the estimate assumes)."""
WARM_UP_S, SECONDS = 0.2, 1.0
PROCESSOR = """processor\t: 0
BogoMIPS\t: 100.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32{features}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: {part}
CPU revision\t: 1
"""
PARTS = {
    "cortex-a53": ("0xd03", ""),
    "cortex-a76": ("0xd0b", " atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"),
}
PLAY = """
import json, os, sys
import numpy as np
from enhancelib.enhance.frames import FrameEngine
from enhancelib.enhance.modelfiles import open_model

def mark():
    try:
        os.getpgid(0x7ffffff1)
    except OSError:
        pass

task = json.loads(sys.argv[1])
for file, wave, warm_up, output in task:
    wave, backend = np.load(wave), open_model(file)
    if backend.clip:
        result = backend.run_clip(wave)
        mark()
        backend.run_clip(wave[:, warm_up:])
        mark()
    else:
        engine, hop = FrameEngine(backend, 1), backend.metadata.hop_length
        parts = [engine.push(wave[:, :warm_up])]
        mark()
        for at in range(warm_up, wave.shape[1], hop):  # as live: one frame per call
            parts.append(engine.push(wave[:, at : at + hop]))
        mark()
        result = np.concatenate([*parts, engine.finish()], axis=1)
    np.save(output, result)
"""


def missing() -> str:
    """What keeps this from running here, as one line; empty if nothing does."""
    absent = [package for program, package in NEEDED.items() if not shutil.which(program)]
    return f"{', '.join(absent)} not installed; apt-get install {' '.join(absent)}" * bool(absent)


def make_root(folder: Path) -> str:
    """A folder with ARM's Python and wheels, made once; returns the version of that Python."""
    made, wheels = folder / "made.json", pinned_wheels()
    facts = json.loads(made.read_text()) if made.exists() else {}
    if facts.get("wheels") != wheels:
        shutil.rmtree(folder, ignore_errors=True)
        _unpack_debian(folder)
        version = next((folder / "usr" / "bin").glob("python3.*[0-9]")).name.removeprefix("python")
        _install_wheels(folder / "wheels", wheels, version)
        for name in ("possible", "present", "online"):
            file = folder / "sys" / "devices" / "system" / "cpu" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("0\n")
        (folder / "proc").mkdir(exist_ok=True)
        facts = {"python": version, "wheels": wheels}
        made.write_text(json.dumps(facts))
    return facts["python"]


def pinned_wheels() -> list[str]:
    """The wheels at the versions of this repository's lock."""
    lines = Path("requirements.lock").read_text().splitlines()
    pins = dict(line.split(";")[0].strip().split("==") for line in lines if "==" in line)
    pins = {name.lower().replace("_", "-"): pin for name, pin in pins.items()}
    return [f"{name}=={pins[name.replace('_', '-')]}" for name in WHEELS]


def _unpack_debian(folder: Path) -> None:
    """Debian's packages for arm64 with all they depend on, from this machine's own sources."""
    state = folder.resolve() / "apt"
    for part in ("state/lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True)
    (state / "status").touch()
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "false",
        "Dir::State": state / "state",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Debug::NoLocking": "true",
    }
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in settings.items())]
    _run([*apt, "update"])
    _run([*apt, "install", "--yes", "--download-only", *DEBIAN])
    for package in (state / "cache" / "archives").glob("*.deb"):
        _run(["dpkg-deb", "-x", package, folder])
    shutil.rmtree(state)


def _install_wheels(folder: Path, wheels: list[str], version: str) -> None:
    """The wheels for that Python on ARM."""
    platforms = [f"manylinux_2_{minor}_aarch64" for minor in range(17, 36)]
    tags = ["manylinux2014_aarch64", *platforms]
    _run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"),
            *("--target", folder, "--only-binary=:all:", "--python-version", version),
            *(f"--platform={tag}" for tag in tags),
            *wheels,
        ]
    )


def _run(command: list, **options) -> subprocess.CompletedProcess:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        raise ModelError(f"{Path(command[0]).name}: {last}")
    return done


def build_counter(folder: Path) -> Path:
    """Compile the plugin that counts instructions."""
    library = folder / "count.so"
    source = Path(__file__).with_name("arm_count.c")
    _run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, source])
    return library


def play_on_arm(
    files: list[Path], wave: Path, core: str, version: str, output: Path
) -> list[tuple[np.ndarray, float]]:
    """Each file's output and its instructions per second of audio on one kind of core."""
    part, features = PARTS[core]
    (ROOT / "proc" / "cpuinfo").write_text(PROCESSOR.format(part=part, features=features))
    rates = [open_model(file).metadata.sample_rate for file in files]
    outputs = [output / f"{core}-{number}.npy" for number in range(len(files))]
    task = [
        (str(file.resolve()), str(wave.resolve()), round(WARM_UP_S * rate), str(out.resolve()))
        for file, rate, out in zip(files, rates, outputs, strict=True)
    ]
    variables = {
        "PYTHONPATH": f"{(ROOT / 'wheels').resolve()}:{Path.cwd()}",
        "PYTHONHOME": str((ROOT / "usr").resolve()),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    done = _run(
        [
            *("qemu-aarch64", "-cpu", core, "-L", ROOT.resolve()),
            *("-plugin", str((ROOT / "count.so").resolve())),
            *(word for name, value in variables.items() for word in ("-E", f"{name}={value}")),
            *(ROOT / "usr" / "bin" / f"python{version}", "-c", PLAY),
            json.dumps(task),
        ],
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
    )
    counts = [int(line.split()[1]) for line in done.stderr.splitlines() if "counted" in line]
    return [
        (np.load(out), count / SECONDS)
        for out, count in zip(outputs, counts[1::2], strict=True)  # every other one is warm-up
    ]


def level_db(error: np.ndarray, signal: np.ndarray) -> float:
    """Power of one wave in dB below that of another."""
    powers = (float(np.sum(np.square(wave, dtype=np.float64))) for wave in (error, signal))
    return 10 * float(np.log10(max(next(powers), 1e-30) / next(powers)))


def measure(files: list[Path], preset: str) -> pandas.DataFrame:
    """Rows for every file and core: agreement, instructions, estimate."""
    version = make_root(ROOT)
    build_counter(ROOT)
    rate = open_model(files[0]).metadata.sample_rate
    piece = el.find_audio("data/excerpts")[0]
    original, _ = el.load(piece, sample_rate=rate, duration_s=WARM_UP_S + SECONDS)
    lossy = el.degrade(original[:1], "mp3-64", sample_rate=rate)
    float32 = el.enhance_wave(lossy, el.find_weights("published", preset=preset), sample_rate=rate)
    here = [el.enhance_wave(lossy, open_model(file), sample_rate=rate) for file in files]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        wave = Path(folder) / "wave.npy"
        np.save(wave, lossy)
        for core, (name, clock, per_cycle) in CORES.items():
            played = play_on_arm(files, wave, name, version, Path(folder))
            for file, wanted, (got, count) in zip(files, here, played, strict=True):
                estimate = f"estimate: {core}, {per_cycle} instructions per cycle assumed"
                for condition, metric, value, unit in (
                    (f"{name}, emulated", "instructions", count, "1/s"),
                    (f"{name}, emulated", "difference", level_db(got - wanted, wanted), "dB"),
                    (f"{name}, emulated", "error", level_db(got - float32, float32), "dB"),
                    (estimate, "rtf", count / clock / per_cycle, "1"),
                ):
                    rows.append(
                        result_row(
                            *(file.name, metric, value, unit),
                            condition=condition,
                            command=f"make arm PRESET={preset}",
                            piece=piece.stem,
                            preset=preset,
                            checkpoint_sha256=open_model(file).metadata.checkpoint_sha256,
                        )
                    )
    return pandas.DataFrame(rows, columns=RESULT_COLUMNS)


def main() -> None:
    """Measure the published files of a preset, or say why not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="fullband-44k")
    parser.add_argument("--files", type=Path, nargs="+", help="files to run instead")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    path = arguments.output / f"{arguments.preset}-arm.csv"
    if reason := missing():
        print(f"skipped: {reason}")
        return
    try:
        check_commit(path)
        found = sorted(PRETRAINED.glob(f"{arguments.preset}.*"))
        files = arguments.files or [each for each in found if each.suffix in (".onnx", ".tflite")]
        if not files:
            raise ModelError(f"{PRETRAINED}: no exported file of {arguments.preset}; publish some")
        table = measure(files, arguments.preset)
        write_table(table, path)
    except EnhanceError as error:
        sys.exit(f"error: {error}")
    print(table[["system", "condition", "metric", "value", "unit"]].to_string(index=False))
    print(f"in {path}")


if __name__ == "__main__":
    main()
