"""Where captions go with their photos: beside them, or into them.

A photo's caption lives in the photo and in the XMP files beside it, and photo managers read all of
these (`Sidecar.shown`). So a caption in any of them counts for both, XMP files and photos: what is
skipped, and what captions are joined with. A text file belongs to training programs, which read
nothing else: it is looked at by itself.
"""

import errno
import os
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from captioner.durable import digest
from captioner.errors import MetadataError
from captioner.folder.sidecars import SIDECARS, Sidecar
from captioner.folder.sidecars.changes import Change, identify
from captioner.folder.sidecars.contract import Note, read_file
from captioner.folder.sidecars.names import folded
from captioner.folder.sources.inputs import Photo
from captioner.metadata import alt_text, text_digest

Existing = Literal["skip", "own", "overwrite", "append", "prepend"]


@dataclass(kw_only=True)
class Target:
    """One kind of file that holds a photo's caption."""

    kind: str
    """Which of `SIDECARS` it is."""
    existing: Existing = "skip"
    """What to do about a photo that has a caption already."""
    separator: str = ", "
    """Between captions that are joined."""
    written_before: Mapping[bytes, str] = field(default_factory=dict)
    """For `own`, what an older journal says of files that hold no marks: digests of the photos'
    names -> of the texts."""
    _owners: dict[bytes, bytes] = field(default_factory=dict)
    """Digests of files that several photos share and one has got -> of its name."""
    _shared: set[str] = field(default_factory=set)
    """XMP files that have got a caption and may belong to several photos, as photo.xmp does."""

    @property
    def sidecar(self) -> Sidecar:
        """What is known of such files."""
        return SIDECARS[self.kind]

    def refuse(self, photo: Photo, *, ours: Container[str | None] = ()) -> str | None:
        """Say why a photo gets no caption here, or None if it gets one.

        Args:
            photo: the photo.
            ours: captions of the journal, old and new: where one stands already is no reason.
        """
        if photo.offset is not None:
            return "it is in an archive, which holds captions neither in it nor beside it"
        path = self._place(photo)
        if self.sidecar.shared:
            key = digest(photo.name)
            if self._owners.get(self._shared_by(photo.path), key) != key:
                return f"{Path(path).name} belongs to another photo of the same name"
        if self.existing in ("skip", "own"):
            try:
                return self._captioned(photo, ours)
            except MetadataError:
                if not self.sidecar.shown:  # whatever it says, it is somebody's
                    return f"{Path(path).name} is there already"
            except OSError:
                pass  # not to be passed over: it fails, with the reason
        return None

    def lacks(self, photo: Photo, *, written: bool) -> bool:
        """Whether a photo that has a caption in the journal has none here.

        Args:
            photo: that was captioned.
            written: whether its caption was written here. Photos are not read again to see that.
        """
        if photo.offset is not None:
            return False
        if self.sidecar.inside:
            return not written
        try:
            return not self._captions(photo)
        except (OSError, MetadataError):
            return False

    def own(self, name: str, path: str) -> None:
        """Remember that a photo has its caption, so that no other one takes its file.

        Args:
            name: as it is recorded.
            path: of the photo.
        """
        if self.sidecar.shared:
            self._owners.setdefault(self._shared_by(path), digest(name))

    def plan(
        self,
        photo: Photo,
        caption: str,
        *,
        ours: Collection[str] = (),
        written: bool = False,
        note: Note = Note(),  # noqa: B008  # frozen
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
            note: whose the caption is.

        Raises:
            OSError: there is one that cannot be read.
            MetadataError: the photo, or a file beside it, cannot hold a caption, or is read-only.
        """
        place = self._place(photo)
        known, older = self._as_read(caption, *ours), self._as_read(*ours)
        refusal = self.refuse(photo, ours=known)
        if refusal is None and written and self._is_edited(photo, known):
            refusal = f"{Path(place).name} was edited since"
        if refusal is not None:
            return refusal
        changes = [self._change(place, self.sidecar, photo, caption, ours=older, note=note)]
        if self.existing != "skip":
            for path, sidecar in self._homes(photo).items():
                if sidecar.inside or path in (place, *self._shared):
                    continue
                found = _read_if_sound(path, sidecar, photo)
                if found and (not written or any(self._is_ours(text, known) for text in found)):
                    changes.append(
                        self._change(path, sidecar, photo, caption, ours=older, note=note)
                    )
                    self._shared.add(path)
        return tuple(changes)

    def _captioned(self, photo: Photo, ours: Container[str | None]) -> str | None:
        """Say where a photo has a caption, other than ours.

        Raises:
            OSError: a file is there and cannot be read.
            MetadataError: the target's own file is damaged.
        """
        for path, sidecar in self._homes(photo).items():
            own = path == self._place(photo)
            found = self._captions(photo) if own else _read_if_sound(path, sidecar, photo)
            foreign = [old for old in found if old not in ours]
            if self.existing == "own" and self._wrote(path, sidecar, photo, foreign):
                continue
            if foreign:
                return (
                    "it has a caption already"
                    if sidecar.inside
                    else (f"{Path(path).name} is there already")
                )
        return None

    def _wrote(self, path: str, sidecar: Sidecar, photo: Photo, texts: Collection[str]) -> bool:
        """Whether all texts of a file are a model's, and nobody has edited them since.

        Raises:
            OSError: it cannot be read.
        """
        known = {self.written_before.get(digest(photo.name))}
        if (content := sidecar.load(path)) is not None and texts:
            known |= sidecar.digests(content, name=photo.name)
        return {text_digest(text) for text in texts} <= known

    def _as_read(self, *captions: str) -> list[str]:
        """Return captions as they are read from the file, where they may be alt text, too."""
        texts = [caption.strip() for caption in captions]
        if self.sidecar.fields == "caption":
            return texts
        return [*texts, *(alt_text(text) for text in texts)]

    def _change(
        self,
        path: str,
        sidecar: Sidecar,
        photo: Photo,
        caption: str,
        *,
        ours: Collection[str],
        note: Note,
    ) -> Change:
        """Plan what one file shall hold.

        Raises:
            OSError: it is there and cannot be read.
            MetadataError: it cannot hold the caption, or is read-only.
        """
        content = read_file(path)
        if content is None and sidecar.inside:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if content is not None and not _may_write(path):
            raise MetadataError(
                f"{photo.name}: {Path(path).name} is read-only, and stays as it is; allow writing "
                "it (chmod u+w), or choose another place for captions."
            )
        had = ""
        if self.existing in ("append", "prepend"):
            found = _read(path, sidecar, photo)
            had = self._join_all(found, ours)
            for other, kind in self._homes(photo).items():
                found = found or _read_if_sound(other, kind, photo)
            joined = self._join(self._join_all(found, ours), caption)
            note = note if joined == caption else Note()  # not all of it is the model's
            caption = joined
        elif self.existing == "overwrite" and content is not None:
            found = _read_if_sound(path, sidecar, photo)
            had = "" if self._wrote(path, sidecar, photo, found) else self._join_all(found, ours)
        change = Change(
            kind=sidecar.kind,
            path=path,
            before=identify(content),
            caption=caption,
            note=replace(note, over_exif=self.sidecar.is_outranked(photo.path, caption)),
            had=had or None,
        )
        change.render(content, name=photo.name)  # what cannot be done fails before all is written
        return change

    def _join_all(self, found: Iterable[str], ours: Collection[str]) -> str:
        """Join what a file says, without captions of the journal."""
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

    def _is_edited(self, photo: Photo, ours: Collection[str]) -> bool:
        """Whether the file holds captions, and none of the journal.

        Raises:
            OSError: it is there and cannot be read.
            MetadataError: it is damaged.
        """
        found = self._captions(photo)
        return bool(found) and not any(self._is_ours(text, ours) for text in found)

    def _is_ours(self, text: str, ours: Collection[str]) -> bool:
        """Whether a caption is one of the journal, or joined to one."""
        return self._without(text, ours) != text

    def _place(self, photo: Photo) -> str:
        return self.sidecar.place(photo.path)

    def _shared_by(self, path: str) -> bytes:
        """Digest of the file of a photo, the same for all that share it."""
        return digest(self.sidecar.place(folded(path)))

    def _homes(self, photo: Photo) -> dict[str, Sidecar]:
        """All files where the caption is looked for, the target's own in front."""
        homes = {self._place(photo): self.sidecar}
        for sidecar in SIDECARS.values() if self.sidecar.shown else ():
            if sidecar.shown and sidecar.fields == self.sidecar.fields:
                for path in sidecar.find(photo.path):
                    homes.setdefault(path, sidecar)
        return homes

    def _captions(self, photo: Photo) -> list[str]:
        """Return the captions that the target's own file holds; raises as `_read`."""
        return _read(self._place(photo), self.sidecar, photo)


def _read(path: str, sidecar: Sidecar, photo: Photo) -> list[str]:
    """Return the captions that a file holds.

    Raises:
        OSError: it is there and cannot be read.
        MetadataError: it is damaged.
    """
    content = sidecar.load(path)
    return [] if content is None else sidecar.read(content, name=photo.name)


def _read_if_sound(path: str, sidecar: Sidecar, photo: Photo) -> list[str]:
    """Return the captions that a file holds that need not be sound: photo managers pass it by.

    Raises:
        OSError: it is there and cannot be read.
    """
    try:
        return _read(path, sidecar, photo)
    except MetadataError:
        return []


def _may_write(path: str) -> bool:
    """Whether somebody may write a file; who may change its folder could replace any in it."""
    return os.access(path, os.W_OK) and bool(os.stat(path).st_mode & 0o222)
