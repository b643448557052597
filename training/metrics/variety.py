"""Statistics of captions that need no references: lengths, variety, repetition."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

Words = Sequence[str]


def count_lengths(sentences: Sequence[Words]) -> list[int]:
    """Return the number of sentences of each length, from 0 words to the longest."""
    counts = Counter(map(len, sentences))
    return [counts[length] for length in range(max(counts, default=-1) + 1)]


def count_variety(sentences: Sequence[Words]) -> dict[str, int]:
    """Count distinct captions and distinct words."""
    return {
        "distinct_captions": len({tuple(words) for words in sentences}),
        "vocabulary": len({word for words in sentences for word in words}),
    }


def repetition_rate(sentences: Sequence[Words]) -> float:
    """Fraction of sentences that repeat a word immediately, or any trigram."""
    return sum(map(_repeats, sentences)) / max(1, len(sentences))


def _repeats(words: Words) -> bool:
    trigrams = [tuple(words[i : i + 3]) for i in range(len(words) - 2)]
    stutters = any(one == other for one, other in pairwise(words))
    return stutters or len(set(trigrams)) < len(trigrams)
