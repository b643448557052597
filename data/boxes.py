"""Bounding boxes of phrases in captions, and the regions of the encoder's grid they cover.

Flickr30k Entities (Plummer et al. 2015, arXiv:1505.04870) is read from one JSON object, optionally
compressed with gzip; boxes by entity id, in pixels of `orig_size`:

    {"1.jpg": {"split": "test", "orig_size": [width, height],
               "boxes_orig_xyxy": {"7": [[left, top, right, bottom], ...]},
               "sentences": [{"text": "a man with a white dog",
                              "phrases": [{"first_word_index": 3, "phrase": "a white dog",
                                           "phrase_id": "7", "phrase_type": ["animals"]}]}]}}

Boxes are stored as fractions of the photo's sides, so they are valid at any size and aspect ratio.
"""

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from captioner.errors import DataError
from captioner.photo.preprocess import Geometry
from captioner.words.tokenizer import Tokenizer
from data.coco import Record

Box = tuple[float, float, float, float]
"""Edges (left, top, right, bottom) as fractions of the photo's width and height."""


WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
"""The whole photo."""


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """A phrase of a caption, with the boxes of the object it names."""

    first: int
    """Index of its first word in `text.split()`."""
    words: int
    """Number of words; the last one is its head noun."""
    kinds: tuple[str, ...]
    """Kinds of object: people, animals, ... or a COCO supercategory."""
    boxes: tuple[Box, ...]
    """At least one box."""


@dataclass(frozen=True, kw_only=True)
class BoxedCaption:
    """A caption and its phrases with boxes."""

    text: str
    phrases: tuple[Phrase, ...]


@dataclass(frozen=True, kw_only=True)
class BoxedImage:
    """An image and its captions with boxes."""

    image: str
    """File name in the image source."""
    captions: tuple[BoxedCaption, ...]


def load_entities(path: Path, *, split: str | None = None) -> list[BoxedImage]:
    """Load a file of Flickr30k Entities.

    Args:
        path: the file.
        split: `train`, `val` (called dev in the file) or `test`; None loads all.

    Raises:
        DataError: the file cannot be read, is malformed, or lacks the split.
    """
    table = read_json(path)
    try:
        splits = {"val" if entry["split"] == "dev" else entry["split"] for entry in table.values()}
        wanted = {"dev", "val"} if split == "val" else {split}
        found = [
            _read_entry(name, entry)
            for name, entry in table.items()
            if split is None or entry["split"] in wanted
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"Boxes {path} are not Flickr30k Entities; data/boxes.py shows the format."
        ) from error
    if not found:
        raise DataError(f"Boxes {path} have no split {split!r}; choose from {sorted(splits)}.")
    return found


def _read_entry(name: str, entry: dict[str, Any]) -> BoxedImage:
    width, height = entry["orig_size"]
    boxes = {
        number: tuple(
            (x0 / width, y0 / height, x1 / width, y1 / height) for x0, y0, x1, y1 in given
        )
        for number, given in entry["boxes_orig_xyxy"].items()
    }
    captions = [
        BoxedCaption(
            text=sentence["text"],
            phrases=tuple(
                Phrase(
                    first=phrase["first_word_index"],
                    words=len(phrase["phrase"].split()),
                    kinds=tuple(phrase["phrase_type"]),
                    boxes=boxes[phrase["phrase_id"]],
                )
                for phrase in sentence["phrases"]
                if boxes.get(phrase["phrase_id"])
            ),
        )
        for sentence in entry["sentences"]
    ]
    return BoxedImage(image=name, captions=tuple(captions))


def word_tokens(text: str, tokenizer: Tokenizer) -> list[range]:
    """Return, for every word of `text.split()`, the positions of its tokens in `encode(text)`.

    A word that is only punctuation may have none.
    """
    words = text.split()
    ends = [len(tokenizer.encode(" ".join(words[:count]))) for count in range(len(words) + 1)]
    return [range(start, end) for start, end in pairwise(ends)]


def token_shares(
    caption: BoxedCaption, tokenizer: Tokenizer, geometry: Geometry, grid: tuple[int, int]
) -> Float[Tensor, "T P"]:
    """Return the fraction of each region inside the boxes of each token's phrase.

    Row t belongs to token t of `encode`, which a decoder predicts after START and t tokens. The row
    of END, the last, and those of words without boxes are 0.

    Args:
        caption: caption with boxes.
        tokenizer: the model's tokenizer.
        geometry: position of the photo on the encoder's input.
        grid: rows and columns of regions.
    """
    tokens = word_tokens(caption.text, tokenizer)
    shares = torch.zeros(tokens[-1].stop + 1 if tokens else 1, grid[0] * grid[1])
    for phrase in caption.phrases:
        here = region_shares(phrase.boxes, geometry, grid).flatten()
        for word in tokens[phrase.first : phrase.first + phrase.words]:
            shares[word.start : word.stop] = here
    return shares


