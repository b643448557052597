"""Which side of a stored picture is up."""

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
"""How to turn a picture stored with this EXIF orientation; 1 is upright, from 5 on it lies."""


def exif_orientation(image: Image.Image) -> int | None:
    """EXIF orientation from 1 to 8; None where there is none, or a corrupt or foreign one."""
    with suppress(Exception):  # decoders of metadata let nearly anything through
        orientation = image.getexif().get(Tag.Orientation)
        if orientation == 1 or orientation in _UPRIGHT:
            return int(orientation)
    return None


def upright(picture: Image.Image, orientation: int) -> Image.Image:
    """Turn a picture stored with this EXIF orientation."""
    turn = _UPRIGHT.get(orientation)
    return picture if turn is None else picture.transpose(turn)
