"""BLEU-1 to BLEU-4 of a corpus.

Source: Papineni et al. 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation",
sections 2.1 to 2.3 (doi:10.3115/1073083.1073135), with the choices of coco-caption: the reference
length is the one closest to the caption's, the shorter of two equally close; empty counts are kept
from dividing by zero.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from training.metrics.bootstrap import Interval, draw_times, interval
from training.metrics.contract import Candidates, References, Score
from training.metrics.ngrams import LONGEST, Ngram, count_ngrams

# coco-caption adds these: an n-gram order without a match scores almost 0, one without any n-gram
# does not divide by 0.
_TINY = 1e-15
_SMALL = 1e-9


class NgramMatches(NamedTuple):
    """What BLEU needs to know of one caption, or, summed, of a corpus."""

    matched: list[int]
    """N-grams that are also in a reference, clipped, by n."""
    total: list[int]
    """N-grams of the caption, by n."""
    words: int
    """Words of the caption."""
    reference_words: int
    """Words of the reference whose length is closest."""


class BleuScore(Score):
    """BLEU-1 to BLEU-4 of the corpus: not means, but of the counts of all images."""

    titles = {f"Bleu_{n}": f"BLEU-{n}" for n in range(1, LONGEST + 1)}  # noqa: RUF012

    def measure(self, references: References, candidates: Candidates) -> list[NgramMatches]:
        """Counts of every image."""
        return [count_matches(r, c) for r, c in zip(references, candidates, strict=True)]

    def total(self, images: Sequence[NgramMatches]) -> dict[str, float]:
        """BLEU of the sums."""
        return dict(zip(self.titles, bleu_of(add_up(images)), strict=True))

    def intervals(
        self, images: Sequence[NgramMatches], *, resamples: int, seed: int
    ) -> dict[str, Interval]:
        """Of BLEU of the sums over the images drawn."""
        table = np.array([[*t.matched, *t.total, t.words, t.reference_words] for t in images])
        scores = []
        for times in draw_times(len(table), resamples, seed):
            counts = (times @ table).tolist()
            matched, total = counts[:LONGEST], counts[LONGEST : 2 * LONGEST]
            scores.append(bleu_of(NgramMatches(matched, total, *counts[2 * LONGEST :])))
        return dict(zip(self.titles, map(interval, np.array(scores).T), strict=True))


def bleu(
    references: Sequence[Sequence[Sequence[str]]], candidates: Sequence[Sequence[str]]
) -> tuple[list[float], list[list[float]]]:
    """Compare captions with their references, all given as words.

    Args:
        references: one or more references for each image.
        candidates: one caption for each image, in the same order.

    Returns:
        BLEU-1 to BLEU-4 of the corpus, and of every image, as fractions.
    """
    tallies = [
        count_matches(refs, candidate)
        for refs, candidate in zip(references, candidates, strict=True)
    ]
    return bleu_of(add_up(tallies)), [bleu_of(tally) for tally in tallies]


def count_matches(references: Sequence[Sequence[str]], candidate: Sequence[str]) -> NgramMatches:
    """Count what one caption shares with its references."""
    most: dict[Ngram, int] = {}
    for reference in references:
        for ngram, count in count_ngrams(reference).items():
            most[ngram] = max(count, most.get(ngram, 0))
    matched = [0] * LONGEST
    for ngram, count in count_ngrams(candidate).items():
        matched[len(ngram) - 1] += min(count, most.get(ngram, 0))
    words = len(candidate)
    return NgramMatches(
        matched=matched,
        total=[max(0, words - n) for n in range(LONGEST)],
        words=words,
        reference_words=min((abs(len(r) - words), len(r)) for r in references)[1],
    )


def add_up(tallies: Sequence[NgramMatches]) -> NgramMatches:
    """Sum the counts of captions to those of a corpus."""
    return NgramMatches(
        matched=[sum(t.matched[n] for t in tallies) for n in range(LONGEST)],
        total=[sum(t.total[n] for t in tallies) for n in range(LONGEST)],
        words=sum(t.words for t in tallies),
        reference_words=sum(t.reference_words for t in tallies),
    )


def bleu_of(tally: NgramMatches) -> list[float]:
    """Return BLEU-1 to BLEU-4: geometric means of precisions, times the brevity penalty."""
    ratio = (tally.words + _TINY) / (tally.reference_words + _SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    product = 1.0
    scores = []
    for n in range(LONGEST):
        product *= (tally.matched[n] + _TINY) / (tally.total[n] + _SMALL)
        scores.append(brevity * product ** (1 / (n + 1)))
    return scores
