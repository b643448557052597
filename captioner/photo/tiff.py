"""TIFF files of scanners and of science, which Pillow shows wrong or not at all.

Of 16-bit files Pillow takes the planes of uncompressed ones for one picture, and white for black
where 0 is white; 32 bits, floats and gray with transparency it hardly knows. Where it is right it
reads them; what it does not, is read here if it is uncompressed or deflated, and else refused.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2 as Directory
from PIL.TiffImagePlugin import TiffImageFile

from captioner.errors import ImageError
from captioner.photo.colour import customary_white, quantise
from captioner.photo.faults import check_size

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _MEANING = 254, 256, 257, 258, 259, 262
_OFFSETS, _SAMPLES, _ROWS, _SIZES, _PLANES, _PREDICTOR = 273, 277, 278, 279, 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_SIZES, _SUBFILES = 322, 323, 324, 325, 330
_EXTRA, _NUMBERS, _ORIENTATION, _PROFILE, _DNG = 338, 339, 274, 34675, 50706
_SUBSAMPLING = 530
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK, _YCC, _LAB = 0, 1, 2, 5, 6, 8
_COLOUR_FILTER, _LINEAR_RAW = 32803, 34892
_MODES = {_WHITE_IS_ZERO: "L", _BLACK_IS_ZERO: "L", _RGB: "RGB", _CMYK: "CMYK", _YCC: "YCbCr",
          _LAB: "LAB"}  # fmt: skip
"""What Pillow calls the colours that are read here."""
_PLAIN, _DEFLATED = (1,), (8, 32946)
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_LARGEST_PART = 2**31
"""Bytes of a strip or tile, not compressed: 178 megapixels of three floats."""
_COMPRESSIONS = {2: "fax", 3: "fax", 4: "fax", 5: "LZW", 6: "JPEG", 7: "JPEG", 32773: "PackBits",
                 34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL"}  # fmt: skip


def read_directory(stream: BinaryIO) -> Directory:
    """Read the tags of the first picture.

    Raises:
        SyntaxError, ValueError, OSError, struct.error: they are damaged.
    """
    stream.seek(0)
    head = stream.read(8)
    if 43 in (head[2], head[3]):  # BigTIFF
        head += stream.read(8)
    directory = Directory(head)
    stream.seek(directory.next)
    directory.load(stream)
    return directory


def is_raw(tags: Directory) -> bool:
    """Whether this is the raw photo of a camera, whose first picture may be a tiny preview."""
    return (
        _DNG in tags
        or _number(tags, _MEANING, -1) in (_COLOUR_FILTER, _LINEAR_RAW)
        or bool(_number(tags, _SUBFILE, 0) & 1 and _SUBFILES in tags)
    )


def pillow_is_wrong(tags: Directory) -> bool:
    """Whether Pillow shows this as another picture, as far as is known."""
    scan = _Scan.of(tags)
    if scan.meaning == _LAB:
        return scan.planar
    if scan.meaning == _YCC:
        return scan.compression in _PLAIN
    if scan.meaning not in _MODES or scan.bits < 8:
        return False
    if scan.numbers != _UNSIGNED or scan.bits > 16:
        known = scan.meaning == _BLACK_IS_ZERO and scan.samples == 1 and scan.bits == 32
        swapped = scan.order == ">" and scan.compression not in _PLAIN  # twice, by mistake
        return scan.numbers == _UNSIGNED or not known or swapped
    if scan.bits == 8:
        return scan.planar and scan.samples == 2
    planes = scan.planar and scan.compression in _PLAIN
    return scan.bits == 16 and (planes or scan.meaning == _WHITE_IS_ZERO or scan.samples == 2)


def refuse_wrong(image: Image.Image, name: str) -> None:
    """Refuse a picture that Pillow has opened and shows as another one.

    Raises:
        ImageError: it is such a picture.
    """
    if isinstance(image, TiffImageFile) and pillow_is_wrong(image.tag_v2):
        raise ImageError(
            f"{name}: Pillow shows this kind of TIFF ({_Scan.of(image.tag_v2)}) wrong; give the "
            "path or the bytes of the file."
        )


def is_scan(tags: Directory) -> bool:
    """Whether the tags describe a picture, if one that nobody reads."""
    return all(tag in tags for tag in (_WIDTH, _HEIGHT, _MEANING)) and (
        _OFFSETS in tags or _TILE_OFFSETS in tags
    )


@dataclass(frozen=True, kw_only=True)
class _Scan:
    """How a picture is stored; names as in TIFF 6.0, sections 3 to 8 and 14 to 19."""

    width: int
    height: int
    samples: int
    """Per pixel."""
    bits: int
    """Per sample; 0 if they differ."""
    numbers: int
    """Unsigned (which undefined ones are taken for), signed or float; 0 if they differ."""
    meaning: int
    """PhotometricInterpretation."""
    compression: int
    predictor: int
    planar: bool
    order: Literal["<", ">"]
    """Of bytes, as NumPy calls it."""
    extra: tuple[int, ...]
    """ExtraSamples: 1 transparency that colours are multiplied with, 2 that they are not."""

    @classmethod
    def of(cls, tags: Directory) -> "_Scan":
        bits = _tuple(tags, _BITS, (1,))
        numbers = _tuple(tags, _NUMBERS, (_UNSIGNED,))
        return cls(
            width=_number(tags, _WIDTH, 0),
            height=_number(tags, _HEIGHT, 0),
            samples=_number(tags, _SAMPLES, 1),
            bits=bits[0] if len(set(bits)) == 1 else 0,
            numbers={4: _UNSIGNED}.get(numbers[0], numbers[0]) if len(set(numbers)) == 1 else 0,
            meaning=_number(tags, _MEANING, -1),
            compression=_number(tags, _COMPRESSION, 1),
            predictor=_number(tags, _PREDICTOR, 1),
            planar=_number(tags, _PLANES, 1) == 2 and _number(tags, _SAMPLES, 1) > 1,
            order="<" if tags.prefix == b"II" else ">",
            extra=_tuple(tags, _EXTRA, ()),
        )

    @property
    def colours(self) -> int:
        """Samples that are colours."""
        return {"L": 1, "CMYK": 4}.get(_MODES.get(self.meaning, ""), 3)

    @property
    def kind(self) -> "np.dtype[Any] | None":
        """What NumPy calls the samples, in this machine's order of bytes; None if it cannot."""
        letter = {_UNSIGNED: "u", _SIGNED: "i", _FLOAT: "f"}.get(self.numbers)
        sizes = (16, 32, 64) if letter == "f" else (8, 16, 32)
        return np.dtype(f"{letter}{self.bits // 8}") if letter and self.bits in sizes else None

    def __str__(self) -> str:
        """Say what an error calls it."""
        numbers = {_FLOAT: " floating-point", _SIGNED: " signed"}.get(self.numbers, "")
        packed = _COMPRESSIONS.get(self.compression, f"compression {self.compression}")
        plain = self.compression in (*_PLAIN, *_DEFLATED)
        colours = {"L": "gray"}.get(mode := _MODES.get(self.meaning, "colours"), mode)
        return f"{self.bits or 'mixed'}-bit{numbers} {colours}" + ("" if plain else f", {packed}")


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """Where the strips or tiles of a picture lie."""

    tiled: bool
    rows: int
    columns: int
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, tags: Directory, scan: _Scan) -> "_Parts":
        """Read them, and make sure that they cover the picture.

        Raises:
            ValueError: they do not.
        """
        tiled = _TILE_OFFSETS in tags
        columns = _number(tags, _TILE_WIDTH, 0) if tiled else scan.width
        rows = _number(tags, _TILE_HEIGHT, 0) if tiled else _number(tags, _ROWS, scan.height)
        rows = rows if tiled else min(rows, scan.height)  # often as many as a number can hold
        offsets = _tuple(tags, _TILE_OFFSETS if tiled else _OFFSETS, ())
        sizes = _tuple(tags, _TILE_SIZES if tiled else _SIZES, ())
        sizes = sizes or offsets if scan.compression in _PLAIN else sizes  # not needed then
        if rows < 1 or columns < 1:
            raise ValueError(f"parts of {columns} x {rows} pixels")
        planes = scan.samples if scan.planar else 1
        count = planes * -(-scan.height // rows) * -(-scan.width // columns)
        if min(len(offsets), len(sizes)) < count:
            raise ValueError(f"{min(len(offsets), len(sizes))} of {count} parts")
        return cls(tiled=tiled, rows=rows, columns=columns, offsets=offsets, sizes=sizes)


def check_parts(tags: Directory) -> None:
    """Refuse an uncompressed picture of which parts are missing; Pillow would show them black.

    Raises:
        ValueError: parts are missing.
    """
    scan = _Scan.of(tags)
    if scan.compression in _PLAIN and scan.width and scan.height:
        _Parts.of(tags, scan)


def read_scan(stream: BinaryIO, tags: Directory, name: str) -> tuple[Image.Image, int]:
    """Read a picture that Pillow does not, and its EXIF orientation.

    Raises:
        ImageError: it is too large, or of a kind that is not read here either.
        ValueError, OSError, zlib.error: it is damaged.
    """
    scan = _Scan.of(tags)
    check_size(scan.width, scan.height, name)
    readable = (
        scan.kind is not None
        and scan.meaning in _MODES
        and (scan.meaning not in (_YCC, _LAB) or scan.bits == 8)
        and (scan.meaning != _YCC or scan.planar or _tuple(tags, _SUBSAMPLING, ()) == (1, 1))
        and scan.compression in (*_PLAIN, *_DEFLATED)
        and scan.predictor in ((1, 2, 3) if scan.numbers == _FLOAT else (1, 2))
        and scan.colours <= scan.samples <= 32
    )
    if not readable:
        raise ImageError(
            f"{name}: a kind of TIFF that cannot be read ({scan}); save it as 8-bit TIFF, PNG or "
            "JPEG."
        )
    white = _white(stream, tags, scan, name)
    mode = _MODES[scan.meaning]
    transparency = {1: "a", 2: "A"}.get((*scan.extra, 0)[0], "") if mode in ("L", "RGB") else ""
    clear = bool(transparency) and scan.samples > scan.colours
    shown = scan.colours + clear
    levels = np.zeros((scan.height, scan.width, shown), np.uint8)
    for top, left, first, block in _blocks(stream, tags, scan):
        for n in range(min(block.shape[2], shown - first)):
            is_colour = first + n < scan.colours
            values = block[: scan.height - top, : scan.width - left, n]
            if is_colour and scan.meaning == _WHITE_IS_ZERO:
                values = white - values.astype(np.float64)
            part = quantise(values, white=white if is_colour else _top(scan))
            levels[top : top + part.shape[0], left : left + part.shape[1], first + n] = part
    mode += transparency if clear else ""
    image = Image.frombuffer(mode, (scan.width, scan.height), levels, "raw", mode, 0, 1)
    profile = tags.get(_PROFILE)
    if isinstance(profile, bytes):
        image.info["icc_profile"] = profile
    return image, _number(tags, _ORIENTATION, 1)


def _top(scan: _Scan) -> float:
    """Return the largest value of integers, and 1 of floats."""
    assert scan.kind is not None
    return 1.0 if scan.numbers == _FLOAT else float(np.iinfo(scan.kind).max)


def _white(stream: BinaryIO, tags: Directory, scan: _Scan, name: str) -> float:
    """Return the value of white; see `customary_white`."""
    if scan.numbers != _FLOAT and scan.bits <= 16:
        return _top(scan)
    peak = 0.0
    for _, _, first, block in _blocks(stream, tags, scan):
        colours = block[..., : max(0, scan.colours - first)]
        if colours.size:
            peak = max(peak, float(colours.max()))
        if not np.isfinite(colours).all():
            raise ImageError(
                f"{name}: it holds pixels that are not numbers; save it as JPEG or PNG."
            )
    return customary_white(peak, top=None if scan.numbers == _FLOAT else _top(scan))


def _blocks(
    stream: BinaryIO, tags: Directory, scan: _Scan
) -> Iterator[tuple[int, int, int, NDArray[Any]]]:
    """Yield top, left and first sample of every strip or tile, and its (height, width, samples)."""
    parts = _Parts.of(tags, scan)
    places = product(
        range(scan.samples if scan.planar else 1),
        range(0, scan.height, parts.rows),
        range(0, scan.width, parts.columns),
    )
    samples = 1 if scan.planar else scan.samples
    for (plane, top, left), offset, size in zip(places, parts.offsets, parts.sizes, strict=False):
        height = parts.rows if parts.tiled else min(parts.rows, scan.height - top)
        shape = (height, parts.columns, samples)
        yield top, left, plane, _block(stream, scan, shape, offset, size)


def _block(
    stream: BinaryIO,
    scan: _Scan,
    shape: tuple[int, int, int],
    offset: int,
    size: int,
) -> NDArray[Any]:
    """Read a strip or tile, and undo its compression (TIFF 6.0, 14; technical note 3, of 2005)."""
    assert scan.kind is not None
    expected = shape[0] * shape[1] * shape[2] * scan.kind.itemsize
    if expected > _LARGEST_PART:
        raise MemoryError
    stream.seek(offset)
    if scan.compression in _PLAIN:
        content = stream.read(expected)
    else:
        content = zlib.decompressobj().decompress(stream.read(size), expected)
    if len(content) < expected:
        raise ValueError("a part of it is too short")
    if scan.predictor == 3:  # differences of bytes, the first byte of all samples first
        steps = np.frombuffer(content, np.uint8).reshape(shape[0], -1, shape[2])
        planes = np.cumsum(steps, axis=1, dtype=np.uint8)
        numbers = planes.reshape(shape[0], scan.kind.itemsize, -1).swapaxes(1, 2)
        return np.ascontiguousarray(numbers).view(scan.kind.newbyteorder(">")).reshape(shape)
    values = np.frombuffer(content, scan.kind.newbyteorder(scan.order)).reshape(shape)
    if scan.predictor == 2:
        integers = np.dtype(f"u{scan.kind.itemsize}")
        steps = values.view(integers.newbyteorder(scan.order)).astype(integers)
        return np.cumsum(steps, axis=1, dtype=integers).view(scan.kind)
    return values


def _number(tags: Directory, tag: int, default: int) -> int:
    values = _tuple(tags, tag, (default,))
    return values[0] if values else default


def _tuple(tags: Directory, tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
    """Return whole numbers of a tag."""
    value = tags.get(tag, default)
    values = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(number, int) for number in values):
        raise ValueError(f"tag {tag} holds no whole numbers")
    return values
