"""Where captions go with their photos: beside them, or into them.

A photo's caption lives in the photo and in the XMP files beside it, and photo managers read all of
these. So a caption in any of them counts for both, XMP files and photos: what is skipped, and what
captions are joined with. A text file belongs to training programs, which read nothing else: it is
looked at by itself.
"""

import errno
import os
from collections.abc import Collection, Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from captioner import metadata
from captioner.durable import digest
from captioner.errors import MetadataError
from captioner.folder.sidecars.changes import Change, Kind, identify, read, render
from captioner.folder.sidecars.names import folded
from captioner.folder.sidecars.texts import is_blank, read_text
from captioner.folder.sources.inputs import Photo

Existing = Literal["skip", "overwrite", "append", "prepend"]


@dataclass(kw_only=True)
class Target:
    """One kind of file that holds a photo's caption."""

    kind: Kind
    """`txt` for photo.txt, `xmp` for photo.jpg.xmp, `photo` for the photo itself."""
    existing: Existing = "skip"
    """What to do about a photo that has a caption already."""
    separator: str = ", "
    """Between captions that are joined."""
    _owners: dict[bytes, bytes] = field(default_factory=dict)
    """Digests of the text files that hold captions of this journal -> of their photos' names."""
    _shared: set[str] = field(default_factory=set)
    """XMP files that have got a caption and may belong to several photos, as photo.xmp does."""

    def refuse(self, photo: Photo, *, ours: Container[str | None] = ()) -> str | None:
        """Say why a photo gets no caption here, or None if it gets one.

        Args:
            photo: the photo.
            ours: captions of the journal, old and new: where one stands already is no reason.
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
                return self._captioned(photo, ours)
            except (OSError, MetadataError):
                return None  # not to be passed over: it fails, with the reason
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
            return not self._captions(self._place(photo), photo)
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

    def plan(
        self, photo: Photo, caption: str, *, ours: Collection[str] = (), written: bool = False
    ) -> tuple[Change, ...] | str:
        """Plan what files shall hold, or say why they are left alone.

        The first is the target's own; the others are XMP files with a caption that photo managers
        would go on showing.

        Args:
            photo: to be captioned.
            caption: its caption.
            ours: captions of the journal that may stand there, and are replaced.
            written: whether one of them was written there: if none stands there now, somebody has
                edited it, and it stays.

        Raises:
            OSError: there is one that cannot be read.
            MetadataError: the photo, or a file beside it, cannot hold a caption, or is read-only.
        """
        place = self._place(photo)
        known = [text.strip() for text in (caption, *ours)]  # as they are read
        refusal = self.refuse(photo, ours=known)
        if refusal is None and written and self._is_edited(place, photo, known):
            refusal = f"{Path(place).name} was edited since"
        if refusal is not None:
            return refusal
        changes = [self._change(place, self.kind, photo, caption, known[1:])]
        if self.kind != "txt" and self.existing != "skip":
            for path in _sidecars(photo):
                if path in (place, *self._shared) or not (found := self._others(path, photo)):
                    continue
                if not written or any(self._is_ours(text, known) for text in found):
                    changes.append(self._change(path, "xmp", photo, caption, known[1:]))
                    self._shared.add(path)
        return tuple(changes)

    def _captioned(self, photo: Photo, ours: Container[str | None]) -> str | None:
        """Say where a photo has a caption, other than ours.

        Raises:
            OSError: a file is there and cannot be read.
            MetadataError: the target's own file is damaged.
        """
        place = self._place(photo)
        if self.kind == "txt":
            content = read(place)
            if content is None or is_blank(content) or _is_one_of(content, ours):
                return None
            return f"{Path(place).name} is there already"
        for path in self._homes(photo):
            own = path == place
            found = self._captions(path, photo) if own else self._others(path, photo)
            if any(old not in ours for old in found):
                if path == photo.path:
                    return "it has a caption already"
                return f"{Path(path).name} is there already"
        return None

    def _change(
        self, path: str, kind: Kind, photo: Photo, caption: str, ours: Collection[str]
    ) -> Change:
        """Plan what one file shall hold.

        Raises:
            OSError: it is there and cannot be read.
            MetadataError: it cannot hold the caption, or is read-only.
        """
        content = read(path)
        if content is None and kind == "photo":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if content is not None and not _may_write(path):
            raise MetadataError(
                f"{photo.name}: {Path(path).name} is read-only, and stays as it is; allow writing "
                "it (chmod u+w), or choose another place for captions."
            )
        if self.existing in ("append", "prepend"):
            caption = self._join(self._joined(path, photo, ours), caption)
        over_exif = self.kind == "xmp" and self._contradicts(photo, caption)
        # What cannot be done fails now, before anything is written.
        render(kind, caption, content, over_exif=over_exif, name=photo.name)
        before = identify(content)
        return Change(kind=kind, path=path, before=before, caption=caption, over_exif=over_exif)

    def _contradicts(self, photo: Photo, caption: str) -> bool:
        """Whether the photo's Exif data says something else.

        Raises:
            OSError: the photo cannot be read.
        """
        try:
            content = metadata.read_photo(photo.path)
            description = metadata.read_exif_description(content, name=photo.name)
        except MetadataError:  # photo managers cannot read it, either
            return False
        return description not in (None, caption)

    def _joined(self, path: str, photo: Photo, ours: Collection[str]) -> str:
        """The caption that a file has, or else the one that the photo has elsewhere."""
        found = self._captions(path, photo)
        for other in [] if self.kind == "txt" else self._homes(photo):
            found = found or self._others(other, photo)
        return self._without(self.separator.join(text.strip() for text in found), ours)

    def _join(self, old: str, caption: str) -> str:
        """Put a caption after or before the one there, unless it stands there already.

        A photo may be met under two names: by a link, or as `a.jpg` and `./a.jpg` on a list.
        """
        if not old:
            return caption
        if self.existing == "append":
            there = old == caption or old.endswith(self.separator + caption)
            return old if there else old + self.separator + caption
        there = old == caption or old.startswith(caption + self.separator)
        return old if there else caption + self.separator + old

    def _without(self, old: str, ours: Collection[str]) -> str:
        """Take captions of the journal out of one that they were joined to."""
        for text in filter(None, ours):
            if old == text:
                return ""
            if self.existing == "append":
                old = old.removesuffix(self.separator + text)
            if self.existing == "prepend":
                old = old.removeprefix(text + self.separator)
        return old

    def _is_edited(self, path: str, photo: Photo, ours: Collection[str]) -> bool:
        """Whether a file holds captions, and none of the journal.

        Raises:
            OSError: it is there and cannot be read.
            MetadataError: it is damaged.
        """
        found = self._captions(path, photo)
        return bool(found) and not any(self._is_ours(text, ours) for text in found)

    def _is_ours(self, text: str, ours: Collection[str]) -> bool:
        """Whether a caption is one of the journal, or joined to one."""
        return self._without(text, ours) != text

    def _place(self, photo: Photo) -> str:
        if self.kind == "txt":
            return _stem(photo.path) + ".txt"
        if self.kind == "xmp":
            return str(metadata.sidecar_path(Path(photo.path)))
        return photo.path

    def _homes(self, photo: Photo) -> list[str]:
        """All files where photo managers look for the caption, the target's own in front."""
        place = self._place(photo)
        return [place, *(path for path in [*_sidecars(photo), photo.path] if path != place)]

    def _captions(self, path: str, photo: Photo) -> list[str]:
        """Return the captions that a file holds.

        Raises:
            OSError: it is there and cannot be read.
            MetadataError: it is damaged.
        """
        if path == photo.path:
            return metadata.read_captions(metadata.read_photo(path), name=photo.name)
        content = read(path)
        if content is None:
            return []
        if self.kind == "txt":
            text = read_text(content, name=f"{photo.name}: {Path(path).name}")
            return [text] if text else []
        return metadata.read_sidecar_captions(content, name=photo.name)

    def _others(self, path: str, photo: Photo) -> list[str]:
        """Return the captions that a file holds that need not be sound: photo managers pass it by.

        Raises:
            OSError: it is there and cannot be read.
        """
        try:
            return self._captions(path, photo)
        except MetadataError:
            return []


def _sidecars(photo: Photo) -> list[str]:
    """The XMP files beside a photo, named as digiKam and as Lightroom do."""
    full, stem = (
        _as_it_is_written(str(metadata.sidecar_path(Path(photo.path), naming=naming)))
        for naming in ("full", "stem")
    )
    other = os.path.exists(_stem(photo.path))  # of photo.jpg.png, photo.jpg.xmp is another photo's
    return [full] if other else [full, stem]


def _as_it_is_written(sidecar: str) -> str:
    """An XMP file's name, in capitals if that is the one that is there."""
    capitals = sidecar.removesuffix(".xmp") + ".XMP"
    return capitals if os.path.exists(capitals) and not os.path.exists(sidecar) else sidecar


def _may_write(path: str) -> bool:
    """Whether somebody may write a file; who may change its folder could replace any in it."""
    return os.access(path, os.W_OK) and bool(os.stat(path).st_mode & 0o222)


def _is_one_of(content: bytes, captions: Container[str | None]) -> bool:
    """Whether a text file holds one of these."""
    try:
        return read_text(content, name="") in captions
    except MetadataError:
        return False


def _text_of(path: str) -> bytes:
    """Digest of the text file of a photo, the same for all that share it."""
    return digest(_stem(folded(path)))


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]
