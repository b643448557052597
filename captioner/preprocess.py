"""Photo -> the encoder's input as a tensor; what is done to the photo stands in `framing`."""

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from captioner.config import PreprocessConfig
from captioner.framing import Geometry, fit_geometry, frame

__all__ = ["Geometry", "fit_geometry", "preprocess"]


def preprocess(
    photo: Image.Image, config: PreprocessConfig, *, size: tuple[int, int] | None = None
) -> tuple[Float[Tensor, "3 H W"], Geometry]:
    """Do what `frame` does, and return its input as a tensor."""
    pixels, geometry = frame(photo, config, size=size)
    return torch.from_numpy(pixels), geometry
