"""Photo files, identified by content and opened but not decoded."""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from captioner.errors import ImageError
from captioner.photo import kinds, tiff
from captioner.photo.faults import decoder_errors
from captioner.photo.large_png import open_png
from captioner.photo.plugins import open_heif, open_jxl, open_raw
from captioner.photo.scans import read_scan

_DRAWINGS = ("EPS", "WMF", "EMF")
_ADDRESS = re.compile(r"(https?|ftp|s3|gs|file):/", re.IGNORECASE)
_DATA = ("BUFR", "GRIB", "HDF5", "MPEG")  # Pillow knows their names, but reads no pixels
_LONGEST_STREAM = 2**30  # bytes read from a pipe, which may have no end

Opened = tuple[Image.Image, int | None]
"""An image, perhaps not decoded yet, and its EXIF orientation; None to read it from the image."""


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading.

    Raises:
        ImageError: it cannot be opened.
    """
    try:
        if _is_named_pipe(path):
            raise ImageError("this is a pipe, not a photo; give a file.")
        stream = path.open("rb")
    except FileNotFoundError:
        if _ADDRESS.match(str(path)):
            raise ImageError("an address, not a file; download it first.") from None
        raise ImageError("no such file; check the path.") from None
    except IsADirectoryError:
        raise ImageError(
            "this is a folder, not a photo; `captioner folder` captions all photos in it."
        ) from None
    except PermissionError:
        raise ImageError(
            "no permission to read it; allow reading it, or copy it elsewhere."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"cannot be opened ({reason}); check the path.") from error
    with stream:  # /dev/stdin, for example, is not seekable
        yield stream if stream.seekable() else _whole(stream)


def _is_named_pipe(path: Path) -> bool:
    """Whether opening would block until another process writes; shell pipes are in /dev."""
    real = os.path.realpath(path)
    return not real.startswith(("/dev/", "/proc/")) and stat.S_ISFIFO(path.stat().st_mode)


def _whole(stream: BinaryIO) -> BytesIO:
    content = stream.read(_LONGEST_STREAM)
    if stream.read(1):
        raise ImageError(f"over {_LONGEST_STREAM // 2**20} MB long; give a photo.")
    return BytesIO(content)


def open_image(stream: BinaryIO) -> Opened:
    """Identify and open a photo of any format.

    Raises:
        ImageError: it is not a photo, damaged, too large, or no installed package reads it.
    """
    with decoder_errors():
        head = stream.read(kinds.SNIFFED)
        stream.seek(0)
        if not head:
            raise ImageError("the file is empty (0 bytes); copy or download it again.")
        if kinds.JPEG.match(head):  # `Image.open` would count pixels that need not be decoded
            return JpegImageFile(stream), None
        if kinds.RAW.match(head):
            return open_raw(stream)
        if kinds.JXL.match(head):
            return open_jxl(stream)
        if kinds.TIFF.match(head):
            return _tiff(stream)
        return _others(stream, head)


def _tiff(stream: BinaryIO) -> Opened:
    tags = tiff.read_directory(stream)
    if tiff.is_raw(tags):
        return open_raw(stream)
    if tiff.pillow_is_wrong(tags):
        return read_scan(stream, tags)
    tiff.check_parts(tags)
    stream.seek(0)
    with decoder_errors(decoder_alone=True):
        try:
            return Image.open(stream), None
        except UnidentifiedImageError:
            if not tiff.is_scan(tags):
                raise
    return read_scan(stream, tags)


def _others(stream: BinaryIO, head: bytes) -> Opened:
    if kinds.HEIF.match(head) and head[8:11] in (b"hei", b"hev"):  # others may be AVIF
        return open_heif(stream), 1
    try:
        image = open_png(stream) if kinds.PNG.match(head) else Image.open(stream)
    except UnidentifiedImageError:
        if kinds.HEIF.match(head):
            stream.seek(0)
            return open_heif(stream), 1
        if kinds.OTHERS.match(head):
            raise
        raise _not_read(head) from None
    if image.format in _DRAWINGS:  # decoding would run an external program on untrusted code
        raise ImageError(f"{image.format} is a drawing, not a photo; export it as PNG first.")
    if image.format in _DATA:
        raise ImageError(f"this is {image.format} data, not a photo; save it as JPEG.")
    return image, None


def _not_read(head: bytes) -> ImageError:
    """Return the error for a file that Pillow does not identify."""
    if kinds.PSD.match(head):
        return ImageError(
            f"a Photoshop file that cannot be read ({int.from_bytes(head[22:24])} bits per "
            "channel, or a large document); save it as JPEG."
        )
    if kinds.SVG.match(head):
        return ImageError("SVG is a drawing, not a photo; export it as PNG first.")
    start = repr(head[:16]).removeprefix("b")
    return ImageError(f"not an image (it starts with {start}); save it as JPEG or PNG.")
