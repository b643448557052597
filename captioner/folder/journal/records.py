"""Journal records: one line of JSON per finished photo.

Each line ends with a CRC-32 of what precedes it, which reveals lines edited by hand.
"""

import json
import re
from dataclasses import dataclass, replace
from typing import Any, Literal
from zlib import crc32

from captioner.folder.sources.stamps import Stamp
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
    """A line is not JSON, as a crash may leave it at the end of a journal."""


@dataclass(frozen=True, kw_only=True)
class JournalRecord:
    """Outcome for one photo."""

    image: str
    """Name of the photo: its path relative to the folder, or as listed."""
    status: Literal["captioned", "failed"]
    """Whether the photo has a caption."""
    caption: str | None = None
    """Caption text, as written everywhere; None if the photo failed."""
    log_probability: float | None = None
    """Log-probability of the model's caption, natural logarithm; None if edited."""
    confidence: float | None = None
    """Expected quality of the model's caption, from 0 to 1; None if the model is not calibrated."""
    level: Literal["low", "medium", "high"] | None = None
    """Confidence as a level."""
    photo_probability: float | None = None
    """Probability that the image is a photo; None if the model cannot tell."""
    is_photo: bool | None = None
    """Whether that probability passes the model's threshold."""
    words: list[dict[str, Any]] | None = None
    """Probability and attention of every word, as in `Caption.to_dict`; None if not requested."""
    geometry: dict[str, Any] | None = None
    """How attention maps align with the photo, as in `Caption.to_dict`."""
    reason: str | None = None
    """Why the photo failed."""
    size: int | None = None
    """Size of the photo in bytes."""
    modified: int | None = None
    """Modification time of the photo, whole seconds since 1970; None in archives and object
    stores."""
    etag: str | None = None
    """ETag or digest from an object store; None elsewhere."""
    also_in: list[str] | None = None
    """Kinds of sidecars that hold the caption."""
    edited: bool | None = None
    """True if a person replaced the model's caption."""
    replaces: list[str] | None = None
    """Older captions that files not rewritten since may still hold."""
    files: list[dict[str, Any]] | None = None
    """Files written beside the photo or into it: `file`, its name; `kind`; `digest` of the text;
    `had`, the human caption that it replaced or was joined to, if any."""

    @property
    def stamp(self) -> Stamp | None:
        """Size and modification time of the photo; None if they are not known."""
        if self.size is None:
            return None
        return Stamp(size=self.size, modified=self.modified, etag=self.etag)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, omitting None."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def to_line(self) -> bytes:
        """Return one line of JSON in UTF-8. File names that are not valid UTF-8 round-trip."""
        line = json.dumps(portable(self.to_dict()), ensure_ascii=False).encode()[:-1]
        return line + b', "%s": "%08x"}\n' % (_CHECKSUM.encode(), crc32(line))

    @classmethod
    def from_dict(cls, table: Any) -> "JournalRecord":
        """Convert plain values to a record.

        Raises:
            ValueError: the values are not a record.
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
            raise ValueError("not a record: also_in or replaces holds something other than text")
        for file in record.files or ():
            _check(file, _FILE_TYPES)
        if record.status == "captioned" and record.caption is None:
            raise ValueError("not a record: it has no caption")
        return record

    @classmethod
    def from_line(cls, line: bytes) -> "JournalRecord":
        """Parse a line. If its checksum does not match, the record is marked `edited`.

        Raises:
            CutOffError: the line is incomplete.
            ValueError: the line is JSON, but not a record.
        """
        try:
            table = json.loads(line)
        except (ValueError, RecursionError) as error:  # not JSON, or not text
            raise CutOffError(str(error)) from None
        if not (line.endswith(b"\n") or isinstance(table, dict)):
            raise CutOffError("the line is cut off")
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
        # Reformatted JSON with the same values does not count as an edit.
        if expected is None or f'"{expected}"}}\n'.encode() == ours[-12:]:
            return record
        return replace(record, edited=True) if record.status == "captioned" else record


def _check(table: Any, types: dict[str, type | tuple[type, ...]]) -> None:
    """Check the type of every value.

    Raises:
        ValueError: a value has the wrong type.
    """
    if not isinstance(table, dict):
        raise ValueError(f"not a record: {table!r:.40} instead of an object")
    for name, type_ in types.items():
        if name in table and not isinstance(table[name], type_):
            raise ValueError(f"not a record: its {name} is {table[name]!r:.40}")
