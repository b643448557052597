"""What the tables that are made from a journal have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from captioner.errors import CaptionerError
from captioner.folder.journal.records import JournalRecord

COLUMNS = (
    *("image", "status", "caption", "log_probability"),
    *("confidence", "photo_probability", "is_photo", "reason"),
)
"""Columns of every table; Parquet adds `words` where they are asked for."""
_OLDEST = {"image", "status", "caption", "log_probability", "reason"}
"""Columns of every table, those of older versions too."""


class Table(ABC):
    """One kind of file that holds the records of a journal."""

    def check(self, path: Path) -> None:  # noqa: B027  # most need nothing
        """Make sure that a table can be written, before hours of work begin.

        Raises:
            MissingExtraError: its package is not installed.
        """

    @abstractmethod
    def write(self, path: Path, records: Iterator[JournalRecord], *, words: bool) -> None:
        """Write all records.

        Args:
            path: an unfinished file, which takes the table's place when this returns.
            records: of the journal, in its order.
            words: whether the journal was begun to hold words.

        Raises:
            OSError: it cannot be written.
        """

    def read(self, path: Path) -> Iterator[tuple[str, str]]:
        """Yield photos and captions, as `write` wrote them or as somebody edited them since.

        By default none: edits are not looked up, and the next run replaces the file.

        Raises:
            CaptionerError: it cannot be read; see `refused`.
        """
        return iter(())


def refused(table: Path, why: str) -> CaptionerError:
    """Return the error for a table whose edits cannot be kept."""
    return CaptionerError(
        f"{table}: was changed since it was written: {why}. Edited captions are kept; this would "
        "be lost: move the file away to keep it, or delete it to have it written again."
    )


def read_columns(path: Path, names: Sequence[str]) -> list[str]:
    """Return the names of the columns, without empty ones at the end and differences of case.

    Raises:
        CaptionerError: they are not those of a table.
    """
    columns = [name.strip().lower() for name in names]
    while columns and not columns[-1]:
        columns.pop()
    known = len(set(columns)) == len(columns) and _OLDEST <= set(columns) <= set(COLUMNS)
    if not known:
        raise refused(path, f"its columns are {', '.join(names)}")
    return columns
