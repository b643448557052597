"""Optimiser, schedule and what is trained at all."""

import math
from typing import Any

from timm.models import group_parameters
from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from captioner.errors import ConfigError
from captioner.model import CaptionModel, Encoder
from training.settings import StageConfig


def choose_trained(model: CaptionModel, stage: StageConfig) -> None:
    """Mark what this stage trains: the decoder, and none, some or all of the encoder."""
    model.decoder.requires_grad_(True)
    model.encoder.requires_grad_(stage.encoder == "trained")
    if stage.encoder == "trained" and stage.frozen_layers > 0:
        for parameter in _first_layers(model.encoder, stage.frozen_layers):
            parameter.requires_grad_(False)
    _checkpoint_activations(model.encoder, enable=stage.checkpointing)


def build_optimizer(model: CaptionModel, stage: StageConfig) -> AdamW:
    """Make AdamW with a rate for the decoder and one for the encoder; vectors do not decay."""
    groups = _groups(model.decoder, stage.learning_rate, stage.weight_decay)
    if stage.encoder == "trained" and stage.layer_decay < 1:
        groups += _layer_groups(model.encoder, stage)
    elif stage.encoder == "trained":
        groups += _groups(model.encoder, stage.encoder_learning_rate, stage.weight_decay)
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


def _groups(part: nn.Module, rate: float, weight_decay: float) -> list[dict[str, Any]]:
    trained = [p for p in part.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim > 1]
    vectors = [p for p in trained if p.ndim <= 1]
    return [
        {"params": matrices, "lr": rate, "weight_decay": weight_decay},
        {"params": vectors, "lr": rate, "weight_decay": 0.0},
    ]


def _layer_groups(encoder: Encoder, stage: StageConfig) -> list[dict[str, Any]]:
    """Give each layer a rate of its own, the last one the whole rate (Clark et al. 2020, ELECTRA).

    Source: appendix B there (arXiv:2003.10555); layers are counted by timm.
    """
    groups: list[dict[str, Any]] = param_groups_layer_decay(
        encoder.backbone, weight_decay=stage.weight_decay, layer_decay=stage.layer_decay
    )
    return [
        {
            "params": group["params"],
            "lr": stage.encoder_learning_rate * group["lr_scale"],
            "weight_decay": group["weight_decay"],
        }
        for group in groups
    ]


def _checkpoint_activations(encoder: Encoder, *, enable: bool) -> None:
    """Have activations computed anew on the way back (Chen et al. 2016, arXiv:1604.06174)."""
    backbone: Any = encoder.backbone
    try:
        backbone.set_grad_checkpointing(enable)
    except (AttributeError, AssertionError) as error:
        if enable:
            name = type(backbone).__name__
            raise ConfigError(
                f"stages.checkpointing is true, but timm's {name} cannot do it; set it to false."
            ) from error


def _first_layers(encoder: Encoder, fraction: float) -> list[nn.Parameter]:
    """Parameters of this fraction of the backbone's layers, counted from the input by timm."""
    backbone: Any = encoder.backbone  # timm's models declare no types
    layers = group_parameters(backbone, backbone.group_matcher(coarse=False), reverse=True)
    count = max(layers.values()) + 1
    named = dict(backbone.named_parameters())
    return [named[name] for name, layer in layers.items() if layer < fraction * count]
