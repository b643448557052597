"""Photos that come while a folder is watched: when they are whole, and which of them are news."""

import math
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

from captioner.durable import digest
from captioner.folder.journal.index import JournalIndex
from captioner.folder.sources.inputs import Found, Photo

_State = tuple[int, int]
"""When a file was last changed, in nanoseconds, and its bytes."""


class Watched:
    """Tells the news from what was met before, look after look.

    Args:
        index: what the journal holds; it grows meanwhile.
        seconds: a file changed less than this long ago may still be on its way.
    """

    def __init__(self, index: JournalIndex, *, seconds: float) -> None:
        self._index = index
        self._seconds = seconds
        self._met: set[bytes] = set()
        self._tried: dict[bytes, _State | None] = {}  # of photos that are not captioned
        self._again: set[bytes] = set()

    def news(self, found: Iterable[Found]) -> Iterator[Found]:
        """Leave out what is still being written, and what was met and is as it was then.

        A photo that failed may have been met half copied: it comes once more when it has changed,
        as does one that has taken the place of another.
        """
        for item in found:
            key = digest(item.name)
            if key in self._index.captioned:
                self._tried.pop(key, None)
                replaced = isinstance(item, Photo) and self._index.is_replaced(key, item.look())
                if not self._is_settled(item) if replaced else key in self._met:
                    continue
            elif not self._is_settled(item):
                continue
            elif isinstance(item, Photo):
                state = _look(item.path)
                if key in self._met:
                    if key not in self._index.failed or state == self._tried.get(key):
                        continue
                    self._again.add(key)
                self._tried[key] = state
            elif key in self._met:
                continue
            self._met.add(key)
            yield item

    def forget(self, names: Iterable[str]) -> None:
        """Take these for news when they come again."""
        self._met.difference_update(map(digest, names))

    def tries_again(self, photo: Photo) -> bool:
        """Whether a photo that failed is to be tried once more; true once for each time."""
        key = digest(photo.name)
        asked = key in self._again
        self._again.discard(key)
        return asked

    def _is_settled(self, item: Found) -> bool:
        try:
            age = time.time() - os.stat(item.path).st_mtime
        except OSError:
            age = math.inf
        # A clock may be wrong: what is of the future is no draft.
        return abs(age) >= self._seconds and not _is_being_written(item.path)


def _is_being_written(path: str) -> bool:
    """Whether a program has a file open for writing, as while it is copied, however slowly.

    Linux tells of files on its own disks; elsewhere it is not known, and taken for no.
    """
    if sys.platform != "linux":
        return False
    import fcntl  # noqa: PLC0415  # not on Windows

    with suppress(OSError), open(path, "rb", buffering=0) as file:
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)  # whoever opens it now ends no run of ours
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)  # given back when it is closed
        except BlockingIOError:
            return True
    return False


def _look(path: str) -> _State | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
