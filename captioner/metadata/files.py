"""Files changed so that a crash at any moment leaves the old one or the new one, never a part."""

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

TEMPORARY = ".captioner-*.tmp"
"""Names of files that a killed program may leave behind; safe to delete when none is running."""


def replace_file(path: str | os.PathLike[str], data: bytes, *, keep_times: bool = False) -> None:
    """Write a file, or replace it whole.

    The new content is on the disk before it takes the old one's place. Mode, extended attributes
    and, where allowed, the owner stay; a link stays a link, to the new content; further hard links
    keep the old content.

    Args:
        path: of a file that exists or not; its folder must exist.
        data: the new content.
        keep_times: keep when the old file was last changed.

    Raises:
        OSError: the folder cannot be written to, the disk is full, and the like; the old file is
            then untouched.
    """
    target = Path(os.path.realpath(path))
    temporary = target.parent / TEMPORARY.replace("*", secrets.token_hex(8))
    # As open() does, but failing rather than taking over a file that exists.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    handle = os.open(temporary, flags, 0o666)
    try:
        with open(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            if target.exists():
                _like(target, temporary, keep_times=keep_times)
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _like(old: Path, new: Path, *, keep_times: bool) -> None:
    """Give the new file the mode, attributes and owner of the old one."""
    status = old.stat()
    with suppress(PermissionError):  # only the administrator gives files away
        if hasattr(os, "chown"):
            os.chown(new, status.st_uid, status.st_gid)
    shutil.copystat(old, new)
    if not keep_times:
        os.utime(new)


def _sync_folder(folder: Path) -> None:
    """Make the new name last; Windows does so by itself and opens no folders."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
