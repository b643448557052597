"""Encoder and decoder as compiled code."""

from difflib import get_close_matches

import torch

from captioner.errors import ConfigError
from captioner.model import CaptionModel


def compile_model(model: CaptionModel, *, backend: str) -> None:
    """Have torch.compile turn what is called while learning into code, at the first batch.

    Weights keep their names, and a search goes on word by word as before.

    Raises:
        ConfigError: there is no such backend.
    """
    known = torch.compiler.list_backends(exclude_tags=())
    if backend not in known:
        near = get_close_matches(backend, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}."
        raise ConfigError(f"compile is {backend!r}; {hint}")
    for part in (model.encoder, model.decoder):
        part.compile(backend=backend)
