"""The caption in IPTC-IIM: data set 2:120, in the Photoshop resources that a JPEG carries.

All other data sets and resources are kept as they are, byte for byte.

Sources: IPTC-NAA Information Interchange Model 4.2, sections 1.5 (data sets), 5 and 6 (records 1
and 2); Adobe Photoshop File Formats Specification, Image Resources Section.
"""

import struct
from dataclasses import dataclass
from hashlib import md5

from captioner.errors import MetadataError

LONGEST = 2000
"""Bytes that data set 2:120 holds; longer captions are cut at a character."""

_IPTC, _DIGEST = 0x0404, 0x0425  # resources: the records, and their MD5
_CHARSET, _VERSION, _CAPTION = (1, 90), (2, 0), (2, 120)  # record and number of a data set
_UTF8 = b"\x1b%G"
_KINDS = (b"8BIM", b"MeSa", b"PHUT", b"AgHg", b"DCSR")


@dataclass(frozen=True)
class _Resource:
    number: int
    content: bytes
    raw: bytes
    """All its bytes."""


@dataclass(frozen=True)
class _DataSet:
    key: tuple[int, int]
    """Record and number."""
    content: bytes
    raw: bytes
    """All its bytes."""


def set_caption(resources: bytes, caption: str, *, name: str) -> bytes:
    """Put a caption into Photoshop resources, empty ones included.

    Args:
        resources: all resources of a photo.
        caption: the text; written as UTF-8 and marked so.
        name: what to call the photo in an error.

    Raises:
        MetadataError: the resources are damaged, or hold texts in another alphabet than UTF-8 next
            to which this caption cannot stand.
    """
    parts, rest = _split_resources(resources, name)
    old = next((part.content for part in parts if part.number == _IPTC), b"")
    records = _set_record(old, caption, name)
    new = {_IPTC: _resource(_IPTC, records)}
    if any(
        part.number == _DIGEST for part in parts
    ):  # or readers would take the records for altered
        new[_DIGEST] = _resource(_DIGEST, md5(records, usedforsecurity=False).digest())
    replaced = set(new)
    raw = [new.pop(p.number, b"") if p.number in replaced else p.raw for p in parts]
    return b"".join([*raw, *new.values(), rest])


def get_caption(resources: bytes, *, name: str) -> str | None:
    """Read the caption from Photoshop resources.

    Raises:
        MetadataError: the resources are damaged.
    """
    parts, _ = _split_resources(resources, name)
    records = next((part.content for part in parts if part.number == _IPTC), b"")
    return read_record(records, name=name)


def read_record(records: bytes, *, name: str) -> str | None:
    """Read the caption from the data sets themselves, as TIFF files hold them.

    Raises:
        MetadataError: the data sets are damaged.
    """
    sets, _ = _split_records(records, name)
    caption = next((part.content for part in sets if part.key == _CAPTION), None)
    if caption is None:
        return None
    try:
        return caption.decode()
    except UnicodeDecodeError:  # from before UTF-8; nothing tells more
        return caption.decode("cp1252", errors="replace")


def _split_resources(resources: bytes, name: str) -> tuple[list[_Resource], bytes]:
    """Split into resources, and the zeros some writers leave behind them."""
    parts, start = [], 0
    while resources[start : start + 4] in _KINDS:
        if start + 7 > len(resources):
            raise _damaged(name)
        head = start + 6 + (resources[start + 6] + 2) // 2 * 2  # a name of even length
        if head + 4 > len(resources):
            raise _damaged(name)
        (number,) = struct.unpack_from(">H", resources, start + 4)
        (length,) = struct.unpack_from(">I", resources, head)
        end = head + 4 + length
        if end > len(resources):
            raise _damaged(name)
        padded = min(end + length % 2, len(resources))
        kind = number if resources[start : start + 4] == b"8BIM" else -1
        parts.append(_Resource(kind, resources[head + 4 : end], resources[start:padded]))
        start = padded
    rest = resources[start:]
    if rest.strip(b"\0"):
        raise _damaged(name)
    return parts, rest


def _resource(number: int, content: bytes) -> bytes:
    padding = b"\0" * (len(content) % 2)
    return b"8BIM" + struct.pack(">H2xI", number, len(content)) + content + padding


def _set_record(records: bytes, caption: str, name: str) -> bytes:
    """Put the caption into the data sets."""
    sets, rest = _split_records(records, name)
    text = caption.encode()[:LONGEST].decode(errors="ignore").encode()
    charset = next((part.content for part in sets if part.key == _CHARSET), None)
    if charset != _UTF8:
        others = b"".join(p.content for p in sets if p.key[0] == 2 and p.key != _CAPTION)
        foreign = charset is not None or not _is_utf8(others)
        if foreign and not caption.isascii():
            raise MetadataError(
                f"{name}: its IPTC texts are not in UTF-8, and {caption!r} has letters beyond "
                "ASCII; convert them first, or write a sidecar."
            )
        if not foreign:
            sets.insert(0, _data_set(_CHARSET, _UTF8))
    if all(part.key != _VERSION for part in sets):
        sets.append(_data_set(_VERSION, struct.pack(">H", 4)))
    place = next((n for n, part in enumerate(sets) if part.key == _CAPTION), len(sets))
    sets = [part for part in sets if part.key != _CAPTION]
    sets.insert(place, _data_set(_CAPTION, text))
    sets.sort(key=lambda part: (part.key[0], part.key[1] != 0))  # a record starts with its version
    return b"".join([*(part.raw for part in sets), rest])


def _split_records(records: bytes, name: str) -> tuple[list[_DataSet], bytes]:
    """Split into data sets, and the zeros some writers leave behind them."""
    sets, start = [], 0
    while records[start : start + 1] == b"\x1c":
        if start + 5 > len(records):
            raise _damaged(name)
        record, number, length = struct.unpack_from(">BBH", records, start + 1)
        begin = start + 5
        if length & 0x8000:  # an extended data set: so many bytes tell its length
            begin += length & 0x7FFF
            length = int.from_bytes(records[start + 5 : begin])
        if begin + length > len(records):
            raise _damaged(name)
        end = begin + length
        sets.append(_DataSet((record, number), records[begin:end], records[start:end]))
        start = end
    if records[start:].strip(b"\0"):
        raise _damaged(name)
    return sets, records[start:]


def _data_set(key: tuple[int, int], content: bytes) -> _DataSet:
    raw = b"\x1c" + struct.pack(">BBH", *key, len(content)) + content
    return _DataSet(key, content, raw)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _damaged(name: str) -> MetadataError:
    return MetadataError(f"{name}: its IPTC texts are damaged; remove them, or write a sidecar.")
