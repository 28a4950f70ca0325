"""First stage of training: the energies of bands, from folders of items; run it again to go on.

    python -m tools.research.energies --train items/train --validation items/validation --run run

Tables are kept beside the items (<items>-tables), the run in --run: last.pt to go on from,
energies.safetensors with the averaged weights, log.csv with the error per condition. The file
--settings, JSON, overrides settings of enhancelib.train.energies.EnergyTraining. ``--hear 20``
measures 20 items for validation as the network fills them with the run's weights so far, and
nothing else.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas
import torch
from pydantic import ValidationError

from enhancelib.audio.waves import resample
from enhancelib.checks import first_problem
from enhancelib.data.envelopes import make_tables, read_items
from enhancelib.data.item_plans import RATE
from enhancelib.errors import ConfigError, EnhanceError
from enhancelib.evaluate.metrics import score
from enhancelib.model.network import AudioUNet
from enhancelib.train.energies import EnergyTrainer, EnergyTraining, insert

HEARD = ("visqol", "lsd", "in_band_si_sdr", "band_energy_error", "band_energy_bias")


def settings(path: Path | None, steps: int | None) -> EnergyTraining:
    """The settings in a file, the defaults for the rest.

    Raises:
        ConfigError: it cannot be read, or a key or a value is impossible.
    """
    try:
        text = "{}" if path is None else path.read_text(encoding="utf-8")
        config = EnergyTraining.model_validate_json(text)
        changed = {} if steps is None else {"steps": steps}
        return EnergyTraining.model_validate(config.model_dump() | changed)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name an existing file") from None
    except ValidationError as error:
        raise ConfigError(f"{path or '--steps'}: {first_problem(error)}") from None


def hear(
    run: Path, items: Path, count: int, config: EnergyTraining, only: str | None
) -> pandas.DataFrame:
    """Measures of items drawn by chance, untreated and filled; a row per item.

    The rest of the network is untrained, so it changes nothing. Items whose original is not to be
    believed to the top are left out.
    """
    rows, samples, scales = read_items(items)
    rate = config.model.sample_rate
    rows = rows[rows["trusted_hz"] >= 0.49 * rate]
    if only:
        rows = rows[rows["condition"].str.fullmatch(only)]
    if rows.empty:
        raise ConfigError(f"{items}: no item of these conditions is believed to the top")
    model = insert(run / "energies.safetensors", AudioUNet(**config.model.model_dump())).eval()
    table = []
    chosen = np.random.default_rng(0).permutation(rows["index"].to_numpy())[:count]
    for index in sorted(chosen):
        pair = (samples[index] * scales[index]).astype(np.float32)
        lossy, lossless = resample(pair, from_rate=RATE, to_rate=rate)[:, None]
        with torch.inference_mode():
            filled = model(torch.from_numpy(lossy)[None])[0].numpy()
        row = {"condition": rows.loc[index, "condition"], "item": index}
        for name, wave in (("untreated", lossy), ("filled", filled)):
            values = score(wave, lossless, sample_rate=rate, names=HEARD, untreated=lossy)
            row |= {f"{metric} {name}": value for metric, value in values.items()}
        table.append(row)
    return pandas.DataFrame(table)


def main() -> None:
    """Parse the command line, make the tables, train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, required=True, help="folder of items")
    parser.add_argument("--validation", type=Path, required=True, help="folder of items")
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--settings", type=Path, help="JSON")
    parser.add_argument("--start_from", type=Path, help="energies.safetensors to begin with")
    parser.add_argument("--steps", type=int, help="in all; may be raised when going on")
    parser.add_argument("--minutes", type=float, help="of processor time, then stop and save")
    parser.add_argument("--validate_minutes", type=float, default=3.0, help="between validations")
    parser.add_argument("--hear", type=int, help="so many items for validation, and stop")
    parser.add_argument("--only", help="to hear: conditions that match this regular expression")
    parser.add_argument("--threads", type=int, default=1, help="more are not repeatable to the bit")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    try:
        config = settings(arguments.settings, arguments.steps)
        if arguments.hear:
            chosen = arguments.validation, arguments.hear, config, arguments.only
            table = hear(arguments.run, *chosen).drop(columns="item").sort_values("condition")
            means = table.groupby("condition").mean()
            means.loc["mean"] = table.drop(columns="condition").mean()
            print(means.round(2).to_string())
            return
        tables = [
            make_tables(items, items.with_name(f"{items.name}-tables"), config.model)
            for items in (arguments.train, arguments.validation)
        ]
        trainer = EnergyTrainer(config, *tables, arguments.run, start_from=arguments.start_from)
        trainer.run(validate_minutes=arguments.validate_minutes, minutes=arguments.minutes)
    except EnhanceError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
