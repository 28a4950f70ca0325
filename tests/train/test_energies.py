"""First stage of training: tables equal the graph's features, the loss, exact resumption."""

import copy
import csv
import errno
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from conftest import ROOT
from filelock import FileLock

from enhancelib import audio
from enhancelib.data.envelopes import Tables, make_tables, table
from enhancelib.data.items import Items
from enhancelib.errors import ConfigError, InputError, ModelError
from enhancelib.model.checkpoints import read_checkpoint
from enhancelib.model.fill import MARGIN_DB, band_features, running_level
from enhancelib.model.network import AudioUNet, ModelConfig
from enhancelib.train import energies, energy_errors
from enhancelib.train.energies import EnergyTrainer, EnergyTraining
from enhancelib.train.energy_errors import NEPER_DB
from enhancelib.train.loading import open_pairs
from enhancelib.train.run import train_model
from enhancelib.train.task import TrainingConfig

RATE = 44100
SECONDS = 2.0
NARROW = ModelConfig(fill={"width": 16, "dilations": (1, 2)})
CONFIG = EnergyTraining(
    model=NARROW, batch_size=4, seconds=1.0, steps=400, warmup=5, precision="float32"
)
CONDITIONS = ["lossless", "mp3-64", "aac-64", "mp3-48"]


@pytest.fixture(scope="module")
def items(few_items):
    return few_items


@pytest.fixture(scope="module")
def tables(items) -> Tables:
    return make_tables(items, items.with_name("tables"), NARROW, progress=False)


class Hostile:
    """Leaves a mark when it is unpickled by a reader that runs what is in a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def trainer(tables, folder, **changes) -> EnergyTrainer:
    return EnergyTrainer(CONFIG.model_copy(update=changes), tables, tables, folder)


def test_a_table_holds_what_the_graph_sees(items, tables):
    """Against the network's own transform and features."""
    samples, scales = (np.load(items / name) for name in ("samples.npy", "scales.npy"))
    model = AudioUNet.from_preset("fullband-44k")
    waves = torch.from_numpy(samples[1] * scales[1]).float()[:, None]
    body = model.analyze(waves)[:, :, :512] / model.core.scale
    power = body.square().sum(dim=1)
    level, _ = running_level(power[:1].mean(dim=1, keepdim=True), torch.zeros(1, 2, 127))
    expected = band_features(power, level, 8)
    read = torch.from_numpy(tables.read(1, 0, tables.values.shape[1]))
    own, lossless = read[:128], read[128:]
    frames = expected.shape[2]
    assert tables.values.shape[1] >= frames
    for got, wanted in ((own, expected[0]), (lossless, expected[1, :64])):
        torch.testing.assert_close(got[:, :frames], wanted, atol=0.02, rtol=0)  # of float16
    assert float(own[40:64].mean()) < float(lossless[40:].mean()) - 2  # and MP3 emptied some


def test_tables_hold_33_kilobytes_of_a_second(tables):
    per_second = tables.values[0].nbytes / SECONDS
    assert 32_000 < per_second < 35_000


@pytest.mark.parametrize("gain", [0.1, 0.01])
def test_a_table_does_not_know_the_level(items, gain):
    pair = np.load(items / "samples.npy")[1] / np.float32(32768)
    loud, quiet = table(pair, NARROW), table(gain * pair, NARROW)
    np.testing.assert_allclose(quiet, loud, atol=0.05)  # rounding, next to the floor


def test_tables_are_made_once_and_not_for_others(items, tables):
    before = (items.with_name("tables") / "tables.npy").stat().st_mtime_ns
    again = make_tables(items, items.with_name("tables"), NARROW, progress=False)
    assert (items.with_name("tables") / "tables.npy").stat().st_mtime_ns == before
    assert np.array_equal(again.values, tables.values)
    other = ModelConfig(fill={"band_bins": 16})
    with pytest.raises(InputError, match="tables: holds tables of other items or settings"):
        make_tables(items, items.with_name("tables"), other, progress=False)


def test_tables_that_two_ask_for_at_once_are_made_once_and_whole(items, tables, tmp_path):
    """The lock is held until they are open, and the second waits for them."""
    folder, places = tmp_path / "tables", []

    def make() -> None:
        values = make_tables(items, folder, NARROW, progress=False).values
        places.append((folder / "tables.npy").stat().st_ino)
        assert np.array_equal(values, tables.values)

    with ThreadPoolExecutor(4) as pool:
        for made in [pool.submit(make) for _ in range(4)]:
            made.result()
    assert len(set(places)) == 1
    lock = FileLock(folder.with_name(".tables.lock"))
    with lock, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(make)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.5)
        lock.release()
        waiting.result()


