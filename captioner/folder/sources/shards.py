"""Divides a run into shards for several machines."""

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
    """One of the disjoint parts of a run.

    A hash of its name assigns a photo to a shard, so its shard never changes. Photos whose names
    differ only in extension or case share a shard, since they may share a sidecar.
    """

    number: int = 1
    """Number of this shard, from 1."""
    count: int = 1
    """Number of shards."""

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ConfigError(
                f"shard {self}: no such shard; they are numbered from 1/{self.count} to "
                f"{self.count}/{self.count}."
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Parse `3/16`, the third of sixteen.

        Raises:
            ConfigError: the text is malformed.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
        if not found or not int(found[2]):
            raise ConfigError(f"shard {text!r}: use NUMBER/COUNT, such as 3/16.")
        return cls(number=int(found[1]), count=int(found[2]))

    def contains(self, name: str) -> bool:
        """Whether a photo or an archive belongs to this shard."""
        if self.count == 1:
            return True
        stem = unicodedata.normalize("NFC", os.path.splitext(name)[0]).casefold()
        key = digest(stem)
        return int.from_bytes(key, "big") % self.count == self.number - 1

    def path_for(self, path: Path) -> Path:
        """Return this shard's version of a path, such as `captions-003-of-016.jsonl`."""
        if self.count == 1:
            return path
        digits = max(3, len(str(self.count)))  # so that names sort in order
        part = f"{self.number:0{digits}}-of-{self.count:0{digits}}"
        return path.with_name(f"{path.stem}-{part}{path.suffix}")


WHOLE = Shard()
"""A run without shards."""


def find_shards(path: Path) -> Iterator[tuple[Shard, Path]]:
    """Find the files that all shards of a run wrote, in order.

    Raises:
        CaptionerError: there are no shards, or one is missing.
    """
    named = re.compile(rf"{re.escape(path.stem)}-(\d+)-of-(\d+){re.escape(path.suffix)}", re.ASCII)
    names = (named.fullmatch(other.name) for other in path.parent.glob("*-of-*"))
    counts = sorted({int(found[2]) for found in names if found})
    if not counts:
        raise CaptionerError(
            f"{Shard(number=1, count=2).path_for(path)}: no such file, nor that of another shard; "
            "run all shards first (--shard 1/2, --shard 2/2), or set --output to theirs."
        )
    for count in counts:
        for number in range(1, count + 1):
            shard = Shard(number=number, count=count)
            if not shard.path_for(path).exists():
                raise CaptionerError(
                    f"{shard.path_for(path)}: missing, while other shards are there; run --shard "
                    f"{shard}, or copy its files next to the others."
                )
            yield shard, shard.path_for(path)
