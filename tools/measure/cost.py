"""Time the published files on this machine, and the models of hearing; write data/results.

    python -m tools.measure cost --preset fullband-44k

One thread, one channel, a process per file. Times mean something on a machine that does nothing
else; every row has the load it was measured under.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import pandas
import torch

import enhancelib as el
from enhancelib.errors import EnhanceError
from enhancelib.evaluate import stopwatch
from enhancelib.optimize.stamps import quiet_exporters
from enhancelib.provenance import RESULT_COLUMNS, result_row
from tools.measure.results import DEVSET, HEARING, exported_files, read_set
from tools.measure.tables import RESULTS, all_measured, check_commit, write_table

SECONDS = 3.0


class Core(torch.nn.Module):
    """The network without its transforms, for a whole clip: spectrum in, spectrum out."""

    def __init__(self, model: el.AudioUNet):
        super().__init__()
        self.model = model

    def forward(self, spectrum: torch.Tensor) -> torch.Tensor:
        """(1, 2, bins, frames) to the same."""
        return self.model.core(spectrum, self.model.initial_state(1))[0]


def core_seconds(model: el.AudioUNet, repeats: int) -> float:
    """Median time of the core on one clip, in ONNX Runtime on one thread."""
    wave = torch.randn(1, 1, round(SECONDS * model.config.sample_rate)) / 10
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        spectrum = model.analyze(wave)
        path = Path(folder) / "core.onnx"
        with quiet_exporters():
            program = torch.onnx.export(Core(model).eval(), (spectrum,), dynamo=True, verbose=False)
        program.save(path)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (name,) = (entry.name for entry in session.get_inputs())
    return median_seconds(lambda: session.run(None, {name: spectrum.numpy()}), repeats)


def median_seconds(call, repeats: int) -> float:
    """Median time of a call, after one that does not count."""
    call()
    return stopwatch.timed(call, audio_s=1, repeats=repeats, between=repeats)["rtf"]


def hearing_rates(preset_rate: int, repeats: int) -> dict[str, float]:
    """Pairs of one piece of 6 s that one process scores per hour, by model of hearing."""
    path = DEVSET.parent / read_set(DEVSET)["path"].iloc[0]
    wave, rate = el.load(path, sample_rate=preset_rate)
    lossy = wave + np.float32(1e-3) * np.random.default_rng(0).standard_normal(wave.shape, "f4")
    given = {"sample_rate": rate}
    return {
        name: 3600
        / median_seconds(lambda n=name: el.score(lossy, wave, names=[n], **given), repeats)
        for name in HEARING
    }


def measure(preset: str, repeats: int) -> pandas.DataFrame:
    """A row per value, as the other results have it."""
    weights = el.find_weights("published", preset=preset)
    model = el.AudioUNet.load(weights)
    command = f"make results PRESET={preset}"
    table = el.benchmark_files(
        [weights, *exported_files(weights)], seconds=SECONDS, repeats=repeats
    )
    rows = all_measured(table).assign(command=command)
    shared = {"preset": preset, "seed": 0, "checkpoint_sha256": el.checkpoint_sha256(weights)}
    core_s = core_seconds(model, repeats)
    delay_ms = 1000 * model.latency_samples / model.config.sample_rate
    more = [
        ("core, 1 thread", f"{preset}.onnx", "rtf", core_s / SECONDS, "1"),
        ("stream, 1 thread", f"{preset}.stream.onnx", "delay_ms", delay_ms, "ms"),
        ("", f"{preset}.safetensors", "parameters", model.num_parameters, "1"),
    ]
    for name, rate in hearing_rates(model.config.sample_rate, max(3, repeats // 5)).items():
        more.append(("6 s, one process", name, "pairs_per_hour", rate, "1/h"))
    extra = [
        result_row(*row, condition=condition, command=command, **shared) for condition, *row in more
    ]
    joined = pandas.concat([rows, pandas.DataFrame(extra)], ignore_index=True)
    joined["value"] = [float(f"{value:.6g}") for value in joined["value"]]
    return joined[list(RESULT_COLUMNS)]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="fullband-44k")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    file = arguments.output / f"{arguments.preset}-cost.csv"
    try:
        check_commit(file)
        results = measure(arguments.preset, arguments.repeats)
        write_table(results, file)
    except EnhanceError as error:
        sys.exit(f"error: {error}")
    print(f"{file}: {len(results)} values at load {results['load'].max()}")


if __name__ == "__main__":
    main()
