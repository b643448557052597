"""Reward of sampled captions: CIDEr-D, optionally mixed with BLEU-4, for a whole batch.

The scores equal those of `training.metrics`, computed on token ids with tensor operations.
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
    gather_counts,
    pack_ngrams,
    pad,
)

_SIGMA = 6.0  # of the Gaussian length penalty, in tokens
_SCALE = 10.0
_TINY, _SMALL = 1e-15, 1e-9  # see training.metrics.bleu
_IMAGES = 4096  # images counted at a time, to bound memory

Ids = Sequence[Sequence[int]]
"""Token ids of one image's captions."""


class Reward:
    """CIDEr-D of captions against their image's references, optionally mixed with BLEU-4.

    END takes part in the n-grams, so a caption that stops after "with a" scores less than one that
    is complete. Document frequencies come from the training captions.
    """

    def __init__(self, captions: Iterable[Ids], tokenizer: Tokenizer, *, bleu: float = 0.0) -> None:
        """Count the document frequency of every n-gram.

        Args:
            captions: token ids of the training captions, image by image, without END.
            tokenizer: the tokenizer that produced them.
            bleu: weight of BLEU-4 (0 to 1) relative to CIDEr-D (0 to 10).

        Raises:
            ValueError: the vocabulary is too large to pack n-grams.
        """
        if len(tokenizer) >= 2**BITS:
            raise ValueError(f"vocabulary of {len(tokenizer)}; rewards handle {2**BITS - 1}.")
        self._pad_id = tokenizer.pad_id
        self._bleu = bleu
        self._images, known, counts = _document_frequencies(captions, tokenizer)
        self._most = math.log(self._images)
        self._known = torch.from_numpy(known)
        self._weights = self._most - torch.from_numpy(counts).double().log()
        self._digest = hashlib.sha256(known.tobytes() + counts.tobytes()).hexdigest()[:12]

    @property
    def signature(self) -> str:
        """One line with everything the reward depends on besides the captions."""
        mix = f"+{self._bleu:g}*BLEU-4" if self._bleu else ""
        return (
            f"CIDEr-D{mix}|n:{LONGEST}|sigma:{_SIGMA:g}|end:counted|"
            f"df:{self._images} training images, {self._digest}"
        )

    def __call__(self, words: Tensor, references: Tensor) -> Tensor:
        """Return the reward of each caption, (B, K); CIDEr-D alone lies in 0 to 10.

        Args:
            words: token ids (B, K, T) without START, with END, then padding.
            references: token ids (B, R, S) likewise; a row of padding is ignored.
        """
        overlap = compare_ngrams(words, references, pad_id=self._pad_id)
        reward = self._cider(overlap)
        if self._bleu:
            reward = reward + self._bleu * bleu_4(overlap)
        return reward.float()

    def _cider(self, overlap: Overlap) -> Tensor:
        """CIDEr-D of Vedantam et al. 2015, section 5 (arXiv:1411.5726); (B, K), from 0 to 10."""
        squares = self._weigh(overlap.ngrams).square()  # (B, U)
        counts, reference_counts = overlap.candidate_counts, overlap.reference_counts
        weights = gather_counts(squares, overlap.candidates)
        reference_weights = gather_counts(squares, overlap.references)
        clipped = torch.minimum(counts[:, :, None], overlap.matches) * overlap.matches
        once = weights / counts.clamp(min=1)
        products = (clipped * once[:, :, None]).sum(dim=-1)  # (B, K, R, n)
        norms = (counts * weights).sum(dim=-1)[:, :, None]
        norms = norms * (reference_counts * reference_weights).sum(dim=-1)[:, None]
        cosine = torch.where(norms > 0, products / norms.sqrt(), 0.0).mean(dim=-1)
        lengths = (overlap.candidate_lengths - 1).clamp(min=0)[:, :, None]  # without END
        difference = lengths - (overlap.reference_lengths - 1).clamp(min=0)[:, None]
        scores = cosine * torch.exp(-(difference**2) / (2 * _SIGMA**2))
        real = (overlap.reference_lengths > 0).sum(dim=-1)
        return _SCALE * scores.sum(dim=-1) / real[:, None]

    def _weigh(self, ngrams: Tensor) -> Tensor:
        """Inverse document frequency of each n-gram, (B, U); 0 for the 0 entries."""
        known, weights = self._known.to(ngrams.device), self._weights.to(ngrams.device)
        found = torch.searchsorted(known, ngrams).clamp(max=len(known) - 1)
        weight = torch.where(known[found] == ngrams, weights[found], self._most)
        return weight.masked_fill(ngrams == 0, 0.0)


def bleu_4(overlap: Overlap) -> Tensor:
    """Sentence-level BLEU-4, (B, K), from 0 to 1, smoothed as in `training.metrics.bleu`."""
    clipped = torch.minimum(overlap.candidate_counts, overlap.matches.amax(dim=2))
    matched = (clipped / overlap.candidate_counts.clamp(min=1).double()).sum(dim=-1)  # (B, K, n)
    shorter = torch.arange(LONGEST, device=matched.device)
    total = (overlap.candidate_lengths[..., None] - shorter).clamp(min=0)
    precision = ((matched + _TINY) / (total + _SMALL)).log().mean(dim=-1).exp()
    lengths = overlap.candidate_lengths[..., None]
    real = overlap.reference_lengths[:, None]  # (B, 1, R)
    # The closest reference length; of two equally close, the shorter: it wins by half a token.
    distance = 2 * (real - lengths).abs() + (real > lengths)
    distance = distance.masked_fill(real == 0, torch.iinfo(distance.dtype).max)
    closest = real.expand_as(distance).gather(2, distance.argmin(dim=2, keepdim=True))[..., 0]
    ratio = (overlap.candidate_lengths + _TINY) / (closest + _SMALL)
    return precision * torch.where(ratio < 1, torch.exp(1 - 1 / ratio), 1.0)


def _document_frequencies(
    captions: Iterable[Ids], tokenizer: Tokenizer
) -> tuple[int, np.ndarray, np.ndarray]:
    """Return the number of images, the packed n-grams (ascending) and the images each occurs in."""
    total, remaining = 0, iter(captions)
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    while chunk := list(islice(remaining, _IMAGES)):
        total += len(chunk)
        parts.append(_count_images(chunk, tokenizer))
    known, places = np.unique(np.concatenate([part for part, _ in parts]), return_inverse=True)
    counts = np.zeros(len(known), dtype=np.int64)
    np.add.at(counts, places, np.concatenate([part for _, part in parts]))
    return total, known, counts


def _count_images(captions: Sequence[Ids], tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Return the packed n-grams of these images, ascending, and the images each occurs in."""
    rows = [(*ids, tokenizer.end_id) for own in captions for ids in own]
    images = np.repeat(np.arange(len(captions)), [len(own) for own in captions])
    ngrams = pack_ngrams(pad(rows, pad_id=tokenizer.pad_id), pad_id=tokenizer.pad_id).numpy()
    real = ngrams != 0
    found = ngrams[real]
    image = np.broadcast_to(images[:, None, None], ngrams.shape)[real]
    order = found.argsort(kind="stable")  # stable: images stay sorted among equal n-grams
    found, image = found[order], image[order]
    first = np.ones(len(found), dtype=bool)  # occurrence of an n-gram in an image
    first[1:] = (found[1:] != found[:-1]) | (image[1:] != image[:-1])
    return np.unique(found[first], return_counts=True)
