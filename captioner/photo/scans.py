"""TIFF files that Pillow shows wrong or does not open, read by tifffile.

tifffile locates strips and tiles, and decodes their bytes. Compression other than deflate needs
imagecodecs, which is large, so such files are refused.
"""

import logging
import zlib
from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base as Tag
from PIL.TiffImagePlugin import ImageFileDirectory_v2 as Directory

from captioner.errors import ImageError
from captioner.photo.colour import NOT_NUMBERS, customary_white, quantise
from captioner.photo.faults import check_size, decoder_errors
from captioner.photo.tiff import FLOAT, WHITE_IS_ZERO, Layout, find_parts, number, numbers

if TYPE_CHECKING:
    from tifffile import TiffPage

_LARGEST_PART = 2**31
"""Maximum bytes of a decompressed strip or tile: 178 megapixels of three 32-bit floats."""


def read_scan(stream: BinaryIO, tags: Directory) -> tuple[Image.Image, int]:
    """Read an image that Pillow does not, and its EXIF orientation.

    Raises:
        ImageError: it is too large, of an unsupported kind, or its tags are damaged.
        ValueError, OSError, zlib.error: its samples are damaged.
    """
    layout = Layout(tags)
    check_size(layout.width, layout.height)
    if not layout.is_readable:
        raise ImageError(
            f"a kind of TIFF that cannot be read ({layout}); save it as 8-bit TIFF, PNG or JPEG."
        )
    page, parts, colours = _open(stream, layout), find_parts(tags), layout.colours
    top = None if layout.numbers == FLOAT else float(np.iinfo(page.dtype).max)
    white = opaque = top or 1.0
    if layout.numbers == FLOAT or layout.bits > 16:
        peak = 0.0
        for _, _, first, block in _blocks(stream, page, layout, parts):
            samples = block[..., : max(0, colours - first)]
            if not np.isfinite(samples).all():
                raise ImageError(NOT_NUMBERS)
            peak = max(peak, float(samples.max(initial=0)))
        white = customary_white(peak, top=top)
    mode, extra = layout.mode, (*numbers(tags, Tag.ExtraSamples), 0)[0]
    if mode in ("L", "RGB") and layout.samples > colours:
        mode += {1: "a", 2: "A"}.get(extra, "")
    bands = Image.getmodebands(mode)
    tops = np.array([white] * colours + [opaque] * (bands - colours))
    levels = np.zeros((layout.height, layout.width, bands), np.uint8)
    for row, column, first, block in _blocks(stream, page, layout, parts):
        part = block[..., : max(0, bands - first)]
        area = np.s_[row : row + part.shape[0], column : column + part.shape[1]]
        last = first + part.shape[2]
        levels[(*area, slice(first, last))] = quantise(part, white=tops[first:last])
    if layout.meaning == WHITE_IS_ZERO:
        levels[..., :colours] ^= 255
    image = Image.frombuffer(mode, (layout.width, layout.height), levels, "raw", mode, 0, 1)
    if isinstance(profile := tags.get(Tag.InterColorProfile), bytes):
        image.info["icc_profile"] = profile
    return image, number(tags, Tag.Orientation, 1)


def _open(stream: BinaryIO, layout: Layout) -> "TiffPage":
    """Let tifffile parse the tags, and check that it agrees with `layout`."""
    from tifffile import TiffFile  # noqa: PLC0415  # few photos need it

    if not (logger := logging.getLogger("tifffile")).handlers:
        logger.addHandler(logging.NullHandler())  # an ImageError says what is damaged
    planes, chunky = (layout.samples, 1) if layout.planar else (1, layout.samples)
    with decoder_errors(decoder_alone=True):
        stream.seek(0)
        page = TiffFile(stream, is_lsm=False, is_ndpi=False, is_scanimage=False).pages.first
        if page.shaped != (planes, 1, layout.height, layout.width, chunky) or page.dtype is None:
            raise ValueError("its tags contradict each other")
        page.subsampling, page.compression = (1, 1), 1  # tifffile would inflate without a limit
        page.predictor = 2 if layout.predictor == 2 else 1  # 3 takes imagecodecs
        page.decode(None, prod(page.chunked) - 1)  # fails here if tags are not what they should be
    return page


def _blocks(
    stream: BinaryIO, page: "TiffPage", layout: Layout, parts: list[tuple[int, int]]
) -> Iterator[tuple[int, int, int, NDArray[Any]]]:
    """Yield top, left and first sample of each strip or tile, and its array.

    The array is (height, width, samples), cropped at the edges of the image.
    """
    assert page.dtype is not None
    if len(parts) < (count := prod(page.chunked)):
        raise ValueError(f"{len(parts)} of {count} parts")
    for n, (offset, size) in enumerate(parts[:count]):
        _, (plane, _, top, left, _), shape = page.decode(None, n)
        if (expected := prod(shape) * page.dtype.itemsize) > _LARGEST_PART:
            raise MemoryError
        stream.seek(offset)
        content = stream.read(size if layout.is_compressed else expected)
        if layout.is_compressed:
            content = zlib.decompressobj().decompress(content, expected)
        if len(content) < expected:
            raise ValueError("a part of it is too short")
        if layout.predictor == 3:  # differences of bytes, the most significant byte of a row first
            steps = np.frombuffer(content, np.uint8).reshape(shape[1], -1, shape[3])
            sums = np.cumsum(steps, axis=1, dtype=np.uint8)
            floats = sums.reshape(shape[1], page.dtype.itemsize, -1).swapaxes(1, 2)
            content = floats[..., :: 1 if layout.big_endian else -1].tobytes()
        block = page.decode(content, n)[0]
        assert block is not None
        yield top, left, plane, block[0, : layout.height - top, : layout.width - left]
