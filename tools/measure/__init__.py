"""Measurements for data/results: ``python -m tools.measure WHAT``."""
