"""AdamW, its parameter groups and schedule, and which parameters a stage trains."""

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
    """Set which parameters the stage trains: the decoder, and all, some or none of the encoder."""
    model.decoder.requires_grad_(True)
    model.encoder.requires_grad_(stage.encoder == "trained")
    if stage.encoder == "trained" and stage.frozen_layers > 0:
        for parameter in _first_layers(model.encoder, stage.frozen_layers):
            parameter.requires_grad_(False)
    _checkpoint_activations(model.encoder, enable=stage.checkpointing)


def build_optimizer(model: CaptionModel, stage: StageConfig) -> AdamW:
    """Build AdamW with separate rates for decoder and encoder; vectors have no weight decay."""
    groups = _groups(model.decoder, stage.learning_rate, stage.weight_decay)
    if stage.encoder == "trained" and stage.layer_decay < 1:
        groups += _layer_groups(model.encoder, stage)
    elif stage.encoder == "trained":
        groups += _groups(model.encoder, stage.encoder_learning_rate, stage.weight_decay)
    return AdamW(groups, betas=(0.9, 0.98), fused=True)


def build_schedule(optimizer: AdamW, stage: StageConfig, *, steps: int) -> LambdaLR:
    """Linear warm-up, then cosine decay.

    Source: Loshchilov and Hutter 2017, section 3, without restarts (arXiv:1608.03983).

    Args:
        optimizer: its learning rates are the peaks.
        stage: gives the warm-up and the final rate.
        steps: optimizer steps of the whole stage.
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
    """Layer-wise learning-rate decay: each layer learns more slowly than the next.

    Source: Clark et al. 2020 (ELECTRA), appendix B (arXiv:2003.10555); timm numbers the layers.
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
    """Recompute activations in the backward pass (Chen et al. 2016, arXiv:1604.06174)."""
    backbone: Any = encoder.backbone
    try:
        backbone.set_grad_checkpointing(enable)
    except (AttributeError, AssertionError) as error:
        if enable:
            name = type(backbone).__name__
            raise ConfigError(
                f"stages.checkpointing is true, but timm's {name} does not support it; "
                "set it to false."
            ) from error


def _first_layers(encoder: Encoder, fraction: float) -> list[nn.Parameter]:
    """Parameters of the backbone's first layers, up to this fraction of them."""
    backbone: Any = encoder.backbone  # timm's models are untyped
    layers = group_parameters(backbone, backbone.group_matcher(coarse=False), reverse=True)
    count = max(layers.values()) + 1
    named = dict(backbone.named_parameters())
    return [named[name] for name, layer in layers.items() if layer < fraction * count]
