"""PNG files with more text, or a larger profile, than Pillow accepts.

Image generators store megabytes of workflow in text chunks, and press profiles are large. Pillow's
limits on both are global to the process, so Pillow gets a copy of the file without these chunks.
"""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

from PIL import Image

_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_ORIENTATION = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0", b"Raw profile type APP1\0")
"""Start of texts that may hold an orientation."""
_LONGEST = 2**20
"""Largest text or profile that Pillow reads, in bytes."""
_ALL = 32 * _LONGEST
"""Limit on all texts together, in bytes; half of Pillow's."""
_LONGEST_PROFILE = 2**24
"""Limit on a profile, in bytes; press profiles have a tenth."""


def open_png(stream: BinaryIO) -> Image.Image:
    """Open a PNG without texts over the limits, and with its profile even if Pillow refuses it.

    Texts that may hold the orientation are dropped only if they are too large themselves.
    """
    texts, profile = 0, b""
    too_large = False
    for kind, start, length in _chunks(stream):
        if kind in _TEXTS:
            size = _size(stream, kind, start, length)
            texts, too_large = texts + size, too_large or size > _LONGEST
        elif kind == b"iCCP" and not profile:
            profile = _inflate(kind, _read(stream, start, length), _LONGEST_PROFILE)
    large = len(profile) > _LONGEST
    too_large = too_large or texts > _ALL
    if too_large or large:
        stream = _without(stream, texts=too_large, profile=large)
    stream.seek(0)
    image = Image.open(stream)
    if large:
        image.info["icc_profile"] = profile
    return image


def _without(stream: BinaryIO, *, texts: bool, profile: bool) -> BytesIO:
    """Copy the file without its oversized chunks."""
    copy = BytesIO(_read(stream, 0, 8))
    copy.seek(0, 2)
    kept = 0
    for kind, start, length in _chunks(stream):
        if profile and kind == b"iCCP":
            continue
        if texts and kind in _TEXTS:
            size = _size(stream, kind, start, length)
            beginning = _read(stream, start, 32)
            if size > _LONGEST or kept + size > _ALL or not beginning.startswith(_ORIENTATION):
                continue
            kept += size
        copy.write(_read(stream, start - 8, length + 12))
    return copy


def _chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield the type of each chunk, and start and length of its content."""
    start = 16
    while len(head := _read(stream, start - 8, 8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        yield kind, start, length
        start += length + 12


def _read(stream: BinaryIO, start: int, length: int) -> bytes:
    stream.seek(start)
    return stream.read(length)


def _size(stream: BinaryIO, kind: bytes, start: int, length: int) -> int:
    """Return the inflated size of a text, at most one over the limit."""
    if length > _LONGEST:
        return _LONGEST + 1
    content = _read(stream, start, length)
    return length if kind == b"tEXt" else len(_inflate(kind, content, _LONGEST + 1))


def _inflate(kind: bytes, content: bytes, most: int) -> bytes:
    """Inflate a text or profile up to this many bytes; to none if it is damaged."""
    _, _, content = content.partition(b"\0")
    if kind == b"iTXt":
        compressed, content = content[:1] == b"\1", content[2:].split(b"\0", 2)[-1]
        if not compressed:
            return content[:most]
    else:
        content = content[1:]  # the method: there is only one
    try:
        return zlib.decompressobj().decompress(content, most)
    except zlib.error:
        return b""
