"""Measure every tip on speed, memory and quality that this project began with, into data/results.

    python -m tools.measure tips --preset fullband-44k   minutes, on an idle machine

Is ONNX faster than PyTorch, 8 bits than floats, one large batch than single chunks; does it help to
clear tensors; what do chunk size and sample rate do? The page guide/performance reads the answers.
"""

import argparse
import concurrent.futures
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas

import enhancelib as el
from enhancelib.errors import EnhanceError
from enhancelib.evaluate import stopwatch
from enhancelib.model.network import preset_config
from enhancelib.provenance import RESULT_COLUMNS, provenance, result_row
from tools.measure.smaller import makers_digest
from tools.measure.tables import RESULTS, all_measured, check_commit, read_table, write_table

MADE = Path("data/runs/tips")
MUSIC = Path("data/devset/rendered_RUNNIN.flac")
CALIBRATION = sorted(Path("data/excerpts").glob("*.flac"))[::4]
CLIP_S, BATCHES, STEPS, CHUNKS = 3.0, (1, 2, 8), (1, 4, 16), (64, 1024, 5000)
KEPT = ("rtf", "cpu_rtf", "kernels_per_s", "startup_s", "resident_mb", "peak_mb", "file_mb")


def row(system: str, condition: str, metric: str, value: float, unit: str, piece: str = "") -> dict:
    """One measured value, without where it comes from."""
    facts = {"piece": piece, "condition": condition, "system": system}
    return facts | {"metric": metric, "value": round(float(value), 6), "unit": unit}


def make_files(preset: str) -> list[Path]:
    """The published weights in every format, in floats and 8 bits, made where missing."""
    weights, folder = el.find_weights("published", preset=preset), MADE / preset
    digest = folder / "of.txt"
    model, sha256 = el.AudioUNet.load(weights), el.checkpoint_sha256(weights)
    made_by = f"{sha256} {makers_digest()}"
    if not digest.exists() or digest.read_text() != made_by:
        facts = {"preset": preset, "checkpoint_sha256": sha256, "ready": weights.parent}
        written = el.export_model(model, folder, overwrite=True, **facts)
        rate = model.config.sample_rate
        music = [el.load(path, sample_rate=rate, duration_s=CLIP_S)[0] for path in CALIBRATION]
        music = [wave.mean(axis=0, keepdims=True) for wave in music]
        ranges = el.compression.calibrate(model, music)
        for path in (each.path for each in written if each.kind == "clip"):
            if path.suffix in (".onnx", ".tflite"):
                el.compression.quantize_static(path, ranges, music=music[:2], overwrite=True)
        digest.write_text(made_by)
    return [weights, *sorted(path for path in folder.iterdir() if path != digest)]


