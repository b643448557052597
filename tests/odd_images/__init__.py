"""Broken and odd photos by the hundred, and what is expected of each.

A photo is either shown, and then looks like its picture, or it fails, and then for the reason
given. Of a few, decoders may repair the damage or refuse: these need only do one of the two.
"""

from functools import cache
from pathlib import Path

from tests.odd_images import damage, kinds, structure
from tests.odd_images.files import odd_files
from tests.odd_images.odd import FLAG, Odd

__all__ = ["FLAG", "Odd", "corpus", "write_corpus"]

MAKERS = (
    damage.cut,
    damage.flipped,
    damage.misnamed,
    damage.foreign,
    damage.bombs,
    kinds.shapes,
    kinds.modes,
    kinds.animated,
    kinds.orientations,
    kinds.others,
    kinds.cameras,
    kinds.scans,
    structure.exif,
    structure.profiles,
    structure.large_metadata,
    structure.jpegs,
    structure.pngs,
)


@cache
def corpus() -> tuple[Odd, ...]:
    """All odd contents; their names are distinct, and so are they."""
    return tuple(odd for maker in MAKERS for odd in maker())


def write_corpus(folder: Path) -> list[tuple[Path, Odd]]:
    """Write them into a folder, and next to them what is odd about files and not in them."""
    for odd in corpus():
        (folder / odd.name).write_bytes(odd.content)
    return [(folder / odd.name, odd) for odd in corpus()] + list(odd_files(folder))
