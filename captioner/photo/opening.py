"""Files of photos, opened but not decoded; whatever is wrong with one is said in plain words."""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from captioner.errors import ImageError

MAX_PIXELS = 178_956_970
"""Larger photos are refused from their header; Pillow itself warns from half of this on."""

_SNIFFED = 1024  # bytes from the start of a file that tell its kind
_KNOWN = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8[79]a|BM(?:....\0\0\0\0|.{0,7}\Z)|RIFF....WEBP|....ftypavi|"
    rb"II\*\0|MM\0\*|\0\0\0\x0cjP  ",
    re.DOTALL,
)
_HEIC = re.compile(rb"....ftyp(hei|hev|mif1|msf1)", re.DOTALL)
_SVG = re.compile(rb"\s*(<\?xml[^>]*>|<!--.*?-->|<!DOCTYPE[^>]*>|\s)*<svg[\s>]", re.DOTALL)
_DRAWINGS = ("EPS", "WMF", "EMF")
_DATA = ("BUFR", "GRIB", "HDF5", "MPEG")  # Pillow knows their names, but reads no pixels
_LONGEST_STREAM = 2**30  # bytes read from a pipe, which may have no end


def begins_like_a_photo(head: bytes) -> bool:
    """Whether a file with these first 16 bytes is meant to be a photo, readable or not."""
    return bool(_KNOWN.match(head) or _HEIC.match(head))


@contextmanager
def open_file(path: Path, name: str) -> Iterator[BinaryIO]:
    """Open a file for reading, or say why it cannot be."""
    try:
        if _is_named_pipe(path):
            raise ImageError(f"{name}: this is a pipe, not a photo; give a file.")
        stream = path.open("rb")
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file; check the path.") from None
    except IsADirectoryError:
        raise ImageError(
            f"{name}: this is a folder, not a photo; `captioner folder` captions all photos in it."
        ) from None
    except PermissionError:
        raise ImageError(
            f"{name}: no permission to read it; allow reading it, or copy it elsewhere."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{name}: cannot be opened ({reason}); check the path.") from error
    with stream:  # a stream, such as /dev/stdin, cannot go back to its start
        yield stream if stream.seekable() else _whole(stream, name)


def _is_named_pipe(path: Path) -> bool:
    """Whether opening would wait until somebody writes; the ends of shell pipes are in /dev."""
    real = os.path.realpath(path)
    return not real.startswith(("/dev/", "/proc/")) and stat.S_ISFIFO(path.stat().st_mode)


def _whole(stream: BinaryIO, name: str) -> BytesIO:
    content = stream.read(_LONGEST_STREAM)
    if stream.read(1):
        raise ImageError(f"{name}: over {_LONGEST_STREAM // 2**20} MB long; give a photo.")
    return BytesIO(content)


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn whatever a damaged file makes the decoders raise into an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name}: over the limit of {MAX_PIXELS // 10**6} megapixels; make it smaller first."
        ) from error
    except Exception as error:  # decoders let nearly anything through
        reason = str(error) or type(error).__name__
        raise ImageError(
            f"{name}: damaged or cut short ({reason}); copy or download it again."
        ) from error


def check_size(width: int, height: int, name: str) -> None:
    """Refuse a picture without pixels, or with too many."""
    if not width or not height:
        raise ImageError(f"{name}: it is {width} x {height} pixels; a photo needs one or more.")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name}: {width} x {height} is {width * height // 10**6} megapixels, over the limit "
            f"of {MAX_PIXELS // 10**6}; make it smaller first."
        )


def identify(stream: BinaryIO, name: str) -> Image.Image:
    """Open the file without decoding its pixels, or say what it is instead of a photo."""
    head = stream.read(_SNIFFED)
    stream.seek(0)
    if not head:
        raise ImageError(f"{name}: the file is empty (0 bytes); copy or download it again.")
    try:
        image = Image.open(stream)
    except UnidentifiedImageError:
        if _KNOWN.match(head):
            raise ImageError(
                f"{name}: damaged or cut short (no picture follows its first bytes); "
                "copy or download it again."
            ) from None
        if _HEIC.match(head):
            raise ImageError(f"{name}: HEIC photos cannot be read; save it as JPEG.") from None
        if _SVG.match(head):
            raise ImageError(
                f"{name}: SVG is a drawing, not a photo; export it as PNG first."
            ) from None
        raise ImageError(
            f"{name}: not an image (it starts with {head[:16]!r}); save it as JPEG or PNG."
        ) from None
    if image.format in _DRAWINGS:  # decoding would run a program on a stranger's program
        raise ImageError(
            f"{name}: {image.format} is a drawing, not a photo; export it as PNG first."
        )
    if image.format in _DATA:
        raise ImageError(f"{name}: this is {image.format} data, not a photo; save it as JPEG.")
    return image
