"""Tables of band energies: what the fill's predictor learns from, made once from pairs of waves.

A step on waveforms costs a hundred times a step on these tables, for they hold no bins and need no
transform. A folder of *items* holds

- ``samples.npy``, int16 (items, 2, samples): the lossy and the lossless signal, mono, 44.1 kHz;
- ``scales.npy``, float32 (items,): a sample times its item's scale lies in [-1, 1];
- ``items.csv``, a row per item: ``index``, ``condition``, ``kind`` and ``trusted_hz`` (up to where
  the lossless signal is to be believed: music that was coded once, gently, has nothing above).

:func:`make_tables` writes the folder of *tables*: ``tables.npy``, float16 (items, frames, 3 *
bands), the :func:`enhancelib.model.fill.band_features` of the lossy signal and then the first half
of those of the lossless one, all in units of the running level of the lossy one; ``items.csv``, a
copy; ``facts.json``.
"""

import json
from pathlib import Path

import numpy as np
import pandas
import scipy.fft
import torch
from filelock import FileLock
from tqdm import tqdm

from enhancelib.atomic import replacing_folder, reserve_array
from enhancelib.audio.waves import analysis_window, resample, resampled_length
from enhancelib.data.item_plans import RATE
from enhancelib.errors import ConfigError, InputError
from enhancelib.model.checkpoints import checkpoint_sha256
from enhancelib.model.fill import LEVEL_FRAMES, band_features, running_level
from enhancelib.model.network import ModelConfig

COLUMNS = {"index", "condition", "kind", "trusted_hz"}


class Tables:
    """A folder of tables, opened; the large array stays on the disk until it is read.

    Attributes:
        values: (items, frames, 3 * bands), float16.
        items: a row per item, in the same order.
        bands: of each of the three.
        facts: what the tables were made from, by name.
    """

    def __init__(self, folder: str | Path):
        """Open a folder of :func:`make_tables`.

        Raises:
            InputError: it is none, or not a whole one.
        """
        folder = Path(folder)
        try:
            self.facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
            self.items = pandas.read_csv(folder / "items.csv")
            self.values = np.load(folder / "tables.npy", mmap_mode="r")
        except (OSError, ValueError) as error:
            raise InputError(f"{folder}: no folder of tables ({error}); make it again") from None
        if len(self.values) != len(self.items) or self.values.ndim != 3:
            raise InputError(f"{folder}: tables.npy and items.csv differ in length; make it again")
        self.bands = self.values.shape[2] // 3

    def read(self, item: int, start: int, frames: int) -> np.ndarray:
        """Some frames of an item, float32 (3 * bands, frames)."""
        return self.values[item, start : start + frames].T.astype(np.float32)

    def trusted_bands(self, sample_rate: int) -> np.ndarray:
        """Which bands of each item's lossless signal can be believed, (items, bands)."""
        upper_hz = (np.arange(self.bands) + 1) * (sample_rate / 2 / self.bands)
        # A rounded rate, or the Nyquist bin that is in no band, does not cost the last band.
        return upper_hz <= self.items["trusted_hz"].to_numpy()[:, None] + 1.0


