"""Training on real pairs: it learns, it resumes exactly, it refuses what it should."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas
import pytest
import soundfile
import torch
from conftest import full_disk
from scipy.signal import butter, sosfilt
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from enhancelib import train
from enhancelib.audio.writing import save
from enhancelib.data.pairs import PairDataset, prepare
from enhancelib.errors import ConfigError, InputError, ModelError
from enhancelib.model.checkpoints import checkpoint_sha256, read_checkpoint
from enhancelib.model.network import PRESETS, AudioUNet
from enhancelib.train.augmentation import (
    Augmentation,
    augment,
    change_speed,
    equalize,
    random_response,
)
from enhancelib.train.recorder import WholeFiles
from enhancelib.train.run import held_out_loss, launched, train_model
from enhancelib.train.task import Restorer, TrainingConfig

TINY = TrainingConfig(
    base_channels=8, depth=2, dropout=0.0, batch_size=4, epochs=3, learning_rate=3e-3
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Pairs of short coloured noises; the loss is a real band limit and a real MP3."""
    folder = tmp_path_factory.mktemp("music")
    random = np.random.default_rng(0)
    for index in range(6):
        sos = butter(1, 2000 + 500 * index, fs=44100, output="sos")
        wave = sosfilt(sos, random.normal(0, 0.2, (2, 66_150)))
        soundfile.write(folder / f"noise{index}.flac", np.clip(wave, -1, 1).T, 44100)
    return prepare(
        folder,
        tmp_path_factory.mktemp("run") / "pairs",
        duration_s=1.0,
        conditions=["down-16000hz", "mp3-64"],
        n_jobs=1,
    )


@pytest.fixture(scope="module")
def trained(manifest, tmp_path_factory):
    return train_model(manifest, tmp_path_factory.mktemp("checkpoint"), TINY, progress=False)


def test_it_learns(trained, manifest):
    assert trained.best_loss < 0.95 * trained.untreated_loss
    table = held_out_loss(trained.checkpoint, manifest)
    assert set(table["condition"]) == {"down-16000hz", "mp3-64"}
    assert table["loss"].mean() < 0.95 * table["untreated"].mean()


def test_an_epoch_may_be_cut_short(manifest, tmp_path):
    config = TINY.model_copy(update={"epochs": 2, "epoch_steps": 2})
    result = train_model(manifest, tmp_path / "run", config, progress=False)
    log = pandas.read_csv(result.log)
    assert list(log[log.split == "train"]["step"]) == [2, 4]
    assert log["learning_rate"].iloc[-1] == pytest.approx(0, abs=1e-9)  # the schedule knows


def test_the_last_epoch_may_be_kept_though_its_loss_is_not_the_least(manifest, tmp_path):
    """A rate that rises until it spoils what was learnt."""
    rising = {"epochs": 2, "epoch_steps": 3, "learning_rate": 0.3, "warmup": 1.0}
    kept = {}
    for keep in ("best", "last"):
        config = TINY.model_copy(update=rising | {"keep": keep})
        kept[keep] = train_model(manifest, tmp_path / keep, config, progress=False)
    losses = pandas.read_csv(kept["last"].log).query("split == 'validation'")
    first, second = losses.groupby("epoch")["loss"].mean()
    assert first < second
    assert [kept[keep].best_epoch for keep in ("best", "last")] == [0, 1]
    state = torch.load(tmp_path / "last" / "last.ckpt", weights_only=True)["state_dict"]
    for name, value in AudioUNet.load(kept["last"].weights).state_dict().items():
        assert torch.equal(value, state[f"model.{name}"]), name


