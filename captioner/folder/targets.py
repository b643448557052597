"""Where captions go with their photos: beside them, or into them."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from captioner import metadata
from captioner.durable import digest
from captioner.errors import MetadataError
from captioner.folder.changes import Change, Kind, identify, read, render
from captioner.folder.inputs import Photo

Existing = Literal["skip", "overwrite", "append", "prepend"]


@dataclass(kw_only=True)
class Target:
    """One kind of file that holds a photo's caption."""

    kind: Kind
    """`txt` for photo.txt, `xmp` for photo.jpg.xmp, `photo` for the photo itself."""
    existing: Existing = "skip"
    """What to do about a photo that has a caption there already."""
    separator: str = ", "
    """Between captions that are joined."""
    _written: set[bytes] = field(default_factory=set)
    """Digests of the text files that hold captions of this journal."""

    def refuse(self, photo: Photo) -> str | None:
        """Say why a photo gets no caption here, or None if it gets one."""
        if photo.offset is not None:
            return "it is in an archive, which holds captions neither in it nor beside it"
        path = self._place(photo)
        if self.kind == "txt" and digest(_stem(photo.name)) in self._written:
            return f"{Path(path).name} belongs to another photo of the same name"
        if self.existing == "skip":
            try:
                old = self._caption(read(path), photo)
            except (OSError, MetadataError):
                return None  # not to be passed over: it fails, with the reason
            if old:
                inside = f"{Path(path).name} is there already"
                return "it has a caption already" if self.kind == "photo" else inside
        return None

    def own(self, name: str) -> None:
        """Remember that the photo of this name has its caption, so that no other one takes it."""
        if self.kind == "txt":
            self._written.add(digest(_stem(name)))

    def plan(self, photo: Photo, caption: str) -> Change | str:
        """Plan what a file shall hold, or say why it is left alone.

        Raises:
            OSError: there is one that cannot be read.
            MetadataError: the photo, or an XMP file that is there, cannot hold a caption, or is
            read-only.
        """
        refusal = self.refuse(photo)
        if refusal is not None:
            return refusal
        path = self._place(photo)
        content = read(path)
        if content is not None and not _may_write(path):
            raise MetadataError(
                f"{photo.name}: {Path(path).name} is read-only, and stays as it is; allow writing "
                "it (chmod u+w), or choose another place for captions."
            )
        old = self._caption(content, photo)
        if old and self.existing in ("append", "prepend"):
            caption = self._join(old, caption)
        render(self.kind, caption, content, name=photo.name)  # what cannot be done is told now
        return Change(kind=self.kind, path=path, before=identify(content), caption=caption)

    def _join(self, old: str, caption: str) -> str:
        """Put a caption after or before the one there, unless it stands there already.

        A photo may be met under two names: by a link, or as `a.jpg` and `./a.jpg` on a list.
        """
        if self.existing == "append":
            there = old == caption or old.endswith(self.separator + caption)
            return old if there else old + self.separator + caption
        there = old == caption or old.startswith(caption + self.separator)
        return old if there else caption + self.separator + old

    def _place(self, photo: Photo) -> str:
        if self.kind == "txt":
            return _stem(photo.path) + ".txt"
        if self.kind == "xmp":
            return str(metadata.sidecar_path(Path(photo.path)))
        return photo.path

    def _caption(self, content: bytes | None, photo: Photo) -> str | None:
        """Return the caption that a file holds.

        Raises:
            MetadataError: it is damaged.
        """
        if content is None:
            return None
        if self.kind == "txt":  # some editors begin a text with a mark
            return content.decode("utf-8", "surrogateescape").removeprefix("\ufeff").strip()
        if self.kind == "xmp":
            return metadata.read_sidecar(content, name=photo.name)
        return metadata.read_caption(content, name=photo.name)


def _may_write(path: str) -> bool:
    """Whether somebody may write a file; who may change its folder could replace any in it."""
    return os.access(path, os.W_OK) and bool(os.stat(path).st_mode & 0o222)


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]
