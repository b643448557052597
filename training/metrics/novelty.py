"""How much of what a model writes it has not read: novelty against its training captions.

The share of captions that are no training caption is the "% novel" of Shetty et al. 2017, section
5.1 (arXiv:1703.10476). That of runs of words tells whether new captions are old parts put together.
"""

from collections.abc import Iterable, Sequence

from training.metrics.ngrams import LONGEST, Ngram, count_ngrams


def novelty(
    candidates: Sequence[Sequence[str]], training: Iterable[Sequence[str]]
) -> dict[str, float]:
    """Compare captions with those a model has learned from, all given as words.

    Args:
        candidates: what the model wrote.
        training: what it has read.

    Returns:
        novel_captions, the share of captions that were not read; novel_1grams to novel_4grams, the
        share of the runs of so many words, each counted as often as it is written, that were not.
    """
    read: set[Sequence[str]] = set()
    ngrams: set[Ngram] = set()
    for words in training:
        read.add(tuple(words))
        ngrams.update(count_ngrams(words))
    written, new = [0] * LONGEST, [0] * LONGEST
    for words in candidates:
        for ngram, count in count_ngrams(words).items():
            written[len(ngram) - 1] += count
            new[len(ngram) - 1] += count * (ngram not in ngrams)
    captions = sum(tuple(words) not in read for words in candidates)
    return {
        "novel_captions": captions / max(1, len(candidates)),
        **{f"novel_{n + 1}grams": new[n] / max(1, written[n]) for n in range(LONGEST)},
    }
