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
from captioner.folder.names import folded

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
    _owners: dict[bytes, bytes] = field(default_factory=dict)
    """Digests of the text files that hold captions of this journal -> of their photos' names."""

    def refuse(self, photo: Photo, *, ours: str | None = None) -> str | None:
        """Say why a photo gets no caption here, or None if it gets one.

        Args:
            photo: to be captioned.
            ours: a caption that is from this journal: it may be replaced.
        """
        if photo.offset is not None:
            return "it is in an archive, which holds captions neither in it nor beside it"
        path = self._place(photo)
        if self.kind == "txt":
            key = digest(photo.name)
            if self._owners.get(_text_of(photo.path), key) != key:
                return f"{Path(path).name} belongs to another photo of the same name"
        if self.existing == "skip":
            try:
                old = self._caption(read(path), photo)
            except (OSError, MetadataError):
                return None  # not to be passed over: it fails, with the reason
            if old and old != ours:
                inside = f"{Path(path).name} is there already"
                return "it has a caption already" if self.kind == "photo" else inside
        return None

    def lacks(self, photo: Photo, *, written: bool) -> bool:
        """Whether a photo that has a caption in the journal has none here.

        Args:
            photo: that was captioned.
            written: whether its caption was written here. Photos are not read again to see that.
        """
        if photo.offset is not None:
            return False
        if self.kind == "photo":
            return not written
        try:
            return not self._caption(read(self._place(photo)), photo)
        except (OSError, MetadataError):
            return False

    def own(self, name: str, path: str) -> None:
        """Remember that a photo has its caption, so that no other one takes its file.

        Args:
            name: as it is recorded.
            path: of the photo.
        """
        if self.kind == "txt":
            self._owners.setdefault(_text_of(path), digest(name))

    def plan(self, photo: Photo, caption: str, *, ours: str | None = None) -> Change | str:
        """Plan what a file shall hold, or say why it is left alone.

        Args:
            photo: to be captioned.
            caption: its caption.
            ours: as in `refuse`.

        Raises:
            OSError: there is one that cannot be read.
            MetadataError: the photo, or an XMP file that is there, cannot hold a caption, or is
            read-only.
        """
        refusal = self.refuse(photo, ours=ours)
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
        if old and old != ours and self.existing in ("append", "prepend"):
            caption = self._join(self._without(old, ours), caption)
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

    def _without(self, old: str, ours: str | None) -> str:
        """Take a caption of this journal out of one that it was joined to."""
        if not ours:
            return old
        if self.existing == "append":
            return old.removesuffix(self.separator + ours)
        return old.removeprefix(ours + self.separator)

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


def _text_of(path: str) -> bytes:
    """Digest of the text file of a photo, the same for all that share it."""
    return digest(_stem(folded(path)))


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]
