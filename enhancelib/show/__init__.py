"""What the book shows: plots, diagrams, players and blind tests."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["diagrams", "plotting"])
