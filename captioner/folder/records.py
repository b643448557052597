"""What is known about a photo when it is done: one line of the journal."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from captioner.interchange import portable, restored


class CutOffError(ValueError):
    """A line is no JSON: what a crash may leave at the end of a journal."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """How one photo ended."""

    image: str
    """Name of the photo: its path inside the folder, or as it was listed."""
    status: Literal["captioned", "failed"]
    """Whether there is a caption."""
    caption: str | None = None
    """The text, as it is written everywhere; None if it failed."""
    log_probability: float | None = None
    """Of the model's sentence: natural logarithm."""
    words: list[dict[str, Any]] | None = None
    """Probability and attention of every word, as in `Caption.to_dict`; None if not asked for."""
    reason: str | None = None
    """Why there is no caption."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without those that are None."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def to_line(self) -> bytes:
        """One line of JSON in UTF-8. A name that is not text is read back as it was."""
        return json.dumps(portable(self.to_dict()), ensure_ascii=False).encode() + b"\n"

    @classmethod
    def from_dict(cls, table: Any) -> "Record":
        """Read plain values back.

        Raises:
            ValueError: they are no record.
        """
        try:
            record = cls(**restored(table))
        except (TypeError, ValueError) as error:
            raise ValueError(f"not a record: {error}") from None
        if not isinstance(record.image, str) or record.status not in ("captioned", "failed"):
            raise ValueError("not a record: its image or its status is of another kind")
        return record

    @classmethod
    def from_line(cls, line: bytes) -> "Record":
        """Read a line back.

        Raises:
            CutOffError: it is not whole.
            ValueError: it is whole, and no record.
        """
        if not line.endswith(b"\n"):
            raise CutOffError("its end is missing")
        try:
            table = json.loads(line)
        except ValueError as error:  # no JSON, or no text
            raise CutOffError(str(error)) from None
        return cls.from_dict(table)
