"""One image that is no photo, by kind and number, stored as images on disks are."""

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
"""By name; each is drawn by other means."""


def draw_nonphoto(kind: str, number: int) -> bytes:
    """Return an image file: the same kind and number give the same image.

    Half are compressed as photos are, so that traces of JPEG tell nothing; half of those were
    squashed to a square before.
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
