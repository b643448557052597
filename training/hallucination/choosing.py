"""Choose among the candidates of a beam by how far they agree on what the photo shows.

Words that candidates of little probability alone have are often invented. Petryk et al. 2024
(arXiv:2305.06602) choose by the confidence of single words; here it is that of all candidates
together, and costs nothing but a wider beam.
"""

import math
from collections import defaultdict
from collections.abc import Sequence

from captioner.result.caption import Caption
from captioner.words.tokenizer import Tokenizer

COMMON = 40
"""Ids below this are not weighed: in word-level vocabularies, which are sorted by frequency, the
special tokens and the commonest words, which differ between candidates that say the same."""


def choose(caption: Caption, tokenizer: Tokenizer, *, weight: float, common: int = COMMON) -> str:
    """Return the text of the candidate that wins once disagreement counts.

    Args:
        caption: by beam search, with its candidates.
        tokenizer: of its model.
        weight: what is subtracted from a candidate's score for each rarer word, times the
            probability that the caption is a candidate without it; 0 keeps the order of search.
        common: ids below this are not weighed.
    """
    found = [(caption.text, caption.log_probability)]
    found += [(other.text, other.log_probability) for other in caption.candidates]
    tokens = [tokenizer.encode(text) for text, _ in found]
    scores = [
        log_probability / (len(own) + 1) ** caption.search.length_penalty
        for own, (_, log_probability) in zip(tokens, found, strict=True)
    ]
    support = _support(tokens, scores)
    values = [
        score - weight * sum(1 - support[token] for token in set(own) if token >= common)
        for score, own in zip(scores, tokens, strict=True)
    ]
    return found[values.index(max(values))][0]


def _support(tokens: Sequence[Sequence[int]], scores: Sequence[float]) -> dict[int, float]:
    """Probability that the caption is a candidate with this token, the scores being logarithms."""
    weights = [math.exp(score - max(scores)) for score in scores]
    support: dict[int, float] = defaultdict(float)
    for own, weight in zip(tokens, weights, strict=True):
        for token in set(own):
            support[token] += weight / sum(weights)
    return support
