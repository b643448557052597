"""Whether a photo is still the one it was: by its size and its last change."""

import os
from dataclasses import dataclass
from typing import Protocol
from zlib import crc32


class _Stamped(Protocol):
    @property
    def size(self) -> int | None: ...

    @property
    def modified(self) -> int | None: ...

    @property
    def etag(self) -> str | None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """What a file looks like from outside."""

    size: int
    """Bytes."""
    modified: int | None
    """Whole seconds since 1970, as all file systems can keep them; None in an archive and in a
    store."""
    etag: str | None = None
    """What an object store gives in place of the time: it changes with the content."""

    @property
    def number(self) -> int:
        """32 bits that stand for it, never 0."""
        return crc32(f"{self.size} {self.etag or self.modified}".encode()) or 1

    def may_be(self, number: int) -> bool:
        """Whether a file like this may be the one whose number that was.

        Copying and packing rounds times to two seconds, and FAT moves them by an hour twice a year.
        """
        if self.modified is None:
            return number == self.number
        shifts = (hour + second for hour in (0, 3600, -3600) for second in (0, 1, -1))
        times = (self.modified + shift for shift in shifts)
        return any(Stamp(size=self.size, modified=time).number == number for time in times)

    @classmethod
    def of(cls, record: _Stamped) -> "Stamp | None":
        """Return the stamp that a record holds; None in one without."""
        if record.size is None:
            return None
        return cls(size=record.size, modified=record.modified, etag=record.etag)

    @classmethod
    def look(cls, path: str) -> "Stamp | None":
        """Return the stamp of a file as it is now; None if it cannot be seen."""
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            return None
        return cls(size=status.st_size, modified=int(status.st_mtime))
