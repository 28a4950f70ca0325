"""Export weights to ExecuTorch, check and measure the files: data/results/PRESET-executorch.csv.

    python -m tools.measure peers.pte --preset fullband-44k

ExecuTorch is PyTorch's own runtime for phones. It is no part of the environment: its wheel goes to
data/runs/executorch/packages. Convolutions run in XNNPACK, in float32 or, quantised by torchao
with ranges from the excerpts, in 8 bits; embedding, head and gate stay float. A file whose output
deviates too far from PyTorch's is not kept.
"""

import argparse
import contextlib
import logging
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas
import torch

import enhancelib as el
from enhancelib.enhance.backends import Backend, step_by_step
from enhancelib.enhance.frames import FrameEngine
from enhancelib.errors import EnhanceError, ModelError
from enhancelib.evaluate.stopwatch import timed
from enhancelib.metadata import Metadata, describe
from enhancelib.model.blocks import BandScale, CausalBlock
from enhancelib.model.network import AudioUNet
from enhancelib.optimize.export import StreamStep, check_music, model_file
from enhancelib.optimize.footprint import deviation_db
from enhancelib.provenance import RESULT_COLUMNS, result_row
from tools.measure.peers import wheels
from tools.measure.tables import RESULTS, check_commit, write_table

ROOT = Path("data/runs/executorch")
PACKAGES = ("executorch==1.5.1", "pytorch-tokenizers", "ruamel.yaml", "parameterized")
"""The wheel, and what of its needs the environment lacks."""
MAX_ERROR_DB = {"": -80.0, ".int8": -10.0}
CONDITIONS = ("lossless", "sbc-53", "sbc-20", "mp3-64")
METRICS = ("lsd", "si_sdr", "in_band_si_sdr", "visqol")
CALIBRATION_S = 1.0


