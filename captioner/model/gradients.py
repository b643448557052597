"""Gradient-weighted attention: attention weights times the gradient of a word's score.

Grad-CAM on cross-attention, as ALBEF uses it for grounding (Li et al. 2021, section 5,
arXiv:2107.07651), but over all layers: weights times the gradient of the word's logit with respect
to them, where positive; mean over heads, sum over layers.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from captioner.decoders.attention import MultiHeadAttention, RegionAttention
from captioner.decoders.contract import Decoder
from captioner.decoders.recurrent import RecurrentDecoder
from captioner.decoders.transformer import TransformerDecoder
from captioner.errors import ConfigError
from captioner.speed.packing import share_weights


def gradient_maps(
    decoder: Decoder, features: Float[Tensor, "1 P D"], ids: Sequence[int], places: Sequence[int]
) -> Float[Tensor, "N P"]:
    """Compute a gradient-weighted attention map for words of a caption.

    Args:
        decoder: a single recurrent decoder or cross-attention Transformer.
        features: features of the image.
        ids: token ids, including those given before the first word.
        places: positions in `ids`; the map explains the token after each.

    Returns:
        A map for each place, never negative; it may be 0 everywhere.

    Raises:
        ConfigError: the decoder is of another kind.
    """
    with torch.inference_mode(False), torch.enable_grad():
        twin, kept = recording_twin(decoder)
        own = features.clone().requires_grad_()
        logits = twin(own, torch.tensor([[list(ids)]], device=own.device)).logits[0, 0]
        return torch.stack([direct for _, _, direct in differentiate(logits, ids, places, kept)])


def differentiate(
    logits: Float[Tensor, "T V"],
    ids: Sequence[int],
    places: Sequence[int],
    kept: Sequence[Tensor],
    before: Sequence[Tensor] = (),
) -> Iterator[tuple[list[Tensor], list[Tensor], Tensor]]:
    """Multiply attention weights by the gradients of word scores, where positive.

    Args:
        logits: output of a twin from `recording_twin`.
        ids: as in `gradient_maps`.
        places: as in `gradient_maps`.
        kept: the twin's weights for the whole caption.
        before: weights of the encoder, (1, M, N, N) each.

    Yields:
        For each place: products for the encoder's weights, products for the decoder's, both as
            means over heads, and the map (P).
    """
    by_step = kept[0].ndim == 3  # of a recurrent decoder, in whose place there is one alone
    for place in places:
        weights = [*before, *(kept[place : place + 1] if by_step else kept)]
        score = logits[place, ids[place + 1]]
        slopes = torch.autograd.grad(score, weights, retain_graph=True)
        gains = [
            (own * slope).detach().clamp(min=0)[0].mean(dim=0)
            for own, slope in zip(weights, slopes, strict=True)
        ]
        mixing, looking = gains[: len(before)], gains[len(before) :]
        # Of a Transformer, weights between words and those of regions come in turn.
        direct = looking if by_step else [look[place] for look in looking[1::2]]
        yield mixing, looking, torch.stack(direct).sum(dim=0)


def recording_twin(decoder: Decoder) -> tuple[Decoder, list[Tensor]]:
    """Make a copy of a decoder that computes attention differentiably and records its weights.

    Returns:
        The copy, in evaluation mode and with shared parameters, and the list of weights: (1, 1, P)
        for each step of a recurrent decoder; for each layer of a Transformer (1, M, T, T) between
        words, then (1, M, T, P).

    Raises:
        ConfigError: the decoder is a prefix decoder or an ensemble.
    """
    if not isinstance(decoder, RecurrentDecoder | TransformerDecoder):
        raise ConfigError(
            "gradient attention needs a single model that attends to words and regions separately, "
            "not GIT or an ensemble; leave out --gradients, or choose another --attention."
        )
    twin = share_weights(decoder).eval()
    kept: list[Tensor] = []
    for module in twin.modules():
        if isinstance(module, MultiHeadAttention):
            setattr(module, "forward", partial(_attend_heads, module, kept))  # noqa: B010
        elif isinstance(module, RegionAttention):
            setattr(module, "forward", partial(_attend_regions, module, kept))  # noqa: B010
    return twin, kept


def _attend_heads(
    module: MultiHeadAttention,
    kept: list[Tensor],
    x: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    causal: bool = False,
) -> Tensor:
    """Do what `MultiHeadAttention.forward` does, recording the weights (1, M, T, S)."""
    kept.append(module.weights(x, keys, causal=causal))
    return module.out((kept[-1] @ values).transpose(1, 2).flatten(2))


def _attend_regions(
    module: RegionAttention, kept: list[Tensor], queries: Tensor, keys: Tensor, features: Tensor
) -> tuple[Tensor, Tensor]:
    """Do what `RegionAttention.forward` does, recording the weights (1, 1, P)."""
    kept.append(module.score(queries, keys).softmax(dim=-1))
    return kept[-1] @ features, kept[-1]
