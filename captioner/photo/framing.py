"""Photo -> the encoder's input, and Geometry, which maps the input back to the photo.

The whole photo is seen unless the settings crop it. Overlays and boxes use the same Geometry as the
input, so they cannot drift from it. Nothing here needs PyTorch; `captioner.photo.preprocess`
resizes faster with it.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from captioner.config import PreprocessConfig, from_table
from captioner.photo import Source, load_reduced

Float32Array = np.ndarray[Any, np.dtype[np.float32]]
"""jaxtyping cannot inspect NumPy's own NDArray, from NumPy 2.5 on."""

Levels = np.ndarray[Any, np.dtype[np.uint8]]
"""8-bit pixel values."""

Resize = Callable[[Image.Image, tuple[int, int], str], UInt8[Levels, "h w 3"]]
"""Resizes an RGB photo to (h, w) with a filter: bilinear, bicubic or lanczos."""

_DETAIL = 1.5
"""Minimum size of a decoded JPEG, in multiples of the input. Finer detail would be lost in resizing
anyway: captions score the same (`benchmarks/decoding.py`)."""

_LONGEST_STRIP = 8
"""Aspect ratio above which the ends of a photo are cut off before it is resized for a crop, which
shows only its middle."""

_REDUCING_GAP = 3.0
"""Pillow's reducing_gap: average whole pixels first, down to this many times the size. Four times
faster from 12 megapixels on, and at most 2 of 255 levels from the exact filter."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Position of the encoder's input on the photo.

    The input covers a rectangle of the photo as displayed, in coordinates of pixel edges: a photo
    covers 0 to `height` and 0 to `width`. Squashed, the rectangle is the photo itself; letterboxed,
    it extends beyond the photo by the padding; cropped, it is the photo's middle.
    """

    height: int
    """Photo, pixels."""
    width: int
    """Photo, pixels."""
    input_height: int
    """Encoder's input, pixels."""
    input_width: int
    """Encoder's input, pixels."""
    top: float
    """Top edge of the rectangle, in pixels of the photo; negative in the padding."""
    left: float
    """Left edge of the rectangle, in pixels of the photo; negative in the padding."""
    seen_height: float
    """Height of the rectangle, in pixels of the photo."""
    seen_width: float
    """Width of the rectangle, in pixels of the photo."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> "Geometry":
        """Read what `to_dict` returned.

        Raises:
            ConfigError: a value is missing, unknown, or of the wrong type.
        """
        return from_table(cls, table, where="geometry")


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A photo prepared for the encoder."""

    image: str | None
    """Path of the photo as it was given; None if it was not a path."""
    pixels: Float[Any, "3 H W"]
    """The encoder's input, on the CPU."""
    geometry: Geometry
    """Part of the photo that the input shows."""


def resize_with_pillow(
    photo: Image.Image, size: tuple[int, int], interpolation: str
) -> UInt8[Levels, "h w 3"]:
    """Resize a photo to (h, w), antialiased."""
    resized = photo.resize(
        size[::-1], Image.Resampling[interpolation.upper()], reducing_gap=_REDUCING_GAP
    )
    return np.asarray(resized)


def prepare(
    photo: Source,
    config: PreprocessConfig,
    *,
    name: str | None = None,
    resize: Resize = resize_with_pillow,
) -> Prepared:
    """Read a photo and prepare it for the encoder.

    Args:
        photo: a path, the bytes of a file, a Pillow image or an array; see `load_photo`.
        config: preprocessing settings.
        name: name of the photo in error messages; its path by default.
        resize: function that resizes the photo.

    Raises:
        ImageError: the photo cannot be read.
    """
    picture, size = load_reduced(photo, at_least=enough_for(config), name=name)
    pixels, geometry = frame(picture, config, size=size, resize=resize)
    return Prepared(image=path_of(photo), pixels=pixels, geometry=geometry)


def enough_for(config: PreprocessConfig, *, spare: float = 1) -> tuple[int, int]:
    """Return the minimum (height, width) to decode a JPEG at, times `spare` for crops."""
    return round(_DETAIL * spare * config.height), round(_DETAIL * spare * config.width)


