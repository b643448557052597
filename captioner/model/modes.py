"""Evaluation mode for a network that may be in training."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def evaluating(network: Any) -> Iterator[None]:
    """Put a network into evaluation mode, then restore the mode of each part.

    What is no module has no modes.
    """
    modules = network.modules() if isinstance(network, nn.Module) else ()
    training = [module for module in modules if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True
