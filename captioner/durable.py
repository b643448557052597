"""Writes that survive a crash: after it, a file is the old one or the new one, and whole."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from captioner.errors import CaptionerError

_FULL = "make room and run the same command again; what is written so far is kept"
_HINTS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "raise the limit on the size of files (ulimit -f) and run the same command again",
    errno.EROFS: "choose a place that can be written{option}",
    errno.EACCES: "allow writing there, or choose another place{option}",
    errno.EPERM: "allow writing there, or choose another place{option}",
}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""Errors that the next file would meet, too."""


def digest(name: str) -> bytes:
    """16 bytes that stand for a file's name; names that are no text have theirs, too."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@contextmanager
def explained(
    path: Path, *, raised: type[CaptionerError] = CaptionerError, option: str = ""
) -> Iterator[None]:
    """Turn an OSError into a CaptionerError that says what to do about it.

    Args:
        path: what is written.
        raised: the error a user sees.
        option: of the command, with which one chooses another place.
    """
    try:
        yield
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "check the path")
        hint = hint.format(option=f" with {option}" if option else "")
        raise raised(f"{path}: cannot be written: {error.strerror}; {hint}.") from error


def make_folder(folder: Path) -> None:
    """Make a folder, if it is not there, that can be written to.

    Raises:
        OSError: it cannot be made, or nothing can be written into it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(folder))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a file to be filled, which takes the place of `path` once it is whole and on disk.

    Its name depends on `path` alone, so what a killed run leaves behind the next one overwrites.

    Raises:
        OSError: it cannot be written.
    """
    path = Path(os.path.realpath(path))  # a link stays a link
    unfinished = _unfinished(path)
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(path, unfinished)
        os.replace(unfinished, path)
    except BaseException:  # interrupted, too
        unfinished.unlink(missing_ok=True)
        raise


def remove_unfinished(path: Path) -> None:
    """Delete what a killed run left of a file that `replacing` would have replaced.

    Raises:
        OSError: it cannot be deleted.
    """
    _unfinished(Path(os.path.realpath(path))).unlink(missing_ok=True)


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{digest(path.name).hex()}.unfinished")


def replace_file(path: Path, content: bytes) -> None:
    """Write a file as a whole. Its name is on disk after `sync_folder` of its folder.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk, where the system lets folders be opened."""
    with contextlib.suppress(PermissionError):  # Windows; and a folder may be writable only
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
