"""N-gram counts of captions given as token ids, for a whole batch on any device.

An n-gram is packed into one int64. For each image, the distinct n-grams of all its captions (U of
them) index a count table per caption; how often an n-gram occurs in another caption is a lookup.
"""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

LONGEST = 4
"""Longest n-gram, in tokens."""
BITS = 16
"""Bits per token in a packed n-gram; four tokens fill an int64."""


class Overlap(NamedTuple):
    """Counts of the n-grams of candidate captions and of their references.

    An n-gram is stored at the position of its first token, so one that occurs c times in a caption
    appears at c positions: divide a sum over positions by c to count it once.
    """

    ngrams: Int[Tensor, "B U"]
    """Packed distinct n-grams of each image's captions, ascending; 0 is none."""
    candidates: Int[Tensor, "B K n T"]
    """Index into `ngrams` of the n-gram that starts at each position of the candidates."""
    references: Int[Tensor, "B R n S"]
    """The same for the references."""
    candidate_counts: Int[Tensor, "B K n T"]
    """Count of that n-gram in the candidate itself; 0 where none starts."""
    reference_counts: Int[Tensor, "B R n S"]
    """The same for the references."""
    matches: Int[Tensor, "B K R n T"]
    """Count of each candidate n-gram in each reference."""
    candidate_lengths: Int[Tensor, "B K"]
    """Length of each candidate, in tokens."""
    reference_lengths: Int[Tensor, "B R"]
    """Length of each reference, in tokens; 0 for a row that is all padding."""


def compare_ngrams(
    words: Int[Tensor, "B K T"], references: Int[Tensor, "B R S"], *, pad_id: int
) -> Overlap:
    """Count the n-grams that candidates share with their image's references.

    Args:
        words: token ids of the candidates, padded at the end.
        references: token ids of the references, padded at the end; a row of padding is ignored.
        pad_id: id of the padding token.
    """
    packed = pack_ngrams(words, pad_id=pad_id), pack_ngrams(references, pad_id=pad_id)
    ngrams, indices = _index(torch.cat([rows.flatten(1) for rows in packed], dim=1))
    ours, theirs = indices.split([packed[0][0].numel(), packed[1][0].numel()], dim=1)
    ours, theirs = ours.view_as(packed[0]), theirs.view_as(packed[1])
    counts, reference_counts = _count(ours, ngrams), _count(theirs, ngrams)
    repeated = ours[:, None].expand(-1, references.shape[1], -1, -1, -1)  # (B, R, K, n, T)
    return Overlap(
        ngrams=ngrams,
        candidates=ours,
        references=theirs,
        candidate_counts=gather_counts(counts, ours),
        reference_counts=gather_counts(reference_counts, theirs),
        matches=gather_counts(reference_counts, repeated).transpose(1, 2),
        candidate_lengths=(words != pad_id).sum(dim=-1),
        reference_lengths=(references != pad_id).sum(dim=-1),
    )


def gather_counts(table: Tensor, indices: Tensor) -> Tensor:
    """Look up each row's table, (..., U), at that row's indices, (..., any shape)."""
    rows = indices.flatten(table.ndim - 1)
    return table.gather(-1, rows).view_as(indices)


def pad(captions: Sequence[Sequence[int]], *, pad_id: int) -> Int[Tensor, "N T"]:
    """Pad sequences of ids at the end, to the length of the longest."""
    lengths = np.fromiter(map(len, captions), dtype=np.int64, count=len(captions))
    rows = np.full((len(captions), lengths.max()), pad_id, dtype=np.int64)
    rows[np.arange(rows.shape[1]) < lengths[:, None]] = np.fromiter(
        chain.from_iterable(captions), dtype=np.int64, count=lengths.sum()
    )
    return torch.from_numpy(rows)


def pack_ngrams(words: Int[Tensor, "*rows T"], *, pad_id: int) -> Int[Tensor, "*rows n T"]:
    """Pack the n-gram of each length that starts at each token into an int64; 0 where none does.

    Packed n-grams of different lengths never collide, because no token is packed as 0.
    """
    ids = torch.where(words == pad_id, 0, words + 1)
    packed = [ids]
    for n in range(1, LONGEST):
        shorter = packed[-1]
        last = torch.nn.functional.pad(ids[..., n:], (0, min(n, ids.shape[-1])))
        longer = (shorter << BITS) | last
        packed.append(torch.where((shorter != 0) & (last != 0), longer, 0))
    return torch.stack(packed, dim=-2)


def _index(ngrams: Int[Tensor, "B X"]) -> tuple[Int[Tensor, "B U"], Int[Tensor, "B X"]]:
    """Return each row's distinct n-grams, ascending, padded with 0, and each entry's index."""
    ordered, order = ngrams.sort(dim=1)
    indices = torch.nn.functional.pad(ordered[:, 1:] != ordered[:, :-1], (1, 0)).cumsum(dim=1)
    distinct = ngrams.new_zeros(len(ngrams), int(indices.max()) + 1).scatter(1, indices, ordered)
    return distinct, torch.empty_like(indices).scatter(1, order, indices)


def _count(indices: Int[Tensor, "B C n T"], ngrams: Int[Tensor, "B U"]) -> Int[Tensor, "B C U"]:
    """Count each caption's n-grams; the 0 entries stay 0."""
    rows = indices.flatten(2)
    counts = rows.new_zeros(*rows.shape[:2], ngrams.shape[1])
    counts.scatter_add_(2, rows, torch.ones_like(rows))
    return counts * (ngrams != 0)[:, None]