def test_what_a_run_leaves_behind(trained):
    assert trained.checkpoint.name == f"checkpoint_epoch_{trained.best_epoch}_best.pth"
    assert trained.weights.name == "fullband-44k.safetensors"
    one, other = AudioUNet.load(trained.checkpoint), AudioUNet.load(trained.weights)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    facts, _ = read_checkpoint(trained.weights)
    assert TrainingConfig.model_validate_json(facts["training_config"]) == TINY
    assert len(facts["manifest_sha256"]) == 64
    log = pandas.read_csv(trained.log)
    assert list(log[log.split == "train"]["epoch"]) == [0, 1, 2]
    assert set(log[log.split == "validation"]["condition"]) == {"down-16000hz", "mp3-64"}
    best = log[log.split == "validation"].groupby("epoch")["loss"].mean()
    assert best.idxmin() == trained.best_epoch
    assert best.min() == pytest.approx(trained.best_loss)


def test_tensorboard_has_every_step_and_the_validation_by_condition(trained):
    events = EventAccumulator(str(trained.log.parent / "tensorboard")).Reload()
    steps = pandas.read_csv(trained.log)["step"].max()
    assert [event.step for event in events.Scalars("loss")] == list(range(steps))
    log = pandas.read_csv(trained.log)
    ours = log[(log.split == "validation") & (log.condition == "mp3-64")]["loss"]
    theirs = [event.value for event in events.Scalars("validation/mp3-64")]
    assert theirs == pytest.approx(list(ours), rel=1e-5)


class Killed(Exception):
    pass


def test_a_run_cut_short_goes_on_as_if_nothing_happened(trained, manifest, tmp_path, monkeypatch):
    """Stop in the middle of the second epoch, run again: same log, same weights."""
    from enhancelib.train import run as training

    calls = 0
    original = training.Restorer.training_step

    def until_killed(self, batch, index):
        nonlocal calls
        calls += 1
        if self.current_epoch == 1 and index == 1:
            raise Killed
        return original(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(training.Restorer, "training_step", until_killed)
        with pytest.raises(Killed):
            train_model(manifest, tmp_path, TINY, progress=False)
    assert calls > 1
    resumed = train_model(manifest, tmp_path, TINY, progress=False)
    pandas.testing.assert_frame_equal(
        pandas.read_csv(resumed.log), pandas.read_csv(trained.log), rtol=1e-5
    )
    again = train_model(manifest, tmp_path, TINY, progress=False)
    assert again == resumed  # a finished run is left as it is
    for a, b in zip(
        AudioUNet.load(resumed.weights).parameters(),
        AudioUNet.load(trained.weights).parameters(),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_fine_tuning_starts_from_the_given_weights(trained, manifest, tmp_path):
    config = TINY.model_copy(update={"epochs": 1, "learning_rate": 1e-12})
    options = {"start_from": trained.weights, "notes": {"corpus_editions": "1 2"}}
    tuned = train_model(manifest, tmp_path, config, **options, progress=False)
    weight = "core.encoder.0.pointwise.weight"
    assert read_checkpoint(tuned.weights)[0]["corpus_editions"] == "1 2"
    torch.testing.assert_close(
        read_checkpoint(tuned.weights)[1][weight],
        read_checkpoint(trained.weights)[1][weight],
        atol=1e-6,
        rtol=0,
    )


def test_fine_tuning_trains_the_norms_too(trained, manifest, tmp_path):
    """A loaded network is in evaluation mode; training must put it back."""
    config = TINY.model_copy(update={"epochs": 1})
    tuned = train_model(manifest, tmp_path, config, start_from=trained.weights, progress=False)
    name = "core.embedding_norm.num_batches_tracked"
    assert read_checkpoint(tuned.weights)[1][name] > read_checkpoint(trained.weights)[1][name]


@pytest.fixture(scope="module")
def small_22k(tmp_path_factory):
    """A checkpoint of a network for 22,050 Hz, not as wide as its preset."""
    settings = PRESETS["seed-22k"].model_dump() | {"base_channels": 4, "depth": 2}
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    return AudioUNet(**settings).save(path)


@pytest.mark.parametrize("options", [{}, {"preset": "seed-22k", "sample_rate": 22050}])
def test_fine_tuning_is_at_the_rate_of_the_start(
    small_22k, manifest, tmp_path, options, monkeypatch
):
    """The pairs, at 44,100 Hz, are brought to it."""
    config = TINY.model_copy(update={"epochs": 1})
    read, seen = PairDataset.read, []

    def noted(self, *args):
        wave = read(self, *args)
        seen.append((self.rows[0]["split"], wave.shape[1]))
        return wave

    monkeypatch.setattr(PairDataset, "read", noted)
    tuned = train_model(manifest, tmp_path, config, start_from=small_22k, progress=False, **options)
    assert tuned.weights.name == "seed-22k.safetensors"
    assert AudioUNet.load(tuned.weights).config == AudioUNet.load(small_22k).config
    assert set(seen) == {("train", 22050), ("validation", 22050)}  # a second each


@pytest.mark.parametrize(
    ("start", "options", "named"),
    [
        (True, {"sample_rate": 44100}, r"small\.safetensors: 22050 Hz, sample_rate: 44100 Hz"),
        (True, {"preset": "fullband-44k"}, r"small\.safetensors: 22050 Hz, preset fullband-44k"),
        (False, {"preset": "seed-22k", "sample_rate": 44100}, "sample_rate: 44100 Hz, preset seed"),
    ],
)
def test_rates_that_differ_are_refused(small_22k, manifest, tmp_path, start, options, named):
    start_from = small_22k if start else None
    with pytest.raises(ConfigError, match=named) as caught:
        train_model(
            manifest, tmp_path / "run", TINY, start_from=start_from, progress=False, **options
        )
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_missing_start_is_named(manifest, tmp_path):
    with pytest.raises(ModelError, match=r"gone\.pth: no such model file"):
        train_model(manifest, tmp_path / "run", TINY, start_from=tmp_path / "gone.pth")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "name", "rate"),
    [
        ({"preset": "seed-22k"}, "seed-22k", 22050),
        ({"sample_rate": 32000}, "fullband-44k", 32000),  # the nearer by ratio
    ],
)
def test_name_and_geometry_are_of_one_preset(manifest, tmp_path, options, name, rate):
    config = TINY.model_copy(update={"epochs": 1, "epoch_steps": 1})
    result = train_model(manifest, tmp_path, config, progress=False, **options)
    assert result.weights.name == f"{name}.safetensors"
    made = AudioUNet.load(result.weights).config
    assert (made.sample_rate, made.frame_length) == (rate, PRESETS[name].frame_length)


