"""Reads the original photos of a journal, for outputs that include them."""

import os
import re
from contextlib import suppress
from functools import lru_cache

from captioner.folder.sources.archives import list_archive, read_member
from captioner.folder.sources.remote import StrPath, is_remote, join, read

_IN_ARCHIVE = re.compile(r"(?<=\.tar)/", re.IGNORECASE)
"""Boundary between the name of an archive and that of a photo in it."""


class Originals:
    """Finds photos by name; keeps the listings of the last few archives.

    Args:
        root: folder that names are relative to, or the archive.
    """

    def __init__(self, root: StrPath) -> None:
        self.root = root
        self._list = lru_cache(maxsize=4)(list_archive)

    def find(self, name: str) -> str | bytes:
        """Return a photo's path, or its bytes if it lies in an archive or an object store.

        The bytes are empty if the photo is gone.
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
        """Return a photo's bytes; empty if it is gone."""
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
    """Whether a photo lies in an archive, judging by its name."""
    return bool(_IN_ARCHIVE.search(name))