class ExecuTorchBackend(Backend):
    """A streaming ``.pte`` file in ExecuTorch's own runtime."""

    model_type = "executorch"
    clip, stream = False, True

    def __init__(self, path: Path, metadata: Metadata, shapes: list[tuple[int, ...]]):
        from executorch.runtime import Runtime

        self.path, self.metadata, self._shapes = path, metadata, shapes
        # The method borrows from the program.
        self._program = Runtime.get().load_program(path)
        self._method = self._program.load_method("forward")
        stored = {
            name: self._program.load_method(name).execute([])[0]
            for name in metadata.as_strings()
            if name in self._program.method_names
        }
        wrong = [name for name, value in stored.items() if value != getattr(metadata, name)]
        if wrong or "sample_rate" not in stored:
            raise ModelError(f"{path}: its metadata are missing or wrong; export it again")

    def _state_shapes(self) -> list[tuple[int, ...]]:
        return self._shapes

    def step(
        self, spectrum: np.ndarray, states: list[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """One frame of one channel after the other: shapes are fixed."""
        return step_by_step(self._invoke, spectrum, states)

    def _invoke(self, tensors: list[np.ndarray]) -> list[np.ndarray]:
        inputs = [torch.from_numpy(each.copy()) for each in tensors]
        return [each.numpy().copy() for each in self._method.execute(inputs)]


def export(model: AudioUNet, metadata: Metadata, folder: Path, *, int8: bool) -> ExecuTorchBackend:
    """Write ``<preset>[.int8].stream.pte`` and check it on real music.

    Raises:
        ModelError: it deviates too far from PyTorch; then it is not kept.
    """
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    step = StreamStep(model).eval()
    inputs = (torch.zeros(1, 1, model.config.bins, 2), *model.initial_state())
    exported = torch.export.export(step, inputs)
    if int8:
        exported = torch.export.export(quantize(exported.module(), model, inputs), inputs)
    lowered = to_edge_transform_and_lower(
        exported,
        partitioner=[XnnpackPartitioner()],
        constant_methods={name: getattr(metadata, name) for name in metadata.as_strings()},
    )
    infix = ".int8" * int8
    path = folder / f"{metadata.preset}{infix}.stream.pte"
    shapes = [tuple(state.shape) for state in inputs[1:]]
    with model_file(path) as partial:
        partial.write_bytes(lowered.to_executorch().buffer)
        backend = ExecuTorchBackend(partial, metadata, shapes)
        error_db = deviation_db(backend, model, check_music(metadata.sample_rate)[0])
        if not error_db <= MAX_ERROR_DB[infix]:
            raise ModelError(f"{path}: not written; deviates from PyTorch by {error_db:.1f} dB")
    return ExecuTorchBackend(path, metadata, shapes)


def quantize(
    program: torch.nn.Module, model: AudioUNet, inputs: tuple[torch.Tensor, ...]
) -> torch.nn.Module:
    """Torchao's post-training quantisation for XNNPACK, with ranges of degraded excerpts."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in (CausalBlock, BandScale)}

    def in_u_net(node: torch.fx.Node) -> bool:
        """Weights stand in no module; set_module_type would therefore leave out convolutions."""
        modules = node.meta.get("nn_module_stack", {}).values()
        return node.op == "get_attr" or any(kind in kinds for _, kind in modules)

    quantizer = XNNPACKQuantizer()
    quantizer.set_global(get_symmetric_quantization_config(is_per_channel=True))
    quantizer.set_filter_function(in_u_net)
    # Its own preparation makes floats of all numbers, also of those that count places in a table.
    quantizer.transform_for_annotation = lambda program: program
    prepared = prepare_pt2e(program, quantizer)
    rate = model.config.sample_rate
    with torch.inference_mode():
        for music in check_music(rate)[0]:
            lossy = el.degrade(music[:, : round(CALIBRATION_S * rate)], "mp3-64", sample_rate=rate)
            loud = lossy / np.abs(lossy).max()
            spectra = (
                model.analyze(torch.from_numpy(loud)[None])
                .permute(3, 0, 2, 1)[:, :, None]
                .contiguous()
            )
            states = inputs[1:]
            for spectrum in spectra:
                _, *states = prepared(spectrum, *states)
    quantized = convert_pt2e(prepared)
    graph = quantized.graph
    for node in graph.nodes:  # a convolution with float weights takes the floats before rounding
        if node.target is torch.ops.aten.conv1d.default and node.args[1].op == "get_attr":
            restored = node.args[0]
            if "dequantize" in str(restored.target):
                node.replace_input_with(restored, restored.args[0].args[0])
    # XNNPACK takes an operator in 8 bits only if nothing else reads the floats before it.
    for node in list(graph.nodes):
        if "dequantize_per_tensor" in str(node.target):
            for user in list(node.users)[1:]:
                with graph.inserting_before(user):
                    user.replace_input_with(node, graph.node_copy(node))
    quantized.recompile()
    return quantized


def measure(backends: list[ExecuTorchBackend], model: AudioUNet, pieces: int) -> pandas.DataFrame:
    """Size, error, CPU time and quality beside PyTorch's, as rows of a results table."""
    rate, hop = model.config.sample_rate, model.config.hop_length
    music, _ = check_music(rate)
    tests = pandas.read_csv("data/devset.csv")
    chosen = tests.groupby("kind").head(pieces)["path"]
    command = f"make executorch PRESET={backends[0].metadata.preset}"
    systems = {backend.path.name: backend for backend in backends} | {"pytorch": model}
    quality = el.evaluate(
        {Path(path).stem: Path("data") / path for path in chosen},
        CONDITIONS,
        {name: _system(each) for name, each in systems.items()},
        metrics=METRICS,
        sample_rate=rate,
        excerpt_s=3.0,
        n_jobs=1,
        command=command,
    )
    rows = []
    for backend in backends:
        engine = FrameEngine(backend, 1)
        times = timed(
            lambda engine=engine: engine.push(music[0][:, :hop]),
            audio_s=hop / rate,
            repeats=300,
            between=50,
        )
        values = {
            "size": (backend.path.stat().st_size / 1e6, "MB"),
            "error": (deviation_db(backend, model, music), "dB"),
            "cpu_rtf": (times["cpu_rtf"], "1"),
        }
        rows += [
            result_row(
                *(backend.path.name, name, value, unit),
                condition="stream, 1 thread" if name == "cpu_rtf" else "all",
                command=command,
                piece="all",
            )
            for name, (value, unit) in values.items()
        ]
    table = pandas.concat([pandas.DataFrame(rows), quality])
    table["preset"] = backends[0].metadata.preset
    table["checkpoint_sha256"] = backends[0].metadata.checkpoint_sha256
    return table[list(RESULT_COLUMNS)]


def _system(model: Backend | AudioUNet):
    """A function for :func:`enhancelib.evaluate`."""
    return lambda wave, *, sample_rate: el.enhance_wave(wave, model, sample_rate=sample_rate)


def main() -> None:
    """Install once, export, check, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="fullband-44k")
    parser.add_argument("--weights", default="published", help="published, run, or a checkpoint")
    parser.add_argument("--pieces", type=int, default=2, help="test pieces of each kind")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")  # of a foreign package, by the dozen
    torch.set_num_threads(1)
    began = time.monotonic()
    path = arguments.output / f"{arguments.preset}-executorch.csv"
    try:
        check_commit(path)
        weights = el.find_weights(
            arguments.weights, preset=arguments.preset, run_dir="data/runs/default"
        )
        packages = ROOT / "packages"
        wheels.install(packages, PACKAGES)
        sys.path.insert(0, str(packages.resolve()))
        model = AudioUNet.load(weights)
        metadata = describe(
            model, preset=arguments.preset, checkpoint_sha256=el.checkpoint_sha256(weights)
        )
        with contextlib.redirect_stdout(sys.stderr):
            backends = [export(model, metadata, ROOT, int8=int8) for int8 in (False, True)]
            table = measure(backends, model, arguments.pieces)
        write_table(table, path)
    except EnhanceError as error:
        sys.exit(f"error: {error}")
    shown = table.pivot_table(index="system", columns="metric", values="value")
    print(shown.to_string(float_format="{:.4g}".format))
    print(f"in {path}, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
