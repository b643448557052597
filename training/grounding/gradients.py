"""Maps that need gradients, measured beside those that captions can show.

gradient    weights of all layers and heads, times the gradient of the word's score with respect to
            them where it is positive: Grad-CAM on cross-attention, as ALBEF grounds with it (Li et
            al. 2021, section 5, arXiv:2107.07651)
relevance   the same followed through the self-attention of words and of regions, layer by layer
            (Chefer et al. 2021, section 3, arXiv:2103.15679); of an encoder other than timm's ViTs
            no layer is followed

The score is the word's logit.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from typing import cast
from unittest.mock import patch

import torch
from torch import Tensor, nn

from captioner.decoders.attention import MultiHeadAttention, RegionAttention
from captioner.decoders.recurrent import RecurrentDecoder
from captioner.decoders.transformer import TransformerDecoder
from captioner.errors import ConfigError
from captioner.pytorch import TorchCaptioner

METHODS = ("gradient", "relevance")
"""What is measured, in the order of `gradient_maps`."""


def gradient_maps(
    captioner: TorchCaptioner, pixels: Tensor, ids: Sequence[int], places: Sequence[int]
) -> Tensor:
    """Read a caption and find what its words depend on.

    Args:
        captioner: a single model whose decoder is recurrent or attends to regions and words apart.
        pixels: (3, H, W), the encoder's input.
        ids: of the caption, START first.
        places: positions of tokens; what the next token depends on is asked.

    Returns:
        (N, 2, P): for each place the maps of `METHODS`, none negative; the last P are the regions.

    Raises:
        ConfigError: the decoder is another one.
    """
    model = captioner.model
    if not isinstance(model.decoder, (RecurrentDecoder, TransformerDecoder)):
        raise ConfigError("--gradients is for a single recurrent or Transformer decoder.")
    with torch.inference_mode(False), torch.enable_grad(), _recording(model) as (mixing, kept):
        features = model.encoder(pixels.clone().to(captioner.device)[None].requires_grad_())
        words = torch.tensor([[list(ids)]], device=captioner.device)
        logits = model.decoder(features, words).logits[0, 0]
        maps = []
        for place in places:
            by_step = isinstance(model.decoder, RecurrentDecoder)
            weights = [*mixing, *(kept[place : place + 1] if by_step else kept)]
            score = logits[place, ids[place + 1]]
            gradients = torch.autograd.grad(score, weights, retain_graph=True)
            gains = iter(
                [
                    (own * slope).detach().clamp(min=0)[0].mean(dim=0)
                    for own, slope in zip(weights, gradients, strict=True)
                ]
            )
            seen = features.shape[1]
            mixed = _spread(list(islice(gains, len(mixing))), seen).to(features.device)
            if by_step:
                (look,) = gains
                maps.append(torch.stack([look, (look @ mixed)[-seen:]]))
            else:
                layers = list(zip(gains, gains, strict=True))  # in turn: between words, to regions
                direct = torch.stack([look[place] for _, look in layers]).sum(dim=0)
                maps.append(torch.stack([direct, follow_relevance(layers, mixed)[place, -seen:]]))
    return torch.stack(maps).cpu()


def follow_relevance(layers: Sequence[tuple[Tensor, Tensor]], mixed: Tensor) -> Tensor:
    """Return the relevance of patches (T, N) for words, equations 6, 7 and 10 of Chefer et al.

    Args:
        layers: of the decoder, gains (T, T) between words and (T, P) from regions to words.
        mixed: (P, N), relevance of patches for regions, normalised.
    """
    among = torch.eye(len(layers[0][0]), device=mixed.device)
    held = mixed.new_zeros(len(among), mixed.shape[1])
    for between, look in layers:
        among, held = among + between @ among, held + between @ held
        held = held + normalise(among).T @ (look @ mixed)
    return held


def normalise(relevance: Tensor) -> Tensor:
    """Let what was added to the identity sum to 1 in each row, equations 8 and 9."""
    itself = torch.eye(len(relevance), device=relevance.device)
    added = relevance - itself
    return added / added.sum(dim=-1, keepdim=True).clamp(min=1e-12) + itself


def _spread(gains: Sequence[Tensor], seen: int) -> Tensor:
    """Follow an encoder's layers (N, N); return the rows that the decoder sees."""
    size = len(gains[0]) if gains else seen
    relevance = torch.eye(size)
    for own in gains:
        relevance = relevance + own.cpu() @ relevance
    return (normalise(relevance) if gains else relevance)[-seen:]


@contextmanager
def _recording(model: nn.Module) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Calculate with weights that can be differentiated by; list those of encoder and decoder."""
    mixing: list[Tensor] = []
    kept: list[Tensor] = []
    with ExitStack() as changes:
        for module in model.modules():
            if isinstance(module, MultiHeadAttention):
                changes.enter_context(
                    patch.object(module, "forward", partial(_attend, module, kept))
                )
            elif isinstance(module, RegionAttention):
                changes.enter_context(patch.object(module, "forward", partial(_look, module, kept)))
            elif hasattr(module, "fused_attn"):  # of timm
                changes.enter_context(patch.object(module, "fused_attn", False))
                drop = cast(nn.Module, module.attn_drop)
                changes.enter_context(
                    drop.register_forward_hook(lambda _, __, own: mixing.append(own))
                )
        yield mixing, kept


def _attend(
    module: MultiHeadAttention,
    kept: list[Tensor],
    x: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    causal: bool = False,
) -> Tensor:
    """Do what `MultiHeadAttention` does, through its weights (1, M, T, S)."""
    kept.append(module.weights(x, keys, causal=causal))
    return module.out((kept[-1] @ values).transpose(1, 2).flatten(2))


def _look(
    module: RegionAttention, kept: list[Tensor], queries: Tensor, keys: Tensor, features: Tensor
) -> tuple[Tensor, Tensor]:
    """Do what `RegionAttention` does, noting its weights (1, 1, P)."""
    kept.append(module.score(queries, keys).softmax(dim=-1))
    return kept[-1] @ features, kept[-1]
