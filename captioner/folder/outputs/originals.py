"""The photos that a journal is about, wherever they lie, for outputs that hold them."""

import os
import re
from contextlib import suppress
from functools import lru_cache

from captioner.folder.sources.archives import list_archive, read_member
from captioner.folder.sources.remote import StrPath, is_remote, join, read

_IN_ARCHIVE = re.compile(r"(?<=\.tar)/", re.IGNORECASE)
"""Where the name of an archive may end, and that of a photo in it begin."""


class Originals:
    """Finds photos by their names; archives are listed once: their photos follow each other.

    Args:
        root: the folder that names are relative to, or the archive.
    """

    def __init__(self, root: StrPath) -> None:
        self.root = root
        self._list = lru_cache(maxsize=4)(list_archive)

    def find(self, name: str) -> str | bytes:
        """Return a photo's path, or its bytes where it lies in an archive or a store.

        There are none if it is gone.
        """
        root = os.fspath(self.root)
        if (is_remote(root) and root.lower().endswith(".tar")) or os.path.isfile(root):
            return self._member(root, name)
        for found in _IN_ARCHIVE.finditer(name):
            archive = join(root, name[: found.start()])
            if is_remote(archive) or os.path.isfile(archive):
                return self._member(archive, name[found.end() :])
        path = join(root, name)
        if not is_remote(path):
            return path
        with suppress(OSError):
            return read(path)
        return b""

    def read(self, name: str) -> bytes:
        """Return a photo's bytes; none if it is gone."""
        found = self.find(name)
        if isinstance(found, str):
            with suppress(OSError), open(found, "rb") as file:
                return file.read()
            return b""
        return found

    def _member(self, archive: str, name: str) -> bytes:
        with suppress(OSError, ValueError, KeyError):
            offset, size = self._list(archive).files[name]
            return read_member(archive, offset=offset, size=size)
        return b""


def is_in_archive(name: str) -> bool:
    """Whether a photo's name says that it lies in an archive."""
    return bool(_IN_ARCHIVE.search(name))
