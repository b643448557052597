"""How much of what is required has been said, as a table."""

import math
from itertools import product

import torch
from jaxtyping import Int
from torch import Tensor

from captioner.rules import Phrase


def progress(required: tuple[Phrase, ...], *, words: int, end_id: int) -> Int[Tensor, "S V"]:
    """Return where every word leads: the next state, by state and word.

    A state is how much of each required phrase has been said. A caption begins in the first and
    may end in the last, where all has been; elsewhere END leads nowhere, -1.

    Source: the finite-state machines of Anderson et al. 2017, section 3.2 (arXiv:1612.00576).
    """
    parts = [_progress_of(phrase, words) for phrase in required]
    leads = torch.zeros(math.prod(map(len, parts)), words, dtype=torch.long)
    for state, said in enumerate(product(*(range(len(part)) for part in parts))):
        for part, count in zip(parts, said, strict=True):
            leads[state] = leads[state] * len(part) + part[count]
    leads[:-1, end_id] = -1
    return leads


def _progress_of(phrase: Phrase, words: int) -> Int[Tensor, "n V"]:
    """Return how much of one phrase has been said, by how much had been and by word."""
    whole = len(phrase)
    leads = torch.zeros(whole + 1, words, dtype=torch.long)
    leads[whole] = whole
    for count in range(whole):
        for word in phrase:
            said = (*phrase[:count], word)
            leads[count, word] = next(
                n for n in range(len(said), -1, -1) if said[len(said) - n :] == phrase[:n]
            )
    return leads
