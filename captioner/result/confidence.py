"""Confidence of a caption: probabilities from statistics of its tokens and from the image.

The settings are in the checkpoint's header. Without them, words keep the decoder's probabilities,
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
"""Distance from 0 and 1 to which probabilities are clipped."""


class Judgement(NamedTuple):
    """Confidence of one caption; None where checkpoint or runtime does not provide it."""

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
    """Estimate the quality of a caption, and whether the image is a photo.

    Args:
        log_probabilities: log-probability of each token and of END, from the decoder.
        summary: mean feature of the image; None if the runtime does not provide it.
        config: confidence settings of the checkpoint; None if it has none.
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
    """Return the statistics that a caption's confidence is computed from.

    Args:
        log_probabilities: log-probability of each token and of END, from the decoder.

    Returns:
        Their mean, their minimum, and the logarithm of their number.
    """
    count = len(log_probabilities)
    return [sum(log_probabilities) / count, min(log_probabilities), math.log(count)]


def word_probability(log_probabilities: Sequence[float], config: ConfidenceConfig | None) -> float:
    """Return the probability that a word is right: the product over its tokens.

    Args:
        log_probabilities: log-probability of each of its tokens, from the decoder.
        config: confidence settings of the checkpoint; None leaves probabilities uncalibrated.
    """
    if config is None:
        return math.exp(sum(log_probabilities))
    statistics = token_statistics(np.exp(np.asarray(log_probabilities, np.float64)))
    return float(logistic(statistics, config.token).prod())


def token_statistics(probability: Float[Any, " N"]) -> Float[Any, "N 2"]:
    """Return the inputs of a token's calibration: log p and log (1 - p)."""
    p = np.clip(np.asarray(probability, np.float64), _CERTAIN, 1 - _CERTAIN)
    return np.stack([np.log(p), np.log1p(-p)], axis=-1)


def logistic(values: Sequence[float] | Float[Any, "*rows N"], config: LogisticConfig) -> Any:
    """Return the logistic function of the weighted sum of each row, from 0 to 1."""
    total = np.asarray(values, np.float64) @ np.array(config.weights) + config.bias
    return 0.5 * (1 + np.tanh(total / 2))
