"""A file that is to change with a caption, and how to tell whether it has changed already."""

import os
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from captioner.durable import TEMPORARY, edit_file
from captioner.errors import MetadataError
from captioner.folder.sidecars import SIDECARS
from captioner.folder.sidecars.contract import Note, read_file


@dataclass(frozen=True, kw_only=True)
class Change:
    """One file that a caption is written into.

    It is known what the file was before, so that after a crash it is plain whether the change was
    made: doing it again is harmless, and what somebody wrote in between is left alone.
    """

    kind: str
    """Which of `SIDECARS` the file is."""
    path: str
    """The file."""
    before: str | None
    """Digest of what it held; None if there was none."""
    caption: str
    """What it shall say, as a whole; nothing takes out what it says."""
    note: Note = Note()  # noqa: RUF009  # frozen
    """What is written with it."""
    had: str | None = None
    """What it said that was not of this program; None if nothing, or if the journal knows it."""

    @property
    def inside(self) -> bool:
        """Whether the photo itself is changed."""
        return SIDECARS[self.kind].inside

    def apply(self) -> None:
        """Make the change, unless it is made.

        Raises:
            OSError: it cannot be written.
            MetadataError: the file is no longer what it was, and stays as it is.
        """
        old = read_file(self.path)
        if old is None and not self.caption:
            return
        if identify(old) == self.before:
            new = self.render(old, name=self.path)
            if new is None:
                os.unlink(self.path)
            elif new != old:
                edit_file(self.path, new, keep_times=self.inside)
        elif old is None or self.render(old, name=self.path) != old:
            raise MetadataError(
                f"{self.path} was changed while its photo was captioned, and stays as it is; "
                "run the same command again, with --retry-failed if the photo failed."
            )

    def render(self, old: bytes | None, *, name: str) -> bytes | None:
        """Return what the file holds with its caption, or without; None if it is to be deleted.

        Raises:
            MetadataError: it cannot hold one.
        """
        if old is not None and not self.caption:
            return SIDECARS[self.kind].erase(old, name=name)
        return SIDECARS[self.kind].write(self.caption, old, note=self.note, name=name)


def identify(content: bytes | None) -> str | None:
    """Digest of a file's content."""
    return None if content is None else blake2b(content, digest_size=16).hexdigest()


def remove_traces(path: str) -> None:
    """Delete what a killed run was writing in the folder of this file."""
    for left in Path(os.path.realpath(path)).parent.glob(TEMPORARY):
        left.unlink(missing_ok=True)
