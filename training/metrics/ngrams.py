"""N-grams of one to four words, which BLEU and CIDEr count."""

from collections import Counter
from collections.abc import Sequence

LONGEST = 4
"""Highest n-gram order of the metrics."""

Ngram = tuple[str, ...]


def count_ngrams(words: Sequence[str]) -> Counter[Ngram]:
    """Count every n-gram of order 1 to `LONGEST`."""
    counts: Counter[Ngram] = Counter()
    for length in range(1, LONGEST + 1):
        # zip ends with the shortest of the shifted copies.
        counts.update(zip(*(words[start:] for start in range(length)), strict=False))
    return counts
