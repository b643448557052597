"""Finds the fastest batch size during the run, within the available memory."""

from collections.abc import Callable
from threading import Lock

_FIRST = 4
"""Initial batch size; small, so that a few photos keep all threads busy."""
_TRIALS = 2
"""Batches timed per size; the fastest counts, since the first of a size is slow."""
_GAIN = 0.95
"""Keep doubling while a photo takes at most this fraction of its time at half the size."""
_LARGEST = 512
_WORTH = 100
"""Batches after which to search again, in case the machine was busy before."""


class BatchSize:
    """Batch size: fixed, or doubled as long as that makes photos faster.

    Args:
        asked: fixed size; None searches for one.
        has_room: whether memory suffices for batches of twice the size.
    """

    def __init__(self, asked: int | None, has_room: Callable[[], bool]) -> None:
        self.now = asked or _FIRST
        self._settled = self._asked = asked is not None
        self._batches = 0  # since it settled
        self._has_room = has_room
        self._times: dict[int, list[float]] = {}
        self._lock = Lock()

    def record_time(self, photos: int, seconds: float) -> None:
        """Record the time of a batch; partial batches are ignored."""
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

    def record_out_of_memory(self, photos: int) -> None:
        """Halve the size for good."""
        with self._lock:
            self.now = min(self.now, max(1, photos // 2))
            self._settled = self._asked = True
