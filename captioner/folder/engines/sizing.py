"""How many photos are captioned at once: found by trying, within the memory there is."""

from collections.abc import Callable
from threading import Lock

_FIRST = 4
"""Photos of the first batches, so that a few photos reach all threads, too."""
_TRIALS = 2
"""Batches of a size whose better one counts: the first of a size is slow, and others disturb."""
_GAIN = 0.95
"""A size is worth doubling while this share of the seconds a photo, or less, suffices."""
_LARGEST = 512
_WORTH = 100
"""Batches after which a size is tried anew: what it was found by may have been a busy moment."""


class BatchSize:
    """The size of the batches: as asked, or doubled for as long as photos take less time.

    Args:
        asked: the size, if somebody knows better.
        has_room: whether there is memory for batches of twice the size.
    """

    def __init__(self, asked: int | None, has_room: Callable[[], bool]) -> None:
        self.now = asked or _FIRST
        self._settled = self._asked = asked is not None
        self._batches = 0  # since it settled
        self._has_room = has_room
        self._times: dict[int, list[float]] = {}
        self._lock = Lock()

    def took(self, photos: int, seconds: float) -> None:
        """Learn from a batch; those of another size, as at the end of a folder, teach nothing."""
        with self._lock:
            if photos != self.now or self._asked:
                return
            if self._settled:
                self._batches += 1
                if self._batches == _WORTH:
                    self._settled, self._batches = False, 0
                    self._times.clear()
                    self.now = max(1, self.now // 2)
                return
            times = self._times.setdefault(photos, [])
            times.append(seconds / photos)
            if len(times) < _TRIALS:
                return
            smaller = self._times.get(photos // 2)
            if smaller and min(times) > _GAIN * min(smaller):
                self._settled = True
                if min(times) > min(smaller):
                    self.now = photos // 2
            elif 2 * photos > _LARGEST or not self._has_room():
                self._settled = True
            else:
                self.now = 2 * photos

    def did_not_fit(self, photos: int) -> None:
        """Halve it for good."""
        with self._lock:
            self.now = min(self.now, max(1, photos // 2))
            self._settled = self._asked = True
