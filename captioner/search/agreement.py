"""Reranking candidates by their agreement on what the photo shows.

Words that candidates of little probability alone have are often invented. Petryk et al. 2024
(arXiv:2305.06602) choose by the confidence of single words; here it is that of all candidates
together, and costs nothing but a wider beam.
"""

import math
from collections import defaultdict

from captioner.result.candidates import Candidates

COMMON = 40
"""Ids below this are not weighed: in word-level vocabularies, which are sorted by frequency, the
special tokens and the commonest words, which differ between candidates that say the same."""


def rank_by_agreement(found: Candidates, *, weight: float) -> Candidates:
    """Rerank candidates, penalising disagreement.

    Args:
        found: best first.
        weight: what is subtracted from a candidate's score for each rarer token, times the
            probability that the caption is a candidate without it.

    Returns:
        The same candidates, best first; their scores are what is left.
    """
    support = _support(found)
    scores = [
        score - weight * sum(1 - support[token] for token in set(tokens) if token >= COMMON)
        for score, tokens in zip(found.score, found.tokens, strict=True)
    ]
    order = sorted(range(len(scores)), key=lambda k: -scores[k])
    return Candidates(
        tokens=[found.tokens[k] for k in order],
        log_probabilities=[found.log_probabilities[k] for k in order],
        log_probability=[found.log_probability[k] for k in order],
        score=[scores[k] for k in order],
        finished=[found.finished[k] for k in order],
        rows=[found.rows[k] for k in order],
    )


def _support(found: Candidates) -> dict[int, float]:
    """Probability that the caption is a candidate with this token; scores are logarithms."""
    weights = [math.exp(score - found.score[0]) for score in found.score]
    support: dict[int, float] = defaultdict(float)
    for tokens, weight in zip(found.tokens, weights, strict=True):
        for token in set(tokens):
            support[token] += weight / sum(weights)
    return support
