"""Interface of the tables that are made from a journal."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from captioner.durable import replacing
from captioner.errors import CaptionerError
from captioner.folder.journal.records import JournalRecord
from captioner.folder.sources.remote import StrPath

COLUMNS = (
    *("image", "status", "caption", "log_probability"),
    *("confidence", "photo_probability", "is_photo", "reason"),
)
"""Columns of every table; Parquet can add `words`."""
_OLDEST = {"image", "status", "caption", "log_probability", "reason"}
"""Columns that tables of every version have."""


class Table:
    """A file format for the records of a journal."""

    is_dataset: ClassVar[bool] = False
    """Whether it is a data set, whose name says nothing of the journal's."""

    def check(self, path: Path, root: StrPath) -> None:
        """Check, before the run, that a table can be written.

        Args:
            path: path of the table.
            root: folder that names in the journal are relative to, or the archive.

        Raises:
            CaptionerError: the location is unsuitable.
            MissingExtraError: a package for this format is not installed.
        """

    def first(self, path: Path) -> Path:
        """Return the path of the file, or of the first of several."""
        return path

    def save(
        self, path: Path, records: Iterator[JournalRecord], *, words: bool, root: StrPath
    ) -> None:
        """Write all records, atomically replacing an older table.

        Args:
            path: path of the table.
            records: records of the journal, in its order.
            words: whether the journal includes words.
            root: folder that names in the journal are relative to, or the archive.

        Raises:
            OSError: the table cannot be written.
        """
        with replacing(path) as unfinished:
            self.write(unfinished, records, words=words)

    def write(self, path: Path, records: Iterator[JournalRecord], *, words: bool) -> None:
        """Write all records to a temporary file, which `save` renames afterwards."""
        raise AssertionError(f"{type(self).__name__} defines neither save nor write.")

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
