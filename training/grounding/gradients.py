"""Gradient-based maps, for comparison with those that captions can show.

gradient    Grad-CAM on cross-attention; see `captioner.model.gradients`
relevance   the same, propagated through the self-attention of words and regions layer by layer
            (Chefer et al. 2021, section 3, arXiv:2103.15679); for encoders other than timm's ViTs
            no encoder layer is included

The gradient is that of the word's logit.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import cast
from unittest.mock import patch

import torch
from torch import Tensor, nn

from captioner.model.gradients import differentiate, recording_twin
from captioner.pytorch import TorchCaptioner

METHODS = ("gradient", "relevance")
"""Maps in the order of `gradient_maps`."""


def gradient_maps(
    captioner: TorchCaptioner, pixels: Tensor, ids: Sequence[int], places: Sequence[int]
) -> Tensor:
    """Read a caption and compute gradient-based maps of its words.

    Args:
        captioner: a single model with a recurrent decoder, or with separate self- and
            cross-attention.
        pixels: (3, H, W), the encoder's input.
        ids: token ids of the caption, START first.
        places: positions of tokens; the maps are those of the next token.

    Returns:
        (N, 2, P): the maps of `METHODS` for each position, non-negative; the last P are the
        regions.

    Raises:
        ConfigError: the decoder is not supported.
    """
    model = captioner.model
    with torch.inference_mode(False), torch.enable_grad(), _recording(model.encoder) as mixing:
        decoder, kept = recording_twin(model.decoder)
        features = model.encoder(pixels.clone().to(captioner.device)[None].requires_grad_())
        words = torch.tensor([[list(ids)]], device=captioner.device)
        logits = decoder(features, words).logits[0, 0]
        seen = features.shape[1]
        maps = []
        for place, (before, gains, direct) in zip(
            places, differentiate(logits, ids, places, kept, mixing), strict=True
        ):
            mixed = _spread(before, seen).to(features.device)
            if len(gains) == 1:  # a recurrent decoder
                relevance = (direct @ mixed)[-seen:]
            else:
                layers = list(zip(gains[::2], gains[1::2], strict=True))
                relevance = follow_relevance(layers, mixed)[place, -seen:]
            maps.append(torch.stack([direct, relevance]))
    return torch.stack(maps).cpu()


def follow_relevance(layers: Sequence[tuple[Tensor, Tensor]], mixed: Tensor) -> Tensor:
    """Return the relevance of patches for words, (T, N): equations 6, 7 and 10 of Chefer et al.

    Args:
        layers: for each decoder layer, gains (T, T) between words and (T, P) from regions to words.
        mixed: (P, N), relevance of patches for regions, normalised.
    """
    among = torch.eye(len(layers[0][0]), device=mixed.device)
    held = mixed.new_zeros(len(among), mixed.shape[1])
    for between, look in layers:
        among, held = among + between @ among, held + between @ held
        held = held + normalise(among).T @ (look @ mixed)
    return held


def normalise(relevance: Tensor) -> Tensor:
    """Normalise the rows of what exceeds the identity to 1, equations 8 and 9."""
    itself = torch.eye(len(relevance), device=relevance.device)
    added = relevance - itself
    return added / added.sum(dim=-1, keepdim=True).clamp(min=1e-12) + itself


def _spread(gains: Sequence[Tensor], seen: int) -> Tensor:
    """Propagate relevance through the encoder's layers (N, N); return the decoder's input rows."""
    size = len(gains[0]) if gains else seen
    relevance = torch.eye(size)
    for own in gains:
        relevance = relevance + own.cpu() @ relevance
    return (normalise(relevance) if gains else relevance)[-seen:]


@contextmanager
def _recording(encoder: nn.Module) -> Iterator[list[Tensor]]:
    """Disable fused attention in timm's layers, and collect their differentiable weights."""
    mixing: list[Tensor] = []
    with ExitStack() as changes:
        for module in encoder.modules():
            if hasattr(module, "fused_attn"):
                changes.enter_context(patch.object(module, "fused_attn", False))
                drop = cast(nn.Module, module.attn_drop)
                changes.enter_context(
                    drop.register_forward_hook(lambda _, __, own: mixing.append(own))
                )
        yield mixing
