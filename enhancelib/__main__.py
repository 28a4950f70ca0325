"""``python -m enhancelib`` is the ``enhancelib`` command."""

from enhancelib.cli import app

app(prog_name="enhancelib")
