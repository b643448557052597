"""Metadata of a PNG: XMP in an iTXt chunk. There is no agreed place for IPTC records.

Sources: PNG (third edition), 5.3 (chunks) and 11.3.3.4 (iTXt); ISO 16684-3, 1.1.5 (XMP in PNG).
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from captioner.errors import MetadataError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEYWORD = b"XML:com.adobe.xmp"
_LONGEST = 2**24  # bytes that a compressed packet may unpack to


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    """Where its bytes begin, the length first."""
    end: int
    """Where they end, the check sum included."""


def read_xmp(data: bytes, name: str) -> bytes | None:
    """The XMP packet; None if there is none."""
    packets = [chunk for chunk in _chunks(data, name) if _is_xmp(data, chunk)]
    if not packets:
        return None
    if len(packets) > 1:
        raise MetadataError(f"{name}: it holds {len(packets)} XMP packets; leave only one.")
    content = data[packets[0].start + 8 : packets[0].end - 4]
    compressed = content[len(_KEYWORD) + 1 : len(_KEYWORD) + 2] != b"\0"
    # Behind the keyword: whether it is compressed, how, a language, a translated keyword.
    fields = content[len(_KEYWORD) + 3 :].split(b"\0", 2)
    if len(fields) < 3:
        raise MetadataError(f"{name}: its XMP is damaged (no text in it); remove it first.")
    return _unpacked(fields[2], name) if compressed else fields[2]


def write_xmp(data: bytes, packet: bytes, name: str) -> bytes:
    """Put an XMP packet in the place of the old one, or else right behind the header."""
    chunks = list(_chunks(data, name))
    if any(chunk.kind == b"caBX" for chunk in chunks):
        raise MetadataError(
            f"{name}: it carries Content Credentials, a signature that any change would break; "
            "write a sidecar."
        )
    header = next(chunk for chunk in chunks if chunk.kind == b"IHDR")
    old = next((chunk for chunk in chunks if _is_xmp(data, chunk)), None)
    start, end = (old.start, old.end) if old else (header.end, header.end)
    body = b"iTXt" + _KEYWORD + bytes(5) + packet
    new = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:start] + new + data[end:]


def _chunks(data: bytes, name: str) -> Iterator[_Chunk]:
    """All chunks up to the end of the picture; what follows is no part of it."""
    start, kind = len(SIGNATURE), b""
    kinds = set()
    while kind != b"IEND":
        length = int.from_bytes(data[start : start + 4])
        kind, end = data[start + 4 : start + 8], start + 12 + length
        kinds.add(kind)
        if end > len(data):
            raise MetadataError(f"{name}: damaged or cut short; copy or download it again.")
        yield _Chunk(kind, start, end)
        start = end
    if not {b"IHDR", b"IDAT"} <= kinds:
        raise MetadataError(f"{name}: it holds no picture; copy or download it again.")


def _is_xmp(data: bytes, chunk: _Chunk) -> bool:
    return chunk.kind == b"iTXt" and data.startswith(_KEYWORD + b"\0", chunk.start + 8)


def _unpacked(packet: bytes, name: str) -> bytes:
    stream = zlib.decompressobj()
    try:
        unpacked = stream.decompress(packet, _LONGEST)
    except zlib.error as error:
        raise MetadataError(f"{name}: its XMP is damaged ({error}); remove it first.") from error
    if not stream.eof:
        raise MetadataError(f"{name}: its XMP is cut short or over {_LONGEST} bytes; remove it.")
    return unpacked
