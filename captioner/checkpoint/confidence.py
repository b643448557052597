"""Confidence settings, fitted on validation photos and kept in the header."""

from dataclasses import dataclass

from captioner.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class LogisticConfig:
    """Logistic regression: a probability from weighted features."""

    weights: tuple[float, ...]
    """One for each number."""
    bias: float
    """Added to the sum."""


@dataclass(frozen=True, kw_only=True)
class ConfidenceConfig:
    """The fitted models behind confidence, calibration and photo probability."""

    token: LogisticConfig
    """Of a token: how likely it is right, from log p and log (1 - p), p being what the decoder
    gives it: beta calibration (Kull et al. 2017, section 4)."""
    doubtful: float
    """Words less probable than this are marked."""
    caption: LogisticConfig
    """Of a caption: the quality to be expected of it, 1 as good as people's, from its traits; see
    `captioner.result.confidence`."""
    medium: float
    """From this confidence on, it is called medium, not low."""
    high: float
    """From this confidence on, it is called high."""
    photo: LogisticConfig
    """Of an image: how likely it is a photo, from the caption's traits and those of its pixels."""
    threshold: float
    """An image less likely than this is called no photo."""

    def __post_init__(self) -> None:
        for name in ("doubtful", "medium", "high", "threshold"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"confidence.{name} is {value}; it must be in [0, 1].")
        if self.high < self.medium:
            raise ConfigError(
                f"confidence.high is {self.high}, below confidence.medium, {self.medium}."
            )
