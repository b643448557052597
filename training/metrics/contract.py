"""What all scores of captions against references have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from training.metrics.bootstrap import Interval, mean_intervals

References = Sequence[Sequence[Sequence[str]]]
"""One or more references for each image, as words."""
Candidates = Sequence[Sequence[str]]
"""One caption for each image, as words, in the same order."""


class Score(ABC):
    """A score whose value for many images is the mean of theirs, unless it says otherwise."""

    titles: ClassVar[Mapping[str, str]]
    """Names of its values in reports -> what people call them."""

    @abstractmethod
    def measure(self, references: References, candidates: Candidates) -> list[Any]:
        """Return what the score is made of, image by image."""

    def total(self, images: Sequence[Any]) -> dict[str, float]:
        """Return the score of all images together."""
        [name] = self.titles
        return {name: sum(images) / len(images)}

    def intervals(self, images: Sequence[Any], *, resamples: int, seed: int) -> dict[str, Interval]:
        """Return the interval of each value, by the bootstrap over images."""
        [name] = self.titles
        return mean_intervals({name: images}, resamples=resamples, seed=seed)
