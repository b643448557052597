"""Grounding of generated captions: does the attention map of a noun localise the object?

A box is cut from the map of each noun at half its maximum, as grounded video description does with
its attention (Zhou et al. 2019, section 5.1 and appendix A.1, arXiv:1812.06587). The noun is
grounded if the references use it for an object in the photo and the box overlaps one of the
object's boxes with an IoU of at least 0.5. Objects are those that phrases of the references give
boxes to; phrases with the same boxes name the same object.

precision   grounded nouns, of all nouns in captions
recall      objects with a grounded noun, of all objects
located     grounded nouns, of those that occur in the references
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from captioner.config import AttentionConfig
from captioner.photo.preprocess import Geometry
from captioner.result.caption import Caption
from data.boxes import Box, BoxedImage, place_boxes
from data.objects import plain
from training.grounding.pointing import estimate, resampled_means

OVERLAP = 0.5
"""Minimum IoU of a correct box."""

Objects = Mapping[tuple[Box, ...], frozenset[str]]
"""Boxes of each object -> the nouns that references use for it."""


def list_objects(image: BoxedImage) -> Objects:
    """Collect the objects that phrases of an image name, each by the phrase's last word."""
    objects: dict[tuple[Box, ...], frozenset[str]] = {}
    for caption in image.captions:
        words = [plain(word) for word in caption.text.split()]
        for phrase in caption.phrases:
            noun = words[phrase.first + phrase.words - 1]
            objects[phrase.boxes] = objects.get(phrase.boxes, frozenset()) | {noun}
    return objects


def list_nouns(images: Iterable[BoxedImage]) -> frozenset[str]:
    """Collect the nouns of all objects."""
    return frozenset().union(*(nouns for image in images for nouns in list_objects(image).values()))


def cut_box(attention: Float[Any, "gh gw"]) -> tuple[float, float, float, float]:
    """Bound the connected regions around the maximum with at least half its weight.

    Returns:
        Edges (left, top, right, bottom) as fractions of the encoder's input.
    """
    heavy = attention >= attention.max() / 2
    first = divmod(int(attention.argmax()), attention.shape[1])
    found, waiting = {first}, [first]
    while waiting:
        y, x = waiting.pop()
        for near in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            inside = 0 <= near[0] < heavy.shape[0] and 0 <= near[1] < heavy.shape[1]
            if inside and heavy[near] and near not in found:
                found.add(near)
                waiting.append(near)
    ys, xs = np.array(sorted(found)).T
    height, width = heavy.shape
    left, right = float(xs.min()) / width, float(xs.max() + 1) / width
    return left, float(ys.min()) / height, right, float(ys.max() + 1) / height


def overlaps(box: Float[Tensor, "4"], boxes: Float[Tensor, "N 4"]) -> Float[Tensor, " N"]:
    """Return the IoU of a box with each of the others."""
    sides = torch.minimum(box[2:], boxes[:, 2:]) - torch.maximum(box[:2], boxes[:, :2])
    shared = sides.clamp(min=0).prod(dim=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    return shared / ((box[2:] - box[:2]).prod() + areas - shared)


def count_grounded(caption: Caption, objects: Objects, nouns: frozenset[str]) -> list[int]:
    """Count a caption's nouns, those in references, those grounded, and the objects found."""
    total = in_references = grounded = 0
    found: set[tuple[Box, ...]] = set()
    for word in caption.words:
        noun = plain(word.text)
        if noun not in nouns:
            continue
        named = [boxes for boxes, names in objects.items() if noun in names]
        box = torch.tensor(cut_box(word.attention), dtype=torch.float64)
        hit = [boxes for boxes in named if _covers(box, boxes, caption.geometry)]
        found.update(hit)
        total += 1
        in_references += bool(named)
        grounded += bool(hit)
    return [total, in_references, grounded, len(found)]


def _covers(box: Float[Tensor, "4"], boxes: Sequence[Box], geometry: Geometry) -> bool:
    """Whether the box overlaps one of these enough, within the part that the model sees."""
    placed = place_boxes(boxes, geometry).clamp(0, 1)
    return bool((overlaps(box, placed) >= OVERLAP).any())


class GeneratedScore:
    """Accumulates counts over many captions, by attention view.

    Args:
        images: all images; their phrases define the nouns.
        views: attention views to compare.
    """

    def __init__(self, images: Sequence[BoxedImage], views: Sequence[AttentionConfig]) -> None:
        self._nouns = list_nouns(images)
        self._views = views
        self._counts: list[list[list[int]]] = []  # per photo and view

    def add(self, caption: Caption, image: BoxedImage) -> None:
        """Add the caption of one image."""
        objects = list_objects(image)
        self._counts.append(
            [
                [len(objects), *count_grounded(caption.with_view(view), objects, self._nouns)]
                for view in self._views
            ]
        )

    def sum_up(self, *, resamples: int, seed: int) -> list[dict[str, Any]]:
        """Return the results of every view, with bootstrap intervals over photos."""
        counts = torch.tensor(self._counts, dtype=torch.float64)  # (N, W, 5)
        photos = torch.arange(len(counts))
        results = []
        for own in counts.unbind(dim=1):
            draws = resampled_means(own, photos, resamples=resamples, seed=seed)
            objects, nouns, in_references, grounded, found = draws.unbind(dim=1)
            precision, recall = _share(grounded, nouns), _share(found, objects)
            rates = {
                "precision": precision,
                "recall": recall,
                "f1": _share(2 * precision * recall, precision + recall),
                "located": _share(grounded, in_references),
            }
            sums = {"nouns": int(own[:, 1].sum()), "things": int(own[:, 0].sum())}
            results.append(sums | {name: estimate(values) for name, values in rates.items()})
        return results


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Divide element-wise; 0 where the whole is 0."""
    return torch.where(whole > 0, part / whole.clamp(min=1e-12), torch.zeros_like(whole))
