"""Withholds captions that are likely to be wrong."""

from dataclasses import dataclass

from captioner.result.confidence import Judgement


@dataclass(frozen=True, kw_only=True)
class Silence:
    """Decides which captions are withheld; their photos get an empty caption."""

    min_confidence: float = 0.0
    """Withhold captions with lower confidence, from 0 to 1."""
    photos_only: bool = False
    """Withhold captions of images that are not photos."""

    def __bool__(self) -> bool:
        return self.photos_only or self.min_confidence > 0

    def keeps(self, judgement: Judgement) -> bool:
        """Whether to withhold a caption; unknown confidence never does."""
        if self.photos_only and judgement.is_photo is False:
            return True
        return judgement.confidence is not None and judgement.confidence < self.min_confidence
