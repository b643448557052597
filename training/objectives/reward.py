"""What a drawn caption is worth: CIDEr-D, and BLEU-4 if asked for, of all captions of a batch.

The measures of `training.metrics` on ids in place of words, as arithmetic on tensors.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from captioner.words.tokenizer import Tokenizer
from training.objectives.overlap import (
    BITS,
    LONGEST,
    Overlap,
    compare_ngrams,
    number_ngrams,
    pad,
    read_counts,
)

_SIGMA = 6.0  # of the Gaussian on the difference in length, in words
_SCALE = 10.0
_TINY, _SMALL = 1e-15, 1e-9  # see training.metrics.bleu
_IMAGES = 4096  # whose n-grams are counted at a time

Ids = Sequence[Sequence[int]]
"""Captions of one image."""


class Reward:
    """CIDEr-D of drawn captions against their image's references, mixed with BLEU-4.

    The end mark takes part in the n-grams, so that a caption that stops after "with a" is worth
    less than one that comes to an end. Document frequencies are those of the training captions.
    """

    def __init__(self, captions: Iterable[Ids], tokenizer: Tokenizer, *, bleu: float = 0.0) -> None:
        """Count in how many images' captions each n-gram occurs.

        Args:
            captions: ids of the training captions, image by image, END not among them.
            tokenizer: where they come from.
            bleu: weight of BLEU-4, from 0 to 1, beside CIDEr-D, from 0 to 10.

        Raises:
            ValueError: the tokenizer has too many words to be packed into n-grams.
        """
        if len(tokenizer) >= 2**BITS:
            raise ValueError(f"{len(tokenizer)} words; rewards can tell {2**BITS - 1} apart.")
        self._pad_id = tokenizer.pad_id
        self._bleu = bleu
        self._images, known, counts = _document_frequencies(captions, tokenizer)
        self._most = math.log(self._images)
        self._known = torch.from_numpy(known)
        self._weights = self._most - torch.from_numpy(counts).double().log()
        self._digest = hashlib.sha256(known.tobytes() + counts.tobytes()).hexdigest()[:12]

    @property
    def signature(self) -> str:
        """All that a reward depends on beside the captions, in a line."""
        mix = f"+{self._bleu:g}*BLEU-4" if self._bleu else ""
        return (
            f"CIDEr-D{mix}|n:{LONGEST}|sigma:{_SIGMA:g}|end:counted|"
            f"df:{self._images} training images, {self._digest}"
        )

    def __call__(self, words: Tensor, references: Tensor) -> Tensor:
        """Return the reward of each caption, (B, K); CIDEr-D alone is from 0 to 10.

        Args:
            words: (B, K, T) ids, START left out, END included, then padding.
            references: (B, R, S) ids of each image's captions, likewise; a row of padding is none.
        """
        overlap = compare_ngrams(words, references, pad_id=self._pad_id)
        reward = self._cider(overlap)
        if self._bleu:
            reward = reward + self._bleu * bleu_4(overlap)
        return reward.float()

    def _cider(self, overlap: Overlap) -> Tensor:
        """Vedantam et al. 2015, section 5 (arXiv:1411.5726), as in `training.metrics.cider`."""
        squares = self._weigh(overlap.ngrams).square()  # (B, U)
        drawn, written = read_counts(squares, overlap.drawn), read_counts(squares, overlap.written)
        clipped = torch.minimum(overlap.own[:, :, None], overlap.shared) * overlap.shared
        once = drawn / overlap.own.clamp(min=1)
        products = (clipped * once[:, :, None]).sum(dim=-1)  # (B, K, R, n)
        norms = (overlap.own * drawn).sum(dim=-1)[:, :, None]
        norms = norms * (overlap.written_own * written).sum(dim=-1)[:, None]
        cosine = torch.where(norms > 0, products / norms.sqrt(), 0.0).mean(dim=-1)
        longer = (overlap.lengths - 1).clamp(min=0)[:, :, None]
        difference = longer - (overlap.written_lengths - 1).clamp(min=0)[:, None]
        scores = cosine * torch.exp(-(difference**2) / (2 * _SIGMA**2))
        real = (overlap.written_lengths > 0).sum(dim=-1)
        return _SCALE * scores.sum(dim=-1) / real[:, None]

    def _weigh(self, ngrams: Tensor) -> Tensor:
        """Inverse document frequency of each n-gram; 0 where there is none."""
        known, weights = self._known.to(ngrams.device), self._weights.to(ngrams.device)
        found = torch.searchsorted(known, ngrams).clamp(max=len(known) - 1)
        weight = torch.where(known[found] == ngrams, weights[found], self._most)
        return weight.masked_fill(ngrams == 0, 0.0)


def bleu_4(overlap: Overlap) -> Tensor:
    """BLEU-4 of each caption, (B, K), from 0 to 1, as in `training.metrics.bleu`."""
    clipped = torch.minimum(overlap.own, overlap.shared.amax(dim=2))
    matched = (clipped / overlap.own.clamp(min=1).double()).sum(dim=-1)  # (B, K, n)
    shorter = torch.arange(LONGEST, device=matched.device)
    total = (overlap.lengths[..., None] - shorter).clamp(min=0)
    precision = ((matched + _TINY) / (total + _SMALL)).log().mean(dim=-1).exp()
    real = overlap.written_lengths[:, None]  # (B, 1, R)
    # The closest length; of two equally close, the shorter, which half a word decides.
    distance = 2 * (real - overlap.lengths[..., None]).abs() + (real > overlap.lengths[..., None])
    distance = distance.masked_fill(real == 0, torch.iinfo(distance.dtype).max)
    closest = real.expand_as(distance).gather(2, distance.argmin(dim=2, keepdim=True))[..., 0]
    ratio = (overlap.lengths + _TINY) / (closest + _SMALL)
    return precision * torch.where(ratio < 1, torch.exp(1 - 1 / ratio), 1.0)


def _document_frequencies(
    captions: Iterable[Ids], tokenizer: Tokenizer
) -> tuple[int, np.ndarray, np.ndarray]:
    """Count images, and in how many of them each n-gram occurs: numbers, ascending, and counts."""
    total, remaining = 0, iter(captions)
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    while some := list(islice(remaining, _IMAGES)):
        total += len(some)
        parts.append(_count_images(some, tokenizer))
    known, places = np.unique(np.concatenate([part for part, _ in parts]), return_inverse=True)
    counts = np.zeros(len(known), dtype=np.int64)
    np.add.at(counts, places, np.concatenate([part for _, part in parts]))
    return total, known, counts


def _count_images(captions: Sequence[Ids], tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Count in how many of a few thousand images each n-gram occurs."""
    rows = [(*ids, tokenizer.end_id) for own in captions for ids in own]
    images = np.repeat(np.arange(len(captions)), [len(own) for own in captions])
    ngrams = number_ngrams(pad(rows, pad_id=tokenizer.pad_id), pad_id=tokenizer.pad_id).numpy()
    real = ngrams != 0
    found = ngrams[real]
    image = np.broadcast_to(images[:, None, None], ngrams.shape)[real]
    order = found.argsort(kind="stable")  # images stay in order among equal n-grams
    found, image = found[order], image[order]
    first = np.ones(len(found), dtype=bool)  # occurrence of an n-gram in an image
    first[1:] = (found[1:] != found[:-1]) | (image[1:] != image[:-1])
    return np.unique(found[first], return_counts=True)
