"""What captions look like without asking what they are of: how long, how varied, how repetitive."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

Words = Sequence[str]


def count_lengths(sentences: Sequence[Words]) -> list[int]:
    """Count sentences by their number of words, from 0 to that of the longest."""
    counts = Counter(map(len, sentences))
    return [counts[length] for length in range(max(counts, default=-1) + 1)]


def count_variety(sentences: Sequence[Words]) -> dict[str, int]:
    """Count distinct captions, and the words that are used at all."""
    return {
        "distinct_captions": len({tuple(words) for words in sentences}),
        "vocabulary": len({word for words in sentences for word in words}),
    }


def share_repeating(sentences: Sequence[Words]) -> float:
    """Tell how many sentences say a word twice in a row, or the same three words again."""
    return sum(map(_repeats, sentences)) / max(1, len(sentences))


def _repeats(words: Words) -> bool:
    threes = [tuple(words[i : i + 3]) for i in range(len(words) - 2)]
    stutters = any(one == other for one, other in pairwise(words))
    return stutters or len(set(threes)) < len(threes)
