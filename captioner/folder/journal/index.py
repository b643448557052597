"""Reading a journal: its records, and which photos it is about."""

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
"""Bits for these two, and one for each of `SIDECARS`."""


@dataclass
class JournalIndex:
    """What a journal holds already: some 150 bytes a photo, a fraction of what its line takes."""

    path: Path
    """The journal."""
    captioned: dict[bytes, int] = field(default_factory=dict)
    """Digests of the names that have a caption -> where its line begins, and what is asked of it
    often: the photo's stamp, the files it is in, and whether it was edited, in one number."""
    failed: set[bytes] = field(default_factory=set)
    """Digests of the names that failed."""
    size: int = 0
    """Bytes of whole lines."""
    superseded: int = 0
    """Lines that a later one about the same photo has replaced."""

    def __contains__(self, key: bytes) -> bool:
        return key in self.captioned or key in self.failed

    def add(self, record: JournalRecord, *, start: int) -> None:
        """Take a record in; the latest one about a photo counts.

        Args:
            record: from the journal.
            start: where its line begins, in bytes.
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
        stamp = Stamp.of(record)
        self.captioned[key] = start << 32 + _FLAGS | flags << 32 | (stamp.number if stamp else 0)

    def is_replaced(self, key: bytes, stamp: Stamp | None) -> bool:
        """Whether a photo is another one than was captioned; a caption of somebody's own stays."""
        packed = self.captioned[key]
        known = packed & 0xFFFFFFFF
        return bool(stamp and known and not stamp.may_be(known) and not self.is_edited(key))

    def is_in(self, key: bytes, kind: str) -> bool:
        """Whether the caption was written into a file of this kind, too."""
        return bool(self.captioned[key] >> 32 & _flag(kind))

    def is_edited(self, key: bytes) -> bool:
        """Whether the caption is somebody's own."""
        return bool(self.captioned[key] >> 32 & _EDITED)

    def may_be_outdated(self, key: bytes, kind: str) -> bool:
        """Whether a file of this kind may hold an older caption."""
        return bool(self.captioned[key] >> 32 & _OUTDATED) and not self.is_in(key, kind)

    def read(self, key: bytes) -> JournalRecord:
        """Read the record of a photo that has a caption.

        Raises:
            CaptionerError: the journal was changed meanwhile.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.captioned[key] >> 32 + _FLAGS)
                record = JournalRecord.from_line(file.readline())
        except (OSError, ValueError):
            record = None
        if record is None or digest(record.image) != key:
            raise CaptionerError(
                f"{self.path}: was changed while it was in use; run the same command again."
            )
        return record


def _flag(kind: str) -> int:
    return _OUTDATED << 1 + list(SIDECARS).index(kind)


def read_records(path: Path) -> Iterator[tuple[JournalRecord, range]]:
    """Yield every whole record with the bytes of its line; a cut off end is passed over.

    So are blank lines, which editors leave.

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
        if broken or record is None:  # not the trace of a crash: those are at the end
            raise CaptionerError(
                f"{path}: line {broken} is damaged; put the file back as it was, or give --repair: "
                "it sets damaged lines aside, and their photos are captioned again."
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
    """Yield every line, and whether it is damaged.

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
    """Read what a journal holds.

    Raises:
        CaptionerError: as `read_records`.
    """
    index = JournalIndex(path)
    for record, place in read_records(path):
        index.add(record, start=place.start)
        index.size = place.stop
    return index
