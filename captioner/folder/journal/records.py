"""What is known about a photo when it is done: one line of the journal.

Each line ends with a checksum of what precedes it, by which a line that was edited since is known.
"""

import json
import re
from dataclasses import dataclass, replace
from typing import Any, Literal
from zlib import crc32

from captioner.interchange import portable, restored

_CHECKSUM = "crc32"
_END = re.compile(rb', "crc32": "([0-9a-f]{8})"\}\r?\n?$')
_TYPES: dict[str, type | tuple[type, ...]] = {
    "image": str,
    "caption": str,
    "log_probability": (int, float),
    "confidence": (int, float),
    "level": str,
    "photo_probability": (int, float),
    "is_photo": bool,
    "words": list,
    "geometry": dict,
    "reason": str,
    "size": int,
    "modified": int,
    "etag": str,
    "also_in": list,
    "edited": bool,
    "replaces": list,
    "files": list,
}
_FILE_TYPES: dict[str, type | tuple[type, ...]] = {
    "file": str,
    "kind": str,
    "digest": str,
    "had": (str, type(None)),
}
_WORD_TYPES: dict[str, type | tuple[type, ...]] = {
    "word": str,
    "probability": (int, float),
    "gate": (int, float, type(None)),
    "entropy": (int, float),
    "attention": dict,
}


class CutOffError(ValueError):
    """A line is not JSON: what a crash may leave at the end of a journal."""


@dataclass(frozen=True, kw_only=True)
class JournalRecord:
    """How one photo ended."""

    image: str
    """Name of the photo: its path inside the folder, or as it was listed."""
    status: Literal["captioned", "failed"]
    """Whether there is a caption."""
    caption: str | None = None
    """The text, as it is written everywhere; None if it failed."""
    log_probability: float | None = None
    """Natural logarithm, of the model's sentence; None if somebody edited it."""
    confidence: float | None = None
    """Quality to expect of the model's sentence, from 0 to 1; None if the model cannot tell."""
    level: Literal["low", "medium", "high"] | None = None
    """That quality in a word: low, medium or high."""
    photo_probability: float | None = None
    """How likely the image is a photo; None if the model cannot tell."""
    is_photo: bool | None = None
    """Whether it is likely enough."""
    words: list[dict[str, Any]] | None = None
    """Probability and attention of every word, as in `Caption.to_dict`; None if not asked for."""
    geometry: dict[str, Any] | None = None
    """Where the attention of words lies on the photo, as in `Caption.to_dict`."""
    reason: str | None = None
    """Why there is no caption."""
    size: int | None = None
    """Bytes of the photo that was captioned."""
    modified: int | None = None
    """When it was last changed, in whole seconds since 1970; None in an archive and in a store."""
    etag: str | None = None
    """What an object store says of its content; None elsewhere."""
    also_in: list[str] | None = None
    """The kinds of files that were given the caption, too."""
    edited: bool | None = None
    """True if the caption is somebody's, in place of the model's."""
    replaces: list[str] | None = None
    """Older captions, which files may hold that were not written since."""
    files: list[dict[str, Any]] | None = None
    """What was written beside the photo or into it: `file`, its name; `kind`; `digest` of the text;
    `had`, the text of somebody's that it replaced or was joined to, if any."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without those that are None."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def to_line(self) -> bytes:
        """One line of JSON in UTF-8. A name that is not text is read back as it was."""
        line = json.dumps(portable(self.to_dict()), ensure_ascii=False).encode()[:-1]
        return line + b', "%s": "%08x"}\n' % (_CHECKSUM.encode(), crc32(line))

    @classmethod
    def from_dict(cls, table: Any) -> "JournalRecord":
        """Read plain values back.

        Raises:
            ValueError: they are not a record.
        """
        try:
            record = cls(**restored(table))
        except (TypeError, ValueError) as error:
            raise ValueError(f"not a record: {error}") from None
        if record.status not in ("captioned", "failed"):
            raise ValueError(f"not a record: its status is {record.status!r}")
        _check(record.to_dict(), _TYPES)
        texts = (*(record.also_in or ()), *(record.replaces or ()))
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("not a record: also_in or replaces holds more than texts")
        for file in record.files or ():
            _check(file, _FILE_TYPES)
        if record.status == "captioned" and record.caption is None:
            raise ValueError("not a record: it has no caption")
        return record

    @classmethod
    def from_line(cls, line: bytes) -> "JournalRecord":
        """Read a line back; one that somebody edited is `edited`.

        Raises:
            CutOffError: it is not whole.
            ValueError: it is whole, and not a record.
        """
        try:
            table = json.loads(line)
        except (ValueError, RecursionError) as error:  # not JSON, or not text
            raise CutOffError(str(error)) from None
        if not (line.endswith(b"\n") or isinstance(table, dict)):
            raise CutOffError("its end is missing")
        end = _END.search(line, max(0, len(line) - 24))
        expected = table.pop(_CHECKSUM, None) if isinstance(table, dict) else None
        record = cls.from_dict(table)
        if end and crc32(line[: end.start()]) == int(end[1], 16):
            return record
        for word in record.words or ():
            _check(word, _WORD_TYPES)
        try:
            ours = record.to_line()
        except RecursionError as error:
            raise ValueError(f"not a record: {error}") from None
        # A program that only writes JSON in another style edits nothing.
        if expected is None or f'"{expected}"}}\n'.encode() == ours[-12:]:
            return record
        return replace(record, edited=True) if record.status == "captioned" else record


def _check(table: Any, types: dict[str, type | tuple[type, ...]]) -> None:
    """Make sure that every value is of its type.

    Raises:
        ValueError: one is not.
    """
    if not isinstance(table, dict):
        raise ValueError(f"not a record: {table!r:.40} in place of a table")
    for name, type_ in types.items():
        if name in table and not isinstance(table[name], type_):
            raise ValueError(f"not a record: its {name} is {table[name]!r:.40}")
