"""Functions of `arrays` for PyTorch."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from captioner.model.modes import evaluating
from captioner.search.arrays import Arrays


class Tensors(Arrays):
    """Array functions for tensors on one device."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(torch, device=device)
        self._cpu = device.type == "cpu"
        self.double = torch.float32 if device.type == "mps" else torch.float64  # Apple has no more

    @contextmanager
    def inference(self, decoder: Any) -> Iterator[None]:
        """Run without gradients and dropout."""
        with torch.inference_mode(), evaluating(decoder):
            yield

    def surely_none(self, flags: Bool[Tensor, "..."]) -> bool:
        """See `Arrays`."""
        return self._cpu and super().surely_none(flags)

    def top(self, values: Float[Tensor, "B N"], count: int) -> Int[Tensor, "B J"]:
        """See `Arrays`."""
        # topk orders ties arbitrarily. A stable sort does not, but is slow on a CPU, so it is used
        # there only if there are ties, which are rare. On a GPU, checking would mean waiting.
        if self._cpu:
            largest, places = values.topk(min(count + 1, values.shape[1]))
            absent = largest[:, 1:] == -math.inf
            if ((largest[:, 1:] < largest[:, :-1]) | absent).all():
                return places[:, :count]
        return values.argsort(dim=-1, descending=True, stable=True)[:, :count]

    def log_probabilities(
        self, logits: Float[Tensor, "*rows V"], never: Int[Tensor, " F"]
    ) -> Float[Tensor, "*rows V"]:
        """See `Arrays`."""
        return logits.float().index_fill(-1, never, -math.inf).log_softmax(dim=-1)
