"""What may be wrong with the content of a photo, said in plain words."""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from captioner.errors import ImageError

MAX_PIXELS = 178_956_970
"""Pixels that are decoded at most; Pillow itself warns from half of this on."""

_BY_CONTENT = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, ArithmeticError, RuntimeError,
    struct.error, zlib.error, Warning,
)  # fmt: skip
"""What decoders raise about a file; `benchmarks.fuzz` shows no others."""

_BY_PILLOW = (*_BY_CONTENT, TypeError, AttributeError)
"""Pillow now and then takes a tag for what it is not."""


_UNREAD = re.compile(
    r"unsupported|not supported|unimplemented|not implemented|cannot handle|"
    r"unknown (pixel format|mode|compression)",
    re.IGNORECASE,
)
"""How decoders say that a file is sound, for all they know, and that they do not know its kind."""


@contextmanager
def explained(name: str, *, decoder_alone: bool = False) -> Iterator[None]:
    """Turn what decoders raise about a damaged file into an ImageError.

    A mistake in a program is none of the file's: it comes through as it is, unless Pillow alone is
    at work.
    """
    raised = _BY_PILLOW if decoder_alone else _BY_CONTENT
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{name}: over the limit of {MAX_PIXELS // 10**6} megapixels; make it smaller first."
        ) from error
    except raised as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "no picture follows its first bytes"
        if "out of memory" in reason:  # as Pillow words what its decoders report
            raise MemoryError(reason) from error
        if _UNREAD.search(reason) and not isinstance(error, TypeError):  # Python's own words
            raise ImageError(
                f"{name}: of a kind that cannot be read ({reason}); save it as JPEG or PNG."
            ) from error
        raise ImageError(
            f"{name}: damaged or cut short ({reason}); copy or download it again."
        ) from error


@contextmanager
def enough_memory(name: str, size: tuple[int, int] | None = None) -> Iterator[None]:
    """Say that memory does not suffice for a photo, of this (width, height) if that is known."""
    try:
        yield
    except MemoryError as error:
        need = f"for its {size[0] * size[1] / 1e6:.0f} megapixels" if size else "to read it"
        raise ImageError(
            f"{name}: there is not enough memory {need}; end other programs, or make it smaller "
            "first."
        ) from error


def check_size(width: int, height: int, name: str, *, reduced: int = 1) -> None:
    """Refuse a picture without pixels, or with too many, of those that are decoded.

    Args:
        width: of the whole photo, pixels.
        height: of the whole photo, pixels.
        name: of the photo.
        reduced: how many times smaller, in both directions, it is decoded.

    Raises:
        ImageError: it has none, or too many.
    """
    if not width or not height:
        raise ImageError(f"{name}: it is {width} x {height} pixels; a photo needs one or more.")
    if width * height > MAX_PIXELS * reduced**2:
        raise ImageError(
            f"{name}: {width} x {height} is {width * height // 10**6} megapixels, over the limit "
            f"of {MAX_PIXELS // 10**6}; make it smaller first."
        )
