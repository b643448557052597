"""Captions beside their photos: `photo.txt` for `photo.jpg`."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from captioner.folder.changes import Change, read_text
from captioner.folder.durable import digest
from captioner.folder.inputs import Photo

Existing = Literal["skip", "overwrite", "append", "prepend"]


@dataclass(kw_only=True)
class Sidecars:
    """The text files of a run."""

    existing: Existing = "skip"
    """What to do about a photo that has one already. An empty file is none."""
    separator: str = ", "
    """Between the captions that are joined."""
    _written: set[bytes] = field(default_factory=set)
    """Digests of the sidecars that are captions of this journal."""

    def refuse(self, photo: Photo) -> str | None:
        """Say why a photo gets no sidecar, or None if it gets one."""
        if photo.offset is not None:
            return "it is in an archive, where no sidecar can lie beside it"
        path = _beside(photo)
        if digest(_stem(photo.name)) in self._written:
            return f"{Path(path).name} belongs to another photo of the same name"
        if self.existing == "skip" and _has_text(path):
            return f"{Path(path).name} is there already"
        return None

    def own(self, name: str) -> None:
        """Remember that the photo of this name has its sidecar, so that no other photo takes it."""
        self._written.add(digest(_stem(name)))

    def change(self, photo: Photo, caption: str) -> Change:
        """Plan what a photo's sidecar shall hold.

        Raises:
            OSError: there is one that cannot be read.
        """
        path = _beside(photo)
        before = read_text(Path(path))
        old = (before or "").removeprefix("\ufeff").strip()  # some editors begin with a mark
        parts = [caption]
        if old and self.existing == "append":
            parts = [old, caption]
        elif old and self.existing == "prepend":
            parts = [caption, old]
        return Change(path=path, before=before, after=self.separator.join(parts) + "\n")


def _beside(photo: Photo) -> str:
    return _stem(photo.path) + ".txt"


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]


def _has_text(path: str) -> bool:
    try:
        return os.path.getsize(path) > 0
    except OSError:
        return False
