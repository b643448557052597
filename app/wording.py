"""What overlays show, in words: for those who cannot see them, and for programs that read."""

import numpy as np
from numpy.typing import NDArray

from captioner import Caption, Word
from captioner.overlay import (
    DIFFUSE,
    diagnose,
    entropy,
    format_peak,
    format_probability,
    peak,
    spread,
)

_LONGER_SIDE = 480


def describe(caption: Caption) -> str:
    """Say in lines what a caption is, where each word attended, and what was nearly said."""
    if not caption.words:
        return "Empty caption."
    lines = [caption.text, *caption.judgement.doubts, "", "Word by word:"]
    lines += [f"- {note(word, spread_word(caption, n))}" for n, word in enumerate(caption.words)]
    lines += diagnose(caption.words)
    if caption.candidates:
        scored = [(caption.score, "this caption")]
        scored += [(c.score, c.text) for c in caption.candidates]
        lines += ["", "Candidates by score (length-normalised log-probability):"]
        lines += [f"- {score:.3f} {text}" for score, text in scored]
    return "\n".join([*lines, "", f"Written by {caption.checkpoint}."])


def note(word: Word, weights: NDArray[np.float32]) -> str:
    """Say about a word what its overlay shows, as the page says it.

    Args:
        word: of a caption.
        weights: its attention, spread over the photo.
    """
    everywhere = entropy(word.attention) >= DIFFUSE
    told = [
        f"{word.text}: {format_probability(word.probability)}{', doubtful' * word.doubtful}",
        format_peak(peak(word.attention)),
        "nearly everywhere" if everywhere else f"most at the {place(weights)}",
    ]
    if word.gate is not None:
        told.append(f"gate {format_probability(word.gate)}")
    return ", ".join(told)


def place(weights: NDArray[np.float32]) -> str:
    """Say in words where the heaviest weight lies."""
    height, width = weights.shape
    row, column = divmod(int(weights.argmax()), width)
    down = ("top", "", "bottom")[min(3 * row // height, 2)]
    across = ("left", "", "right")[min(3 * column // width, 2)]
    return " ".join(part for part in (down, across) if part) or "centre"


def spread_word(caption: Caption, number: int) -> NDArray[np.float32]:
    """Weight of every pixel for one word, as large as overlays are drawn."""
    geometry = caption.geometry
    ratio = _LONGER_SIDE / max(geometry.height, geometry.width)
    size = (max(1, round(geometry.height * ratio)), max(1, round(geometry.width * ratio)))
    return spread(caption.words[number].attention, geometry, smooth=True, size=size)
