"""The commands, in the order in which the help lists them."""

from enhancelib.cli import listening, making
from enhancelib.cli.program import app

__all__ = ["app", "listening", "making"]