def test_a_disk_without_room_is_said_before_tables_are_made(items, tmp_path, monkeypatch):
    def full(*unused: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"tables: no room for it \(No space left"):
        make_tables(items, tmp_path / "tables", NARROW, progress=False)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_a_network_without_a_fill_has_no_tables(items, tmp_path):
    with pytest.raises(ConfigError, match="model: has no fill; give it one"):
        make_tables(items, tmp_path / "tables", ModelConfig(), progress=False)
    assert not list(tmp_path.iterdir())


def lose_column(folder):
    rows = pandas.read_csv(folder / "items.csv").drop(columns="trusted_hz")
    rows.to_csv(folder / "items.csv", index=False)


def shuffle_rows(folder):
    pandas.read_csv(folder / "items.csv").iloc[::-1].to_csv(folder / "items.csv", index=False)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "scales.npy").unlink(), "no folder of items"),
        (lambda folder: (folder / "samples.npy").write_bytes(b"no"), "no folder of items"),
        (lose_column, r"items\.csv: lacks the column trusted_hz"),
        (shuffle_rows, "index must count from 0"),
        (lambda folder: np.save(folder / "scales.npy", np.ones(3)), "8 rows, 8 items and 3 scales"),
        (
            lambda folder: np.save(folder / "samples.npy", np.zeros((8, 2, 9))),
            r"not int16 \(items, 2, samples\)",
        ),
    ],
)
def test_what_is_no_folder_of_items_is_refused_in_one_line(items, tmp_path, spoil, message):
    folder = tmp_path / "items"
    shutil.copytree(items, folder)
    spoil(folder)
    with pytest.raises(InputError, match=message) as caught:
        make_tables(folder, tmp_path / "tables", NARROW, progress=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "tables").exists()


# --- the loss ------------------------------------------------------------------------------------


def test_pinball_of_known_errors():
    predicted, target = torch.tensor([0.0, 0.0]), torch.tensor([2.0, -1.0])
    torch.testing.assert_close(
        energy_errors.pinball(predicted, target, 0.5), torch.tensor([2.0, 1.0])
    )
    torch.testing.assert_close(
        energy_errors.pinball(predicted, target, 0.75), torch.tensor([3.0, 0.5])
    )


@pytest.mark.parametrize("quantile", [0.35, 0.5, 0.8])
def test_the_least_pinball_loss_is_at_the_quantile(quantile):
    target = torch.linspace(0, 1, 1001)
    guesses = torch.linspace(0, 1, 101)
    losses = torch.stack([energy_errors.pinball(g, target, quantile).mean() for g in guesses])
    assert float(guesses[losses.argmin()]) == pytest.approx(quantile, abs=0.011)


def batch_of(own_db, target_db, trusted=True):
    """A batch of 64 bands, all alike, over four frames."""
    values = np.empty((1, 192, 4), np.float32)
    values[:, :128], values[:, 128:] = own_db / 4.342945, target_db / 4.342945
    return energy_errors.Batch(torch.from_numpy(values), np.full((1, 64), trusted), 8)


def predicted(level_db, slope_db=0.0):
    frames = torch.tensor([0.0, 1.0, 0.0, 1.0]) * slope_db
    return ((level_db + frames) / 4.342945).expand(1, 56, 4)


def test_terms_of_known_errors():
    terms = energy_errors.energy_loss(predicted(-37.0), batch_of(-70.0, -40.0), survivors=0.1)
    assert {name: round(float(value), 3) for name, value in terms.items()} == {
        "level": 3.0,
        "difference": 0.0,
        "harm": 0.0,  # nothing was left whole
        "dissimilarity": pytest.approx(0.001, abs=0.001),  # alike in shape, 3 dB apart in height
    }
    terms = energy_errors.energy_loss(predicted(-40, 2.0), batch_of(-70.0, -40.0), survivors=0.1)
    assert float(terms["level"]) == pytest.approx(1.0, abs=1e-3)
    assert float(terms["difference"]) == pytest.approx(2.0, abs=1e-3)


