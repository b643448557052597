"""Planned changes to sidecars, which can be applied again after a crash."""

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
    """A planned change to one file.

    It includes a digest of the file's earlier content, so that after a crash it is known whether
    the change was made. Applying it twice is harmless, and later edits are left alone.
    """

    kind: str
    """Kind of sidecar, a key of `SIDECARS`."""
    path: str
    """Path of the file."""
    before: str | None
    """Digest of its earlier content; None if it did not exist."""
    caption: str
    """New caption; empty removes the caption."""
    note: Note = Note()  # noqa: RUF009  # frozen
    """What to write with the caption."""
    had: str | None = None
    """Human caption that it replaces or is joined to; None if there is none, or if the journal
    already has it."""

    @property
    def inside(self) -> bool:
        """Whether the photo itself changes."""
        return SIDECARS[self.kind].inside

    def apply(self) -> None:
        """Apply the change, unless it has been applied.

        Raises:
            OSError: the file cannot be written.
            MetadataError: the file changed meanwhile, and is left alone.
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
                f"{self.path} was changed while its photo was captioned, so it was left alone; "
                "run the same command again, with --retry-failed if the photo failed."
            )

    def render(self, old: bytes | None, *, name: str) -> bytes | None:
        """Return the file's new content; None to delete the file.

        Raises:
            MetadataError: the file cannot hold a caption.
        """
        if old is not None and not self.caption:
            return SIDECARS[self.kind].erase(old, name=name)
        return SIDECARS[self.kind].write(self.caption, old, note=self.note, name=name)


def identify(content: bytes | None) -> str | None:
    """Return the digest of a file's content; None for a missing file."""
    return None if content is None else blake2b(content, digest_size=16).hexdigest()


def remove_traces(path: str) -> None:
    """Delete temporary files that a killed run left in the folder of this file."""
    for left in Path(os.path.realpath(path)).parent.glob(TEMPORARY):
        left.unlink(missing_ok=True)
