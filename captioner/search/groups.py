"""Groups of a beam: those that come later shun the words that those before them have chosen."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from captioner.config import SearchConfig
from captioner.search.hypotheses import top


def likeliest_of_groups(
    values: Float[Tensor, "R K V"], count: int, *, config: SearchConfig, end_id: int
) -> tuple[Float[Tensor, "R N"], Int[Tensor, "R N"]]:
    """Return the likeliest continuations of each group by themselves, and their places among all.

    A word costs `diversity` for every hypothesis of an earlier group that goes on with it at the
    same place: the Hamming diversity of Vijayakumar et al. 2016, section 4.1 (arXiv:1610.02424). It
    decides what is taken; what is returned are the values without it. The end is no word, and costs
    nothing.

    Args:
        values: of all continuations; the G groups of an image are rows that follow each other.
        count: continuations of each group, N, of which half go on.
        config: G, and what a word costs.
        end_id: the word that finishes a caption.
    """
    groups, words, width = config.groups, values.shape[-1], count // 2
    count = min(count, values.shape[1] * words)
    chosen = values.new_zeros(len(values) // groups, words)  # by how many hypotheses so far
    found = []
    for group in values.unflatten(0, (-1, groups)).unbind(dim=1):
        _, places = top((group - config.diversity * chosen[:, None]).flatten(1), count)
        value = group.flatten(1).gather(1, places)
        said = places % words
        picks = first_open(said == end_id, width)
        real = value.gather(1, picks) > -math.inf
        real &= said.gather(1, picks) != end_id
        chosen.scatter_add_(1, said.gather(1, picks), real.to(chosen.dtype))
        found.append((value, places))
    value, places = (torch.stack(parts, dim=1).flatten(0, 1) for parts in zip(*found, strict=True))
    return value, places


def first_open(ended: Bool[Tensor, "*rows N"], count: int) -> Int[Tensor, "*rows J"]:
    """Return the first places whose captions go on; where there are too few, ended ones behind."""
    return ended.int().argsort(dim=-1, stable=True)[..., :count]
