"""What an odd photo is, and the parts that its file is made of."""

import struct
import zlib
from dataclasses import dataclass

from PIL import Image

from tests.photos import noise, quarters

DAMAGED = r"damaged or cut short \(.+\); copy or download it again\."
UNREAD = r"of a kind that cannot be read \(.+\); save it as JPEG or PNG\."
NO_IMAGE = r"not an image \(it starts with .+\); save it as JPEG or PNG\."
MISSING = r".+ are read by .+; install it \(pip install 'captioner\[.+\]'\), or save it as JPEG\."
TOO_LARGE = r"(\d+ x \d+ is \d+ megapixels, )?over the limit of 178( megapixels)?; make it .+\."

FLAG = quarters()
FUZZ = noise(40, 60)


@dataclass(frozen=True)
class Odd:
    """A photo, and what is expected of it."""

    name: str
    """Its file name, unlike any other."""
    content: bytes
    shown: Image.Image | None = None
    """What it looks like; None if it fails, or either is right."""
    tolerance: int = 0
    """Levels of 255 by which it may differ."""
    reason: str | None = None
    """Why it fails, as a regular expression; None if it is shown, or either is right."""


def chunk(kind: bytes, content: bytes, *, check: int = 0) -> bytes:
    """A chunk of a PNG; `check` spoils its check sum."""
    total = zlib.crc32(kind + content) ^ check
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", total)


def segment(marker: int, content: bytes) -> bytes:
    """A segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
