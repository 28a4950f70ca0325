"""Clips of the corpus's validation pieces, and what a network does to them: for ablations."""

from collections.abc import Callable
from pathlib import Path

import pandas
import torch
from filelock import FileLock
from torch import Tensor

import enhancelib as el
from enhancelib import audio
from enhancelib.data import pairs as data
from enhancelib.data.catalog import list_pieces, take
from enhancelib.errors import InputError
from enhancelib.evaluate.kinds import KINDS, kind_of

CORPUS = Path("data/corpus")
PER_KIND, CLIP_S = 4, 3.0
"""The validation split is too long to be heard for every variant: the middle of some pieces."""
KIND_OF = {"band": "recorded", "instrument": "recorded"} | {kind: kind for kind in KINDS}
"""Kinds of the corpus by those of the results; its signals are no music and are left out."""
GROUPS = {
    "weak": ("sbc-20", "aac-64", "mp3-64", "aac-64+sbc-20", "down-16000hz"),
    "middle": ("sbc-35", "aac-128", "mp3-128"),
    "noisy": ("noise-white-20db", "noise-pink-10db"),
    "transparent": ("sbc-53", "aac-256", "mp3-320"),
    "lossless": ("lossless",),
}
METRICS = ("lsd", "in_band_si_sdr", "snr", "band_energy_error", "band_energy_bias")
HEARD = (*GROUPS["weak"], "lossless")
"""Conditions under which ViSQOL is computed too, which takes most of the time."""


def validation_clips(folder: Path) -> Path:
    """Pairs of validation pieces that no codec had changed, under all conditions; their manifest.

    Raises:
        InputError: there is no corpus.
    """
    table = CORPUS / "manifest.csv"
    if not table.is_file():
        raise InputError(f"{table} is missing: make corpus first")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "clips.lock"):  # who comes second waits, and finds them made
        return _make_clips(table, folder)


def _make_clips(table: Path, folder: Path) -> Path:
    rows = pandas.read_csv(table).query("split == 'validation' and once_lossy == 0")
    kinds = rows.set_index("path")["kind"].map(KIND_OF).dropna()
    pieces = {piece.name: piece for piece in list_pieces(CORPUS)}
    for kind, names in kinds.groupby(kinds).groups.items():
        for piece in take([pieces[name] for name in names], PER_KIND):
            path = folder / "clips" / "validation" / f"{kind}__{piece.path.stem}.flac"
            if path.exists():
                continue
            wave, rate = audio.load(piece.path)
            start = max(0, wave.shape[1] - round(CLIP_S * rate)) // 2
            path.parent.mkdir(parents=True, exist_ok=True)
            cut = wave[:, start : start + round(CLIP_S * rate)]
            audio.save(path, cut, sample_rate=rate, subtype="PCM_24")
    conditions = [name for group in GROUPS.values() for name in group]
    return data.prepare(
        folder / "clips", folder / "pairs", conditions=conditions, duration_s=CLIP_S
    )


@torch.no_grad()
def measure(
    enhance: Callable[[Tensor], Tensor], manifest: Path, *, sample_rate: int
) -> pandas.DataFrame:
    """Metrics of every validation clip: one row each, by kind, condition and piece.

    Args:
        enhance: takes and returns waves (1, 1, samples).
        manifest: of :func:`validation_clips`.
        sample_rate: in Hz.
    """
    pairs = data.PairDataset(manifest, "validation", downmix="mean", sample_rate=sample_rate)
    rows = []
    for index, row in enumerate(pairs.rows):
        untreated, reference = pairs[index]
        enhanced = enhance(untreated[None])[0].numpy()
        values = el.score(
            enhanced,
            reference.numpy(),
            untreated=untreated.numpy(),
            sample_rate=sample_rate,
            names=METRICS + (("visqol",) if row["condition"] in HEARD else ()),
        )
        piece = Path(row["piece"]).name
        facts = {"kind": kind_of(piece), "condition": row["condition"], "piece": piece}
        rows.append(facts | values)
    return pandas.DataFrame(rows).set_index(["kind", "condition", "piece"]).sort_index()


def summary(values: pandas.DataFrame, untreated: pandas.DataFrame) -> pandas.DataFrame:
    """The figures of each kind: means over a group of conditions, or the worst clip of one.

    Args:
        values: of :func:`measure`.
        untreated: the same of the lossy clips as they are.

    Returns:
        One row per kind.
    """
    kinds, delta = values.index.unique("kind"), values - untreated

    def of(table: pandas.DataFrame, group: str, metric: str) -> "pandas.api.typing.SeriesGroupBy":
        chosen = table.index.isin(GROUPS[group], level="condition")
        return table.loc[chosen, metric].groupby(level="kind")

    columns = {
        "clips": values.reset_index().groupby("kind")["piece"].nunique(),
        "visqol_weak": of(values, "weak", "visqol").mean(),
        "visqol_weak_worst_delta": of(delta, "weak", "visqol").min(),
        "lsd_weak": of(values, "weak", "lsd").mean(),
        "band_energy_error_weak": of(values, "weak", "band_energy_error").mean(),
        "band_energy_bias_weak": of(values, "weak", "band_energy_bias").mean(),
        "in_band_si_sdr_weak_delta": of(delta, "weak", "in_band_si_sdr").mean(),
        "lsd_middle": of(values, "middle", "lsd").mean(),
        "snr_noisy_delta": of(delta, "noisy", "snr").mean(),
        "in_band_si_sdr_transparent_worst_delta": of(delta, "transparent", "in_band_si_sdr").min(),
        "visqol_lossless_worst_delta": of(delta, "lossless", "visqol").min(),
        "snr_lossless_worst": of(values, "lossless", "snr").min(),
    }
    return pandas.DataFrame(columns).reindex([kind for kind in KINDS if kind in kinds])
