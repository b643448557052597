"""Metadata of a WebP: Exif and XMP in chunks of their own. There is no place for IPTC records.

A simple file holds nothing but one picture; with a packet it becomes an extended file, whose first
chunk, VP8X, tells what else is there and how large the picture is.

Sources: WebP container specification; RFC 6386, 9.1 (VP8 header); WebP lossless bitstream
specification, section 3 (VP8L header).
"""

import struct
from typing import NamedTuple

from captioner.errors import MetadataError

_HAS_XMP, _HAS_EXIF, _HAS_ALPHA = 0x04, 0x08, 0x10  # flags in VP8X
_LONGEST = 2**32 - 10  # bytes behind the RIFF header
_EXIF = b"Exif\0\0"  # as in a JPEG; some writers put it in front of the data here, too


class _Chunk(NamedTuple):
    kind: bytes
    content: bytes
    raw: bytes
    """All its bytes, the padding included."""


def read_xmp(data: bytes, name: str) -> bytes | None:
    """The XMP packet; None if there is none."""
    return _read(data, b"XMP ", "XMP packets", name)


def write_xmp(data: bytes, packet: bytes, name: str) -> bytes:
    """Put an XMP packet in the place of the old one, or else behind everything.

    Raises:
        MetadataError: the file is signed, or would be too long.
    """
    return _write(data, b"XMP ", packet, _HAS_XMP, name)


def read_exif(data: bytes, name: str) -> bytes | None:
    """The Exif data, a TIFF structure; None if there is none."""
    block = _read(data, b"EXIF", "Exif blocks", name)
    return None if block is None else block.removeprefix(_EXIF)


def write_exif(data: bytes, block: bytes, name: str) -> bytes:
    """Put Exif data in the place of the old.

    Raises:
        MetadataError: the file is signed, or would be too long.
    """
    old = _read(data, b"EXIF", "Exif blocks", name) or b""
    head = _EXIF if old.startswith(_EXIF) else b""
    return _write(data, b"EXIF", head + block, _HAS_EXIF, name)


def _read(data: bytes, kind: bytes, called: str, name: str) -> bytes | None:
    chunks, _ = _split(data, name)
    found = [chunk.content for chunk in chunks if chunk.kind == kind]
    if len(found) > 1:
        raise MetadataError(f"{name}: it holds {len(found)} {called}; leave only one.")
    return found[0] if found else None


def _write(data: bytes, kind: bytes, content: bytes, flag: int, name: str) -> bytes:
    chunks, end = _split(data, name)
    if any(chunk.kind == b"C2PA" for chunk in chunks):
        raise MetadataError(
            f"{name}: it carries Content Credentials, a signature that any change would break; "
            "write a sidecar."
        )
    features = _features(chunks[0], name)
    features = bytes([features[0] | flag]) + features[1:]
    rest = chunks[1:] if chunks[0].kind == b"VP8X" else chunks
    kinds = [chunk.kind for chunk in rest]
    place = kinds.index(kind) if kind in kinds else len(rest)
    kept = [chunk for chunk in rest if chunk.kind != kind]
    new = [_chunk(b"VP8X", features), *kept[:place], _chunk(kind, content), *kept[place:]]
    body = b"WEBP" + b"".join(chunk.raw for chunk in new)
    if len(body) > _LONGEST:
        raise MetadataError(f"{name}: with a caption it would be over 4 GB; write a sidecar.")
    return b"RIFF" + struct.pack("<I", len(body)) + body + data[end:]


def _split(data: bytes, name: str) -> tuple[list[_Chunk], int]:
    """The chunks, and where the file ends as it says itself."""
    end = 8 + int.from_bytes(data[4:8], "little")
    chunks, start = [], 12
    while start < end:
        length = int.from_bytes(data[start + 4 : start + 8], "little")
        last = start + 8 + length
        padded = last + length % 2
        if last > len(data) or padded > end:
            raise MetadataError(f"{name}: damaged or cut short; copy or download it again.")
        chunks.append(_Chunk(data[start : start + 4], data[start + 8 : last], data[start:padded]))
        start = padded
    if not {b"VP8 ", b"VP8L", b"ANMF"} & {chunk.kind for chunk in chunks}:
        raise MetadataError(f"{name}: it holds no picture; copy or download it again.")
    return chunks, end


def _features(first: _Chunk, name: str) -> bytes:
    """Content of the VP8X chunk, made from the picture's own header where there is none."""
    header = first.content
    if first.kind == b"VP8X" and len(header) >= 10:
        return header
    if first.kind == b"VP8 " and header[3:6] == b"\x9d\x01\x2a" and len(header) >= 10:
        bits = int.from_bytes(header[6:10], "little")  # two bits of each side ask to be enlarged
        width, height = bits & 0x3FFF, bits >> 16 & 0x3FFF
        flags = 0
    elif first.kind == b"VP8L" and header[:1] == b"\x2f" and len(header) >= 5:
        bits = int.from_bytes(header[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        flags = _HAS_ALPHA if bits >> 28 & 1 else 0
    else:
        width = height = flags = 0
    if not (width and height):
        raise MetadataError(f"{name}: damaged or cut short; copy or download it again.")
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes([flags, 0, 0, 0]) + sides


def _chunk(kind: bytes, content: bytes) -> _Chunk:
    padding = b"\0" * (len(content) % 2)
    return _Chunk(kind, content, kind + struct.pack("<I", len(content)) + content + padding)
