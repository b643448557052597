"""Mixed precision: weights stay float32, matrix products may use bfloat16 or float16."""

from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

Kind = Literal["auto", "float32", "bfloat16", "float16"]

_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Precision:
    """Automatic mixed precision (Micikevicius et al. 2018, arXiv:1710.03740).

    With float16, gradients would underflow: the loss is scaled up, and a step whose gradients
    overflow is skipped.
    """

    def __init__(self, kind: Kind, *, device: torch.device) -> None:
        if kind == "auto":
            kind = "bfloat16" if device.type == "cuda" else "float32"
        self._device = device
        self._type = _TYPES.get(kind)
        self.scaler = torch.amp.GradScaler(device.type, enabled=kind == "float16")
        """Loss scale of float16; disabled for the other types."""

    def context(self) -> AbstractContextManager[object]:
        """Autocast context of the forward pass."""
        return torch.autocast(self._device.type, self._type, enabled=self._type is not None)

    def backward(self, loss: Tensor) -> None:
        """Compute gradients of the scaled loss."""
        self.scaler.scale(loss).backward()

    def step(self, optimizer: Optimizer, *, clip: float) -> Tensor:
        """Take an optimizer step; return the gradient norm before clipping to `clip`.

        A skipped step reports norm 0.
        """
        self.scaler.unscale_(optimizer)
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(trained, clip)
        self.scaler.step(optimizer)
        self.scaler.update()
        return norm.nan_to_num(0.0, posinf=0.0) if self.scaler.is_enabled() else norm
