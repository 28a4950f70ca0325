"""Make a release of trained weights: copy, export, quantise.

    python -m tools.publish.weights fullband-44k

The weights that :mod:`tools.research.pretrain` made and its logs are copied into
enhancelib/pretrained and exported to ONNX and TensorFlow Lite, in float and in 8 bits. The ranges
of the 8-bit files come from the excerpts in this repository, so ``--quantized_only`` makes those
anywhere.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import pandas

import enhancelib as el
from enhancelib.atomic import replacing
from enhancelib.errors import EnhanceError, InputError
from enhancelib.model.checkpoints import checkpoint_sha256
from enhancelib.model.network import AudioUNet
from enhancelib.model.weights import PRETRAINED
from enhancelib.optimize import compression
from enhancelib.optimize.export import export_model
from tools.measure.smaller import calibration_music
from tools.research.pretrain import RECIPES, ROOT


def publish(preset: str) -> None:
    """Copy the weights and both logs into the package, export for other runtimes."""
    PRETRAINED.mkdir(exist_ok=True)
    weights = PRETRAINED / f"{preset}.safetensors"
    folders = {"-energies": ROOT / f"{preset}-energies"}
    if not RECIPES[preset].stays:  # else the network's log is there from when it was taught
        folders[""] = ROOT / preset
    try:  # all that is needed, before anything in the package changes
        logs = {name: pandas.read_csv(at / "log.csv").round(6) for name, at in folders.items()}
        with replacing(weights) as partial:
            shutil.copyfile(ROOT / weights.name, partial)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: is missing; make pretrain writes it") from None
    for name, log in logs.items():
        with replacing(PRETRAINED / f"{preset}{name}.csv") as partial:
            log.to_csv(partial, index=False)
    options = {"preset": preset, "checkpoint_sha256": checkpoint_sha256(weights), "overwrite": True}
    model = AudioUNet.load(weights)
    export_model(model, PRETRAINED, formats=["onnx"], **options)
    export_model(model, PRETRAINED, formats=["tflite"], kinds=["stream"], **options)
    publish_quantized(preset)
    print(f"{weights}: {options['checkpoint_sha256']}; measure it: make results")


def publish_quantized(preset: str, folder: Path = PRETRAINED, *, every: int = 1) -> list[Path]:
    """Write ``<preset>.int8.onnx``, ``.int8.stream.onnx`` and ``.int8.stream.tflite``.

    Each is compared with the float32 file on real music; one that deviates is not written. Float
    files that lie there, of the same weights, are what they are made from.

    Args:
        preset: whose weights are in ``folder``.
        folder: where they are and the files go.
        every: take only every n-th excerpt for the ranges.
    """
    weights = folder / f"{preset}.safetensors"
    model = AudioUNet.load(weights)
    music = calibration_music(model.config.sample_rate, every=every)
    ranges = compression.calibrate(model, music)
    facts = {"preset": preset, "checkpoint_sha256": checkpoint_sha256(weights), "ready": folder}
    options = {"output_dir": folder, "overwrite": True}
    with tempfile.TemporaryDirectory() as made:
        clip, _ = el.export_model(model, made, formats=["onnx"], **facts)
        (stream,) = el.export_model(model, made, formats=["tflite"], kinds=["stream"], **facts)
        files = [
            file
            for exported in (clip, stream)
            for file in compression.quantize_static(exported.path, ranges, **options)
        ]
    for file in files:
        print(f"{file.path.name}: {file.bytes / 1e6:.2f} MB, error {file.error_db:.0f} dB")
    return [file.path for file in files]


def main() -> None:
    """Parse the command line and publish."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", choices=RECIPES)
    parser.add_argument(
        "--quantized_only",
        action="store_true",
        help="8-bit files of the package's weights",
    )
    arguments = parser.parse_args()
    try:
        if arguments.quantized_only:
            publish_quantized(arguments.preset)
        else:
            publish(arguments.preset)
    except EnhanceError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
