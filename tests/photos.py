"""Generated pictures, and the files a photo may come in."""

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image

TURNS = {  # EXIF orientation -> how an upright picture is turned for storage
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def quarters(height: int = 32, width: int = 48) -> Image.Image:
    """Red, green, blue and yellow quarters, from the top left, row by row."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    pixels[height // 2 :, width // 2 :] = (255, 255, 0)
    return Image.fromarray(pixels)


def noise(height: int = 96, width: int = 96, seed: int = 0) -> Image.Image:
    """Pixels that no format compresses to nothing."""
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(levels)


def encode(picture: Image.Image, kind: str, **options) -> bytes:
    """The bytes of a file of this kind, such as "PNG"."""
    stream = BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def turned(picture: Image.Image, orientation: int, kind: str = "PNG", **options) -> bytes:
    """The bytes of a file whose EXIF orientation turns its pixels back into `picture`."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = TURNS[orientation]
    stored = picture if turn is None else picture.transpose(turn)
    return encode(stored, kind, exif=exif, **options)


def png(size: tuple[int, int], depth: int, colour: int, pixels: bytes, **chunks: bytes) -> bytes:
    """A PNG of one row written by hand, for what Pillow reads but does not write.

    `size` is (width, height), `colour` 0 gray, 2 RGB, 4 gray with alpha, 6 RGB with alpha.
    """

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header)]
    parts += [chunk(name.encode(), content) for name, content in chunks.items()]
    parts += [chunk(b"IDAT", zlib.compress(b"\0" + pixels)), chunk(b"IEND", b"")]
    return b"".join(parts)


def press_profile() -> bytes:
    """ICC profile of a press on which cyan ink comes out red, so that using it cannot be missed.

    An ICC.1:2001-04 output profile with nothing but its 8-bit table from ink to Lab (6.5.8): two
    grid points per ink, paper white, full cyan alone sRGB red, every other ink black.
    """
    ramp = bytes(range(256))
    white, red, black = bytes((255, 128, 128)), bytes((138, 209, 198)), bytes((0, 128, 128))
    inks = [white] + [black] * 7 + [red] + [black] * 7  # cyan varies slowest
    identity = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + identity
    table += ramp * 4 + b"".join(inks) + ramp * 3
    tags = struct.pack(">I4sII", 1, b"A2B0", 144, len(table))
    header = struct.pack(">I4sI4s4s4s", 144 + len(table), bytes(4), 0x02400000, *_PRESS)
    header += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061)  # D50, the light profiles are made for
    return header.ljust(128, b"\0") + tags + table


_PRESS = (b"prtr", b"CMYK", b"Lab ")


def region_box(geometry, row, col, grid):
    """Edges (left, top, right, bottom) of a region on the photo, in pixels and clipped to it.

    A region that shows nothing but padding has no area.
    """
    down, across = grid
    edges = (
        geometry.left + geometry.seen_width * col / across,
        geometry.top + geometry.seen_height * row / down,
        geometry.left + geometry.seen_width * (col + 1) / across,
        geometry.top + geometry.seen_height * (row + 1) / down,
    )
    limits = (geometry.width, geometry.height) * 2
    return tuple(
        min(max(edge, 0.0), float(limit)) for edge, limit in zip(edges, limits, strict=True)
    )
