"""Runs of one to four words, which BLEU and CIDEr count."""

from collections import Counter
from collections.abc import Sequence

LONGEST = 4
"""Words in the longest run that any of the metrics counts."""

Ngram = tuple[str, ...]


def count_ngrams(words: Sequence[str]) -> Counter[Ngram]:
    """Count every run of 1 to `LONGEST` words."""
    counts: Counter[Ngram] = Counter()
    for length in range(1, LONGEST + 1):
        # Shifted copies of the words, zipped, are the runs; the shortest copy ends the zip.
        counts.update(zip(*(words[start:] for start in range(length)), strict=False))
    return counts
