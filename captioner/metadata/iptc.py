"""The caption in IPTC-IIM: data set 2:120, in the Photoshop resources of a JPEG.

All other data sets and resources are preserved byte for byte.

Sources: IPTC-NAA Information Interchange Model 4.2, sections 1.5 (data sets), 5 and 6 (records 1
and 2); Adobe Photoshop File Formats Specification, Image Resources Section.
"""

import struct
from hashlib import md5

from captioner.errors import MetadataError
from captioner.metadata.parts import Kind, Part, decoded

LONGEST = 2000
"""Maximum size of data set 2:120 in bytes; longer captions are cut at a character boundary."""

_IPTC, _DIGEST = 0x0404, 0x0425  # resources: the records, and their MD5
_CHARSET, _VERSION, _CAPTION = (1, 90), (2, 0), (2, 120)  # record and number of a data set
_UTF8 = b"\x1b%G"
_KINDS = (b"8BIM", b"MeSa", b"PHUT", b"AgHg", b"DCSR")
_DAMAGED = "its IPTC texts are damaged; remove them, or write a sidecar."

_Resource = Part[int]
_DataSet = Part[tuple[int, int]]


def set_caption(resources: bytes, caption: str) -> bytes:
    """Write a caption into Photoshop resources, which may be empty.

    Args:
        resources: all resources of a photo.
        caption: written as UTF-8 and declared so; empty removes the old caption.

    Raises:
        MetadataError: the resources are damaged, or their text encoding is not UTF-8 and cannot
            hold this caption.
    """
    parts, rest = _split_resources(resources)
    if not caption and _find(parts, _IPTC) is None:
        return resources
    records = _set_record(_find(parts, _IPTC) or b"", caption)
    new = {_IPTC: _resource(_IPTC, records)}
    if _find(parts, _DIGEST) is not None:  # keep the digest valid, or readers distrust the records
        new[_DIGEST] = _resource(_DIGEST, md5(records, usedforsecurity=False).digest())
    replaced = set(new)
    raw = [new.pop(p.kind, b"") if p.kind in replaced else p.raw for p in parts]
    return b"".join([*raw, *new.values(), rest])


def get_caption(resources: bytes) -> str | None:
    """Read the caption from Photoshop resources.

    Raises:
        MetadataError: the resources are damaged.
    """
    parts, _ = _split_resources(resources)
    return read_record(_find(parts, _IPTC) or b"")


def read_record(records: bytes) -> str | None:
    """Read the caption from bare data sets, as in TIFF files.

    Raises:
        MetadataError: the data sets are damaged.
    """
    sets, _ = _split_records(records)
    caption = _find(sets, _CAPTION)
    return None if caption is None else decoded(caption)


def _find(parts: list[Part[Kind]], kind: Kind) -> bytes | None:
    """Return the content of the first part of a kind."""
    return next((part.content for part in parts if part.kind == kind), None)


def _split_resources(resources: bytes) -> tuple[list[_Resource], bytes]:
    """Split into resources and the zero padding that some writers append."""
    parts, start = [], 0
    while (signature := resources[start : start + 4]) in _KINDS:
        try:
            (number, name) = struct.unpack_from(">HB", resources, start + 4)
            head = start + 6 + (name + 2) // 2 * 2  # a name of even length
            (length,) = struct.unpack_from(">I", resources, head)
        except struct.error as error:
            raise MetadataError(_DAMAGED) from error
        end = head + 4 + length
        if end > len(resources):
            raise MetadataError(_DAMAGED)
        padded = min(end + length % 2, len(resources))
        kind = number if signature == b"8BIM" else -1
        parts.append(Part(kind, resources[head + 4 : end], resources[start:padded]))
        start = padded
    if resources[start:].strip(b"\0"):
        raise MetadataError(_DAMAGED)
    return parts, resources[start:]


def _resource(number: int, content: bytes) -> bytes:
    padding = b"\0" * (len(content) % 2)
    return b"8BIM" + struct.pack(">H2xI", number, len(content)) + content + padding


def _set_record(records: bytes, caption: str) -> bytes:
    """Write the caption into the data sets."""
    sets, rest = _split_records(records)
    text = caption.encode()[:LONGEST].decode(errors="ignore").encode()
    charset = _find(sets, _CHARSET)
    if charset != _UTF8:
        others = b"".join(p.content for p in sets if p.kind[0] == 2 and p.kind != _CAPTION)
        foreign = charset is not None or not _is_utf8(others)
        if foreign and not caption.isascii():
            raise MetadataError(
                f"its IPTC texts are not UTF-8, but {caption!r} is not ASCII; convert them first, "
                "or write a sidecar."
            )
        if not foreign:
            sets.insert(0, _data_set(_CHARSET, _UTF8))
    if _find(sets, _VERSION) is None:
        sets.append(_data_set(_VERSION, struct.pack(">H", 4)))
    place = next((n for n, part in enumerate(sets) if part.kind == _CAPTION), len(sets))
    sets = [part for part in sets if part.kind != _CAPTION]
    if text:
        sets.insert(place, _data_set(_CAPTION, text))
    sets.sort(key=lambda part: (part.kind[0], part.kind[1] != 0))  # version first in each record
    return b"".join([*(part.raw for part in sets), rest])


def _split_records(records: bytes) -> tuple[list[_DataSet], bytes]:
    """Split into data sets and the zero padding that some writers append."""
    sets, start = [], 0
    while records[start : start + 1] == b"\x1c":
        begin = start + 5
        if begin > len(records):
            raise MetadataError(_DAMAGED)
        record, number, length = struct.unpack_from(">BBH", records, start + 1)
        if length & 0x8000:  # extended data set: the length field itself has this length
            begin += length & 0x7FFF
            length = int.from_bytes(records[start + 5 : begin])
        end = begin + length
        if end > len(records):
            raise MetadataError(_DAMAGED)
        sets.append(Part((record, number), records[begin:end], records[start:end]))
        start = end
    if records[start:].strip(b"\0"):
        raise MetadataError(_DAMAGED)
    return sets, records[start:]


def _data_set(key: tuple[int, int], content: bytes) -> _DataSet:
    return Part(key, content, b"\x1c" + struct.pack(">BBH", *key, len(content)) + content)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
