"""Photos as encoder inputs for training, with colour augmentation."""

from collections.abc import Callable

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from captioner.config import PreprocessConfig
from captioner.photo import load_reduced
from captioner.photo.framing import Geometry, Levels, enough_for, frame
from captioner.photo.preprocess import preprocess, resize

Recolour = Callable[[Float[Tensor, "3 h w"]], Float[Tensor, "3 h w"]]
"""Maps RGB values from 0 to 1 to other values from 0 to 1."""


def load_for(
    content: bytes, config: PreprocessConfig, *, name: str, spare: float = 1
) -> Image.Image:
    """Decode a photo at the scale that its input needs.

    Args:
        content: bytes of the image file.
        config: gives the size of the input.
        name: name of the photo in errors.
        spare: factor by which the photo must exceed the input, to allow for cropping.

    Raises:
        ImageError: the photo cannot be read.
    """
    return load_reduced(content, at_least=enough_for(config, spare=spare), name=name)[0]


def to_input(
    photo: Image.Image, config: PreprocessConfig, *, recolour: Recolour | None = None
) -> tuple[Float[Tensor, "3 H W"], Geometry]:
    """Preprocess a photo as `captioner.photo.preprocess` does, with optional recolouring.

    Args:
        photo: upright, mode RGB.
        config: size of the input, resizing and normalisation.
        recolour: applied to the resized photo before normalisation.

    Returns:
        Normalised float32 input, and its Geometry in pixels of this photo.
    """
    if recolour is None:
        return preprocess(photo, config)

    def resize_and_recolour(
        photo: Image.Image, size: tuple[int, int], interpolation: str
    ) -> UInt8[Levels, "h w 3"]:
        levels = torch.from_numpy(resize(photo, size, interpolation)).permute(2, 0, 1)
        brightness = recolour(levels.contiguous() / 255)
        return (brightness * 255).round().byte().permute(1, 2, 0).numpy()

    pixels, geometry = frame(photo, config, resize=resize_and_recolour)
    return torch.from_numpy(pixels), geometry
