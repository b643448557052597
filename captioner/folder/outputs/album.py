"""The captions of a journal as a gallery to browse."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from captioner.durable import explained, make_folder
from captioner.folder.journal.index import read_records
from captioner.folder.journal.records import JournalRecord
from captioner.folder.sources.archives import list_archive, read_member
from captioner.folder.sources.filters import NO_PHOTOS
from captioner.folder.sources.remote import StrPath, is_remote, join, read
from captioner.gallery import GalleryPhoto, check_gallery, write_gallery
from captioner.photo.framing import Geometry
from captioner.result.confidence import Judgement

_IN_ARCHIVE = re.compile(r"(?<=\.tar)/", re.IGNORECASE)
"""Where the name of an archive may end, and that of a photo in it begin."""


def prepare_album(folder: Path) -> None:
    """Make the folder of a gallery, before hours of work begin.

    Raises:
        CaptionerError: it cannot be written to, or holds other files.
    """
    with explained(folder, option="--gallery"):
        check_gallery(folder)
        if _holds_others(folder):  # they would be passed by from now on
            raise FileExistsError(errno.EEXIST, "it holds other files", str(folder))
        make_folder(folder)
        (folder / NO_PHOTOS).touch()  # thumbnails among the photos are not to be captioned


def _holds_others(folder: Path) -> bool:
    """Whether there is more in a folder than a gallery."""
    with suppress(FileNotFoundError):
        names = {name for name in os.listdir(folder) if not name.startswith(".")}
        return any(name not in ("index.html", "pictures") for name in names)
    return False


def write_album(folder: Path, journal: Path, *, root: StrPath) -> int:
    """Write a gallery of all that a journal has captions for.

    Args:
        folder: of the gallery; `prepare_album` has made it.
        journal: with words, the gallery shows where the model looked.
        root: the folder that the names in the journal are relative to, or the archive.

    Returns:
        How many photos it shows.

    Raises:
        CaptionerError: it cannot be written.
    """
    with explained(folder, option="--gallery"):
        return write_gallery(folder, _entries(journal, root))


def _entries(journal: Path, root: StrPath) -> Iterator[GalleryPhoto]:
    archives = _Archives()
    for record, _ in read_records(journal):
        if record.caption is not None:
            yield GalleryPhoto(
                name=record.image,
                source=_source(root, record.image, archives),
                caption=record.caption,
                words=record.words or (),
                geometry=Geometry.from_dict(record.geometry) if record.geometry else None,
                doubts=_judge(record).doubts,
            )


def _judge(record: JournalRecord) -> Judgement:
    """Judge the caption that is shown: what is known is known of the model's own."""
    level = None if record.edited else record.level
    return Judgement(level=level, is_photo=record.is_photo)


def _source(root: StrPath, name: str, archives: "_Archives") -> str | bytes:
    """Return the photo of this name: its path, or its bytes where it lies in an archive."""
    if (is_remote(root) and os.fspath(root).lower().endswith(".tar")) or os.path.isfile(root):
        return archives.read(root, name)
    for found in _IN_ARCHIVE.finditer(name):
        archive = join(root, name[: found.start()])
        if is_remote(archive) or os.path.isfile(archive):
            return archives.read(archive, name[found.end() :])
    path = join(root, name)
    if not is_remote(path):
        return path
    with suppress(OSError):  # the gallery shows its caption alone
        return read(path)
    return b""


class _Archives:
    """Reads photos of archives, each of which is listed once: its photos follow each other."""

    def __init__(self) -> None:
        self._list = lru_cache(maxsize=4)(list_archive)

    def read(self, archive: StrPath, member: str) -> bytes:
        """Return the bytes of a photo; none if it is gone: the gallery shows its caption alone."""
        with suppress(OSError, ValueError, KeyError):
            offset, size = self._list(os.fspath(archive)).files[member]
            return read_member(archive, offset=offset, size=size)
        return b""
