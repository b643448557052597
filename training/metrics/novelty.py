"""Novelty: how much of the generated captions does not occur in the training captions.

The fraction of captions that are not training captions is "% novel" of Shetty et al. 2017, section
5.1 (arXiv:1703.10476). Novel n-grams tell whether new captions merely recombine old phrases.
"""

from collections.abc import Iterable, Sequence

from training.metrics.ngrams import LONGEST, Ngram, count_ngrams


def novelty(
    candidates: Sequence[Sequence[str]], training: Iterable[Sequence[str]]
) -> dict[str, float]:
    """Compare tokenized captions with the training captions.

    Args:
        candidates: generated captions.
        training: training captions.

    Returns:
        novel_captions, the fraction of captions that are not training captions, and novel_1grams to
        novel_4grams, the fraction of n-gram occurrences that no training caption contains.
    """
    known: set[Sequence[str]] = set()
    known_ngrams: set[Ngram] = set()
    for words in training:
        known.add(tuple(words))
        known_ngrams.update(count_ngrams(words))
    written, new = [0] * LONGEST, [0] * LONGEST
    for words in candidates:
        for ngram, count in count_ngrams(words).items():
            written[len(ngram) - 1] += count
            new[len(ngram) - 1] += count * (ngram not in known_ngrams)
    captions = sum(tuple(words) not in known for words in candidates)
    return {
        "novel_captions": captions / max(1, len(candidates)),
        **{f"novel_{n + 1}grams": new[n] / max(1, written[n]) for n in range(LONGEST)},
    }
