"""One door to all measurements: ``python -m tools.measure WHAT``, with the options of each.

``python -m tools.measure WHAT --help`` lists them.
"""

import argparse
import importlib
import sys

from enhancelib.errors import EnhanceError

PARTS = {
    "results": "the weights on a set of pieces, beside the untreated audio",
    "versus": "the weights beside the published outputs of other systems",
    "chain": "the network on the phone, in the headphones, at both ends",
    "cost": "size, time and memory of each published file",
    "smaller": "every way to make the weights smaller",
    "tips": "each tip on speed, memory and quality",
    "soaks.making": "speed, memory and kills of data synthesis and folders",
    "soaks.streaming": "hours of music and minutes of live sound through the stream",
    "devices": "the device page in a browser, on parts of a core",
    "peers.denoisers": "denoisers of others on the noise condition",
    "peers.speed": "packaged real-time enhancers of others",
    "peers.pte": "ExecuTorch files",
    "peers.arm": "an emulated ARM core: agreement and instructions",
}


def main() -> None:
    """Hand the rest of the command line to the part that is named first."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.measure",
        description=__doc__.splitlines()[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"  {name:16} {what}" for name, what in PARTS.items()),
    )
    parser.add_argument("what", choices=PARTS, metavar="WHAT", help="one of those below")
    what = parser.parse_args(sys.argv[1:2]).what
    sys.argv = [f"python -m tools.measure {what}", *sys.argv[2:]]
    try:
        importlib.import_module(f"tools.measure.{what}").main()
    except EnhanceError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
