"""Measure making and reading pairs at scale; write data/results/data.csv.

    python -m tools.measure soaks.making     about a quarter of an hour on two idle cores

Speed on one and two processes, peak memory at 100 and 5,000 files, 20 kills at random moments, and
the loader alone against the training step it feeds.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas
import soundfile

from enhancelib.data.pairing import DEFAULT_CONDITIONS
from enhancelib.data.pairs import read_manifest
from enhancelib.evaluate.stopwatch import timed_once
from enhancelib.provenance import RESULT_COLUMNS, result_row
from tools.measure.tables import check_commit, write_table

ROOT = Path(__file__).resolve().parents[3]
EXCERPTS = ROOT / "data" / "excerpts"
COMMAND = "make soak"
PREPARE = """
import json, sys, threading, time
import psutil
from enhancelib import data
from enhancelib.evaluate.stopwatch import timed_once

peak = {"head": 0.0, "worker": 0.0}

def watch():
    head = psutil.Process()
    while True:
        try:
            peak["head"] = max(peak["head"], head.memory_info().rss / 2**20)
            for worker in head.children():
                peak["worker"] = max(peak["worker"], worker.memory_info().rss / 2**20)
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.02)

threading.Thread(target=watch, daemon=True).start()
seconds, _ = timed_once(lambda: data.prepare(**json.loads(sys.argv[1])))
print(json.dumps({"seconds": seconds, **peak}))
"""


def prepare(**arguments) -> dict[str, float]:
    """Run `enhancelib.prepare` in a process of its own: seconds and peak memory in MiB."""
    run = subprocess.run(
        [sys.executable, "-c", PREPARE, json.dumps(arguments, default=str)],
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(run.stdout)


def row(system: str, metric: str, value: float, unit: str, *, condition: str, piece: str) -> dict:
    """One line of the table."""
    where = {"condition": condition, "piece": piece}
    return result_row(system, metric, round(value, 3), unit, command=COMMAND, **where)


def speed(folder: Path) -> Iterator[dict]:
    """How many seconds of music become pairs in a second, every condition counted."""
    for jobs in (1, 2):
        shutil.rmtree(folder / "speed", ignore_errors=True)
        took = prepare(input_dir=EXCERPTS, output_dir=folder / "speed", n_jobs=jobs)
        table = read_manifest(folder / "speed")
        coded_s = table.loc[table["condition"] != "lossless", "seconds"].sum()
        where = {"condition": f"{len(DEFAULT_CONDITIONS)} conditions", "piece": "excerpts"}
        system = f"prepare, {jobs} process{'es' if jobs > 1 else ''}"
        yield row(system, "speed", coded_s / took["seconds"], "x real time", **where)


def memory(folder: Path, counts: tuple[int, ...]) -> Iterator[dict]:
    """Peak memory of the head and of its largest worker, over the number of files."""
    rng = np.random.default_rng(0)
    wave = rng.uniform(-0.5, 0.5, (22050, 2))
    music = folder / "many"
    music.mkdir()
    for index in range(max(counts)):
        soundfile.write(music / f"{index:05d}.wav", wave, 44100)
    for count in counts:
        took = prepare(
            input_dir=music, output_dir=folder / f"memory-{count}", conditions=["sbc-20"],
            duration_s=0.5, max_files=count, n_jobs=2,
        )  # fmt: skip
        where = {"condition": "sbc-20", "piece": f"{count} files of 0.5 s"}
        for process in ("head", "worker"):
            yield row(f"prepare, {process}", "peak_memory", took[process], "MiB", **where)
        yield row("prepare, 2 processes", "rate", count / took["seconds"], "files/s", **where)
        shutil.rmtree(folder / f"memory-{count}")


def contents(folder: Path) -> dict[str, str]:
    """Relative path → hash of every file that is no left-over."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.relative_to(folder).as_posix().startswith(".partial-")
    }


