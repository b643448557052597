"""CSV tables."""

import csv
from collections.abc import Iterator
from pathlib import Path

from captioner.folder.journal.records import JournalRecord
from captioner.folder.outputs.contract import COLUMNS, Table, read_columns, refused
from captioner.interchange import guard, readable, unguard

_LARGEST_CELL = 2**31 - 1
"""Characters per cell; Python's default limit is 131072."""


class CsvTable(Table):
    """One row per photo, safe to open in a spreadsheet."""

    def write(self, path: Path, records: Iterator[JournalRecord], *, words: bool) -> None:
        """Write UTF-8 with a byte order mark, which spreadsheets need to detect the encoding."""
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            for record in records:
                writer.writerow(
                    {
                        name: guard(readable(cell)) if isinstance(cell, str) else cell
                        for name, cell in record.to_dict().items()
                    }
                )

    def read(self, path: Path) -> Iterator[tuple[str, str]]:
        """Yield photo names and captions; accepts the dialects that spreadsheets write."""
        csv.field_size_limit(_LARGEST_CELL)
        try:
            with path.open("rb") as file:
                utf16 = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
            with path.open(encoding="utf-16" if utf16 else "utf-8-sig", newline="") as text:
                heading = text.readline()
                text.seek(0)
                rows = csv.reader(text, delimiter=max(",;\t", key=heading.count))
                columns = read_columns(path, next(rows, []))
                image, caption = columns.index("image"), columns.index("caption")
                for row in rows:
                    if not any(row):  # blank rows, which spreadsheets add
                        continue
                    if len(row) <= max(image, caption) or any(row[len(columns) :]):
                        raise refused(path, f"line {rows.line_num} has the wrong number of cells")
                    yield unguard(row[image]), unguard(row[caption])
        except UnicodeError:
            raise refused(path, "it is not UTF-8") from None
        except (csv.Error, OSError) as error:
            raise refused(path, f"it cannot be read ({error})") from error
