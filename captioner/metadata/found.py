"""Captions in files of other kinds (HEIC, AVIF, JPEG XL, PSD, camera raw), which are only read.

XMP packets and Exif data lie in all of them as they are, so they are found by how they begin.
"""

import re
from contextlib import suppress

from captioner.errors import MetadataError
from captioner.metadata import exif, xmp

_PACKET = re.compile(rb"(?s)<x:xmpmeta\b.*?</x:xmpmeta\s*>")
_EXIF = re.compile(rb"Exif\0\0(?=II\*\0|MM\0\*)")


def read_captions(data: bytes, name: str) -> tuple[list[str], list[str]]:
    """The captions in XMP and Exif, and what may be captions; what is damaged holds none."""
    captions: list[str] = []
    remarks: list[str] = []
    for packet in _PACKET.finditer(data):
        with suppress(MetadataError):
            captions += xmp.get_captions(packet.group(), name=name)
    for start in _EXIF.finditer(data):
        captions += exif.get_captions(data[start.end() :])
        remarks += exif.get_remarks(data[start.end() :])
    return captions, remarks
