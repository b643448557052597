"""When no caption is better than the one there is."""

from dataclasses import dataclass

from captioner.result.confidence import Judgement


@dataclass(frozen=True, kw_only=True)
class Silence:
    """Which captions are not written; their photos are recorded with an empty one."""

    min_confidence: float = 0.0
    """Captions of less confidence are not written."""
    photos_only: bool = False
    """Whether images that are no photos are left without a caption."""

    def __bool__(self) -> bool:
        return self.photos_only or self.min_confidence > 0

    def keeps(self, judgement: Judgement) -> bool:
        """Whether no caption is written; where nothing is known, one is."""
        if self.photos_only and judgement.is_photo is False:
            return True
        return judgement.confidence is not None and judgement.confidence < self.min_confidence