def test_what_is_not_to_be_believed_costs_nothing():
    batch = batch_of(-70.0, -40.0, trusted=False)
    terms = energy_errors.energy_loss(predicted(0.0, 5.0), batch, survivors=0.1)
    assert all(float(value) == 0 for value in terms.values())


def test_emptied_bands_count_more_than_survivors():
    """Half of the bands lost and 4 dB off, half kept and right."""
    batch = batch_of(-70.0, -40.0)
    batch.own[:, 28:] = batch.target[:, 28:]
    level = torch.where(torch.arange(56)[:, None] < 28, predicted(-44.0), batch.target)
    terms = energy_errors.energy_loss(level, batch, survivors=0.1)
    assert float(terms["level"]) == pytest.approx(4 / 1.1, abs=1e-3)


def test_a_smooth_guess_differs_in_shape_and_lost_bands_alone_count():
    """Of the shape nothing is left in a flat guess, most of it in a rough one."""
    rng = np.random.default_rng(0)
    values = np.empty((1, 192, 40), np.float32)
    values[:, 128:] = -30 / 4.342945 + rng.standard_normal((1, 64, 40))
    values[:, :128] = -70 / 4.342945
    values[:, :8] = 0.0  # what survived, and sets the range
    batch = energy_errors.Batch(torch.from_numpy(values), np.ones((1, 64), bool), 8)
    flat = batch.target.mean().expand_as(batch.target)
    rough = batch.target + 0.3 * torch.from_numpy(rng.standard_normal((1, 56, 40))).float()

    def of(guess):
        return float(energy_errors.energy_loss(guess, batch, survivors=0.1)["dissimilarity"])

    assert of(batch.target) == pytest.approx(0, abs=1e-5)
    assert of(flat) > 0.8  # no covariance is left
    assert 0 < of(rough) < of(flat) / 2
    batch.own[:, 28:] = batch.target[:, 28:]  # the upper half was not lost
    wrong = batch.target.clone()
    wrong[:, 31:] = flat[:, 31:]
    assert of(wrong) == pytest.approx(0, abs=1e-5)


def test_treble_that_music_never_had_costs_what_exceeds_the_margin():
    whole = batch_of(-60.0, -60.0)
    for guess_db, expected in {-65.0: 0.0, -57.5: 0.0, -50.0: 10.0 - MARGIN_DB}.items():
        terms = energy_errors.energy_loss(predicted(guess_db), whole, survivors=0.1)
        assert float(terms["harm"]) == pytest.approx(expected, abs=1e-3)


def test_what_cannot_be_heard_and_what_lost_something_is_no_harm():
    quiet = batch_of(-90.0, -90.0)
    terms = energy_errors.energy_loss(predicted(-75.0), quiet, survivors=0.1)
    assert float(terms["harm"]) == pytest.approx(5.0 - MARGIN_DB, abs=1e-3)
    damaged = batch_of(-60.0, -60.0)
    damaged.own[:, :3] = -80 / 4.342945  # 3 of 56 bands were emptied
    assert float(energy_errors.energy_loss(predicted(-50.0), damaged, survivors=0.1)["harm"]) == 0


def test_a_colour_is_the_same_on_both_sides_and_smooth(tables, tmp_path):
    plain = EnergyTrainer(CONFIG, tables, tables, tmp_path / "plain")
    settings = CONFIG.model_copy(update={"color_db": 6.0})
    colored = EnergyTrainer(settings, tables, tables, tmp_path / "coloured")
    before, after = plain._draw(), colored._draw()
    change = NEPER_DB * (after.own - before.own)
    torch.testing.assert_close(NEPER_DB * (after.target - before.target), change, atol=1e-3, rtol=0)
    torch.testing.assert_close(change, change[:, :, :1].expand_as(change), atol=1e-3, rtol=0)
    assert 1 < float(change.abs().max()) <= 18
    assert float(change.diff(dim=1).abs().max()) < 3
    assert float((change[0] - change[1]).abs().max()) > 0.5
    assert torch.equal(colored._draw().own, after.own)  # of one step, always the same


def test_trusted_bands_end_where_the_item_says(tables):
    trusted = tables.trusted_bands(RATE)
    counts = dict(zip(tables.items["condition"], trusted.sum(axis=1), strict=True))
    assert counts["mp3-64"] == 64
    assert counts["mp3-48"] == 15800 * 64 // 22050
    assert trusted[3, : counts["mp3-48"]].all()


