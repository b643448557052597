"""Records to training examples: image as input tensor, captions as token ids; augmentation."""

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

# Captions that name a side are wrong for the mirrored photo; "leftmost" and "right-handed" count.
_SIDES = re.compile(r"\b(left|right)", re.IGNORECASE)

_LEAST_AREA = 0.8
"""Minimum area of a crop, as a fraction of the photo's."""
_SPARE = 1.2
"""Scale at which a photo is decoded for cropping, relative to the input size."""

_jitter = v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)


@dataclass(frozen=True)
class Example:
    """An image and all its captions."""

    inputs: Float[Tensor, "3 H W"] | Float[Tensor, "P D"]
    """Normalised pixels, or region features."""
    words: list[list[int]]
    """Token ids of each caption: prefix, caption, END. A truncated caption has no END, so that the
    decoder does not learn to stop there."""
    image_id: int
    captions: tuple[str, ...]
    """Captions as written."""
    shares: list[Float[Tensor, "T P"]] | None = None
    """For each caption, the fraction of each region inside the boxes of the next token, given the
    prefix and T tokens; None if boxes are not used."""


class Variation(NamedTuple):
    """Geometric augmentation of an item."""

    crop: Box = WHOLE
    """Part of the photo that is kept."""
    mirrored: bool = False


class CaptionDataset(Dataset[Example]):
    """Images with their captions; one item per image.

    An item is a pure function of (seed, epoch, index), whatever the worker or the order.
    `dataset[epoch, index]` is an item of any epoch, `dataset[index]` one of epoch 0.
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
        """Check that all images exist, and encode the captions.

        Args:
            records: images and captions, in the order of the items.
            source: the images.
            preprocess: preprocessing of the encoder's input.
            tokenizer: encodes the captions.
            augment: crop, mirror and recolour photos slightly, differently in each epoch.
            randaugment: number and magnitude (0 to 30) of RandAugment operations; they never
                mirror, but boxes do not follow them.
            max_words: maximum tokens of a caption, without prefix and END; longer ones are cut.
            seed: seed of the augmentation, 0 or more.
            boxes: boxes of the things that captions name, for supervised attention.

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
        fill = [round(255 * level) for level in preprocess.mean]  # for pixels outside the photo
        self._randaugment = v2.RandAugment(changes, magnitude, fill=fill) if changes else None
        self._boxes = boxes
        encoded = tokenizer.encode_each(record.captions for record in self.records)
        self._ids = Packed([ids[: max_words + 1] for ids in own] for own in encoded)
        self.caption_counts = [len(own) for own in self._ids]
        """Number of captions of each image."""
        self.lengths = [max(map(len, own)) for own in self._ids]
        """Length of each image's longest caption, in tokens."""

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, place: int | tuple[int, int]) -> Example:
        """Return the item at an index, or at (epoch, index).

        Raises:
            ImageError: the photo cannot be decoded.
            DataError: its file was deleted or truncated.
        """
        epoch, index = place if isinstance(place, tuple) else (0, place)
        return self._item(epoch, index, self.source.read(self.records[index].image))

    def __getitems__(self, places: Sequence[tuple[int, int]]) -> list[Example]:
        """Return the items of a batch, at (epoch, index) each; slow reads are concurrent.

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
        """Combine inputs with the captions of an image.

        Args:
            index: index of the image.
            inputs: pixels or features, as in `Example`.
            variation: augmentation of the inputs.
            geometry: geometry of the cropped photo on the input; None computes that of the whole
                photo.
        """
        record = self.records[index]
        words = self.words(index)
        shares = None
        if self._boxes is not None:
            geometry = geometry or self._geometry(index)
            found = self._boxes(record, geometry=geometry, **variation._asdict())
            prefix = len(self._ends[0])
            shares = [x[: len(ids) - prefix] for x, ids in zip(found, words, strict=True)]
        return Example(inputs, words, record.image_id, record.captions, shares)

    def pixels(self, indices: Sequence[int]) -> list[Float[Tensor, "3 H W"]]:
        """Return the inputs of these images without augmentation; slow reads are concurrent."""
        contents = self.source.read_each(self.records[index].image for index in indices)
        return [
            to_input(self._photo(index, content), self.preprocess)[0]
            for index, content in zip(indices, contents, strict=True)
        ]

    def words(self, index: int) -> list[list[int]]:
        """Return the token ids of an image's captions, as in `Example`."""
        start, end = self._ends
        return [
            [*start, *ids[:-1]] if len(ids) > self._max_words else [*start, *ids, end]
            for ids in self._ids[index]
        ]

    def may_be_mirrored(self, index: int) -> bool:
        """Whether no caption of the image mentions left or right."""
        return not any(_SIDES.search(caption) for caption in self.records[index].captions)

    def _geometry(self, index: int) -> Geometry:
        """Geometry of the whole photo on the input; with `squash`, of any photo."""
        height, width = self.preprocess.height, self.preprocess.width
        if self.preprocess.fit != "squash":
            photo = self._photo(index, self.source.read(self.records[index].image))
            height, width = photo.height, photo.width
        return fit_geometry(height, width, self.preprocess)

    def _photo(self, index: int, content: bytes, *, spare: float = 1) -> Image.Image:
        name = self.records[index].image
        return load_for(content, self.preprocess, name=name, spare=spare)


def derive_seed(*numbers: int) -> int:
    """Hash numbers to a seed below 2**32."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _vary(photo: Image.Image, *, mirror: bool) -> tuple[Image.Image, Variation]:
    """Crop to 80 to 100 % of the area, at about the same aspect ratio; mirror every second time."""
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
