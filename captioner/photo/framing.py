"""Photo -> the encoder's input, and Geometry: which part of the photo each input pixel shows.

Unless the settings ask for its middle, the whole photo is seen. The way back (overlays, boxes of
regions) reads the same Geometry, so it cannot drift from the way in. Nothing here needs torch;
where that is at hand, `captioner.photo.preprocess` brings a faster way to resize.
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
"""NumPy's own NDArray is, from 2.5 on, nothing that jaxtyping can look into."""

Levels = np.ndarray[Any, np.dtype[np.uint8]]
"""Brightness from 0 to 255."""

Resize = Callable[[Image.Image, tuple[int, int], str], UInt8[Levels, "h w 3"]]
"""From a photo of mode RGB, (h, w) and a filter's name: bilinear, bicubic or lanczos."""

_DETAIL = 1.5
"""A large JPEG is decoded no smaller than this many times the input. Of what the decoder averages
away then, resizing would keep so little that captions score the same (`benchmarks/decoding.py`)."""

_LONGEST_STRIP = 8
"""Of a photo that is longer than this many times its width, a crop shows so little that the ends
are cut off before it is resized."""

_REDUCING_GAP = 3.0
"""Average whole pixels first, down to this many times the size; four times faster from 12
megapixels, and on photos at most 2 of 255 levels away from the filter alone."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Where the encoder's input lies on the photo.

    The input tiles a rectangle of the photo as displayed. Pixel edges, not centres, are counted: a
    photo covers 0 to `height` and 0 to `width`. Squashed, the rectangle is the photo itself;
    letterboxed, it reaches beyond the photo on two sides, by the padding; cropped, it is the
    photo's middle.
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
    """Upper edge of the rectangle, pixels of the photo; negative in the padding."""
    left: float
    """Left edge of the rectangle, pixels of the photo; negative in the padding."""
    seen_height: float
    """Height of the rectangle, pixels of the photo."""
    seen_width: float
    """Width of the rectangle, pixels of the photo."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> "Geometry":
        """Read `to_dict` back.

        Raises:
            ConfigError: a value is missing, unknown, or of the wrong type.
        """
        return from_table(cls, table, where="geometry")


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A photo read and brought to the encoder's input."""

    image: str | None
    """Path of the photo as it was given; None if it was not a path."""
    pixels: Float[Any, "3 H W"]
    """The encoder's input, on the CPU."""
    geometry: Geometry
    """Which part of the photo the input shows."""


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
    """Read a photo and frame it.

    Args:
        photo: a path, the bytes of a file, a Pillow image or an array; see `load_photo`.
        config: as in `frame`.
        name: what to call the photo in an error; without it, its path.
        resize: as in `frame`.

    Raises:
        ImageError: the photo cannot be read.
    """
    picture, size = load_reduced(photo, at_least=enough_for(config), name=name)
    pixels, geometry = frame(picture, config, size=size, resize=resize)
    return Prepared(image=path_of(photo), pixels=pixels, geometry=geometry)


def enough_for(config: PreprocessConfig, *, spare: float = 1) -> tuple[int, int]:
    """Return the (height, width) that a JPEG may be decoded at; `spare` more to crop some away."""
    return round(_DETAIL * spare * config.height), round(_DETAIL * spare * config.width)


def prepare_all(
    photos: Sequence[Source | Prepared], prepare: Callable[..., Prepared]
) -> list[Prepared]:
    """Prepare photos that are not prepared yet, naming each in its errors.

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
    """Return the path as it was given; None for what is no path."""
    return os.fsdecode(photo) if isinstance(photo, str | os.PathLike) else None


def frame(
    photo: Image.Image,
    config: PreprocessConfig,
    *,
    size: tuple[int, int] | None = None,
    resize: Resize = resize_with_pillow,
) -> tuple[Float[Float32Array, "3 H W"], Geometry]:
    """Turn a photo into the encoder's input.

    Args:
        photo: mode RGB, upright, as `load_photo` returns it.
        config: size of the input, how the photo is fitted, and how brightness is normalised.
        size: (height, width) of the whole photo where `photo` was decoded smaller, as
            `load_reduced` returns it.
        resize: makes the photo as large as it is on the input.

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
    """Keep the middle of a strip."""
    width, height = (min(side, _LONGEST_STRIP * min(photo.size)) for side in photo.size)
    left, top = (photo.width - width) // 2, (photo.height - height) // 2
    return photo.crop((left, top, left + width, top + height))


def _fit_rectangle(height: int, width: int, config: PreprocessConfig) -> tuple[int, int, int, int]:
    """Where the photo lands on the input: top, left, height and width in input pixels."""
    if config.fit == "squash":
        return 0, 0, config.height, config.width
    if config.fit == "crop":  # rounded as CLIP's preprocessing does it
        inner_height = max(config.height, config.width * height // width)
        inner_width = max(config.width, config.height * width // height)
    else:
        scale = min(config.height / height, config.width / width)
        inner_height, inner_width = max(1, round(height * scale)), max(1, round(width * scale))
    # Towards 0: no more is cut off above and at the left than below and at the right.
    top, left = int((config.height - inner_height) / 2), int((config.width - inner_width) / 2)
    return top, left, inner_height, inner_width
