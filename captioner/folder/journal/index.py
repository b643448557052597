"""Reads a journal, and indexes it by photo."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from captioner.durable import digest
from captioner.errors import CaptionerError
from captioner.folder.journal.records import CutOffError, JournalRecord
from captioner.folder.sidecars import SIDECARS
from captioner.folder.sources.stamps import Stamp

_EDITED, _OUTDATED = 1, 2
_FLAGS = 32
"""Bits for these two flags and one per entry of `SIDECARS`."""


@dataclass
class JournalIndex:
    """In-memory index of a journal; about 150 bytes per photo."""

    path: Path
    """Path of the journal."""
    captioned: dict[bytes, int] = field(default_factory=dict)
    """Digests of names with a caption -> offset of the line in bytes, flags and the photo's stamp,
    packed into one integer."""
    failed: set[bytes] = field(default_factory=set)
    """Digests of the names that failed."""
    size: int = 0
    """Bytes of complete lines."""
    superseded: int = 0
    """Lines superseded by a later line for the same photo."""

    def __contains__(self, key: bytes) -> bool:
        return key in self.captioned or key in self.failed

    def add(self, record: JournalRecord, *, start: int) -> None:
        """Add a record, replacing an earlier one for the same photo.

        Args:
            record: record from the journal.
            start: offset of its line, in bytes.
        """
        key = digest(record.image)
        self.superseded += key in self
        self.captioned.pop(key, None)
        self.failed.discard(key)
        if record.status == "failed":
            self.failed.add(key)
            return
        flags = sum(_flag(kind) for kind in record.also_in or () if kind in SIDECARS)
        flags |= _EDITED if record.edited else 0
        flags |= _OUTDATED if record.replaces else 0
        stamp = record.stamp
        self.captioned[key] = start << 32 + _FLAGS | flags << 32 | (stamp.number if stamp else 0)

    def is_replaced(self, key: bytes, stamp: Stamp | None) -> bool:
        """Whether the photo changed since it was captioned; edited captions always stay."""
        packed = self.captioned[key]
        known = packed & 0xFFFFFFFF
        return bool(stamp and known and not stamp.may_be(known) and not self.is_edited(key))

    def is_in(self, key: bytes, kind: str) -> bool:
        """Whether the caption was written into a sidecar of this kind."""
        return bool(self.captioned[key] >> 32 & _flag(kind))

    def is_edited(self, key: bytes) -> bool:
        """Whether the caption was edited by a person."""
        return bool(self.captioned[key] >> 32 & _EDITED)

    def may_be_outdated(self, key: bytes, kind: str) -> bool:
        """Whether a sidecar of this kind may hold an older caption."""
        return bool(self.captioned[key] >> 32 & _OUTDATED) and not self.is_in(key, kind)

    def read(self, key: bytes) -> JournalRecord:
        """Read a captioned photo's record from the journal.

        Raises:
            CaptionerError: the journal changed since it was indexed.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.captioned[key] >> 32 + _FLAGS)
                record = JournalRecord.from_line(file.readline())
        except (OSError, ValueError):
            record = None
        if record is None or digest(record.image) != key:
            raise CaptionerError(
                f"{self.path}: changed by another program during the run; run the same command "
                "again."
            )
        return record


def _flag(kind: str) -> int:
    return _OUTDATED << 1 + list(SIDECARS).index(kind)


def read_records(path: Path) -> Iterator[tuple[JournalRecord, range]]:
    """Yield every record with the byte range of its line.

    A cut-off last line and blank lines are ignored.

    Raises:
        CaptionerError: a line in the middle is damaged, or the file cannot be read.
    """
    broken = None
    for number, (line, place) in enumerate(_lines(path), start=1):
        try:
            record = JournalRecord.from_line(line)
        except CutOffError:
            broken = broken or number
            continue
        except ValueError:
            broken = broken or number
            record = None
        if broken or record is None:  # a crash damages only the end
            raise CaptionerError(
                f"{path}: line {broken} is damaged; restore the file, or use --repair to move "
                "damaged lines to another file and caption their photos again."
            )
        yield record, place


def _lines(path: Path) -> Iterator[tuple[bytes, range]]:
    end = 0
    try:
        with path.open("rb") as file:
            for line in file:
                start, end = end, end + len(line)
                if line.strip():
                    yield line, range(start, end)
    except FileNotFoundError:
        return
    except OSError as error:
        raise CaptionerError(f"{path}: cannot be read: {error.strerror}.") from error


def damaged_lines(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Yield every line with whether it is damaged.

    Raises:
        CaptionerError: the file cannot be read.
    """
    for line, _ in _lines(path):
        try:
            JournalRecord.from_line(line)
        except ValueError:
            yield line, True
        else:
            yield line, False


def read_index(path: Path) -> JournalIndex:
    """Index a journal.

    Raises:
        CaptionerError: as `read_records`.
    """
    index = JournalIndex(path)
    for record, place in read_records(path):
        index.add(record, start=place.start)
        index.size = place.stop
    return index
