"""N-grams of captions given as ids, all captions of a batch at once, on whatever device they are.

An n-gram is one number. The different n-grams of an image's captions, U of them, are counted in one
table for each caption; how often one occurs in another caption is read there.
"""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

LONGEST = 4
"""Words in the longest n-gram."""
BITS = 16
"""Of a word in an n-gram; four fill an int64."""


class Overlap(NamedTuple):
    """How often the n-grams of drawn captions, and of references, occur where.

    An n-gram belongs to the place of its first word, so one that a caption holds c times is met at
    c places: what is summed over places is divided by c to count it once.
    """

    ngrams: Int[Tensor, "B U"]
    """Numbers of the different n-grams of each image's captions; 0 is none."""
    drawn: Int[Tensor, "B K n T"]
    """Which of these begins at each place of the drawn captions."""
    written: Int[Tensor, "B R n S"]
    """The same of the references."""
    own: Int[Tensor, "B K n T"]
    """How often the caption itself holds that n-gram; 0 where there is none."""
    written_own: Int[Tensor, "B R n S"]
    """The same of the references."""
    shared: Int[Tensor, "B K R n T"]
    """How often each reference holds a drawn n-gram."""
    lengths: Int[Tensor, "B K"]
    """Words of each drawn caption."""
    written_lengths: Int[Tensor, "B R"]
    """Words of each reference; 0 for a row of padding, which is none."""


def compare_ngrams(
    words: Int[Tensor, "B K T"], references: Int[Tensor, "B R S"], *, pad_id: int
) -> Overlap:
    """Find the n-grams that captions share with their image's references; padding comes last."""
    drawn, written = number_ngrams(words, pad_id=pad_id), number_ngrams(references, pad_id=pad_id)
    ngrams, places = _renumber(torch.cat([drawn.flatten(1), written.flatten(1)], dim=1))
    here, there = places.split([drawn[0].numel(), written[0].numel()], dim=1)
    here, there = here.view_as(drawn), there.view_as(written)
    counts, written_counts = _count(here, ngrams), _count(there, ngrams)
    everywhere = here[:, None].expand(-1, written.shape[1], -1, -1, -1)  # (B, R, K, n, T)
    return Overlap(
        ngrams=ngrams,
        drawn=here,
        written=there,
        own=read_counts(counts, here),
        written_own=read_counts(written_counts, there),
        shared=read_counts(written_counts, everywhere).transpose(1, 2),
        lengths=(words != pad_id).sum(dim=-1),
        written_lengths=(references != pad_id).sum(dim=-1),
    )


def read_counts(table: Tensor, places: Tensor) -> Tensor:
    """Read each row's table, (..., U), at that row's places, (..., any shape)."""
    rows = places.flatten(table.ndim - 1)
    return table.gather(-1, rows).view_as(places)


def pad(captions: Sequence[Sequence[int]], *, pad_id: int) -> Int[Tensor, "N T"]:
    """Put ids into rows of one length."""
    lengths = np.fromiter(map(len, captions), dtype=np.int64, count=len(captions))
    rows = np.full((len(captions), lengths.max()), pad_id, dtype=np.int64)
    rows[np.arange(rows.shape[1]) < lengths[:, None]] = np.fromiter(
        chain.from_iterable(captions), dtype=np.int64, count=lengths.sum()
    )
    return torch.from_numpy(rows)


def number_ngrams(words: Int[Tensor, "*rows T"], *, pad_id: int) -> Int[Tensor, "*rows n T"]:
    """Number the n-grams that begin at each word; 0 where there is none.

    Numbers differ between n-grams of any length, as no word is 0.
    """
    ids = torch.where(words == pad_id, 0, words + 1)
    numbers = [ids]
    for n in range(1, LONGEST):
        shorter = numbers[-1]
        last = torch.nn.functional.pad(ids[..., n:], (0, min(n, ids.shape[-1])))
        longer = (shorter << BITS) | last
        numbers.append(torch.where((shorter != 0) & (last != 0), longer, 0))
    return torch.stack(numbers, dim=-2)


def _renumber(ngrams: Int[Tensor, "B X"]) -> tuple[Int[Tensor, "B U"], Int[Tensor, "B X"]]:
    """Return the different n-grams of each row, ascending, then zeros; and where each one is."""
    ordered, order = ngrams.sort(dim=1)
    ranks = torch.nn.functional.pad(ordered[:, 1:] != ordered[:, :-1], (1, 0)).cumsum(dim=1)
    different = ngrams.new_zeros(len(ngrams), int(ranks.max()) + 1).scatter(1, ranks, ordered)
    return different, torch.empty_like(ranks).scatter(1, order, ranks)


def _count(places: Int[Tensor, "B C n T"], ngrams: Int[Tensor, "B U"]) -> Int[Tensor, "B C U"]:
    """Count each caption's n-grams; what is none counts for nothing."""
    rows = places.flatten(2)
    counts = rows.new_zeros(*rows.shape[:2], ngrams.shape[1])
    counts.scatter_add_(2, rows, torch.ones_like(rows))
    return counts * (ngrams != 0)[:, None]
