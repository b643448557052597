"""Compares file names as their file system does: exFAT, NTFS and APFS ignore case.

The file system's behaviour is inferred from the names in a folder, since inode numbers are not
reliable everywhere (FUSE).
"""

import os
import unicodedata
from functools import lru_cache


def folded(path: str) -> str:
    """Normalise a path, so that all names of one file compare equal.

    Case and Unicode normalisation are ignored if the file system ignores them.

    Args:
        path: path of a file that exists or existed.
    """
    folder, name = os.path.split(path)
    if not name.isascii() and _ignores_form(folder, name):
        name = unicodedata.normalize("NFC", name)
    if _ignores_case(folder):
        name = name.casefold()
    return os.path.join(folder, name)


@lru_cache(maxsize=4096)
def _ignores_case(folder: str) -> bool:
    names = _names(folder)
    for name in names:
        other = name.swapcase()
        if name.isascii() and other not in names:
            return os.path.lexists(os.path.join(folder, other))
    return False


@lru_cache(maxsize=4096)
def _ignores_form(folder: str, name: str) -> bool:
    names = _names(folder)
    for form in ("NFC", "NFD"):
        other = unicodedata.normalize(form, name)
        if name in names and other not in names:
            return os.path.lexists(os.path.join(folder, other))
    return False


def _names(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder or "."))
    except (OSError, ValueError):  # missing folder or invalid name
        return frozenset()
