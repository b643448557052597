"""Encoders as compiled code, for runs that are long enough to wait for it."""

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
    """Have torch.compile turn an encoder into code, for batches of any number of photos.

    Its features are the same but for rounding. The code is made here and now, so that what hinders
    it is told before the work begins.

    Args:
        encoder: in evaluation mode; called as before from now on.
        size: height and width of its input.
        precision: what it will calculate in.
        backend: of torch.compile.

    Raises:
        ConfigError: it cannot be compiled, as where there is no C++ compiler.
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
