"""Text for other programs: JSON in valid Unicode, CSV cells safe for spreadsheets."""

import os
import re
from collections.abc import Mapping
from typing import Any

# The characters that OWASP's page on CSV injection lists; behind quotation marks so that a cell
# which begins with one can be told from a guarded cell.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_GUARD = "'"


def readable(text: str) -> str:
    r"""Return valid Unicode; what a file name holds beside text becomes an escape, as `\udcff`.

    Bytes that are not UTF-8 reach Python as lone surrogates, which most programs refuse to read.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def portable(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return values that every reader of JSON takes; write them with `json.dumps`.

    A file name under "image" that is not text becomes readable, and its bytes follow in hexadecimal
    under "image_bytes": `restored` and other programs find the file by them.
    """
    values: dict[str, Any] = {}
    for key, value in table.items():
        values[key] = readable(value) if isinstance(value, str) else value
        if key == "image" and values[key] != value:
            values["image_bytes"] = _encode(value).hex()
    return values


def _encode(name: str) -> bytes:
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:  # from a journal of another system
        return name.encode("utf-8", "surrogatepass")


def restored(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `portable` was given, with the file name under "image" as it was.

    Raises:
        ValueError, TypeError: the name's bytes are not hexadecimal.
    """
    values = dict(table)
    if "image_bytes" in values:
        values["image"] = os.fsdecode(bytes.fromhex(values.pop("image_bytes")))
    return values


def guard(cell: str) -> str:
    """Keep a spreadsheet from executing a CSV cell that begins like a formula."""
    return f"{_GUARD}{cell}" if _FORMULA.match(cell) else cell


def unguard(cell: str) -> str:
    """Return what `guard` was given."""
    return cell[1:] if cell.startswith(_GUARD) and _FORMULA.match(cell) else cell
