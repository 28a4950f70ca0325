"""Mean of two checkpoints' weights, to go on from or to publish.

    python -m tools.research.average THESE THOSE OUT --share 0.75

Two networks that were taught one after the other have in their mean most of what either does well
(Wortsman et al., "Robust fine-tuning of zero-shot models", arXiv:2109.01903). The energies of the
fill stay those of the first file; what the result says of itself is what that says and one more
stage.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import Tensor

from enhancelib.errors import EnhanceError, ModelError
from enhancelib.model.checkpoints import checkpoint_sha256, read_checkpoint
from enhancelib.model.network import AudioUNet


def mean(
    these: dict[str, Tensor], those: dict[str, Tensor], share: float, *, fill: float = 0.0
) -> dict[str, Tensor]:
    """Weights between two states of one network.

    Args:
        these: names and values; what is no floating-point number stays as it is here.
        those: of the same names and shapes.
        share: of ``those``, from 0 to 1.
        fill: the same for the energies of the fill.
    """
    result = dict(these)
    for name, value in these.items():
        if value.is_floating_point():
            result[name] = torch.lerp(value, those[name], fill if ".fill." in name else share)
    return result


def average(these: Path, those: Path, out: Path, share: float) -> Path:
    """Write the mean of two checkpoints, of one shape, with ``share`` of the second.

    Raises:
        ModelError: they differ in shape, or there is a file already.
    """
    model, other = AudioUNet.load(these), AudioUNet.load(those)
    if model.config != other.config:
        raise ModelError(f"{those}: a network of another shape than {these}; name two of one shape")
    model.load_state_dict(mean(model.state_dict(), other.state_dict(), share))
    facts = read_checkpoint(these)[0]
    stages = json.loads(facts.get("stages", "[]"))
    other_sha256 = checkpoint_sha256(those)[:12]
    stage = f"the mean with {share:.0%} of the network `{other_sha256}`, but for its fill"
    return model.save(out, metadata=facts | {"stages": json.dumps([*stages, stage])})


def main() -> None:
    """Parse the command line and write the mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("these", "those", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--share", type=float, required=True, help="of the second, 0 to 1")
    arguments = parser.parse_args()
    if not 0 <= arguments.share <= 1:
        parser.error(f"--share: {arguments.share} is not between 0 and 1")
    try:
        print(average(arguments.these, arguments.those, arguments.out, arguments.share))
    except EnhanceError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
