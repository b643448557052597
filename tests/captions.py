"""Captions without a model: words that looked where a test says."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from captioner.config import PreprocessConfig, SearchConfig
from captioner.photo.framing import Float32Array
from captioner.photo.preprocess import preprocess
from captioner.result.caption import Caption, Word


def one_hot(grid: tuple[int, int], row: int, col: int) -> Float32Array:
    """All attention on one region."""
    attention = np.zeros(grid, np.float32)
    attention[row, col] = 1.0
    return attention


def even(grid: tuple[int, int] = (7, 7)) -> Float32Array:
    """The same attention everywhere."""
    return np.full(grid, 1.0 / (grid[0] * grid[1]), np.float32)


def word(text: str, attention: Float32Array, probability: float = 0.5) -> Word:
    return Word(
        text=text,
        probability=probability,
        attention=attention,
        heads=attention[None, None],
        gate=None,
    )


def caption_of(
    photo: Image.Image,
    words: Sequence[Word],
    *,
    text: str | None = None,
    image: str | None = None,
    **config,
) -> Caption:
    """A caption of the photo; its settings of preprocessing are in `config`."""
    _, geometry = preprocess(photo, PreprocessConfig(**config))
    return Caption(
        image=image,
        text=" ".join(w.text for w in words) if text is None else text,
        words=tuple(words),
        log_probability=-1.5,
        candidates=(),
        geometry=geometry,
        checkpoint="toy",
        search=SearchConfig(),
    )
