"""Text files that people wrote: read by the mark at their beginning, written as they were."""

import codecs
import os
from pathlib import Path

from captioner.errors import MetadataError
from captioner.folder.sidecars.contract import Note, Sidecar

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins as UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BLANK = " \t\r\n\v\f\0\u00a0\ufeff"


class TextSidecar(Sidecar):
    """photo.txt, for training programs.

    Args:
        kind: ending of the files' names.
    """

    shared = True

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def place(self, photo: str) -> str:
        """photo.txt."""
        return f"{os.path.splitext(photo)[0]}.{self.kind}"

    def read(self, content: bytes, *, name: str) -> list[str]:
        """Its whole text."""
        text = read_text(content, name=f"{name}: {Path(self.place(name)).name}")
        return [text] if text else []

    def erase(self, old: bytes, *, name: str) -> bytes | None:
        """Nothing: it held nothing but the caption."""
        return None

    def write(self, caption: str, old: bytes | None, *, note: Note, name: str) -> bytes:
        """The text, in the encoding of the old one."""
        return write_text(caption, old)


def read_text(content: bytes, *, name: str) -> str:
    """Return the text of a file, without blanks around it.

    Args:
        content: of the file; UTF-8 if no mark says otherwise.
        name: what to call the file in an error.

    Raises:
        MetadataError: it is in another encoding.
    """
    mark, encoding = _encoding(content)
    try:
        text = content[len(mark) :].decode(encoding).strip(_BLANK)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # UTF-16 without a mark
        raise MetadataError(
            f"{name} is not in UTF-8 and has no mark that names another encoding, so it stays as "
            "it is; save it as UTF-8."
        )
    return text


def write_text(text: str, old: bytes | None) -> bytes:
    """Return the file that holds a text, in the encoding and with the line ends of the old one."""
    mark, encoding = _encoding(old or b"")
    end = "\r\n" if "\r\n".encode(encoding) in (old or b"") else "\n"
    errors = "surrogateescape" if encoding == "utf-8" else "replace"  # names may be no text
    return mark + (text + end).encode(encoding, errors)


def _encoding(content: bytes) -> tuple[bytes, str]:
    """The mark that a file begins with, if any, and the encoding it names."""
    return next(((m, e) for m, e in _MARKS if content.startswith(m)), (b"", "utf-8"))
