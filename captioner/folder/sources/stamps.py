"""Detects changed photos by size and modification time, or by ETag."""

import os
from dataclasses import dataclass
from zlib import crc32


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """Size and modification time of a file."""

    size: int
    """Size in bytes."""
    modified: int | None
    """Modification time in whole seconds since 1970, the resolution of all file systems; None in
    archives and object stores."""
    etag: str | None = None
    """ETag or digest from an object store, which changes with the content."""

    @property
    def number(self) -> int:
        """32-bit digest of the stamp, never 0."""
        return crc32(f"{self.size} {self.etag or self.modified}".encode()) or 1

    def may_be(self, number: int) -> bool:
        """Whether `number` belongs to this stamp, allowing for inexact times.

        Copying may round times to two seconds, and FAT shifts them by an hour at daylight saving
        changes.
        """
        if self.modified is None:
            return number == self.number
        shifts = (hour + second for hour in (0, 3600, -3600) for second in (0, 1, -1))
        times = (self.modified + shift for shift in shifts)
        return any(Stamp(size=self.size, modified=time).number == number for time in times)

    @classmethod
    def of_file(cls, path: str) -> "Stamp | None":
        """Return the current stamp of a file; None if it cannot be accessed."""
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            return None
        return cls(size=status.st_size, modified=int(status.st_mtime))
