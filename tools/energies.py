"""First stage of training: the energies of bands, from folders of items; run it again to go on.

    python tools/energies.py --train items/train --validation items/validation --run run

Tables are kept beside the items (<items>-tables), the run in --run: last.pt to go on from,
energies.safetensors with the averaged weights, log.csv with the error per condition. The file
--settings, JSON, overrides settings of enhancelib.energies.EnergyTraining.
"""

import argparse
import sys
from pathlib import Path

import torch
from pydantic import ValidationError

from enhancelib.energies import EnergyTrainer, EnergyTraining
from enhancelib.envelopes import make_tables
from enhancelib.errors import ConfigError, EnhanceError


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
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"]) or "not JSON"
        raise ConfigError(f"{path or '--steps'}: {key}: {problem['msg']}") from None


def main() -> None:
    """Parse the command line, make the tables, train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, required=True, help="folder of items")
    parser.add_argument("--validation", type=Path, required=True, help="folder of items")
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--settings", type=Path, help="JSON")
    parser.add_argument("--steps", type=int, help="in all; may be raised when going on")
    parser.add_argument("--minutes", type=float, help="of processor time, then stop and save")
    parser.add_argument("--validate_minutes", type=float, default=3.0, help="between validations")
    parser.add_argument("--threads", type=int, default=1, help="more are not repeatable to the bit")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    try:
        config = settings(arguments.settings, arguments.steps)
        tables = [
            make_tables(items, items.with_name(f"{items.name}-tables"), config.model)
            for items in (arguments.train, arguments.validation)
        ]
        trainer = EnergyTrainer(config, *tables, arguments.run)
        trainer.run(validate_minutes=arguments.validate_minutes, minutes=arguments.minutes)
    except EnhanceError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
