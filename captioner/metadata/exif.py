"""Captions in Exif: ImageDescription, UserComment, and the fields of Windows Explorer.

Photo managers read ImageDescription as the caption (in the Metadata Working Group's guidelines it
precedes XMP and IPTC), and fall back to UserComment. The Explorer's title, subject and comments may
mean something else; they count as captions only if there is no other, or if they repeat it.

Sources: CIPA DC-008 (Exif), 4.6.4 and 4.6.5 (fields, character codes of UserComment); Metadata
Working Group, Guidelines for Handling Image Metadata 2.0, section 5 (Description).
"""

from collections.abc import Collection
from contextlib import suppress
from typing import NamedTuple

from captioner.errors import MetadataError
from captioner.metadata.ifd import EXIF, Field, TiffStructure
from captioner.metadata.parts import decoded
from captioner.metadata.placeholders import caption_in, is_data

_DESCRIPTION, _MAKE, _MODEL = 0x010E, 0x010F, 0x0110
_USER_COMMENT = 0x9286
_REMARKS = (0x9C9C, 0x9C9B, 0x9C9F)  # comments, title and subject of the Explorer
_BYTE, _ASCII, _UNDEFINED, _UTF8 = 1, 2, 7, 129


class _Text(NamedTuple):
    field: Field
    text: str
    caption: str | None
    """The text as a caption; None if it is a placeholder."""

    @property
    def is_remark(self) -> bool:
        """Whether the field is one of the Explorer's."""
        return self.field.tag in _REMARKS


def get_description(data: bytes) -> str | None:
    """Read ImageDescription unfiltered, stripped of whitespace."""
    texts = (text.text for text in _readable(data) if text.field.tag == _DESCRIPTION)
    return next(texts, None)


def read_captions(data: bytes) -> tuple[list[str], list[str]]:
    """Read ImageDescription and UserComment and, separately, the fields of the Explorer.

    Args:
        data: a TIFF structure; if damaged, the readable part is used.
    """
    captions: tuple[list[str], list[str]] = ([], [])
    for text in _readable(data):
        if text.caption:
            captions[text.is_remark].append(text.caption)
    return captions


def set_caption(data: bytes, caption: str, *, outdated: Collection[str]) -> bytes:
    """Replace every caption, and camera names in caption fields.

    Args:
        data: a TIFF structure; anything else is returned unchanged.
        caption: the new caption.
        outdated: old captions, stripped, to replace in the Explorer's fields.

    Raises:
        MetadataError: the Exif data is damaged.
    """
    try:
        block = TiffStructure(data)
    except ValueError:  # unreadable for other programs, too
        return data
    try:
        names = _names(block)
        for field in _fields(block):
            text = _text(block, field, names)
            if _is_to_change(text, outdated):
                kind, value = _encoded(text.field, caption, block.order)
                if block.value(text.field).rstrip(b"\0") != value.rstrip(b"\0"):
                    block = block.with_value(text.field, kind, value)
    except ValueError as error:
        raise MetadataError(
            f"its Exif data is damaged ({error}); remove it first, or write a sidecar."
        ) from error
    return block.data


def _is_to_change(text: _Text, outdated: Collection[str]) -> bool:
    if text.field.tag == _DESCRIPTION:  # takes precedence, even if blank
        return not is_data(text.text)
    return text.caption is not None and (not text.is_remark or text.caption in outdated)


def _readable(data: bytes) -> list[_Text]:
    """Return the texts of a structure, skipping damaged ones."""
    texts = []
    with suppress(ValueError):
        block = TiffStructure(data)
        names = _names(block)
        for field in _fields(block):
            with suppress(ValueError):
                texts.append(_text(block, field, names))
    return texts


def _fields(block: TiffStructure) -> list[Field]:
    """Return the fields that may hold captions, in order of precedence.

    Raises:
        ValueError: the structure is damaged.
    """
    fields = {field.tag: field for field in reversed(block.fields(block.first))}
    if EXIF in fields:
        with suppress(ValueError):  # unreadable for other programs, too
            comment = block.find(_USER_COMMENT, block.number(fields[EXIF]))
            fields |= {} if comment is None else {_USER_COMMENT: comment}
    return [fields[tag] for tag in (_DESCRIPTION, _USER_COMMENT, *_REMARKS) if tag in fields]


def _text(block: TiffStructure, field: Field, names: tuple[str, ...]) -> _Text:
    """Decode a field.

    Raises:
        ValueError: its value lies outside the structure.
    """
    value = block.value(field)
    if field.tag == _DESCRIPTION:
        text = _decoded(value)
    elif field.tag == _USER_COMMENT:
        text = _comment(value, block.order)
    else:
        text = value.decode("utf-16-le", "replace").partition("\0")[0]
    text = text.strip()  # cameras pad the field with blanks
    return _Text(field, text, caption_in(text, names=names))


def _names(block: TiffStructure) -> tuple[str, ...]:
    """Return the camera's make, model, and both."""
    names = []
    for tag in (_MAKE, _MODEL):
        with suppress(ValueError):
            value = block.get(tag)
            names += [] if value is None else [_decoded(value).strip()]
    return (*names, " ".join(names))


def _decoded(value: bytes) -> str:
    """Decode a text that should be ASCII but often is UTF-8."""
    return decoded(value.partition(b"\0")[0])


def _comment(value: bytes, order: str) -> str:
    """Decode UserComment, whose first eight bytes name the encoding."""
    code, body = value[:8], value[8:]
    if code == b"UNICODE\0":
        if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return body.decode("utf-16", "replace").partition("\0")[0]
        own, other = ("le", "be") if order == "<" else ("be", "le")  # some programs swap them
        texts = [body.decode(f"utf-16-{e}", "replace").strip("\0") for e in (own, other)]
        return max(texts, key=lambda text: sum(character < "\u0250" for character in text))
    if code == b"JIS\0\0\0\0\0":
        return body.decode("iso2022_jp", "replace")
    return _decoded(body.lstrip(b"\0") if code in (b"ASCII\0\0\0", bytes(8)) else value)


def _encoded(field: Field, caption: str, order: str) -> tuple[int, bytes]:
    """Return the type and value of a field that holds a caption."""
    if field.tag == _DESCRIPTION:
        return _UTF8 if field.kind == _UTF8 else _ASCII, caption.encode() + b"\0"
    if field.tag == _USER_COMMENT:
        if caption.isascii():
            return _UNDEFINED, b"ASCII\0\0\0" + caption.encode()
        encoding = "utf-16-le" if order == "<" else "utf-16-be"
        return _UNDEFINED, b"UNICODE\0" + caption.encode(encoding)
    return _BYTE, (caption + "\0").encode("utf-16-le")
