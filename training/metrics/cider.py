"""CIDEr-D: agreement with the references, with n-grams weighted by TF-IDF.

Source: Vedantam et al. 2015, "CIDEr: Consensus-based Image Description Evaluation", sections 3
and 5 (arXiv:1411.5726). coco-caption reports this variant as "CIDEr". Two of its choices are not in
the paper: a sentence's length is its number of bigrams, and an n-gram in no reference is weighted
as if one image's references contained it.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from training.metrics.contract import Candidates, References, Score
from training.metrics.ngrams import LONGEST, Ngram, count_ngrams

_SIGMA = 6.0  # of the Gaussian length penalty, in words
_SCALE = 10.0


class CiderScore(Score):
    """CIDEr-D, from 0 to 10."""

    titles = {"CIDEr": "CIDEr"}  # noqa: RUF012

    def measure(self, references: References, candidates: Candidates) -> list[float]:
        """Return the score of every image, with document frequencies from all references."""
        return cider_d(references, candidates)[1]


@dataclass(frozen=True)
class DocumentFrequencies:
    """Number of images whose references contain each n-gram, and the number of images."""

    images: int
    counts: Counter[Ngram]

    def weight(self, ngram: Ngram) -> float:
        """Return the inverse document frequency; 0 for an n-gram of every image."""
        return math.log(self.images) - math.log(max(1, self.counts[ngram]))


def document_frequencies(references: Iterable[Sequence[Sequence[str]]]) -> DocumentFrequencies:
    """Count document frequencies over the references of each image, as words."""
    counts: Counter[Ngram] = Counter()
    images = 0
    for images, sentences in enumerate(references, start=1):  # noqa: B007
        counts.update({ngram for words in sentences for ngram in count_ngrams(words)})
    return DocumentFrequencies(images, counts)


def cider_d(
    references: Sequence[Sequence[Sequence[str]]],
    candidates: Sequence[Sequence[str]],
    *,
    frequencies: DocumentFrequencies | None = None,
) -> tuple[float, list[float]]:
    """Compute CIDEr-D of tokenized captions.

    Args:
        references: one or more references per image.
        candidates: one caption per image, in the same order.
        frequencies: document frequencies; by default of these references, in which case scores of
            different subsets are not comparable and a single image scores 0. Rewards in training
            use those of the training split.

    Returns:
        The mean over images, and the score of every image, from 0 to 10.
    """
    frequencies = frequencies or document_frequencies(references)
    scores = []
    for refs, words in zip(references, candidates, strict=True):
        candidate = Vector(words, frequencies)
        total = sum(similarity(candidate, Vector(ref, frequencies)) for ref in refs)
        scores.append(_SCALE * total / len(refs))
    return sum(scores) / len(scores), scores


class Vector:
    """TF-IDF vector of a sentence, its norm for each n-gram order, and the number of bigrams."""

    def __init__(self, words: Sequence[str], frequencies: DocumentFrequencies) -> None:
        self.values = {n: c * frequencies.weight(n) for n, c in count_ngrams(words).items()}
        squares = [0.0] * LONGEST
        for ngram, value in self.values.items():
            squares[len(ngram) - 1] += value**2
        self.norms = [math.sqrt(square) for square in squares]
        self.bigrams = max(0, len(words) - 1)


def similarity(candidate: Vector, reference: Vector) -> float:
    """Return the clipped cosine, averaged over n-gram orders, with a penalty for unequal length."""
    products = [0.0] * LONGEST
    for ngram, value in candidate.values.items():
        if ngram in reference.values:
            other = reference.values[ngram]
            products[len(ngram) - 1] += min(value, other) * other
    cosines = [
        product / (norm * other) if norm and other else 0.0
        for product, norm, other in zip(products, candidate.norms, reference.norms, strict=True)
    ]
    difference = candidate.bigrams - reference.bigrams
    return math.exp(-(difference**2) / (2 * _SIGMA**2)) * sum(cosines) / LONGEST
