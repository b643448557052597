"""Confidence settings, fitted on validation photos and kept in the header."""

from dataclasses import dataclass

from captioner.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class LogisticConfig:
    """Logistic regression: a probability from weighted features."""

    weights: tuple[float, ...]
    """A weight for each feature."""
    bias: float
    """Added to the sum."""


@dataclass(frozen=True, kw_only=True)
class ConfidenceConfig:
    """The fitted models behind confidence, calibration and photo probability."""

    token: LogisticConfig
    """Probability that a token is right, from log p and log (1 - p), where p is the decoder's
    probability: beta calibration (Kull et al. 2017, section 4)."""
    doubtful: float
    """Words with a lower probability are marked as doubtful."""
    caption: LogisticConfig
    """Expected quality of a caption, 1 as good as people's, from
    `captioner.result.confidence.caption_statistics`."""
    medium: float
    """Minimum confidence of the level `medium`; below it, the level is `low`."""
    high: float
    """Minimum confidence of the level `high`."""
    photo: LogisticConfig
    """Probability that an image is a photo, from its mean feature."""
    threshold: float
    """Minimum probability of a photo; other images are reported as not a photo."""

    def __post_init__(self) -> None:
        for name in ("doubtful", "medium", "high", "threshold"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"confidence.{name} is {value}; it must be in [0, 1].")
        if self.high < self.medium:
            raise ConfigError(
                f"confidence.high is {self.high}, below confidence.medium, {self.medium}."
            )
