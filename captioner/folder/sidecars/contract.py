"""What the files that hold a photo's caption have in common."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:  # `--help` reads no metadata
    from captioner.metadata import Fields, Mark


@dataclass(frozen=True, kw_only=True)
class Note:
    """What is written with a caption, where a file has a place for it."""

    over_exif: bool = False
    """Whether it must be read before the photo's Exif data, which says something else."""
    model: str | None = None
    """Whose caption it is; None if no model wrote it, or not all of it."""
    confidence: float | None = None
    """Of the model."""

    @property
    def mark(self) -> "Mark | None":
        """As metadata hold it."""
        from captioner.metadata import Mark  # as above

        return Mark(model=self.model, confidence=self.confidence) if self.model else None


class Sidecar(ABC):
    """One kind of file that holds a photo's caption."""

    kind: str
    """What `--sidecar` and the journal call it."""
    shown: ClassVar[bool] = False
    """Whether photo managers show what stands there, so that a caption in one counts for all."""
    fields: "Fields" = "caption"
    """What of metadata it is; a caption is no reason to leave out an alt text."""
    shared: bool = False
    """Whether photo.jpg and photo.png would have the same one, which goes to the first."""
    inside: ClassVar[bool] = False
    """Whether it is the photo itself, which keeps its time of change."""

    @abstractmethod
    def place(self, photo: str) -> str:
        """Path of the file that belongs to a photo."""

    @abstractmethod
    def read(self, content: bytes, *, name: str) -> list[str]:
        """Return the captions that a file holds.

        Args:
            content: what `load` returned.
            name: what to call the photo in an error.

        Raises:
            MetadataError: it is damaged.
        """

    @abstractmethod
    def write(self, caption: str, old: bytes | None, *, note: Note, name: str) -> bytes:
        """Return what a file holds with its caption, everything else in it as it was.

        Args:
            caption: replaces those there.
            old: what the file holds; None if there is none.
            note: what else is written, where there is a place for it.
            name: what to call the photo in an error.

        Raises:
            MetadataError: it cannot hold one.
        """

    def erase(self, old: bytes, *, name: str) -> bytes | None:
        """Return what a file holds without its caption; None if nothing is left of it.

        Raises:
            MetadataError: it is damaged.
        """
        return self.write("", old, note=Note(), name=name)

    def digests(self, content: bytes, *, name: str) -> frozenset[str]:
        """Return the digests of captions that the file says a model wrote (`text_digest`).

        Raises:
            MetadataError: it is damaged.
        """
        return frozenset()

    def load(self, path: str) -> bytes | None:
        """Read as much of a file as `read` needs; None if there is no such file.

        Raises:
            OSError: it is there and cannot be read.
        """
        return read_file(path)

    def find(self, photo: str) -> list[str]:
        """Paths of all files of this kind that may belong to a photo."""
        return [self.place(photo)]

    def is_outranked(self, photo: str, caption: str) -> bool:
        """Whether the photo itself says something else, which programs would read first.

        Raises:
            OSError: the photo cannot be read.
        """
        return False


def read_file(path: str) -> bytes | None:
    """Content of a file; None if there is no such file.

    Raises:
        OSError: it is there and cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return None
