"""Captions that somebody edited in a table: they are kept, not written over.

`captions.tables.json` beside the journal says what each table was when it was written. One that is
another now is read before the run begins, and what it says goes into the journal.
"""

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from captioner.durable import digest, explained, replace_file
from captioner.errors import CaptionerError
from captioner.folder.held import Held
from captioner.folder.tables import COLUMNS, import_arrow
from captioner.interchange import unguard

_ESCAPED = re.compile(r"\\udc([89a-f][0-9a-f])")


def remember_tables(tables: Sequence[Path], journal: Path) -> None:
    """Note what tables are just after they were written.

    Raises:
        CaptionerError: it cannot be written.
    """
    if not tables:
        return
    notes = _read_notes(journal)
    notes.update({_name(table, journal): _identify(table) for table in tables})
    path = _place(journal)
    with explained(path, option="--output"):
        replace_file(path, json.dumps(notes, indent=2).encode() + b"\n")


def read_edits(tables: Sequence[Path], held: Held) -> Iterator[tuple[str, str]]:
    """Yield photo and caption where a table says something else than the journal.

    Args:
        tables: that are going to be written again.
        held: what the journal holds.

    Raises:
        CaptionerError: a table was edited in a way that the journal cannot hold.
    """
    notes = _read_notes(held.path)
    for table in tables:
        if not table.exists() or notes.get(_name(table, held.path)) == _identify(table):
            continue
        rows = _read_parquet(table) if table.suffix.lower() == ".parquet" else _read_csv(table)
        seen: set[bytes] = set()
        for image, caption in rows:
            key = digest(image)
            if key not in held:
                raise _refused(table, f"it has a row for {image!r}, which the captions do not have")
            seen.add(key)
            before = held.read(key).caption if key in held.captioned else ""
            if caption != before and (caption.strip() or key in held.captioned):
                yield image, caption
        missing = len(held.captioned) + len(held.failed) - len(seen)
        if missing and _name(table, held.path) in notes:
            raise _refused(table, f"{missing} rows are missing")


def _read_csv(path: Path) -> Iterator[tuple[str, str]]:
    """Yield photos and captions, however a spreadsheet saved them."""
    content = path.read_bytes()
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        raise _refused(path, "it is saved in another encoding than UTF-8") from None
    heading = text.partition("\n")[0]
    delimiter = max(",;\t", key=heading.count)
    rows = csv.DictReader(StringIO(text, newline=""), delimiter=delimiter)
    _check_columns(path, rows.fieldnames or ())
    for row in rows:
        if None in row or None in row.values():
            raise _refused(path, f"line {rows.line_num} has another number of cells")
        yield _file_name(unguard(row["image"])), unguard(row["caption"])


def _read_parquet(path: Path) -> Iterator[tuple[str, str]]:
    arrow, parquet = import_arrow(path)
    try:
        file = parquet.ParquetFile(path)
    except (arrow.ArrowException, OSError) as error:
        raise _refused(path, f"it cannot be read ({error})") from error
    _check_columns(path, [name for name in file.schema_arrow.names if name != "words"])
    for batch in file.iter_batches(columns=["image", "caption"]):
        for row in batch.to_pylist():
            yield _file_name(row["image"]), row["caption"] or ""


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    if set(columns) != set(COLUMNS):
        raise _refused(path, f"its columns are {', '.join(columns)}")


def _file_name(text: str) -> str:
    """Return a file name that `interchange.readable` escaped as it was."""
    if not _ESCAPED.search(text):
        return text
    return os.fsdecode(
        _ESCAPED.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text).encode(
            "utf-8", "surrogateescape"
        )
    )


def _refused(table: Path, why: str) -> CaptionerError:
    return CaptionerError(
        f"{table}: was changed since it was written: {why}. Edited captions are kept; this would "
        "be lost: move the file away to keep it, or delete it to have it written again."
    )


def _read_notes(journal: Path) -> dict[str, Any]:
    try:
        notes = json.loads(_place(journal).read_bytes())
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _identify(table: Path) -> str:
    with table.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _name(table: Path, journal: Path) -> str:
    """The way from the journal to a table: they may move together."""
    return os.path.relpath(os.path.realpath(table), os.path.realpath(journal.parent))


def _place(journal: Path) -> Path:
    return journal.with_suffix(".tables.json")
