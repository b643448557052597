"""Marks on captions written by a model, and alt text.

Source: IPTC Photo Metadata Standard 2021.1, Alt Text (Accessibility).
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

Fields = Literal["caption", "both", "alt-text"]
"""Metadata fields to use: the caption, the alt text, or both."""

LONGEST_ALT_TEXT = 125
"""Characters; screen readers may cut off longer texts."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Marks a caption as written by a model."""

    model: str
    """Name of the checkpoint."""
    confidence: float | None = None
    """Confidence of the model, from 0 to 1; None if it is not calibrated."""


def text_digest(text: str) -> str:
    """Return the digest of a text without surrounding white space: 16 hexadecimal digits."""
    return blake2b(text.strip().encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def alt_text(caption: str) -> str:
    """Return a caption as alt text, cut at a word boundary if it is too long.

    A text without spaces, as in Chinese, is cut between characters.
    """
    text = " ".join(caption.split())
    if len(text) <= LONGEST_ALT_TEXT:
        return text
    whole = text[: LONGEST_ALT_TEXT + 1].rpartition(" ")[0] or text[:LONGEST_ALT_TEXT]
    return whole.rstrip(" ,;:-(")
