"""Metadata of a JPEG: Exif and XMP in APP1 segments, Photoshop resources in APP13.

Everything from the first scan on, whatever follows the picture included, is never looked at and
stays as it is.

Sources: ITU-T T.81 annex B (markers); ISO 16684-3, 1.1.3 (XMP and extended XMP); Adobe Photoshop
File Formats Specification (APP13).
"""

import struct
from dataclasses import dataclass

from captioner.errors import MetadataError
from captioner.metadata import exif, mpf, previews, xmp

_SCAN, _END, _APP0, _APP1, _APP2, _APP11, _APP13 = 0xDA, 0xD9, 0xE0, 0xE1, 0xE2, 0xEB, 0xED
_ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length
_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENDED = b"http://ns.adobe.com/xmp/extension/\0"
_DIGEST = 32  # bytes; behind it 4 of length and 4 of offset
_PHOTOSHOP = b"Photoshop 3.0\0"
_MPF = b"MPF\0"
_LONGEST = 65533  # bytes of a segment's content


@dataclass(frozen=True)
class _Segment:
    marker: int
    content: bytes
    raw: bytes
    """All its bytes; fill bytes before the marker too."""

    def holds(self, marker: int, signature: bytes) -> bool:
        return self.marker == marker and self.content.startswith(signature)


def is_enough(data: bytes) -> bool:
    """Whether the beginning of a file holds all its metadata."""
    try:
        _split(data, "")
    except MetadataError:
        return False
    return True


def read_xmp(data: bytes, name: str) -> bytes | None:
    """The XMP packet; None if there is none."""
    segments, _ = _split(data, name)
    packets = [s.content[len(_XMP) :] for s in segments if s.holds(_APP1, _XMP)]
    if len(packets) > 1:
        raise MetadataError(f"{name}: it holds {len(packets)} XMP packets; leave only one.")
    return packets[0] if packets else None


def read_fixed(data: bytes, name: str) -> list[str]:
    """The captions that cannot be changed: those in extended XMP, a packet in several segments.

    And those in further Exif data behind the first, which some programs leave there.
    """
    segments, _ = _split(data, name)
    further = _exif_blocks(segments)[1:]
    parts = [s.content[len(_EXTENDED) :] for s in segments if s.holds(_APP1, _EXTENDED)]
    parts.sort(key=lambda part: part[_DIGEST : _DIGEST + 8])  # by length of all and offset of each
    extended = b"".join(part[_DIGEST + 8 :] for part in parts)
    captions = xmp.get_captions(extended, name=name) if extended else []
    return captions + [caption for block in further for caption in exif.get_captions(block)]


def write_xmp(data: bytes, packet: bytes, name: str) -> bytes:
    """Put an XMP packet in the place of the old one, or else behind the Exif data.

    Raises:
        MetadataError: the packet is too long.
    """
    if len(_XMP + packet) > _LONGEST:
        packet = xmp.without_padding(packet)
    if len(_XMP + packet) > _LONGEST:
        raise MetadataError(
            f"{name}: its XMP would be {len(packet)} bytes, more than the {_LONGEST - len(_XMP)} "
            "a JPEG can hold; write a sidecar."
        )
    return _replace(data, name, _APP1, _XMP, [packet])


def read_exif(data: bytes, name: str) -> bytes | None:
    """The Exif data, a TIFF structure; None if there is none."""
    blocks = _exif_blocks(_split(data, name)[0])
    return blocks[0] if blocks else None


def write_exif(data: bytes, block: bytes, name: str) -> bytes:
    """Put Exif data in the place of the old; further data stays behind it.

    Raises:
        MetadataError: it is too long.
    """
    if len(_EXIF + block) > _LONGEST:
        raise MetadataError(
            f"{name}: its Exif data would be {len(block)} bytes, more than the "
            f"{_LONGEST - len(_EXIF)} a JPEG can hold; write a sidecar."
        )
    further = _exif_blocks(_split(data, name)[0])[1:]
    return _replace(data, name, _APP1, _EXIF, [block, *further])


def _exif_blocks(segments: list[_Segment]) -> list[bytes]:
    return [s.content[len(_EXIF) :] for s in segments if s.holds(_APP1, _EXIF)]


