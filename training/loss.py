"""What a captioner is trained to make small."""

import torch.nn.functional as F
from torch import Tensor


def word_loss(logits: Tensor, words: Tensor, *, pad_id: int, label_smoothing: float) -> Tensor:
    """Cross-entropy of the next word, averaged over all real words, in nats.

    Args:
        logits: (B, K, T, V), scores after reading `words[..., :T]`.
        words: (B, K, T + 1), START first; padding is not counted.
        pad_id: marks padding.
        label_smoothing: probability spread evenly over the vocabulary (Szegedy et al. 2016,
            section 7, arXiv:1512.00567).
    """
    return F.cross_entropy(
        logits.flatten(0, 2).float(),
        words[:, :, 1:].flatten(),
        ignore_index=pad_id,
        label_smoothing=label_smoothing,
    )


def coverage_loss(attention: Tensor, words: Tensor, *, pad_id: int) -> Tensor:
    """How far the regions are from being looked at once each over the whole caption.

    The doubly stochastic penalty of Xu et al. 2015, equation 14 (arXiv:1502.03044): a sum over
    regions for every caption. It is shared out among all real words, as `word_loss` is, so that the
    paper's lambda weighs one against the other. With more regions than words it cannot reach 0; it
    is least for attention that moves on and spreads out.

    Args:
        attention: (B, K, L, M, T, P), weights summing to 1 over P; the last layer counts.
        words: (B, K, T + 1), START first; padding is not counted.
        pad_id: marks padding.
    """
    weights = attention[:, :, -1].float().mean(dim=2)  # (B, K, T, P)
    real = words[:, :, 1:] != pad_id
    looked_at = (weights * real[..., None]).sum(dim=2)  # (B, K, P)
    penalty = ((1 - looked_at) ** 2).sum(dim=-1)
    return (penalty * real.any(dim=2)).sum() / real.sum()