def kills(folder: Path, count: int) -> Iterator[dict]:
    """Kill the whole process group at random moments, resume, and compare with a quiet run."""
    options = {"input_dir": EXCERPTS, "conditions": ["sbc-20", "mp3-64"], "max_files": 24}
    prepare(output_dir=folder / "quiet", **options)
    quiet = contents(folder / "quiet")
    chance = random.Random(0)
    output, halves, killed = folder / "killed", 0, 0
    while killed < count:
        arguments = json.dumps(options | {"output_dir": output}, default=str)
        process = subprocess.Popen(
            [sys.executable, "-c", PREPARE, arguments], start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(chance.uniform(0.5, 6.0))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
        made = contents(output) if output.exists() else {}
        halves += sum(quiet.get(name) != digest for name, digest in made.items())
        if len(made) == len(quiet):
            shutil.rmtree(output)  # it got through: start over
    prepare(output_dir=output, **options)
    where = {"condition": "sbc-20, mp3-64", "piece": "24 excerpts"}
    yield row(f"prepare, {count} kills", "half_files", halves, "files", **where)
    same = float(contents(output) == quiet)
    yield row(f"prepare, {count} kills", "identical", same, "1", **where)


def excerpt_corpus(folder: Path) -> Path:
    """The excerpts as a corpus of songs, so that items can be made of them."""
    corpus = folder / "corpus"
    corpus.mkdir()
    rows = []
    for path in sorted(EXCERPTS.glob("*.flac")):
        shutil.copy(path, corpus / path.name)
        facts = {"path": path.name, "kind": "song", "source": path.stem, "split": "train"}
        facts |= {"duration_s": soundfile.info(path).duration, "trusted_hz": "", "once_lossy": 0}
        rows.append(facts)
    pandas.DataFrame(rows).to_csv(corpus / "manifest.csv", index=False)
    return corpus


def making_items(folder: Path, count: int) -> Iterator[dict]:
    """How many seconds of items are made in a second; they stay for :func:`loading`."""
    from enhancelib.data.items import ItemSettings, prepare_items

    settings = ItemSettings(count=count, seconds=3.0)
    corpus = excerpt_corpus(folder)
    took_s, _ = timed_once(lambda: prepare_items(corpus, folder / "items", settings, n_jobs=1))
    speed = count * settings.seconds / took_s
    where = {"condition": "as drawn", "piece": f"{count} items of 3 s from excerpts"}
    yield row("items, 1 process", "speed", speed, "x real time", **where)


def loading(folder: Path) -> Iterator[dict]:
    """Pairs per second of each loader alone, and of the training step that eats them."""
    import torch

    from enhancelib.data.items import Items
    from enhancelib.data.pairs import PairDataset
    from enhancelib.model.losses import CombinedLoss
    from enhancelib.model.network import AudioUNet
    from enhancelib.train.augmentation import Augmentation, augment

    batch = 12
    datasets = {
        "PairDataset": PairDataset(folder / "speed", "train"),
        "Items": Items(folder / "items"),
    }
    where = {"condition": "pairs of 3 s", "piece": "excerpts"}
    for name, dataset in datasets.items():
        loader = torch.utils.data.DataLoader(dataset, batch_size=batch, shuffle=True)
        took_s, _ = timed_once(partial(read_twice, loader))
        yield row(name, "rate", 2 * len(dataset) / took_s, "pairs/s", **where)
    model, loss = AudioUNet().to(memory_format=torch.channels_last), CombinedLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    loader = torch.utils.data.DataLoader(datasets["PairDataset"], batch_size=batch, drop_last=True)

    def step(lossy: torch.Tensor, lossless: torch.Tensor) -> None:
        untreated, reference = augment(
            lossy, lossless, Augmentation(), crop_samples=44100, sample_rate=44100
        )
        optimizer.zero_grad()
        loss(model(untreated), reference, untreated).backward()
        optimizer.step()

    busy_s = [timed_once(partial(step, *pair))[0] for pair in itertools.islice(loader, 12)]
    rate = batch * len(busy_s) / sum(busy_s)
    yield row("training step, crops of 1 s", "rate", rate, "pairs/s", **where)


def read_twice(loader: Iterable[object]) -> None:
    """Go through a loader two times and drop what it gives."""
    for _ in range(2):
        for _ in loader:
            pass


def main() -> None:
    """Measure all, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "data" / "results" / "data.csv")
    parser.add_argument("--files", type=int, nargs="+", default=[100, 5000])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--items", type=int, default=200)
    args = parser.parse_args()
    check_commit(args.output)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for measured in (
            speed(folder),
            making_items(folder, args.items),
            loading(folder),
            kills(folder, args.kills),
            memory(folder, tuple(args.files)),
        ):
            for line in measured:
                rows.append(line)
                print(f"{line['system']}: {line['metric']} {line['value']} {line['unit']}")
    write_table(pandas.DataFrame(rows)[list(RESULT_COLUMNS)], args.output)
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