class BoxShares:
    """Region shares for the captions of a training set, by file name and caption."""

    def __init__(
        self, images: Iterable[BoxedImage], *, tokenizer: Tokenizer, grid: tuple[int, int]
    ) -> None:
        """Index the captions.

        Args:
            images: captions with boxes; any other image or caption has shares of 0.
            tokenizer: the model's tokenizer; captions with the same ids are the same.
            grid: rows and columns of regions.
        """
        self._tokenizer = tokenizer
        self._grid = grid
        self._captions = {
            (PurePosixPath(image.image).name, *tokenizer.encode(caption.text)): caption
            for image in images
            for caption in image.captions
        }

    def __call__(
        self, record: Record, *, geometry: Geometry, crop: Box = WHOLE, mirrored: bool = False
    ) -> list[Float[Tensor, "T P"]]:
        """Return the `token_shares` of each caption of a record.

        Args:
            record: image and captions.
            geometry: position of the cropped photo on the encoder's input.
            crop: the part of the photo that augmentation kept.
            mirrored: whether the crop is flipped horizontally.
        """
        name = PurePosixPath(record.image).name
        shares = []
        for text in record.captions:
            known = self._captions.get((name, *self._tokenizer.encode(text)))
            caption = known or BoxedCaption(text=text, phrases=())
            phrases = tuple(
                replace(
                    phrase, boxes=tuple(_transform(box, crop, mirrored) for box in phrase.boxes)
                )
                for phrase in caption.phrases
            )
            caption = replace(caption, phrases=phrases)
            shares.append(token_shares(caption, self._tokenizer, geometry, self._grid))
        return shares


def _transform(box: Box, crop: Box, mirrored: bool) -> Box:
    """Return a box in coordinates of a crop, which it may exceed."""
    width, height = crop[2] - crop[0], crop[3] - crop[1]
    left, right = ((x - crop[0]) / width for x in (box[0], box[2]))
    top, bottom = ((y - crop[1]) / height for y in (box[1], box[3]))
    return (1 - right, top, 1 - left, bottom) if mirrored else (left, top, right, bottom)


def region_shares(
    boxes: Sequence[Box], geometry: Geometry, grid: tuple[int, int]
) -> Float[Tensor, "gh gw"]:
    """Return the fraction of each region's area inside the boxes, from 0 to 1.

    Args:
        boxes: boxes on the photo; overlapping areas count once.
        geometry: position of the photo on the encoder's input, which the regions tile.
        grid: rows and columns of regions.
    """
    placed = place_boxes(boxes, geometry)  # (N, 4)
    rows, down = _cut(placed[:, 1], placed[:, 3], grid[0])
    cols, across = _cut(placed[:, 0], placed[:, 2], grid[1])
    # No edge crosses a cell, so its centre decides for the whole cell.
    x, y = cols[None, None, :], rows[None, :, None]
    left, top, right, bottom = (placed[:, n, None, None] for n in range(4))
    inside = ((left < x) & (x < right) & (top < y) & (y < bottom)).any(dim=0)
    area = inside * down[:, None] * across
    shares = torch.zeros(grid, dtype=torch.float64)
    places = (
        (rows * grid[0]).long()[:, None].expand_as(area),
        (cols * grid[1]).long().expand_as(area),
    )
    shares.index_put_(places, area, accumulate=True)
    return (shares * (grid[0] * grid[1])).clamp(0, 1).float()


def place_boxes(boxes: Sequence[Box], geometry: Geometry) -> Float[Tensor, "N 4"]:
    """Convert boxes on the photo to fractions of the encoder's input, in float64."""
    size = torch.tensor([geometry.width, geometry.height] * 2, dtype=torch.float64)
    corner = torch.tensor([geometry.left, geometry.top] * 2, dtype=torch.float64)
    seen = torch.tensor([geometry.seen_width, geometry.seen_height] * 2, dtype=torch.float64)
    return (torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4) * size - corner) / seen


def _cut(
    starts: Float[Tensor, " N"], ends: Float[Tensor, " N"], regions: int
) -> tuple[Float[Tensor, " cells"], Float[Tensor, " cells"]]:
    """Cut one axis of the input at every edge; return the centres and lengths of the cells."""
    edges = torch.linspace(0, 1, regions + 1, dtype=torch.float64)
    edges = torch.unique(torch.cat([edges, starts, ends]).clamp(0, 1))
    return (edges[:-1] + edges[1:]) / 2, edges.diff()


def read_json(path: Path) -> dict[str, Any]:
    """Read a file with one JSON object, optionally compressed with gzip.

    Raises:
        DataError: the file cannot be read, or holds something else.
    """
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        table = json.loads(content)
    except FileNotFoundError:
        raise DataError(
            f"Boxes {path} do not exist; data/README.md says where they come from."
        ) from None
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"Boxes {path} cannot be read: {error}.") from error
    if not isinstance(table, dict) or not table:
        raise DataError(f"Boxes {path} hold no images; data/boxes.py shows the format.")
    return table
