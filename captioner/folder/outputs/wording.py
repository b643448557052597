"""Prefix, suffix and template applied to every caption."""

import os
from dataclasses import dataclass
from pathlib import PurePosixPath
from string import Formatter

from captioner.errors import ConfigError
from captioner.folder.sources.inputs import Photo


@dataclass(frozen=True, kw_only=True)
class Wording:
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
