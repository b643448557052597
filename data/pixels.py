"""Photo -> input pixels at the rate that training asks for.

`captioner.preprocess` does the same with Pillow, where resizing a photo takes longer than decoding
it. Here torch's kernels for bytes resize, six times as fast; hardly a pixel differs from
Pillow's by 1 of 255 levels, and none by more than 2. `benchmarks/loading.py` measures it.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from captioner.config import PreprocessConfig
from captioner.photo import load_reduced
from captioner.preprocess import Geometry, fit_geometry

_DETAIL = 2
"""A JPEG is decoded no smaller than this many times the input, as it is to be captioned."""
_REDUCED = 6
"""From this many times the input on, Pillow averages whole pixels first and is the faster one."""

Recolour = Callable[[Float[Tensor, "3 h w"]], Float[Tensor, "3 h w"]]
"""From fractions of full brightness to others."""


def load_for(
    content: bytes, config: PreprocessConfig, *, name: str, spare: float = 1
) -> Image.Image:
    """Decode a photo, no larger than its input asks for.

    Args:
        content: of the file.
        config: says how large the input is.
        name: what to call the photo in an error.
        spare: how many times as large a side must be, as some of it will be cropped away.

    Raises:
        ImageError: the photo cannot be read.
    """
    enough = tuple(round(_DETAIL * spare * side) for side in (config.height, config.width))
    return load_reduced(content, at_least=enough, name=name)[0]  # type: ignore[arg-type]


def to_input(
    photo: Image.Image, config: PreprocessConfig, *, recolour: Recolour | None = None
) -> tuple[Float[Tensor, "3 H W"], Geometry]:
    """Turn a photo into the encoder's input, as `captioner.preprocess` does.

    Args:
        photo: mode RGB, upright.
        config: size of the input, how the photo is fitted, and how brightness is normalised.
        recolour: what to do to the resized photo before that.

    Returns:
        Normalised float32 input, and its Geometry in pixels of this photo.
    """
    geometry = fit_geometry(photo.height, photo.width, config)
    height = round(config.height * photo.height / geometry.seen_height)
    width = round(config.width * photo.width / geometry.seen_width)
    pixels = _resize(photo, height, width, config).contiguous() / 255
    if recolour is not None:
        pixels = recolour(pixels)
    top = round(-geometry.top * height / photo.height)
    left = round(-geometry.left * width / photo.width)
    mean, std = (torch.tensor(value)[:, None, None] for value in (config.mean, config.std))
    pixels = (pixels - mean) / std
    if (height, width) == (config.height, config.width):
        return pixels, geometry
    padded = torch.zeros(3, config.height, config.width)  # 0 is the mean colour
    padded[:, top : top + height, left : left + width] = pixels
    return padded, geometry


def _resize(
    photo: Image.Image, height: int, width: int, config: PreprocessConfig
) -> UInt8[Tensor, "3 h w"]:
    name = config.interpolation
    large = photo.height >= _REDUCED * height or photo.width >= _REDUCED * width
    if large or name == "lanczos":  # torch has no such filter
        resized = photo.resize((width, height), Image.Resampling[name.upper()], reducing_gap=3.0)
        return torch.from_numpy(np.array(resized)).permute(2, 0, 1)
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)  # still channels last in memory
    return F.interpolate(pixels[None], size=(height, width), mode=name, antialias=True)[0]
