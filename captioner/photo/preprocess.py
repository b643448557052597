"""Photo -> the encoder's input as a tensor; see `framing`.

Pillow takes longer to resize a photo than to decode it. PyTorch's uint8 kernels are several times
faster; one value in 400 differs from Pillow's, by 1 of 255 levels.
"""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from captioner.config import PreprocessConfig
from captioner.photo.framing import Geometry, Levels, fit_geometry, frame, resize_with_pillow

__all__ = ["Geometry", "fit_geometry", "preprocess", "resize"]

_REDUCED = 6
"""Reduction factor from which Pillow, averaging whole pixels first, is faster."""


def preprocess(
    photo: Image.Image, config: PreprocessConfig, *, size: tuple[int, int] | None = None
) -> tuple[Float[Tensor, "3 H W"], Geometry]:
    """Do what `frame` does, resizing with PyTorch, and return a tensor."""
    pixels, geometry = frame(photo, config, size=size, resize=resize)
    return torch.from_numpy(pixels), geometry


def resize(photo: Image.Image, size: tuple[int, int], interpolation: str) -> UInt8[Levels, "h w 3"]:
    """See `resize_with_pillow`."""
    height, width = size
    large = photo.height >= _REDUCED * height or photo.width >= _REDUCED * width
    if large or interpolation == "lanczos":  # torch has no such filter
        return resize_with_pillow(photo, size, interpolation)
    levels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)  # still channels last in memory
    resized = F.interpolate(levels[None], size=size, mode=interpolation, antialias=True)[0]
    return resized.permute(1, 2, 0).numpy()
