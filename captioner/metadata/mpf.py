"""The index of a JPEG that holds several pictures, as phones write for a gain map or a preview.

Source: CIPA DC-007 (Multi-Picture Format), section 5: a TIFF directory whose offsets count from its
own first byte, and whose entries tell the size and the place of every picture.
"""

import struct

from captioner.errors import MetadataError

_ENTRIES = 0xB002
_ENTRY = 16  # bytes: attributes, size, offset, two dependent pictures


def moved(index: bytes, *, growth: int, behind: int, name: str) -> bytes:
    """Correct the index after the first picture has grown.

    Args:
        index: from its byte order mark on.
        growth: bytes that the first picture has grown.
        behind: bytes of them that lie behind the index; so far the other pictures moved from it.
        name: what to call the photo in an error.

    Raises:
        MetadataError: the index is damaged.
    """
    changed = bytearray(index)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(index[:4])
    try:
        if order is None:
            raise ValueError
        (directory,) = struct.unpack_from(f"{order}I", index, 4)
        (fields,) = struct.unpack_from(f"{order}H", index, directory)
        for n in range(fields):
            tag, _, size, start = struct.unpack_from(f"{order}HHII", index, directory + 2 + 12 * n)
            for entry in range(start, start + size, _ENTRY) if tag == _ENTRIES else ():
                length, offset = struct.unpack_from(f"{order}II", index, entry + 4)
                is_first = offset == 0  # by definition, wherever the index lies
                length, offset = (length + growth, 0) if is_first else (length, offset + behind)
                struct.pack_into(f"{order}II", changed, entry + 4, length, offset)
    except (struct.error, ValueError) as error:
        raise MetadataError(
            f"{name}: its index of pictures is damaged; write a sidecar."
        ) from error
    return bytes(changed)
