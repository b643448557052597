"""The journal as a table: CSV for spreadsheets, Parquet for everything large, data sets."""

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
"""Every kind of table, by the ending of its name; docs/extending.md adds another."""


def is_journal(path: Path) -> bool:
    """Whether an output is the journal itself, not made from it."""
    return path.suffix.lower() == ".jsonl" and path.name != METADATA


def check_table(path: Path, root: StrPath) -> None:
    """Make sure that a table of this kind can be written, before hours of work begin.

    Args:
        path: the table.
        root: the folder that names in the journal are relative to, or the archive.

    Raises:
        CaptionerError: there is no such kind, a folder of this name, or it cannot lie there.
        MissingExtraError: its package is not installed.
    """
    if os.path.isdir(path):
        raise CaptionerError(f"{path}: is a folder; give --output the name of a file.")
    if path.name == METADATA or path.suffix.lower() == ".tar":
        nth_archive(path, 0)
        check_place(path, root)
    elif path.suffix.lower() in TABLES:
        TABLES[path.suffix.lower()].check(path)
    else:
        kind = f"as {path.suffix!r}" if path.suffix else "into files without an ending"
        raise CaptionerError(
            f"{path}: captions are not written {kind}; choose a name in "
            f"{', '.join(['.jsonl', *TABLES])} or .tar."
        )


def prepare_table(path: Path) -> None:
    """Make the folder of a table, and make sure that it can be written to.

    Raises:
        CaptionerError: it cannot.
    """
    with explained(path, option="--output"):
        make_folder(path.parent)


def write_table(path: Path, journal: Path, *, words: bool, root: StrPath = ".") -> None:
    """Write all records of a journal as a table, which takes the place of an older one.

    Args:
        path: the table; its ending chooses the kind.
        journal: with the records.
        words: whether it was begun to hold words.
        root: the folder that names in the journal are relative to, or the archive.

    Raises:
        CaptionerError: it cannot be written.
        MissingExtraError: its package is not installed.
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
