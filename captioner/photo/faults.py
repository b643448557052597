"""Errors about the content of a photo, in plain words; `naming_errors` adds its name."""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from captioner.errors import ImageError

MAX_PIXELS = 178_956_970
"""Limit on decoded pixels; Pillow itself warns above half of it."""

_BY_CONTENT = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, ArithmeticError, RuntimeError,
    struct.error, zlib.error, Warning,
)  # fmt: skip
"""What decoders raise about damaged files; `benchmarks.fuzz` shows no others."""

_BY_PILLOW = (*_BY_CONTENT, TypeError, AttributeError)
"""Pillow and tifffile also raise these, about tags of the wrong type."""

_UNREAD = re.compile(
    r"unsupported|not supported|unimplemented|not implemented|cannot handle|"
    r"unknown (pixel format|mode|compression)",
    re.IGNORECASE,
)
"""How decoders report an unsupported feature rather than damage."""


@contextmanager
def naming_errors(name: str) -> Iterator[None]:
    """Prefix errors with the name of the photo."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error.__cause__


@contextmanager
def decoder_errors(*, decoder_alone: bool = False) -> Iterator[None]:
    """Convert decoder errors about damaged files to ImageError.

    Errors that indicate a bug pass through, unless only a decoder runs inside (`decoder_alone`).
    """
    raised = _BY_PILLOW if decoder_alone else _BY_CONTENT
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"over the limit of {MAX_PIXELS // 10**6} megapixels; make it smaller first."
        ) from error
    except raised as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "no image follows its signature"
        if "out of memory" in reason:  # as Pillow words what its decoders report
            raise MemoryError(reason) from error
        if _UNREAD.search(reason) and not isinstance(error, TypeError):  # Python's own words
            raise ImageError(
                f"of a kind that cannot be read ({reason}); save it as JPEG or PNG."
            ) from error
        raise ImageError(f"damaged or cut short ({reason}); copy or download it again.") from error


@contextmanager
def enough_memory(size: tuple[int, int] | None = None) -> Iterator[None]:
    """Convert MemoryError to ImageError, with the (width, height) if known."""
    try:
        yield
    except MemoryError as error:
        need = f"for its {size[0] * size[1] / 1e6:.0f} megapixels" if size else "to read it"
        raise ImageError(
            f"there is not enough memory {need}; end other programs, or make it smaller first."
        ) from error


def check_size(width: int, height: int, *, reduced: int = 1) -> None:
    """Check that an image has pixels, and not more than the limit after reduction.

    Args:
        width: width of the full photo in pixels.
        height: height of the full photo in pixels.
        reduced: divisor of both sides in decoding.

    Raises:
        ImageError: it has no pixels, or too many.
    """
    if not width or not height:
        raise ImageError(f"it is {width} x {height} pixels; a photo needs one or more.")
    if width * height > MAX_PIXELS * reduced**2:
        raise ImageError(
            f"{width} x {height} is {width * height // 10**6} megapixels, over the limit of "
            f"{MAX_PIXELS // 10**6}; make it smaller first."
        )
