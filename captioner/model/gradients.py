"""What a word depends on: attention weights times the gradient of its score.

Grad-CAM on cross-attention, as ALBEF grounds with it (Li et al. 2021, section 5, arXiv:2107.07651),
over all layers: weights times the gradient of the word's logit with respect to them where it is
positive, mean over the heads, sum over the layers.
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
    """Read a caption and find what its words depend on.

    Args:
        decoder: a single one that is recurrent, or attends to words and regions apart.
        features: of the image.
        ids: of the caption, what is given before its first token included.
        places: positions of tokens; what the next token depends on is asked.

    Returns:
        For each place a map, not negative; it may be 0 everywhere.

    Raises:
        ConfigError: the decoder is another one.
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
    """Multiply weights by the gradients of the scores of words, where they are positive.

    Args:
        logits: scores of a twin of `recording_twin`.
        ids: as above.
        places: as above.
        kept: the twin's weights of the whole caption.
        before: the encoder's, (1, M, N, N) each.

    Yields:
        For each place the gains of the encoder's weights, those of the decoder's, means over the
        heads, and the map (P) of the place.
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
    """Make a twin that calculates with weights that can be differentiated by, and lists them.

    Returns:
        The twin, in evaluation mode, and the list: for each step of a recurrent decoder (1, 1, P);
        for each layer of a Transformer (1, M, T, T) between words, then (1, M, T, P).

    Raises:
        ConfigError: the decoder is that of GIT, or of several models.
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
    """Do what `MultiHeadAttention` does, through its weights (1, M, T, S)."""
    kept.append(module.weights(x, keys, causal=causal))
    return module.out((kept[-1] @ values).transpose(1, 2).flatten(2))


def _attend_regions(
    module: RegionAttention, kept: list[Tensor], queries: Tensor, keys: Tensor, features: Tensor
) -> tuple[Tensor, Tensor]:
    """Do what `RegionAttention` does, noting its weights (1, 1, P)."""
    kept.append(module.score(queries, keys).softmax(dim=-1))
    return kept[-1] @ features, kept[-1]
