"""Photos that optional packages read: HEIC, JPEG XL, and the previews in raw photos of cameras.

Each package is imported where it is needed. None is registered with Pillow, but the one of JPEG XL,
which registers itself.
"""

import struct
from io import BytesIO
from typing import BinaryIO

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from captioner.errors import ImageError
from captioner.photo.faults import check_size
from captioner.photo.orientation import exif_orientation

_FLIPS = (1, 2, 4, 3, 5, 8, 6, 7)
"""EXIF orientation of what LibRaw turns by 0 to 7."""


def open_heif(stream: BinaryIO, name: str) -> Image.Image:
    """Open a HEIC or HEIF photo; libheif turns it upright, whatever its EXIF says.

    Raises:
        ImageError: pillow-heif is not installed.
    """
    try:
        from pillow_heif import HeifImageFile  # noqa: PLC0415  # only if there is such a photo
    except ImportError:
        raise _missing(name, "HEIC photos", "pillow-heif", extra="heif") from None
    image: Image.Image = HeifImageFile(stream)  # type: ignore[no-untyped-call]
    return image


def open_jxl(stream: BinaryIO, name: str) -> tuple[Image.Image, int | None]:
    """Open a JPEG XL photo, and say its orientation where libjxl has not turned it upright.

    Raises:
        ImageError: pillow-jxl-plugin is not installed, or the photo is too large.
    """
    try:
        from pillow_jxl.JpegXLImagePlugin import JXLImageFile  # noqa: PLC0415  # as above
    except ImportError:
        raise _missing(name, "JPEG XL photos", "pillow-jxl-plugin", extra="jxl") from None
    check_size(*_jxl_size(stream), name)  # opening decodes
    stream.seek(0)
    try:
        image = JXLImageFile(stream)
    except (OSError, SyntaxError, ValueError, RuntimeError) as error:  # it speaks to who builds it
        raise ValueError("no whole JPEG XL picture") from error
    return image, None if image.jpeg else 1  # a JPEG inside comes out as it went in


def _jxl_size(stream: BinaryIO) -> tuple[int, int]:
    """Width and height by the header of a JPEG XL file (ISO 18181-1, annex D; -2, section 9)."""
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
    """Go to the content of the box that holds the picture, or the first part of it."""
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


def open_raw(stream: BinaryIO, name: str) -> tuple[Image.Image, int]:
    """Open the largest preview in a raw photo, and say its EXIF orientation.

    Raises:
        ImageError: rawpy is not installed, or the photo holds no preview that can be read.
    """
    try:
        import rawpy  # noqa: PLC0415  # as above
    except ImportError:
        raise _missing(name, "raw photos of cameras", "rawpy", extra="raw") from None
    stream.seek(0)
    with rawpy.RawPy() as raw:
        try:
            raw.open_buffer(stream)
            preview = raw.extract_thumb()
        except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
            raise ImageError(
                f"{name}: a raw photo without a preview in JPEG; export it as JPEG."
            ) from None
        except rawpy.LibRawFileUnsupportedError:
            raise ImageError(
                f"{name}: a raw photo that LibRaw {_version(rawpy)} cannot read; export it as JPEG."
            ) from None
        except rawpy.LibRawUnsufficientMemoryError as error:
            raise MemoryError from error
        except rawpy.LibRawError as error:
            raise ValueError(str(error)) from error
        sizes = raw.sizes
    if not isinstance(preview.data, bytes):  # rawpy trusts the sizes that damaged files claim
        raise ImageError(f"{name}: a raw photo without a preview in JPEG; export it as JPEG.")
    image = JpegImageFile(BytesIO(preview.data))
    orientation = exif_orientation(image) or _FLIPS[sizes.flip & 7]
    lies, sensor_lies = image.width > image.height, sizes.raw_width > sizes.raw_height
    return image, 1 if orientation >= 5 and lies != sensor_lies else orientation  # turned already


def _version(rawpy: object) -> str:
    return ".".join(map(str, getattr(rawpy, "libraw_version", ())))


def _missing(name: str, what: str, package: str, *, extra: str) -> ImageError:
    return ImageError(
        f"{name}: {what} are read by {package}; install it (pip install 'captioner[{extra}]'), or "
        "save it as JPEG."
    )
