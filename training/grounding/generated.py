"""Grounding of generated captions: is a named thing where the model attended?

A box is cut from the map of each noun at half its maximum, as grounded video description does with
its attention (Zhou et al. 2019, section 5.1 and appendix A.1, arXiv:1812.06587). The noun is
grounded if people name something in the photo by it, and the box covers one of that thing's boxes
with an IoU of at least 0.5. Things are those that people's phrases give boxes to; phrases with the
same boxes name the same thing.

precision   grounded nouns, of the nouns in captions
recall      things that a grounded noun names, of all things
located     grounded nouns, of those that people use
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
"""Least IoU of a box that is right."""

Things = Mapping[tuple[Box, ...], frozenset[str]]
"""Boxes of each thing, and the nouns that people use for it."""


def list_things(image: BoxedImage) -> Things:
    """Gather what the phrases of an image name, by the last word of each."""
    things: dict[tuple[Box, ...], frozenset[str]] = {}
    for caption in image.captions:
        words = [plain(word) for word in caption.text.split()]
        for phrase in caption.phrases:
            noun = words[phrase.first + phrase.words - 1]
            things[phrase.boxes] = things.get(phrase.boxes, frozenset()) | {noun}
    return things


def list_nouns(images: Iterable[BoxedImage]) -> frozenset[str]:
    """Gather the nouns of all things."""
    return frozenset().union(*(nouns for image in images for nouns in list_things(image).values()))


def cut_box(attention: Float[Any, "gh gw"]) -> tuple[float, float, float, float]:
    """Put a box around the regions that hang together with the heaviest at half its weight or more.

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
    """Return the IoU of a box with others."""
    sides = torch.minimum(box[2:], boxes[:, 2:]) - torch.maximum(box[:2], boxes[:, :2])
    shared = sides.clamp(min=0).prod(dim=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    return shared / ((box[2:] - box[:2]).prod() + areas - shared)


def count_grounded(caption: Caption, things: Things, nouns: frozenset[str]) -> list[int]:
    """Count of a caption: its nouns, those that people use, those grounded, things grounded."""
    said = used = right = 0
    found: set[tuple[Box, ...]] = set()
    for word in caption.words:
        noun = plain(word.text)
        if noun not in nouns:
            continue
        named = [boxes for boxes, names in things.items() if noun in names]
        box = torch.tensor(cut_box(word.attention), dtype=torch.float64)
        hit = [boxes for boxes in named if _covers(box, boxes, caption.geometry)]
        found.update(hit)
        said, used, right = said + 1, used + bool(named), right + bool(hit)
    return [said, used, right, len(found)]


def _covers(box: Float[Tensor, "4"], boxes: Sequence[Box], geometry: Geometry) -> bool:
    """Whether the overlap with one of these is large enough, as far as the model sees them."""
    placed = place_boxes(boxes, geometry).clamp(0, 1)
    return bool((overlaps(box, placed) >= OVERLAP).any())


class GeneratedScore:
    """Counts of many captions, by view of the attention.

    Args:
        images: all of them, for their nouns.
        views: of the attention.
    """

    def __init__(self, images: Sequence[BoxedImage], views: Sequence[AttentionConfig]) -> None:
        self._nouns = list_nouns(images)
        self._views = views
        self._counts: list[list[list[int]]] = []  # of each photo, by view: things, then as above

    def add(self, caption: Caption, image: BoxedImage) -> None:
        """Count one more caption, of an image of those."""
        things = list_things(image)
        self._counts.append(
            [
                [len(things), *count_grounded(caption.with_view(view), things, self._nouns)]
                for view in self._views
            ]
        )

    def sum_up(self, *, resamples: int, seed: int) -> list[dict[str, Any]]:
        """Return the results of every view, with intervals over photos."""
        counts = torch.tensor(self._counts, dtype=torch.float64)  # (N, W, 5)
        photos = torch.arange(len(counts))
        results = []
        for own in counts.unbind(dim=1):
            draws = resampled_means(own, photos, resamples=resamples, seed=seed)
            things, said, used, right, found = draws.unbind(dim=1)
            precision, recall = _share(right, said), _share(found, things)
            rates = {
                "precision": precision,
                "recall": recall,
                "f1": _share(2 * precision * recall, precision + recall),
                "located": _share(right, used),
            }
            sums = {"nouns": int(own[:, 1].sum()), "things": int(own[:, 0].sum())}
            results.append(sums | {name: estimate(values) for name, values in rates.items()})
        return results


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Divide; nothing of nothing is 0."""
    return torch.where(whole > 0, part / whole.clamp(min=1e-12), torch.zeros_like(whole))
