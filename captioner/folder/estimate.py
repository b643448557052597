"""How long a run will take and how much it will read and write, from a few of its photos."""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from captioner.folder.sources.inputs import Photo

SAMPLE = 32
"""Photos that are captioned to find out; fewer than twice as many are not worth it."""


class Sample:
    """Photos chosen evenly from all that pass, however many, and always the same ones.

    Source: reservoir sampling, algorithm R of Vitter 1985.
    """

    def __init__(self) -> None:
        self.count = 0
        self.photos: list[Photo] = []
        self._random = random.Random(0)

    @property
    def is_worth_it(self) -> bool:
        """Whether there are so many photos that captioning these first is worth it."""
        return self.count >= 2 * SAMPLE

    def add(self, photo: Photo) -> None:
        """Let a photo pass."""
        self.count += 1
        if len(self.photos) < SAMPLE:
            self.photos.append(photo)
        elif (place := self._random.randrange(self.count)) < SAMPLE:
            self.photos[place] = photo


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What all photos of a run take."""

    seconds: float
    read: float
    """Bytes."""
    written: float
    """Bytes of the journal; each sidecar takes some hundred more."""

    def __str__(self) -> str:
        hours = self.seconds / 3600
        time_ = f"{hours:.1f} hours" if hours >= 1 else f"{self.seconds / 60:.1f} minutes"
        return f"about {time_}, {_size(self.read)} to read, {_size(self.written)} of captions"


def estimate(sample: Sample, run: Callable[[Iterable[Photo]], Iterator[int]]) -> Estimate:
    """Caption a sample, and reckon from it what all photos take.

    Args:
        sample: not empty.
        run: captions photos and yields the bytes of each one's line; the model is loaded.
    """
    photos = [replace(photo, stamp=photo.look()) for photo in sample.photos]
    started = time.monotonic()
    lines = sum(run(photos))
    seconds = time.monotonic() - started
    times = sample.count / len(sample.photos)
    return Estimate(
        seconds=seconds * times,
        read=sum(photo.stamp.size for photo in photos if photo.stamp) * times,
        written=lines * times,
    )


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
