"""Text that is written of a caption: prefix, suffix and template, or none if it is withheld."""

import os
from dataclasses import dataclass
from pathlib import PurePosixPath
from string import Formatter

from captioner.errors import ConfigError
from captioner.folder.sources.inputs import Photo
from captioner.result.confidence import Judgement


@dataclass(frozen=True, kw_only=True)
class CaptionTemplate:
    """Turns the model's caption into the text to write."""

    prefix: str = ""
    """Text before the caption."""
    suffix: str = ""
    """Text after the caption."""
    template: str = "{caption}"
    """Text to write: {caption} is the caption with prefix and suffix, {name} the photo's file name,
    {stem} the name without extension, {folder} the name of its folder. Braces are doubled."""

    def __post_init__(self) -> None:
        known = ("caption", "name", "stem", "folder")
        choices = ", ".join(f"{{{name}}}" for name in known)
        try:
            parts = list(Formatter().parse(self.template))
        except ValueError as error:
            raise ConfigError(
                f"template {self.template!r}: {error}; double literal braces: {{{{."
            ) from None
        for _, name, form, conversion in parts:
            if name is not None and (name not in known or form or conversion):
                raise ConfigError(
                    f"template {self.template!r}: unknown field {{{name}}}; choose from {choices}."
                )

    def __call__(self, sentence: str, *, photo: Photo) -> str:
        """Return the text to write for a photo."""
        path = PurePosixPath(photo.name)
        place = os.path.dirname(os.path.abspath(photo.path))  # for names without a folder
        return self.template.format(
            caption=f"{self.prefix}{sentence}{self.suffix}",
            name=path.name,
            stem=path.stem,
            folder=path.parent.name or os.path.basename(place),
        )


@dataclass(frozen=True, kw_only=True)
class ConfidenceFilter:
    """Decides which captions are withheld; their photos get an empty caption."""

    min_confidence: float = 0.0
    """Withhold captions with lower confidence, from 0 to 1."""
    photos_only: bool = False
    """Withhold captions of images that are not photos."""

    def __bool__(self) -> bool:
        return self.photos_only or self.min_confidence > 0

    def withholds(self, judgement: Judgement) -> bool:
        """Whether to withhold a caption; unknown confidence never does."""
        if self.photos_only and judgement.is_photo is False:
            return True
        return judgement.confidence is not None and judgement.confidence < self.min_confidence
