"""Losses of caption training: cross-entropy, attention coverage and attention grounding."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from data.ranks import Ranks

Average = Callable[[Tensor, Tensor], Tensor]
"""(total, count) -> mean over all ranks; 0 if the count is 0."""

LOCAL_AVERAGE: Average = Ranks().average
"""`Average` of a single process."""


def cross_entropy_loss(
    logits: Tensor,
    words: Tensor,
    *,
    pad_id: int,
    label_smoothing: float,
    average: Average = LOCAL_AVERAGE,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the next token, averaged over tokens, in nats: label-smoothed and plain.

    Args:
        logits: (B, K, T, V), after reading `words[..., :T]`.
        words: token ids (B, K, T + 1), START first; padding is ignored.
        pad_id: id of the padding token.
        label_smoothing: probability spread evenly over the vocabulary (Szegedy et al. 2016,
            section 7, arXiv:1512.00567).
        average: turns a total and a count into a mean over all ranks.
    """
    log_p = logits.flatten(0, 2).log_softmax(dim=-1, dtype=torch.float32)
    target = words[:, :, 1:].flatten()
    real = target != pad_id
    plain = average(F.nll_loss(log_p, target, ignore_index=pad_id, reduction="sum"), real.sum())
    if not label_smoothing:
        return plain, plain
    uniform = average(-(log_p.mean(dim=-1) * real).sum(), real.sum())
    return (1 - label_smoothing) * plain + label_smoothing * uniform, plain


def coverage_loss(
    attention: Tensor, words: Tensor, *, pad_id: int, average: Average = LOCAL_AVERAGE
) -> Tensor:
    """Penalise regions whose attention, summed over the caption, differs from 1.

    The doubly stochastic regulariser of Xu et al. 2015, equation 14 (arXiv:1502.03044), summed over
    regions for every caption. Like `cross_entropy_loss` it is divided by the number of tokens, so
    the paper's lambda weighs the same two terms. With more regions than tokens it cannot reach 0;
    it is smallest for attention that moves on and spreads out.

    Args:
        attention: (B, K, L, M, T, P), summing to 1 over P; only the last layer counts.
        words: token ids (B, K, T + 1), START first; padding is ignored.
        pad_id: id of the padding token.
        average: turns a total and a count into a mean over all ranks.
    """
    weights = attention[:, :, -1].float().mean(dim=2)  # (B, K, T, P)
    real = words[:, :, 1:] != pad_id
    received = (weights * real[..., None]).sum(dim=2)  # (B, K, P)
    penalty = ((1 - received) ** 2).sum(dim=-1)
    return average((penalty * real.any(dim=2)).sum(), real.sum())


def grounding_loss(
    attention: Tensor, shares: Tensor, *, layer: int = -1, average: Average = LOCAL_AVERAGE
) -> Tensor:
    """Negative log of the attention inside a word's boxes, averaged over words with boxes, in nats.

    Unlike the cross-entropy of Liu et al. 2017, section 3.2 (arXiv:1605.09553), it does not
    prescribe where in the box the attention lies. Boxes that fill no region completely are
    normalised by the most attention they could hold, so the minimum is 0 for small objects too.

    Args:
        attention: (B, K, L, M, T, P), summing to 1 over P; heads are averaged.
        shares: (B, K, T, P), the fraction of each region inside the boxes of the next word, from
            `data.boxes.token_shares`; 0 for words without boxes and for padding.
        layer: index of the supervised layer; the last by default.
        average: turns a total and a count into a mean over all ranks.

    Returns:
        A scalar; 0 if no word has boxes.
    """
    regions = attention[..., -shares.shape[-1] :]  # drops a class token
    weights = regions[:, :, layer].float().mean(dim=2)  # (B, K, T, P)
    reachable = shares.amax(dim=-1)
    named = reachable > 0
    inside = (weights * shares).sum(dim=-1)[named] / reachable[named]
    return average(-inside.clamp(min=1e-6).log().sum(), named.sum())
