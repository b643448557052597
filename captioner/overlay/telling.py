"""The most telling word of a caption, which overlays show first or last."""

from collections.abc import Sequence

from captioner.overlay.regions import peak
from captioner.result.caption import Word

_FUNCTION_WORDS = """
a an the this that these those some any each every all both other another his her its their
my your our he she it they who which what there and or but while as of in on at by for from
to with into onto over under up down out off near next around through between behind above
below beside across along against towards inside outside is are was were be been being am
has have had having do does doing did not no top front back side lot lots group
one two three four five several many few couple bunch pair
"""
"""English function words. In other languages, every word counts as a content word."""


def find_most_telling(words: Sequence[Word]) -> int | None:
    """Return the index of the content word with the highest maximum attention times probability.

    If all are function words, they are compared instead; None for no words.
    """
    function = set(_FUNCTION_WORDS.split())
    content = [n for n, word in enumerate(words) if word.text.lower() not in function]
    return max(
        content or range(len(words)),
        key=lambda n: peak(words[n].attention) * words[n].probability,
        default=None,
    )
