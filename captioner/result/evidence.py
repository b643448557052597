"""Evidence maps: regions on which heads agree and which raise the word's score."""

import numpy as np
from jaxtyping import Float

from captioner.photo.framing import Float32Array

_FLOOR = 0.02
"""Minimum weight of a region, as a fraction of uniform attention, so that no single head can
exclude a region."""
_POWER = 0.75
"""Exponent of the product, whose spots are smaller than objects; chosen on validation photos."""
_KERNEL = (0.0625, 0.25, 0.375, 0.25, 0.0625)
"""Binomial filter with a standard deviation of one region."""


def weigh_evidence(
    heads: Float[Float32Array, "M gh gw"], added: Float[Float32Array, "gh gw"]
) -> Float[Float32Array, "gh gw"]:
    """Multiply the agreement of the last layer's heads by the regions' contributions to the score.

    Agreement is the geometric mean of the heads' weights, a product of experts (Hinton 2002). The
    direct contribution of a region to the word's score is attributed as in Elhage et al. 2021;
    negative contributions count as 0. Both maps are smoothed over neighbouring regions first.

    Args:
        heads: weights of each head.
        added: contributions to the word's score; see
            `captioner.decoders.contract.Decoder.evidence`.

    Returns:
        A map that sums to 1.
    """
    shares = heads / heads.sum(axis=(1, 2), keepdims=True)
    agreed = smooth(np.exp(np.log(shares + _FLOOR / added.size).mean(axis=0)))
    spoken_for = smooth(np.maximum(added, 0))
    shown = (agreed * spoken_for) ** _POWER if spoken_for.any() else agreed
    weights: Float32Array = (shown / shown.sum()).astype(np.float32)
    return weights


def smooth(weights: Float[Float32Array, "gh gw"]) -> Float[Float32Array, "gh gw"]:
    """Smooth over neighbours up to two regions away; edges are replicated."""
    for axis in (0, 1):
        around = [(2, 2) if axis == other else (0, 0) for other in (0, 1)]
        padded = np.pad(weights, around, mode="edge")
        size = weights.shape[axis]
        weights = sum(
            (k * padded.take(range(n, n + size), axis=axis) for n, k in enumerate(_KERNEL)),
            start=np.zeros_like(weights),
        )
    return weights
