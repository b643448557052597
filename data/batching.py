"""Examples -> batches: padding, bucketing, reproducible loaders."""

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
"""Batches' worth of images that are sorted by length together: enough for little padding, few
enough that an image meets other company in every epoch."""


@dataclass(frozen=True)
class Batch:
    """Several images with the same number of captions each."""

    inputs: Float[Tensor, "B 3 H W"] | Float[Tensor, "B P D"]
    """Normalised pixels, or features of the image regions."""
    words: Int[Tensor, "B K T"]
    """Ids, padded on the right with the tokenizer's `pad_id`."""
    image_ids: list[int]
    captions: list[tuple[str, ...]]
    """The captions as written, image by image."""
    shares: Float[Tensor, "B K T P"] | None = None
    """Which share of each region lies inside the boxes of the word that follows prefix and T words;
    0 for padding and for words without boxes. None where boxes are not asked for."""

    def to(self, device: torch.device | str) -> "Batch":
        """Move the tensors."""
        return self._change(lambda x: x.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Lock the tensors in memory; a DataLoader calls this so that `to` need not wait."""
        return self._change(Tensor.pin_memory)

    def _change(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        shares = None if self.shares is None else change(self.shares)
        return replace(self, inputs=change(self.inputs), words=change(self.words), shares=shares)


def collate(examples: Sequence[Example], pad_id: int) -> Batch:
    """Stack examples, padding shorter and missing captions."""
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
    """Stack shares; those of padding are 0."""
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
    """Batches of (epoch, index), every image once per epoch.

    The images of a batch have equally many captions, so that no row of a batch is all padding;
    images with a rare number of captions may form a small batch. When shuffled, images are also
    grouped by the length of their longest caption; otherwise they keep their order within a bucket.

    When several processes share a run, each takes its share of every batch. A batch smaller than
    the number of processes is padded with images it already contains.
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
        """Sort images into buckets.

        Args:
            caption_counts: captions of each image.
            lengths: words of each image's longest caption.
            batch_size: images per batch of all processes, whatever their number of captions.
            shuffle: another order in every epoch.
            seed: of the order, 0 or more.
            ranks: who shares the batches.
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
        """Choose the epoch, from 0, and how many of its batches the next iteration leaves out."""
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
        turns = random.permutation(len(batches)) if self._shuffle else range(len(batches))
        for turn in turns[self._done :]:
            batch = batches[turn]
            filled = np.resize(batch, max(len(batch), self._ranks.count)).tolist()
            yield [(self._epoch, index) for index in self._ranks.share(filled)]

    def _shuffled(self, bucket: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Shuffle, then sort by length within pools of whole batches."""
        order = random.permutation(bucket)
        pool = _POOL * self._batch_size
        pools = [order[start : start + pool] for start in range(0, len(order), pool)]
        return np.concatenate([p[np.argsort(self._lengths[p], kind="stable")] for p in pools])


class Captioned(Protocol):
    """What a loader needs from a dataset."""

    @property
    def caption_counts(self) -> Sequence[int]:
        """Captions of each image."""

    @property
    def lengths(self) -> Sequence[int]:
        """Words of each image's longest caption."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: tuple[int, int]) -> Example: ...


class BatchLoader(DataLoader[Example]):
    """A DataLoader of Batches that knows its epoch."""

    batch_sampler: BucketSampler

    def set_epoch(self, epoch: int, *, done: int = 0) -> None:
        """Choose the epoch, from 0, of the next iteration: its order and its augmentation.

        The first `done` batches are skipped without being read, so that a run resumes mid-epoch.
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
    """Build a loader whose batches do not depend on the number of workers.

    Args:
        dataset: a CaptionDataset or FeatureDataset.
        batch_size: images per batch, of all ranks together.
        shuffle: another order in every epoch; call `set_epoch` before each.
        pad_id: what fills up shorter captions.
        seed: of the order, 0 or more.
        workers: processes that prepare batches; 0 prepares them in this one.
        ranks: who shares the batches.
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
        dataset,  # type: ignore[arg-type]  # torch asks for its own base class
        batch_sampler=sampler,
        collate_fn=partial(collate, pad_id=pad_id),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator().manual_seed(seed),  # seeds the workers
    )
