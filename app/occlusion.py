"""Occlusion: paints out a region, scores the caption again, and generates a new one."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from captioner import Caption, Captioner

Box = tuple[float, float, float, float]
"""Top, left, bottom and right, as fractions of the photo's height and width."""

_BLUR = 0.25
"""Radius of the blur, as a fraction of the box's longer side."""


@dataclass(frozen=True, kw_only=True)
class Occlusion:
    """What a photo without a region does to its caption."""

    painted: Image.Image
    rescored: Caption
    """The caption of the whole photo, scored on the painted one."""
    recaptioned: Caption
    """A new caption of the painted photo."""


def occlude(captioner: Captioner, photo: Image.Image, text: str, box: Box) -> Occlusion:
    """Paint out a region of a photo in mode RGB, score a caption again and generate a new one.

    Raises:
        ConfigError: the caption cannot be scored.
        ValueError: the box is empty or outside the photo.
    """
    painted = paint_out(photo, box)
    prepared = captioner.prepare(painted)
    return Occlusion(
        painted=painted,
        rescored=captioner.read_sentence(prepared, text, rivals=0),
        recaptioned=captioner.caption(prepared),
    )


def paint_out(photo: Image.Image, box: Box) -> Image.Image:
    """Fill a box of a photo in mode RGB with its blurred surroundings, hiding edges and shapes.

    Raises:
        ValueError: the box is empty or outside the photo.
    """
    top, left, bottom, right = box
    if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
        raise ValueError(
            f"top, left, bottom and right are {box}; use fractions from 0 to 1, with top less than "
            "bottom and left less than right."
        )
    y, x = round(top * photo.height), round(left * photo.width)
    height = max(1, round(bottom * photo.height) - y)
    width = max(1, round(right * photo.width) - x)
    margin = max(2, round(max(height, width) * 0.2))
    up, before = max(0, y - margin), max(0, x - margin)
    painted = np.array(photo)
    ring = painted[up : y + height + margin, before : x + width + margin].copy()
    inside = np.s_[y - up : y - up + height, x - before : x - before + width]
    outside = np.ones(ring.shape[:2], bool)
    outside[inside] = False
    ring[inside] = ring[outside].mean(axis=0).round() if outside.any() else 0
    blurred = Image.fromarray(ring).filter(ImageFilter.GaussianBlur(max(height, width) * _BLUR))
    painted[y : y + height, x : x + width] = np.asarray(blurred)[inside]
    return Image.fromarray(painted)
