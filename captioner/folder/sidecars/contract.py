"""Interface of the files that hold a photo's caption."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from captioner.metadata import Fields, Mark


@dataclass(frozen=True, kw_only=True)
class Note:
    """What is written with a caption, in formats that support it."""

    over_exif: bool = False
    """Whether the sidecar must take precedence over a different caption in the photo's Exif."""
    model: str | None = None
    """Name of the model; None unless it wrote the whole caption."""
    confidence: float | None = None
    """Confidence of the model, from 0 to 1."""

    @property
    def mark(self) -> Mark | None:
        """Return the note as stored in metadata; None without a model."""
        return Mark(model=self.model, confidence=self.confidence) if self.model else None


class Sidecar(ABC):
    """A kind of file that holds a photo's caption."""

    kind: str
    """Name used in `--sidecar` and the journal."""
    shown: ClassVar[bool] = False
    """Whether photo managers read it; a caption in one such file counts for all of them."""
    fields: Fields = "caption"
    """Metadata fields to write. A caption does not count as an alt text, nor the reverse."""
    shared: bool = False
    """Whether photo.jpg and photo.png share one file, which then goes to the first of them."""
    inside: ClassVar[bool] = False
    """Whether it is the photo itself, which keeps its modification time."""

    @abstractmethod
    def path_for(self, photo: str) -> str:
        """Return the path of a photo's file."""

    @abstractmethod
    def read(self, content: bytes, *, name: str) -> list[str]:
        """Return the captions that a file holds.

        Args:
            content: what `load` returned.
            name: name of the photo, for error messages.

        Raises:
            MetadataError: the file is damaged.
        """

    @abstractmethod
    def write(self, caption: str, old: bytes | None, *, note: Note, name: str) -> bytes:
        """Return a file's content with a caption, and everything else unchanged.

        Args:
            caption: replaces the captions in the file.
            old: current content of the file; None if it does not exist.
            note: what to write with the caption, in formats that support it.
            name: name of the photo, for error messages.

        Raises:
            MetadataError: the file cannot hold a caption.
        """

    def erase(self, old: bytes, *, name: str) -> bytes | None:
        """Return a file's content without its caption; None if nothing is left.

        Raises:
            MetadataError: the file is damaged.
        """
        return self.write("", old, note=Note(), name=name)

    def digests(self, content: bytes, *, name: str) -> frozenset[str]:
        """Return `text_digest` of the captions that the file marks as written by a model.

        Raises:
            MetadataError: the file is damaged.
        """
        return frozenset()

    def load(self, path: str) -> bytes | None:
        """Read as much of a file as `read` needs; None if it does not exist.

        Raises:
            OSError: the file exists but cannot be read.
        """
        return read_file(path)

    def find(self, photo: str) -> list[str]:
        """Return the paths of all files of this kind that may belong to a photo."""
        return [self.path_for(photo)]

    def is_outranked(self, photo: str, caption: str) -> bool:
        """Whether the photo itself holds a different caption that programs would prefer.

        Raises:
            OSError: the photo cannot be read.
        """
        return False


def read_file(path: str) -> bytes | None:
    """Return the content of a file; None if it does not exist.

    Raises:
        OSError: the file exists but cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return None
