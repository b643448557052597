"""Gallery of captioned photos: an HTML page with a search box, and its images.

    gallery/index.html      cards with captions; opens from disk, without a server
    gallery/pictures/       a thumbnail and the attention maps of every photo

Thumbnails load lazily, so a page of thousands of photos opens at once. The page is written as
entries arrive, and atomically replaces an older one when complete.
"""

import errno
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from captioner.durable import replacing
from captioner.errors import ImageError
from captioner.gallery import page
from captioner.gallery.pictures import draw_layers, draw_thumbnail, encode_picture
from captioner.overlay import Style
from captioner.photo import Source, load_photo
from captioner.photo.framing import Geometry

__all__ = ["GalleryPhoto", "check_gallery", "write_gallery"]

_PICTURES = "pictures"


@dataclass(frozen=True, kw_only=True, eq=False)
class GalleryPhoto:
    """A captioned photo."""

    name: str
    """Name on the page, unique in the gallery."""
    source: Source
    """The photo."""
    caption: str
    """Caption text."""
    words: Sequence[Mapping[str, Any]] = ()
    """Words with their attention, as in `Caption.to_dict()["words"]`."""
    geometry: Geometry | None = None
    """How attention maps align with the photo; None shows no maps."""
    doubts: Sequence[str] = ()
    """Warnings about the caption, from `Judgement.doubts`."""


def write_gallery(
    folder: str | os.PathLike[str],
    entries: Iterable[GalleryPhoto],
    *,
    title: str = "Captioned photos",
    style: Style | None = None,
) -> int:
    """Write a gallery into a folder, replacing an older one.

    Thumbnails newer than their photos are kept.

    Args:
        folder: created if missing; the page is its `index.html`.
        entries: in display order; consumed one by one.
        title: heading of the page.
        style: how attention is drawn.

    Returns:
        The number of photos shown.

    Raises:
        FileExistsError: its `index.html` is not a gallery.
        OSError: the folder cannot be written to.
    """
    folder = Path(folder)
    check_gallery(folder)
    (folder / _PICTURES).mkdir(parents=True, exist_ok=True)
    shown = 0
    with (
        replacing(folder / "index.html") as new,
        new.open("w", encoding="utf-8", newline="\n") as stream,
    ):
        stream.write(page.head(title))
        for shown, entry in enumerate(entries, start=1):  # noqa: B007
            stream.write(_card(folder, entry, style or Style()))
        stream.write(page.TAIL)
    return shown


def check_gallery(folder: Path) -> None:
    """Check that a folder does not hold another page.

    Raises:
        FileExistsError: its `index.html` is not a gallery.
        OSError: its `index.html` cannot be read.
    """
    with suppress(FileNotFoundError), (folder / "index.html").open("rb") as file:
        if page.MARK.encode() not in file.read(1000):
            raise FileExistsError(errno.EEXIST, "its index.html is another page", str(folder))


def _card(folder: Path, entry: GalleryPhoto, style: Style) -> str:
    """Write the images of an entry, and return its card."""
    path = Path(entry.source) if isinstance(entry.source, str | os.PathLike) else None
    link = None if path is None else _address(path, folder)
    key = blake2b(entry.name.encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()
    try:
        thumbnail = _thumbnail(folder / _PICTURES / f"{key}.jpg", entry, path)
    except ImageError:  # moved or deleted since it was captioned
        return page.card(name=entry.name, caption=entry.caption, thumbnail=None, link=None)
    heat = None
    if entry.geometry is not None and entry.words:
        heat = f"{_PICTURES}/{key}.png"
        weights = [np.array(word["attention"]["weights"], np.float32) for word in entry.words]
        _write(folder / heat, encode_picture(draw_layers(weights, entry.geometry, style=style)))
    return page.card(
        name=entry.name,
        caption=entry.caption,
        thumbnail=(f"{_PICTURES}/{key}.jpg", thumbnail.height, thumbnail.width),
        link=link,
        words=[(word["word"], word.get("doubtful", False)) for word in entry.words],
        heat=heat,
        doubts=entry.doubts,
    )


def _thumbnail(place: Path, entry: GalleryPhoto, path: Path | None) -> Image.Image:
    """Return the thumbnail, creating it unless one newer than the photo exists.

    Raises:
        ImageError: the photo cannot be read.
    """
    with suppress(OSError, ImageError):
        if path is not None and place.stat().st_mtime > path.stat().st_mtime:
            return load_photo(place)
    thumbnail = draw_thumbnail(entry.source, name=entry.name)
    _write(place, encode_picture(thumbnail))
    return thumbnail


def _address(path: Path, folder: Path) -> str | None:
    """Return the photo's address relative to the page; None on another drive."""
    try:
        relative = Path(os.path.relpath(path, folder))
    except ValueError:  # on another drive
        return None
    return quote(os.fsencode(relative.as_posix()))


def _write(path: Path, content: bytes) -> None:
    """Write an image atomically, without fsync: after a power cut it is drawn again."""
    new = path.with_suffix(f".{secrets.token_hex(4)}.part")
    try:
        new.write_bytes(content)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