# --- the run -------------------------------------------------------------------------------------


def test_it_learns_and_its_weights_drop_into_the_network(tables, tmp_path):
    run = trainer(tables, tmp_path / "run")
    before = energy_errors.validation_errors(run.average, tables, CONFIG)
    run.run(minutes=0.3)
    with (tmp_path / "run" / "log.csv").open(newline="") as file:
        rows = {row["condition"]: row for row in csv.DictReader(file)}
    assert list(next(iter(rows.values()))) == list(energies.LOG_COLUMNS)
    assert set(rows) == {*CONDITIONS, "all"}
    assert before["all"]["error_db"] > 20  # an untrained one leaves emptied bands empty
    assert float(rows["all"]["error_db"]) < 0.6 * before["all"]["error_db"]
    assert rows["lossless"]["error_db"] == ""  # where nothing was lost there is no error
    assert float(rows["lossless"]["harm_db"]) >= before["lossless"]["harm_db"] == 0
    path = tmp_path / "run" / "energies.safetensors"
    model = energies.insert(path, AudioUNet(**NARROW.model_dump()))
    weights = read_checkpoint(path)[1]
    for name, value in model.core.fill.predictor.state_dict().items():
        assert torch.equal(value, weights[name])
    with pytest.raises(ModelError, match="has no fill"):
        energies.insert(path, AudioUNet.from_preset("fullband-44k"))
    with pytest.raises(ModelError, match="does not fit"):
        energies.insert(path, AudioUNet(fill={"width": 24, "dilations": (1, 2)}))


def test_a_run_may_begin_with_the_weights_of_another(tables, tmp_path):
    first = trainer(tables, tmp_path / "first")
    for _ in range(3):
        first.train_step()
    first.save()
    weights = tmp_path / "first" / "energies.safetensors"
    second = EnergyTrainer(CONFIG, tables, tables, tmp_path / "second", start_from=weights)
    assert second.step == 0
    for name, value in second.average.state_dict().items():
        assert torch.equal(value, first.average.state_dict()[name]), name
    second.save()
    with pytest.raises(ConfigError, match="start_sha256"):
        trainer(tables, tmp_path / "second")
    wider = CONFIG.model_copy(update={"model": ModelConfig(fill={"width": 24})})
    with pytest.raises(ModelError, match="does not fit"):
        EnergyTrainer(wider, tables, tables, tmp_path / "third", start_from=weights)


@pytest.mark.skipif(
    platform.machine() != "x86_64" or torch.cuda.is_available(),
    reason="the flags are those of an x86 processor",
)
def test_half_precision_is_taken_only_where_the_processor_has_it(tables, tmp_path):
    """Emulated, a step takes four times as long as in float32."""
    flags = set(Path("/proc/cpuinfo").read_text().split())
    native = bool(flags & {"amx_bf16", "avx512_bf16"})
    for precision, half in {"auto": native, "bfloat16": True, "float32": False}.items():
        assert trainer(tables, tmp_path / precision, precision=precision).half is half


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_that_was_stopped_equals_one_that_was_not(tables, tmp_path, precision):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = trainer(tables, tmp_path / "whole", precision=precision)
        for _ in range(6):
            whole.train_step()
        for _ in range(2):
            part = trainer(tables, tmp_path / "parts", precision=precision)
            for _ in range(3):
                part.train_step()
            part.validate()
    finally:
        torch.set_num_threads(threads)
    assert part.step == 6
    for mine, other in ((whole.predictor, part.predictor), (whole.average, part.average)):
        for name, value in mine.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name


def test_a_run_killed_between_log_and_state_has_every_step_once(tables, tmp_path, monkeypatch):
    run = trainer(tables, tmp_path / "run", steps=2)
    run.train_step()
    run.validate()
    run.train_step()

    def killed():
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        run.validate()
    again = trainer(tables, tmp_path / "run", steps=2)
    assert again.step == 1
    again.run()
    log = pandas.read_csv(tmp_path / "run" / "log.csv")
    assert log["step"].unique().tolist() == [1, 2]
    assert not log.duplicated(["step", "condition"]).any()