def read_resources(data: bytes, name: str) -> bytes:
    """All Photoshop resources, which may fill several segments."""
    segments, _ = _split(data, name)
    parts = [s.content[len(_PHOTOSHOP) :] for s in segments if s.holds(_APP13, _PHOTOSHOP)]
    return b"".join(parts)


def write_resources(data: bytes, resources: bytes, name: str) -> bytes:
    """Put Photoshop resources in the place of the old ones, or else behind the XMP."""
    room = _LONGEST - len(_PHOTOSHOP)
    parts = [resources[n : n + room] for n in range(0, len(resources), room)]
    return _replace(data, name, _APP13, _PHOTOSHOP, parts)


def _split(data: bytes, name: str) -> tuple[list[_Segment], int]:
    """The segments before the first scan, and where it begins."""
    segments: list[_Segment] = []
    start = 2
    while True:
        place = start
        while data[place : place + 2] == b"\xff\xff":
            place += 1
        if data[place : place + 1] != b"\xff" or place + 4 > len(data):
            raise MetadataError(f"{name}: damaged or cut short; copy or download it again.")
        marker = data[place + 1]
        if marker == _SCAN:
            return segments, start
        if marker == _END:
            raise MetadataError(f"{name}: it holds no picture; copy or download it again.")
        alone = marker in _ALONE
        end = place + 2 + (0 if alone else int.from_bytes(data[place + 2 : place + 4]))
        if end > len(data) or (not alone and end < place + 4):
            raise MetadataError(f"{name}: damaged or cut short; copy or download it again.")
        segments.append(_Segment(marker, data[place + 4 : end], data[start:end]))
        start = end


def _replace(data: bytes, name: str, marker: int, signature: bytes, contents: list[bytes]) -> bytes:
    """Put segments of one kind in the place of the old ones of that kind."""
    segments, scans = _split(data, name)
    if any(s.marker == _APP11 and b"c2pa" in s.content for s in segments):
        raise MetadataError(
            f"{name}: it carries Content Credentials, a signature that any change would break; "
            "write a sidecar."
        )
    old = [n for n, s in enumerate(segments) if s.holds(marker, signature)]
    first = [
        n
        for n, s in enumerate(segments)
        if s.marker == _APP0 or s.holds(_APP1, _EXIF[:5]) or s.holds(_APP1, _XMP)
    ]
    place = old[0] if old else max(first, default=-1) + 1
    new = [_segment(marker, signature + content) for content in contents]
    kept = [s for n, s in enumerate(segments) if n not in old]
    changed = _with_pictures_found(data, [*kept[:place], *new, *kept[place:]], name)
    return b"".join([data[:2], *(s.raw for s in changed), memoryview(data)[scans:]])


def _segment(marker: int, content: bytes) -> _Segment:
    return _Segment(marker, content, struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content)


def _with_pictures_found(data: bytes, new: list[_Segment], name: str) -> list[_Segment]:
    """Tell what points to further pictures in the file how far they have moved.

    Args:
        data: the file before.
        new: its segments now.
        name: what to call the photo in an error.
    """
    old, scans = _split(data, name)
    changed = list(new)
    for n, segment in enumerate(new):
        for marker, signature in ((_APP2, _MPF), (_APP1, _EXIF)):
            if not segment.holds(marker, signature):
                continue
            same = [m for m, s in enumerate(old) if s.holds(marker, signature)]
            before = old.index(segment) if segment in old else same[0]
            behind = _length(new[n:]) - _length(old[before:])
            content = segment.content[len(signature) :]
            if marker == _APP2:
                growth = _length(new) - _length(old)
                content = mpf.moved(content, growth=growth, behind=behind, name=name)
            else:
                was = old[before]
                at = 2 + _length(old[:before]) + len(was.raw) - len(was.content) + len(signature)
                content = previews.moved(content, data, at=at, scans=scans, growth=behind)
            raw = segment.raw[: -len(content)] + content
            changed[n] = _Segment(marker, signature + content, raw)
    return changed


def _length(segments: list[_Segment]) -> int:
    return sum(len(s.raw) for s in segments)
