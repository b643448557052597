"""Assignment of photos to shards, and their names there."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath
from random import Random
from typing import Any

from captioner.errors import ConfigError
from data.coco import Record
from data.image_source import ImageSource


@dataclass(frozen=True, kw_only=True)
class ShardSettings:
    """Settings of the shards."""

    short_side: int = 0
    """Shorter side of resized photos, in pixels; 0 keeps photos as they are."""
    quality: int = 90
    """JPEG quality of resized photos."""
    photos: int = 2000
    """Photos per shard; the last of a split may have fewer."""
    seed: int = 0
    """Seed of the photo order; every shard is a random sample of its split."""

    def __post_init__(self) -> None:
        for name, least, most in (
            ("short_side", 0, 10_000),
            ("quality", 1, 95),
            ("photos", 1, None),
            ("seed", 0, None),  # Python's generator ignores the sign
        ):
            value = getattr(self, name)
            if value < least or (most is not None and value > most):
                end = f" to {most}" if most else " or more"
                raise ConfigError(f"{name} is {value}; it must be {least}{end}.")


@dataclass(frozen=True)
class PlannedShard:
    """A shard to write."""

    name: str
    split: str
    records: list[Record]
    keys: list[str]
    """Names of the photos in the archive, without extension."""


def plan_shards(records: Sequence[Record], settings: ShardSettings) -> list[PlannedShard]:
    """Assign photos to shards, split by split."""
    keys = _choose_keys(records)
    shards = []
    for split in dict.fromkeys(record.split for record in records):
        own = [place for place, record in enumerate(records) if record.split == split]
        Random(settings.seed).shuffle(own)
        for number, start in enumerate(range(0, len(own), settings.photos)):
            places = own[start : start + settings.photos]
            name = f"{split}-{number:05}.tar"
            shards.append(
                PlannedShard(name, split, [records[p] for p in places], [keys[p] for p in places])
            )
    return shards


def describe_record(record: Record) -> dict[str, Any]:
    """Return the contents of a photo's JSON file."""
    return {
        "image": record.image,
        "image_id": record.image_id,
        **({} if record.has_id else {"has_id": False}),
        "split": record.split,
        "captions": list(record.captions),
    }


def _choose_keys(records: Sequence[Record]) -> list[str]:
    """Return a unique name per photo, without dots, at which WebDataset would split it."""
    taken: set[str] = set()
    keys = []
    for record in records:
        path = PurePosixPath(record.image.replace("\\", "/"))
        parts = [part for part in path.with_suffix("").parts if part not in ("/", "..")]
        plain = "/".join(part.replace(".", "_") for part in parts) or str(record.image_id)
        key, number = plain, 2
        while key in taken:
            key, number = f"{plain}_{number}", number + 1
        taken.add(key)
        keys.append(key)
    return keys


def fingerprint(records: Sequence[Record], source: ImageSource) -> str:
    """Return a digest of all names, captions and splits, and of what changes when photos do."""
    digest = sha256()
    stamps = source.stamps(record.image for record in records)
    for record, stamp in zip(records, stamps, strict=True):
        digest.update(json.dumps([describe_record(record), stamp]).encode())
    return digest.hexdigest()
