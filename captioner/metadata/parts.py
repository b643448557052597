"""What all photo formats share: parts, and reasons to refuse a file.

A MetadataError does not name the file; whoever opened it does.
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
    """All its bytes: head, content, fill bytes and padding."""


class PhotoFile:
    """A photo without captions in places that only files of its kind have."""

    FIXED = ""
    """What the captions that cannot be changed are in."""

    def read_texts(self) -> tuple[list[str], list[str]]:
        """The captions in such places, and what may be captions."""
        return [], []

    def write_texts(self, caption: str, outdated: Collection[str]) -> None:
        """Put a caption there; `outdated` may not be said any more, without blanks around it."""

    def read_fixed(self) -> list[str]:
        """Read the captions that cannot be changed."""
        return []


def only(contents: list[bytes], called: str) -> bytes | None:
    """Return the only item; None if there is none.

    Raises:
        MetadataError: there are several.
    """
    if len(contents) > 1:
        raise MetadataError(f"it holds {len(contents)} {called}; leave only one.")
    return contents[0] if contents else None


def decoded(text: bytes) -> str:
    """A text of unknown encoding: UTF-8, or else what Windows wrote before that."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("cp1252", "replace")
