"""Confidence of a caption: evidence from search and image, turned into probabilities.

The settings come from the checkpoint's header; without them, words keep the decoder's probabilities
and captions have no confidence.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from captioner.checkpoint.confidence import ConfidenceConfig, LogisticConfig

Level = Literal["low", "medium", "high"]

_CERTAIN = 1e-7
"""Nearest to 0 and 1 that a probability is taken for."""


class Judgement(NamedTuple):
    """Confidence of one caption; None where the checkpoint or the runtime cannot tell."""

    confidence: float | None = None
    level: Level | None = None
    photo_probability: float | None = None
    is_photo: bool | None = None

    @property
    def doubts(self) -> list[str]:
        """Warnings about the caption, in words; empty if there are none."""
        found = ["low confidence"] if self.level == "low" else []
        return [*found, "not a photo?"] if self.is_photo is False else found


def judge(
    log_probabilities: Sequence[float],
    summary: Float[Any, " D"] | None,
    config: ConfidenceConfig | None,
) -> Judgement:
    """Judge a caption, and whether the image is a photo.

    Args:
        log_probabilities: of the caption's tokens and of END, as the decoder gives them.
        summary: mean feature of the image's regions; None if the runtime does not show it.
        config: what the checkpoint says about itself.
    """
    if config is None:
        return Judgement()
    confidence = float(logistic(caption_statistics(log_probabilities), config.caption))
    level: Level = "low" if confidence < config.medium else "medium"
    level = "high" if confidence >= config.high else level
    if summary is None:
        return Judgement(confidence, level)
    photo = float(logistic(summary, config.photo))
    return Judgement(confidence, level, photo, photo >= config.threshold)


def caption_statistics(log_probabilities: Sequence[float]) -> list[float]:
    """Return the features of a caption's confidence.

    Args:
        log_probabilities: of its tokens and of END, as the decoder gives them.

    Returns:
        Their mean, their least, and the logarithm of their number.
    """
    count = len(log_probabilities)
    return [sum(log_probabilities) / count, min(log_probabilities), math.log(count)]


def word_probability(log_probabilities: Sequence[float], config: ConfidenceConfig | None) -> float:
    """Return how likely a word is right, the product over its tokens.

    Args:
        log_probabilities: of its tokens, as the decoder gives them.
        config: what the checkpoint says about itself; None takes the decoder at its word.
    """
    if config is None:
        return math.exp(sum(log_probabilities))
    traits = token_statistics(np.exp(np.asarray(log_probabilities, np.float64)))
    return float(logistic(traits, config.token).prod())


def token_statistics(probability: Float[Any, " N"]) -> Float[Any, "N 2"]:
    """Return the features of a token's calibrated probability."""
    p = np.clip(np.asarray(probability, np.float64), _CERTAIN, 1 - _CERTAIN)
    return np.stack([np.log(p), np.log1p(-p)], axis=-1)


def logistic(values: Sequence[float] | Float[Any, "*rows N"], config: LogisticConfig) -> Any:
    """Return the logistic function of the weighted sum of each row, from 0 to 1."""
    total = np.asarray(values, np.float64) @ np.array(config.weights) + config.bias
    return 0.5 * (1 + np.tanh(total / 2))
