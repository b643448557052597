"""Metadata of a PNG: XMP and other texts in text chunks, Exif in eXIf.

There is no agreed place for IPTC records; ImageMagick puts them, and Exif and XMP, into texts of
its own, which are read, too.

Sources: PNG (third edition), 5.3 (chunks), 11.3.3 (texts) and 11.3.4.5 (eXIf); ISO 16684-3, 1.1.5
(XMP in PNG).
"""

import struct
import zlib
from collections.abc import Collection, Iterator
from typing import NamedTuple

from captioner.errors import MetadataError
from captioner.metadata import exif, iptc, xmp
from captioner.metadata.placeholders import caption_in

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEYWORD = b"XML:com.adobe.xmp"
_DESCRIPTION, _COMMENT = b"description", b"comment"  # programs differ in capitals
_PROFILE = b"Raw profile type "
_LONGEST = 2**24  # bytes that a compressed text may unpack to


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    """Where its bytes begin, the length first."""
    end: int
    """Where they end, the check sum included."""

    @property
    def span(self) -> slice:
        """All its bytes."""
        return slice(self.start, self.end)

    def content(self, data: bytes) -> bytes:
        """What it holds."""
        return data[self.start + 8 : self.end - 4]


def read_xmp(data: bytes, name: str) -> bytes | None:
    """The XMP packet; None if there is none."""
    packets = [chunk for chunk in _chunks(data, name) if _is_xmp(data, chunk)]
    if not packets:
        return None
    if len(packets) > 1:
        raise MetadataError(f"{name}: it holds {len(packets)} XMP packets; leave only one.")
    return _text(packets[0].kind, packets[0].content(data), "XMP", name)


def write_xmp(data: bytes, packet: bytes, name: str) -> bytes:
    """Put an XMP packet in the place of the old one, or else right behind the header.

    Raises:
        MetadataError: the file is signed.
    """
    chunks = list(_chunks(data, name))
    header = next(chunk for chunk in chunks if chunk.kind == b"IHDR")
    old = next((chunk for chunk in chunks if _is_xmp(data, chunk)), None)
    place = old.span if old else slice(header.end, header.end)
    return _replace(data, place, b"iTXt", _KEYWORD + bytes(5) + packet, name)


def read_exif(data: bytes, name: str) -> bytes | None:
    """The Exif data, a TIFF structure; None if there is none."""
    chunk = next((chunk for chunk in _chunks(data, name) if chunk.kind == b"eXIf"), None)
    return None if chunk is None else chunk.content(data)


def write_exif(data: bytes, block: bytes, name: str) -> bytes:
    """Put Exif data in the place of the old.

    Raises:
        MetadataError: the file is signed.
    """
    old = next(chunk for chunk in _chunks(data, name) if chunk.kind == b"eXIf")
    return _replace(data, old.span, b"eXIf", block, name)


def read_texts(data: bytes, name: str) -> tuple[list[str], list[str]]:
    """The captions in texts called Description, and those in texts called Comment."""
    captions, remarks = (
        [caption for chunk in _chunks(data, name) if (caption := _caption(data, chunk, kind, name))]
        for kind in (_DESCRIPTION, _COMMENT)
    )
    return captions, remarks


def write_texts(data: bytes, caption: str, *, outdated: Collection[str], name: str) -> bytes:
    """Put a caption into the texts that hold one.

    Args:
        data: the file.
        caption: the text.
        outdated: what comments must not go on saying, without blanks around it.
        name: what to call the photo in an error.

    Raises:
        MetadataError: the file is signed.
    """
    for chunk in reversed(list(_chunks(data, name))):
        old = _caption(data, chunk, _DESCRIPTION, name)
        comment = _caption(data, chunk, _COMMENT, name) or ""
        if old in (None, caption) and (comment.strip() not in outdated or comment == caption):
            continue
        keyword = chunk.content(data).partition(b"\0")[0] + b"\0"
        if chunk.kind == b"tEXt" and caption.isascii():
            kind, content = chunk.kind, keyword + caption.encode()
        else:
            kind, content = b"iTXt", keyword + bytes(4) + caption.encode()
        data = _replace(data, chunk.span, kind, content, name)
    return data


