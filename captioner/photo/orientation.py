"""EXIF orientation."""

from contextlib import suppress

from PIL import Image
from PIL.ExifTags import Base as Tag

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> the transform that makes an image upright; from 5 on it swaps the sides."""


def exif_orientation(image: Image.Image) -> int | None:
    """Return the EXIF orientation from 1 to 8; None if it is missing or invalid."""
    with suppress(Exception):  # decoders of metadata let nearly anything through
        orientation = image.getexif().get(Tag.Orientation)
        if orientation == 1 or orientation in _UPRIGHT:
            return int(orientation)
    return None


def upright(picture: Image.Image, orientation: int) -> Image.Image:
    """Make an image stored with this EXIF orientation upright."""
    turn = _UPRIGHT.get(orientation)
    return picture if turn is None else picture.transpose(turn)
