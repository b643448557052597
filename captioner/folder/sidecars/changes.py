"""A file that is to change with a caption, and how to tell whether it has changed already."""

import os
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from captioner import metadata
from captioner.durable import TEMPORARY, edit_file
from captioner.errors import MetadataError
from captioner.folder.sidecars.texts import write_text

Kind = Literal["txt", "xmp", "photo"]
"""A text or an XMP file beside the photo, or the photo itself."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One file that a caption is written into.

    It is known what the file was before, so that after a crash it is plain whether the change was
    made: doing it again is harmless, and what somebody wrote in between is left alone.
    """

    kind: Kind
    path: str
    """The file."""
    before: str | None
    """Digest of what it held; None if there was none."""
    caption: str
    """What it shall say, as a whole."""
    over_exif: bool = False
    """Whether an XMP file must be read before the photo's Exif data, which says something else."""

    def apply(self) -> None:
        """Make the change, unless it is made.

        Raises:
            OSError: it cannot be written.
            MetadataError: the file is no longer what it was, and stays as it is.
        """
        old = read(self.path)
        if identify(old) == self.before:
            new = self._render(old)
            if new != old:
                edit_file(self.path, new, keep_times=self.kind == "photo")
        elif old is None or self._render(old) != old:
            raise MetadataError(
                f"{self.path} was changed while its photo was captioned, and stays as it is; "
                "run the same command again, with --retry-failed if the photo failed."
            )

    def _render(self, old: bytes | None) -> bytes:
        return render(self.kind, self.caption, old, over_exif=self.over_exif, name=self.path)


def render(
    kind: Kind, caption: str, old: bytes | None, *, over_exif: bool = False, name: str
) -> bytes:
    """Return what a file holds with its caption.

    Raises:
        MetadataError: it cannot hold one.
    """
    if kind == "txt":
        return write_text(caption, old)
    if kind == "xmp":
        return metadata.sidecar(caption, old, over_exif=over_exif, name=name)
    assert old is not None
    return metadata.embed(old, caption, name=name)


def read(path: str) -> bytes | None:
    """Content of a file; None if there is no such file.

    Raises:
        OSError: it is there and cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return None


def identify(content: bytes | None) -> str | None:
    """Digest of a file's content."""
    return None if content is None else blake2b(content, digest_size=16).hexdigest()


def remove_traces(path: str) -> None:
    """Delete what a killed run was writing in the folder of this file."""
    for left in Path(os.path.realpath(path)).parent.glob(TEMPORARY):
        left.unlink(missing_ok=True)