def test_other_settings_are_refused_unless_asked(trained, manifest, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained.checkpoint.parent, folder)
    other = TINY.model_copy(update={"seed": 1, "epochs": 1})
    with pytest.raises(ConfigError, match="other settings"):
        train_model(manifest, folder, other, progress=False)
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        p.name for p in trained.checkpoint.parent.iterdir()
    )
    assert train_model(manifest, folder, other, overwrite=True, progress=False).best_epoch == 0


def test_weights_of_others_are_not_replaced_unasked(trained, manifest, tmp_path):
    """A folder that holds no run of ours, but files of such names."""
    mine = tmp_path / "fullband-44k.safetensors"
    shutil.copy(trained.weights, mine)
    before = mine.read_bytes()
    with pytest.raises(ConfigError, match=r"fullband-44k\.safetensors: not of a run"):
        train_model(manifest, tmp_path, TINY, progress=False)
    for overwrite in (False, True):  # it would be gone before it is read
        with pytest.raises(ConfigError, match="lies in the run's own folder"):
            train_model(
                manifest, tmp_path, TINY, start_from=mine, overwrite=overwrite, progress=False
            )
    assert [path.name for path in tmp_path.iterdir()] == [mine.name]
    assert mine.read_bytes() == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("text", ['{"epochs": 3}', "[1]", "{half", ""])
def test_a_config_of_something_else_is_not_replaced(manifest, tmp_path, text, overwrite):
    """A config.json for `--config` may lie there, or one of another program."""
    (tmp_path / "config.json").write_text(text)
    for name in ("mine.safetensors", "fullband-44k.safetensors", "log.csv"):
        (tmp_path / name).write_text("precious")
    with pytest.raises(ConfigError, match=r"config\.json: is not of a training run; name another"):
        train_model(manifest, tmp_path, TINY, overwrite=overwrite, progress=False)
    assert (tmp_path / "config.json").read_text() == text
    assert [path.read_text() for path in tmp_path.glob("*[vs]")] == ["precious"] * 3


