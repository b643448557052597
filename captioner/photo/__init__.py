"""One loader for every photo: a file, bytes, a Pillow picture or an array -> RGB, as displayed.

As displayed means what a viewer shows on a white page: turned by its EXIF orientation, its colours
brought to sRGB, transparent pixels white, deep pixels scaled to eight bits, the first frame of an
animation. What cannot be read whole is an `ImageError`; a broken photo never becomes a gray one.

opening    a file, or why it is none; a picture whose pixels are not decoded yet
arrays     NumPy array -> picture
colour     any mode, depth, profile or transparency -> RGB
"""

import os
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base as Tag
from PIL.JpegImagePlugin import JpegImageFile

from captioner.errors import ImageError
from captioner.photo.arrays import from_array
from captioner.photo.colour import to_rgb
from captioner.photo.opening import check_size, explained, identify, open_file

__all__ = ["Source", "load_photo", "load_reduced"]

Source = str | os.PathLike[str] | bytes | Image.Image | NDArray[Any]

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How to turn a picture stored with this EXIF orientation; 1 is upright, from 5 on it lies."""


def load_photo(source: Source, *, name: str | None = None) -> Image.Image:
    """Read a photo whole, as displayed.

    Args:
        source: a path; the bytes of a file; a Pillow picture, its EXIF orientation not yet applied;
            or an array, H x W or H x W x 1, 3 or 4, of bool, uint8, uint16 or floats from 0 to 1.
        name: what to call the photo in an error; without it, its path.

    Returns:
        A new picture of mode RGB without metadata.

    Raises:
        ImageError: the photo is missing, unreadable, damaged, too large, or not a photo.
    """
    return load_reduced(source, at_least=None, name=name)[0]


def load_reduced(
    source: Source, *, at_least: tuple[int, int] | None, name: str | None = None
) -> tuple[Image.Image, tuple[int, int]]:
    """Read a photo as `load_photo` does, decoding a large JPEG at a half, quarter or eighth.

    Args:
        source: as in `load_photo`.
        at_least: displayed (height, width) that the result must not fall below, unless the photo
            itself does; None reads every pixel.
        name: as in `load_photo`.

    Returns:
        The picture and the displayed (height, width) of the whole photo, which a Geometry needs.
        The picture shows the photo to its very edges: a scale must divide both sides.

    Raises:
        ImageError: as in `load_photo`.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        name = name or str(path)
        with open_file(path, name) as stream, explained(name):
            return _displayed(identify(stream, name), at_least, name)
    name = name or "the photo"
    with explained(name):
        if isinstance(source, bytes):
            return _displayed(identify(BytesIO(source), name), at_least, name)
        if isinstance(source, Image.Image):
            return _displayed(source, None, name)
        if isinstance(source, np.ndarray):
            return _displayed(from_array(source, name), None, name)
    raise ImageError(
        f"{name}: a {type(source).__name__} is not a photo; "
        "give a path, the bytes of a file, a Pillow picture or a NumPy array."
    )


def _displayed(
    image: Image.Image, at_least: tuple[int, int] | None, name: str
) -> tuple[Image.Image, tuple[int, int]]:
    """Decode, bring to RGB and turn upright; also the (height, width) of the whole photo."""
    width, height = image.size
    check_size(width, height, name)
    if at_least is not None and isinstance(image, JpegImageFile):
        _draft(image, at_least[::-1] if _orientation(image) >= 5 else at_least)
    else:
        image.load()  # only now do TIFF and icon files know their final size
        width, height = image.size
    rgb = to_rgb(image, name)
    orientation = _orientation(image)
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    rgb.info.clear()
    return rgb, ((width, height) if orientation >= 5 else (height, width))


def _draft(image: JpegImageFile, at_least: tuple[int, int]) -> None:
    """Choose the coarsest scale of decoding that keeps (height, width) and divides both sides.

    Other scales would round the sides up, and shift the picture against the photo by that much.
    """
    width, height = image.size
    for scale in (8, 4, 2):
        fits = height // scale >= at_least[0] and width // scale >= at_least[1]
        if fits and height % scale == 0 and width % scale == 0:
            image.draft(None, (width // scale, height // scale))
            return


def _orientation(image: Image.Image) -> int:
    """EXIF orientation from 1 to 8; a corrupt or foreign one counts as upright."""
    with suppress(Exception):  # decoders of metadata let nearly anything through
        orientation = image.getexif().get(Tag.Orientation)
        if orientation in _UPRIGHT:
            return int(orientation)
    return 1
