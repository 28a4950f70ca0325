"""Run the published model as a listener would, for long; write data/results/streaming.csv.

    python -m tools.measure soaks.streaming     about twenty minutes on an idle machine

Four parts, chosen by --only: `hour` streams an hour of music through each phone runtime, as fast as
it goes; `random` streams four minutes in random chunks through every runtime and compares with the
offline run; `file` enhances a file of one hour; `live` plays music into a sound server for five
minutes and compares what comes out.
"""

import argparse
import contextlib
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas
import soundfile
from scipy.signal import correlate

import enhancelib as el
from enhancelib.enhance.modelfiles import default_model, open_model
from enhancelib.evaluate.stopwatch import memory
from enhancelib.provenance import RESULT_COLUMNS, result_row
from tools.dev import sound
from tools.measure.tables import check_commit, read_table, write_table

ROOT = Path(__file__).resolve().parents[3]
PIECE = ROOT / "data" / "excerpts" / "render_freedoom1_D_E1M2.flac"
COMMAND = "make soak"
RATE = 44100
CHUNK = 512  # 11.6 ms at 44.1 kHz
# Its own process, with nothing in it that a player would not have: the stopwatch needs only NumPy.
HOUR = """
import json, sys, time
began = time.perf_counter()
import numpy as np
import enhancelib as el

path, piece, chunks, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
enhancer = el.RealTimeAudioEnhancer(path, threads=1)
enhancer.process_audio_chunk(np.zeros((2, size), np.float32))
startup_s = time.perf_counter() - began
enhancer.reset()

from enhancelib.evaluate import stopwatch

music, _ = el.load(piece, sample_rate=enhancer.sample_rate)
music = np.concatenate([music[:, : music.shape[1] // size * size]] * (3 - music.shape[0]))
turns = music.shape[1] // size
wall, cpu = np.full(chunks, np.nan), np.full(chunks, np.nan)
early_mb = float("nan")
for turn in range(chunks):
    if turn == max(turns, chunks // 60):
        early_mb = stopwatch.own_memory_mb()
    chunk = music[:, turn % turns * size :][:, :size]
    wall[turn], cpu[turn] = stopwatch.timed_once(lambda: enhancer.process_audio_chunk(chunk))
own_mb = stopwatch.own_memory_mb()
budget = size / enhancer.sample_rate
print(json.dumps({
    "startup_s": startup_s, "rtf": wall.mean() / budget,
    "chunk_p50_ms": 1e3 * np.quantile(wall, 0.5), "chunk_p99_ms": 1e3 * np.quantile(wall, 0.99),
    "chunk_max_ms": 1e3 * wall.max(), "chunk_p99_share": np.quantile(wall, 0.99) / budget,
    "cpu_p99_share": np.quantile(cpu, 0.99) / budget,
    "own_mb": own_mb, "growth_mb": own_mb - early_mb,  # the rest is libraries' files, shared
    **stopwatch.memory(),
}))
"""
FILE = """
import sys
import enhancelib as el
from enhancelib.evaluate import stopwatch
took, _ = stopwatch.timed_once(lambda: el.enhance_file(sys.argv[1], sys.argv[2]))
print(took, stopwatch.memory()["peak_mb"])  # getrusage would tell the parent's peak too
"""
UNITS = {"rtf": "1", "chunk_p99_share": "1", "cpu_p99_share": "1", "startup_s": "s"}


def row(system: str, metric: str, value: float, unit: str, *, condition: str, piece: str) -> dict:
    """One line of the table."""
    facts = open_model(default_model("onnx")).metadata
    where = {"condition": condition, "piece": piece, "preset": facts.preset}
    where |= {"checkpoint_sha256": facts.checkpoint_sha256, "command": COMMAND}
    return result_row(system, metric, round(float(value), 4), unit, **where)


def python(program: str, *arguments: object) -> str:
    """Run a program in a process of its own; what it printed last."""
    run = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return run.stdout.splitlines()[-1]