def test_starting_over_removes_only_what_the_run_wrote(trained, manifest, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained.checkpoint.parent, folder)
    (folder / "mine.safetensors").write_text("precious")
    config = TINY.model_copy(update={"epochs": 1, "epoch_steps": 1})
    train_model(manifest, folder, config, preset="other", overwrite=True, progress=False)
    names = {path.name for path in folder.glob("*.safetensors")}
    assert names == {"mine.safetensors", "other.safetensors"}
    assert (folder / "mine.safetensors").read_text() == "precious"


def test_the_log_of_others_is_not_removed_unasked(manifest, tmp_path):
    mine = tmp_path / "tensorboard" / "events"
    mine.parent.mkdir()
    mine.write_text("precious")
    with pytest.raises(ConfigError, match="tensorboard: not of a run"):
        train_model(manifest, tmp_path, TINY, progress=False)
    assert mine.read_text() == "precious"


def test_the_config_of_a_run_appears_complete(manifest, tmp_path, monkeypatch):
    def killed(*_):
        raise Killed

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(Killed):
        train_model(manifest, tmp_path, TINY, progress=False)
    assert not (tmp_path / "config.json").exists()


def test_another_start_of_the_same_name_is_another_run(trained, manifest, tmp_path):
    start = tmp_path / "start.safetensors"
    config = TINY.model_copy(update={"epochs": 1})
    shutil.copy(trained.weights, start)
    first = train_model(manifest, tmp_path / "run", config, start_from=start, progress=False)
    assert read_checkpoint(first.weights)[0]["start_sha256"] == checkpoint_sha256(start)
    shutil.copy(first.weights, start)
    with pytest.raises(ConfigError, match="other settings"):
        train_model(manifest, tmp_path / "run", config, start_from=start, progress=False)


def test_a_manifest_without_validation_is_refused(manifest, tmp_path):
    table = pandas.read_csv(manifest)
    for column in ("lossless", "lossy"):
        table[column] = [str(manifest.parent / name) for name in table[column]]
    table[table.split == "train"].to_csv(tmp_path / "manifest.csv", index=False)
    with pytest.raises(InputError, match="validation"):
        train_model(tmp_path / "manifest.csv", tmp_path / "run", TINY, progress=False)


ONE_STEP = """
import sys
import torch
from enhancelib.train import loading
from enhancelib.train import run as training
from enhancelib.train import task as restoration
from enhancelib.data.pairs import read_manifest
from enhancelib.model.network import AudioUNet

manifest, folder, batch_size = sys.argv[1], sys.argv[2], int(sys.argv[3])
restoration.augment = lambda untreated, reference, *_, **__: (untreated, reference)
config = restoration.TrainingConfig(
    base_channels=8, depth=2, dropout=0.0, batch_size=batch_size, epochs=1
)


class Watched(restoration.Restorer):
    def on_train_start(self):
        self.model.eval()

    def on_before_optimizer_step(self, optimizer):
        if self.trainer.is_global_zero and self.global_step == 0:
            gradients = {name: p.grad for name, p in self.model.named_parameters()}
            torch.save(gradients, f"{folder}/gradients.pt")


trainer = training._trainer(config)
conditions = sorted(read_manifest(manifest)["condition"].unique())
torch.manual_seed(0)
model = AudioUNet(**config.for_rate(44100).model_dump())
torch.nn.init.normal_(model.core.head.weight, std=0.05)
loaders = [
    loading.loader(manifest, split, config, conditions, 44100, trainer)
    for split in ("train", "validation")
]
task = Watched(model, config, conditions)
trainer.fit(task, *loaders)
rank = trainer.global_rank
items = list(loaders[0].sampler)
torch.save({"items": items, "table": task.validation_table()}, f"{folder}/rank{rank}.pt")
"""


