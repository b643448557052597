"""Constraints as filters: log-probabilities and the tokens so far -> log-probabilities.

A filter sets the log-probability of forbidden tokens to minus infinity, in place. Required phrases
are no filter: see `automaton`.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from jaxtyping import Float, Int

from captioner.search.arrays import arrays_of
from captioner.words.constraints import Constraints, Phrase

Filter = Callable[[Float[Any, "B K V"], Int[Any, "B K t"]], Float[Any, "B K V"]]


def filters_of(constraints: Constraints) -> list[Filter]:
    """Return a filter for each forbidden phrase, and one for n-gram blocking."""
    filters: list[Filter] = [partial(block_phrase, phrase) for phrase in constraints.forbidden]
    if constraints.no_repeat:
        filters.append(partial(block_ngrams, constraints.no_repeat))
    return filters


def block_phrase(
    phrase: Phrase, log_p: Float[Any, "B K V"], tokens: Int[Any, "B K t"]
) -> Float[Any, "B K V"]:
    """Forbid the last token of a phrase where the tokens before it are there."""
    *before, last = phrase
    if len(before) <= tokens.shape[-1]:
        arrays = arrays_of(tokens)
        latest = tokens[..., tokens.shape[-1] - len(before) :]
        begun = (latest == arrays.integers(before)).all(-1)
        log_p[..., last] = arrays.where(begun, -math.inf, log_p[..., last])
    return log_p


def block_ngrams(
    size: int, log_p: Float[Any, "B K V"], tokens: Int[Any, "B K t"]
) -> Float[Any, "B K V"]:
    """Forbid tokens that would repeat an n-gram of this size.

    Source: Paulus et al. 2017, section 2.5 (arXiv:1705.04304).
    """
    starts = tokens.shape[-1] - size + 1
    if starts > 0:
        arrays = arrays_of(tokens)
        places = arrays.arange(starts, 1) + arrays.arange(size - 1)
        latest = tokens[..., None, starts:]
        again = (tokens[..., places] == latest).all(-1)  # (B, K, starts)
        images, hypotheses, ends = arrays.where(again)
        log_p[images, hypotheses, tokens[images, hypotheses, ends + size - 1]] = -math.inf
    return log_p
