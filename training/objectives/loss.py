"""What a captioner is trained to make small."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from data.ranks import Ranks

Average = Callable[[Tensor, Tensor], Tensor]
"""From a total and how many make it up to their mean, over all processes that learn together."""

ALONE: Average = Ranks().average
"""For a process that learns by itself; the mean of nothing is 0."""


def word_loss(
    logits: Tensor,
    words: Tensor,
    *,
    pad_id: int,
    label_smoothing: float,
    average: Average = ALONE,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the next word, averaged over all real words, in nats: smoothed, and plain.

    Args:
        logits: (B, K, T, V), scores after reading `words[..., :T]`.
        words: (B, K, T + 1), START first; padding is not counted.
        pad_id: marks padding.
        label_smoothing: probability spread evenly over the vocabulary (Szegedy et al. 2016,
            section 7, arXiv:1512.00567).
        average: how totals become means.
    """
    log_p = logits.flatten(0, 2).log_softmax(dim=-1, dtype=torch.float32)
    target = words[:, :, 1:].flatten()
    real = target != pad_id
    plain = average(F.nll_loss(log_p, target, ignore_index=pad_id, reduction="sum"), real.sum())
    if not label_smoothing:
        return plain, plain
    even = average(-(log_p.mean(dim=-1) * real).sum(), real.sum())
    return (1 - label_smoothing) * plain + label_smoothing * even, plain


def coverage_loss(
    attention: Tensor, words: Tensor, *, pad_id: int, average: Average = ALONE
) -> Tensor:
    """How far the regions are from being looked at once each over the whole caption.

    The doubly stochastic penalty of Xu et al. 2015, equation 14 (arXiv:1502.03044): a sum over
    regions for every caption. It is shared out among all real words, as `word_loss` is, so that the
    paper's lambda weighs one against the other. With more regions than words it cannot reach 0; it
    is least for attention that moves on and spreads out.

    Args:
        attention: (B, K, L, M, T, P), weights summing to 1 over P; the last layer counts.
        words: (B, K, T + 1), START first; padding is not counted.
        pad_id: marks padding.
        average: how totals become means.
    """
    weights = attention[:, :, -1].float().mean(dim=2)  # (B, K, T, P)
    real = words[:, :, 1:] != pad_id
    looked_at = (weights * real[..., None]).sum(dim=2)  # (B, K, P)
    penalty = ((1 - looked_at) ** 2).sum(dim=-1)
    return average((penalty * real.any(dim=2)).sum(), real.sum())


def grounding_loss(
    attention: Tensor, shares: Tensor, *, layer: int = -1, average: Average = ALONE
) -> Tensor:
    """How far attention is from lying on what the words name, in nats, averaged over those words.

    Minus the logarithm of the attention inside a word's boxes: unlike the cross-entropy of Liu et
    al. 2017, section 3.2 (arXiv:1605.09553), it leaves open where in a box the model looks. Where
    the boxes fill no region, it is taken as a share of what attention could reach at most, so that
    the least loss is 0 for a small thing too.

    Args:
        attention: (B, K, L, M, T, P), weights summing to 1 over P; the mean over heads counts.
        shares: (B, K, T, P), which share of each region is inside the boxes of the next word, from
            `data.boxes.token_shares`; all 0 for a word without boxes, and for padding.
        layer: which layer is taught, as an index; the last unless another is shown to users.
        average: how totals become means.

    Returns:
        A scalar; 0 where no word has boxes.
    """
    regions = attention[..., -shares.shape[-1] :]  # without a class token
    weights = regions[:, :, layer].float().mean(dim=2)  # (B, K, T, P)
    reachable = shares.amax(dim=-1)
    named = reachable > 0
    inside = (weights * shares).sum(dim=-1)[named] / reachable[named]
    return average(-inside.clamp(min=1e-6).log().sum(), named.sum())
