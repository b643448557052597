"""Atomic, durable writes: after a crash, a file is the old one or the new one, complete."""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryFile

from captioner.errors import CaptionerError

_FULL = "make room and run the same command again; what was written so far is kept"
_HINTS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "raise the limit on the size of files (ulimit -f) and run the same command again",
    errno.EROFS: "choose a place that can be written{option}",
    errno.EACCES: "allow writing there, or choose another place{option}",
    errno.EPERM: "allow writing there, or choose another place{option}",
}
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM,
                errno.EACCES, errno.EBADF)  # fmt: skip
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""Errors that the next file would meet, too."""


TEMPORARY = ".captioner-*.tmp"
"""Names of files that `edit_file` leaves behind when killed; safe to delete when nobody edits."""


def digest(name: str) -> bytes:
    """A 16-byte digest of a file's name, also for names that are not valid text."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def explained(
    path: Path, *, raised: type[CaptionerError] = CaptionerError, option: str = ""
) -> Iterator[None]:
    """Turn an OSError into a CaptionerError that says what to do.

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
    """Create a folder if it does not exist, and check that it is writable.

    Raises:
        OSError: it cannot be made, or nothing can be written into it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(folder))


def check_writable(path: Path, *, folder: bool = False, option: str = "") -> None:
    """Check that a file or folder can be written, before time is spent on its content.

    Creates nothing: if the path does not exist, its closest existing folder is tried.

    Args:
        path: what will be written.
        folder: whether it is a folder.
        option: of the command, with which one chooses another place.

    Raises:
        CaptionerError: it cannot be written.
    """
    with explained(path, option=option):
        if folder or not path.exists():
            closest = next(place for place in (path, *path.parents) if place.exists())
            TemporaryFile(dir=closest).close()
        elif path.is_file() or path.is_dir():  # opening a pipe would wait for its reader
            path.open("ab").close()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file that atomically replaces `path` once it is complete and on disk.

    Its name depends on `path` alone, so what a killed run leaves behind the next one overwrites.

    Raises:
        OSError: it cannot be written.
    """
    path = Path(os.path.realpath(path))  # a link stays a link
    with _atomic_replacement(path, _unfinished(path), _copy_mode) as unfinished:
        yield unfinished


def remove_unfinished(path: Path) -> None:
    """Delete temporary files of `replacing` left by a killed run.

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


def edit_file(path: str | os.PathLike[str], content: bytes, *, keep_times: bool = False) -> None:
    """Write or replace a user's file, preserving its owner, mode and attributes.

    Mode, extended attributes and owner stay, as far as the file system and the user's rights allow;
    a link stays a link, to the new content; further hard links keep the old content. Others may
    edit the same file: until it is whole, the new one has a name that nobody else takes.

    Args:
        path: of a file that exists or not; its folder must exist.
        content: what it shall hold.
        keep_times: keep when the old file was last changed and read.

    Raises:
        OSError: the folder cannot be written to, the disk is full, and the like; the old file is
            then untouched.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(TEMPORARY.replace("*", secrets.token_hex(8)))
    with (
        _atomic_replacement(target, temporary, partial(_copy_attributes, keep_times=keep_times)),
        temporary.open("xb") as file,
    ):
        file.write(content)
    with suppress(OSError):  # it is changed already
        sync_folder(target.parent)


@contextmanager
def _atomic_replacement(
    path: Path, unfinished: Path, copy_attributes: Callable[[Path, Path], None]
) -> Iterator[Path]:
    """Replace `path` with `unfinished`, filled inside the block: whole and on disk, or never."""
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            sync(file.fileno())
        copy_attributes(path, unfinished)
        os.replace(unfinished, path)
    except BaseException:  # interrupted, too
        unfinished.unlink(missing_ok=True)
        raise


def _copy_mode(old: Path, new: Path) -> None:
    with suppress(OSError):  # FAT, SMB and others have none
        shutil.copymode(old, new)


def _copy_attributes(old: Path, new: Path, *, keep_times: bool) -> None:
    """Give the new file the owner, attributes and mode of the old one, where it may have them.

    Network mounts, FAT and containers refuse one or the other, each in its own way.
    """
    try:
        status = old.stat()
    except FileNotFoundError:
        return
    with suppress(OSError):
        if hasattr(os, "chown"):
            os.chown(new, status.st_uid, status.st_gid)
    with suppress(OSError):
        shutil.copystat(old, new)
    _copy_mode(old, new)  # where the times are refused, copystat comes no further
    with suppress(OSError):
        if keep_times:
            os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
        else:
            os.utime(new)


def sync_folder(folder: Path) -> None:
    """Sync a directory (fsync), where supported.

    Raises:
        OSError: the disk is damaged or full.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows; and a folder may be writable only
        return
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """Sync a file or directory (fsync); file systems that cannot are trusted.

    Raises:
        OSError: the disk is damaged or full.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
