"""Pointers to data that cameras and phones store after the image of a JPEG, mostly previews.

Those of Exif are in maker notes, whose layout differs between cameras. So a pointer is recognised
by its target: an offset, or an offset and a length, at which a JPEG starts after the main image.
(Sony writes 32 bytes before it; Leica stores the maker notes themselves there.)

Source: exiftool's tables of PreviewImage and PreviewImageStart for Canon, Casio, Minolta, Olympus,
Pentax and Sony, and of Leica's trailer. The index of a multi-picture JPEG, with gain maps and
previews of phones: CIPA DC-007 (Multi-Picture Format), section 5: a TIFF directory whose offsets
are relative to its first byte, and whose entries give size and offset of every image.
"""

import re
import struct
from collections.abc import Iterator
from contextlib import suppress

from captioner.errors import MetadataError
from captioner.metadata.ifd import EXIF, TiffStructure

_MAKER_NOTE = 0x927C
_SONY = 32  # bytes before its preview
_FIELDS = {
    # Type, number of items, value: a single long, or many bytes.
    "<": re.compile(rb"(?s)(?=(?:\x04\0\x01\0\0\0|\x07\0(....))(....))"),
    ">": re.compile(rb"(?s)(?=(?:\0\x04\0\0\0\x01|\0\x07(....))(....))"),
}
_CANON = re.compile(rb"(?s)\xb6\0\x04\0\x0c\0\0\0(....)")
_CANON_START = 5 * 4  # position of the offset in Canon's PreviewImageInfo, in bytes

_ENTRIES = 0xB002
_ENTRY = 16  # bytes: attributes, size, offset, two dependent pictures


def moved_index(index: bytes, *, growth: int, behind: int) -> bytes:
    """Correct the index of images (MPF) after the first image has grown.

    Args:
        index: the MPF segment's content, starting with the byte order mark.
        growth: bytes by which the first image has grown.
        behind: how many of these bytes come after the index; other images shift by that much
            relative to it.

    Raises:
        MetadataError: the index is damaged.
    """
    changed = bytearray(index)
    try:
        block = TiffStructure(index)
        for field in block.fields(block.first):
            for entry in range(field.start, field.end, _ENTRY) if field.tag == _ENTRIES else ():
                length, offset = struct.unpack_from(f"{block.order}II", index, entry + 4)
                is_first = offset == 0  # by definition, wherever the index lies
                length, offset = (length + growth, 0) if is_first else (length, offset + behind)
                struct.pack_into(f"{block.order}II", changed, entry + 4, length, offset)
    except (struct.error, ValueError) as error:
        raise MetadataError("its index of images (MPF) is damaged; write a sidecar.") from error
    return bytes(changed)


def moved(block: bytes, old: bytes, *, at: int, scans: int, growth: int) -> bytes:
    """Correct the pointers after bytes were inserted between the Exif data and their targets.

    Args:
        block: the Exif data.
        old: the file before the change.
        at: offset of the Exif data in the old file.
        scans: offset of the first scan in the old file.
        growth: number of bytes inserted.
    """
    if not growth:
        return block
    changed = bytearray(block)
    for place, order, base, size in _pointers(block):
        (offset,) = struct.unpack_from(f"{order}I", block, place)
        target = at + base + offset
        if target > scans and target + size <= len(old) and _is_preview(old, target, size):
            struct.pack_into(f"{order}I", changed, place, offset + growth)
    return bytes(changed)


def _pointers(block: bytes) -> Iterator[tuple[int, str, int, int]]:
    """Yield candidate pointers: position, byte order, base of the offset, and target size."""
    bases = [0]
    with suppress(ValueError):
        exif = TiffStructure(block)
        inside = exif.find(EXIF)
        notes = None if inside is None else exif.find(_MAKER_NOTE, exif.number(inside))
        bases += [] if notes is None else [notes.start]
    for order, pattern in _FIELDS.items():
        for found in pattern.finditer(block):
            size = struct.unpack(f"{order}I", found.group(1))[0] if found.group(1) else 0
            for base in bases:
                yield found.start(2), order, base, size
    for found in _CANON.finditer(block):
        place = struct.unpack("<I", found.group(1))[0] + _CANON_START
        if place + 4 <= len(block):
            yield place, "<", 0, 0


def _is_preview(data: bytes, target: int, size: int) -> bool:
    """Whether a preview, or Leica's maker notes, start at this offset."""
    if data.startswith(b"LEICA", target):
        return True
    # Some cameras corrupt the first byte of the preview.
    starts = (target, target + _SONY) if size else (target,)
    return any(data.startswith(b"\xd8\xff", start + 1) for start in starts)
