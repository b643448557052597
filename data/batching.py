"""Batches from examples: padding, length bucketing, reproducible data loaders."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from captioner.words.tokenizer import Marks
from data.dataset import Example
from data.ranks import Ranks

_POOL = 50
"""Batches' worth of images that are sorted by length together: large enough for little padding,
small enough to shuffle well.
"""


@dataclass(frozen=True)
class Batch:
    """Images with the same number of captions each."""

    inputs: Float[Tensor, "B 3 H W"] | Float[Tensor, "B P D"]
    """Normalised pixels, or region features."""
    words: Int[Tensor, "B K T"]
    """Token ids, padded on the right with the tokenizer's `pad_id`."""
    image_ids: list[int]
    captions: list[tuple[str, ...]]
    """Captions as text, image by image."""
    shares: Float[Tensor, "B K T P"] | None = None
    """Fraction of each region inside the boxes of the next token, given the prefix and T tokens; 0
    for padding and for words without boxes. None if boxes are not used."""

    def to(self, device: torch.device | str) -> "Batch":
        """Move the tensors."""
        return self._change(lambda x: x.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Pin the tensors' memory; a DataLoader calls this, for asynchronous copies in `to`."""
        return self._change(Tensor.pin_memory)

    def _change(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        shares = None if self.shares is None else change(self.shares)
        return replace(self, inputs=change(self.inputs), words=change(self.words), shares=shares)


def collate(examples: Sequence[Example], pad_id: int) -> Batch:
    """Stack examples, padding short captions and missing ones."""
    captions = max(len(example.words) for example in examples)
    length = max(len(ids) for example in examples for ids in example.words)
    words = torch.full((len(examples), captions, length), pad_id, dtype=torch.int64)
    for row, example in zip(words, examples, strict=True):
        for place, ids in enumerate(example.words):
            row[place, : len(ids)] = torch.tensor(ids)
    return Batch(
        inputs=torch.stack([example.inputs for example in examples]),
        words=words,
        image_ids=[example.image_id for example in examples],
        captions=[example.captions for example in examples],
        shares=_collate_shares(examples, words.shape[1:]),
    )


def _collate_shares(
    examples: Sequence[Example], shape: tuple[int, ...]
) -> Float[Tensor, "B K T P"] | None:
    """Stack shares, with 0 for padding."""
    if examples[0].shares is None:
        return None
    captions, length = shape
    regions = examples[0].shares[0].shape[-1]
    shares = torch.zeros(len(examples), captions, length - 1, regions)
    for row, example in zip(shares, examples, strict=True):
        for place, own in enumerate(example.shares or ()):
            row[place, : len(own)] = own
    return shares


class BucketSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) pairs; every image once per epoch.

    All images of a batch have the same number of captions, so no row is pure padding; images with a
    rare number of captions may form a small batch. With shuffling, images are also grouped by the
    length of their longest caption; otherwise they keep their order within a bucket.

    In a distributed run, each rank takes its share of every batch. A batch smaller than the number
    of ranks is padded with images it already contains.
    """

    def __init__(
        self,
        caption_counts: Sequence[int],
        lengths: Sequence[int],
        *,
        batch_size: int,
        shuffle: bool,
        seed: int = 0,
        ranks: Ranks = Ranks(),  # noqa: B008  # frozen
    ) -> None:
        """Assign images to buckets.

        Args:
            caption_counts: number of captions of each image.
            lengths: length of each image's longest caption, in tokens.
            batch_size: images per batch over all ranks, whatever their number of captions.
            shuffle: use another order in every epoch.
            seed: seed of the order, 0 or more.
            ranks: the processes that share the batches.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be 1 or more.")
        counts = np.asarray(caption_counts)
        self._buckets = [np.flatnonzero(counts == count) for count in np.unique(counts)]
        self._lengths = np.asarray(lengths)
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._seed = seed
        self._ranks = ranks
        self._epoch = 0
        self._done = 0

    def set_epoch(self, epoch: int, *, done: int = 0) -> None:
        """Set the epoch, from 0, and the number of its batches that the next iteration skips."""
        self._epoch = epoch
        self._done = done

    def __len__(self) -> int:
        return sum(-(-len(bucket) // self._batch_size) for bucket in self._buckets)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        random = np.random.default_rng((self._seed, self._epoch))
        batches = []
        for bucket in self._buckets:
            order = self._shuffled(bucket, random) if self._shuffle else bucket
            batches += [
                order[start : start + self._batch_size]
                for start in range(0, len(order), self._batch_size)
            ]
        numbers = random.permutation(len(batches)) if self._shuffle else range(len(batches))
        for number in numbers[self._done :]:
            batch = batches[number]
            filled = np.resize(batch, max(len(batch), self._ranks.count)).tolist()
            yield [(self._epoch, index) for index in self._ranks.share(filled)]

    def _shuffled(self, bucket: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Shuffle, then sort by length within pools of many batches."""
        order = random.permutation(bucket)
        pool = _POOL * self._batch_size
        pools = [order[start : start + pool] for start in range(0, len(order), pool)]
        return np.concatenate([p[np.argsort(self._lengths[p], kind="stable")] for p in pools])


class Captioned(Protocol):
    """Dataset interface of a loader."""

    @property
    def caption_counts(self) -> Sequence[int]:
        """Number of captions of each image."""

    @property
    def lengths(self) -> Sequence[int]:
        """Length of each image's longest caption, in tokens."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: tuple[int, int]) -> Example: ...


class BatchLoader(DataLoader[Example]):
    """A data loader of batches that knows its epoch."""

    batch_sampler: BucketSampler

    def set_epoch(self, epoch: int, *, done: int = 0) -> None:
        """Set the epoch, from 0, of the next iteration: its order and its augmentation.

        The first `done` batches are skipped without being read, to resume in mid-epoch.
        """
        self.batch_sampler.set_epoch(epoch, done=done)


def build_loader(
    dataset: Captioned,
    *,
    batch_size: int,
    shuffle: bool,
    pad_id: int = Marks().pad,
    seed: int = 0,
    workers: int = 0,
    ranks: Ranks = Ranks(),  # noqa: B008  # frozen
) -> BatchLoader:
    """Build a data loader whose batches do not depend on the number of workers.

    Args:
        dataset: a CaptionDataset or FeatureDataset.
        batch_size: images per batch, over all ranks.
        shuffle: use another order in every epoch; call `set_epoch` before each.
        pad_id: id of the padding token.
        seed: seed of the order, 0 or more.
        workers: worker processes that prepare batches; 0 prepares them in this process.
        ranks: the processes that share the batches.
    """
    sampler = BucketSampler(
        dataset.caption_counts,
        dataset.lengths,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        ranks=ranks,
    )
    return BatchLoader(
        dataset,  # type: ignore[arg-type]  # torch expects its own base class
        batch_sampler=sampler,
        collate_fn=partial(collate, pad_id=pad_id),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator().manual_seed(seed),  # seeds the workers
    )
