"""A run shared out to many machines: which photos are whose, and what their files are called."""

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from captioner.durable import digest
from captioner.errors import CaptionerError, ConfigError


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One of the parts that a run is divided into; together they are the whole, without overlap.

    A photo belongs to the same part for ever, whatever else comes or goes: its name decides. Photos
    whose names differ only in ending or case go together: they may share a text file.
    """

    number: int = 1
    """Which one it is, counted from 1."""
    count: int = 1
    """How many there are."""

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ConfigError(
                f"shard {self}: there is no such part; count from 1/{self.count} to "
                f"{self.count}/{self.count}."
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read `3/16`, the third of sixteen.

        Raises:
            ConfigError: it is nothing of the kind.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
        if not found or not int(found[2]):
            raise ConfigError(f"shard {text!r}: give which part of how many, such as 3/16.")
        return cls(number=int(found[1]), count=int(found[2]))

    def holds(self, name: str) -> bool:
        """Whether the photo, or the archive of photos, of this name belongs to this part."""
        if self.count == 1:
            return True
        stem = unicodedata.normalize("NFC", os.path.splitext(name)[0]).casefold()
        key = digest(stem)
        return int.from_bytes(key, "big") % self.count == self.number - 1

    def place(self, path: Path) -> Path:
        """Return what this part writes in place of a file: `captions-003-of-016.jsonl`."""
        if self.count == 1:
            return path
        digits = max(3, len(str(self.count)))  # so that they sort as they count
        part = f"{self.number:0{digits}}-of-{self.count:0{digits}}"
        return path.with_name(f"{path.stem}-{part}{path.suffix}")


WHOLE = Shard()
"""A run that is not divided."""


def find_shards(path: Path) -> Iterator[tuple[Shard, Path]]:
    """Find what all parts of a run wrote in place of this file, in order.

    Raises:
        CaptionerError: there is nothing, or a part is missing.
    """
    named = re.compile(rf"{re.escape(path.stem)}-(\d+)-of-(\d+){re.escape(path.suffix)}", re.ASCII)
    names = (named.fullmatch(other.name) for other in path.parent.glob("*-of-*"))
    counts = sorted({int(found[2]) for found in names if found})
    if not counts:
        raise CaptionerError(
            f"{Shard(number=1, count=2).place(path)}: there is no such file, nor another shard's; "
            "caption with --shard 1/2 and so on first, or give their --output."
        )
    for count in counts:
        for number in range(1, count + 1):
            shard = Shard(number=number, count=count)
            if not shard.place(path).exists():
                raise CaptionerError(
                    f"{shard.place(path)}: is missing, and the other shards are there; run "
                    f"--shard {shard}, or put its files beside the others."
                )
            yield shard, shard.place(path)
