"""Selects files by name, and skips system folders."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import translate
from functools import lru_cache

from captioner.folder.sources.shards import WHOLE, Shard

NO_PHOTOS = ".nomedia"
"""A folder with a file of this name is skipped, as on Android."""

_MACHINES = re.compile(
    r"@eadir|#recycle|#snapshot|@recycle|@recently-snapshot|\$recycle\.bin|recycler"
    r"|system volume information|lost\+found|.*\.lrdata",
    re.IGNORECASE,
)
"""System folders: thumbnails and recycle bins of Synology and QNAP, recycle bins of Windows,
lost+found, Lightroom previews. Those that begin with a dot are skipped anyway."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Include and exclude patterns, case-insensitive, and the shard to process."""

    include: tuple[str, ...] = ()
    """Patterns such as `*.jpg` or `2024`; empty includes everything."""
    exclude: tuple[str, ...] = ()
    """Patterns to exclude; they take precedence over `include`."""
    hidden: bool = False
    """Whether to include dot files, system folders, and folders with a `.nomedia` file."""
    shard: Shard = WHOLE
    """The shard to process. The photos of an archive share a shard, so that only one machine opens
    it."""
    skipped_folders: set[str] = field(default_factory=set, compare=False)
    """System folders that were skipped."""

    def accepts(self, name: str) -> bool:
        """Whether a file is selected.

        A pattern matches the whole name, the part after any slash, or a parent folder. `**/`
        matches any number of folders; brackets match both as a set and literally.
        """
        folder, _, _ = name.rpartition("/")
        if not self.hidden and any(part.startswith(".") for part in name.split("/")):
            return False
        if self.include and not _fit(name, self.include):
            return False
        return not (self.excludes(name) or (folder and self.skips_folder(folder)))

    def excludes(self, name: str) -> bool:
        """Whether a pattern excludes a file, or a whole folder or archive."""
        return bool(self.exclude) and _fit(name, self.exclude)

    def skips_folder(self, folder: str) -> bool:
        """Whether a folder, or a parent of it, is a system folder; if so, record it."""
        if self.hidden:
            return False
        above = ""
        for part in folder.split("/"):
            above = f"{above}/{part}" if above else part
            if _MACHINES.fullmatch(part):
                self.skipped_folders.add(above)
                return True
        return False


def _fit(name: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern matches a name, its part after any slash, or a parent folder."""
    name = name.casefold()
    above = [name[:end] for end, letter in enumerate(name) if letter == "/"]
    return any(
        _compiled(pattern).fullmatch(f"/{part}") for pattern in patterns for part in (name, *above)
    )


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    plain = pattern.casefold().removeprefix("./").rstrip("/")
    readings = dict.fromkeys((plain, plain.replace("[", "[[]")))
    expressions = []
    for reading in readings:
        parts = map(translate, re.split(r"(?:(?<=/)|\A)\*\*/", reading))
        # `**/` may match nothing; [:-2] drops the end-of-string anchor.
        expressions.append("(?s:.*)/" + "(?s:.*/)?".join(part[:-2] for part in parts))
    return re.compile("|".join(expressions))
