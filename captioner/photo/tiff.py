"""Tags of TIFF files: how the samples are stored, and whether Pillow shows them right.

Pillow reads uncompressed 16-bit planes as one image, ignores WhiteIsZero at 16 bits, and supports
few 32-bit, floating-point and gray + alpha layouts.
"""

from typing import BinaryIO

from PIL import Image
from PIL.ExifTags import Base as Tag
from PIL.TiffImagePlugin import ImageFileDirectory_v2 as Directory
from PIL.TiffImagePlugin import TiffImageFile

from captioner.errors import ImageError

WHITE_IS_ZERO, _BLACK_IS_ZERO, _YCC, _LAB, _COLOUR_FILTER, _LINEAR_RAW = 0, 1, 6, 8, 32803, 34892
_MODES = {WHITE_IS_ZERO: "L", _BLACK_IS_ZERO: "L", 2: "RGB", 5: "CMYK", _YCC: "YCbCr", _LAB: "LAB"}
"""PhotometricInterpretation -> Pillow mode."""
_DEFLATED = (8, 32946)
_UNSIGNED, _SIGNED, FLOAT = 1, 2, 3
_DEPTHS = {_UNSIGNED: (8, 16, 32), _SIGNED: (8, 16, 32), FLOAT: (16, 32, 64)}


def read_directory(stream: BinaryIO) -> Directory:
    """Read the tags of the first image.

    Raises:
        SyntaxError, ValueError, OSError, struct.error: they are damaged.
    """
    stream.seek(0)
    head = stream.read(8)
    first = head[4:]
    if 43 in (head[2], head[3]):  # BigTIFF
        first = stream.read(8)
        head += first
    directory = Directory(head)
    stream.seek(int.from_bytes(first, "little" if head[:1] == b"I" else "big"))
    directory.load(stream)
    return directory


def is_raw(tags: Directory) -> bool:
    """Whether this is a camera raw file, whose first image may be a tiny preview."""
    return (
        Tag.DNGVersion in tags
        or number(tags, Tag.PhotometricInterpretation, -1) in (_COLOUR_FILTER, _LINEAR_RAW)
        or bool(number(tags, Tag.NewSubfileType) & 1 and Tag.SubIFDs in tags)
    )


def is_scan(tags: Directory) -> bool:
    """Whether the tags describe an image, supported or not."""
    required = (Tag.ImageWidth, Tag.ImageLength, Tag.PhotometricInterpretation)
    stored = Tag.StripOffsets in tags or Tag.TileOffsets in tags
    return stored and all(tag in tags for tag in required)


class Layout:
    """Storage of the samples (TIFF 6.0, sections 3 to 8 and 14 to 19).

    `bits` per sample is 0 if it varies; `mode` is Pillow's, empty if samples are not colours.
    """

    def __init__(self, tags: Directory) -> None:
        self.width, self.height = number(tags, Tag.ImageWidth), number(tags, Tag.ImageLength)
        self.samples = number(tags, Tag.SamplesPerPixel, 1)
        self.bits = _common(numbers(tags, Tag.BitsPerSample) or (1,))
        kind = _common(numbers(tags, Tag.SampleFormat) or (_UNSIGNED,))
        self.numbers = _UNSIGNED if kind == 4 else kind  # 4 is undefined
        self.meaning = number(tags, Tag.PhotometricInterpretation, -1)
        self.mode = _MODES.get(self.meaning, "")
        self.compression = number(tags, Tag.Compression, 1)
        self.is_compressed = self.compression != 1
        self.predictor = number(tags, Tag.Predictor, 1)
        self.planar = number(tags, Tag.PlanarConfiguration, 1) == 2 and self.samples > 1
        self.big_endian = tags.prefix == b"MM"
        self.colours = Image.getmodebands(self.mode or "RGB")
        deflated = self.compression in _DEFLATED and number(tags, Tag.FillOrder, 1) == 1
        self.is_readable = (
            self.mode != ""
            and self.bits in _DEPTHS.get(self.numbers, ())
            and (self.meaning not in (_YCC, _LAB) or self.bits == 8)
            and (
                self.meaning != _YCC or self.planar or numbers(tags, Tag.YCbCrSubSampling) == (1, 1)
            )
            and (deflated or not self.is_compressed)
            and self.predictor in ((1, 2, 3) if self.numbers == FLOAT else (1, 2))
            and self.colours <= self.samples <= 32
        )

    def __str__(self) -> str:
        kind = {FLOAT: " floating-point", _SIGNED: " signed"}.get(self.numbers, "")
        colours = "gray" if self.mode == "L" else self.mode or "colours"
        packed = (
            "" if self.compression in (1, *_DEFLATED) else f", {_compression(self.compression)}"
        )
        return f"{self.bits or 'mixed'}-bit{kind} {colours}{packed}"


