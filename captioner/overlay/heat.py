"""Weights of pixels -> colours over the photo."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from captioner.errors import ConfigError
from captioner.overlay.colours import ColourMap, palette
from captioner.overlay.regions import shared_scale, spread
from captioner.photo.framing import Levels, Singles
from captioner.result.caption import Caption

_REDUCING_GAP = 3.0
"""Average whole pixels first, down to this many times the size; much faster for large photos."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """How attention is drawn."""

    smooth: bool = True
    """Blend between the centres of regions instead of showing their edges."""
    colour_map: ColourMap = "inferno"
    """From no weight, dark, to the heaviest, bright."""
    alpha: float = 0.75
    """Opacity of the brightest colour, from 0 to 1; the darkest has half of it, so that the photo
    shows through where the model did not look."""

    def __post_init__(self) -> None:
        palette(self.colour_map)
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"overlay.alpha is {self.alpha}; it must be from 0 to 1.")


STYLE = Style()


def heatmap(
    photo: Image.Image, weights: Float[Singles, "H W"], *, scale: float, style: Style = STYLE
) -> Image.Image:
    """Lay the weights over the photo.

    Args:
        photo: mode RGB, as displayed; H x W pixels.
        weights: one for every pixel, from `spread` at the photo's size.
        scale: the weight that gets the brightest colour; heavier ones get it too. Take
            `shared_scale` of all words, so that one can be compared with another.
        style: colours and opacity; it is too late for `smooth`.

    Returns:
        A new picture of the photo's size.

    Raises:
        ValueError: the weights are of another size than the photo, or the scale is not positive.
    """
    if tuple(weights.shape) != (photo.height, photo.width):
        raise ValueError(
            f"weights of {weights.shape[0]} x {weights.shape[1]} pixels do not fit a photo of "
            f"{photo.height} x {photo.width}; spread them with size=(photo.height, photo.width)."
        )
    levels = Image.fromarray(_levels(weights, scale))
    opacity = levels.point(_opacities(style))
    return Image.composite(_coloured(levels, style).convert("RGB"), photo, opacity)


def heat_layer(
    weights: Float[Singles, "H W"], *, scale: float, style: Style = STYLE
) -> Image.Image:
    """Draw the colours alone, transparent, to be laid over the photo elsewhere.

    Args:
        weights: one for every pixel.
        scale: as in `heatmap`.
        style: as in `heatmap`.

    Returns:
        A picture of mode P, whose 256 colours carry their opacity: small as a PNG.
    """
    layer = _coloured(Image.fromarray(_levels(weights, scale)), style)
    layer.info["transparency"] = bytes(_opacities(style))
    return layer


def word_maps(
    caption: Caption, *, size: tuple[int, int], smooth: bool
) -> tuple[list[Float[Singles, "H W"]], float]:
    """Spread the attention of every word, and find the scale they share.

    Args:
        caption: its words, and where its photo lay on the model's input.
        size: (height, width) to draw at, in pixels; the whole photo as displayed.
        smooth: as in `spread`.

    Raises:
        ValueError: a photo of this size cannot be the caption's; perhaps it is not yet upright.
    """
    geometry = caption.geometry
    ratio = max(size) / max(geometry.height, geometry.width)
    off = (size[0] - geometry.height * ratio, size[1] - geometry.width * ratio)
    if max(map(abs, off)) > 1:
        raise ValueError(
            f"a photo of {size[0]} x {size[1]} pixels is not the captioned one, which is "
            f"{geometry.height} x {geometry.width}; load_photo reads it and turns it upright."
        )
    maps = [spread(word.attention, geometry, smooth=smooth, size=size) for word in caption.words]
    return maps, shared_scale(maps)


def fit(photo: Image.Image, *, longest: int) -> Image.Image:
    """Scale the photo, up or down, until its longer side has this many pixels."""
    ratio = longest / max(photo.size)
    size = (max(1, round(photo.width * ratio)), max(1, round(photo.height * ratio)))
    return photo.resize(size, Image.Resampling.LANCZOS, reducing_gap=_REDUCING_GAP)


def _levels(weights: Float[Singles, "H W"], scale: float) -> UInt8[Levels, "H W"]:
    if not scale > 0:
        raise ValueError(f"scale is {scale}; it must be above 0.")
    levels: UInt8[Levels, "H W"] = np.rint((weights * (255 / scale)).clip(0, 255)).astype(np.uint8)
    return levels


def _coloured(levels: Image.Image, style: Style) -> Image.Image:
    """Give gray levels the colours of the style; mode P."""
    coloured = levels.copy()
    coloured.putpalette(palette(style.colour_map))
    return coloured


def _opacities(style: Style) -> list[int]:
    return [round(255 * style.alpha * (0.5 + level / 510)) for level in range(256)]
