"""Optimiser, schedule and what is trained at all."""

import math
from typing import Any

from timm.models import group_parameters
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from captioner.model import CaptionModel, Encoder
from training.settings import StageConfig


def choose_trained(model: CaptionModel, stage: StageConfig) -> None:
    """Mark what this stage trains: the decoder, and none, some or all of the encoder."""
    model.decoder.requires_grad_(True)
    model.encoder.requires_grad_(stage.encoder == "trained")
    if stage.encoder == "trained" and stage.frozen_layers > 0:
        for parameter in _first_layers(model.encoder, stage.frozen_layers):
            parameter.requires_grad_(False)


def build_optimizer(model: CaptionModel, stage: StageConfig) -> AdamW:
    """Make AdamW with a rate for the decoder and one for the encoder; vectors do not decay."""
    parts: list[tuple[nn.Module, float]] = [(model.decoder, stage.learning_rate)]
    if stage.encoder == "trained":
        parts.append((model.encoder, stage.encoder_learning_rate))
    groups = []
    for part, rate in parts:
        trained = [p for p in part.parameters() if p.requires_grad]
        matrices = [p for p in trained if p.ndim > 1]
        vectors = [p for p in trained if p.ndim <= 1]
        groups.append({"params": matrices, "lr": rate, "weight_decay": stage.weight_decay})
        groups.append({"params": vectors, "lr": rate, "weight_decay": 0.0})
    return AdamW(groups, betas=(0.9, 0.98), fused=True)


def build_schedule(optimizer: AdamW, stage: StageConfig, *, steps: int) -> LambdaLR:
    """Raise the rate linearly over the warm-up, then lower it along a cosine.

    Source: Loshchilov and Hutter 2017, section 3, without restarts (arXiv:1608.03983).

    Args:
        optimizer: its rates are the peaks.
        stage: gives the warm-up and where the rate ends.
        steps: steps of the whole stage.
    """
    warmup = max(1, round(stage.warmup * steps))

    def rate(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, steps - warmup))
        return stage.final_rate + (1 - stage.final_rate) * (1 + math.cos(math.pi * progress)) / 2

    return LambdaLR(optimizer, rate)


def _first_layers(encoder: Encoder, fraction: float) -> list[nn.Parameter]:
    """Parameters of this fraction of the backbone's layers, counted from the input by timm."""
    backbone: Any = encoder.backbone  # timm's models declare no types
    layers = group_parameters(backbone, backbone.group_matcher(coarse=False), reverse=True)
    count = max(layers.values()) + 1
    named = dict(backbone.named_parameters())
    return [named[name] for name, layer in layers.items() if layer < fraction * count]
