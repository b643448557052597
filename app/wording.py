"""What overlays show, in words: for those who cannot see them, and for programs that read."""

import numpy as np
from numpy.typing import NDArray

from captioner import Caption, Word
from captioner.overlay import DIFFUSE, diagnose, entropy, spread

_LONGER_SIDE = 480


def describe(caption: Caption) -> str:
    """Say in lines what a caption is, where each word looked, and what was nearly said."""
    if not caption.words:
        return "The model has nothing to say."
    lines = [caption.text, "", "Word by word:"]
    lines += [f"- {note(word, spread_word(caption, n))}" for n, word in enumerate(caption.words)]
    lines += diagnose(caption.words)
    if caption.candidates:
        scored = [(caption.log_probability, "this caption")]
        scored += [(c.log_probability, c.text) for c in caption.candidates]
        lines += ["", "Log-probability of the candidates:"]
        lines += [f"- {score:.2f} {text}" for score, text in scored]
    return "\n".join([*lines, "", f"Written by {caption.checkpoint}."])


def note(word: Word, weights: NDArray[np.float32]) -> str:
    """Say about a word what its overlay shows.

    Args:
        word: of a caption.
        weights: its attention, spread over the photo.
    """
    everywhere = entropy(word.attention) >= DIFFUSE
    where = "nearly everywhere" if everywhere else f"most at the {place(weights)}"
    told = f"{word.text}: {percent(word.probability)} sure, looked {where}"
    return told if word.gate is None else f"{told}, gate {word.gate:.2f}"


def percent(probability: float) -> str:
    """Write a fraction as a percentage that is never rounded to certainty."""
    if 0 < probability < 0.005:
        return "<1%"
    if 0.995 <= probability < 1:
        return ">99%"
    return f"{probability:.0%}"


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
