"""CIDEr-D as a reward: all captions of a batch at once, on whatever device they are.

The measure of `training.metrics.cider` (Vedantam et al. 2015, arXiv:1411.5726) on ids in place of
words. An n-gram is one number. The different n-grams of an image's captions, U of them, are counted
into one table for each caption; the rest is arithmetic on tables.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from captioner.tokenizer import Tokenizer

_LONGEST = 4
_BITS = 16  # of a word in an n-gram; four fill an int64
_SIGMA = 6.0  # of the Gaussian on the difference in length, in words
_SCALE = 10.0


class CiderReward:
    """CIDEr-D of drawn captions against their image's references.

    The end mark takes part in the n-grams, so that a caption that stops after "with a" is worth
    less than one that comes to an end. Document frequencies are those of the training captions.
    """

    def __init__(self, captions: Iterable[Sequence[str]], tokenizer: Tokenizer) -> None:
        """Count in how many images' captions each n-gram occurs.

        Args:
            captions: training captions, image by image.
            tokenizer: turns them into ids.

        Raises:
            ValueError: the tokenizer has too many words to be packed into n-grams.
        """
        if len(tokenizer) >= 2**_BITS:
            raise ValueError(f"{len(tokenizer)} words; rewards can tell {2**_BITS - 1} apart.")
        self._pad_id = tokenizer.pad_id
        images = []
        for own in captions:
            ids = [[*tokenizer.encode(caption), tokenizer.end_id] for caption in own]
            found = _ngrams(_pad(ids, tokenizer.pad_id), pad_id=tokenizer.pad_id)
            images.append(np.unique(found.numpy()))
        known, counts = np.unique(np.concatenate(images), return_counts=True)
        self._most = math.log(len(images))
        self._known = torch.from_numpy(known)
        self._weights = self._most - torch.from_numpy(counts).double().log()

    def __call__(self, words: Tensor, references: Tensor) -> Tensor:
        """Return the reward of each caption, (B, K), from 0 to 10.

        Args:
            words: (B, K, T) ids, START left out, END included, then padding.
            references: (B, R, S) ids of each image's captions, likewise; a row of padding is none.
        """
        width = max(words.shape[-1], references.shape[-1])
        captions = torch.cat([self._widen(words, width), self._widen(references, width)], dim=1)
        tfidf, lengths = self._tables(_ngrams(captions, pad_id=self._pad_id))
        drawn, written = tfidf.split([words.shape[1], references.shape[1]], dim=1)  # (B, ., U)
        clipped = torch.minimum(drawn[:, :, None], written[:, None]) * written[:, None]
        products = clipped @ lengths[:, None]  # (B, K, R, n)
        squares = tfidf.square() @ lengths
        norms = squares[:, : words.shape[1], None] * squares[:, None, words.shape[1] :]
        cosine = torch.where(norms > 0, products / norms.sqrt(), 0.0).mean(dim=-1)
        difference = self._bigrams(words)[:, :, None] - self._bigrams(references)[:, None]
        scores = cosine * torch.exp(-(difference**2) / (2 * _SIGMA**2))
        real = (references != self._pad_id).any(dim=-1).sum(dim=-1)  # (B,)
        return (_SCALE * scores.sum(dim=-1) / real[:, None]).float()

    def _tables(self, ngrams: Tensor) -> tuple[Tensor, Tensor]:
        """Return TF-IDF of each caption's n-grams, (B, C, U), and their lengths one-hot, (B, U, n).

        Args:
            ngrams: (B, C, n, T).
        """
        images, captions, longest, _ = ngrams.shape
        ordered, order = ngrams.flatten(1).sort(dim=1)
        new = torch.nn.functional.pad(ordered[:, 1:] != ordered[:, :-1], (1, 0))
        ranks = new.cumsum(dim=1)
        size = int(ranks.max()) + 1
        places = torch.empty_like(ranks).scatter_(1, order, ranks).view_as(ngrams)  # in U
        empty = torch.zeros(images, captions, size, dtype=torch.float64, device=ngrams.device)
        one = torch.ones((), dtype=empty.dtype, device=empty.device)
        counts = empty.scatter_add(2, places.flatten(2), one.expand_as(places.flatten(2)))
        weights = empty[:, 0].scatter(1, ranks, self._weigh(ordered))
        lengths = empty.new_zeros(images, longest, size)
        lengths.scatter_(2, places.transpose(1, 2).flatten(2), 1.0)
        return counts * weights[:, None], lengths.transpose(1, 2)

    def _weigh(self, ngrams: Tensor) -> Tensor:
        """Inverse document frequency of each n-gram; 0 where there is none."""
        known, weights = self._known.to(ngrams.device), self._weights.to(ngrams.device)
        place = torch.searchsorted(known, ngrams).clamp(max=len(known) - 1)
        weight = torch.where(known[place] == ngrams, weights[place], self._most)
        return weight.masked_fill(ngrams == 0, 0.0)

    def _widen(self, words: Tensor, width: int) -> Tensor:
        return torch.nn.functional.pad(words, (0, width - words.shape[-1]), value=self._pad_id)

    def _bigrams(self, words: Tensor) -> Tensor:
        return ((words != self._pad_id).sum(dim=-1) - 1).clamp(min=0)


def _ngrams(words: Tensor, *, pad_id: int) -> Tensor:
    """Number the n-grams that begin at each word, (..., T) to (..., n, T); 0 where there is none.

    Numbers differ between n-grams of any length, as no word is 0.
    """
    ids = torch.where(words == pad_id, 0, words + 1)
    numbers = [ids]
    for n in range(1, _LONGEST):
        shorter = numbers[-1]
        last = torch.nn.functional.pad(ids[..., n:], (0, min(n, ids.shape[-1])))
        longer = (shorter << _BITS) | last
        numbers.append(torch.where((shorter != 0) & (last != 0), longer, 0))
    return torch.stack(numbers, dim=-2)


def _pad(captions: Sequence[Sequence[int]], pad_id: int) -> Tensor:
    longest = max(map(len, captions))
    return torch.tensor([[*ids, *[pad_id] * (longest - len(ids))] for ids in captions])
