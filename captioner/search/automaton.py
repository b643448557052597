"""Constraint automaton: which required phrases a caption contains so far, as a table."""

import math
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Int

from captioner.words.constraints import Phrase


def automaton(required: tuple[Phrase, ...], *, words: int, end_id: int) -> Int[Any, "S V"]:
    """Return the next state by state and token.

    A state is the number of tokens matched of each required phrase. A caption begins in state 0 and
    may end only in the last state, where all phrases are complete; elsewhere END leads to -1.

    Source: the finite-state machines of Anderson et al. 2017, section 3.2 (arXiv:1612.00576).
    """
    parts = [_automaton_of(phrase, words) for phrase in required]
    leads = np.zeros((math.prod(map(len, parts)), words), np.int64)
    for state, said in enumerate(product(*(range(len(part)) for part in parts))):
        for part, count in zip(parts, said, strict=True):
            leads[state] = leads[state] * len(part) + part[count]
    leads[:-1, end_id] = -1
    return leads


def _automaton_of(phrase: Phrase, words: int) -> Int[Any, "n V"]:
    """Return how many tokens of a phrase are matched, by number matched before and next token."""
    whole = len(phrase)
    leads = np.zeros((whole + 1, words), np.int64)
    leads[whole] = whole
    for count in range(whole):
        for token in phrase:
            said = (*phrase[:count], token)
            leads[count, token] = next(
                n for n in range(len(said), -1, -1) if said[len(said) - n :] == phrase[:n]
            )
    return leads