def test_a_run_that_cannot_be_kept_says_so_in_a_line(tables, tmp_path, monkeypatch):
    def full(*_):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos\nmore")

    run = trainer(tables, tmp_path / "run")
    run.train_step()
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        ConfigError, match=r"run: cannot be written \(.*\); free the disk"
    ) as caught:
        run.validate()
    assert "\n" not in str(caught.value)
    (tmp_path / "file").write_text("")
    run = trainer(tables, tmp_path / "file" / "run")
    run.train_step()
    with pytest.raises(ConfigError, match="run: cannot be written"):
        run.save()


def test_tables_in_memory_are_drawn_from_as_those_on_the_disk(tables, tmp_path):
    trainer = EnergyTrainer(CONFIG, tables, tables, tmp_path / "run")
    of_disk = trainer._draw()
    trainer._resident = torch.from_numpy(np.array(tables.values))
    for name, values in vars(trainer._draw()).items():
        assert torch.equal(values, getattr(of_disk, name)), name


def test_voices_are_rather_too_dull_and_music_too_bright(tables, tmp_path):
    """Each item aims at the quantile of its kind, and a step draws it with the item."""
    rows = tables.items.assign(kind=["speech", "singing", "song", "game"] * 2)
    mixed = copy.copy(tables)
    mixed.items = rows
    run = EnergyTrainer(CONFIG, mixed, tables, tmp_path / "run")
    assert run._quantiles.tolist() == [0.15, 0.15, 0.55, 0.55] * 2
    batch = run._draw()
    items = np.random.default_rng([CONFIG.seed, 0]).integers(len(rows), size=CONFIG.batch_size)
    expected = torch.from_numpy(run._quantiles[items]).float()
    assert torch.equal(batch.quantiles[:, 0, 0], expected)
    low, high = batch_of(-70.0, -40.0), batch_of(-70.0, -40.0)
    low.quantiles[:], high.quantiles[:] = 0.15, 0.55
    for guess_db, dearer in {-44.0: high, -36.0: low}.items():
        cheaper = low if dearer is high else high
        of_dearer, of_cheaper = (
            energy_errors.energy_loss(predicted(guess_db), each, survivors=0.1)["level"]
            for each in (dearer, cheaper)
        )
        assert float(of_dearer) > float(of_cheaper)


def test_another_seed_is_another_run(tables, tmp_path):
    one, other = trainer(tables, tmp_path / "a"), trainer(tables, tmp_path / "b", seed=1)
    assert one.train_step() != other.train_step()


