"""Attention rollout: attention of each word to the regions through all layers of a Transformer."""

from typing import Any

from jaxtyping import Float


def rollout(
    regions: Float[Any, "*rows L T P"], words: Float[Any, "*rows L T T"]
) -> Float[Any, "*rows T P"]:
    """Trace attention from every word through earlier words to the regions.

    Attention rollout (Abnar and Zuidema 2020, section 3, arXiv:2005.00928) takes each layer as the
    mean of its attention A and of the residual stream around it, (A + I) / 2, and multiplies the
    layers. A decoder layer has two such steps, and the regions enter at the second. So with
    R (T, P) for what the words hold of the regions, 0 at first, layer by layer:

        R <- (S + I) / 2 @ R        S (T, T): how words attend to words
        R <- (R + C) / 2            C (T, P): how words attend to regions

    which leaves out, as rollout does, what values and feed-forward parts do. What was held of no
    region is left out too: every row of the result is divided by its sum. The encoder's own layers,
    in which the regions mix, are not followed.

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