def apart(function: Callable, *arguments: object) -> dict:
    """Call a function of this module in a fresh process, so that its memory is its own."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(function, *arguments).result()


def peak_mb() -> float:
    """The most memory that this process has held, in MB."""
    return stopwatch.memory()["peak_mb"]


def timed(call: Callable[[], object], audio_s: float, repeats: int) -> dict[str, float]:
    """CPU and clock time per second of audio, after one call that is not counted."""
    call()
    times = stopwatch.timed(call, audio_s=audio_s, repeats=repeats, between=repeats)
    return {name: times[name] for name in ("rtf", "cpu_rtf")}


def run_batch(weights: Path, batch: int, threads: int) -> dict:
    """PyTorch, ``batch`` clips in one call."""
    import torch

    torch.set_num_threads(threads)
    model = el.AudioUNet.load(weights).eval()
    samples = round(CLIP_S * model.config.sample_rate)
    clips = 0.1 * torch.randn(batch, 1, samples)
    with torch.inference_mode():
        figures = timed(lambda: model(clips), batch * CLIP_S, 5)
    return figures | {"peak_mb": peak_mb()}


def run_stream(path: Path, channels: int, frames: int) -> dict:
    """ONNX Runtime, so many streams and so many frames of each in one call."""
    from enhancelib.enhance.frames import FrameEngine
    from enhancelib.enhance.modelfiles import open_stream

    backend = open_stream(path)
    hop = backend.metadata.hop_length
    wave = (0.1 * np.random.default_rng(0).standard_normal((channels, 96 * hop))).astype("f4")
    engine = FrameEngine(backend, channels)
    engine.push(wave[:, :hop])  # the first frame needs a second hop

    def stream() -> None:
        for at in range(0, wave.shape[1], frames * hop):
            engine.push(wave[:, at : at + frames * hop])

    return timed(stream, wave.size / backend.metadata.sample_rate, 5) | {"peak_mb": peak_mb()}


def run_step(weights: Path, batch: int) -> dict:
    """One training step of ``batch`` crops of a second."""
    import torch

    from enhancelib.model.losses import CombinedLoss

    torch.set_num_threads(1)
    model = el.AudioUNet.load(weights).train()
    rate = model.config.sample_rate
    loss = CombinedLoss(sample_rate=rate)
    lossless = 0.1 * torch.randn(batch, 1, rate)
    lossy = lossless + 0.01 * torch.randn_like(lossless)
    loss(model(lossy), lossless, lossy).backward()
    return {"peak_mb": peak_mb()}


def run_memory(weights: Path, how: str, seconds: float) -> dict:
    """Enhance a long clip: with gradients, without, without and tidied up, or as a stream."""
    import gc

    import torch

    torch.set_num_threads(1)  # waiting threads spin, on a busy machine for most of the time
    rate = preset_config(weights.stem).sample_rate
    noise = np.random.default_rng(0).standard_normal((1, round(rate * seconds)))
    wave = (0.1 * noise).astype("f4")
    if how == "stream":
        enhancer = el.RealTimeAudioEnhancer(weights, threads=1)
        for at in range(0, wave.shape[1], 4096):
            enhancer.process_audio_chunk(wave[:, at : at + 4096])
        return {"peak_mb": peak_mb()}
    model = el.AudioUNet.load(weights).eval()
    with torch.inference_mode(how != "with gradients"):
        for _ in range(3):
            enhanced = model(torch.from_numpy(wave)[None])
            if how == "without, cleared":
                del enhanced
                gc.collect()
    return {"peak_mb": peak_mb()}


def files(preset: str) -> Iterator[dict]:
    """Every file in its own runtime, clip and stream, on one thread and on two."""
    table = el.benchmark_files(
        make_files(preset), reference=f"{preset}.onnx", threads=[1, 2], seconds=CLIP_S, repeats=8
    )
    for line in all_measured(table).itertuples():
        if line.metric in KEPT:
            yield row(line.system, line.condition, line.metric, line.value, line.unit)


def batches(preset: str) -> Iterator[dict]:
    """Clips in one PyTorch call; channels, or frames, in one call of the stream file."""
    weights = el.find_weights("published", preset=preset)
    for threads in (1, 2):
        for batch in BATCHES:
            for metric, value in apart(run_batch, weights, batch, threads).items():
                condition = f"batch, {threads} thread{'s' * (threads > 1)}"
                yield row(f"{batch}", condition, metric, value, "MB" if "mb" in metric else "1")
    for number in BATCHES:
        for condition, together in (("channels", (number, 1)), ("frames", (1, number))):
            figures = apart(run_stream, weights.with_suffix(".onnx"), *together)
            for metric, value in figures.items():
                yield row(f"{number}", condition, metric, value, "MB" if "mb" in metric else "1")


def memory(preset: str) -> Iterator[dict]:
    """Memory of a training step over its batch, and of a clip over how it is run."""
    weights = el.find_weights("published", preset=preset)
    for batch in STEPS:
        yield row(
            f"{batch}", "training step", "peak_mb", apart(run_step, weights, batch)["peak_mb"], "MB"
        )
    for how in ("with gradients", "without", "without, cleared", "stream"):
        for seconds in (5.0, 20.0) if how in ("without", "stream") else (20.0,):
            got = apart(run_memory, weights, how, seconds)["peak_mb"]
            yield row(how, f"clip of {seconds:g} s", "peak_mb", got, "MB")


def quality(preset: str) -> Iterator[dict]:
    """What chunk size and a wrong sample rate do to the music."""
    model = el.find_weights("published", preset=preset).with_suffix(".onnx")
    rate = preset_config(preset).sample_rate
    original, _ = el.load(MUSIC, sample_rate=rate)
    lossy = el.degrade(original, "mp3-64", sample_rate=rate)
    whole = el.enhance_wave(lossy, model, sample_rate=rate)
    enhancer = el.RealTimeAudioEnhancer(model)
    for chunk in CHUNKS:
        parts = [
            enhancer.process_audio_chunk(lossy[:, at : at + chunk])
            for at in range(0, lossy.shape[1], chunk)
        ]
        streamed = np.concatenate([*parts, enhancer.flush()], axis=1)[:, enhancer.latency_samples :]
        error = 10 * np.log10(np.sum((streamed - whole) ** 2) / np.sum(whole**2))
        yield row(f"chunks of {chunk}", "mp3-64", "error", error, "dB", MUSIC.stem)
    systems = {"untreated": lossy, "enhanced at its rate": whole}
    for wrong in (rate // 2, 48000):  # music at this rate, said to be at the model's
        given = el.resample(lossy, from_rate=rate, to_rate=wrong)
        taken = el.enhance_wave(given, model, sample_rate=rate)
        back = el.resample(taken, from_rate=wrong, to_rate=rate)[:, : original.shape[1]]
        systems[f"{wrong} Hz taken for {rate} Hz"] = np.pad(
            back, ((0, 0), (0, original.shape[1] - back.shape[1]))
        )
    for system, wave in systems.items():
        score = el.score(wave, original, sample_rate=rate, names=["lsd", "visqol"])
        for metric, value in score.items():
            yield row(system, "mp3-64", metric, value, el.METRICS[metric].unit, MUSIC.stem)


PARTS = {"files": files, "batches": batches, "memory": memory, "quality": quality}


def main() -> None:
    """Measure the parts that were asked for; the others' rows stay as they are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="fullband-44k")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--make", action="store_true", help="only make the files to be measured")
    arguments = parser.parse_args()
    target = RESULTS / f"{arguments.preset}-tips.csv"
    try:
        if arguments.make:
            make_files(arguments.preset)
            return
        check_commit(target, joined=set(arguments.parts) != set(PARTS))
        sha256 = el.checkpoint_sha256(el.find_weights("published", preset=arguments.preset))
        tables = []
        for part in PARTS:
            command = f"python -m tools.measure tips --preset {arguments.preset} --parts {part}"
            if part in arguments.parts:
                shared = {"preset": arguments.preset, "checkpoint_sha256": sha256}
                shared |= {"command": command, "facts": provenance(command)}
                made = [result_row(**row, **shared) for row in PARTS[part](arguments.preset)]
                tables.append(pandas.DataFrame(made, columns=RESULT_COLUMNS))
            elif target.exists():
                kept = read_table(target)
                tables.append(kept[kept["command"] == command])
        write_table(pandas.concat(tables), target)
    except EnhanceError as error:
        sys.exit(f"error: {error}")
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
