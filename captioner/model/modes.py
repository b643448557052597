"""Temporary evaluation mode."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def evaluating(network: Any) -> Iterator[None]:
    """Put a network into evaluation mode, then restore the mode of each module.

    Anything else than a PyTorch module is left alone.
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
