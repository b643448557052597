"""Whether a photo is still the one it was: by its size and the time of its last change."""

import os
from dataclasses import dataclass
from typing import Protocol
from zlib import crc32


class _Stamped(Protocol):
    @property
    def size(self) -> int | None: ...

    @property
    def modified(self) -> int | None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """What a file looks like from outside."""

    size: int
    """Bytes."""
    modified: int | None
    """Whole seconds since 1970, as all file systems can keep them; None in an archive."""

    @property
    def number(self) -> int:
        """32 bits that stand for it, never 0."""
        return crc32(f"{self.size} {self.modified}".encode()) or 1

    @classmethod
    def of(cls, record: _Stamped) -> "Stamp | None":
        """Return the stamp that a record holds; None in one without."""
        if record.size is None:
            return None
        return cls(size=record.size, modified=record.modified)

    @classmethod
    def look(cls, path: str) -> "Stamp | None":
        """Return the stamp of a file as it is now; None if it cannot be seen."""
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            return None
        return cls(size=status.st_size, modified=int(status.st_mtime))