def by_torchrun(count: int, *arguments: str) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*torchrun, f"--nproc-per-node={count}", *arguments]
    subprocess.run(command, check=True, env=environment)


def by_srun(count: int, *arguments: str) -> None:
    """What `srun --ntasks-per-node=COUNT` does on one node: it starts all, and tells each so."""
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NAME": "train", "OMP_NUM_THREADS": "1"}
    job |= {"SLURM_NTASKS": str(count), "SLURM_NTASKS_PER_NODE": str(count), "SLURM_NNODES": "1"}
    job |= {"SLURM_NODELIST": "localhost", "SLURM_NODEID": "0"}
    own = ({"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(count))
    command = [sys.executable, *arguments]
    processes = [subprocess.Popen(command, env=os.environ | job | each) for each in own]
    assert [process.wait(300) for process in processes] == [0] * count


@pytest.fixture(scope="module")
def one_step(manifest, tmp_path_factory):
    """Run the step in so many processes: its gradients, and what each process saw."""
    script = tmp_path_factory.mktemp("step") / "one_step.py"
    script.write_text(ONE_STEP)

    def run(launch, count: int) -> tuple[dict, list[dict]]:
        folder = tmp_path_factory.mktemp("ranks")
        launch(count, str(script), str(manifest), str(folder), str(4 // count))
        ranks = [torch.load(path) for path in sorted(folder.glob("rank*.pt"))]
        assert len(ranks) == count
        return torch.load(folder / "gradients.pt"), ranks

    return run


@pytest.fixture(scope="module")
def alone(one_step):
    return one_step(by_torchrun, 1)


@pytest.mark.parametrize("launch", [by_torchrun, by_srun])
def test_two_processes_average_to_one(one_step, alone, launch):
    """Two gloo processes with half the batch each: the same gradients, every item seen once."""
    seen = {1: alone, 2: one_step(launch, 2)}
    for name, gradient in seen[1][0].items():
        largest = gradient.abs().max().item()
        torch.testing.assert_close(
            seen[2][0][name], gradient, atol=1e-6 * max(1.0, largest), rtol=1e-5, msg=name
        )
    whole, (first, second) = seen[1][1][0], seen[2][1]
    assert not set(first["items"]) & set(second["items"])
    assert sorted(first["items"] + second["items"]) == sorted(whole["items"])
    # The table of validation covers all items, and both processes have it.
    assert first["table"] == second["table"]
    for condition, pair in whole["table"].items():
        assert first["table"][condition][1] == pytest.approx(pair[1], rel=1e-5)


def test_the_log_for_tensorboard_needs_no_tensorflow(tmp_path):
    code = f"""
import sys
from pathlib import Path
from enhancelib.train import run
run._tensorboard(Path({str(tmp_path)!r})).log_metrics({{"loss": 1.0}}, step=0)
sys.exit("tensorflow" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert list(tmp_path.glob("tensorboard/events.*"))


def test_what_processes_add_up_lies_on_their_device():
    """NCCL carries nothing else. Here no two GPUs are: "meta" stands for one, a note for NCCL."""
    task = Restorer(AudioUNet(base_channels=4, depth=2), TINY, ["a", "b"]).to("meta")
    carried = []

    class Strategy:
        def reduce(self, sums, reduce_op):
            carried.append((sums.device.type, reduce_op))
            return torch.full(sums.shape, 2.0)

    class Trainer:
        world_size, strategy = 2, Strategy()

    task._trainer, task.log, task.log_dict = Trainer(), lambda *_, **__: None, lambda *_, **__: None
    task.on_validation_epoch_start()
    task.on_validation_epoch_end()
    assert carried == [("meta", "sum")]
    assert task.validation_table() == {"a": (1.0, 1.0), "b": (1.0, 1.0)}


def test_several_processes_do_not_prepare_together(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="run enhancelib prepare first"):
        train.main(tmp_path, tmp_path / "pairs", tmp_path / "checkpoints")
    assert not (tmp_path / "pairs").exists()


@pytest.mark.parametrize(
    ("names", "processes", "here"),
    [
        ({}, 1, 1),
        ({"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}, 4, 2),
        ({"SLURM_NTASKS": "6", "SLURM_NNODES": "3", "SLURM_NTASKS_PER_NODE": "2"}, 6, 2),
        ({"SLURM_NTASKS": "4", "SLURM_NNODES": "2"}, 4, 2),
        ({"SLURM_NTASKS": "4"}, 4, 4),
    ],
)
def test_how_many_processes_train_is_read_in_one_place(
    monkeypatch, tmp_path, names, processes, here
):
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert launched() == (processes, here)
    if processes > 1:
        with pytest.raises(ConfigError, match="run enhancelib prepare first"):
            train.main(tmp_path, tmp_path / "pairs", tmp_path / "checkpoints")
        assert not (tmp_path / "pairs").exists()


def test_a_run_is_not_resumed_at_another_rate(manifest, tmp_path):
    config = TINY.model_copy(update={"epochs": 1, "epoch_steps": 1})
    train_model(manifest, tmp_path, config, sample_rate=44100, progress=False)
    with pytest.raises(ConfigError, match="other settings"):
        train_model(manifest, tmp_path, config, sample_rate=48000, progress=False)
    stored = json.loads((tmp_path / "config.json").read_text())
    del stored["sample_rate"]  # as earlier versions wrote it
    (tmp_path / "config.json").write_text(json.dumps(stored))
    assert (
        train_model(manifest, tmp_path, config, sample_rate=44100, progress=False).best_epoch == 0
    )


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_state_cut_short_is_named(manifest, tmp_path, kept):
    config = TINY.model_copy(update={"epochs": 1, "epoch_steps": 1})
    train_model(manifest, tmp_path, config, progress=False)
    last = tmp_path / "last.ckpt"
    whole = last.read_bytes()
    last.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ConfigError, match=r"last\.ckpt: is damaged .* delete it"):
        train_model(manifest, tmp_path, config, progress=False)
    last.unlink()
    assert train_model(manifest, tmp_path, config, progress=False).best_epoch == 0


def test_the_state_appears_complete(manifest, tmp_path, monkeypatch):
    """A kill in the middle of writing leaves the state before."""
    config = TINY.model_copy(update={"epochs": 2, "epoch_steps": 1})
    save, states = torch.save, []

    def cut_short(content, path, *rest, **options):
        if "last" in str(path):
            states.append(path)
            if len(states) == 2:
                Path(path).write_bytes(b"half")
                raise KeyboardInterrupt
        return save(content, path, *rest, **options)

    monkeypatch.setattr(torch, "save", cut_short)
    with pytest.raises(KeyboardInterrupt):
        train_model(manifest, tmp_path, config, progress=False)
    monkeypatch.undo()
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 0
    assert train_model(manifest, tmp_path, config, progress=False).log.exists()
    assert not list(tmp_path.glob("*.partial"))


def test_a_disk_without_room_for_the_state_is_named(tmp_path):
    """The state before stays, and nothing lies beside it."""
    path = tmp_path / "last.ckpt"
    path.write_bytes(b"before")
    with full_disk(5000), pytest.raises(ConfigError, match=r"last\.ckpt: cannot be written \("):
        WholeFiles().save_checkpoint({"weights": torch.zeros(10_000)}, path)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [
        ("last.ckpt", b"before")
    ]


def test_a_crop_that_is_too_short_for_the_loss_is_refused(manifest, tmp_path):
    config = TINY.model_copy(update={"crop_seconds": 0.06, "epochs": 1, "epoch_steps": 1})
    with pytest.raises(ConfigError, match=r"crop_seconds: 0\.06 .* give 0\.098 or more"):
        train_model(manifest, tmp_path / "run", config, progress=False)
    assert not (tmp_path / "run").exists()
    least = config.model_copy(update={"crop_seconds": 0.098})
    train_model(manifest, tmp_path / "run", least, progress=False)


def test_pairs_that_are_too_short_for_the_loss_are_refused(tmp_path):
    music = tmp_path / "music"
    for split in ("train", "validation"):
        save(music / split / "a.wav", 0.1 * np.ones((1, 2000), np.float32), sample_rate=8000)
    short = {"duration_s": 0.1, "sample_rate": 8000, "conditions": ["lossless"]}
    pairs = prepare(music, tmp_path / "pairs", **short, n_jobs=1)
    with pytest.raises(InputError, match=r"pairs of 0\.1 s are too short .* 8000 Hz; prepare some"):
        train_model(pairs, tmp_path / "run", TINY, progress=False)
    assert not (tmp_path / "run").exists()


def test_a_depth_that_the_rate_does_not_allow_is_refused_by_its_key():
    config = TrainingConfig(depth=6)
    assert config.for_rate(44100).depth == 6
    with pytest.raises(ConfigError, match="depth: 6 is too deep at 16000 Hz; give 5 or less"):
        config.for_rate(16000)
    assert TrainingConfig(depth=5).for_rate(16000).depth == 5


@pytest.mark.parametrize("through", ["command", "library"])
def test_sigterm_is_no_success(manifest, tmp_path, through):
    """And the run goes on afterwards."""
    config = TINY.model_copy(update={"epochs": 300, "epoch_steps": 1})
    (tmp_path / "config.json").write_text(config.model_dump_json())
    run, pairs = tmp_path / "run", Path(manifest).parent
    arguments = (None, str(pairs), str(run), "config.json")
    code = f"from enhancelib.train import main; main(*{arguments!r})"
    command = {
        "library": ["-c", code],
        "command": [
            *("-m", "enhancelib", "train", "--output_dir", pairs, "--checkpoint_dir", run),
            *("--config", "config.json"),
        ],
    }[through]
    process = subprocess.Popen(
        [sys.executable, *command], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (run / "last.ckpt").exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in errors
    assert ("error: stopped by SIGTERM" in errors) == (through == "command")
    assert not (run / "result.json").exists()


def test_wandb_offline(manifest, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = TINY.model_copy(update={"epochs": 1, "use_wandb": True})
    train_model(manifest, tmp_path, config, progress=False)
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


def test_seed_config_is_read(tmp_path):
    path = tmp_path / "config.json"
    seed = {
        "base_channels": 32,
        "depth": 4,
        "dropout": 0.1,
        "batch_size": 16,
        "epochs": 100,
        "learning_rate": 1e-3,
        "use_wandb": False,
    }
    path.write_text(json.dumps(seed))
    assert TrainingConfig.from_json(path) == TrainingConfig()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"epoch": 3}', "epoch: .*known keys: base_channels"),
        ('{"epochs": 0}', "epochs"),
        ('{"dropout": 2}', "dropout"),
        ('{"learning_rate": "fast"}', "learning_rate"),
        ('{"learning_rate": Infinity}', "learning_rate"),
        ('{"weight_decay": 1e999}', "weight_decay"),
        ('{"gradient_clip": NaN}', "gradient_clip"),
        ('{"crop_seconds": 0.001}', "crop_seconds"),
        ('{"seed": -1}', "seed"),
        ('{"seed": 1267650600228229401496703205376}', "seed"),
        ('{"loss": {"mse": Infinity}}', "loss: .*mse is inf"),
        ('{"augmentation": {"gain_db": 1e999}}', "augmentation: .*gain_db is inf"),
        (
            '{"loss": {"mse": 0, "l1": 0, "spectral": 0, "envelope": 0, "dissimilarity": 0, '
            '"relative": 0}}',
            "loss: .*nothing to learn",
        ),
        (
            '{"loss": {"mse": 0, "l1": 0, "spectral": 0, "envelope": 0, "dissimilarity": 0, '
            '"relative": 0, "audible": 0.5}}',
            "loss: .*nothing to learn",
        ),
        ("[" * 100_000, "not valid JSON"),
        ("{epochs: 3}", "not valid JSON"),
        ("[1]", "config.json"),
    ],
)
def test_bad_config_names_file_and_key(tmp_path, text, named):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=named) as caught:
        TrainingConfig.from_json(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_config(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.json"):
        TrainingConfig.from_json(tmp_path / "nowhere.json")


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
def test_geometry_follows_the_rate(rate):
    config = TrainingConfig().for_rate(rate)
    assert config.sample_rate == rate
    assert config.frame_length / rate < 0.04
    shape = {"base_channels": 8, "depth": 2, "dropout": 0.2, "blocks": 1, "dilations": (1, 3)}
    assert shape.items() <= TrainingConfig(**shape).for_rate(rate).model_dump().items()


def test_change_speed_moves_a_tone():
    time = torch.arange(44_100) / 44_100
    wave = torch.sin(2 * torch.pi * 1000 * time)[None, None]
    faster = change_speed(wave, 1.05)[0, 0]
    assert len(faster) == round(44_100 / 1.05)
    peak = torch.fft.rfft(faster).abs().argmax() * 44_100 / len(faster)
    assert float(peak) == pytest.approx(1050, abs=2)
    assert float(faster.square().mean()) == pytest.approx(0.5, rel=0.01)


def test_settings_of_older_checkpoints_are_understood():
    """Those trained before November 2026 have the British spelling."""
    given = {"augmentation": {"equalize_probability": 0.3}}
    now = TrainingConfig.model_validate(given)
    before = now.model_dump_json().replace("equalize_", "equalise_")
    assert "equalise_probability" in before
    assert TrainingConfig.model_validate_json(before) == now
    assert Augmentation(equalise_probability=0.2) == Augmentation(equalize_probability=0.2)


def test_a_pair_stays_a_pair_under_augmentation():
    """The lossy side is a fixed filter of the lossless: after augmentation it still is."""
    torch.manual_seed(0)
    reference = 0.1 * torch.randn(4, 1, 44_100)
    settings = Augmentation(noise_probability=0.0, stretch=0.1, equalize_probability=0.5)
    untreated, original = augment(
        0.5 * reference, reference, settings, crop_samples=20_000, sample_rate=44_100
    )
    torch.testing.assert_close(untreated, 0.5 * original, atol=1e-6, rtol=1e-4)
    assert 20_000 / 1.1 - 1 <= original.shape[-1] <= 20_000 / 0.9 + 1
    levels = (original.square().mean(dim=2) / reference.square().mean(dim=2)).sqrt()
    assert float(levels.max() / levels.min()) > 1.05  # each item has a gain of its own


def test_colours_differ_and_only_take_treble_away_for_good():
    """Half of the responses are level on average; the others fall, as dull music does."""
    torch.manual_seed(0)
    gains_db = 20 * random_response(400, 2049, sample_rate=44_100).log10()
    octave_db = gains_db[:, [93, 186, 372, 743]]  # 1, 2, 4 and 8 kHz
    assert octave_db[:, 0].std() == pytest.approx(3, rel=0.2)
    fall = gains_db[:, 186] - gains_db[:, 1486]  # from 2 to 16 kHz
    assert float(fall.median()) > 3
    assert 0.3 < float((fall > 15).float().mean()) < 0.6
    assert float(fall.min()) > -25


def test_equalising_is_a_filter_without_delay():
    time = torch.arange(44_100, dtype=torch.float64) / 44_100
    wave = torch.sin(2 * torch.pi * 1000 * time)[None, None]
    response = torch.linspace(1, 0, 22_051)[None, None]
    expected = wave * (1 - 1000 / 22_050)
    torch.testing.assert_close(equalize(wave, response), expected, atol=1e-6, rtol=0)


def test_augmentation_noise_has_the_stated_level():
    reference = 0.1 * torch.randn(64, 1, 8000)
    settings = Augmentation(
        noise_probability=1.0, stretch=0.0, gain_db=0.0, equalize_probability=0.0
    )
    untreated, original = augment(
        reference, reference, settings, crop_samples=8000, sample_rate=44_100
    )
    snr = 10 * torch.log10(
        original.square().mean(dim=2) / (untreated - original).square().mean(dim=2)
    )
    assert 9.5 < float(snr.min()) < 20
    assert 30 < float(snr.max()) < 40.5
