"""A moving average of the weights: steadier than the weights themselves, and often better."""

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from captioner.model import CaptionModel

Tensors = tuple[Tensor, ...] | list[Tensor]


def average_weights(model: CaptionModel, *, decay: float) -> AveragedModel:
    """Make the average, which begins as the model; `update_parameters` takes the latest in.

    The decay starts low, so that the weights of the beginning are soon forgotten: it is
    (1 + n) / (10 + n) after n steps, and the one given at most.
    """

    @torch.no_grad()
    def mix(averages: Tensors, latest: Tensors, steps: Tensor | int) -> None:
        steps = torch.as_tensor(steps)  # stays on a GPU, which need not wait
        fresh = 1 - ((1 + steps) / (10 + steps)).clamp(max=decay)
        for average, now in zip(averages, latest, strict=True):
            average.lerp_(now, fresh)

    return AveragedModel(model, multi_avg_fn=mix)
