"""Estimates a run's time and input and output size from a sample of its photos."""

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from captioner.folder.sources.inputs import Photo

if TYPE_CHECKING:
    from captioner.folder.engines.local import Outcome
    from captioner.folder.journal.records import JournalRecord
    from captioner.result.caption import Caption

SAMPLE = 32
"""Photos to caption for the estimate; runs of fewer than twice as many get none."""


class Sample:
    """A uniform sample of a stream of photos of unknown length; the seed is fixed.

    Source: reservoir sampling, algorithm R of Vitter 1985.
    """

    def __init__(self) -> None:
        self.count = 0
        self.photos: list[Photo] = []
        self._random = random.Random(0)

    @property
    def is_worth_it(self) -> bool:
        """Whether there are enough photos to justify captioning a sample first."""
        return self.count >= 2 * SAMPLE

    def add(self, photo: Photo) -> None:
        """Offer a photo to the sample."""
        self.count += 1
        if len(self.photos) < SAMPLE:
            self.photos.append(photo)
        elif (place := self._random.randrange(self.count)) < SAMPLE:
            self.photos[place] = photo


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Estimated cost of a whole run."""

    seconds: float
    read: float
    """Bytes of photos to read."""
    written: float
    """Bytes of journal to write; each sidecar adds a few hundred."""

    def __str__(self) -> str:
        hours = self.seconds / 3600
        time_ = f"{hours:.1f} hours" if hours >= 1 else f"{self.seconds / 60:.1f} minutes"
        return f"about {time_}, {_size(self.read)} to read, {_size(self.written)} of captions"


def estimate(
    sample: Sample,
    run: "Callable[[Iterable[Photo]], Iterable[list[Outcome]]]",
    make_record: "Callable[[Photo, Caption], JournalRecord]",
) -> Estimate:
    """Caption a sample and extrapolate to all photos.

    Args:
        sample: not empty.
        run: `run` of an engine whose model is already loaded.
        make_record: makes the record of a caption.
    """
    photos = [replace(photo, stamp=photo.current_stamp()) for photo in sample.photos]
    started = time.monotonic()
    written = sum(
        len(make_record(photo, found).to_line())
        for batch in run(photos)
        for photo, found in batch
        if not isinstance(found, str)
    )
    seconds = time.monotonic() - started
    times = sample.count / len(sample.photos)
    return Estimate(
        seconds=seconds * times,
        read=sum(photo.stamp.size for photo in photos if photo.stamp) * times,
        written=written * times,
    )


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
