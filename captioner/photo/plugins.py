"""HEIC, JPEG XL and previews of camera raw files, read by optional packages.

Each package is imported when a photo needs it. Only pillow-jxl-plugin registers itself with Pillow.
"""

import struct
from importlib import import_module
from io import BytesIO
from typing import Any, BinaryIO

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from captioner.errors import ImageError
from captioner.photo.faults import check_size
from captioner.photo.orientation import exif_orientation

_NO_PREVIEW = "a raw photo without a preview in JPEG; export it as JPEG."
_FLIPS = (1, 2, 4, 3, 5, 8, 6, 7)
"""EXIF orientation for each value of LibRaw's flip."""


def open_heif(stream: BinaryIO) -> Image.Image:
    """Open a HEIC or HEIF photo, which libheif makes upright; its EXIF orientation is ignored.

    Raises:
        ImageError: pillow-heif is not installed.
    """
    pillow_heif = _load("pillow_heif", "HEIC photos", "pillow-heif", extra="heif")
    image: Image.Image = pillow_heif.HeifImageFile(stream)
    return image


def open_jxl(stream: BinaryIO) -> tuple[Image.Image, int | None]:
    """Open a JPEG XL photo; the orientation is 1 where libjxl has applied it.

    Raises:
        ImageError: pillow-jxl-plugin is not installed, or the photo is too large.
    """
    module, package = "pillow_jxl.JpegXLImagePlugin", "pillow-jxl-plugin"
    plugin = _load(module, "JPEG XL photos", package, extra="jxl")
    check_size(*_jxl_size(stream))  # opening decodes
    stream.seek(0)
    try:
        image = plugin.JXLImageFile(stream)
    except (OSError, SyntaxError, ValueError, RuntimeError) as error:  # for developers
        raise ValueError("no complete JPEG XL image") from error
    # A JPEG inside is returned with its own orientation.
    return image, None if getattr(image, "jpeg", False) else 1


def _jxl_size(stream: BinaryIO) -> tuple[int, int]:
    """Read width and height from the header (ISO 18181-1, annex D; -2, section 9)."""
    stream.seek(0)
    if stream.read(2) != b"\xff\x0a":
        _seek_codestream(stream)
        if stream.read(2) != b"\xff\x0a":
            raise ValueError("no JPEG XL codestream")
    bits = int.from_bytes(stream.read(12), "little")

    def take(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    small = take(1)

    def side() -> int:
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    height = side()
    ratio = take(3)
    across, down = ((0, 0), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio]
    return (height * across // down if ratio else side()), height


def _seek_codestream(stream: BinaryIO) -> None:
    """Seek to the codestream, or its first part."""
    stream.seek(0)
    while len(head := stream.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        read = 8
        if size == 1:
            size, read = int.from_bytes(stream.read(8), "big"), 16
        if kind in (b"jxlc", b"jxlp"):
            stream.seek(4 if kind == b"jxlp" else 0, 1)
            return
        if size < read:
            return
        stream.seek(size - read, 1)


def open_raw(stream: BinaryIO) -> tuple[Image.Image, int]:
    """Open the largest preview of a camera raw file; also return its EXIF orientation.

    Raises:
        ImageError: rawpy is not installed, or the photo holds no preview that can be read.
    """
    rawpy = _load("rawpy", "raw photos of cameras", "rawpy", extra="raw")
    stream.seek(0)
    with rawpy.RawPy() as raw:
        try:
            raw.open_buffer(stream)
            preview = raw.extract_thumb()
        except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
            raise ImageError(_NO_PREVIEW) from None
        except rawpy.LibRawFileUnsupportedError:
            version = ".".join(map(str, rawpy.libraw_version))
            raise ImageError(
                f"a raw photo that LibRaw {version} cannot read; export it as JPEG."
            ) from None
        except rawpy.LibRawUnsufficientMemoryError as error:
            raise MemoryError from error
        except rawpy.LibRawError as error:
            raise ValueError(str(error)) from error
        sizes = raw.sizes
    if not isinstance(preview.data, bytes):  # rawpy trusts the sizes that damaged files claim
        raise ImageError(_NO_PREVIEW)
    image = JpegImageFile(BytesIO(preview.data))
    orientation = exif_orientation(image) or _FLIPS[sizes.flip & 7]
    lies, sensor_lies = image.width > image.height, sizes.raw_width > sizes.raw_height
    return image, 1 if orientation >= 5 and lies != sensor_lies else orientation  # already rotated


def _load(module: str, what: str, package: str, *, extra: str) -> Any:
    """Import an optional package.

    Raises:
        ImageError: it is not installed; the message has the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError:
        raise ImageError(
            f"{what} are read by {package}; install it (pip install 'captioner[{extra}]'), or save "
            "it as JPEG."
        ) from None
