"""Marks that identify captions written by a model, and alt text.

Source: IPTC Photo Metadata Standard 2021.1, Alt Text (Accessibility).
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

Fields = Literal["caption", "both", "alt-text"]
"""Which fields a text goes into: the caption's, or the alt text's, or both."""

LONGEST_ALT_TEXT = 125
"""Characters; screen readers may break off longer ones."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What is said of a caption beside it: that it is a model's, and of which text."""

    model: str
    """Name of the checkpoint."""
    confidence: float | None = None
    """As in the journal; None if the model cannot tell."""


def text_digest(text: str) -> str:
    """Digest of a text, stripped of whitespace: 16 hexadecimal digits."""
    return blake2b(text.strip().encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def alt_text(caption: str) -> str:
    """Return a caption as alt text, cut at a word boundary if it is too long.

    Without spaces, as in Chinese, it is cut between characters.
    """
    text = " ".join(caption.split())
    if len(text) <= LONGEST_ALT_TEXT:
        return text
    whole = text[: LONGEST_ALT_TEXT + 1].rpartition(" ")[0] or text[:LONGEST_ALT_TEXT]
    return whole.rstrip(" ,;:-(")
