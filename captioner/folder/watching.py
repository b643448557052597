"""Watches a folder: which files are new, and which are completely written."""

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
"""Modification time of a file in nanoseconds, and its size in bytes."""


class Watched:
    """Keeps track of files from one scan to the next.

    Args:
        index: index of the journal; it grows during the run.
        seconds: files modified more recently than this may be incomplete.
    """

    def __init__(self, index: JournalIndex, *, seconds: float) -> None:
        self._index = index
        self._seconds = seconds
        self._met: set[bytes] = set()
        self._tried: dict[bytes, _State | None] = {}  # photos without a caption
        self._again: set[bytes] = set()

    def new_items(self, found: Iterable[Found]) -> Iterator[Found]:
        """Yield new and changed items; omit those still being written and those already seen.

        A failed photo may have been incomplete, so it is yielded again once it has changed. So is
        a captioned photo that was replaced.
        """
        for item in found:
            key = digest(item.name)
            if key in self._index.captioned:
                self._tried.pop(key, None)
                replaced = isinstance(item, Photo) and self._index.is_replaced(
                    key, item.current_stamp()
                )
                if not self._is_settled(item) if replaced else key in self._met:
                    continue
            elif not self._is_settled(item):
                continue
            elif isinstance(item, Photo):
                state = _state_of(item.path)
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
        """Treat these as new in the next scan."""
        self._met.difference_update(map(digest, names))

    def should_retry(self, photo: Photo) -> bool:
        """Whether to retry a failed photo; true once per change."""
        key = digest(photo.name)
        asked = key in self._again
        self._again.discard(key)
        return asked

    def _is_settled(self, item: Found) -> bool:
        try:
            age = time.time() - os.stat(item.path).st_mtime
        except OSError:
            age = math.inf
        # Clocks differ: a modification time in the future does not mean an incomplete file.
        return abs(age) >= self._seconds and not _is_being_written(item.path)


def _is_being_written(path: str) -> bool:
    """Whether a program has the file open for writing, for example a slow copy.

    Known only on Linux and local file systems; False elsewhere.
    """
    if sys.platform != "linux":
        return False
    import fcntl  # noqa: PLC0415  # not on Windows

    with suppress(OSError), open(path, "rb", buffering=0) as file:
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)  # a broken lease must not kill the run
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)  # released on close
        except BlockingIOError:
            return True
    return False


def _state_of(path: str) -> _State | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
