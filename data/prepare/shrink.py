"""The file of a photo in a shard: the original, or resized."""

from contextlib import suppress
from io import BytesIO
from pathlib import PurePosixPath

from PIL import Image, UnidentifiedImageError

from captioner.photo import load_photo, load_reduced
from captioner.photo.kinds import JPEG

_SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif"}


def pack_photo(content: bytes, *, name: str, short_side: int, quality: int) -> tuple[bytes, str]:
    """Check that a photo can be read, and resize it if asked for.

    Args:
        content: bytes of the original file.
        name: name of the photo in errors.
        short_side: length of the shorter side in pixels; 0 keeps every photo, and smaller photos
            are always kept byte for byte.
        quality: JPEG quality of resized photos, from 1 to 95.

    Returns:
        The file to store, and its extension.

    Raises:
        ImageError: the photo cannot be read.
    """
    if not short_side:
        load_photo(content, name=name)
        return content, _suffix(content, name)
    photo, (height, width) = load_reduced(
        content, at_least=(2 * short_side, 2 * short_side), name=name
    )
    scale = short_side / min(height, width)
    if scale >= 1:
        return content, _suffix(content, name)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    stream = BytesIO()
    photo.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0).save(
        stream, "JPEG", quality=quality
    )
    return stream.getvalue(), "jpg"


def _suffix(content: bytes, name: str) -> str:
    kind = "JPEG" if JPEG.match(content) else ""  # of any size: Pillow refuses huge ones
    with suppress(UnidentifiedImageError):  # formats unknown to Pillow keep their extension
        kind = kind or Image.open(BytesIO(content)).format or ""
    return _SUFFIXES.get(kind) or PurePosixPath(name).suffix.lower().lstrip(".") or kind.lower()
