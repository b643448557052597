"""Which names take part in a run, and which folders are passed over."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import translate
from functools import lru_cache

from captioner.folder.sources.shards import WHOLE, Shard

NO_PHOTOS = ".nomedia"
"""A folder that holds a file of this name holds no photos of its owner's: a custom of Android."""

_MACHINES = re.compile(
    r"@eadir|#recycle|#snapshot|@recycle|@recently-snapshot|\$recycle\.bin|recycler"
    r"|system volume information|lost\+found|.*\.lrdata",
    re.IGNORECASE,
)
"""Folders that machines keep: thumbnails and bins of Synology and QNAP, bins of Windows, what file
systems have found, and previews of Lightroom. Others of their kind begin with a dot."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which names take part, whatever the case of their letters, and which of them here."""

    include: tuple[str, ...] = ()
    """Patterns such as `*.jpg` or `2024`; nothing given includes everything."""
    exclude: tuple[str, ...] = ()
    """Patterns that win over those included."""
    hidden: bool = False
    """Whether names beginning with a dot take part, folders that machines keep, and folders with a
    file called `.nomedia`."""
    shard: Shard = WHOLE
    """The part of all photos that is taken. The photos of one archive in a folder stay together, so
    that the other parts need not open it."""
    passed_over: set[str] = field(default_factory=set, compare=False)
    """Names of the folders that were passed over since machines keep them."""

    def accepts(self, name: str) -> bool:
        """Whether a file takes part.

        A pattern fits its whole name, or what follows a slash, or a folder that it lies in. `**/`
        stands for any folders, or none; brackets are taken both as sets and as they stand.
        """
        folder, _, _ = name.rpartition("/")
        if not self.hidden and any(part.startswith(".") for part in name.split("/")):
            return False
        if self.include and not _fit(name, self.include):
            return False
        return not (self.excludes(name) or (folder and self.passes_over(folder)))

    def excludes(self, name: str) -> bool:
        """Whether a file, or all that is in a folder or an archive, is left out by a pattern."""
        return bool(self.exclude) and _fit(name, self.exclude)

    def passes_over(self, folder: str) -> bool:
        """Whether a folder, or one above it, is kept by a machine; note it."""
        if self.hidden:
            return False
        above = ""
        for part in folder.split("/"):
            above = f"{above}/{part}" if above else part
            if _MACHINES.fullmatch(part):
                self.passed_over.add(above)
                return True
        return False


def _fit(name: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern fits a name, the end of it from a slash on, or that of a folder above."""
    name = name.casefold()
    above = [name[:end] for end, letter in enumerate(name) if letter == "/"]
    return any(
        _compiled(pattern).fullmatch(f"/{part}") for pattern in patterns for part in (name, *above)
    )


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    plain = pattern.casefold().removeprefix("./").rstrip("/")
    readings = dict.fromkeys((plain, plain.replace("[", "[[]")))
    return re.compile("|".join(f"(?s:.*)/{_translated(reading)}" for reading in readings))


def _translated(pattern: str) -> str:
    """Turn a pattern into a regular expression in which `**/` fits nothing, too."""
    parts = map(translate, re.split(r"(?:(?<=/)|\A)\*\*/", pattern))
    return "(?s:.*/)?".join(part[:-2] for part in parts)  # without the mark of the end
