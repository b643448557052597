"""What all photo formats share: parts, and reasons to refuse a file.

The MetadataErrors raised here do not name the file; the caller adds its name.
"""

from collections.abc import Collection
from typing import Generic, NamedTuple, TypeVar

from captioner.errors import MetadataError

Kind = TypeVar("Kind")

DAMAGED = "damaged or cut short; copy or download it again."
NO_PICTURE = "it contains no image; copy or download it again."
SIGNED = "it carries Content Credentials, a signature that any change would break; write a sidecar."


class Part(NamedTuple, Generic[Kind]):
    """A segment, chunk, resource or data set."""

    kind: Kind
    content: bytes
    raw: bytes | memoryview
    """All its bytes, including header, fill bytes and padding."""


class PhotoFile:
    """Base class of photo files; the defaults suit formats without captions of their own."""

    FIXED = ""
    """Where captions may be that cannot be changed, for error messages."""

    def read_texts(self) -> tuple[list[str], list[str]]:
        """Return the captions in format-specific fields, and texts that may be captions."""
        return [], []

    def write_texts(self, caption: str, outdated: Collection[str]) -> None:
        """Write a caption into these fields, and replace `outdated` captions, given stripped."""

    def read_fixed(self) -> list[str]:
        """Return the captions that cannot be changed."""
        return []


def only(contents: list[bytes], called: str) -> bytes | None:
    """Return the only item; None if there is none.

    Raises:
        MetadataError: there are several items.
    """
    if len(contents) > 1:
        raise MetadataError(f"it holds {len(contents)} {called}; leave only one.")
    return contents[0] if contents else None


def decoded(text: bytes) -> str:
    """Decode a text of unknown encoding: UTF-8, or else Windows-1252."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("cp1252", "replace")
