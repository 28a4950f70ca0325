"""The evaluation matrix: right values, nothing measured twice, and harm that shows."""

import math

import numpy as np
import pandas
import pytest

from enhancelib import audio, provenance
from enhancelib.degrade import codecs
from enhancelib.enhance import streaming
from enhancelib.errors import ConfigError, InputError, ModelError
from enhancelib.evaluate import instruments
from enhancelib.evaluate import matrix as evaluation
from enhancelib.evaluate.matrix import evaluate, oracle_mask
from enhancelib.evaluate.metrics import METRICS, score
from enhancelib.evaluate.metrics.waveform import snr
from enhancelib.evaluate.verdicts import (
    HARM,
    TRANSPARENT,
    does_good,
    does_no_harm,
    paired_deltas,
)
from enhancelib.model.checkpoints import checkpoint_sha256
from enhancelib.model.network import AudioUNet
from enhancelib.provenance import RESULT_COLUMNS

RATE = 44100
LOUD = "data/excerpts/render_freedoom1_D_E1M2.flac"
SPARSE = "data/excerpts/sonicpi_samples_guit_harmonics.flac"
HARM_METRICS = tuple(name for name in HARM if not METRICS[name].expensive)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """Two excerpts of 1.5 s."""
    folder = tmp_path_factory.mktemp("pieces")
    made = {}
    for name, path in (("loud", LOUD), ("sparse", SPARSE)):
        wave, _ = audio.load(path, sample_rate=RATE, duration_s=1.5)
        made[name] = audio.save(folder / f"{name}.wav", wave, sample_rate=RATE, subtype="FLOAT")
    return made


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small network that is not the identity."""
    import torch

    model = AudioUNet(base_channels=8, depth=2)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return model.save(tmp_path_factory.mktemp("model") / "small.safetensors")


def run(pieces, conditions=("lossless",), systems=(), *, metrics=("snr",), n_jobs=1, **settings):
    return evaluate(pieces, conditions, systems, metrics=metrics, n_jobs=n_jobs, **settings)


def one(table, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def identity(wave, *, sample_rate):
    return wave


# --- values --------------------------------------------------------------------------------------


def test_rows_cover_the_matrix_and_say_where_they_come_from(pieces, checkpoint):
    table = run(
        pieces,
        ["lossless", "sbc-20"],
        {"ours": checkpoint, "same": identity},
        metrics=["snr", "lsd"],
        command="make results",
    )
    assert tuple(table.columns) == RESULT_COLUMNS
    assert len(table) == 2 * 2 * 3 * 2
    assert not table.duplicated(["piece", "condition", "system", "metric"]).any()
    row = one(table, piece="loud", condition="sbc-20", system="ours", metric="snr")
    assert (row["unit"], row["seed"], row["command"]) == ("dB", 0, "make results")
    assert row["checkpoint_sha256"] == checkpoint_sha256(checkpoint)
    assert row["commit"]
    assert "cores" in row["device"]
    assert row["utc"].endswith("Z")
    assert set(table.loc[table["system"] != "ours", "checkpoint_sha256"]) == {""}


def test_values_are_those_of_the_parts_called_by_hand(pieces, checkpoint):
    table = run(pieces, ["noise-white-20db"], {"ours": checkpoint}, metrics=None, seed=3)
    reference, _ = audio.load(pieces["loud"])
    seed = evaluation.piece_seed(pieces["loud"], 3)
    lossy = codecs.degrade(reference, "noise-white-20db", sample_rate=RATE, seed=seed)
    enhanced = streaming.enhance_wave(lossy, checkpoint, sample_rate=RATE)
    for system, estimate in (("untreated", lossy), ("ours", enhanced)):
        expected = score(estimate, reference, sample_rate=RATE, untreated=lossy)
        rows = table[(table["piece"] == "loud") & (table["system"] == system)]
        assert dict(zip(rows["metric"], rows["value"], strict=True)) == pytest.approx(expected)
    assert one(table, piece="loud", system="ours", metric="snr")["value"] < 20


def test_every_piece_has_noise_and_losses_of_its_own(tmp_path):
    rng = np.random.default_rng(0)
    time = np.arange(2 * RATE) / RATE
    waves = {"a": rng.uniform(-0.5, 0.5, (1, len(time))), "b": 0.5 * np.sin(600 * time)[None]}
    pieces = {name: tmp_path / f"{name}.wav" for name in waves}
    for name, wave in waves.items():
        audio.save(pieces[name], wave.astype(np.float32), sample_rate=RATE, subtype="FLOAT")
    errors = {}

    def spy(wave, *, sample_rate, reference):
        errors.setdefault(len(errors), wave - reference)
        return wave

    run(pieces, ["noise-white-20db"], {"spy": spy}, n_jobs=1)
    first, second = errors.values()
    assert abs(np.corrcoef(first[0], second[0])[0, 1]) < 0.02  # it was 1.0 with one seed for all
    assert (
        len({evaluation.piece_seed(path, seed) for path in pieces.values() for seed in (0, 1)}) == 4
    )
    copy = tmp_path / "copy.wav"
    copy.write_bytes(pieces["a"].read_bytes())
    assert evaluation.piece_seed(copy) == evaluation.piece_seed(pieces["a"])


def test_a_low_rate_is_coded_at_full_rate_and_compared_at_its_own(pieces):
    table = run(pieces, ["sbc-20"], {"same": identity}, sample_rate=22050)
    wave, _ = audio.load(pieces["loud"])
    lossy = codecs.degrade(wave, "sbc-20", sample_rate=RATE)
    half = [audio.resample(x, from_rate=RATE, to_rate=22050) for x in (lossy, wave)]
    assert one(table, piece="loud", system="same")["value"] == pytest.approx(snr(*half))


def test_an_excerpt_is_the_middle_and_the_codec_is_warm(pieces):
    seen = {}

    def spy(wave, *, sample_rate, reference):
        seen["reference"] = reference
        return wave

    run({"loud": pieces["loud"]}, ["sbc-20"], {"spy": spy}, excerpt_s=0.5)
    wave, _ = audio.load(pieces["loud"])
    middle = wave[:, RATE // 2 : RATE // 2 + RATE // 2]
    np.testing.assert_array_equal(seen["reference"], middle)


def test_processes_give_what_one_process_gives(pieces, checkpoint):
    settings = {"conditions": ["sbc-20", "noise-pink-20db"], "systems": {"ours": checkpoint}}
    alone, together = run(pieces, **settings), run(pieces, **settings, n_jobs=2)
    columns = ["piece", "condition", "system", "metric", "value"]
    # A worker has one thread, this process perhaps two: sums round differently in the last digit.
    pandas.testing.assert_frame_equal(alone[columns], together[columns], rtol=1e-4)


@pytest.mark.parametrize(("duration_s", "judges"), [(0.05, []), (0.7, ["zimtohrli"])])
def test_what_a_model_of_hearing_cannot_judge_is_missing_not_fatal(
    duration_s, judges, tmp_path, pieces
):
    wave, _ = audio.load(pieces["loud"], duration_s=duration_s)
    short = audio.save(tmp_path / "short.wav", wave, sample_rate=RATE, subtype="FLOAT")
    metrics = ["snr", "visqol", "zimtohrli"]
    table = run([short], ["sbc-20"], {"same": identity}, metrics=metrics)
    known = table.dropna(subset=["value"])
    assert set(known["metric"]) == {"snr", *judges}
    assert len(known) == 2 * (1 + len(judges))
    assert set(paired_deltas(table)["metric"]) == {"snr", *judges}


def test_conditions_go_by_their_canonical_names_once(pieces):
    table = run(pieces, ["SBC-53"], {"same": identity}, metrics=["lsd"])
    assert set(table["condition"]) == {"sbc-53"}
    assert not does_no_harm(table).empty  # known as one that leaves nothing to repair
    assert does_good(table).empty
    with pytest.raises(InputError, match="sbc-53 is named twice"):
        run(pieces, ["sbc-53", "SBC-53"], metrics=["lsd"])


@pytest.mark.parametrize("excerpt_s", [0, -1, math.nan])
def test_an_excerpt_has_a_length(excerpt_s, pieces):
    with pytest.raises(InputError, match=r"excerpt_s: .* is not a number"):
        run(pieces, ["sbc-53"], metrics=["lsd"], excerpt_s=excerpt_s)


def test_the_oracle_mask_gains_and_leaves_the_original_alone(pieces):
    table = run(pieces, ["lossless", "noise-white-20db", "down-16000hz"], {"oracle": oracle_mask})
    deltas = paired_deltas(table).groupby("condition")["delta"].mean()
    assert deltas["noise-white-20db"] > 5
    assert 0 <= deltas["down-16000hz"] < 3
    assert one(table, piece="loud", condition="lossless", system="oracle")["value"] > 60


# --- kept and resumed ----------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch):
    """How often a piece was degraded."""
    calls = []

    def degrade(wave, condition, **settings):
        calls.append(condition)
        return codecs.degrade(wave, condition, **settings)

    class Counting:
        def __getattr__(self, name):
            return degrade if name == "degrade" else getattr(codecs, name)

    monkeypatch.setattr(evaluation, "codecs", Counting())
    return calls


def test_nothing_is_measured_twice(tmp_path, pieces, checkpoint, counted):
    settings = {"conditions": ["sbc-20"], "systems": {"ours": checkpoint}, "cache_dir": tmp_path}
    first = run(pieces, **settings)
    assert len(counted) == 2
    again = run(pieces, **settings)
    assert len(counted) == 2
    assert again.equals(first)  # with the load and time of the measurement
    more = run(pieces, **settings, metrics=["lsd", "snr"])
    assert len(counted) == 4
    assert set(more["metric"]) == {"lsd", "snr"}


def test_a_rate_of_another_type_recalls_the_same(tmp_path, pieces, counted):
    settings = {"conditions": ["sbc-20"], "cache_dir": tmp_path}
    first = run(pieces, **settings, sample_rate=RATE)
    for rate in (np.int64(RATE), float(RATE)):
        assert run(pieces, **settings, sample_rate=rate).equals(first)
    assert len(counted) == 2


def test_each_system_may_have_metrics_of_its_own(pieces, checkpoint):
    metrics = {"untreated": ["snr", "lsd"], "ours": ["snr"], "oracle": ["si_sdr"]}
    systems = {"ours": checkpoint, "oracle": oracle_mask}
    table = run({"loud": pieces["loud"]}, ["sbc-20"], systems, metrics=metrics)
    measured = table.groupby("system", sort=False)["metric"].agg(list).to_dict()
    assert measured == metrics
    for odd in ({"ours": ["snr"]}, metrics | {"theirs": ["snr"]}):
        with pytest.raises(InputError, match="every system, and of no other"):
            run(pieces, ["sbc-20"], systems, metrics=odd)


def test_functions_of_this_package_are_kept_others_measured_again(tmp_path, pieces, counted):
    settings = {"conditions": ["sbc-20"], "cache_dir": tmp_path}
    for _ in range(2):
        run({"loud": pieces["loud"]}, systems={"oracle": oracle_mask}, **settings)
    assert len(counted) == 1
    for _ in range(2):
        run({"loud": pieces["loud"]}, systems={"same": identity}, **settings)
    assert len(counted) == 3


def test_whatever_decides_a_value_is_part_of_its_name(tmp_path, pieces, checkpoint, counted):
    own = tmp_path / "own.safetensors"
    own.write_bytes(checkpoint.read_bytes())
    piece = tmp_path / "piece.wav"
    piece.write_bytes(pieces["sparse"].read_bytes())
    settings = {"systems": {"ours": own}, "cache_dir": tmp_path / "cache"}
    before = run([piece], ["sbc-20"], **settings)
    run([piece], ["sbc-20"], **settings, seed=1)
    run([piece], ["sbc-20"], **settings, excerpt_s=1.0)
    run([piece], ["sbc-35"], **settings)
    AudioUNet(base_channels=8, depth=2).save(own, overwrite=True)
    after = run([piece], ["sbc-20"], **settings)
    piece.write_bytes(pieces["loud"].read_bytes())
    run([piece], ["sbc-20"], **settings)
    assert len(counted) == 6
    assert one(after, system="ours")["value"] > one(before, system="ours")["value"]
    assert one(after, system="ours")["checkpoint_sha256"] == checkpoint_sha256(own)


@pytest.mark.parametrize("name", ["FFmpeg", "liblc3", "visqol-python", "numpy"])
def test_another_version_of_what_measures_measures_anew(
    tmp_path, pieces, counted, monkeypatch, name
):
    settings = {"conditions": ["sbc-20"], "cache_dir": tmp_path}
    run({"loud": pieces["loud"]}, **settings)
    other = instruments.versions() | {name: "another"}
    assert other != instruments.versions()
    monkeypatch.setattr(evaluation, "versions", lambda: other)
    run({"loud": pieces["loud"]}, **settings)
    assert len(counted) == 2


def test_what_is_recalled_is_of_the_commit_that_asks(tmp_path, pieces, counted, monkeypatch):
    """Its code is the same, or nothing would be recalled; device, load and time stay."""
    settings = {"conditions": ["sbc-20"], "cache_dir": tmp_path}
    first = run({"loud": pieces["loud"]}, **settings, command="one")
    facts = provenance.provenance
    monkeypatch.setattr(
        evaluation,
        "provenance",
        lambda command: facts(command) | {"commit": "later", "device": "other", "utc": "now"},
    )
    again = run({"loud": pieces["loud"]}, **settings, command="two")
    assert len(counted) == 1
    assert set(again["commit"]) == {"later"}
    assert set(again["command"]) == {"two"}
    for column in ("value", "device", "load", "utc"):
        assert again[column].tolist() == first[column].tolist()


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path, pieces, counted, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    conditions = ["sbc-20", "sbc-35"]
    run({"loud": pieces["loud"]}, conditions, cache_dir=tmp_path)
    (damaged, *_) = sorted(tmp_path.glob("*/*.json"))
    damaged.write_text("{", encoding="utf-8")  # as a full disk would leave it
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "_score", stop)
        with pytest.raises(KeyboardInterrupt):
            run(pieces, conditions, cache_dir=tmp_path)
    assert not list(tmp_path.glob("*/*.partial"))
    counted.clear()
    run(pieces, conditions, cache_dir=tmp_path)
    assert len(counted) == 3  # two of the piece that is new, one that was damaged
    run(pieces, conditions, cache_dir=tmp_path)
    assert len(counted) == 3


# --- refusals ------------------------------------------------------------------------------------


def test_impossible_requests_are_refused_by_name(tmp_path, pieces, checkpoint):
    with pytest.raises(InputError, match="no metric named 'pesq'"):
        run(pieces, metrics=["pesq"])
    with pytest.raises(InputError, match="sbc: 999 is not legal"):
        run(pieces, ["sbc-999"])
    with pytest.raises(InputError, match="no pieces"):
        run([])
    with pytest.raises(InputError, match="two files of one name"):
        run([pieces["loud"], tmp_path / "loud.wav"])
    with pytest.raises(InputError, match="'untreated' is always measured"):
        run(pieces, systems={"untreated": identity})
    with pytest.raises(InputError, match=r"gone\.wav"):
        run([tmp_path / "gone.wav"])
    with pytest.raises((InputError, ModelError), match=r"gone\.onnx"):
        run(pieces, systems=[tmp_path / "gone.onnx"])
    with pytest.raises(ConfigError, match="sample_rate=44100"):
        run(pieces, systems=[checkpoint], sample_rate=22050)
    with pytest.raises(InputError, match="half: returned shape"):
        run(pieces, systems={"half": lambda wave, *, sample_rate: wave[:, ::2]})


# --- harm must show ------------------------------------------------------------------------------


def brighter(wave, *, sample_rate):
    """1 dB more from 4 kHz up."""
    spectrum = np.fft.rfft(wave)
    spectrum[:, np.fft.rfftfreq(wave.shape[1], 1 / sample_rate) > 4000] *= 10 ** (1 / 20)
    return np.fft.irfft(spectrum, n=wave.shape[1])


HARMFUL = {
    "one decibel of treble": brighter,
    "one decibel louder": lambda wave, *, sample_rate: 10 ** (1 / 20) * wave,
    "polarity inverted": lambda wave, *, sample_rate: -wave,
    "zeros": lambda wave, *, sample_rate: 0 * wave,
    "one sample late": lambda wave, *, sample_rate: np.pad(wave, ((0, 0), (1, 0)))[:, :-1],
    "stereo narrowed by a tenth": lambda wave, *, sample_rate: 0.95 * wave + 0.05 * wave[::-1],
    "channels exchanged": lambda wave, *, sample_rate: wave[::-1],
    "band-limited at 15 kHz": lambda wave, *, sample_rate: audio.resample(
        audio.resample(wave, from_rate=sample_rate, to_rate=30000),
        from_rate=30000,
        to_rate=sample_rate,
    )[:, : wave.shape[1]],
}


@pytest.fixture(scope="module")
def harm(pieces):
    stereo = {"loud": pieces["loud"]}
    systems = {**HARMFUL, "identity": identity}
    table = run(stereo, TRANSPARENT, systems, metrics=HARM_METRICS)
    return does_no_harm(table)


@pytest.mark.parametrize("system", HARMFUL)
@pytest.mark.parametrize("condition", TRANSPARENT)
def test_a_harmful_enhancer_is_caught(system, condition, harm):
    rows = harm[(harm["system"] == system) & (harm["condition"] == condition)]
    assert len(rows) == len(HARM_METRICS)
    assert rows["harmed"].any()


def test_doing_nothing_is_no_harm(harm):
    rows = harm[harm["system"] == "identity"]
    assert len(rows) == len(TRANSPARENT) * len(HARM_METRICS)
    assert not rows["harmed"].any()
    assert (rows["delta"] == 0).all()


def test_every_metric_can_be_evaluated(pieces):
    table = run({"loud": pieces["loud"]}, ["mp3-128"], {"same": identity}, metrics=list(METRICS))
    assert set(table["metric"]) == set(METRICS)
    assert np.isfinite(table["value"]).all()
