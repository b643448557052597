"""The interface of all scores of captions against references."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from training.metrics.bootstrap import Interval, mean_intervals

References = Sequence[Sequence[Sequence[str]]]
"""One or more tokenized references per image."""
Candidates = Sequence[Sequence[str]]
"""One tokenized caption per image, in the same order."""


class Score(ABC):
    """A score of captions; by default, the corpus score is the mean over images."""

    titles: ClassVar[Mapping[str, str]]
    """Names of its values in JSON reports -> names in tables."""

    @abstractmethod
    def measure(self, references: References, candidates: Candidates) -> list[Any]:
        """Return the statistics of every image that the score is computed from."""

    def total(self, images: Sequence[Any]) -> dict[str, float]:
        """Return the score of the corpus."""
        [name] = self.titles
        return {name: sum(images) / len(images)}

    def intervals(self, images: Sequence[Any], *, resamples: int, seed: int) -> dict[str, Interval]:
        """Return the confidence interval of each value, by bootstrap over images."""
        [name] = self.titles
        return mean_intervals({name: images}, resamples=resamples, seed=seed)
