"""Reads captions from formats that are never written; damaged metadata is ignored.

HEIC, AVIF, JPEG XL, PSD and most raw files store XMP and Exif uncompressed, so both are found by
their signatures.

Sources: TIFF 6.0, section 8 (ImageDescription); Adobe, TIFF Technical Notes (XMP, IPTC-NAA and
Photoshop resources in TIFF fields).
"""

import re
from contextlib import suppress
from itertools import islice

from captioner.errors import MetadataError
from captioner.metadata import exif, iptc, xmp
from captioner.metadata.ifd import HEADS, TiffStructure
from captioner.metadata.placeholders import captions_in

_XMP, _RECORDS, _RESOURCES = 0x02BC, 0x83BB, 0x8649
_START, _END = b"<x:xmpmeta", b"</x:xmpmeta>"
_EXIF = re.compile(rb"Exif\0\0(?=II\*\0|MM\0\*)")
_LONGEST = 2**24  # maximum size of Exif data, in bytes
_MOST = 8  # blocks of each kind that are parsed


def read_captions(data: bytes) -> tuple[list[str], list[str]]:
    """Return the captions in XMP, Exif and IPTC, and texts that may be captions."""
    return _in_tiff(data) if data.startswith(HEADS) else _anywhere(data)


def _in_tiff(data: bytes) -> tuple[list[str], list[str]]:
    """Return the captions of a TIFF file, or of a raw file based on TIFF."""
    own, remarks = exif.read_captions(data)
    captions: list[str] = []
    with suppress(ValueError, MetadataError):
        captions += xmp.get_captions(TiffStructure(data).get(_XMP) or b"")
    captions += own
    for tag, read in ((_RECORDS, iptc.read_record), (_RESOURCES, iptc.get_caption)):
        with suppress(ValueError, MetadataError):
            captions += captions_in(read(TiffStructure(data).get(tag) or b""))
    return captions, remarks


def _anywhere(data: bytes) -> tuple[list[str], list[str]]:
    captions: list[str] = []
    remarks: list[str] = []
    end = 0
    for _ in range(_MOST):
        start = data.find(_START, end)
        end = data.find(_END, start) + len(_END)
        if start < 0 or end < start:
            break
        with suppress(MetadataError):
            captions += xmp.get_captions(data[start:end])
    for place in islice(_EXIF.finditer(data), _MOST):
        own, further = exif.read_captions(data[place.end() : place.end() + _LONGEST])
        captions, remarks = captions + own, remarks + further
    return captions, remarks
