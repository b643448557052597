"""The journal as a table: CSV for spreadsheets, Parquet for everything large, data sets."""

import csv
import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from captioner.durable import explained, make_folder, replacing, sync_folder
from captioner.errors import CaptionerError, MissingExtraError
from captioner.folder.journal.index import read_records
from captioner.folder.journal.records import JournalRecord
from captioner.folder.outputs.datasets import (
    METADATA,
    check_place,
    nth_archive,
    write_archives,
    write_metadata,
)
from captioner.folder.sources.remote import StrPath
from captioner.interchange import guard, portable, readable

COLUMNS = (
    *("image", "status", "caption", "log_probability"),
    *("confidence", "photo_probability", "is_photo", "reason"),
)
"""Of every table; Parquet has `words`, too, where they are asked for."""
_GROUP = 1000
"""Rows of a Parquet file that are held in memory together."""


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
    elif path.suffix.lower() not in _WRITERS:
        kind = f"as {path.suffix!r}" if path.suffix else "into files without an ending"
        raise CaptionerError(
            f"{path}: captions are not written {kind}; choose a name in .jsonl, .csv, "
            ".parquet or .tar."
        )
    if path.suffix.lower() == ".parquet":
        import_arrow(path)


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
        words: whether it was begun to hold words. Parquet has a column for them then, whatever
            became of the photos, so that the tables of all shards have the same columns.
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
                    _WRITERS[path.suffix.lower()](unfinished, journal, words)
        sync_folder(path.parent)


def _write_csv(path: Path, journal: Path, _words: bool) -> None:
    """UTF-8 with a mark, without which spreadsheets take it for another encoding."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for record, _ in read_records(journal):
            writer.writerow(
                {
                    name: guard(readable(cell)) if isinstance(cell, str) else cell
                    for name, cell in record.to_dict().items()
                }
            )


def _write_parquet(path: Path, journal: Path, words: bool) -> None:
    arrow, parquet = import_arrow(path)
    schema = _schema(arrow, words=words)
    records = (record for record, _ in read_records(journal))
    with parquet.ParquetWriter(path, schema) as writer:
        for rows in _groups(records):
            writer.write_table(arrow.Table.from_pylist(rows, schema=schema))


def _schema(arrow: Any, *, words: bool) -> Any:
    """Say what each column holds, the same for every journal of a kind."""
    text, number = arrow.string(), arrow.float64()
    kinds = dict.fromkeys(("log_probability", "confidence", "photo_probability"), number)
    kinds["is_photo"] = arrow.bool_()
    columns = [(name, kinds.get(name, text)) for name in COLUMNS]
    if words:  # as in `Caption.to_dict`
        weights = arrow.list_(arrow.list_(number))
        attention = arrow.struct([("grid", arrow.list_(arrow.int64())), ("weights", weights)])
        word = [("word", text), ("probability", number), ("doubtful", arrow.bool_())]
        word += [("gate", number), ("entropy", number)]
        columns.append(("words", arrow.list_(arrow.struct([*word, ("attention", attention)]))))
    return arrow.schema(columns)


def _groups(records: Iterator[JournalRecord]) -> Iterator[list[dict[str, Any]]]:
    """Gather rows."""
    while part := list(islice(records, _GROUP)):
        yield [portable(record.to_dict()) for record in part]


def import_arrow(path: Path) -> tuple[Any, Any]:
    """Return `pyarrow` and `pyarrow.parquet`.

    Raises:
        MissingExtraError: they are not installed.
    """
    try:
        import pyarrow  # noqa: PLC0415  # an extra
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise MissingExtraError(
            f"{path}: Parquet needs pyarrow; install it: pip install 'captioner[parquet]'"
        ) from None
    return pyarrow, parquet


_WRITERS: dict[str, Callable[[Path, Path, bool], None]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
