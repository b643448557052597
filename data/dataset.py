"""Record -> training example: the image as input tensor, all its captions as token ids."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from captioner.config import PreprocessConfig
from captioner.photo.preprocess import Geometry, fit_geometry
from captioner.words.tokenizer import Tokenizer
from data.boxes import WHOLE, Box, BoxShares
from data.coco import Record
from data.image_source import ImageSource
from data.packed import Packed
from data.pixels import load_for, to_input

# "a dog on the left" is false in the mirror; so, to be safe, is "leftmost" or "right-handed".
_SIDES = re.compile(r"\b(left|right)", re.IGNORECASE)

_LEAST_AREA = 0.8
"""Part of a photo that a crop leaves."""
_SPARE = 1.2
"""How many times as large a photo must be for its crop to be large enough, about."""

_jitter = v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)


@dataclass(frozen=True)
class Example:
    """One image and all its captions."""

    inputs: Float[Tensor, "3 H W"] | Float[Tensor, "P D"]
    """Normalised pixels, or features of the image regions."""
    words: list[list[int]]
    """Ids of each caption behind the tokenizer's prefix. END comes last unless the caption was cut:
    a cut caption must not teach the decoder to stop there."""
    image_id: int
    captions: tuple[str, ...]
    """The captions as written."""
    shares: list[Float[Tensor, "T P"]] | None = None
    """For each caption: which share of each region lies inside the boxes of the word that follows
    prefix and T words; None where boxes are not asked for."""


class Variation(NamedTuple):
    """The augmentation of an item."""

    crop: Box = WHOLE
    """What is left of the photo."""
    mirrored: bool = False


class CaptionDataset(Dataset[Example]):
    """Images with their captions; one item is one image.

    An item is a pure function of (seed, epoch, index), whichever worker makes it, and in any order.
    `dataset[index]` is the item of epoch 0; a sampler asks for a later
    epoch by `dataset[epoch, index]`.
    """

    def __init__(
        self,
        records: Sequence[Record],
        source: ImageSource,
        *,
        preprocess: PreprocessConfig,
        tokenizer: Tokenizer,
        augment: bool = False,
        randaugment: tuple[int, int] = (0, 0),
        max_words: int = 40,
        seed: int = 0,
        boxes: BoxShares | None = None,
    ) -> None:
        """Check that every image exists, and encode the captions.

        Args:
            records: images and captions; their order is that of the items.
            source: where the images are.
            preprocess: how a photo becomes the encoder's input.
            tokenizer: captions to ids.
            augment: crop, mirror and recolour the photos slightly, differently in each epoch.
            randaugment: number and magnitude (0 to 30) of further operations; none mirrors, but
                boxes do not follow them.
            max_words: longest caption in tokens, without prefix and END; longer ones are truncated.
            seed: of the augmentation, 0 or more.
            boxes: of what the captions name, for supervised attention.

        Raises:
            DataError: images are missing.
        """
        source.require(record.image for record in records)
        self.records = records if isinstance(records, Packed) else Packed(records)
        self.source = source
        self.preprocess = preprocess
        self.augment = augment
        self.seed = seed
        self._ends = (tokenizer.prefix, tokenizer.end_id)
        self._max_words = max_words
        changes, magnitude = randaugment
        fill = [round(255 * level) for level in preprocess.mean]  # where a photo is moved away
        self._randaugment = v2.RandAugment(changes, magnitude, fill=fill) if changes else None
        self._boxes = boxes
        encoded = tokenizer.encode_each(record.captions for record in self.records)
        self._ids = Packed([ids[: max_words + 1] for ids in own] for own in encoded)
        self.caption_counts = [len(own) for own in self._ids]
        """Captions of each image."""
        self.lengths = [max(map(len, own)) for own in self._ids]
        """Ids in the longest caption of each image."""

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, place: int | tuple[int, int]) -> Example:
        """Return the item at an index, or at (epoch, index).

        Raises:
            ImageError: the photo cannot be decoded.
            DataError: its file was deleted or changed.
        """
        epoch, index = place if isinstance(place, tuple) else (0, place)
        return self._item(epoch, index, self.source.read(self.records[index].image))

    def __getitems__(self, places: Sequence[tuple[int, int]]) -> list[Example]:
        """Return the items of a batch, at (epoch, index) each, their photos read side by side.

        Raises:
            ImageError, DataError: as for one item.
        """
        contents = self.source.read_each(self.records[index].image for _, index in places)
        return [
            self._item(epoch, index, content)
            for (epoch, index), content in zip(places, contents, strict=True)
        ]

    def _item(self, epoch: int, index: int, content: bytes) -> Example:
        if not self.augment:
            pixels, geometry = to_input(self._photo(index, content), self.preprocess)
            return self.example(index, pixels, geometry=geometry)
        photo = self._photo(index, content, spare=_SPARE)
        with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's global generator
            torch.default_generator.manual_seed(derive_seed(self.seed, epoch, index))
            photo, variation = _vary(photo, mirror=self.may_be_mirrored(index))
            if self._randaugment is not None:
                photo = self._randaugment(photo)
            pixels, geometry = to_input(photo, self.preprocess, recolour=_jitter)
        return self.example(index, pixels, variation=variation, geometry=geometry)

    def example(
        self,
        index: int,
        inputs: Tensor,
        *,
        variation: Variation = Variation(),  # noqa: B008  # frozen
        geometry: Geometry | None = None,
    ) -> Example:
        """Combine inputs with the captions of this image.

        Args:
            index: of the image.
            inputs: see `Example`.
            variation: how the inputs differ from the photo.
            geometry: how what is left of the photo lies on the input; found out unless given.
        """
        record = self.records[index]
        words = self.words(index)
        shares = None
        if self._boxes is not None:
            geometry = geometry or self._geometry(index)
            found = self._boxes(record, geometry=geometry, **variation._asdict())
            given = len(self._ends[0])
            shares = [x[: len(ids) - given] for x, ids in zip(found, words, strict=True)]
        return Example(inputs, words, record.image_id, record.captions, shares)

    def pixels(self, indices: Sequence[int]) -> list[Float[Tensor, "3 H W"]]:
        """The inputs of some images without augmentation, their photos read side by side."""
        contents = self.source.read_each(self.records[index].image for index in indices)
        return [
            to_input(self._photo(index, content), self.preprocess)[0]
            for index, content in zip(indices, contents, strict=True)
        ]

    def words(self, index: int) -> list[list[int]]:
        """Ids of this image's captions, as in `Example`."""
        start, end = self._ends
        return [
            [*start, *ids[:-1]] if len(ids) > self._max_words else [*start, *ids, end]
            for ids in self._ids[index]
        ]

    def may_be_mirrored(self, index: int) -> bool:
        """Whether no caption of this image mentions left or right."""
        return not any(_SIDES.search(caption) for caption in self.records[index].captions)

    def _geometry(self, index: int) -> Geometry:
        """How the whole photo lies on the input; squashed, its shape plays no part."""
        height, width = self.preprocess.height, self.preprocess.width
        if self.preprocess.fit != "squash":
            photo = self._photo(index, self.source.read(self.records[index].image))
            height, width = photo.height, photo.width
        return fit_geometry(height, width, self.preprocess)

    def _photo(self, index: int, content: bytes, *, spare: float = 1) -> Image.Image:
        name = self.records[index].image
        return load_for(content, self.preprocess, name=name, spare=spare)


def derive_seed(*numbers: int) -> int:
    """Return a well-mixed seed below 2**32 that depends only on these."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _vary(photo: Image.Image, *, mirror: bool) -> tuple[Image.Image, Variation]:
    """Crop 80 to 100 % of the area at about its own aspect ratio, and mirror half."""
    aspect = photo.width / photo.height
    top, left, height, width = v2.RandomResizedCrop.get_params(
        photo, scale=[_LEAST_AREA, 1.0], ratio=[0.9 * aspect, aspect / 0.9]
    )
    crop = (
        left / photo.width,
        top / photo.height,
        (left + width) / photo.width,
        (top + height) / photo.height,
    )
    photo = v2.functional.crop(photo, top, left, height, width)
    mirrored = mirror and bool(torch.rand(()) < 0.5)
    if mirrored:
        photo = v2.functional.hflip(photo)
    return photo, Variation(crop, mirrored)