def test_a_folder_of_another_run_is_refused(tables, tmp_path):
    run = trainer(tables, tmp_path / "run")
    run.train_step()
    run.save()
    with pytest.raises(ConfigError, match=r"last\.pt: is of a run with other settings"):
        trainer(tables, tmp_path / "run", quantile=0.6)
    assert trainer(tables, tmp_path / "run", steps=500).step == 1  # it may be made longer
    (tmp_path / "run" / "last.pt").write_bytes(b"broken")
    with pytest.raises(ConfigError, match="cannot be gone on from") as caught:
        trainer(tables, tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_a_hostile_state_is_refused_and_not_run(tables, tmp_path):
    (tmp_path / "run").mkdir()
    torch.save({"facts": Hostile(tmp_path / "mark")}, tmp_path / "run" / "last.pt")
    with pytest.raises(ConfigError, match=r"last\.pt: cannot be gone on from") as caught:
        trainer(tables, tmp_path / "run")
    assert not (tmp_path / "mark").exists()
    assert "trust" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


def test_items_shorter_than_a_step_are_refused(tables, tmp_path):
    with pytest.raises(ConfigError, match=r"seconds: 5.0 is longer than the items are"):
        trainer(tables, tmp_path, seconds=5.0)


def test_tables_of_another_network_are_refused(tables, tmp_path):
    for change in ({"sample_rate": 48000}, {"fill": {"band_bins": 16, "width": 16}}):
        other = NARROW.model_copy(update=ModelConfig(**change).model_dump(include=set(change)))
        with pytest.raises(ConfigError, match=r"the tables have \w+ \d+, this network \d+"):
            trainer(tables, tmp_path / "run", model=ModelConfig(**other.model_dump()))
    assert not (tmp_path / "run").exists()


def test_the_rate_rises_stays_and_falls():
    config = EnergyTraining(steps=1000, warmup=10, decay=0.5, learning_rate=1.0)
    rates = [config.rate(step) for step in (0, 9, 250, 500, 750, 1000)]
    assert rates == pytest.approx([0.1, 1, 1, 1, 0.5, 0])


def test_it_learns_from_the_command_line(items, tmp_path):
    settings = tmp_path / "settings.json"
    settings.write_text(CONFIG.model_dump_json(exclude={"steps"}))
    for name in ("train", "validation"):
        shutil.copytree(items, tmp_path / name)
    command = [
        sys.executable,
        "-m",
        "tools.research.energies",
        "--run",
        str(tmp_path / "run"),
    ]
    command += ["--train", str(tmp_path / "train"), "--validation", str(tmp_path / "validation")]
    done = subprocess.run([*command, "--settings", str(settings), "--steps", "3"], cwd=ROOT)
    assert done.returncode == 0
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        *("last.pt", "energies.safetensors", "log.csv")
    }
    done = subprocess.run(
        [*command, "--settings", str(settings), "--hear", "2", "--only", "mp3-64|aac-64"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    heard = [line.split()[0] for line in done.stdout.splitlines()]
    assert heard[-1] == "mean"
    assert {"aac-64", "mp3-64"} >= set(heard[2:-1]) > set()
    settings.write_text('{"quantil": 0.5}')
    done = subprocess.run(
        [*command, "--settings", str(settings)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.strip().endswith(
        "settings.json: quantil: Extra inputs are not permitted (got 0.5)"
    )


def filled_start(folder) -> tuple[Path, AudioUNet]:
    """Weights of a narrow network whose fill predicts something else than its input."""
    torch.manual_seed(0)
    model = AudioUNet(base_channels=10, depth=2, fill=NARROW.fill.model_dump())
    torch.nn.init.normal_(model.core.fill.predictor.head.weight, std=0.05)
    return model.save(folder / "start.safetensors"), model


def test_the_network_learns_from_originals_and_leaves_the_fill_as_it_was(items, tmp_path):
    root = tmp_path / "items"
    for split in ("train", "validation"):
        shutil.copytree(items, root / split)
        rows = pandas.read_csv(root / split / "items.csv")
        rows.loc[rows["condition"] == "mp3-48", "energies_only"] = 1
        rows.to_csv(root / split / "items.csv", index=False)
    used = [row["condition"] for row in open_pairs(root, "train").rows]
    assert sorted(set(used)) == ["aac-64", "lossless", "mp3-64"]

    start, before = filled_start(tmp_path)
    config = TrainingConfig(dropout=0.0, batch_size=3, epochs=1, loss={"compressed_complex": 1.0})
    result = train_model(root, tmp_path / "run", config, start_from=start, progress=False)
    log = pandas.read_csv(result.log)
    assert set(log["condition"]) == {"all", "lossless", "mp3", "aac"}
    after = AudioUNet.load(result.weights).state_dict()
    same = {name: torch.equal(value, after[name]) for name, value in before.state_dict().items()}
    assert all(equal for name, equal in same.items() if ".fill." in name)
    assert not same["core.encoder.0.pointwise.weight"]


def test_a_frozen_fill_fills_the_same_and_lets_gradients_pass(items, tmp_path):
    _, model = filled_start(tmp_path)
    lossy, _ = Items(items)[3]
    expected = model.eval()(lossy[None])
    model.core.fill.freeze()
    model.train()
    assert not model.core.fill.predictor.training
    model.core.eval()
    actual = model(lossy[None])
    assert torch.allclose(actual, expected, atol=1e-6)
    actual.square().sum().backward()
    assert model.core.fill.predictor.head.weight.grad is None
    assert model.core.head.weight.grad.abs().max() > 0


def test_items_come_at_the_rate_of_the_network(items):
    lossy, lossless = Items(items, sample_rate=22050)[1]
    assert lossy.shape == lossless.shape == (1, round(SECONDS * 22050))
    full = Items(items)[1][1]
    low = audio.resample(full.numpy(), from_rate=RATE, to_rate=22050)
    assert np.allclose(lossless.numpy(), low, atol=1e-6)


def test_items_that_are_all_no_originals_teach_the_network_nothing(items, tmp_path):
    folder = tmp_path / "items"
    shutil.copytree(items, folder)
    rows = pandas.read_csv(folder / "items.csv").assign(energies_only=1)
    rows.to_csv(folder / "items.csv", index=False)
    with pytest.raises(InputError, match="no original among the items"):
        Items(folder, originals_only=True)
