"""Attention rollout: attention of each word to the regions through all layers of a Transformer."""

from typing import Any

from jaxtyping import Float


def rollout(
    regions: Float[Any, "*rows L T P"], words: Float[Any, "*rows L T T"]
) -> Float[Any, "*rows T P"]:
    """Trace attention from every word through earlier words to the regions.

    Attention rollout (Abnar and Zuidema 2020, section 3, arXiv:2005.00928) models each layer as the
    mean of its attention A and of the residual connection, (A + I) / 2, and multiplies the layers.
    A decoder layer has two such steps, and the regions enter at the second. With R (T, P) the share
    of each region in each word, 0 at first, layer by layer:

        R <- (S + I) / 2 @ R        S (T, T): attention of words to words
        R <- (R + C) / 2            C (T, P): attention of words to regions

    As in the paper, values and feed-forward parts are ignored. Shares that come from no region are
    dropped: every row of the result is divided by its sum. Layers of the encoder, in which regions
    mix, are not traced.

    Args:
        regions: weights over the regions by layer, mean over heads, summing to 1 over P.
        words: weights over the words by layer, mean over heads, summing to 1 over the last axis.
            Both are tensors, or both NumPy arrays.

    Returns:
        Weights over the regions, summing to 1 over P.
    """
    held = regions[..., 0, :, :] / 2  # before the first layer, words hold nothing
    for layer in range(1, regions.shape[-3]):
        held = (words[..., layer, :, :] @ held + held) / 2
        held = (held + regions[..., layer, :, :]) / 2
    return held / held.sum(-1, keepdims=True)
