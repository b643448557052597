"""Keeps captions that were edited in a table, such as a CSV file.

`captions.tables.json` beside the journal stores digests of each table and its rows as written, so
that edited rows can be recognised. Their captions go into the journal before the run, and before
the table is written again.
"""

import json
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from captioner.durable import digest, explained, file_digest, replace_file
from captioner.folder.journal.index import JournalIndex
from captioner.folder.outputs.contract import refused
from captioner.folder.outputs.tables import table_of

_ESCAPED = re.compile(r"\\udc([89a-f][0-9a-f])")
_LINE_END = re.compile(r"\r\n?")
_MARK = 8
"""Bytes of a row's digest."""


def remember_tables(tables: Sequence[Path], journal: Path) -> None:
    """Store the digests of tables just after they were written.

    Raises:
        CaptionerError: `captions.tables.json` cannot be written.
    """
    if not tables:
        return
    notes = _read_notes(journal)
    made_from = _identify(journal)
    for table in tables:
        marks = b"".join(_mark(image, caption) for image, caption in _read(table))
        notes[_name(table, journal)] = {
            "sha256": _identify(table_of(table).first(table)),
            "journal": made_from,
            "rows": b64encode(marks).decode(),
        }
    path = _place(journal)
    with explained(path, option="--output"):
        replace_file(path, json.dumps(notes, indent=2).encode() + b"\n")


def are_written(tables: Sequence[Path], journal: Path) -> bool:
    """Whether all tables are unchanged and were made from the journal's current content."""
    notes = _read_notes(journal) if tables else {}
    made_from = _identify(journal) if notes else ""
    return all(
        (note := _note(notes, table, journal)).get("journal") == made_from
        and note.get("sha256") == _identify(table_of(table).first(table))
        for table in tables
    )


def read_edits(tables: Sequence[Path], index: JournalIndex) -> dict[str, str]:
    """Return edited captions by photo name.

    Args:
        tables: tables that are going to be written again.
        index: index of the journal.

    Raises:
        CaptionerError: a table was edited in a way that cannot be read back.
    """
    notes = _read_notes(index.path)
    edits: dict[str, str] = {}
    for table in tables:
        note = _note(notes, table, index.path)
        file = table_of(table).first(table)
        if not file.exists() or note.get("sha256") == _identify(file):
            continue
        written = _rows(note)
        seen: set[bytes] = set()
        for image, caption in _read(table):
            key = digest(image)
            if key in seen:
                raise refused(table, f"it has two rows for {image!r}")
            seen.add(key)
            if _mark(image, caption) in written:
                continue
            if key not in index:
                raise refused(table, f"it has a row for {image!r}, which was never captioned")
            before = (index.read(key).caption or "") if key in index.captioned else ""
            if _plain(caption) == _plain(before):
                continue
            if edits.setdefault(image, caption) != caption:
                raise refused(table, f"another table has a different caption for {image!r}")
        if len(seen) < len(written):
            raise refused(table, f"{len(written) - len(seen)} rows are missing")
    return edits


def _read(table: Path) -> Iterator[tuple[str, str]]:
    for image, caption in table_of(table).read(table):
        yield _file_name(image), caption


def _mark(image: str, caption: str) -> bytes:
    """Return a row's digest."""
    content = f"{image}\0{_plain(caption)}".encode("utf-8", "surrogatepass")
    return blake2b(content, digest_size=_MARK).digest()


def _plain(caption: str) -> str:
    """Normalise line ends, which spreadsheets change."""
    return _LINE_END.sub("\n", caption)


def _file_name(text: str) -> str:
    """Undo the escaping of `interchange.readable`."""
    if not _ESCAPED.search(text):
        return text
    return os.fsdecode(
        _ESCAPED.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text).encode(
            "utf-8", "surrogateescape"
        )
    )


def _read_notes(journal: Path) -> dict[str, Any]:
    try:
        notes = json.loads(_place(journal).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _note(notes: dict[str, Any], table: Path, journal: Path) -> dict[str, Any]:
    note = notes.get(_name(table, journal))
    return note if isinstance(note, dict) else {}


def _rows(note: dict[str, Any]) -> frozenset[bytes]:
    """Return the digests of a table's rows as written."""
    try:
        marks = b64decode(note["rows"])
    except (KeyError, TypeError, ValueError):
        return frozenset()
    return frozenset(marks[start : start + _MARK] for start in range(0, len(marks), _MARK))


def _identify(file: Path) -> str:
    """Return the digest of a file; empty if it cannot be read."""
    try:
        return file_digest(file)
    except OSError:
        return ""


def _name(table: Path, journal: Path) -> str:
    """Return a table's path relative to the journal: they may move together."""
    return os.path.relpath(os.path.realpath(table), os.path.realpath(journal.parent))


def _place(journal: Path) -> Path:
    return journal.with_suffix(".tables.json")
