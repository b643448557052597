"""Writes the journal as a table: CSV, Parquet, or a data set."""

import os
from pathlib import Path

from captioner.durable import explained, make_folder, replacing, sync_folder
from captioner.errors import CaptionerError
from captioner.folder.journal.index import read_records
from captioner.folder.outputs.contract import Table
from captioner.folder.outputs.datasets import (
    METADATA,
    check_place,
    nth_archive,
    write_archives,
    write_metadata,
)
from captioner.folder.outputs.parquet import ParquetTable
from captioner.folder.outputs.spreadsheets import CsvTable
from captioner.folder.sources.remote import StrPath

TABLES: dict[str, Table] = {".csv": CsvTable(), ".parquet": ParquetTable()}
"""Table formats by file name extension; docs/extending.md adds another."""


def is_journal(path: Path) -> bool:
    """Whether an output is the journal itself."""
    return path.suffix.lower() == ".jsonl" and path.name != METADATA


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
    if path.name == METADATA or path.suffix.lower() == ".tar":
        nth_archive(path, 0)
        check_place(path, root)
    elif path.suffix.lower() in TABLES:
        TABLES[path.suffix.lower()].check(path)
    else:
        kind = f"unknown format {path.suffix!r}" if path.suffix else "no file name extension"
        raise CaptionerError(
            f"{path}: {kind}; choose from {', '.join(['.jsonl', *TABLES])} and .tar."
        )


def prepare_table(path: Path) -> None:
    """Create the folder of a table, and check that it is writable.

    Raises:
        CaptionerError: it is not.
    """
    with explained(path, option="--output"):
        make_folder(path.parent)


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
        if path.suffix.lower() == ".tar":
            write_archives(path, journal, root)
        else:
            with replacing(path) as unfinished:
                if path.name == METADATA:
                    write_metadata(unfinished, journal)
                else:
                    records = (record for record, _ in read_records(journal))
                    TABLES[path.suffix.lower()].write(unfinished, records, words=words)
        sync_folder(path.parent)
