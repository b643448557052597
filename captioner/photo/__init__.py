"""One loader for every photo: a file, bytes, a Pillow image or an array -> RGB, as displayed.

As displayed means as a viewer shows it on a white page: EXIF orientation applied, colours converted
to sRGB, transparency on white, deep samples scaled to 8 bits, the first frame of an animation. A
photo that cannot be decoded completely is an `ImageError`, never a partly gray image.

opening      files, identified by content and not decoded yet
large_png    PNG files that Pillow refuses
tiff, scans  TIFF files that Pillow shows wrong or does not open
draft        JPEG decoded at 1/2, 1/4 or 1/8 scale
plugins      HEIC, JPEG XL and camera raw, by optional packages
numpy_array  NumPy array -> image
colour       any mode, depth, dynamic range, profile or transparency -> RGB
orientation  EXIF orientation
faults       errors about damaged and oversized files
kinds        file signatures
"""

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from captioner.errors import ImageError
from captioner.photo.colour import to_rgb
from captioner.photo.draft import draft
from captioner.photo.faults import check_size, decoder_errors, enough_memory, naming_errors
from captioner.photo.numpy_array import from_array
from captioner.photo.opening import Opened, open_file, open_image
from captioner.photo.orientation import exif_orientation, upright
from captioner.photo.tiff import refuse_wrong

__all__ = ["Source", "load_photo", "load_reduced"]

Source = str | os.PathLike[str] | bytes | Image.Image | NDArray[Any]


def load_photo(source: Source, *, name: str | None = None) -> Image.Image:
    """Read a photo whole, as displayed.

    Args:
        source: a path; the bytes of a file; a Pillow image, EXIF orientation not yet applied; or
            an array, H x W or H x W x 1, 3 or 4, of bool, uint8, uint16 or floats from 0 to 1.
        name: of the photo in errors; its path by default.

    Returns:
        A new image of mode RGB without metadata.

    Raises:
        ImageError: the photo is missing, unreadable, damaged, too large, or not a photo.
    """
    return load_reduced(source, at_least=None, name=name)[0]


def load_reduced(
    source: Source, *, at_least: tuple[int, int] | None, name: str | None = None
) -> tuple[Image.Image, tuple[int, int]]:
    """Read a photo like `load_photo`, decoding a large JPEG at 1/2, 1/4 or 1/8 scale.

    Args:
        source: as in `load_photo`.
        at_least: smallest displayed (height, width) of the result, unless the photo is smaller or
            exceeds the pixel limit; None decodes at full size.
        name: as in `load_photo`.

    Returns:
        The image, which covers the photo to its edges, and the displayed (height, width) of the
        photo at full size, which a Geometry needs.

    Raises:
        ImageError: as in `load_photo`.
    """
    own = os.fspath(source) if isinstance(source, str | os.PathLike) else "the photo"
    with naming_errors(name or own), enough_memory():
        if isinstance(source, str | os.PathLike):
            with open_file(Path(source)) as stream:
                return _displayed(open_image(stream), at_least)
        if isinstance(source, bytes):
            return _displayed(open_image(BytesIO(source)), at_least)
        if isinstance(source, Image.Image):
            refuse_wrong(source)
            return _displayed((source, None), None)
        if isinstance(source, np.ndarray):
            return _displayed((from_array(source), 1), None)
        raise ImageError(
            f"a {type(source).__name__} is not a photo; "
            "give a path, the bytes of a file, a Pillow image or a NumPy array."
        )


def _displayed(
    opened: Opened, at_least: tuple[int, int] | None
) -> tuple[Image.Image, tuple[int, int]]:
    """Decode, convert to RGB and apply the orientation; also return the full (height, width)."""
    image, orientation = opened
    size = image.size
    if at_least is not None and isinstance(image, JpegImageFile):
        orientation = orientation or exif_orientation(image) or 1
        scale = draft(image, at_least[::-1] if orientation >= 5 else at_least)
    else:
        scale = 1
    check_size(*size, reduced=scale)
    with enough_memory(size):
        with decoder_errors(decoder_alone=True):
            image.load()
        if scale == 1:
            size = image.size  # only now do TIFF and icon files know it
        rgb = _to_edges(to_rgb(image), size, scale)
        orientation = orientation or exif_orientation(image) or 1
        rgb = upright(rgb, orientation)
    rgb.info.clear()
    width, height = size
    return rgb, ((width, height) if orientation >= 5 else (height, width))


def _to_edges(picture: Image.Image, size: tuple[int, int], scale: int) -> Image.Image:
    """Crop the excess of the last row and column over a photo of this (width, height)."""
    width, height = size
    if not (width % scale or height % scale):
        return picture
    exact = (width / scale, height / scale)
    return picture.resize(
        (int(exact[0]), int(exact[1])), Image.Resampling.BILINEAR, box=(0, 0, *exact)
    )
