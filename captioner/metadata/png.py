"""Metadata of a PNG: XMP and other texts in text chunks, Exif in eXIf.

PNG has no standard chunk for IPTC records. ImageMagick stores IPTC, Exif and XMP in text chunks of
its own, which are read, too.

Sources: PNG (third edition), 5.3 (chunks), 11.3.3 (texts) and 11.3.4.5 (eXIf); ISO 16684-3, 1.1.5
(XMP in PNG).
"""

import struct
import zlib
from collections.abc import Collection

from captioner.errors import MetadataError
from captioner.metadata import exif, iptc, xmp
from captioner.metadata.parts import DAMAGED, NO_PICTURE, SIGNED, Part, PhotoFile, only
from captioner.metadata.placeholders import captions_in

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_XMP = b"XML:com.adobe.xmp\0"
_DESCRIPTION, _COMMENT = b"description", b"comment"  # compared in lower case
_PROFILE = b"Raw profile type "
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_LONGEST = 2**24  # maximum size of a decompressed text, in bytes


class Png(PhotoFile):
    """A PNG file: its chunks, and any data after the image."""

    FIXED = "a profile of ImageMagick"

    def __init__(self, data: bytes) -> None:
        self._parts: list[Part[bytes]] = []
        start, kind = len(SIGNATURE), b""
        while kind != b"IEND":
            length = int.from_bytes(data[start : start + 4])
            kind, end = data[start + 4 : start + 8], start + 12 + length
            if end > len(data):
                raise MetadataError(DAMAGED)
            content = data[start + 8 : end - 4] if kind in (*_TEXTS, b"eXIf") else b""
            self._parts.append(Part(kind, content, memoryview(data)[start:end]))
            start = end
        if not {b"IHDR", b"IDAT"} <= {part.kind for part in self._parts}:
            raise MetadataError(NO_PICTURE)
        self._rest = memoryview(data)[start:]

    def read_xmp(self) -> bytes | None:
        """Return the XMP packet; None if there is none."""
        packet = only([part.content for part in self._parts if _is_xmp(part)], "XMP packets")
        return None if packet is None else _text(b"iTXt", packet, "XMP")

    def write_xmp(self, packet: bytes) -> None:
        """Replace the XMP packet, or insert it right after the header."""
        places = [slice(n, n + 1) for n, part in enumerate(self._parts) if _is_xmp(part)]
        header = next(n for n, part in enumerate(self._parts) if part.kind == b"IHDR")
        place = [*places, slice(header + 1, header + 1)][0]
        self._parts[place] = [self._chunk(b"iTXt", _XMP + bytes(4) + packet)]

    def read_exif(self) -> bytes | None:
        """Return the Exif data, a TIFF structure; None if there is none."""
        return next((part.content for part in self._parts if part.kind == b"eXIf"), None)

    def write_exif(self, block: bytes) -> None:
        """Replace the Exif data."""
        n = next(n for n, part in enumerate(self._parts) if part.kind == b"eXIf")
        self._parts[n] = self._chunk(b"eXIf", block)

    def read_texts(self) -> tuple[list[str], list[str]]:
        """Return the captions under the keyword Description, and those under Comment."""
        captions, remarks = (
            [caption for part in self._parts for caption in _captions(part, keyword)]
            for keyword in (_DESCRIPTION, _COMMENT)
        )
        return captions, remarks

    def write_texts(self, caption: str, outdated: Collection[str]) -> None:
        """Replace the captions in text chunks, and comments that repeat an old caption."""
        for n, part in enumerate(self._parts):
            old = _captions(part, _DESCRIPTION)
            old += [text for text in _captions(part, _COMMENT) if text.strip() in outdated]
            if old in ([], [caption]):
                continue
            keyword = part.content.partition(b"\0")[0] + b"\0"
            if part.kind == b"tEXt" and caption.isascii():
                self._parts[n] = self._chunk(part.kind, keyword + caption.encode())
            else:
                self._parts[n] = self._chunk(b"iTXt", keyword + bytes(4) + caption.encode())

    def read_fixed(self) -> list[str]:
        """Return the captions in ImageMagick's profiles, skipping damaged ones."""
        captions: list[str] = []
        for part in self._parts:
            if part.kind in (b"tEXt", b"zTXt") and part.content.startswith(_PROFILE):
                keyword = part.content.partition(b"\0")[0].removeprefix(_PROFILE)
                try:
                    captions += _captions_of(keyword, _text(part.kind, part.content, "profile"))
                except (MetadataError, ValueError):
                    continue
        return captions

    def to_bytes(self) -> bytes:
        """Return the file with all changes."""
        return b"".join([SIGNATURE, *(part.raw for part in self._parts), self._rest])

    def _chunk(self, kind: bytes, content: bytes) -> Part[bytes]:
        if any(part.kind == b"caBX" for part in self._parts):
            raise MetadataError(SIGNED)
        check = struct.pack(">I", zlib.crc32(kind + content))
        return Part(kind, content, struct.pack(">I", len(content)) + kind + content + check)


def _is_xmp(part: Part[bytes]) -> bool:
    return part.kind == b"iTXt" and part.content.startswith(_XMP)


def _captions_of(kind: bytes, text: bytes) -> list[str]:
    """Return the captions in a profile of ImageMagick: name, size, and hexadecimal data.

    Raises:
        MetadataError, ValueError: the profile is damaged.
    """
    profile = bytes.fromhex("".join(text.decode("ascii").split()[2:]))
    if kind in (b"exif", b"APP1") and profile.startswith(b"Exif\0\0"):
        return exif.read_captions(profile[6:])[0]
    if kind in (b"xmp", b"APP1"):
        return xmp.get_captions(profile.removeprefix(b"http://ns.adobe.com/xap/1.0/\0"))
    return captions_in(iptc.get_caption(profile)) if kind == b"iptc" else []


def _captions(part: Part[bytes], keyword: bytes) -> list[str]:
    """Return the caption in a text chunk with this keyword; empty for other chunks."""
    called = part.content.partition(b"\0")[0]
    if part.kind not in _TEXTS or called.lower() != keyword:
        return []
    try:
        text = _text(part.kind, part.content, called.decode("latin-1"))
    except MetadataError:  # unreadable for other programs, too
        return []
    try:
        return captions_in(text.decode())
    except UnicodeDecodeError:
        return captions_in(text.decode("latin-1"))


def _text(kind: bytes, content: bytes, called: str) -> bytes:
    """Return the text of a text chunk, still encoded.

    Raises:
        MetadataError: the chunk is damaged.
    """
    rest = content.partition(b"\0")[2]
    if kind == b"tEXt":
        return rest
    if kind == b"zTXt":
        return _unpacked(rest[1:], called)
    # After the keyword: compression flag and method, language, translated keyword.
    fields = rest[2:].split(b"\0", 2)
    if len(fields) < 3:
        raise MetadataError(f"its {called} is damaged (no text in it); remove it first.")
    return fields[2] if rest[:1] == b"\0" else _unpacked(fields[2], called)


def _unpacked(text: bytes, called: str) -> bytes:
    stream = zlib.decompressobj()
    try:
        unpacked = stream.decompress(text, _LONGEST)
    except zlib.error as error:
        raise MetadataError(f"its {called} is damaged ({error}); remove it first.") from error
    if not stream.eof:
        raise MetadataError(f"its {called} is cut short or over {_LONGEST} bytes; remove it.")
    return unpacked
