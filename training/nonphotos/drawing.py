"""One non-photo by kind and number, as an image file."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image

from training.nonphotos import figures, plots, writing
from training.nonphotos.canvas import Random

KINDS: dict[str, Callable[[Random], Image.Image]] = {
    "page": writing.page,
    "code": writing.code,
    "table": writing.table,
    "interface": writing.interface,
    "logo": writing.logo,
    "chart": plots.chart,
    "map": plots.plan,
    "diagram": figures.diagram,
    "drawing": figures.drawing,
    "pattern": figures.pattern,
    "scannable": figures.scannable,
    "blank": figures.empty,
    "gradient": figures.gradient,
    "noise": figures.noise,
}
"""Kind -> function that draws it."""


def draw_nonphoto(kind: str, number: int) -> bytes:
    """Return an image file; the same kind and number give the same image.

    Half are JPEG compressed, so that compression artefacts carry no information, and half of those
    are squashed to a square first.
    """
    random = np.random.default_rng([list(KINDS).index(kind), number])
    image = KINDS[kind](random)
    stream = BytesIO()
    if random.random() < 0.5:
        image.save(stream, "PNG")
        return stream.getvalue()
    if random.random() < 0.5:
        image = image.resize((224, 224), Image.Resampling.BICUBIC)
    image.save(stream, "JPEG", quality=int(random.integers(50, 96)))
    return stream.getvalue()
