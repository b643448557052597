"""A text file that is to change, and what it holds before and after."""

from dataclasses import dataclass
from pathlib import Path

from captioner.folder.durable import replace_file


@dataclass(frozen=True, kw_only=True)
class Change:
    """One text file beside a photo, made or changed with its caption.

    Both contents are kept, so that after a crash it is plain whether the change was made: doing it
    again is harmless, and what somebody wrote in between is left alone.
    """

    path: str
    """The file."""
    before: str | None
    """What it held; None if there was none."""
    after: str
    """What it shall hold."""

    def apply(self) -> None:
        """Make the change, unless it is made or the file is no longer what it was.

        Raises:
            OSError: it cannot be written.
        """
        if read_text(Path(self.path)) == self.before:
            replace_file(Path(self.path), self.after.encode("utf-8", "surrogateescape"))


def read_text(path: Path) -> str | None:
    """Content of a file, byte for byte; None if there is no such file.

    Raises:
        OSError: it is there and cannot be read.
    """
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None
