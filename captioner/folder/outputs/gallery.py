"""Writes the captions of a journal as a gallery."""

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from captioner.durable import explained, make_folder
from captioner.folder.journal.index import read_records
from captioner.folder.outputs.originals import Originals
from captioner.folder.sources.filters import NO_PHOTOS
from captioner.folder.sources.remote import StrPath
from captioner.gallery import GalleryPhoto, check_gallery, write_gallery
from captioner.photo.framing import Geometry
from captioner.result.confidence import Judgement


def prepare_gallery(folder: Path) -> None:
    """Create the gallery's folder before the run, so that errors show early.

    Raises:
        CaptionerError: the folder cannot be written to, or holds other files.
    """
    with explained(folder, option="--gallery"):
        check_gallery(folder)
        if _holds_others(folder):  # `.nomedia` would exclude them from later runs
            raise FileExistsError(errno.EEXIST, "it holds other files", str(folder))
        make_folder(folder)
        (folder / NO_PHOTOS).touch()  # keep later runs from captioning the thumbnails


def _holds_others(folder: Path) -> bool:
    """Whether a folder holds files that are not part of a gallery."""
    with suppress(FileNotFoundError):
        names = {name for name in os.listdir(folder) if not name.startswith(".")}
        return any(name not in ("index.html", "pictures") for name in names)
    return False


def export_gallery(folder: Path, journal: Path, *, root: StrPath) -> int:
    """Write a gallery of all captioned photos of a journal.

    Args:
        folder: the gallery's folder, created by `prepare_gallery`.
        journal: path of the journal; if it has words, the gallery shows their attention maps.
        root: folder that names in the journal are relative to, or the archive.

    Returns:
        Number of photos in the gallery.

    Raises:
        CaptionerError: the gallery cannot be written.
    """
    with explained(folder, option="--gallery"):
        return write_gallery(folder, _entries(journal, root))


def _entries(journal: Path, root: StrPath) -> Iterator[GalleryPhoto]:
    originals = Originals(root)
    for record, _ in read_records(journal):
        if record.caption is not None:
            # The confidence of an edited caption is unknown.
            level = None if record.edited else record.level
            judgement = Judgement(level=level, is_photo=record.is_photo)
            yield GalleryPhoto(
                name=record.image,
                source=originals.find(record.image),
                caption=record.caption,
                words=record.words or (),
                geometry=Geometry.from_dict(record.geometry) if record.geometry else None,
                doubts=judgement.doubts,
            )
