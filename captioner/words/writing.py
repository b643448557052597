"""Writing systems: word boundaries without spaces, and text direction."""

import unicodedata

# Writing without spaces between words, by the first word of a character's Unicode name.
_UNSPACED = frozenset(
    ("CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
)

_NEVER_FIRST = ("LETTER SMALL", "PROLONGED SOUND", "ITERATION MARK", "MAIYAMOK")
"""Parts of the Unicode names of letters that never begin a word, as in しょ, ボード and 人々."""


def is_unspaced(character: str) -> bool:
    """Whether a letter belongs to a writing system without spaces between words.

    Vowel signs and tone marks of Thai are not letters; they stay with theirs.
    """
    name = unicodedata.name(character, "")
    return character.isalpha() and name.replace("-", " ").partition(" ")[0] in _UNSPACED


def may_break(before: str, after: str) -> bool:
    """Whether a word may begin between two characters without a space."""
    if is_unspaced(after):
        name = unicodedata.name(after).replace("-", " ")
        return not any(part in name for part in _NEVER_FIRST)
    return is_unspaced(before) and after.isalnum()


def is_right_to_left(text: str) -> bool:
    """Whether text runs from right to left, decided by its first letter as in HTML."""
    for character in text:
        direction = unicodedata.bidirectional(character)
        if direction in ("L", "R", "AL"):
            return direction != "L"
    return False
