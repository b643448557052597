"""Data loaders for training and validation: pixels, or cached features of a frozen encoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from captioner.errors import DataError
from captioner.model import Encoder
from captioner.words.tokenizer import Tokenizer
from data.batching import BatchLoader, build_loader
from data.boxes import BoxedImage, BoxShares, load_entities
from data.coco import Record
from data.dataset import CaptionDataset
from data.features import FeatureDataset, View, cache_features
from data.image_source import ImageSource
from data.overlap import find_shared
from data.ranks import Ranks
from training.running.start import load_sources
from training.settings import RunConfig, StageConfig


@dataclass(frozen=True)
class CaptionedPhotos:
    """Photos with captions."""

    records: Sequence[Record]
    source: ImageSource


def load_photos(
    config: RunConfig, *, check: bool = True
) -> tuple[CaptionedPhotos, CaptionedPhotos]:
    """Read the training and the validation captions.

    Args:
        config: settings of the run.
        check: look for photos in both sets, as `data.overlap` asks; reads files of equal size.

    Raises:
        DataError: captions or photos are missing or do not fit together, or photos are in both
            sets.
    """
    train = CaptionedPhotos(*load_sources(config.data.train))
    val = CaptionedPhotos(*load_sources([config.data.val]))
    if check and config.data.overlap == "refused":
        shared = find_shared(val.records, val.source, train.records, train.source)
        if shared:
            name, known = shared[0]
            alias = "" if known == name else f" (there {known!r})"
            raise DataError(
                f"{len(shared)} of {len(val.records)} photos of data.val are also in data.train, "
                f"such as {name!r}{alias}; scores on training photos say nothing about new ones. "
                'Use separate splits, or set data.overlap = "allowed" to overfit on purpose.'
            )
    return train, val


def build_loaders(
    config: RunConfig,
    stage: StageConfig,
    *,
    train: CaptionedPhotos,
    val: CaptionedPhotos,
    tokenizer: Tokenizer,
    encoder: Encoder,
    device: torch.device,
    ranks: Ranks,
) -> tuple[BatchLoader, BatchLoader]:
    """Build the training and the validation loader of a stage.

    With a frozen encoder, its features are computed first, or reused from the cache.

    Raises:
        DataError: a caption or boxes file cannot be read, or features cannot be cached.
    """
    train_set: CaptionDataset | FeatureDataset
    val_set: CaptionDataset | FeatureDataset
    boxes = None
    if stage.grounding > 0:
        boxes = BoxShares(load_boxes(config), tokenizer=tokenizer, grid=encoder.grid)
    train_set = _dataset(
        config,
        train,
        tokenizer,
        augment=stage.augment,
        randaugment=(stage.randaugment, stage.randaugment_magnitude),
        boxes=boxes,
    )
    val_set = _dataset(config, val, tokenizer)
    if stage.encoder == "frozen":
        views: tuple[View, ...] = ("plain", "mirror") if stage.augment else ("plain",)
        cached: dict[str, Any] = {
            "batch_size": 64,
            "device": device,
            "workers": config.data.workers,
            "ranks": ranks,
        }
        folder = Path(config.data.cache)
        train_set = cache_features(encoder, train_set, folder, views=views, **cached)
        val_set = cache_features(encoder, val_set, folder, **cached)
    options: dict[str, Any] = {
        "batch_size": stage.batch_size,
        "pad_id": tokenizer.pad_id,
        "seed": config.seed,
        "workers": config.data.workers,
        "ranks": ranks,
    }
    return (
        build_loader(train_set, shuffle=True, **options),
        build_loader(val_set, shuffle=False, **options),
    )


def load_boxes(config: RunConfig) -> list[BoxedImage]:
    """Read the boxes of the training captions.

    Raises:
        DataError: a file cannot be read, or has another format.
    """
    return [
        image
        for source in config.data.train
        if source.boxes
        for image in load_entities(Path(source.boxes), split=source.split)
    ]


def _dataset(
    config: RunConfig, photos: CaptionedPhotos, tokenizer: Tokenizer, **options: Any
) -> CaptionDataset:
    return CaptionDataset(
        photos.records,
        photos.source,
        preprocess=config.preprocess,
        tokenizer=tokenizer,
        max_words=config.data.max_words,
        seed=config.seed,
        **options,
    )
