"""Compiled encoders, for runs that are long enough to make up for compilation."""

from collections.abc import Callable
from textwrap import shorten
from typing import Any

import torch
from torch import nn

from captioner.errors import ConfigError
from captioner.speed.precision import autocast


def compile_encoder(
    encoder: nn.Module,
    *,
    size: tuple[int, int],
    precision: torch.dtype,
    backend: str | Callable[..., Any] = "inductor",
) -> None:
    """Compile an encoder with torch.compile, for batches of any size.

    Features are the same up to rounding. Compilation happens here, so that failures are reported
    before the run starts.

    Args:
        encoder: in evaluation mode; modified in place.
        size: height and width of its input.
        precision: number format that it will run in.
        backend: backend of torch.compile.

    Raises:
        ConfigError: it cannot be compiled, for example without a C++ compiler.
    """
    device = next(encoder.parameters()).device
    encoder.compile(backend=backend, dynamic=True)
    try:
        with torch.inference_mode(), autocast(precision, device):
            for photos in (2, 3):  # a second number, in case the first was taken to be for ever
                pixels = torch.zeros(photos, 3, *size, device=device)
                encoder(pixels.to(memory_format=torch.channels_last))
    except Exception as error:  # compilers fail in many ways
        reason = shorten(str(error) or type(error).__name__, 200)
        raise ConfigError(
            f"the encoder cannot be compiled ({reason}); leave out --compile, or install what is "
            "missing, such as a C++ compiler."
        ) from error
