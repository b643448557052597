"""The index of a multi-picture JPEG, which phones write for gain maps and previews.

Source: CIPA DC-007 (Multi-Picture Format), section 5: a TIFF directory whose offsets are relative
to its first byte, and whose entries give size and offset of every image.
"""

import struct

from captioner.errors import MetadataError
from captioner.metadata.ifd import TiffStructure

_ENTRIES = 0xB002
_ENTRY = 16  # bytes: attributes, size, offset, two dependent pictures


def moved(index: bytes, *, growth: int, behind: int) -> bytes:
    """Correct the index after the first image has grown.

    Args:
        index: the MPF segment's content, starting with the byte order mark.
        growth: bytes by which the first image has grown.
        behind: how many of these bytes come after the index; other images shift by that much
            relative to it.

    Raises:
        MetadataError: the index is damaged.
    """
    changed = bytearray(index)
    try:
        block = TiffStructure(index)
        for field in block.fields(block.first):
            for entry in range(field.start, field.end, _ENTRY) if field.tag == _ENTRIES else ():
                length, offset = struct.unpack_from(f"{block.order}II", index, entry + 4)
                is_first = offset == 0  # by definition, wherever the index lies
                length, offset = (length + growth, 0) if is_first else (length, offset + behind)
                struct.pack_into(f"{block.order}II", changed, entry + 4, length, offset)
    except (struct.error, ValueError) as error:
        raise MetadataError("its index of images (MPF) is damaged; write a sidecar.") from error
    return bytes(changed)
