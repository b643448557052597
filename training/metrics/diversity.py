"""Diversity of several captions of one image.

div_1, div_2   distinct unigrams or bigrams divided by the number of words in the image's captions,
               at most 1. Mean over images. Shetty et al. 2017, section 5.1 (arXiv:1703.10476).
mBleu_4        corpus BLEU-4 of each caption against the others of its image, averaged over the
               captions' ranks. 1 if all are the same. Same source.
self_CIDEr     entropy-like spread of the captions' TF-IDF vectors: 0 if all are the same, 1 if no
               two share a word. Mean over images. Wang and Chan 2019, section 3 (arXiv:1903.12020).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from training.metrics.bleu import bleu_of, count_matches, sum_matches
from training.metrics.cider import DocumentFrequencies, Vector
from training.metrics.ngrams import LONGEST

Words = Sequence[str]


def diversity(
    samples: Sequence[Sequence[Words]], frequencies: DocumentFrequencies
) -> dict[str, float]:
    """Measure the diversity of several tokenized captions per image.

    Args:
        samples: captions of each image, the same number for all and at least two.
        frequencies: document frequencies for self-CIDEr, usually of the references.

    Returns:
        div_1, div_2, mBleu_4 and self_CIDEr, from 0 to 1.
    """
    counts = {len(captions) for captions in samples}
    if len(counts) != 1 or min(counts) < 2:
        raise ValueError("every image needs the same number of captions, at least two")
    by_image = image_diversity(samples, frequencies)
    means = {name: sum(values) / len(values) for name, values in by_image.items()}
    return {**means, "mBleu_4": mutual_bleu(samples)}


def image_diversity(
    samples: Sequence[Sequence[Words]], frequencies: DocumentFrequencies
) -> Mapping[str, list[float]]:
    """Return div_1, div_2 and self_CIDEr of every image."""
    return {
        "div_1": [distinct_ratio(captions, 1) for captions in samples],
        "div_2": [distinct_ratio(captions, 2) for captions in samples],
        "self_CIDEr": [self_cider(captions, frequencies) for captions in samples],
    }


def distinct_ratio(captions: Sequence[Words], n: int) -> float:
    """Return the number of distinct n-grams divided by the number of words; 0 without words."""
    ngrams = {tuple(words[i : i + n]) for words in captions for i in range(len(words) - n + 1)}
    return len(ngrams) / max(1, sum(map(len, captions)))


def mutual_bleu(samples: Sequence[Sequence[Words]]) -> float:
    """BLEU-4 of each caption against the others of its image; lower is more diverse."""
    scores = []
    for rank in range(len(samples[0])):
        tallies = [
            count_matches([*captions[:rank], *captions[rank + 1 :]], captions[rank])
            for captions in samples
        ]
        scores.append(bleu_of(sum_matches(tallies))[3])
    return sum(scores) / len(scores)


def self_cider(captions: Sequence[Words], frequencies: DocumentFrequencies) -> float:
    """Measure how many different things the captions of one image say, from 0 to 1.

    The CIDEr of all pairs is a kernel matrix; the square roots of its eigenvalues are the singular
    values of the captions' TF-IDF vectors, and the share of the largest is what they have in
    common.
    """
    vectors = [Vector(words, frequencies) for words in captions]
    kernel = np.array([[_cider(one, other) for other in vectors] for one in vectors])
    singular = np.sqrt(np.linalg.eigvalsh(kernel).clip(min=0))
    if singular.sum() == 0:  # only n-grams that every image has
        return 0.0
    return float(-np.log(singular.max() / singular.sum()) / np.log(len(captions))) + 0.0


def _cider(one: Vector, other: Vector) -> float:
    """Mean cosine over n-gram orders: plain CIDEr, without clipping or length penalty."""
    products = [0.0] * LONGEST
    for ngram, value in one.values.items():
        products[len(ngram) - 1] += value * other.values.get(ngram, 0.0)
    norms = zip(one.norms, other.norms, strict=True)
    cosines = (p / (a * b) if a and b else 0.0 for p, (a, b) in zip(products, norms, strict=True))
    return sum(cosines) / LONGEST
