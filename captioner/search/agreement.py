"""Reranking of candidates by their agreement on what the photo shows.

Words that only improbable candidates contain are often hallucinated. Petryk et al. 2024
(arXiv:2305.07021) select captions by the confidence of single words; here the confidence comes from
all candidates together, at the cost of a wider beam alone.
"""

import math
from collections import defaultdict
from dataclasses import fields, replace

from captioner.result.candidates import Candidates

COMMON = 40
"""Ids below this are ignored. In word-level vocabularies, sorted by frequency, they are the special
tokens and the most frequent words, which differ between candidates that mean the same."""


def rank_by_agreement(found: Candidates, *, weight: float) -> Candidates:
    """Rerank candidates, penalising disagreement.

    Args:
        found: candidates, best first.
        weight: subtracted from a candidate's score for each rarer token, times the probability of
            the candidates without that token.

    Returns:
        The same candidates, best first, with penalised scores.
    """
    support = _support(found)
    scores = [
        score - weight * sum(1 - support[token] for token in set(tokens) if token >= COMMON)
        for score, tokens in zip(found.score, found.tokens, strict=True)
    ]
    order = sorted(range(len(scores)), key=lambda k: -scores[k])
    ranked = replace(found, score=scores)
    return Candidates(*([getattr(ranked, f.name)[k] for k in order] for f in fields(Candidates)))


def _support(found: Candidates) -> dict[int, float]:
    """Return the probability of the candidates with each token; scores are logarithms."""
    weights = [math.exp(score - found.score[0]) for score in found.score]
    support: dict[int, float] = defaultdict(float)
    for tokens, weight in zip(found.tokens, weights, strict=True):
        for token in set(tokens):
            support[token] += weight / sum(weights)
    return support
