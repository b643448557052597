"""Captions and their attention as plain text."""

import numpy as np
from numpy.typing import NDArray

from captioner import Caption, Geometry, Word
from captioner.overlay import DIFFUSE, diagnose, entropy, format_peak, format_probability, peak


def describe(caption: Caption) -> str:
    """Return the caption, its words with probability and attention peak, and its candidates."""
    if not caption.words:
        return "Empty caption."
    lines = [caption.text, *caption.judgement.doubts, "", "Word by word:"]
    lines += [f"- {describe_word(word, caption.geometry)}" for word in caption.words]
    lines += diagnose(caption.words)
    if caption.candidates:
        scored = [(caption.score, "this caption")]
        scored += [(c.score, c.text) for c in caption.candidates]
        lines += ["", "Candidates by score (length-normalised log-probability):"]
        lines += [f"- {score:.3f} {text}" for score, text in scored]
    return "\n".join([*lines, "", f"Model: {caption.checkpoint}."])


def describe_word(word: Word, geometry: Geometry) -> str:
    """Return probability, attention peak and gate of a word, in the words of the page."""
    parts = [
        f"{word.text}: {format_probability(word.probability)}{', doubtful' * word.doubtful}",
        format_peak(peak(word.attention)),
        "nearly everywhere"
        if entropy(word.attention) >= DIFFUSE
        else f"most at the {locate_peak(word.attention, geometry)}",
    ]
    if word.gate is not None:
        parts.append(f"gate {format_probability(word.gate)}")
    return ", ".join(parts)


def locate_peak(attention: NDArray[np.float32], geometry: Geometry) -> str:
    """Name the position of the attention peak by thirds of the photo.

    Args:
        attention: (rows, columns) weights of the regions.
        geometry: the part of the photo that the regions tile, in pixels.
    """
    rows, cols = attention.shape
    row, col = divmod(int(attention.argmax()), cols)
    y = (geometry.top + (row + 0.5) / rows * geometry.seen_height) / geometry.height
    x = (geometry.left + (col + 0.5) / cols * geometry.seen_width) / geometry.width
    down = ("top", "", "bottom")[min(2, max(0, int(3 * y)))]
    across = ("left", "", "right")[min(2, max(0, int(3 * x)))]
    return " ".join(part for part in (down, across) if part) or "centre"
