"""How a caption is worded where it is written: what stands before it, after it and around it."""

import os
from dataclasses import dataclass
from pathlib import PurePosixPath
from string import Formatter

from captioner.errors import ConfigError
from captioner.folder.sources.inputs import Photo


@dataclass(frozen=True, kw_only=True)
class Wording:
    """What is made of the model's sentence."""

    prefix: str = ""
    """Put before the sentence."""
    suffix: str = ""
    """Put after it."""
    template: str = "{caption}"
    """What is written: {caption} is all of the above, {name} the photo's file name, {stem} that
    without its ending, {folder} the name of the folder it lies in. A doubled brace is a brace."""

    def __post_init__(self) -> None:
        known = ("caption", "name", "stem", "folder")
        choices = ", ".join(f"{{{name}}}" for name in known)
        try:
            parts = list(Formatter().parse(self.template))
        except ValueError as error:
            raise ConfigError(
                f"template {self.template!r}: {error}; write {{{{ for a brace."
            ) from None
        for _, name, form, conversion in parts:
            if name is not None and (name not in known or form or conversion):
                raise ConfigError(
                    f"template {self.template!r}: {{{name}}} has no meaning; choose from {choices}."
                )

    def __call__(self, sentence: str, *, photo: Photo) -> str:
        """Word the caption of a photo."""
        path = PurePosixPath(photo.name)
        place = os.path.dirname(os.path.abspath(photo.path))  # of those with no folder in the name
        return self.template.format(
            caption=f"{self.prefix}{sentence}{self.suffix}",
            name=path.name,
            stem=path.stem,
            folder=path.parent.name or os.path.basename(place),
        )
