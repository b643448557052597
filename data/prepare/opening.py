"""Opens every photo beforehand, and lists all faults at once."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

from captioner.errors import DataError, ImageError
from captioner.photo import load_photo
from data.coco import Record
from data.image_source import ImageSource
from data.overlap import find_shared
from data.progress import progress_bar


def find_faults(
    records: Sequence[Record], source: ImageSource, *, workers: int = os.cpu_count() or 1
) -> list[str]:
    """Open every photo, and find photos in two splits.

    Args:
        records: photos, captions and splits.
        source: the photos.
        workers: photos to open concurrently.

    Returns:
        One line per fault: a photo is missing, cannot be read, or is in two splits.
    """
    photos = list({record.image: record for record in records}.values())
    unread: set[str] = set()

    def fault_of(record: Record) -> str | None:
        try:
            load_photo(source.read(record.image), name=record.image)
        except DataError as error:
            unread.add(record.image)
            return str(error)
        except ImageError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(fault_of, photos)
        opened = progress_bar(found, title="opening", total=len(photos), unit="photos")
        faults = [fault for fault in opened if fault is not None]
    splits: dict[str, list[Record]] = {}
    for record in photos:
        if record.image not in unread:
            splits.setdefault(record.split, []).append(record)
    for one, other in combinations(splits, 2):
        pairs = find_shared(splits[one], source, splits[other], source)
        back = find_shared(splits[other], source, splits[one], source)  # several may equal one
        faults += [
            f"{name} of split {one} is also {known} of split {other}; remove one of them."
            for name, known in dict.fromkeys([*pairs, *((name, known) for known, name in back)])
        ]
    return faults
