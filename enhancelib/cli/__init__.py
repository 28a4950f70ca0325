"""The commands."""

from enhancelib.cli.commands import app

__all__ = ["app"]
