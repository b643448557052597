"""Writing systems: where words begin, and text direction."""

import unicodedata

# Writing without spaces between words, by the first word of a character's Unicode name.
_UNSPACED = frozenset(
    ("CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
)

_NEVER_FIRST = ("LETTER SMALL", "PROLONGED SOUND", "ITERATION MARK", "MAIYAMOK")
"""Parts of the names of letters that go with the one before them, as in しょ, ボード and 人々."""


def is_unspaced(character: str) -> bool:
    """Whether a letter belongs to a writing system without spaces between words.

    The vowel signs and tone marks of Thai are no letters; they stay with theirs.
    """
    name = unicodedata.name(character, "")
    return character.isalpha() and name.replace("-", " ").partition(" ")[0] in _UNSPACED


def may_break(before: str, after: str) -> bool:
    """Whether a word may begin between these two characters although no space does."""
    if is_unspaced(after):
        name = unicodedata.name(after).replace("-", " ")
        return not any(part in name for part in _NEVER_FIRST)
    return is_unspaced(before) and after.isalnum()


def is_right_to_left(text: str) -> bool:
    """Whether this text runs from right to left: its first letter decides, as in HTML."""
    for character in text:
        direction = unicodedata.bidirectional(character)
        if direction in ("L", "R", "AL"):
            return direction != "L"
    return False
