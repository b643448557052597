"""Where `captioner caption --overlay DIR` writes the overlay of each photo."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path


def overlay_paths(photos: Iterable[str], folder: Path, *, kind: str) -> dict[str, Path]:
    """Give each photo a file of its own, `photo.jpg.png` where no other photo is called so.

    Photos with the same name keep the folders that tell them apart, `a/photo.jpg.png`. Names are
    compared as file systems do that ignore case. None is the path of a photo.

    Args:
        photos: their paths.
        folder: where overlays go.
        kind: ending of their names, such as "png".
    """
    whole = {photo: os.path.abspath(photo) for photo in photos}
    parts = {path: Path(path).parts[1:] or (".",) for path in whole.values()}
    groups: dict[str, list[str]] = defaultdict(list)
    for path in parts:
        groups[_fold(parts[path][-1])].append(path)
    taken = {_fold(path) for path in parts}
    places: dict[str, Path] = {}
    for group in groups.values():
        depth = _depth([parts[path] for path in group])
        for path in group:
            *folders, name = parts[path][-depth:]
            place, number = folder.joinpath(*folders, f"{name}.{kind}"), 1
            while _fold(os.path.abspath(place)) in taken:
                number += 1
                place = place.with_name(f"{name}-{number}.{kind}")
            taken.add(_fold(os.path.abspath(place)))
            places[path] = place
    return {photo: places[path] for photo, path in whole.items()}


def _depth(paths: list[tuple[str, ...]]) -> int:
    """How many of the last parts tell all paths apart; 1 where none do."""
    for depth in range(1, max(map(len, paths)) + 1):
        if len({_fold("/".join(path[-depth:])) for path in paths}) == len(paths):
            return depth
    return 1


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())
