"""Photos that stand in two sets: what is measured on must not have been learned from."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from data.coco import Record
from data.image_source import ImageSource


def find_shared(
    records: Sequence[Record],
    source: ImageSource,
    others: Sequence[Record],
    other_source: ImageSource,
) -> list[tuple[str, str]]:
    """Find photos of one set that are in another one, too.

    The same id and file name tell a photo that was made smaller for one of the sets; the same
    bytes, one that was given another name. Only files of one size are read.

    Returns:
        What each such photo is called, in the one set and in the other.

    Raises:
        DataError: a photo cannot be read.
    """
    by_id = {_id(record): record.image for record in others}
    by_size = defaultdict(list)
    for record in others:
        by_size[other_source.size(record.image)].append(record.image)
    digests: dict[str, bytes] = {}
    shared = []
    for record in records:
        if (known := by_id.get(_id(record))) is not None:
            shared.append((record.image, known))
            continue
        candidates = by_size.get(source.size(record.image), [])
        own = _digest(source, record.image) if candidates else b""
        for name in candidates:
            if name not in digests:
                digests[name] = _digest(other_source, name)
            if digests[name] == own:
                shared.append((record.image, name))
                break
    return shared


def _id(record: Record) -> tuple[int, str]:
    return record.image_id, PurePosixPath(record.image).name


def _digest(source: ImageSource, name: str) -> bytes:
    return hashlib.sha256(source.read(name)).digest()
