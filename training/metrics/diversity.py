"""How different several captions of one image are from each other.

div_1, div_2   distinct words, distinct pairs of words, for each word of the image's captions; 1 is
               the most there can be. Mean over images. Shetty et al. 2017, section 5.1
               (arXiv:1703.10476).
mBleu_4        BLEU-4 of each caption against the others of its image, over all images; mean over
               the captions' places. 1 where all say the same. The same section.
self_CIDEr     entropy-like spread of the captions' meanings, 0 where all say the same, 1 where no
               two share a word. Mean over images. Wang and Chan 2019, section 3
               (arXiv:1903.12020).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from training.metrics.bleu import add_up, bleu_of, count_matches
from training.metrics.cider import DocumentFrequencies, Vector
from training.metrics.ngrams import LONGEST

Words = Sequence[str]


def diversity(
    samples: Sequence[Sequence[Words]], frequencies: DocumentFrequencies
) -> dict[str, float]:
    """Measure several captions of every image, given as words.

    Args:
        samples: the captions of each image, as many for each and two at least.
        frequencies: where self-CIDEr weighs n-grams, usually the references.

    Returns:
        div_1, div_2, mBleu_4 and self_CIDEr, as fractions.
    """
    counts = {len(captions) for captions in samples}
    if len(counts) != 1 or min(counts) < 2:
        raise ValueError("every image must have as many captions as the others, two at least")
    by_image = image_diversity(samples, frequencies)
    means = {name: sum(values) / len(values) for name, values in by_image.items()}
    return {**means, "mBleu_4": mutual_bleu(samples)}


def image_diversity(
    samples: Sequence[Sequence[Words]], frequencies: DocumentFrequencies
) -> Mapping[str, list[float]]:
    """Return div_1, div_2 and self_CIDEr of every image."""
    return {
        "div_1": [distinct_share(captions, 1) for captions in samples],
        "div_2": [distinct_share(captions, 2) for captions in samples],
        "self_CIDEr": [self_cider(captions, frequencies) for captions in samples],
    }


def distinct_share(captions: Sequence[Words], n: int) -> float:
    """Count the distinct runs of n words for each word; 0 where there is no word."""
    runs = {tuple(words[i : i + n]) for words in captions for i in range(len(words) - n + 1)}
    return len(runs) / max(1, sum(map(len, captions)))


def mutual_bleu(samples: Sequence[Sequence[Words]]) -> float:
    """Compare the captions of each image with each other by BLEU-4; lower is more diverse."""
    scores = []
    for place in range(len(samples[0])):
        tallies = [
            count_matches([*captions[:place], *captions[place + 1 :]], captions[place])
            for captions in samples
        ]
        scores.append(bleu_of(add_up(tallies))[3])
    return sum(scores) / len(scores)


def self_cider(captions: Sequence[Words], frequencies: DocumentFrequencies) -> float:
    """Tell how many things the captions of one image say, on a scale from 0 to 1.

    The CIDEr of all pairs is a kernel; the roots of its eigenvalues are the singular values of the
    captions' weighted n-grams, and the share of the largest is what they have in common.
    """
    vectors = [Vector(words, frequencies) for words in captions]
    kernel = np.array([[_cider(one, other) for other in vectors] for one in vectors])
    singular = np.sqrt(np.linalg.eigvalsh(kernel).clip(min=0))
    if singular.sum() == 0:  # nothing but words that every image has
        return 0.0
    return float(-np.log(singular.max() / singular.sum()) / np.log(len(captions))) + 0.0


def _cider(one: Vector, other: Vector) -> float:
    """Mean cosine of the n-grams: the paper's CIDEr, neither clipped nor lessened by length."""
    products = [0.0] * LONGEST
    for ngram, value in one.values.items():
        products[len(ngram) - 1] += value * other.values.get(ngram, 0.0)
    norms = zip(one.norms, other.norms, strict=True)
    cosines = (p / (a * b) if a and b else 0.0 for p, (a, b) in zip(products, norms, strict=True))
    return sum(cosines) / LONGEST