def find_parts(tags: Directory) -> list[tuple[int, int]]:
    """Return offset and size of each strip or tile; the size is only that of compressed ones."""
    tiled = Tag.TileOffsets in tags
    offsets = numbers(tags, Tag.TileOffsets if tiled else Tag.StripOffsets)
    if number(tags, Tag.Compression, 1) == 1:  # sizes may be missing
        return [(offset, 0) for offset in offsets]
    sizes = numbers(tags, Tag.TileByteCounts if tiled else Tag.StripByteCounts)
    return list(zip(offsets, sizes, strict=False))


def pillow_is_wrong(tags: Directory) -> bool:
    """Whether Pillow is known to show a different image."""
    layout = Layout(tags)
    if layout.meaning == _LAB:
        return layout.planar
    if layout.meaning == _YCC:
        return not layout.is_compressed
    if not layout.mode or layout.bits < 8:
        return False
    if layout.numbers != _UNSIGNED or layout.bits > 16:
        known = layout.meaning == _BLACK_IS_ZERO and layout.samples == 1 and layout.bits == 32
        swapped_twice = layout.big_endian and layout.is_compressed
        return layout.numbers == _UNSIGNED or not known or swapped_twice
    if layout.bits == 8:
        return layout.planar and layout.samples == 2
    planes = layout.planar and not layout.is_compressed
    return layout.bits == 16 and (planes or layout.meaning == WHITE_IS_ZERO or layout.samples == 2)


def refuse_wrong(image: Image.Image) -> None:
    """Check that Pillow shows an image correctly.

    Raises:
        ImageError: it does not.
    """
    if isinstance(image, TiffImageFile) and pillow_is_wrong(image.tag_v2):
        raise ImageError(
            f"Pillow shows this kind of TIFF ({Layout(image.tag_v2)}) wrong; give the path or the "
            "bytes of the file."
        )


def check_parts(tags: Directory) -> None:
    """Check that an uncompressed image has all strips or tiles; Pillow shows missing ones black.

    Raises:
        ValueError: parts are missing.
    """
    layout = Layout(tags)
    if layout.is_compressed or not (layout.width and layout.height):
        return
    columns, rows = layout.width, min(number(tags, Tag.RowsPerStrip, 2**32), layout.height)
    if Tag.TileOffsets in tags:
        columns, rows = number(tags, Tag.TileWidth), number(tags, Tag.TileLength)
    if rows < 1 or columns < 1:
        raise ValueError(f"parts of {columns} x {rows} pixels")
    planes = layout.samples if layout.planar else 1
    count = planes * -(-layout.height // rows) * -(-layout.width // columns)
    if (found := len(find_parts(tags))) < count:
        raise ValueError(f"{found} of {count} parts")


def _compression(number: int) -> str:
    from tifffile import COMPRESSION  # noqa: PLC0415  # few photos need it

    try:
        return COMPRESSION(number).name
    except ValueError:
        return f"compression {number}"


def _common(numbers: tuple[int, ...]) -> int:
    """Return the common value of all numbers; 0 if they differ."""
    return numbers[0] if len(set(numbers)) == 1 else 0


def number(tags: Directory, tag: int, default: int = 0) -> int:
    """Return the first whole number of a tag."""
    return (*numbers(tags, tag), default)[0]


def numbers(tags: Directory, tag: int) -> tuple[int, ...]:
    """Return the whole numbers of a tag; none if it is missing."""
    value = tags.get(tag, ())
    values = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(number, int) for number in values):
        raise ValueError(f"tag {int(tag)} holds no whole numbers")
    return values
