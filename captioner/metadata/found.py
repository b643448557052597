"""Captions in files of other kinds (HEIC, AVIF, JPEG XL, PSD, camera raw), which are only read.

XMP packets and Exif data lie in all of them as they are, so they are found by how they begin.
"""

import re
from contextlib import suppress
from itertools import islice

from captioner.errors import MetadataError
from captioner.metadata import exif, xmp

_START, _END = b"<x:xmpmeta", b"</x:xmpmeta>"
_EXIF = re.compile(rb"Exif\0\0(?=II\*\0|MM\0\*)")
_LONGEST = 2**24  # bytes of Exif data
_MOST = 8  # of each that are looked at


def read_captions(data: bytes, name: str) -> tuple[list[str], list[str]]:
    """The captions in XMP and Exif, and what may be captions; what is damaged holds none."""
    captions: list[str] = []
    remarks: list[str] = []
    end = 0
    for _ in range(_MOST):
        start = data.find(_START, end)
        end = data.find(_END, start) + len(_END)
        if start < 0 or end < start:
            break
        with suppress(MetadataError):
            captions += xmp.get_captions(data[start:end], name=name)
    for place in islice(_EXIF.finditer(data), _MOST):
        block = data[place.end() : place.end() + _LONGEST]
        captions += exif.get_captions(block)
        remarks += exif.get_remarks(block)
    return captions, remarks