def read_fixed(data: bytes, name: str) -> list[str]:
    """The captions that cannot be changed: those in the profiles of ImageMagick.

    Profiles that are damaged hold none.
    """
    captions: list[str] = []
    for chunk in _chunks(data, name):
        if chunk.kind in (b"tEXt", b"zTXt") and chunk.content(data).startswith(_PROFILE):
            keyword, _, _ = chunk.content(data).partition(b"\0")
            try:
                profile = _profile(_text(chunk.kind, chunk.content(data), "profile", name))
                captions += _captions_of(keyword.removeprefix(_PROFILE), profile, name)
            except (MetadataError, ValueError):
                continue
    return captions


def _captions_of(kind: bytes, profile: bytes, name: str) -> list[str]:
    if kind in (b"exif", b"APP1") and profile.startswith(b"Exif\0\0"):
        return exif.get_captions(profile[6:])
    if kind in (b"xmp", b"APP1"):
        return xmp.get_captions(profile.removeprefix(b"http://ns.adobe.com/xap/1.0/\0"), name=name)
    caption = caption_in(iptc.get_caption(profile, name=name)) if kind == b"iptc" else None
    return [] if caption is None else [caption]


def _profile(text: bytes) -> bytes:
    """Bytes written as a name, their number and hexadecimal digits.

    Raises:
        ValueError: they are no such digits.
    """
    return bytes.fromhex("".join(text.decode("ascii").split()[2:]))


def _caption(data: bytes, chunk: _Chunk, kind: bytes, name: str) -> str | None:
    """The caption in a text of this kind; None if the chunk is or holds none."""
    if chunk.kind not in (b"tEXt", b"zTXt", b"iTXt"):
        return None
    content = chunk.content(data)
    keyword = content.partition(b"\0")[0]
    if keyword.lower() != kind:
        return None
    try:
        text = _text(chunk.kind, content, keyword.decode("latin-1"), name)
    except MetadataError:  # nobody can read it
        return None
    try:
        return caption_in(text.decode())
    except UnicodeDecodeError:
        return caption_in(text.decode("latin-1"))


def _text(kind: bytes, content: bytes, called: str, name: str) -> bytes:
    """The text of a text chunk, as it is encoded.

    Raises:
        MetadataError: it is damaged.
    """
    rest = content.partition(b"\0")[2]
    if kind == b"tEXt":
        return rest
    if kind == b"zTXt":
        return _unpacked(rest[1:], called, name)
    # Behind the keyword: whether it is compressed, how, a language, a translated keyword.
    fields = rest[2:].split(b"\0", 2)
    if len(fields) < 3:
        raise MetadataError(f"{name}: its {called} is damaged (no text in it); remove it first.")
    return fields[2] if rest[:1] == b"\0" else _unpacked(fields[2], called, name)


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


def _replace(data: bytes, old: slice, kind: bytes, content: bytes, name: str) -> bytes:
    """Put a chunk in the place of these bytes."""
    if any(chunk.kind == b"caBX" for chunk in _chunks(data, name)):
        raise MetadataError(
            f"{name}: it carries Content Credentials, a signature that any change would break; "
            "write a sidecar."
        )
    check = struct.pack(">I", zlib.crc32(kind + content))
    new = struct.pack(">I", len(content)) + kind + content + check
    return data[: old.start] + new + data[old.stop :]


def _is_xmp(data: bytes, chunk: _Chunk) -> bool:
    return chunk.kind == b"iTXt" and data.startswith(_KEYWORD + b"\0", chunk.start + 8)


def _unpacked(text: bytes, called: str, name: str) -> bytes:
    stream = zlib.decompressobj()
    try:
        unpacked = stream.decompress(text, _LONGEST)
    except zlib.error as error:
        raise MetadataError(
            f"{name}: its {called} is damaged ({error}); remove it first."
        ) from error
    if not stream.eof:
        raise MetadataError(
            f"{name}: its {called} is cut short or over {_LONGEST} bytes; remove it."
        )
    return unpacked
