"""The captions of a journal as a gallery to browse."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from captioner.config import PreprocessConfig
from captioner.durable import explained
from captioner.errors import ImageError
from captioner.folder.held import read_records
from captioner.folder.inputs import NO_PHOTOS, Found, Photo
from captioner.gallery import Entry, write_gallery


def write_album(
    folder: Path, journal: Path, *, root: Path, found: Iterable[Found], preprocess: PreprocessConfig
) -> int:
    """Write a gallery of all that a journal has captions for.

    Args:
        folder: of the gallery; made if it is not there.
        journal: with words, the gallery shows where the model looked.
        root: the folder that the names in the journal are relative to.
        found: the photos; looked at for those in archives only.
        preprocess: of the model.

    Returns:
        How many photos it shows.

    Raises:
        CaptionerError: it cannot be written.
    """
    archived = {
        photo.name: photo
        for photo in found
        if isinstance(photo, Photo) and photo.offset is not None
    }
    with explained(folder, option="--output"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / NO_PHOTOS).touch()  # thumbnails among the photos are not to be captioned
        return write_gallery(folder, _entries(journal, root, archived), preprocess=preprocess)


def _entries(journal: Path, root: Path, archived: dict[str, Photo]) -> Iterator[Entry]:
    for record, _ in read_records(journal):
        if record.caption is None:
            continue
        source: str | bytes = os.path.join(root, record.image)
        if record.image in archived:
            try:
                source = archived[record.image].read()
            except ImageError:
                source = b""  # gone since; the gallery shows its caption alone
        yield Entry(
            name=record.image, source=source, caption=record.caption, words=record.words or ()
        )
