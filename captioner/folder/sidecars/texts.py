"""Text sidecars; encoding and line ends of existing files are preserved."""

import codecs
import os
from pathlib import Path

from captioner.errors import MetadataError
from captioner.folder.sidecars.contract import Note, Sidecar

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is a prefix of it
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BLANK = " \t\r\n\v\f\0\u00a0\ufeff"


class TextSidecar(Sidecar):
    """A text file such as photo.txt, for training programs.

    Args:
        kind: file name extension.
    """

    shared = True

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def path_for(self, photo: str) -> str:
        """Return the photo's path with the extension replaced."""
        return f"{os.path.splitext(photo)[0]}.{self.kind}"

    def read(self, content: bytes, *, name: str) -> list[str]:
        """Return the whole text as one caption."""
        text = read_text(content, name=f"{name}: {Path(self.path_for(name)).name}")
        return [text] if text else []

    def erase(self, old: bytes, *, name: str) -> bytes | None:
        """Return None: the file holds only the caption."""
        return None

    def write(self, caption: str, old: bytes | None, *, note: Note, name: str) -> bytes:
        """Return the text in the encoding of the old file."""
        return write_text(caption, old)


def read_text(content: bytes, *, name: str) -> str:
    """Decode a text file and strip white space.

    Args:
        content: content of the file; UTF-8 unless a byte order mark says otherwise.
        name: name of the file, for error messages.

    Raises:
        MetadataError: the file has another encoding.
    """
    mark, encoding = _encoding(content)
    try:
        text = content[len(mark) :].decode(encoding).strip(_BLANK)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # UTF-16 without a byte order mark
        raise MetadataError(
            f"{name} is not UTF-8 and has no byte order mark, so it was left alone; save it as "
            "UTF-8."
        )
    return text


def write_text(text: str, old: bytes | None) -> bytes:
    """Encode a text with the encoding and line ends of the old file."""
    mark, encoding = _encoding(old or b"")
    end = "\r\n" if "\r\n".encode(encoding) in (old or b"") else "\n"
    errors = "surrogateescape" if encoding == "utf-8" else "replace"  # {name} may not be UTF-8
    return mark + (text + end).encode(encoding, errors)


def _encoding(content: bytes) -> tuple[bytes, str]:
    """Return the byte order mark, if any, and the encoding."""
    return next(((m, e) for m, e in _MARKS if content.startswith(m)), (b"", "utf-8"))