def prepare_all(
    photos: Sequence[Source | Prepared], prepare: Callable[..., Prepared]
) -> list[Prepared]:
    """Prepare photos that are not prepared yet, naming each in error messages.

    Raises:
        ImageError: a photo cannot be read.
    """
    return [
        photo
        if isinstance(photo, Prepared)
        else prepare(photo, name=path_of(photo) or f"photo {number}")
        for number, photo in enumerate(photos, start=1)
    ]


def path_of(photo: Source) -> str | None:
    """Return the path of a photo as given; None if it is not a path."""
    return os.fsdecode(photo) if isinstance(photo, str | os.PathLike) else None


def frame(
    photo: Image.Image,
    config: PreprocessConfig,
    *,
    size: tuple[int, int] | None = None,
    resize: Resize = resize_with_pillow,
) -> tuple[Float[Float32Array, "3 H W"], Geometry]:
    """Convert a photo to the encoder's input.

    Args:
        photo: RGB and upright, from `load_photo` or `load_reduced`.
        config: preprocessing settings.
        size: (height, width) of the whole photo, if `photo` was decoded at a reduced size.
        resize: function that resizes the photo.

    Returns:
        Normalised float32 input, and its Geometry in pixels of the whole photo.
    """
    height, width = size or (photo.height, photo.width)
    top, left, inner_height, inner_width = _fit_rectangle(height, width, config)
    if config.fit == "crop" and max(height, width) > _LONGEST_STRIP * min(height, width):
        photo = _crop_strip(photo)
        top, left, inner_height, inner_width = _fit_rectangle(photo.height, photo.width, config)
    resized = resize(photo, (inner_height, inner_width), config.interpolation)
    if config.fit == "crop":
        resized = resized[-top : config.height - top, -left : config.width - left]
        top, left, (inner_height, inner_width, _) = 0, 0, resized.shape
    pixels = np.ascontiguousarray(resized.transpose(2, 0, 1)) / np.float32(255)
    pixels -= np.array(config.mean, np.float32)[:, None, None]
    pixels /= np.array(config.std, np.float32)[:, None, None]
    model_input = np.zeros((3, config.height, config.width), np.float32)  # 0 is the mean colour
    model_input[:, top : top + inner_height, left : left + inner_width] = pixels
    return model_input, fit_geometry(height, width, config)


def fit_geometry(height: int, width: int, config: PreprocessConfig) -> Geometry:
    """Return the Geometry of a photo of this size, without reading it."""
    top, left, inner_height, inner_width = _fit_rectangle(height, width, config)
    return Geometry(
        height=height,
        width=width,
        input_height=config.height,
        input_width=config.width,
        top=-top * height / inner_height,
        left=-left * width / inner_width,
        seen_height=config.height * height / inner_height,
        seen_width=config.width * width / inner_width,
    )


def _crop_strip(photo: Image.Image) -> Image.Image:
    """Crop a long photo to its middle."""
    width, height = (min(side, _LONGEST_STRIP * min(photo.size)) for side in photo.size)
    left, top = (photo.width - width) // 2, (photo.height - height) // 2
    return photo.crop((left, top, left + width, top + height))


def _fit_rectangle(height: int, width: int, config: PreprocessConfig) -> tuple[int, int, int, int]:
    """Return the photo's rectangle on the input: top, left, height and width in input pixels."""
    if config.fit == "squash":
        return 0, 0, config.height, config.width
    if config.fit == "crop":  # rounded as CLIP's preprocessing does it
        inner_height = max(config.height, config.width * height // width)
        inner_width = max(config.width, config.height * width // height)
    else:
        scale = min(config.height / height, config.width / width)
        inner_height, inner_width = max(1, round(height * scale)), max(1, round(width * scale))
    # Rounded towards 0: a crop removes no more at top and left than at bottom and right.
    top, left = int((config.height - inner_height) / 2), int((config.width - inner_width) / 2)
    return top, left, inner_height, inner_width
