"""The network, what it is made of, its losses and its checkpoints.

Nothing is imported here: checkpoints and weights are found without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["losses"])
