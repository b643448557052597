"""Metadata of a WebP: Exif and XMP in chunks of their own; WebP cannot hold IPTC records.

A simple file holds a single image. With metadata it becomes an extended file, whose first chunk,
VP8X, declares the other chunks and the size of the image.

Sources: WebP container specification; RFC 6386, 9.1 (VP8 header); WebP lossless bitstream
specification, section 3 (VP8L header).
"""

import struct

from captioner.errors import MetadataError
from captioner.metadata.parts import DAMAGED, NO_PICTURE, SIGNED, Part, PhotoFile, only

_HAS_XMP, _HAS_EXIF, _HAS_ALPHA = 0x04, 0x08, 0x10  # flags in VP8X
_LONGEST = 2**32 - 10  # maximum size after the RIFF header, in bytes
_EXIF = b"Exif\0\0"  # prefix as in a JPEG, which some writers add here, too


class WebP(PhotoFile):
    """A WebP file: its chunks, and any data after its declared end."""

    def __init__(self, data: bytes) -> None:
        end = 8 + int.from_bytes(data[4:8], "little")
        self._parts: list[Part[bytes]] = []
        start = 12
        while start < end:
            length = int.from_bytes(data[start + 4 : start + 8], "little")
            last = start + 8 + length
            padded = last + length % 2
            if last > len(data) or padded > end:
                raise MetadataError(DAMAGED)
            kind = data[start : start + 4]
            self._parts.append(Part(kind, data[start + 8 : last], data[start:padded]))
            start = padded
        if not {b"VP8 ", b"VP8L", b"ANMF"} & {part.kind for part in self._parts}:
            raise MetadataError(NO_PICTURE)
        self._rest = data[end:]

    def read_xmp(self) -> bytes | None:
        """Return the XMP packet; None if there is none."""
        return self._read(b"XMP ", "XMP packets")

    def write_xmp(self, packet: bytes) -> None:
        """Replace the XMP packet, or append it."""
        self._write(b"XMP ", packet, _HAS_XMP)

    def read_exif(self) -> bytes | None:
        """Return the Exif data, a TIFF structure; None if there is none."""
        block = self._read(b"EXIF", "Exif blocks")
        return None if block is None else block.removeprefix(_EXIF)

    def write_exif(self, block: bytes) -> None:
        """Replace the Exif data."""
        old = self._read(b"EXIF", "Exif blocks") or b""
        self._write(b"EXIF", (_EXIF if old.startswith(_EXIF) else b"") + block, _HAS_EXIF)

    def to_bytes(self) -> bytes:
        """Return the file with all changes."""
        body = b"WEBP" + b"".join(part.raw for part in self._parts)
        return b"RIFF" + struct.pack("<I", len(body)) + body + self._rest

    def _read(self, kind: bytes, called: str) -> bytes | None:
        return only([part.content for part in self._parts if part.kind == kind], called)

    def _write(self, kind: bytes, content: bytes, flag: int) -> None:
        """Replace a chunk, or append it."""
        if any(part.kind == b"C2PA" for part in self._parts):
            raise MetadataError(SIGNED)
        first = self._parts[0]
        features = _features(first)
        rest = self._parts[1:] if first.kind == b"VP8X" else self._parts
        kinds = [part.kind for part in rest]
        place = kinds.index(kind) if kind in kinds else len(rest)
        kept = [part for part in rest if part.kind != kind]
        header = _chunk(b"VP8X", bytes([features[0] | flag]) + features[1:])
        self._parts = [header, *kept[:place], _chunk(kind, content), *kept[place:]]
        if 4 + sum(len(part.raw) for part in self._parts) > _LONGEST:
            raise MetadataError("the caption would make it larger than 4 GB; write a sidecar.")


def _features(first: Part[bytes]) -> bytes:
    """Return the content of the VP8X chunk, made from the image header if there is none."""
    header = first.content
    if first.kind == b"VP8X" and len(header) >= 10:
        return header
    width = height = flags = 0
    if first.kind == b"VP8 " and header[3:6] == b"\x9d\x01\x2a" and len(header) >= 10:
        bits = int.from_bytes(header[6:10], "little")  # top two bits of each side: upscaling
        width, height = bits & 0x3FFF, bits >> 16 & 0x3FFF
    elif first.kind == b"VP8L" and header[:1] == b"\x2f" and len(header) >= 5:
        bits = int.from_bytes(header[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        flags = _HAS_ALPHA if bits >> 28 & 1 else 0
    if not (width and height):
        raise MetadataError(DAMAGED)
    return b"".join(
        [bytes([flags, 0, 0, 0]), *((side - 1).to_bytes(3, "little") for side in (width, height))]
    )


def _chunk(kind: bytes, content: bytes) -> Part[bytes]:
    padding = b"\0" * (len(content) % 2)
    return Part(kind, content, kind + struct.pack("<I", len(content)) + content + padding)
