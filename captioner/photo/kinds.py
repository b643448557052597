"""Image file signatures."""

import re

SNIFFED = 1024
"""Bytes read from the start of a file to identify it."""

JPEG = re.compile(rb"\xff\xd8\xff")
PNG = re.compile(rb"\x89PNG\r\n\x1a\n")
TIFF = re.compile(rb"II[*+]\0|MM\0[*+]")
PSD = re.compile(rb"8BPS\0[\1\2]")
JXL = re.compile(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n")
HEIF = re.compile(rb"....ftyp(hei[cmsx]|hev[cmsx]|mi[af][12f]|msf1)", re.DOTALL)
RAW = re.compile(
    rb"....ftypcrx |II\*\0....CR|FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\0|II\x1a\0\0\0HEAPCCDR|"
    rb"\0MRM|FOVb",
    re.DOTALL,
)
"""Camera raw files, except those with a plain TIFF signature such as DNG and NEF."""
SVG = re.compile(rb"\s*(<\?xml[^>]*>|<!--.*?-->|<!DOCTYPE[^>]*>|\s)*<svg[\s>]", re.DOTALL)

OTHERS = re.compile(
    rb"\x89PNG|GIF8[79]a|BM(?:....\0\0\0\0|.{0,7}\Z)|RIFF....WEBP|....ftypavi|\0\0\0\x0cjP  ",
    re.DOTALL,
)
"""Other formats that Pillow reads."""

_CERTAIN = (JPEG, TIFF, PSD, HEIF, RAW, OTHERS)


def has_photo_signature(head: bytes) -> bool:
    """Whether a file with these first 16 bytes is meant to be a photo, readable or not."""
    return head.startswith(b"\0\0\0\x0cJXL ") or any(kind.match(head) for kind in _CERTAIN)
