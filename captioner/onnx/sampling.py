"""Drawing words in NumPy, as `captioner.search.walk.sampler` does with torch."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from captioner.config import SearchConfig
from captioner.onnx.decoder import Array

Choose = Callable[[Float[Array, " V"]], int]
"""Picks the next word of one image from the words' log-probabilities."""


def sampler(config: SearchConfig) -> Choose:
    """Make a way to draw the words of one image: temperature, top-k, then top-p of what is left.

    The noise depends on the seed and the step alone, so a seed and a photo give the same caption in
    any batch. It is NumPy's, which gives other numbers than torch's for the same seed.
    """
    generator = np.random.default_rng(config.seed)

    def draw(log_p: Float[Array, " V"]) -> int:
        noise = generator.gumbel(size=len(log_p))
        words = np.argsort(-log_p, kind="stable")
        likely = log_p[words].astype(np.float64)
        likely = (likely - likely[0]) / config.temperature  # however cold, the first stays 0
        if config.top_k:
            likely[config.top_k :] = -np.inf
        if config.top_p < 1:
            p = np.exp(likely)
            p /= p.sum()
            likely[p.cumsum() - p >= config.top_p] = -np.inf
        return int(words[np.argmax(likely + noise[words])])

    return draw
