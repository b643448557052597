"""Interface of the tables that are made from a journal."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from captioner.errors import CaptionerError
from captioner.folder.journal.records import JournalRecord

COLUMNS = (
    *("image", "status", "caption", "log_probability"),
    *("confidence", "photo_probability", "is_photo", "reason"),
)
"""Columns of every table; Parquet can add `words`."""
_OLDEST = {"image", "status", "caption", "log_probability", "reason"}
"""Columns that tables of every version have."""


class Table(ABC):
    """A file format for the records of a journal."""

    def check(self, path: Path) -> None:  # noqa: B027  # most need nothing
        """Check, before the run, that a table can be written.

        Raises:
            MissingExtraError: a package for this format is not installed.
        """

    @abstractmethod
    def write(self, path: Path, records: Iterator[JournalRecord], *, words: bool) -> None:
        """Write all records.

        Args:
            path: temporary file, renamed to the table's name afterwards.
            records: records of the journal, in its order.
            words: whether the journal includes words.

        Raises:
            OSError: the file cannot be written.
        """

    def read(self, path: Path) -> Iterator[tuple[str, str]]:
        """Yield photo names and captions, as written by `write` or edited since.

        The default yields none: edits are ignored, and the next run replaces the file.

        Raises:
            CaptionerError: the file cannot be read; see `refused`.
        """
        return iter(())


def refused(table: Path, why: str) -> CaptionerError:
    """Return the error for an edited table whose edits cannot be read back."""
    return CaptionerError(
        f"{table}: edited since it was written, and the edits cannot be kept: {why}. Move the file "
        "away to keep it, or delete it to have it written again."
    )


def read_columns(path: Path, names: Sequence[str]) -> list[str]:
    """Return column names in lower case, without trailing empty ones.

    Raises:
        CaptionerError: they are not the columns of a table.
    """
    columns = [name.strip().lower() for name in names]
    while columns and not columns[-1]:
        columns.pop()
    known = len(set(columns)) == len(columns) and _OLDEST <= set(columns) <= set(COLUMNS)
    if not known:
        raise refused(path, f"its columns are {', '.join(names)}")
    return columns