def make_tables(
    items: str | Path, folder: str | Path, config: ModelConfig, *, progress: bool = True
) -> Tables:
    """Make the tables of a folder of items, or open them where they are there already.

    Args:
        items: folder of items.
        folder: of the tables; appears when it is whole.
        config: frame, rate and bands of the network they are for; it must have a fill.
        progress: show a bar on a terminal.

    Raises:
        ConfigError: the network has no fill.
        InputError: the items are not what the module's text says, or the folder holds tables of
            other items or settings.
    """
    if config.fill is None:
        raise ConfigError("model: has no fill; give it one")
    items, folder = Path(items), Path(folder)
    rows, samples, scales = read_items(items)
    facts = {
        "items_sha256": checkpoint_sha256(items / "items.csv"),
        "scales_sha256": checkpoint_sha256(items / "scales.npy"),
        "shape": list(samples.shape),
        "sample_rate": config.sample_rate,
        "frame_length": config.frame_length,
        "band_bins": config.fill.band_bins,
        "level_frames": LEVEL_FRAMES,
        "columns": "lossy arithmetic, lossy geometric, lossless arithmetic",
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Who comes second waits, and opens what the first has made.
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not folder.exists():
            _write_tables(rows, samples, scales, folder, config, facts, progress=progress)
        tables = Tables(folder)
    if tables.facts != facts:
        raise InputError(f"{folder}: holds tables of other items or settings; remove it")
    return tables


def _write_tables(
    rows: pandas.DataFrame,
    samples: np.ndarray,
    scales: np.ndarray,
    folder: Path,
    config: ModelConfig,
    facts: dict[str, object],
    *,
    progress: bool,
) -> None:
    """Write the folder of tables; the caller holds its lock."""
    assert config.fill is not None
    rates = {"from_rate": RATE, "to_rate": config.sample_rate}
    length = resampled_length(samples.shape[2], **rates)
    frames = length // config.hop_length + 2
    bands = config.hop_length // config.fill.band_bins
    shape = len(samples), frames, 3 * bands
    with replacing_folder(folder) as partial:
        try:
            reserve_array(partial / "tables.npy", np.float16, shape)
        except OSError as error:
            raise InputError(f"{folder}: no room for it ({error.strerror}); free some") from None
        values = np.lib.format.open_memmap(partial / "tables.npy", "r+")
        for index in tqdm(
            range(len(samples)), disable=None if progress else True, unit="item", desc="tables"
        ):
            pair = resample(samples[index] * scales[index], **rates)
            values[index] = table(pair, config).T[:frames]
        values.flush()
        rows.to_csv(partial / "items.csv", index=False)
        (partial / "facts.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def table(pair: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Band energies of a lossy and a lossless wave, (2, samples) → float32 (3 * bands, frames).

    The frames are those of :meth:`enhancelib.model.network.AudioUNet.analyze`, the last one
    completed.
    """
    assert config.fill is not None
    hop, window = config.hop_length, analysis_window(config.frame_length)
    padded = np.pad(pair.astype(np.float32), ((0, 0), (hop, 3 * hop - 1 - pair.shape[1] % hop)))
    hops = padded[:, : padded.shape[1] // hop * hop].reshape(2, -1, hop)
    frames = np.concatenate([hops[:, :-1], hops[:, 1:]], axis=2)
    spectra = scipy.fft.rfft(frames * (window / (window.sum() / 2)).astype(np.float32))
    power = torch.from_numpy(np.abs(spectra[:, :, :hop].swapaxes(1, 2)) ** 2)
    start = torch.zeros(1, 2, LEVEL_FRAMES - 1)
    level, _ = running_level(power[:1].mean(dim=1, keepdim=True), start)
    features = band_features(power, level, config.fill.band_bins)  # of both, arithmetic first
    return features.flatten(0, 1)[: 3 * features.shape[1] // 2].numpy()


def read_items(folder: Path) -> tuple[pandas.DataFrame, np.ndarray, np.ndarray]:
    """Rows, samples (opened, not read) and scales of a folder of items.

    Raises:
        InputError: it is none, or not a whole one.
    """
    try:
        rows = pandas.read_csv(folder / "items.csv")
        samples = np.load(folder / "samples.npy", mmap_mode="r")
        scales = np.load(folder / "scales.npy")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}: no folder of items ({error}); name one that is whole"
        ) from None
    if missing := sorted(COLUMNS - set(rows)):
        raise InputError(f"{folder / 'items.csv'}: lacks the column {missing[0]}; make it again")
    if samples.ndim != 3 or samples.shape[1] != 2 or samples.dtype != np.int16:
        raise InputError(f"{folder / 'samples.npy'}: not int16 (items, 2, samples); make it again")
    if not len(rows) == len(samples) == len(scales):
        raise InputError(
            f"{folder}: {len(rows)} rows, {len(samples)} items and {len(scales)} scales; these "
            "must be as many: make it again"
        )
    if not len(rows):
        raise InputError(f"{folder}: holds no items; make it again")
    if (rows["index"] != np.arange(len(rows))).any():
        raise InputError(f"{folder / 'items.csv'}: index must count from 0; make it again")
    return rows, samples, scales
