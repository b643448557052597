"""Occlusion: paints out a region, scores the caption again, and generates a new one."""

from typing import Any

from PIL import Image, ImageFilter

from app.payload import data_uri, pack_caption, printable
from captioner import Caption, Captioner

_BLUR = 0.25
"""Radius of the blur, as a share of the painted box's longer side."""
_SHOWN_PIXELS = (320, 320)


def paint_out(photo: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    """Fill a box with its blurred surroundings, so that no edge or shape is left inside.

    Args:
        photo: photo in mode RGB.
        box: top, left, bottom and right, as fractions of height and width.

    Raises:
        ValueError: the box is empty or outside the photo.
    """
    top, left, bottom, right = box
    if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
        raise ValueError(f"the box is {box}; it must lie within the photo.")
    corners = (
        round(left * photo.width),
        round(top * photo.height),
        max(round(right * photo.width), round(left * photo.width) + 1),
        max(round(bottom * photo.height), round(top * photo.height) + 1),
    )
    width, height = corners[2] - corners[0], corners[3] - corners[1]
    margin = max(2, round(max(width, height) * 0.2))
    around = (
        max(0, corners[0] - margin),
        max(0, corners[1] - margin),
        min(photo.width, corners[2] + margin),
        min(photo.height, corners[3] + margin),
    )
    ring = photo.crop(around)
    inner = (corners[0] - around[0], corners[1] - around[1])
    ring.paste(
        _mean_colour(ring, inner, (width, height)), (*inner, inner[0] + width, inner[1] + height)
    )
    ring = ring.filter(ImageFilter.GaussianBlur(max(width, height) * _BLUR))
    painted = photo.copy()
    painted.paste(ring.crop((*inner, inner[0] + width, inner[1] + height)), corners[:2])
    return painted


def _mean_colour(
    ring: Image.Image, inner: tuple[int, int], size: tuple[int, int]
) -> tuple[int, ...]:
    """Return the mean colour of a picture without the box in it."""
    outside = Image.new("L", ring.size, 255)
    outside.paste(0, (*inner, inner[0] + size[0], inner[1] + size[1]))
    histogram = ring.histogram(outside)
    count = max(1, sum(histogram[:256]))
    return tuple(
        round(sum(level * n for level, n in enumerate(histogram[c : c + 256])) / count)
        for c in (0, 256, 512)
    )


def change(
    captioner: Captioner, photo: Image.Image, text: str, box: tuple[float, float, float, float]
) -> dict[str, Any]:
    """Caption a photo without a part of it, and read a caption of the whole photo again.

    Args:
        captioner: the model.
        photo: small enough to be looked at.
        text: the caption.
        box: as in `paint_out`.

    Returns:
        What the page draws: the painted photo, the new caption, and the old one's words again.

    Raises:
        ConfigError: the caption cannot be read.
        ValueError: the box is none.
    """
    painted = paint_out(photo, box)
    read, written = read_again(captioner, painted, text)
    painted.thumbnail(_SHOWN_PIXELS)
    return {
        "src": data_uri(painted),
        "text": printable(written.text),
        "read": pack_caption(read),
    }


def tell_change(
    captioner: Captioner, photo: Image.Image, text: str, box: tuple[float, float, float, float]
) -> dict[str, Any]:
    """Say for programs what a part of a photo does to a sentence; raises as `change`.

    Args:
        captioner: the model.
        photo: mode RGB.
        text: the sentence; where it is empty, the caption that the model writes.
        box: as in `paint_out`.
    """
    whole = captioner.prepare(photo)
    text = text or captioner.caption(whole).text
    before = captioner.read_sentence(whole, text, rivals=0)
    read, written = read_again(captioner, paint_out(photo, box), text)
    return {
        "caption": before.text,
        "caption_without": written.text,
        "box": box,
        "words": [
            {"word": own.text, "probability": own.probability, "without": again.probability}
            for own, again in zip(before.words, read.words, strict=True)
        ],
        "checkpoint": before.checkpoint,
    }


def read_again(captioner: Captioner, painted: Image.Image, text: str) -> tuple[Caption, Caption]:
    """Read a sentence on a painted photo, and caption it anew."""
    prepared = captioner.prepare(painted)
    return captioner.read_sentence(prepared, text, rivals=0), captioner.caption(prepared)
