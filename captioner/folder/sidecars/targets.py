"""Decides what to write into sidecars and photos, depending on the captions that are there.

Photo managers read the photo and the XMP files beside it (`Sidecar.shown`). So a caption in any of
these counts for all of them when photos are skipped or captions joined. Text files are for training
programs, which read nothing else, so each counts only for itself.
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
    """A kind of sidecar to write, and how to treat existing captions."""

    kind: str
    """Kind of sidecar, a key of `SIDECARS`."""
    existing: Existing = "skip"
    """What to do with a photo that already has a caption."""
    separator: str = ", "
    """Separator between joined captions."""
    written_before: Mapping[bytes, str] = field(default_factory=dict)
    """For `own` and files without marks: digests of photo names -> digests of the texts that an
    older journal says were written."""
    _owners: dict[bytes, bytes] = field(default_factory=dict)
    """Digests of shared files -> digest of the photo that claimed it."""
    _shared: set[str] = field(default_factory=set)
    """XMP files written in this run that several photos may share, such as photo.xmp."""

    @property
    def sidecar(self) -> Sidecar:
        """Implementation of this kind."""
        return SIDECARS[self.kind]

    def refuse(self, photo: Photo, *, ours: Container[str | None] = ()) -> str | None:
        """Return the reason to skip a photo; None to caption it.

        Args:
            photo: the photo.
            ours: captions of the journal, old and new; these are no reason to skip.
        """
        if photo.offset is not None:
            return "in an archive; captions cannot be written into or beside it"
        path = self._own_file(photo)
        if self.sidecar.shared:
            key = digest(photo.name)
            if self._owners.get(self._shared_by(photo.path), key) != key:
                return f"{Path(path).name} belongs to another photo of the same name"
        if self.existing in ("skip", "own"):
            try:
                return self._captioned(photo, ours)
            except MetadataError:
                if not self.sidecar.shown:  # never overwrite what cannot be read
                    return f"{Path(path).name} exists"
            except OSError:
                pass  # reported when the change is planned
        return None

    def lacks(self, photo: Photo, *, written: bool) -> bool:
        """Whether a captioned photo's file lacks a caption.

        Args:
            photo: a captioned photo.
            written: whether the journal says it was written; photos are not read again to check.
        """
        if photo.offset is not None:
            return False
        if self.sidecar.inside:
            return not written
        try:
            return not self._captions(photo)
        except (OSError, MetadataError):
            return False

    def claim(self, name: str, path: str) -> None:
        """Claim a shared file for a photo, so that no other photo takes it.

        Args:
            name: name of the photo in the journal.
            path: path of the photo.
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
        """Plan the changes to a photo's files, or return the reason for leaving them alone.

        The first change is to the target's own file. The others are to XMP files whose caption
        photo managers would keep showing.

        Args:
            photo: the photo.
            caption: its new caption.
            ours: captions of the journal that the file may hold; they are replaced.
            written: whether one of them was written to the file; if none is there now, the file
                was edited and is left alone.
            note: what to write with the caption.

        Raises:
            OSError: a file exists but cannot be read.
            MetadataError: a file cannot hold a caption, or is read-only.
        """
        place = self._own_file(photo)
        known, older = self._as_read(caption, *ours), self._as_read(*ours)
        refusal = self.refuse(photo, ours=known)
        if refusal is None and written and self._is_edited(photo, known):
            refusal = f"{Path(place).name} was edited since it was written"
        if refusal is not None:
            return refusal
        changes = [self._change(place, self.sidecar, photo, caption, ours=older, note=note)]
        if self.existing != "skip":
            for path, sidecar in self._caption_files(photo).items():
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
        """Return which file holds a caption that is not ours, as a reason to skip.

        Raises:
            OSError: a file exists but cannot be read.
            MetadataError: the target's own file is damaged.
        """
        for path, sidecar in self._caption_files(photo).items():
            own = path == self._own_file(photo)
            found = self._captions(photo) if own else _read_if_sound(path, sidecar, photo)
            foreign = [old for old in found if old not in ours]
            if self.existing == "own" and self._wrote(path, sidecar, photo, foreign):
                continue
            if foreign:
                return "it already has a caption" if sidecar.inside else f"{Path(path).name} exists"
        return None

    def _wrote(self, path: str, sidecar: Sidecar, photo: Photo, texts: Collection[str]) -> bool:
        """Whether a model wrote all texts of a file and none was edited since.

        Raises:
            OSError: the file cannot be read.
        """
        known = {self.written_before.get(digest(photo.name))}
        if (content := sidecar.load(path)) is not None and texts:
            known |= sidecar.digests(content, name=photo.name)
        return {text_digest(text) for text in texts} <= known

    def _as_read(self, *captions: str) -> list[str]:
        """Return captions in every form in which they may be read back, including alt text."""
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
        """Plan the change to one file.

        Raises:
            OSError: the file exists but cannot be read.
            MetadataError: the file cannot hold the caption, or is read-only.
        """
        content = read_file(path)
        if content is None and sidecar.inside:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if content is not None and not _may_write(path):
            raise MetadataError(
                f"{photo.name}: {Path(path).name} is read-only and was left alone; make it "
                "writable (chmod u+w), or choose another kind of output."
            )
        had = ""
        if self.existing in ("append", "prepend"):
            found = _read(path, sidecar, photo)
            had = self._join_all(found, ours)
            for other, kind in self._caption_files(photo).items():
                found = found or _read_if_sound(other, kind, photo)
            joined = self._join(self._join_all(found, ours), caption)
            note = note if joined == caption else Note()  # the model did not write all of it
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
        change.render(content, name=photo.name)  # fail before anything is written
        return change

    def _join_all(self, found: Iterable[str], ours: Collection[str]) -> str:
        """Join a file's captions, without those of the journal."""
        return self._without(self.separator.join(text.strip() for text in found), ours)

    def _join(self, old: str, caption: str) -> str:
        """Append or prepend a caption, unless it is there already.

        A photo may be found under two names: a link, or `a.jpg` and `./a.jpg` on a list.
        """
        if not old:
            return caption
        if self.existing == "append":
            there = old == caption or old.endswith(self.separator + caption)
            return old if there else old + self.separator + caption
        there = old == caption or old.startswith(caption + self.separator)
        return old if there else caption + self.separator + old

    def _without(self, old: str, ours: Collection[str]) -> str:
        """Remove captions of the journal from a joined caption."""
        for text in filter(None, ours):
            if old == text:
                return ""
            if self.existing == "append":
                old = old.removesuffix(self.separator + text)
            if self.existing == "prepend":
                old = old.removeprefix(text + self.separator)
        return old

    def _is_edited(self, photo: Photo, ours: Collection[str]) -> bool:
        """Whether the file holds captions, but none of the journal's.

        Raises:
            OSError: the file exists but cannot be read.
            MetadataError: the file is damaged.
        """
        found = self._captions(photo)
        return bool(found) and not any(self._is_ours(text, ours) for text in found)

    def _is_ours(self, text: str, ours: Collection[str]) -> bool:
        """Whether a caption is one of the journal's, or was joined to one."""
        return self._without(text, ours) != text

    def _own_file(self, photo: Photo) -> str:
        return self.sidecar.path_for(photo.path)

    def _shared_by(self, path: str) -> bytes:
        """Return the digest of a photo's file, equal for all photos that share it."""
        return digest(self.sidecar.path_for(folded(path)))

    def _caption_files(self, photo: Photo) -> dict[str, Sidecar]:
        """Return all files that may hold the caption, the target's own first."""
        homes = {self._own_file(photo): self.sidecar}
        for sidecar in SIDECARS.values() if self.sidecar.shown else ():
            if sidecar.shown and sidecar.fields == self.sidecar.fields:
                for path in sidecar.find(photo.path):
                    homes.setdefault(path, sidecar)
        return homes

    def _captions(self, photo: Photo) -> list[str]:
        """Return the captions in the target's own file; raises as `_read` does."""
        return _read(self._own_file(photo), self.sidecar, photo)


def _read(path: str, sidecar: Sidecar, photo: Photo) -> list[str]:
    """Return the captions in a file.

    Raises:
        OSError: the file exists but cannot be read.
        MetadataError: the file is damaged.
    """
    content = sidecar.load(path)
    return [] if content is None else sidecar.read(content, name=photo.name)


def _read_if_sound(path: str, sidecar: Sidecar, photo: Photo) -> list[str]:
    """Return the captions in a file; none if it is damaged, since photo managers ignore it, too.

    Raises:
        OSError: the file exists but cannot be read.
    """
    try:
        return _read(path, sidecar, photo)
    except MetadataError:
        return []


def _may_write(path: str) -> bool:
    """Whether a file is writable; checked because replacing it needs only a writable folder."""
    return os.access(path, os.W_OK) and bool(os.stat(path).st_mode & 0o222)
