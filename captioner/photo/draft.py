"""JPEG files decoded at 1/2, 1/4 or 1/8 scale."""

from PIL.JpegImagePlugin import JpegImageFile

from captioner.photo import faults

_COEFFICIENTS = 3
"""16-bit coefficients that a decoder may buffer, per pixel of the limit. It buffers a few rows of a
baseline JPEG, but all of a progressive one."""

_LEAST_BITS = 1
"""Minimum bits per block of 8 x 8 pixels; a file with fewer cannot hold the pixels it claims."""


def draft(image: JpegImageFile, at_least: tuple[int, int]) -> int:
    """Set the coarsest decoding scale that keeps (height, width), and return its divisor.

    The divisor divides both sides: otherwise libjpeg rounds up, and the last pixels extend beyond
    the photo. Only a photo over the pixel limit may be decoded at a scale that does not.

    Raises:
        ImageError: decoding takes too much memory at any scale.
    """
    width, height = image.size
    fits = [n for n in (8, 4, 2) if height // n >= at_least[0] and width // n >= at_least[1]]
    scale = next((n for n in fits if not (height % n or width % n)), 1)
    if width * height > faults.MAX_PIXELS * scale**2:
        needed = next((n for n in (2, 4) if width * height <= faults.MAX_PIXELS * n**2), 8)
        scale = max([needed, *fits])
    if width * height > faults.MAX_PIXELS and not _is_bounded(image):
        faults.check_size(width, height)
    if scale > 1:
        image.draft(None, (width // scale, height // scale))
    return scale


def _is_bounded(image: JpegImageFile) -> bool:
    """Whether decoding a photo over the pixel limit at a reduced scale needs little memory."""
    if not hasattr(image, "layer"):  # Pillow does not document it
        return False
    assert image.fp is not None
    here = image.fp.tell()
    bits = 8 * image.fp.seek(0, 2)
    image.fp.seek(here)
    pixels = image.width * image.height
    if bits < _LEAST_BITS * pixels / 64:
        return False
    if not image.info.get("progressive") and _is_one_scan(image):
        return True
    sampling = [across * down for _, across, down, _ in image.layer]
    return pixels * sum(sampling) / max(sampling) <= _COEFFICIENTS * faults.MAX_PIXELS


def _is_one_scan(image: JpegImageFile) -> bool:
    """Whether the first scan, whose header Pillow has just read, contains all components."""
    assert image.fp is not None
    length = 6 + 2 * len(image.layer)
    after = image.fp.tell()
    image.fp.seek(after - length - 2)
    header = image.fp.read(4)
    image.fp.seek(after)
    return header == b"\xff\xda" + length.to_bytes(2)
