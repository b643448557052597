"""Reading a journal: its records, and which photos it is about."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from captioner.durable import digest
from captioner.errors import CaptionerError
from captioner.folder.records import CutOffError, Record


@dataclass
class Held:
    """What a journal holds already."""

    captioned: set[bytes] = field(default_factory=set)
    """Digests of the names that have a caption: a tenth of what the names would take."""
    failed: set[bytes] = field(default_factory=set)
    """Digests of the names that failed."""
    size: int = 0
    """Bytes of whole lines."""
    superseded: int = 0
    """Lines that a later one about the same photo has replaced."""

    def add(self, record: Record) -> None:
        """Take a record in; the latest one about a photo counts."""
        key = digest(record.image)
        self.superseded += key in self.captioned or key in self.failed
        self.captioned.discard(key)
        self.failed.discard(key)
        (self.captioned if record.status == "captioned" else self.failed).add(key)


def read_records(path: Path) -> Iterator[tuple[Record, int]]:
    """Yield every whole record with the byte where its line ends; a cut off end is passed over.

    Raises:
        CaptionerError: a line in the middle is damaged, or the file cannot be read.
    """
    end, broken = 0, None
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                end += len(line)
                try:
                    record = Record.from_line(line)
                except CutOffError:
                    broken = broken or number
                    continue
                except ValueError:
                    broken = broken or number
                    record = None
                if broken or record is None:  # not the trace of a crash: those are at the end
                    raise CaptionerError(
                        f"{path}: line {broken} is no record; put the file back as it was, choose "
                        "another --output, or begin it again with --overwrite."
                    )
                yield record, end
    except FileNotFoundError:
        return
    except OSError as error:
        raise CaptionerError(f"{path}: cannot be read: {error.strerror}.") from error


def read_held(path: Path) -> Held:
    """Read what a journal holds.

    Raises:
        CaptionerError: as `read_records`.
    """
    held = Held()
    for record, end in read_records(path):
        held.add(record)
        held.size = end
    return held
