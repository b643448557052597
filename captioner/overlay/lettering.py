"""Text in overlays: fonts, line breaks, formatted numbers."""

import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache

from PIL import ImageFont, features

from captioner.overlay.regions import peak
from captioner.result.caption import Caption, Word
from captioner.words.writing import is_right_to_left

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_FONTS = (
    None,
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansSC-Regular.otf",
    "NotoSansArabic-Regular.ttf",
    "NotoSansHebrew-Regular.ttf",
    "NotoSansThai-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansBengali-Regular.ttf",
    "NotoSansTamil-Regular.ttf",
    "wqy-zenhei.ttc",
    "Arial.ttf",
    "Arial Unicode.ttf",
    "PingFang.ttc",
    "msyh.ttc",
    "meiryo.ttc",
    "malgun.ttf",
    "Nirmala.ttf",
)
"""Pillow's own font (None), which is always available but knows little beyond English, and fonts of
Linux, macOS and Windows to try for other letters."""

GATE = "Gate (beta): how much of the attended feature reached the word."
"""Explanation shown once if any word has a gate."""

_MISSING = "\U0010fffe"
"""A noncharacter, which fonts draw with their glyph for missing characters."""


def load_font(size: int, *, for_text: str) -> Font:
    """Return the font that has most letters of a text; ties go to the first of `_FONTS`.

    Args:
        size: approximate line height in pixels.
        for_text: all text to be drawn in one font.
    """
    return _load(_choose(_letters(for_text))[0], size)


def find_font_problems(text: str) -> list[str]:
    """Return warnings about text that cannot be drawn correctly, in full sentences."""
    faults = []
    lacking = _choose(_letters(text))[1]
    if lacking:  # shown here, they would be boxes, too
        kinds = sorted({unicodedata.name(letter, "unknown").split()[0] for letter in lacking})
        faults.append(
            f"No font on this machine has all letters of the caption ({', '.join(kinds)}), so some "
            "appear as boxes; install one, such as fonts-noto-core or fonts-noto-cjk, or draw the "
            "overlay as HTML."
        )
    if is_right_to_left(text) and not features.check("raqm"):
        faults.append(
            "This Pillow was built without Raqm, so letters are drawn from left to right and "
            "unconnected; draw the overlay as HTML."
        )
    return faults


def clean(text: str) -> str:
    """Return text as one printable line: spaces for line breaks, no characters invalid in UTF-8."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(text.split())


def wrap(text: str, font: Font, *, width: int) -> list[str]:
    """Wrap text to a width in pixels: at spaces, or inside a long word."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if font.getlength(longer) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        line = word
        while font.getlength(line) > width and len(line) > 1:
            kept = len(line) - 1
            while kept > 1 and font.getlength(line[:kept]) > width:
                kept -= 1
            lines.append(line[:kept])
            line = line[kept:]
    return [*lines, line] if line else lines


def format_probability(probability: float) -> str:
    """Format a probability as a percentage, never rounded to 0 or 100."""
    if 0 < probability < 0.005:
        return "<1%"
    if 0.995 <= probability < 1:
        return ">99%"
    return f"{probability:.0%}"


def format_note(word: Word) -> str:
    """Format a word's probability, maximum attention and gate."""
    notes = [format_probability(word.probability), format_peak(peak(word.attention))]
    if word.gate is not None:
        notes.append(f"gate {format_probability(word.gate)}")
    return ", ".join(notes)


def format_scale(scales: Sequence[float]) -> str:
    """Format the range of a colour legend."""
    shown = {format_peak(scale) for scale in scales}
    return f"0 to {shown.pop()}" if len(shown) == 1 else "0 to the heaviest weight of each word"


def format_peak(weight: float) -> str:
    """Format a weight as a multiple of uniform attention: 23x uniform, or 1.4x."""
    return f"{weight:.{int(weight < 3)}f}x uniform"


def split_caption(caption: Caption) -> list[tuple[bool, str]]:
    """Return the words of a caption with whether a space precedes each."""
    pieces: list[tuple[bool, str]] = []
    end = 0
    for word in caption.words:
        start = caption.text.find(word.text, end)
        if start < 0:  # the sentence was changed; its words are still listed
            pieces.append((bool(pieces), word.text))
            continue
        pieces.append((start > end, word.text))
        end = start + len(word.text)
    return pieces


def _letters(text: str) -> str:
    """Return the distinct letters; invisible characters, such as direction marks, need no font."""
    return "".join(sorted({letter for letter in clean(text) if not letter.isspace()}))


@lru_cache(maxsize=256)
def _choose(letters: str) -> tuple[str | None, str]:
    """Return the font that lacks the fewest letters, and those; None is Pillow's own font."""
    best: str | None = None
    lacking = letters
    for name in _FONTS:
        try:
            font = _load(name, 16)
        except OSError:  # not on this machine
            continue
        missing = bytes(font.getmask(_MISSING))
        unknown = "".join(c for c in letters if bytes(font.getmask(c)) == missing)
        if len(unknown) < len(lacking):
            best, lacking = name, unknown
        if not lacking:
            break
    return best, lacking


@cache
def _load(name: str | None, size: int) -> Font:
    return ImageFont.load_default(size) if name is None else ImageFont.truetype(name, size)
