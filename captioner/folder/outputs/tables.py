"""Writes the journal as a table: CSV, Parquet, or a data set."""

import os
from pathlib import Path

from captioner.durable import explained, sync_folder
from captioner.errors import CaptionerError
from captioner.folder.journal.index import read_records
from captioner.folder.outputs.contract import Table
from captioner.folder.outputs.datasets import METADATA, Archives, MetadataTable
from captioner.folder.outputs.parquet import ParquetTable
from captioner.folder.outputs.spreadsheets import CsvTable
from captioner.folder.sources.remote import StrPath

TABLES: dict[str, Table] = {
    ".csv": CsvTable(),
    ".parquet": ParquetTable(),
    METADATA: MetadataTable(),
    ".tar": Archives(),
}
"""Table formats by file name, or by its extension; docs/extending.md adds another."""


def is_journal(path: Path) -> bool:
    """Whether an output is the journal itself."""
    return path.suffix.lower() == ".jsonl" and path.name != METADATA


def table_of(path: Path) -> Table:
    """Return the format of a table.

    Raises:
        CaptionerError: it is unknown.
    """
    for name in (path.name, path.suffix.lower()):
        if name in TABLES:
            return TABLES[name]
    kind = f"unknown format {path.suffix!r}" if path.suffix else "no file name extension"
    *others, last = (".jsonl", *(name for name in TABLES if name != METADATA))
    raise CaptionerError(f"{path}: {kind}; choose from {', '.join(others)} and {last}.")


def check_table(path: Path, root: StrPath) -> None:
    """Check, before the run, that a table of this format can be written.

    Args:
        path: path of the table.
        root: folder that names in the journal are relative to, or the archive.

    Raises:
        CaptionerError: the format is unknown, the path is a folder, or the location is unsuitable.
        MissingExtraError: a package for this format is not installed.
    """
    if os.path.isdir(path):
        raise CaptionerError(f"{path}: is a folder; --output needs the name of a file.")
    table_of(path).check(path, root)


def write_table(path: Path, journal: Path, *, words: bool, root: StrPath = ".") -> None:
    """Write all records of a journal as a table, replacing an older one.

    Args:
        path: path of the table; its extension selects the format.
        journal: path of the journal.
        words: whether the journal includes words.
        root: folder that names in the journal are relative to, or the archive.

    Raises:
        CaptionerError: the table cannot be written.
        MissingExtraError: a package for this format is not installed.
    """
    with explained(path, option="--output"):
        path.parent.mkdir(parents=True, exist_ok=True)
        records = (record for record, _ in read_records(journal))
        table_of(path).save(path, records, words=words, root=root)
        sync_folder(path.parent)
