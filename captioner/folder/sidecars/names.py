"""Names of files as their file system compares them: exFAT, NTFS and APFS take IMG.txt for img.txt.

Whether two paths are one file is seen from the names in a folder; numbers of files do not tell on
every file system (FUSE).
"""

import os
import unicodedata
from functools import lru_cache


def folded(path: str) -> str:
    """Return what all names of one file have in common.

    Case is ignored, and whether é is one character or two, where the file system ignores it.

    Args:
        path: of a file that is there, or was.
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
    except (OSError, ValueError):  # no such folder, or a name that none can have
        return frozenset()
