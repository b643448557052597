"""Captions in a TIFF file, or in a camera's raw file that is one, which are only read.

Sources: TIFF 6.0, section 8 (ImageDescription); Adobe, TIFF Technical Notes (XMP, IPTC-NAA and
Photoshop resources in TIFF fields).
"""

from contextlib import suppress

from captioner.errors import MetadataError
from captioner.metadata import exif, iptc, xmp
from captioner.metadata.ifd import HEADS, Block
from captioner.metadata.placeholders import caption_in

SIGNATURES = HEADS
_XMP, _RECORDS, _RESOURCES = 0x02BC, 0x83BB, 0x8649


def read_captions(data: bytes, name: str) -> tuple[list[str], list[str]]:
    """The captions in XMP, Exif and IPTC, and what may be captions; what is damaged holds none."""
    captions: list[str] = []
    with suppress(ValueError, MetadataError):
        captions += xmp.get_captions(_value(data, _XMP), name=name)
    captions += exif.get_captions(data)
    for tag, read in ((_RECORDS, iptc.read_record), (_RESOURCES, iptc.get_caption)):
        with suppress(ValueError, MetadataError):
            caption = caption_in(read(_value(data, tag), name=name))
            captions += [] if caption is None else [caption]
    return captions, exif.get_remarks(data)


def _value(data: bytes, tag: int) -> bytes:
    """Bytes of a field of the first picture.

    Raises:
        ValueError: there are none.
    """
    block = Block(data)
    field = block.find(tag)
    if field is None:
        raise ValueError("no such field")
    return block.value(field)
