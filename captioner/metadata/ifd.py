"""TIFF structures: directories of fields, as in Exif data and TIFF files.

Values are changed without moving others: in place if they fit, otherwise at the end. All offsets
stay valid, including those inside maker notes, which cannot be corrected.

Sources: TIFF 6.0, section 2; CIPA DC-008 (Exif), 4.6.2 and 4.6.3; BigTIFF.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
          16: 8, 17: 8, 18: 8, 129: 1}  # fmt: skip
"""Bytes per item, by field type."""

HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"IIRO", b"IIRS", b"MMOR")
"""Signatures of TIFF, BigTIFF and Olympus raw files."""

EXIF, _GPS, _INTEROPERABILITY = 0x8769, 0x8825, 0xA005
_THUMBNAIL, _THUMBNAIL_SIZE = 0x0201, 0x0202


@dataclass(frozen=True)
class Field:
    """One field of a directory."""

    tag: int
    kind: int
    """Type of its items; 2 is ASCII."""
    place: int
    """Offset of the field itself, in bytes."""
    start: int
    """Offset of its value; short values lie inside the field."""
    end: int
    """Offset of the end of the value, exclusive."""


class TiffStructure:
    """A TIFF structure; its methods raise ValueError if it is damaged.

    Args:
        data: bytes of the structure, starting with the byte order mark.

    Raises:
        ValueError: the data has no TIFF header.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        head = data[:4]
        if head not in HEADS:
            raise ValueError("no TIFF header")
        self.order = "<" if head[:1] == b"I" else ">"
        self._big = b"+" in head
        self._number = "Q" if self._big else "I"
        self.first = self._unpack(self._number, 8 if self._big else 4)

    def fields(self, directory: int) -> list[Field]:
        """Return the fields of the directory at this offset."""
        count = self._unpack("Q" if self._big else "H", directory)
        head, step = (8, 20) if self._big else (2, 12)
        if directory < 8 or directory + head + step * count > len(self.data):
            raise ValueError("a directory outside the data")
        return [self._field(directory + head + step * n) for n in range(count)]

    def find(self, tag: int, directory: int | None = None) -> Field | None:
        """Return the field with this tag; searches the first directory by default."""
        directory = self.first if directory is None else directory
        return next((field for field in self.fields(directory) if field.tag == tag), None)

    def get(self, tag: int) -> bytes | None:
        """Return the value of a tag in the first directory; None if it is missing."""
        field = self.find(tag)
        return None if field is None else self.value(field)

    def value(self, field: Field) -> bytes:
        """Return a field's value as bytes."""
        if field.end > len(self.data):
            raise ValueError("a value outside the data")
        return self.data[field.start : field.end]

    def number(self, field: Field) -> int:
        """Return the value of a field that holds a single number or offset."""
        return int.from_bytes(self.value(field), "little" if self.order == "<" else "big")

    def with_value(self, field: Field, kind: int, value: bytes) -> "TiffStructure":
        """Return a copy with a new value of single-byte items; nothing else moves."""
        if self._big:
            raise ValueError("BigTIFF")
        data = bytearray(self.data)
        inside = field.place + 8
        own = field.start != inside and self._is_alone(field)
        if own:  # erase the old caption
            data[field.start : field.end] = bytes(field.end - field.start)
        struct.pack_into(f"{self.order}HI4x", data, field.place + 2, kind, len(value))
        start = inside
        if len(value) > 4:
            if own and len(value) <= field.end - field.start:
                start = field.start
            else:
                if own and field.end >= len(data) - 1:  # appended by an earlier change
                    del data[field.start :]
                data += bytes(len(data) % 2)  # offsets are even
                start = len(data)
            struct.pack_into(f"{self.order}I", data, inside, start)
        data[start : start + len(value)] = value
        return TiffStructure(bytes(data))

    def _is_alone(self, field: Field) -> bool:
        """Whether no other known data overlaps a field's value."""
        return field.end <= len(self.data) and all(
            end <= field.start or start >= field.end
            for place, start, end in self._occupied()
            if place != field.place
        )

    def _occupied(self) -> Iterator[tuple[int, int, int]]:
        """Yield the known byte ranges: offset of the owning field (-1: none), start, end."""
        yield -1, 0, 8
        waiting, seen = [self.first], set()
        while waiting:
            directory = waiting.pop()
            if not directory or directory in seen:
                continue
            seen.add(directory)
            try:
                fields = self.fields(directory)
            except ValueError:  # invalid pointer
                continue
            following = directory + 2 + 12 * len(fields)
            yield -1, directory, following + 4
            numbers = {}
            for field in fields:
                yield field.place, field.start, field.end
                if field.tag in (EXIF, _GPS, _INTEROPERABILITY, _THUMBNAIL, _THUMBNAIL_SIZE):
                    with suppress(ValueError):
                        numbers[field.tag] = self.number(field)
            thumbnail = numbers.get(_THUMBNAIL, 0)
            yield -1, thumbnail, thumbnail + numbers.get(_THUMBNAIL_SIZE, 0)
            waiting += [numbers.get(tag, 0) for tag in (EXIF, _GPS, _INTEROPERABILITY)]
            if directory == self.first and following + 4 <= len(self.data):
                waiting.append(self._unpack(self._number, following))  # thumbnail's directory

    def _field(self, place: int) -> Field:
        tag, kind = self._unpack("H", place), self._unpack("H", place + 2)
        size = self._unpack(self._number, place + 4) * _SIZES.get(kind, 1)
        room = 8 if self._big else 4
        inside = place + 4 + room
        start = inside if size <= room else self._unpack(self._number, inside)
        return Field(tag, kind, place, start, start + size)

    def _unpack(self, form: str, place: int) -> int:
        try:
            (number,) = struct.unpack_from(self.order + form, self.data, place)
        except (struct.error, OverflowError) as error:  # offset out of range
            raise ValueError(str(error)) from error
        assert isinstance(number, int)
        return number
