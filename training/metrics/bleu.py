"""Corpus-level BLEU-1 to BLEU-4.

Source: Papineni et al. 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation",
sections 2.1 to 2.3 (doi:10.3115/1073083.1073135), with coco-caption's choices: the reference length
is the one closest to the caption's, the shorter of two equally close, and small constants prevent
division by zero.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from training.metrics.bootstrap import Interval, interval, resample_weights
from training.metrics.contract import Candidates, References, Score
from training.metrics.ngrams import LONGEST, Ngram, count_ngrams

# coco-caption's constants: an n-gram order without a match scores almost 0, and one without any
# n-gram does not divide by 0.
_TINY = 1e-15
_SMALL = 1e-9


class NgramMatches(NamedTuple):
    """BLEU statistics of one caption or, summed, of a corpus."""

    matched: list[int]
    """Matched n-grams, clipped by the references, by order."""
    total: list[int]
    """N-grams of the caption, by order."""
    words: int
    """Length of the caption."""
    reference_words: int
    """Length of the reference that is closest in length."""


class BleuScore(Score):
    """BLEU-1 to BLEU-4 of the corpus, from summed counts rather than a mean over images."""

    titles = {f"Bleu_{n}": f"BLEU-{n}" for n in range(1, LONGEST + 1)}  # noqa: RUF012

    def measure(self, references: References, candidates: Candidates) -> list[NgramMatches]:
        """Return the statistics of every image."""
        return [count_matches(r, c) for r, c in zip(references, candidates, strict=True)]

    def total(self, images: Sequence[NgramMatches]) -> dict[str, float]:
        """Return BLEU of the summed statistics."""
        return dict(zip(self.titles, bleu_of(sum_matches(images)), strict=True))

    def intervals(
        self, images: Sequence[NgramMatches], *, resamples: int, seed: int
    ) -> dict[str, Interval]:
        """Bootstrap over images, with BLEU of the summed statistics of each resample."""
        table = np.array([[*t.matched, *t.total, t.words, t.reference_words] for t in images])
        scores = []
        for weights in resample_weights(len(table), resamples, seed):
            counts = (weights @ table).tolist()
            matched, total = counts[:LONGEST], counts[LONGEST : 2 * LONGEST]
            scores.append(bleu_of(NgramMatches(matched, total, *counts[2 * LONGEST :])))
        return dict(zip(self.titles, map(interval, np.array(scores).T), strict=True))


def bleu(
    references: Sequence[Sequence[Sequence[str]]], candidates: Sequence[Sequence[str]]
) -> tuple[list[float], list[list[float]]]:
    """Compute BLEU of tokenized captions.

    Args:
        references: one or more references per image.
        candidates: one caption per image, in the same order.

    Returns:
        BLEU-1 to BLEU-4 of the corpus, and of every image, from 0 to 1.
    """
    tallies = [
        count_matches(refs, candidate)
        for refs, candidate in zip(references, candidates, strict=True)
    ]
    return bleu_of(sum_matches(tallies)), [bleu_of(tally) for tally in tallies]


def count_matches(references: Sequence[Sequence[str]], candidate: Sequence[str]) -> NgramMatches:
    """Count the n-grams that a caption shares with its references."""
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


def sum_matches(tallies: Sequence[NgramMatches]) -> NgramMatches:
    """Sum the statistics of captions to those of a corpus."""
    return NgramMatches(
        matched=[sum(t.matched[n] for t in tallies) for n in range(LONGEST)],
        total=[sum(t.total[n] for t in tallies) for n in range(LONGEST)],
        words=sum(t.words for t in tallies),
        reference_words=sum(t.reference_words for t in tallies),
    )


def bleu_of(tally: NgramMatches) -> list[float]:
    """Return BLEU-1 to BLEU-4: geometric mean of the precisions, times the brevity penalty."""
    ratio = (tally.words + _TINY) / (tally.reference_words + _SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    product = 1.0
    scores = []
    for n in range(LONGEST):
        product *= (tally.matched[n] + _TINY) / (tally.total[n] + _SMALL)
        scores.append(brevity * product ** (1 / (n + 1)))
    return scores
