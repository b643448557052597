"""Photos in two sets: training and evaluation data must not overlap."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from posixpath import basename

from data.coco import Record
from data.image_source import ImageSource


def find_shared(
    records: Sequence[Record],
    source: ImageSource,
    others: Sequence[Record],
    other_source: ImageSource,
) -> list[tuple[str, str]]:
    """Find photos of one set that also occur in another.

    Equal file names and ids, if the caption files give them, identify a photo that was resized for
    one of the sets; equal bytes identify a renamed one. Only files of equal size are read.

    Returns:
        The names of each shared photo in both sets.

    Raises:
        DataError: a photo cannot be read.
    """
    by_id = {_id(record): record.image for record in others if record.has_id}
    by_size = defaultdict(list)
    for record in others:
        by_size[other_source.size(record.image)].append(record.image)
    digests: dict[str, bytes] = {}
    shared = []
    for record in records:
        if record.has_id and (known := by_id.get(_id(record))) is not None:
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
    return record.image_id, basename(record.image)


def _digest(source: ImageSource, name: str) -> bytes:
    return hashlib.sha256(source.read(name)).digest()