def looped(seconds: float) -> np.ndarray:
    """The piece over and over, stereo."""
    wave, _ = el.load(PIECE, sample_rate=RATE)
    wave = np.broadcast_to(wave, (2, wave.shape[1]))
    samples = round(seconds * RATE)
    return np.tile(wave, -(-samples // wave.shape[1]))[:, :samples]


def hour(seconds: float | None) -> Iterator[dict]:
    """Memory and time of every chunk, on one thread."""
    seconds = seconds or 3600
    for path in (default_model("onnx"), default_model("tflite")):
        measures = json.loads(python(HOUR, path, PIECE, round(seconds * RATE / CHUNK), CHUNK))
        where = {"condition": f"chunks of {CHUNK}, stereo, 1 thread", "piece": f"{seconds:g} s"}
        for name, value in measures.items():
            unit = UNITS.get(name, name.rpartition("_")[2].replace("mb", "MB"))
            yield row(path.name, name, value, unit, **where)


def random(seconds: float | None) -> Iterator[dict]:
    """Largest difference between the stream in random chunks and the offline run in PyTorch."""
    seconds = seconds or 240
    wave = el.degrade(looped(seconds), "mp3-64", sample_rate=RATE)  # what it works hard on
    chance = np.random.default_rng(0)
    cuts = np.cumsum(chance.integers(1, 20000, size=wave.shape[1] // 5000))
    chunks = np.split(wave, cuts[cuts < wave.shape[1]], axis=1)
    offline = el.enhance_wave(wave, default_model("pytorch"), sample_rate=RATE)
    with tempfile.TemporaryDirectory() as folder:
        exported = el.export_model(
            el.AudioUNet.load(default_model("pytorch")), folder, preset="fullband-44k",
            formats=["torchscript"], kinds=["stream"],
        )  # fmt: skip
        paths = [default_model(kind) for kind in ("pytorch", "onnx", "tflite")]
        for path in (*paths, exported[0].path):
            enhancer = el.RealTimeAudioEnhancer(path, threads=1)
            out = [enhancer.process_audio_chunk(chunk) for chunk in chunks]
            streamed = np.concatenate([*out, enhancer.flush()], axis=1)
            difference = streamed[:, enhancer.latency_samples :] - offline
            where = {"condition": f"{len(chunks)} random chunks", "piece": f"{seconds:g} s"}
            largest_db = 20 * np.log10(abs(difference).max() + 1e-9)
            yield row(path.name, "largest_difference_db", largest_db, "dB", **where)


def file(seconds: float | None) -> Iterator[dict]:
    """Peak memory and speed of enhance_file, on an hour and on a sixtieth of that."""
    seconds = seconds or 3600
    for length in (seconds / 60, seconds):
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "in.wav")
            block = looped(length / 60).T
            with soundfile.SoundFile(source, "w", RATE, 2, "PCM_16") as out:
                for _ in range(60):
                    out.write(block)
            took, peak_mb = map(float, python(FILE, source, Path(folder, "out.flac")).split())
        where = {"condition": "stereo, WAV to FLAC", "piece": f"{length:g} s"}
        yield row("enhance_file", "peak_mb", peak_mb, "MB", **where)
        yield row("enhance_file", "speed", length / took, "x real time", **where)


def live(seconds: float | None, patience_ms: int = 0) -> Iterator[dict]:
    """Play a file into a sound server, have `enhancelib live` enhance it, and compare."""
    seconds = seconds or 300
    path = default_model("onnx")
    with tempfile.TemporaryDirectory() as folder:
        song, recording = Path(folder, "song.wav"), Path(folder, "recording.raw")
        wave = el.degrade(looped(min(seconds, 20.0)), "sbc-20", sample_rate=RATE)
        with soundfile.SoundFile(song, "w", RATE, 2, "FLOAT") as out:
            for _ in range(round(seconds / min(seconds, 20.0))):
                out.write(0.5 * wave.T)
        with sound.server() as environment:
            summary, resident_mb = play(
                song, recording, environment, model=path, patience_ms=patience_ms
            )
        tracks = np.fromfile(recording, np.float32).reshape(-1, 4).T
    heard, played = tracks[:2], tracks[2:]
    levels_db, delay = compare(el.enhance_wave(heard, path, sample_rate=RATE), played)
    values = {
        "latency_ms": 1e3 * delay / RATE,
        "difference_db": max(levels_db),
        "median_difference_db": np.median(levels_db),
        "least_difference_db": min(levels_db),
        "resident_mb": resident_mb,
    }
    queue = f", queue of {patience_ms} ms" if patience_ms else ""
    where = {"condition": f"live, PulseAudio, blocks of 512, stereo{queue}"}
    where["piece"] = f"{seconds:g} s"
    for name, value in (values | summary).items():
        unit = {"load": "1", "late_chunks": "chunks", "dropouts": "blocks"}.get(name)
        unit = unit or name.rpartition("_")[2].replace("mb", "MB").replace("db", "dB")
        yield row(path.name, name, value, unit, **where)


def play(
    song: Path,
    recording: Path,
    environment: dict[str, str],
    *,
    model: Path,
    patience_ms: int = 0,
) -> tuple[dict[str, float], float]:
    """Run `enhancelib live` while a player plays and a recorder listens.

    With patience, the model may lag so long behind, and each device a quarter of that.

    Returns:
        What the command said at its end, by metric, and its memory at the end in MB.
    """
    command = [sys.executable, "-m", "enhancelib", "live", "--model_path", model]
    command += ["--input_device", "pulse", "--output_device", "pulse"]
    if patience_ms:
        command += ["--queue_delay", str(round(patience_ms * RATE / 1000))]
        command += ["--device_latency", str(patience_ms / 4)]
    tap = ["parec", "--device=bus.monitor", "--raw", "--format=float32le", f"--rate={RATE}"]
    tap += ["--channels=4", f"--channel-map={sound.FRONT},{sound.REAR}", "--no-remix"]
    with recording.open("wb") as file, contextlib.ExitStack() as stack:
        enhancer = stack.enter_context(
            subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                text=True, start_new_session=True, preexec_fn=hear_ctrl_c,
            )
        )  # fmt: skip
        stack.callback(enhancer.kill)
        sound.wait_for(environment, "source-outputs")
        recorder = stack.enter_context(subprocess.Popen(tap, env=environment, stdout=file))
        stack.callback(recorder.terminate)
        while recording.stat().st_size < 3 * 16 * RATE:  # three seconds, before the music begins
            time.sleep(0.1)
        subprocess.run(["paplay", "--device=player", song], env=environment, check=True)
        time.sleep(1 + 2 * patience_ms / 1000)
        resident_mb = memory(enhancer.pid)["resident_mb"]
        enhancer.send_signal(signal.SIGINT)
        said, _ = enhancer.communicate(timeout=20)
    if enhancer.returncode != 0:
        raise RuntimeError(f"enhancelib live ended with {enhancer.returncode}: {said}")
    return summary_of(said), resident_mb


def summary_of(said: str) -> dict[str, float]:
    """The figures in the last line that `enhancelib live` prints."""
    patterns = {
        "stated_latency_ms": r"delay ([\d.]+) ms",
        "load": r"load ([\d.]+) %",
        "late_chunks": r"(\d+) late",
        "dropouts": r"(\d+) dropouts",
    }
    found = {name: float(re.search(text, said).group(1)) for name, text in patterns.items()}
    return found | {"load": found["load"] / 100}


def hear_ctrl_c() -> None:
    """For a child process: where this one runs in the background, it would be deaf to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def compare(wanted: np.ndarray, played: np.ndarray) -> tuple[list[float], int]:
    """Align ``played`` with ``wanted``, both (channels, samples).

    Returns:
        Level of the difference in each second of music in dB below the music, and the delay in
        samples.
    """
    loud = np.flatnonzero(np.abs(wanted).max(axis=0) > 1e-3)
    first, last = loud[0], loud[-1]
    stretch = wanted.mean(axis=0)[first : first + 5 * RATE]
    room = played.mean(axis=0)[first : first + 7 * RATE]
    delay = int(np.argmax(correlate(room, stretch, "valid")))
    levels = []
    for at in range(first, last - RATE, RATE):
        music = wanted[:, at : at + RATE]
        error = played[:, at + delay :][:, :RATE] - music
        levels.append(10 * np.log10((np.mean(error**2) + 1e-20) / np.mean(music**2)))
    return levels, delay


PARTS: dict[str, Callable[..., Iterator[dict]]] = {
    "hour": hour,
    "random": random,
    "file": file,
    "live": live,
}


def main() -> None:
    """Measure, print, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "data" / "results" / "streaming.csv")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, help="of every part, instead of its own length")
    parser.add_argument(
        "--patience_ms", type=int, default=0, help="for live, on a busy machine: 1000 at most"
    )
    args = parser.parse_args()
    chosen = list(args.only)
    if "live" in chosen and sound.missing():
        print(f"live: not measured, no {', no '.join(sound.missing())}")
        chosen.remove("live")
    if not chosen:
        sys.exit("error: nothing is left to measure; install what live needs (make sound)")
    joined = set(chosen) != set(PARTS) and args.output.exists()
    check_commit(args.output, joined=joined)
    rows = []
    for part in chosen:
        settings = {"patience_ms": args.patience_ms} if part == "live" else {}
        for line in PARTS[part](args.seconds, **settings):
            rows.append(line)
            print(
                f"{line['system']}, {line['piece']}: {line['metric']} {line['value']}", flush=True
            )
    table = pandas.DataFrame(rows)[list(RESULT_COLUMNS)]
    if joined:  # what was not measured again stays
        table = pandas.concat([read_table(args.output), table])
        what = ["system", "condition", "piece", "metric"]
        table = table.drop_duplicates(what, keep="last").sort_values(what)
    write_table(table, args.output)
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
