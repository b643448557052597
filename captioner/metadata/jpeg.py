"""Metadata of a JPEG: Exif and XMP in APP1 segments, Photoshop resources in APP13.

Everything from the first scan on, including data after the image, is copied without parsing.

Sources: ITU-T T.81 annex B (markers); ISO 16684-3, 1.1.3 (XMP and extended XMP); Adobe Photoshop
File Formats Specification (APP13).
"""

import struct
from collections.abc import Collection

from captioner.errors import MetadataError
from captioner.metadata import exif, iptc, previews, xmp
from captioner.metadata.parts import DAMAGED, NO_PICTURE, SIGNED, Part, PhotoFile, only
from captioner.metadata.placeholders import captions_in

SIGNATURE = b"\xff\xd8\xff"
_SCAN, _END = 0xDA, 0xD9
_ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length
_LONGEST = 65533  # maximum size of a segment's content, in bytes
_DIGEST = 32  # bytes of extended XMP's digest, followed by 4 of length and 4 of offset

_Place = tuple[int, bytes]
"""Marker of a segment, and the signature of its content."""
_EXIF = 0xE1, b"Exif\0\0"
_XMP = 0xE1, b"http://ns.adobe.com/xap/1.0/\0"
_EXTENDED = 0xE1, b"http://ns.adobe.com/xmp/extension/\0"
_PHOTOSHOP = 0xED, b"Photoshop 3.0\0"
_MPF = 0xE2, b"MPF\0"
_FIRST = ((0xE0, b""), (0xE1, b"Exif\0"), _XMP)
"""Segments that must come first."""


def is_enough(data: bytes) -> bool:
    """Whether the start of a file includes all its metadata."""
    try:
        _split(data)
    except MetadataError:
        return False
    return True


class Jpeg(PhotoFile):
    """A JPEG file: the segments before its first scan, and the rest."""

    FIXED = "extended XMP or Exif"

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._old, self._scan = _split(data)
        self._parts = list(self._old)

    def read_xmp(self) -> bytes | None:
        """Return the XMP packet; None if there is none."""
        return only(self._contents(_XMP), "XMP packets")

    def write_xmp(self, packet: bytes) -> None:
        """Replace the XMP packet, or insert it after the Exif data."""
        room = _LONGEST - len(_XMP[1])
        if len(packet) > room:
            packet = xmp.without_padding(packet)
        self._require_room(packet, room, "XMP")
        self._replace(_XMP, [packet])

    def read_exif(self) -> bytes | None:
        """Return the Exif data, a TIFF structure; None if there is none."""
        return next(iter(self._contents(_EXIF)), None)

    def write_exif(self, block: bytes) -> None:
        """Replace the first Exif segment; further ones are kept."""
        self._require_room(block, _LONGEST - len(_EXIF[1]), "Exif data")
        self._replace(_EXIF, [block, *self._contents(_EXIF)[1:]])

    def read_texts(self) -> tuple[list[str], list[str]]:
        """Return the caption in IPTC records."""
        return captions_in(iptc.get_caption(self._resources())), []

    def write_texts(self, caption: str, outdated: Collection[str]) -> None:
        """Write the caption into IPTC records."""
        old = self._resources()
        new = iptc.set_caption(old, caption)
        if new != old:
            room = _LONGEST - len(_PHOTOSHOP[1])
            self._replace(_PHOTOSHOP, [new[n : n + room] for n in range(0, len(new), room)])

    def read_fixed(self) -> list[str]:
        """Return the captions in extended XMP, which spans segments, and in further Exif data."""
        parts = self._contents(_EXTENDED)
        parts.sort(key=lambda part: part[_DIGEST : _DIGEST + 8])  # by total length, then offset
        extended = b"".join(part[_DIGEST + 8 :] for part in parts)
        captions = xmp.get_captions(extended) if extended else []
        for block in self._contents(_EXIF)[1:]:
            captions += exif.read_captions(block)[0]
        return captions

    def to_bytes(self) -> bytes:
        """Return the file, with pointers to further images adjusted."""
        parts = list(self._parts)
        growth = _length(parts) - _length(self._old)
        for place in (_MPF, _EXIF):
            for was, n in zip(_find(self._old, place), _find(parts, place), strict=True):
                part, begin = parts[n], len(place[1])
                behind = _length(parts[n:]) - _length(self._old[was:])
                content = part.content[begin:]
                if place is _MPF:
                    content = previews.moved_index(content, growth=growth, behind=behind)
                else:
                    at = 2 + _length(self._old[: was + 1]) - len(self._old[was].content) + begin
                    content = previews.moved(
                        content, self._data, at=at, scans=self._scan, growth=behind
                    )
                raw = bytes(part.raw[: -len(content)]) + content
                parts[n] = Part(part.kind, place[1] + content, raw)
        rest = memoryview(self._data)[self._scan :]
        return b"".join([self._data[:2], *(part.raw for part in parts), rest])

    def _contents(self, place: _Place) -> list[bytes]:
        return [self._parts[n].content[len(place[1]) :] for n in _find(self._parts, place)]

    def _resources(self) -> bytes:
        """Return all Photoshop resources, which may span several segments."""
        return b"".join(self._contents(_PHOTOSHOP))

    def _require_room(self, content: bytes, room: int, called: str) -> None:
        if len(content) > room:
            raise MetadataError(
                f"its {called} would be {len(content)} bytes, more than the {room} a JPEG can "
                "hold; write a sidecar."
            )

    def _replace(self, place: _Place, contents: list[bytes]) -> None:
        """Replace the segments of a kind, or insert them after those that must come first."""
        if any(part.kind == 0xEB and b"c2pa" in part.content for part in self._parts):
            raise MetadataError(SIGNED)
        old = _find(self._parts, place)
        first = [n for other in _FIRST for n in _find(self._parts, other)]
        start = old[0] if old else max(first, default=-1) + 1
        new = [_segment(place, content) for content in contents]
        kept = [part for n, part in enumerate(self._parts) if n not in old]
        self._parts = [*kept[:start], *new, *kept[start:]]


def _split(data: bytes) -> tuple[list[Part[int]], int]:
    """Return the segments before the first scan, and the scan's offset."""
    parts: list[Part[int]] = []
    start = 2
    while True:
        place = start
        while data[place : place + 2] == b"\xff\xff":
            place += 1
        if data[place : place + 1] != b"\xff" or place + 4 > len(data):
            raise MetadataError(DAMAGED)
        marker = data[place + 1]
        if marker == _SCAN:
            return parts, start
        if marker == _END:
            raise MetadataError(NO_PICTURE)
        alone = marker in _ALONE
        end = place + 2 + (0 if alone else int.from_bytes(data[place + 2 : place + 4]))
        if end > len(data) or (not alone and end < place + 4):
            raise MetadataError(DAMAGED)
        parts.append(Part(marker, data[place + 4 : end], data[start:end]))
        start = end


def _find(parts: list[Part[int]], place: _Place) -> list[int]:
    """Return the indices of the segments of a kind."""
    marker, signature = place
    return [
        n
        for n, part in enumerate(parts)
        if part.kind == marker and part.content.startswith(signature)
    ]


def _segment(place: _Place, content: bytes) -> Part[int]:
    marker, content = place[0], place[1] + content
    head = struct.pack(">BBH", 0xFF, marker, 2 + len(content))
    return Part(marker, content, head + content)


def _length(parts: list[Part[int]]) -> int:
    return sum(len(part.raw) for part in parts)
