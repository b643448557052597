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

    def fault_of(record: Record) -> str | None:
        try:
            load_photo(source.read(record.image), name=record.image)
        except (DataError, ImageError) as error:
            return str(error)
        return None

    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(fault_of, records)
        opened = progress_bar(found, title="opening", total=len(records), unit="photos")
        faults = [fault for fault in opened if fault is not None]
    splits: dict[str, list[Record]] = {}
    for record in records:
        if record.image in source:
            splits.setdefault(record.split, []).append(record)
    for one, other in combinations(splits, 2):
        for name, known in find_shared(splits[one], source, splits[other], source):
            faults.append(
                f"{name} of split {one} is also {known} of split {other}; remove one of them."
            )
    return faults
